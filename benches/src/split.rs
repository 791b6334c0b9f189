//! Cutting a block into lines.

use crate::{Run, input};
use codecs::lines::Lines;

/// The answer is the number of bytes in lines.
pub(crate) fn lines() -> Run {
    let block = input::block(&input::lines(input::app));
    Box::new(move || Lines::new(&block).map(|line| line.len() as u64).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    #[test]
    fn every_byte_but_the_line_feeds_is_in_a_line() {
        let block = input::block(&input::lines(input::app));
        assert_eq!(lines()(), block.len() as u64 - LINES);
    }
}
