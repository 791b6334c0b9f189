//! `throttle`: lets so many records of an interval pass, over a sliding window, and drops the others.
//!
//! Owns: the panes of the window. Never: reads a clock; the job's time is what counts.
//! Invariant: one window for all tags of the filter, entered in the serial stage: `Rate` times `Window` records pass
//! of what falls into one window, no more.

use super::{Context, Filter, FilterContext, Outcome, Plugin, Stage};
use crate::config::values::Number;
use crate::log;
use codecs::conf::values::{Bool, Int, Text};
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

codecs::options! {
    /// Lets records pass up to a rate, as the mean over a sliding window of intervals, and drops the others.
    pub struct Options {
        /// Records that may pass in an interval; 1 and less mean 1, as in Fluent Bit.
        rate "Rate": One<Number> = "1",
        /// Intervals of the window; 1 and less mean 5, as in Fluent Bit.
        window "Window": One<Int> = "5",
        /// Length of an interval: a number of seconds, or one with s, m, h or d behind it.
        interval "Interval": One<Text> = "1",
        /// Tells the rate in the log, once an interval in which records come.
        print_status "Print_Status": One<Bool> = "false",
    }
}

/// Panes of a window; each takes eight bytes.
const WINDOW_MAX: i64 = 1 << 20;

/// A configured filter.
struct Gate {
    name: String,
    rate: f64,
    panes: usize,
    interval: Interval,
    print_status: bool,
    window: Mutex<Window>,
}

/// Its length, and how the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    millis: i64,
    text: String,
}

/// What passed lately.
#[derive(Debug, Default)]
struct Window {
    /// Counts of the intervals, the newest last.
    panes: VecDeque<u64>,
    /// Their sum.
    total: u64,
    /// When the newest interval began, in milliseconds since the epoch.
    since: Option<i64>,
}

impl Window {
    /// Moves on to the interval in which `now` falls; true when it is a new one.
    fn advance(&mut self, now: i64, panes: usize, interval: i64) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.panes.is_empty() {
            self.panes.resize(panes, 0);
            return true;
        }
        // A clock that goes back stands still here.
        let passed = (now - since).max(0) / interval;
        for _ in 0..usize::try_from(passed).unwrap_or(usize::MAX).min(panes) {
            self.total -= self.panes.pop_front().unwrap_or(0);
            self.panes.push_back(0);
        }
        self.since = Some(since + passed * interval);
        passed > 0
    }

    /// Counts a record in when the mean of the window is below the rate.
    fn admit(&mut self, rate: f64) -> bool {
        if self.total as f64 / self.panes.len() as f64 >= rate {
            return false;
        }
        self.total += 1;
        if let Some(pane) = self.panes.back_mut() {
            *pane += 1;
        }
        true
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "throttle", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let span = section.get("Interval").map_or(&section.span, |e| &e.value_span);
    let Some(millis) = milliseconds(&options.interval.0) else {
        diagnostics
            .error(span, format!("{}: `interval` is `{}`", context.name, options.interval.0))
            .help("rule: a number of seconds above zero, or one with s, m, h or d behind it");
        return None;
    };
    if options.window.0 > WINDOW_MAX {
        let message = format!("{}: `window` is {}", context.name, options.window.0);
        diagnostics.error(&section.span, message).help(format!("rule: {WINDOW_MAX} intervals at most"));
        return None;
    }
    let panes = if options.window.0 <= 1 { 5 } else { options.window.0 as usize };
    Some(Arc::new(Gate {
        name: format!("filter:throttle:{}", context.name),
        rate: if options.rate.0 <= 1.0 { 1.0 } else { options.rate.0 },
        panes,
        interval: Interval { millis, text: options.interval.0 },
        print_status: options.print_status.0,
        window: Mutex::default(),
    }))
}

/// Milliseconds of an interval, one at least.
fn milliseconds(text: &str) -> Option<i64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    let seconds = number.trim().parse::<f64>().ok().filter(|n| n.is_finite())? * factor;
    (0.001..1e9).contains(&seconds).then_some((seconds * 1000.0) as i64)
}

impl Filter for Gate {
    fn apply<'a>(&'a self, _record: &mut Record<'a>, context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        // Nobody waits here: the serial stage lets one in at a time.
        let mut window = self.window.lock().expect("window lock");
        let fresh = window.advance(context.now.millis(), self.panes, self.interval.millis);
        if fresh && self.print_status {
            let (total, panes) = (window.total, self.panes);
            log!(
                Info,
                self.name,
                "{}: limit is {:.2} per {} with window size of {panes}, current rate is: {} per interval",
                context.now.secs,
                self.rate,
                self.interval.text,
                total / panes as u64
            );
        }
        if window.admit(self.rate) { Outcome::Keep } else { Outcome::Drop }
    }

    fn changes_records(&self) -> bool {
        false
    }

    fn stage(&self) -> Stage {
        Stage::Serial
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{configure, refused, run};
    use super::*;
    use codecs::record::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn a_window_lets_so_many_pass() {
        for (lines, passes) in [
            ("Rate 5\nWindow 2\nInterval 60s", 10),
            ("Rate 2.5\nWindow 2", 5),
            ("Rate 3\nWindow 1", 15),
            ("Rate 0\nWindow 3", 3),
            ("Window 2", 2),
        ] {
            let filter = configure(&PLUGIN, lines);
            let kept = (0..40).filter(|_| run(&*filter, "{}", &mut Timestamp::default()).0.is_some());
            assert_eq!(kept.count(), passes, "{lines}");
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (lines, message) in [
            ("Interval x", "`interval` is `x`"),
            ("Interval 0", "`interval` is `0`"),
            ("Interval 1w", "`interval` is `1w`"),
            ("Window 9999999", "`window` is 9999999"),
            ("Rate many", "`rate` is `many`"),
        ] {
            refused(&PLUGIN, lines, message);
        }
        let read = ["1.5m", "2d", "0.5"].map(milliseconds);
        assert_eq!(read, [Some(90_000), Some(172_800_000), Some(500)]);
    }

    proptest! {
        /// The window against a list of all that passed.
        #[test]
        fn agrees_with_the_naive_window(
            steps in prop::collection::vec((0i64..40, 1usize..6), 1..40),
            (panes, length, rate) in (2usize..5, 1i64..5, 1u32..4)
        ) {
            let mut window = Window::default();
            // The interval of each record that passed, counted from the first record.
            let (mut passed, mut now, mut first): (Vec<i64>, i64, Option<i64>) = (Vec::new(), 100, None);
            for (wait, burst) in steps {
                now += wait;
                let first = *first.get_or_insert(now);
                for _ in 0..burst {
                    let interval = (now - first) / length;
                    let recent = passed.iter().filter(|p| **p > interval - panes as i64).count();
                    let naive = (recent as f64) / (panes as f64) < f64::from(rate);
                    window.advance(now, panes, length);
                    prop_assert_eq!(window.admit(f64::from(rate)), naive);
                    if naive {
                        passed.push(interval);
                    }
                }
            }
        }
    }
}
