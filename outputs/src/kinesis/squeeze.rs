//! Compression of single records and of joined ones, with tools that a thread keeps.
//!
//! Owns: the three formats. Never: fails: what a compressor cannot do would be a bug in it, and then the record goes out in
//! the format's way to store.

use flate2::{Compress, FlushCompress, Status};
use std::cell::RefCell;

codecs::choice! {
    /// `compression`.
    pub enum Compression {
        /// gzip.
        Gzip "gzip",
        /// Zstandard.
        Zstd "zstd",
        /// Snappy, without frames.
        Snappy "snappy",
    }
}

/// Text shrinks well at the first levels already; higher ones cost far more than they save.
const GZIP_LEVEL: u32 = 2;
/// The format's largest window.
const GZIP_WINDOW_BITS: u8 = 15;

/// What a thread keeps, made when it is first needed.
#[derive(Default)]
struct Tools {
    gzip: Option<Compress>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    snappy: Option<snap::raw::Encoder>,
    buffer: Vec<u8>,
}

thread_local! {
    static TOOLS: RefCell<Tools> = RefCell::default();
}

/// Appends `data`, compressed.
pub(super) fn append(compression: Compression, data: &[u8], out: &mut Vec<u8>) {
    TOOLS.with_borrow_mut(|tools| match compression {
        Compression::Gzip => tools.gzip(data, out),
        Compression::Zstd => tools.zstd(data, out),
        Compression::Snappy => tools.snappy(data, out),
    });
}

impl Tools {
    fn gzip(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let level = flate2::Compression::new(GZIP_LEVEL);
        let tool = self.gzip.get_or_insert_with(|| Compress::new_gzip(level, GZIP_WINDOW_BITS));
        tool.reset();
        let mut room = data.len() / 3 + 64;
        loop {
            out.reserve(room);
            let taken = tool.total_in() as usize;
            let rest = data.get(taken..).unwrap_or_default();
            match tool.compress_vec(rest, out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) | Err(_) => return,
                Ok(Status::Ok | Status::BufError) => room = room.saturating_mul(2),
            }
        }
    }

    fn zstd(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let tool = self.zstd.get_or_insert_with(zstd::bulk::Compressor::default);
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(data.len()));
        drop(tool.compress_to_buffer(data, &mut self.buffer));
        out.extend_from_slice(&self.buffer);
        self.trim();
    }

    fn snappy(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(data.len()), 0);
        let tool = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
        let written = out.get_mut(start..).map(|room| tool.compress(data, room));
        out.truncate(start + written.and_then(Result::ok).unwrap_or(0));
    }

    /// A buffer that one large record made is given back.
    fn trim(&mut self) {
        const KEPT: usize = 1 << 20;
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    pub(crate) fn expand(compression: Compression, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::Gzip => {
                flate2::read::GzDecoder::new(data).read_to_end(&mut out).expect("gzip");
            }
            Compression::Zstd => out = zstd::decode_all(data).expect("zstd"),
            Compression::Snappy => out = snap::raw::Decoder::new().decompress_vec(data).expect("snappy"),
        }
        out
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 1_usize..50), 0..6),
        ) {
            let data: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
            for compression in [Compression::Gzip, Compression::Zstd, Compression::Snappy] {
                let mut out = b"before".to_vec();
                // Twice, as the tools are kept.
                append(compression, b"another", &mut Vec::new());
                append(compression, &data, &mut out);
                prop_assert_eq!(&out[..6], b"before");
                prop_assert_eq!(&expand(compression, &out[6..]), &data);
            }
        }
    }
}
