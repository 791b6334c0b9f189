//! Errors, warnings and notes about a configuration; all of them are collected, then printed at once.

use super::Span;

/// How bad it is. Any error means that no plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For information: an option without effect.
    Note,
    /// Probably not what the author meant.
    Warning,
    /// Cannot run like this.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad.
    pub level: Level,
    /// Where.
    pub span: Span,
    /// What: lower case, no full stop, names the thing and the value.
    pub message: String,
    /// The rule, or what to do; printed below as `= …`.
    pub help: Vec<String>,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{}: {level}: {}", self.span, self.message)?;
        for help in &self.help {
            write!(f, "\n   = {help}")?;
        }
        Ok(())
    }
}

/// All findings of one run, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The findings.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds an error.
    pub fn error(&mut self, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Level::Error, span, message.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Level::Warning, span, message.into())
    }

    /// Adds a note.
    pub fn note(&mut self, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Level::Note, span, message.into())
    }

    /// True when any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.level == Level::Error)
    }

    /// How many findings of this level there are.
    pub fn count(&self, level: Level) -> usize {
        self.list.iter().filter(|d| d.level == level).count()
    }

    fn push(&mut self, level: Level, span: &Span, message: String) -> &mut Diagnostic {
        self.list.push(Diagnostic { level, span: span.clone(), message, help: Vec::new() });
        self.list.last_mut().expect("just pushed")
    }
}

impl Diagnostic {
    /// Adds a rule or a remedy.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help.push(text.into());
        self
    }
}

/// The candidate nearest to `word` by edit distance without regard to case, when it is near enough to be meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| (distance(word.as_bytes(), c.to_ascii_lowercase().as_bytes()), c))
        .filter(|(d, c)| *d <= (c.len().max(word.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein distance with one row.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_what_was_meant() {
        let names = ["auto_create_group", "log_group_name", "region"];
        assert_eq!(nearest("auto_create_groups", names), Some("auto_create_group"));
        assert_eq!(nearest("Regoin", names), Some("region"));
        assert_eq!(nearest("banana", names), None);
    }
}
