//! Bodies of requests: frames of the store, compressed.
//!
//! Owns: compression and the way from frames to bytes in memory, or in a file where they are many.
//! Never: sends; changes the store. Invariant: a part holds whole frames, so that it can be made again.

use super::frames::{self, Kind, Step};
use super::options::Compression;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Objects with more bytes of records than this are made in a file, not in memory.
pub(super) const MEMORY_BYTES_MAX: u64 = 16 << 20;
/// A body goes beyond its size by a frame and what the compressor holds.
const BUFFER_BYTES: u64 = 512 * 1024;
/// Snappy's matches reach no further.
const SNAPPY_PIECE_BYTES: usize = 64 * 1024;

/// A body.
#[derive(Debug)]
pub(super) struct Body {
    data: Data,
    /// `Content-MD5`, where it is asked for.
    pub(super) md5: Option<String>,
    /// Where its last frame ends in the data file.
    pub(super) end: u64,
    /// Bytes of records in it.
    pub(super) raw: u64,
    /// Its length.
    pub(super) bytes: u64,
}

#[derive(Debug)]
enum Data {
    Memory(Bytes),
    File(PathBuf),
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Data::File(path) = &self.data {
            // It can be made again; recovery removes what stays.
            drop(std::fs::remove_file(path));
        }
    }
}

/// What of an object goes into a body.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) data: PathBuf,
    /// From this place, where a frame begins.
    pub(super) from: u64,
    /// To this place, where a frame ends.
    pub(super) to: u64,
    /// It ends with the frame that makes it so long.
    pub(super) enough: u64,
    pub(super) compression: Compression,
    /// Bytes of records in the whole object, which Snappy has to say in front.
    pub(super) raw: u64,
    pub(super) md5: bool,
    /// A file for it, when it must not be in memory.
    pub(super) spill: Option<PathBuf>,
}

impl Body {
    /// Reads and compresses.
    pub(super) fn make(wanted: &Wanted) -> io::Result<Body> {
        match &wanted.spill {
            None => {
                let room = (wanted.to - wanted.from).min(wanted.enough.saturating_add(BUFFER_BYTES));
                let (made, bytes) = pack(wanted, Vec::with_capacity(room.min(MEMORY_BYTES_MAX) as usize))?;
                let md5 = wanted.md5.then(|| base64(&Md5::digest(&bytes)));
                let length = bytes.len() as u64;
                Ok(Body {
                    data: Data::Memory(bytes.into()),
                    md5,
                    end: made.end,
                    raw: made.raw,
                    bytes: length,
                })
            }
            Some(path) => {
                let (made, file) = pack(wanted, File::create(path)?)?;
                let mut body = Body {
                    data: Data::File(path.clone()),
                    md5: None,
                    end: made.end,
                    raw: made.raw,
                    bytes: 0,
                };
                body.bytes = file.metadata()?.len();
                if wanted.md5 {
                    body.md5 = Some(md5_of(path)?);
                }
                Ok(body)
            }
        }
    }

    /// As the SDK wants it.
    pub(super) async fn stream(&self) -> io::Result<ByteStream> {
        match &self.data {
            Data::Memory(bytes) => Ok(ByteStream::from(bytes.clone())),
            Data::File(path) => ByteStream::from_path(path)
                .await
                .map_err(|error| io::Error::other(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

/// How far a body went.
struct Made {
    end: u64,
    raw: u64,
}

/// Counts what goes through.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The compressors, with one face.
enum Packer<W: Write> {
    Plain(Counted<W>),
    Gzip(GzEncoder<Counted<W>>),
    Zstd(zstd::Encoder<'static, Counted<W>>),
    Snappy(Snappy<Counted<W>>),
}

/// One Snappy block, written bit by bit: its length comes first, then pieces that know nothing of each other.
struct Snappy<W> {
    out: W,
    held: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Snappy<W> {
    /// A block of so many bytes; without a length, the rest of one.
    fn new(mut out: W, length: Option<u64>) -> io::Result<Self> {
        if let Some(mut length) = length {
            while length >= 0x80 {
                out.write_all(&[length as u8 | 0x80])?;
                length >>= 7;
            }
            out.write_all(&[length as u8])?;
        }
        let most = snap::raw::max_compress_len(SNAPPY_PIECE_BYTES);
        Ok(Snappy { out, held: Vec::with_capacity(SNAPPY_PIECE_BYTES), packed: vec![0; most] })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SNAPPY_PIECE_BYTES - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() == SNAPPY_PIECE_BYTES {
                self.piece()?;
            }
        }
        Ok(())
    }

    fn piece(&mut self) -> io::Result<()> {
        let packed = snap::raw::Encoder::new().compress(&self.held, &mut self.packed);
        let packed = &self.packed[..packed.map_err(io::Error::other)?];
        // Each piece is a block of its own: without its length it is a part of ours.
        let length = packed.iter().position(|byte| byte & 0x80 == 0).map_or(packed.len(), |at| at + 1);
        self.out.write_all(&packed[length..])?;
        self.held.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        if !self.held.is_empty() {
            self.piece()?;
        }
        Ok(self.out)
    }
}

impl<W: Write> Packer<W> {
    fn new(wanted: &Wanted, out: W) -> io::Result<Self> {
        let out = Counted { inner: out, bytes: 0 };
        Ok(match wanted.compression {
            Compression::Gzip => Packer::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Zstd => Packer::Zstd(zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Compression::Snappy => {
                Packer::Snappy(Snappy::new(out, (wanted.from == 0).then_some(wanted.raw))?)
            }
            Compression::None | Compression::Arrow | Compression::Parquet => Packer::Plain(out),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Packer::Plain(out) => out.write_all(bytes),
            Packer::Gzip(out) => out.write_all(bytes),
            Packer::Zstd(out) => out.write_all(bytes),
            Packer::Snappy(out) => out.write(bytes),
        }
    }

    /// Bytes that came out so far.
    fn bytes(&self) -> u64 {
        match self {
            Packer::Plain(out) => out.bytes,
            Packer::Snappy(out) => out.out.bytes,
            Packer::Gzip(out) => out.get_ref().bytes,
            Packer::Zstd(out) => out.get_ref().bytes,
        }
    }

    fn finish(self) -> io::Result<W> {
        let mut out = match self {
            Packer::Plain(out) => out,
            Packer::Gzip(out) => out.finish()?,
            Packer::Zstd(out) => out.finish()?,
            Packer::Snappy(out) => out.finish()?,
        };
        out.flush()?;
        Ok(out.inner)
    }
}

fn pack<W: Write>(wanted: &Wanted, out: W) -> io::Result<(Made, W)> {
    let mut file = File::open(&wanted.data)?;
    file.seek(SeekFrom::Start(wanted.from))?;
    let mut from = BufReader::new(file);
    let mut packer = Packer::new(wanted, out)?;
    let mut made = Made { end: wanted.from, raw: 0 };
    let mut payload = Vec::new();
    while made.end < wanted.to && packer.bytes() < wanted.enough {
        match frames::next(&mut from, &mut payload)? {
            Step::Frame(kind) => {
                made.end += (frames::HEAD_BYTES + payload.len()) as u64;
                if kind == Kind::Data {
                    made.raw += payload.len() as u64;
                    packer.write(&payload)?;
                }
            }
            step => return Err(corrupt(&wanted.data, made.end, step)),
        }
    }
    Ok((made, packer.finish()?))
}

fn corrupt(path: &Path, at: u64, step: Step) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is corrupt at byte {at} ({step:?})", path.display()),
    )
}

fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer) = (Md5::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(base64(&digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snappy(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut packer = Snappy::new(Vec::new(), Some(bytes.len() as u64)).expect("memory");
        let mut rest = bytes;
        for cut in cuts {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            packer.write(now).expect("memory");
            rest = later;
        }
        packer.write(rest).expect("memory");
        packer.finish().expect("memory")
    }

    #[test]
    fn snappy_in_pieces_is_the_block_of_the_whole() {
        let text: Vec<u8> =
            (0..40_000u32).flat_map(|n| format!("line {n} {}\n", n / 7).into_bytes()).collect();
        for length in [0, 1, 127, 128, 65_535, 65_536, 65_537, 200_000, text.len()] {
            let whole = snap::raw::Encoder::new().compress_vec(&text[..length]).expect("snappy");
            for cuts in [&[][..], &[1, 70_000, 3], &[65_536, 65_536]] {
                assert_eq!(snappy(&text[..length], cuts), whole, "{length} bytes, cut {cuts:?}");
            }
        }
    }
}
