//! The tag of a file: `*` becomes the path with dots, `<name>` what `Tag_Regex` found in it.
//!
//! Owns: that replacement. Never: looks at a file.

use std::path::Path;

/// How tags are made.
#[derive(Clone, Debug)]
pub(super) struct Tagger {
    tag: String,
    regex: Option<regex_automata::meta::Regex>,
}

impl Tagger {
    /// Compiles; the error is the regular expression's.
    pub(super) fn new(tag: &str, regex: Option<&str>) -> Result<Self, String> {
        let regex = regex.map(regex_automata::meta::Regex::new).transpose();
        let regex = regex.map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), ToString::to_string))?;
        Ok(Tagger { tag: tag.to_owned(), regex })
    }

    /// What is known of the tags before any file is seen: a tag, or a pattern.
    pub(super) fn pattern(&self) -> String {
        if self.regex.is_none() {
            return self.tag.clone();
        }
        let (mut out, mut rest) = (String::new(), self.tag.as_str());
        while let Some((before, inside)) = rest.split_once('<') {
            out.push_str(before);
            let Some((_, after)) = inside.split_once('>') else { break };
            out.push('*');
            rest = after;
        }
        out + rest
    }

    /// The tag of a file, or why it has none.
    pub(super) fn tag(&self, path: &Path) -> Result<String, String> {
        let path = path.to_string_lossy();
        match &self.regex {
            Some(regex) => self.of_groups(regex, &path),
            None if self.tag.contains('*') => Ok(sanitized(&self.tag.replacen('*', &path, 1))),
            None => Ok(self.tag.clone()),
        }
    }

    fn of_groups(&self, regex: &regex_automata::meta::Regex, path: &str) -> Result<String, String> {
        let mut captures = regex.create_captures();
        regex.captures(path, &mut captures);
        if !captures.is_match() {
            return Err("`tag_regex` does not match its path".to_owned());
        }
        let (mut out, mut rest) = (String::new(), self.tag.as_str());
        while let Some((before, inside)) = rest.split_once('<') {
            let Some((name, after)) = inside.split_once('>').filter(|(name, _)| !name.contains('<')) else {
                return Err(format!("the tag `{}` lacks a `>`", self.tag));
            };
            out.push_str(before);
            let group = captures
                .get_group_by_name(name)
                .map(|span| &path[span.range()])
                .filter(|text| !text.is_empty());
            out.push_str(group.unwrap_or("_"));
            rest = after;
        }
        Ok(out + rest)
    }
}

/// `/`, `\` and `:` become dots, runs of dots one dot, stars vanish, and so does a dot that this made at either end.
fn sanitized(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' | '\\' | ':' if out.is_empty() => {}
            '/' | '\\' | ':' | '.' if out.ends_with('.') => {}
            '/' | '\\' | ':' => out.push('.'),
            '*' => {}
            c => out.push(c),
        }
    }
    if out.ends_with('.') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_made_from_paths() {
        for (tag, regex, path, expected) in [
            ("t", None, "/a/b.log", Ok("t")),
            ("app.*", None, "/var/log/b-c.d.log", Ok("app.var.log.b-c.d.log")),
            ("*", None, "/var//log/x:y.log", Ok("var.log.x.y.log")),
            ("k.*.end", None, "/a/b.log", Ok("k.a.b.log.end")),
            (
                "k.<ns>.<pod>",
                Some(r"logs/(?<pod>[a-z0-9-]+)_(?<ns>[^_]+)_(?<c>.+)\.log$"),
                "/logs/web-1_prod_x.log",
                Ok("k.prod.web-1"),
            ),
            ("k.<no>.*", Some(r"(?<pod>[a-z]+)"), "/a", Ok("k._.*")),
            ("k.<ns>", Some(r"^nothing$"), "/a", Err(())),
            ("k.<ns", Some(r"a"), "/a", Err(())),
        ] {
            let tagger = Tagger::new(tag, regex).expect("compiles");
            assert_eq!(
                tagger.tag(Path::new(path)).map_err(drop),
                expected.map(str::to_owned),
                "{tag} {path}"
            );
        }
        assert_eq!(Tagger::new("k.<ns>.<pod>.x", Some("a")).expect("compiles").pattern(), "k.*.*.x");
        assert!(Tagger::new("t", Some("(")).is_err());
    }
}
