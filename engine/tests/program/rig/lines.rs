//! Numbered lines: what line `n` of a file says, in plain and in CRI form.

use std::fmt::Write as _;

/// A name and a number: what identifies a line.
pub(crate) type Number = (char, u64);

/// What line `n` of file `name` says.
pub(crate) fn text(name: char, n: u64) -> String {
    format!("file={name} n={n} {:x<1$};", "", n as usize * 7 % 90)
}

/// The parts that line `n` is written in, when its form is CRI.
pub(crate) fn parts(name: char, n: u64) -> Vec<String> {
    let text = text(name, n);
    match n % 7 {
        3 => vec![text[..4].to_owned(), text[4..].to_owned()],
        5 => vec![text[..3].to_owned(), text[3..9].to_owned(), text[9..].to_owned()],
        _ => vec![text],
    }
}

/// Line `n` in CRI form: one line for each part.
pub(crate) fn cri(name: char, n: u64) -> Vec<String> {
    let parts = parts(name, n);
    let last = parts.len() - 1;
    let stamp = format!("2023-11-14T22:{:02}:{:02}.{:03}000000Z", n / 60_000 % 60, n / 1000 % 60, n % 1000);
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| format!("{stamp} stdout {} {part}\n", if at == last { 'F' } else { 'P' }))
        .collect()
}

/// Plain lines of a range.
pub(crate) fn plain(name: char, numbers: std::ops::Range<u64>) -> String {
    numbers.fold(String::new(), |mut all, n| {
        writeln!(all, "{}", text(name, n)).unwrap();
        all
    })
}

/// Which line this is; `None` when it is not exactly one.
pub(crate) fn number(log: &str) -> Option<Number> {
    let rest = log.strip_prefix("file=")?;
    let name = rest.chars().next()?;
    let n = rest.strip_prefix(name)?.strip_prefix(" n=")?.split(' ').next()?.parse().ok()?;
    (log == text(name, n)).then_some((name, n))
}
