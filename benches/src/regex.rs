//! Lines to named groups.

use crate::{Run, input};
use codecs::regex::{Regex, Scratch};

const NGINX: &str = r#"^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^\"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>[^\"]*)")?$"#;
const APACHE2: &str = r#"^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^ ]*) +\S*)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>.*)")?$"#;
const MYAPP: &str = r"^\[(?<timestamp>[^\]]*)\] (?<level>\w+) (?<logger>[^ ]*) - (?<message>.*)$";

/// The parser `nginx`.
pub(crate) fn nginx() -> Run {
    captures(NGINX, input::lines(input::access))
}

/// The parser `apache2`.
pub(crate) fn apache2() -> Run {
    captures(APACHE2, input::lines(input::access))
}

/// An application's own lines: time between brackets, level, logger, message.
pub(crate) fn myapp() -> Run {
    captures(MYAPP, input::lines(myapp_line))
}

fn myapp_line(n: u64, random: &mut input::Random) -> String {
    let (level, user) = (random.pick(&["INFO", "DEBUG", "WARN", "ERROR"]), random.below(99_999));
    let (clock, millis) = (input::clock(n), input::micros(n) / 1000 % 1000);
    format!(
        "[2026-01-15 {clock},{millis:03}] {level} com.example.Service{} - processed request {n} for user {user}",
        n % 50
    )
}

/// The answer is the number of bytes in named groups.
fn captures(pattern: &str, lines: Vec<String>) -> Run {
    let (regex, mut scratch) = (Regex::new(pattern).expect("a valid pattern"), Scratch::default());
    Box::new(move || {
        let mut answer = 0;
        for line in &lines {
            if regex.captures(line.as_bytes(), &mut scratch) {
                let groups = regex.names().iter().filter_map(|(_, index)| scratch.group(*index));
                answer += groups.map(|group| group.len() as u64).sum::<u64>();
            }
        }
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    /// Bytes of all lines, less what stands between the groups of each.
    fn less(lines: &[String], between: usize) -> u64 {
        lines.iter().map(|line| (line.len() - between) as u64).sum()
    }

    #[test]
    fn groups_cover_all_but_what_stands_between_them() {
        let access = input::lines(input::access);
        let separators = [" ", " ", " [", "] \"", " ", " HTTP/1.1\" ", " ", " \"", "\" \"", "\""].concat();
        assert_eq!(nginx()(), less(&access, separators.len()));
        // `-` is no group of apache2.
        assert_eq!(apache2()(), nginx()() - LINES);
        assert_eq!(myapp()(), less(&input::lines(myapp_line), "[]   - ".len()));
    }
}
