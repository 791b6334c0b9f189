//! Records through the rules of the multiline filter: stack traces of Go between lines that stand alone.

use crate::{Run, input};
use codecs::Bump;
use codecs::multiline::{Chain, Multiline, Scratch, State};
use codecs::record::{Field, Record, Text, Timestamp, Value};
use std::sync::Arc;

/// Line `n` of ten: six that stand alone, then a panic and its goroutine.
fn line(n: u64, random: &mut input::Random) -> String {
    match n % 10 {
        6 => "panic: runtime error: index out of range\n".to_owned(),
        7 => "\n".to_owned(),
        8 => "goroutine 1 [running]:\n".to_owned(),
        9 => format!("main.handle(0x{n:x}, 0x2)\n"),
        _ => input::app(n, random) + "\n",
    }
}

/// The answer is the number of records that come out.
pub(crate) fn records() -> Run {
    let lines = input::lines(line);
    let parser = Arc::new(Multiline::builtin("go").expect("a built-in parser"));
    let chain = Chain::new(vec![parser], Some("log")).expect("a valid chain");
    let (mut arena, mut state, mut scratch) = (Bump::new(), State::default(), Scratch::default());
    Box::new(move || {
        let mut count = 0;
        for (n, line) in lines.iter().enumerate() {
            if n % 64 == 0 {
                arena.reset();
            }
            let mut record = Record::new_in(&arena, Timestamp::default());
            record.fields.push(Field::new(Text::plain(b"log"), Value::text(line.as_bytes())));
            record.fields.push(Field::new(Text::plain(b"stream"), Value::Text(Text::plain(b"stdout"))));
            chain.record(&mut state, record, n as u64, &arena, &mut scratch, &mut |_| count += 1);
        }
        chain.flush(&mut state, &arena, &mut |_| count += 1);
        count
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    #[test]
    fn four_lines_of_ten_become_one() {
        assert_eq!(records()(), LINES / 10 * 7);
    }
}
