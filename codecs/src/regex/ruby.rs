//! Reads Ruby's (Onigmo's) pattern syntax.
//!
//! Owns: what `\h`, `(?m)`, `[[:alpha:]]`, `{,3}` mean there. Never: matches anything.

use super::syntax::{Look, Node};
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// Why a pattern has no tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not a pattern.
    Syntax(String),
    /// It needs an engine that backtracks.
    Backtracking(&'static str),
}

/// A tree and its named groups.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) node: Node,
    /// Name and number, in the order in which names first stand in the pattern.
    pub(super) names: Vec<(String, usize)>,
    /// Numbers go from 1 to this.
    pub(super) groups: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `i`: letters of either case.
    pub(super) ignore_case: bool,
    /// `m`: a dot matches a line feed too.
    pub(super) dot_all: bool,
    /// `x`: white space and `#` comments do not count.
    pub(super) extended: bool,
}

type Result<T> = std::result::Result<T, Refusal>;

/// Deepest nesting of groups and classes.
const DEPTH_MAX: usize = 100;
/// Largest number in `{n,m}`; Onigmo allows 100,000, which no automaton can hold.
const REPEAT_MAX: u32 = 100_000;

/// Reads a pattern.
pub(super) fn parse(pattern: &str, flags: Flags) -> Result<Tree> {
    let chars: Vec<char> = pattern.chars().collect();
    let named = has_names(&chars);
    let mut parser = Parser { chars, at: 0, flags, named, depth: 0, names: Vec::new(), groups: 0 };
    let node = parser.alternation()?;
    if parser.at < parser.chars.len() {
        return Err(Refusal::Syntax("unmatched close parenthesis".into()));
    }
    Ok(Tree { node, names: in_order(parser.names), groups: parser.groups as usize })
}

/// Groups of one name stand together, at the place of the first.
fn in_order(names: Vec<(String, usize)>) -> Vec<(String, usize)> {
    let mut out: Vec<(String, usize)> = Vec::with_capacity(names.len());
    for (name, index) in names {
        let at = out.iter().rposition(|(n, _)| *n == name).map_or(out.len(), |p| p + 1);
        out.insert(at, (name, index));
    }
    out
}

/// True when the pattern has a named group: then plain groups do not capture.
fn has_names(chars: &[char]) -> bool {
    let (mut at, mut class) = (0, 0);
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 1,
            '[' => class += 1,
            ']' if class > 0 => class -= 1,
            '(' if class == 0 && chars[at + 1..].starts_with(&['?']) => {
                let after = chars.get(at + 3);
                match chars.get(at + 2) {
                    Some('<') if !matches!(after, Some('=' | '!')) => return true,
                    Some('\'') => return true,
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    flags: Flags,
    named: bool,
    depth: usize,
    names: Vec<(String, usize)>,
    groups: u32,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn eat(&mut self, c: char) -> bool {
        let same = self.peek() == Some(c);
        self.at += usize::from(same);
        same
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(syntax("nested too deeply")) } else { Ok(()) }
    }

    /// Branches up to the end or a `)`.
    fn alternation(&mut self) -> Result<Node> {
        self.deeper()?;
        let mut branches = vec![self.branch()?];
        while self.eat('|') {
            branches.push(self.branch()?);
        }
        self.depth -= 1;
        Ok(if branches.len() == 1 {
            branches.pop().unwrap_or(Node::Empty)
        } else {
            Node::Alternate(branches)
        })
    }

    fn branch(&mut self) -> Result<Node> {
        let mut nodes = Vec::new();
        loop {
            if self.flags.extended {
                self.skip_comments();
            }
            match self.peek() {
                None | Some('|' | ')') => break,
                Some(_) => {}
            }
            if let Some(atom) = self.atom()? {
                let node = self.quantified(atom)?;
                push(&mut nodes, node);
            }
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        })
    }

    fn skip_comments(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.take().is_some_and(|c| c != '\n') {}
            } else if c.is_ascii_whitespace() || c == '\u{b}' {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    /// One thing that a quantifier may follow; `None` for what leaves nothing (a comment).
    fn atom(&mut self) -> Result<Option<Node>> {
        let Some(c) = self.take() else { return Ok(None) };
        Ok(Some(match c {
            '.' => Node::Class(dot(self.flags.dot_all)),
            '^' => Node::Look(Look::LineStart),
            '$' => Node::Look(Look::LineEnd),
            '[' => {
                let mut class = self.class()?;
                if self.flags.ignore_case {
                    fold(&mut class);
                }
                Node::Class(class)
            }
            '(' => return self.group(),
            '\\' => self.escape()?,
            '*' | '+' | '?' => return Err(syntax("target of repeat operator is not specified")),
            '{' => {
                let after = self.at;
                self.at -= 1;
                if self.interval()?.is_some() {
                    return Err(syntax("target of repeat operator is not specified"));
                }
                self.at = after;
                self.literal(c)
            }
            c => self.literal(c),
        }))
    }

    fn literal(&self, c: char) -> Node {
        if self.flags.ignore_case {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            fold(&mut class);
            if class.ranges().len() > 1 || class.ranges().iter().any(|r| r.start() != r.end()) {
                return Node::Class(class);
            }
        }
        Node::Literal(c.to_string().into_bytes())
    }

    fn quantified(&mut self, atom: Node) -> Result<Node> {
        let mut node = atom;
        loop {
            if self.flags.extended {
                self.skip_comments();
            }
            let start = self.at;
            let (min, max, interval) = match self.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.interval()? {
                    Some((min, max)) => (min, max, true),
                    None => {
                        self.at = start;
                        return Ok(node);
                    }
                },
                _ => return Ok(node),
            };
            if !interval {
                self.at += 1;
            }
            // `{n}?` is an optional `{n}` in Ruby, and `{n,m}+` a repeated one: both are read in the next round.
            let mut greedy = true;
            if self.peek() == Some('?') && !(interval && max == Some(min)) {
                self.at += 1;
                greedy = false;
            } else if self.peek() == Some('+') && !interval {
                return Err(Refusal::Backtracking("a possessive quantifier"));
            }
            node = repeat(node, min, max, greedy);
        }
    }

    /// `{n}`, `{n,}`, `{,m}`, `{n,m}`; anything else leaves the brace a literal.
    fn interval(&mut self) -> Result<Option<(u32, Option<u32>)>> {
        self.at += 1;
        let min = self.number();
        let comma = self.eat(',');
        let max = if comma { self.number() } else { min };
        if !self.eat('}') || (min.is_none() && max.is_none()) {
            return Ok(None);
        }
        let low = min.unwrap_or(0);
        if low > REPEAT_MAX || max.is_some_and(|m| m > REPEAT_MAX) {
            return Err(syntax("too big number for repeat range"));
        }
        match max {
            Some(high) if high < low => Err(syntax("upper is smaller than lower in repeat range")),
            high => Ok(Some((low, high))),
        }
    }

    fn number(&mut self) -> Option<u32> {
        let start = self.at;
        let mut value: u32 = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(digit);
            self.at += 1;
        }
        (self.at > start).then_some(value)
    }

    /// What follows `(`.
    fn group(&mut self) -> Result<Option<Node>> {
        if !self.eat('?') {
            let index = (!self.named).then(|| self.next_group());
            return self.group_body(index).map(Some);
        }
        match self.take() {
            Some(':') => self.group_body(None).map(Some),
            Some('#') => {
                while let Some(c) = self.take() {
                    match c {
                        '\\' => self.at += 1,
                        ')' => return Ok(None),
                        _ => {}
                    }
                }
                Err(syntax("end pattern in group"))
            }
            Some('=' | '!') => Err(Refusal::Backtracking("look-ahead")),
            Some('>') => Err(Refusal::Backtracking("an atomic group")),
            Some('~') => Err(Refusal::Backtracking("an absence operator")),
            Some('(') => Err(Refusal::Backtracking("a conditional")),
            Some('<') if matches!(self.peek(), Some('=' | '!')) => Err(Refusal::Backtracking("look-behind")),
            Some(open @ ('<' | '\'')) => {
                let name = self.name(if open == '<' { '>' } else { '\'' })?;
                let index = self.next_group();
                self.names.push((name, index as usize));
                self.group_body(Some(index)).map(Some)
            }
            Some(c @ ('a'..='z' | '-')) => self.options(c),
            _ => Err(syntax("undefined group option")),
        }
    }

    fn next_group(&mut self) -> u32 {
        self.groups += 1;
        self.groups
    }

    fn name(&mut self, close: char) -> Result<String> {
        let mut name = String::new();
        loop {
            match self.take() {
                Some(c) if c == close => break,
                Some(c) if c == ')' || (c != '_' && c.is_ascii_punctuation() && name.is_empty()) => {
                    return Err(syntax(&format!("invalid group name <{name}{c}>")));
                }
                Some(c) => name.push(c),
                None => return Err(syntax("end pattern in group name")),
            }
        }
        let valid = name.chars().all(|c| c == '_' || c.is_alphanumeric())
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !valid {
            return Err(syntax(&format!("invalid group name <{name}>")));
        }
        Ok(name)
    }

    fn group_body(&mut self, index: Option<u32>) -> Result<Node> {
        let flags = self.flags;
        let node = self.alternation()?;
        self.flags = flags;
        if !self.eat(')') {
            return Err(syntax("end pattern with unmatched parenthesis"));
        }
        Ok(match index {
            Some(index) => Node::Group { index, node: Box::new(node) },
            None => node,
        })
    }

    /// `(?imx-imx)` and `(?imx-imx:…)`; the first form reaches to the end of the enclosing group, over its `|`.
    fn options(&mut self, first: char) -> Result<Option<Node>> {
        let (before, mut on, mut c) = (self.flags, true, Some(first));
        loop {
            match c {
                Some('-') => on = false,
                Some('i') => self.flags.ignore_case = on,
                Some('m') => self.flags.dot_all = on,
                Some('x') => self.flags.extended = on,
                Some('a' | 'd') if on => {}
                Some('u') => return Err(Refusal::Backtracking("the option u")),
                Some(':') => {
                    let node = self.alternation()?;
                    self.flags = before;
                    return if self.eat(')') {
                        Ok(Some(node))
                    } else {
                        Err(syntax("end pattern with unmatched parenthesis"))
                    };
                }
                Some(')') => {
                    let node = self.alternation()?;
                    self.flags = before;
                    return Ok(Some(node));
                }
                _ => return Err(syntax("undefined group option")),
            }
            c = self.take();
        }
    }

    /// What follows `\` outside a class.
    fn escape(&mut self) -> Result<Node> {
        let Some(c) = self.take() else { return Err(syntax("end pattern at escape")) };
        Ok(match c {
            'A' => Node::Look(Look::TextStart),
            'z' => Node::Look(Look::TextEnd),
            // Only its groups are used of a match, so the line feed may be taken along at the very end.
            'Z' if self.at == self.chars.len() => Node::Concat(vec![
                repeat(Node::Literal(b"\n".to_vec()), 0, Some(1), true),
                Node::Look(Look::TextEnd),
            ]),
            'Z' => return Err(Refusal::Backtracking("\\Z before the end")),
            'b' => Node::Look(Look::Word),
            'B' => Node::Look(Look::NotWord),
            'G' => return Err(Refusal::Backtracking("\\G")),
            'K' => return Err(Refusal::Backtracking("\\K")),
            'X' => return Err(Refusal::Backtracking("\\X")),
            'k' | 'g' if matches!(self.peek(), Some('<' | '\'')) => {
                return Err(Refusal::Backtracking("a back-reference"));
            }
            '1'..='9' if !self.is_octal() => return Err(Refusal::Backtracking("a back-reference")),
            'R' => Node::Alternate(vec![
                Node::Literal(b"\r\n".to_vec()),
                Node::Class(ClassUnicode::new([
                    ClassUnicodeRange::new('\n', '\r'),
                    ClassUnicodeRange::new('\u{85}', '\u{85}'),
                    ClassUnicodeRange::new('\u{2028}', '\u{2029}'),
                ])),
            ]),
            c => match self.escaped(c)? {
                Escaped::Char(c) => self.literal(c),
                Escaped::Byte(b) => Node::Literal(vec![b]),
                Escaped::Class(class) => Node::Class(class),
            },
        })
    }

    /// After `\` and a digit: more digits than there are groups make it a code in octal.
    fn is_octal(&mut self) -> bool {
        self.at -= 1;
        let start = self.at;
        let number = self.number().unwrap_or(0);
        self.at = start + 1;
        number > 9 && number > self.groups && matches!(self.chars.get(start), Some('1'..='7'))
    }

    /// Escapes that mean the same in and out of a class.
    fn escaped(&mut self, c: char) -> Result<Escaped> {
        if let Some(class) = shorthand(c) {
            return Ok(Escaped::Class(class));
        }
        Ok(Escaped::Char(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            'x' => return self.hex(),
            'u' => {
                let code = self.digits(16, 4);
                match code {
                    Some((code, 4)) => {
                        char::from_u32(code).ok_or_else(|| syntax("invalid code point value"))?
                    }
                    _ => return Err(syntax("too short escape sequence")),
                }
            }
            '0'..='7' => {
                self.at -= 1;
                let (code, _) = self.digits(8, 3).unwrap_or((0, 0));
                return Ok(if code < 0x80 {
                    Escaped::Char(code as u8 as char)
                } else {
                    Escaped::Byte(code as u8)
                });
            }
            'p' | 'P' if self.peek() == Some('{') => return self.property(c == 'P').map(Escaped::Class),
            'c' | 'C' | 'M' => return Err(Refusal::Backtracking("a control or meta escape")),
            c => c,
        }))
    }

    fn hex(&mut self) -> Result<Escaped> {
        if self.eat('{') {
            let code = self.digits(16, 8);
            if !self.eat('}') {
                return Err(syntax("invalid code point value"));
            }
            return code
                .and_then(|(code, _)| char::from_u32(code))
                .map(Escaped::Char)
                .ok_or_else(|| syntax("invalid code point value"));
        }
        let (code, _) = self.digits(16, 2).unwrap_or((0, 0));
        Ok(if code < 0x80 { Escaped::Char(code as u8 as char) } else { Escaped::Byte(code as u8) })
    }

    /// Up to `most` digits; their value and their number.
    fn digits(&mut self, radix: u32, most: usize) -> Option<(u32, usize)> {
        let (mut value, mut count) = (0u32, 0);
        while count < most
            && let Some(digit) = self.peek().and_then(|c| c.to_digit(radix))
        {
            value = value.saturating_mul(radix).saturating_add(digit);
            count += 1;
            self.at += 1;
        }
        (count > 0).then_some((value, count))
    }

    /// `\p{Alpha}`, `\p{^Alpha}`.
    fn property(&mut self, negated: bool) -> Result<ClassUnicode> {
        self.at += 1;
        let not = self.eat('^');
        let mut name = String::new();
        loop {
            match self.take() {
                Some('}') => break,
                Some(c) => name.push(c),
                None => return Err(syntax("invalid character property name")),
            }
        }
        let mut class = posix_unicode(&name.to_ascii_lowercase())
            .or_else(|| unicode(&format!("\\p{{{name}}}")))
            .ok_or_else(|| syntax(&format!("invalid character property name {{{name}}}")))?;
        if negated != not {
            class.negate();
        }
        Ok(class)
    }

    /// What follows `[`, through its `]`.
    fn class(&mut self) -> Result<ClassUnicode> {
        self.deeper()?;
        let negated = self.eat('^');
        let mut whole: Option<ClassUnicode> = None;
        let mut part = ClassUnicode::empty();
        let mut first = true;
        loop {
            match self.take() {
                None => return Err(syntax("premature end of char-class")),
                Some(']') if !(first && self.chars[self.at..].contains(&']')) => break,
                Some('&') if self.peek() == Some('&') => {
                    self.at += 1;
                    whole = Some(intersect(whole, &part));
                    part = ClassUnicode::empty();
                }
                Some('[') if self.posix(&mut part)? => {}
                Some('[') => part.union(&self.class()?),
                Some(c) => self.class_item(c, &mut part)?,
            }
            first = false;
        }
        let mut class = intersect(whole, &part);
        if self.flags.ignore_case {
            fold(&mut class);
        }
        if negated {
            class.negate();
        }
        self.depth -= 1;
        Ok(class)
    }

    /// `[:alpha:]` after its `[`; false when it is not one.
    fn posix(&mut self, part: &mut ClassUnicode) -> Result<bool> {
        if self.peek() != Some(':') {
            return Ok(false);
        }
        let rest = &self.chars[self.at + 1..];
        let Some(length) = rest.windows(2).take(20).position(|w| w == [':', ']']) else { return Ok(false) };
        let name: String = rest[..length].iter().collect();
        let (not, name) = name.strip_prefix('^').map_or((false, name.as_str()), |n| (true, n));
        let Some(mut class) = posix_unicode(name) else { return Ok(false) };
        if not {
            class.negate();
        }
        part.union(&class);
        self.at += length + 3;
        Ok(true)
    }

    /// A character, a range or a shorthand in a class.
    fn class_item(&mut self, c: char, part: &mut ClassUnicode) -> Result<()> {
        let Some(low) = self.class_char(c, part)? else { return Ok(()) };
        let mut high = low;
        let ranged = self.peek() == Some('-') && !matches!(self.chars.get(self.at + 1), None | Some(']'));
        if ranged {
            let back = self.at;
            self.at += 1;
            match self.take() {
                // `a-[b]` and `a-&&`: the minus is itself.
                Some('[') | None => self.at = back,
                Some('&') if self.peek() == Some('&') => self.at = back,
                Some(c) => match self.class_char(c, part)? {
                    Some(end) => high = end,
                    None => return Err(syntax("char-class value at end of range")),
                },
            }
        }
        if high < low {
            return Err(syntax("empty range in char class"));
        }
        part.push(ClassUnicodeRange::new(low, high));
        Ok(())
    }

    /// A single character; a shorthand goes into `part` instead.
    fn class_char(&mut self, c: char, part: &mut ClassUnicode) -> Result<Option<char>> {
        if c != '\\' {
            return Ok(Some(c));
        }
        let Some(c) = self.take() else { return Err(syntax("end pattern at escape")) };
        if c == 'b' {
            return Ok(Some('\u{8}'));
        }
        match self.escaped(c)? {
            Escaped::Char(c) => Ok(Some(c)),
            Escaped::Byte(_) => Err(Refusal::Syntax("too short multibyte string".into())),
            Escaped::Class(class) => {
                part.union(&class);
                Ok(None)
            }
        }
    }
}

enum Escaped {
    Char(char),
    Byte(u8),
    Class(ClassUnicode),
}

fn syntax(message: &str) -> Refusal {
    Refusal::Syntax(message.to_owned())
}

/// Appends, joining literals.
fn push(nodes: &mut Vec<Node>, node: Node) {
    match (nodes.last_mut(), node) {
        (Some(Node::Literal(a)), Node::Literal(b)) => a.extend(b),
        (_, Node::Concat(inner)) => inner.into_iter().for_each(|n| push(nodes, n)),
        (_, Node::Empty) => {}
        (_, node) => nodes.push(node),
    }
}

fn repeat(node: Node, min: u32, max: Option<u32>, greedy: bool) -> Node {
    Node::Repeat { node: Box::new(node), min, max, greedy }
}

fn intersect(whole: Option<ClassUnicode>, part: &ClassUnicode) -> ClassUnicode {
    match whole {
        Some(mut whole) => {
            whole.intersect(part);
            whole
        }
        None => part.clone(),
    }
}

fn fold(class: &mut ClassUnicode) {
    // Fails only where the Unicode tables are left out of the build; then case is kept.
    let _ = class.try_case_fold_simple();
}

fn dot(all: bool) -> ClassUnicode {
    let mut class = ClassUnicode::empty();
    if !all {
        class.push(ClassUnicodeRange::new('\n', '\n'));
    }
    class.negate();
    class
}

/// `\d`, `\W`, …: ASCII in Ruby.
fn shorthand(c: char) -> Option<ClassUnicode> {
    let mut class = match c.to_ascii_lowercase() {
        'd' => ranges(&[('0', '9')]),
        'w' => ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        's' => ranges(&[('\t', '\r'), (' ', ' ')]),
        'h' => ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    };
    if c.is_ascii_uppercase() {
        class.negate();
    }
    Some(class)
}

fn ranges(list: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(list.iter().map(|&(a, b)| ClassUnicodeRange::new(a, b)))
}

fn unicode(pattern: &str) -> Option<ClassUnicode> {
    use regex_syntax::hir::{Class, HirKind};
    match regex_syntax::parse(pattern).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

/// Bracket classes hold all of Unicode in Ruby.
fn posix_unicode(name: &str) -> Option<ClassUnicode> {
    Some(match name {
        "alpha" => unicode(r"\p{Alphabetic}")?,
        "digit" => unicode(r"\p{Nd}")?,
        "alnum" => unicode(r"[\p{Alphabetic}\p{Nd}]")?,
        "upper" => unicode(r"\p{Uppercase}")?,
        "lower" => unicode(r"\p{Lowercase}")?,
        "space" => unicode(r"\p{White_Space}")?,
        "word" => unicode(r"\w")?,
        "cntrl" => unicode(r"\p{Cc}")?,
        "punct" => unicode(r"[\p{P}$+<=>^`|~]")?,
        "xdigit" => ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        "blank" => unicode(r"[\p{Zs}\t]")?,
        "ascii" => ranges(&[('\0', '\u{7f}')]),
        "any" => dot(true),
        "graph" => unicode(r"[^\p{White_Space}\p{Cc}\p{Cs}\p{Cn}]")?,
        "print" => unicode(r"[[^\p{White_Space}\p{Cc}\p{Cs}\p{Cn}]\p{Zs}]")?,
        _ => return None,
    })
}
