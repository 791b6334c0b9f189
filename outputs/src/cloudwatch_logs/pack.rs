//! Cuts events into batches that PutLogEvents takes, by all of its limits at once.
//!
//! Owns: the limits of a batch. Never: looks at text, sends anything. Invariant: every event is in exactly one batch,
//! batches are in order of time, and within equal times in order of arrival.

use crate::segment::Segment;
use std::collections::HashMap;
use std::ops::Range;

/// Most bytes of a batch: messages as UTF-8 before escaping, and [`EVENT_OVERHEAD`] for each.
pub const BATCH_BYTES_MAX: usize = 1_048_576;
/// What the service counts for an event beside its message, in bytes.
pub const EVENT_OVERHEAD: usize = 26;
/// Most events of a batch.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// First distance between the oldest and the newest event of a batch that is too much, in milliseconds.
pub const BATCH_SPAN_MS: i64 = 24 * 60 * 60 * 1000;
/// Most bytes of a message.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX - EVENT_OVERHEAD;

/// An event as the packer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its segment in the chunk.
    pub segment: u32,
    /// Its bytes in the segment.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
    /// What the service counts of its message, in bytes.
    pub unescaped: u32,
    /// Its time in milliseconds since the epoch.
    pub millis: i64,
    /// Its number in the chunk, in order of arrival.
    pub record: u32,
}

/// The events of one stream.
#[derive(Debug)]
pub struct Queue<'k> {
    /// `group\0stream`.
    pub key: &'k [u8],
    /// Its events in order of time.
    pub items: Vec<Item>,
}

/// Sorts what is not done by stream and, stably, by time. Streams are in order of their first event.
pub fn queues<'k>(segments: &'k [Segment], done: &[bool]) -> Vec<Queue<'k>> {
    let mut queues: Vec<Queue<'k>> = Vec::new();
    let mut known: HashMap<&'k [u8], usize> = HashMap::new();
    let mut record = 0_u32;
    for (number, segment) in segments.iter().enumerate() {
        // Where the queue of each of the segment's keys is; found when its first event comes.
        let mut places: Vec<Option<usize>> = vec![None; segment.keys.len()];
        let mut start = 0;
        for event in &segment.events {
            let item = Item {
                segment: number as u32,
                start,
                end: event.end,
                unescaped: event.unescaped,
                millis: event.millis,
                record,
            };
            start = event.end;
            record += 1;
            if done.get(item.record as usize) == Some(&true) {
                continue;
            }
            let key = event.key as usize;
            let (Some(place), Some(name)) = (places.get_mut(key), segment.keys.get(key)) else {
                continue;
            };
            let at = *place.get_or_insert_with(|| {
                *known.entry(name).or_insert_with(|| {
                    queues.push(Queue { key: name, items: Vec::new() });
                    queues.len() - 1
                })
            });
            queues[at].items.push(item);
        }
    }
    for queue in &mut queues {
        if !queue.items.is_sorted_by_key(|item| item.millis) {
            queue.items.sort_by_key(|item| item.millis);
        }
    }
    queues
}

/// The next batch of `items`, which are in order of time: the longest range from `from` that one request may hold.
pub fn batch(items: &[Item], from: usize) -> Range<usize> {
    let Some(first) = items.get(from) else {
        return from..from;
    };
    let mut bytes = 0;
    let mut end = from;
    for item in &items[from..] {
        bytes += item.unescaped as usize + EVENT_OVERHEAD;
        // Saturating: times come from the log and may lie anywhere.
        let span = item.millis.saturating_sub(first.millis);
        let fits = bytes <= BATCH_BYTES_MAX && end - from < BATCH_EVENTS_MAX && span < BATCH_SPAN_MS;
        // A single event always goes: the encoder keeps it below the limit, and a batch must not be empty.
        if !fits && end > from {
            break;
        }
        end += 1;
    }
    from..end
}

/// The request's body: names and events, whose bytes are encoded already.
pub fn body(segments: &[Segment], items: &[Item], head: &[u8]) -> Vec<u8> {
    let size: usize = items.iter().map(|item| (item.end - item.start) as usize + 1).sum();
    let mut body = Vec::with_capacity(head.len() + size + 2);
    body.extend_from_slice(head);
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        body.extend_from_slice(
            &segments[item.segment as usize].bytes[item.start as usize..item.end as usize],
        );
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Event;
    use proptest::prelude::*;

    fn item(record: u32, millis: i64, unescaped: u32) -> Item {
        Item { segment: 0, start: 0, end: 0, unescaped, millis, record }
    }

    fn cut(items: &[Item]) -> Vec<Range<usize>> {
        let (mut ranges, mut from) = (Vec::new(), 0);
        while from < items.len() {
            let range = batch(items, from);
            from = range.end;
            ranges.push(range);
        }
        ranges
    }

    /// What the service says about a batch, spelled naively.
    fn flaw(items: &[Item]) -> Option<&'static str> {
        let bytes: usize = items.iter().map(|i| i.unescaped as usize + 26).sum();
        let times: Vec<i64> = items.iter().map(|i| i.millis).collect();
        match () {
            () if items.is_empty() => Some("empty"),
            () if items.len() > 10_000 => Some("events"),
            () if bytes > 1_048_576 => Some("bytes"),
            () if times.windows(2).any(|w| w[0] > w[1]) => Some("order"),
            () if times[times.len() - 1] - times[0] >= 86_400_000 => Some("span"),
            () => None,
        }
    }

    #[test]
    fn each_limit_cuts_where_it_is_reached() {
        let many: Vec<Item> = (0..25_000).map(|n| item(n, 5, 1)).collect();
        assert_eq!(cut(&many), [0..10_000, 10_000..20_000, 20_000..25_000]);
        let exact = [item(0, 0, 524_262), item(1, 0, 524_262), item(2, 0, 1)];
        assert_eq!(cut(&exact), [0..2, 2..3], "two halves fill a batch to the byte");
        let largest = [item(0, 0, MESSAGE_BYTES_MAX as u32), item(1, 0, MESSAGE_BYTES_MAX as u32)];
        assert_eq!(cut(&largest), [0..1, 1..2]);
        let day = [item(0, 0, 1), item(1, BATCH_SPAN_MS - 1, 1), item(2, BATCH_SPAN_MS, 1)];
        assert_eq!(cut(&day), [0..2, 2..3]);
        let extremes = [item(0, i64::MIN, 1), item(1, i64::MAX, 1)];
        assert_eq!(cut(&extremes), [0..1, 1..2]);
        assert_eq!(batch(&[], 0), 0..0);
    }

    proptest! {
        #[test]
        fn batches_are_legal_maximal_and_complete(
            mut times in proptest::collection::vec((0_i64..400_000_000, 1_u32..300_000), 1..200)
        ) {
            times.sort_by_key(|t| t.0);
            let items: Vec<Item> = times.iter().enumerate().map(|(n, &(t, u))| item(n as u32, t, u)).collect();
            let ranges = cut(&items);
            let mut next = 0;
            for range in &ranges {
                prop_assert_eq!(range.start, next);
                prop_assert_eq!(flaw(&items[range.clone()]), None);
                if range.end < items.len() {
                    prop_assert!(flaw(&items[range.start..range.end + 1]).is_some(), "one more would not fit");
                }
                next = range.end;
            }
            prop_assert_eq!(next, items.len());
        }

        #[test]
        fn queues_hold_each_open_event_once_in_order(
            events in proptest::collection::vec((0_usize..3, 0_i64..50, any::<bool>()), 0..100),
            split in 0_usize..100,
        ) {
            let names = [b"g\0a", b"g\0b", b"h\0a"];
            let mut segments = vec![Segment::default(), Segment::default()];
            for (n, &(name, millis, _)) in events.iter().enumerate() {
                let segment = &mut segments[usize::from(n >= split)];
                let key = segment.key(names[name]);
                segment.bytes.extend_from_slice(n.to_string().as_bytes());
                segment.events.push(Event { end: segment.bytes.len() as u32, unescaped: 1, millis, key });
            }
            let done: Vec<bool> = events.iter().map(|e| e.2).collect();
            let queues = queues(&segments, &done);
            for (n, name) in names.iter().enumerate() {
                let mut expected: Vec<(i64, usize)> =
                    events.iter().enumerate().filter(|(_, e)| e.0 == n && !e.2).map(|(r, e)| (e.1, r)).collect();
                expected.sort_by_key(|e| e.0);
                let found: Vec<(i64, usize)> = queues.iter().filter(|q| q.key == *name).flat_map(|q| &q.items)
                    .map(|i| (i.millis, i.record as usize)).collect();
                prop_assert_eq!(&found, &expected);
                for queue in queues.iter().filter(|q| q.key == *name) {
                    let body = body(&segments, &queue.items, b"[");
                    let texts: Vec<String> = expected.iter().map(|e| e.1.to_string()).collect();
                    prop_assert_eq!(String::from_utf8(body).unwrap(), format!("[{}]}}", texts.join(",")));
                }
            }
        }
    }
}
