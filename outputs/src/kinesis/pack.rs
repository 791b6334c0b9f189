//! Packs records into requests that the services take, by all of their limits at once.
//!
//! Owns: which records go together. Never: looks at text, sends anything. Invariants: every open record is in exactly one
//! parcel, every parcel in exactly one request; records of one partition key keep their order.

use super::service::{RANDOM_KEY_BYTES, REQUEST_RECORDS_MAX, Service};
use crate::segment::Segment;
use std::collections::HashMap;
use std::ops::Range;

/// How records become larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// One after the other.
    Simple,
    /// As the Kinesis Producer Library does.
    Kpl,
}

/// A record that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its number in the chunk.
    pub(super) record: u32,
    /// Its segment in the chunk.
    segment: u32,
    /// Where its key begins in the segment.
    start: u32,
    /// Where its data begins.
    data: u32,
    /// One past its last byte.
    end: u32,
}

impl Item {
    /// Its partition key; empty for a random one.
    pub(super) fn key<'s>(&self, segments: &'s [Segment]) -> &'s [u8] {
        self.bytes(segments, self.start..self.data)
    }

    /// Its data.
    pub(super) fn data<'s>(&self, segments: &'s [Segment]) -> &'s [u8] {
        self.bytes(segments, self.data..self.end)
    }

    fn bytes<'s>(&self, segments: &'s [Segment], range: Range<u32>) -> &'s [u8] {
        let range = range.start as usize..range.end as usize;
        segments.get(self.segment as usize).and_then(|s| s.bytes.get(range)).unwrap_or_default()
    }
}

/// What goes out as one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// Its items.
    pub(super) items: Range<usize>,
    /// Bytes of its data.
    pub(super) bytes: usize,
    /// Bytes of its key, also of one that is still to be made.
    pub(super) key: usize,
    /// Its data where that is not simply those of its items.
    pub(super) packed: Option<Vec<u8>>,
}

/// The records that are not done, in order.
pub(super) fn open(segments: &[Segment], done: &[bool]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut record = 0;
    for (segment, Segment { events, .. }) in segments.iter().enumerate() {
        let mut start = 0;
        for event in events {
            let data = event.end.saturating_sub(event.unescaped);
            if done.get(record as usize) != Some(&true) {
                items.push(Item { record, segment: segment as u32, start, data, end: event.end });
            }
            (start, record) = (event.end, record + 1);
        }
    }
    items
}

/// Bytes that joining adds to the first record of a parcel, at most.
pub(super) fn overhead(join: Join, key: usize) -> usize {
    match join {
        Join::Simple => 0,
        Join::Kpl => KPL_HEAD + key.max(RANDOM_KEY_BYTES) + KPL_ITEM,
    }
}

/// Magic number, digest, and around the one key of the table.
const KPL_HEAD: usize = 4 + 16 + 3;
/// Around each record: tags, lengths, the index of its key.
const KPL_ITEM: usize = 10;

/// Bytes kept free in a parcel that is compressed as a whole: what does not compress grows a little.
fn spare(most: usize) -> usize {
    most / 512 + 64
}

/// The parcels of these items; joined ones are put in order of their parcels.
pub(super) fn parcels(
    items: &mut Vec<Item>,
    segments: &[Segment],
    service: &Service,
    join: Option<Join>,
    compressed: bool,
) -> Vec<Parcel> {
    let parcel = |items: Range<usize>, bytes, key: usize| {
        let key = if service.keyed && key == 0 { RANDOM_KEY_BYTES } else { key };
        Parcel { items, bytes, key, packed: None }
    };
    let Some(join) = join else {
        let of = |(at, item): (usize, &Item)| {
            parcel(at..at + 1, (item.end - item.data) as usize, (item.data - item.start) as usize)
        };
        return items.iter().enumerate().map(of).collect();
    };
    // The parcel of each item: the open one of its key, or a new one where that is full.
    let mut open: HashMap<&[u8], usize> = HashMap::new();
    let mut made: Vec<Parcel> = Vec::new();
    let mut placed: Vec<(usize, Item)> = Vec::with_capacity(items.len());
    for item in items.iter() {
        let key = item.key(segments);
        let data = (item.end - item.data) as usize;
        let more = data + if join == Join::Kpl { KPL_ITEM } else { 0 };
        let most = service.data_bytes_max(key.len());
        let most = if compressed { most - spare(most) } else { most };
        let at = open.get(key).copied().filter(|at| made.get(*at).is_some_and(|p| p.bytes + more <= most));
        let at = at.unwrap_or_else(|| {
            let first = overhead(join, key.len()) - if join == Join::Kpl { KPL_ITEM } else { 0 };
            made.push(parcel(0..0, first, key.len()));
            open.insert(key, made.len() - 1);
            made.len() - 1
        });
        if let Some(parcel) = made.get_mut(at) {
            parcel.bytes += more;
            parcel.items.end += 1;
        }
        placed.push((at, *item));
    }
    placed.sort_by_key(|(at, _)| *at);
    items.clear();
    items.extend(placed.into_iter().map(|(_, item)| item));
    let mut start = 0;
    for parcel in &mut made {
        parcel.items = start..start + parcel.items.end;
        start = parcel.items.end;
    }
    made
}

/// The data of a parcel's items, one after the other.
pub(super) fn joined(segments: &[Segment], items: &[Item], parcel: &Parcel) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parcel.bytes);
    let items = items.get(parcel.items.clone()).unwrap_or_default();
    items.iter().for_each(|item| joined.extend_from_slice(item.data(segments)));
    joined
}

/// Which parcels go in one request: each is as long as the limits let it be.
pub(super) fn requests(parcels: &[Parcel], service: &Service, stream: &str) -> Vec<Range<usize>> {
    let head = service.counted_head(stream);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bytes = head;
    for (at, parcel) in parcels.iter().enumerate() {
        let counted = service.counted(parcel.bytes, parcel.key);
        match ranges.last_mut() {
            Some(range)
                if range.len() < REQUEST_RECORDS_MAX && bytes + counted <= service.request_bytes_max =>
            {
                range.end = at + 1;
            }
            _ => {
                ranges.push(at..at + 1);
                bytes = head;
            }
        }
        bytes += counted;
    }
    ranges
}
