//! Parcels to the body of a request: base64 straight from a segment's bytes, once.
//!
//! Owns: the JSON of PutRecords and PutRecordBatch, and the form of aggregated records. Never: cuts, drops or orders.

use super::key::RandomKeys;
use super::pack::{self, Item, Join, Parcel};
use super::service::Service;
use crate::segment::Segment;
use codecs::json::{Escape, write_text};
use codecs::record::Text;
use md5::{Digest, Md5};

/// Begins a record of the Kinesis Producer Library.
const KPL_MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// What a request is made of.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) service: &'static Service,
    pub(super) stream: &'s str,
    pub(super) join: Option<Join>,
    pub(super) keys: &'s RandomKeys,
    pub(super) segments: &'s [Segment],
    pub(super) items: &'s [Item],
}

impl Source<'_> {
    /// The body with these parcels.
    pub(super) fn body<'p>(&self, parcels: impl Iterator<Item = &'p Parcel> + Clone) -> Vec<u8> {
        let size: usize = parcels.clone().map(|p| p.bytes.div_ceil(3) * 4 + p.key + 40).sum();
        let mut body = Vec::with_capacity(size + 64 + self.stream.len());
        body.extend_from_slice(b"{\"");
        body.extend_from_slice(self.service.stream_member.as_bytes());
        body.extend_from_slice(b"\":\"");
        body.extend_from_slice(self.stream.as_bytes());
        body.extend_from_slice(b"\",\"Records\":[");
        let (mut key, mut joined) = (Vec::new(), Vec::new());
        for (at, parcel) in parcels.enumerate() {
            if at > 0 {
                body.push(b',');
            }
            self.key(parcel, &mut key);
            body.extend_from_slice(b"{\"Data\":\"");
            base64_simd::STANDARD.encode_append(self.data(parcel, &key, &mut joined), &mut body);
            if self.service.keyed {
                body.extend_from_slice(b"\",\"PartitionKey\":");
                write_text(&mut body, Text::examined(&key), Escape::Unicode);
                body.push(b'}');
            } else {
                body.extend_from_slice(b"\"}");
            }
        }
        body.extend_from_slice(b"]}");
        body
    }

    /// The parcel's partition key.
    fn key(&self, parcel: &Parcel, out: &mut Vec<u8>) {
        out.clear();
        let own = self.items.get(parcel.items.start).map_or(&[][..], |item| item.key(self.segments));
        match own {
            [] if self.service.keyed => self.keys.write(out),
            own => out.extend_from_slice(own),
        }
    }

    /// The parcel's data.
    fn data<'d>(&'d self, parcel: &'d Parcel, key: &[u8], joined: &'d mut Vec<u8>) -> &'d [u8] {
        if let Some(packed) = &parcel.packed {
            return packed;
        }
        match (self.join, self.items.get(parcel.items.clone()).unwrap_or_default()) {
            (None | Some(Join::Simple), [item]) => item.data(self.segments),
            (Some(Join::Kpl), items) => {
                joined.clear();
                kpl(key, items.iter().map(|item| item.data(self.segments)), joined);
                joined
            }
            _ => {
                *joined = pack::joined(self.segments, self.items, parcel);
                joined
            }
        }
    }
}

/// Appends an aggregated record: magic number, the message `AggregatedRecord`, its MD5.
/// <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>
fn kpl<'d>(key: &[u8], records: impl Iterator<Item = &'d [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(&KPL_MAGIC);
    let start = out.len();
    // partition_key_table = 1
    out.push(0x0a);
    varint(key.len(), out);
    out.extend_from_slice(key);
    for data in records {
        // records = 3 { partition_key_index = 1: 0, data = 3 }
        out.push(0x1a);
        varint(2 + 1 + varint_bytes(data.len()) + data.len(), out);
        out.extend_from_slice(&[0x08, 0x00, 0x1a]);
        varint(data.len(), out);
        out.extend_from_slice(data);
    }
    let digest = Md5::digest(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&digest);
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_bytes(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}
