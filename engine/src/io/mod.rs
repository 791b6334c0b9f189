//! Reading many files with few system calls: an io_uring, or `pread` where the ring cannot be had.
//!
//! Owns: the batch of reads, the staging memory, the choice between ring and fallback and the words that explain it.
//! Never: knows what a line is, keeps a file descriptor, reads ahead of what it was asked for.
//! Invariant: when [`Reader::run`] returns, no read is in flight, so every buffer belongs to its owner again.

mod ring;

use rustix::buffer::spare_capacity;
use rustix::fd::BorrowedFd;
use std::io;

/// Bytes that a staged read can bring: enough for what a busy file writes between two looks.
pub const STAGE_BYTES: usize = 64 * 1024;

/// Reads that one batch can hold.
pub const BATCH_READS_MAX: usize = 32;

/// Where the bytes of a read go.
#[derive(Debug)]
pub enum Target {
    /// Into staging memory, see [`Reader::staged`]; at most [`STAGE_BYTES`].
    Stage,
    /// Behind the bytes of this buffer, up to this many and never beyond its capacity.
    Append(Vec<u8>, usize),
}

/// One read of a batch.
#[derive(Debug)]
pub struct Request<'f> {
    /// The file.
    pub file: BorrowedFd<'f>,
    /// Where in the file.
    pub offset: u64,
    /// Where to.
    pub target: Target,
    /// What came: the number of bytes, 0 at the end of the file.
    pub result: io::Result<usize>,
}

impl<'f> Request<'f> {
    /// A read that has not run yet.
    pub fn new(file: BorrowedFd<'f>, offset: u64, target: Target) -> Self {
        Request { file, offset, target, result: Ok(0) }
    }
}

/// Runs batches of reads.
pub struct Reader {
    backend: Backend,
    /// How many calls into the kernel were made for reads (for tests and metrics).
    pub calls: u64,
    /// What is to be told, and was not yet.
    notice: Option<String>,
}

#[allow(clippy::large_enum_variant, reason = "there is one of it an input")]
enum Backend {
    Ring(ring::Ring),
    Plain { stage: Vec<Vec<u8>> },
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// What was chosen at the start, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// True when nothing was given up.
    pub best: bool,
    /// What is used, why, and the remedy where there is one.
    pub message: String,
}

impl Reader {
    /// The best reader that this machine allows, and what to tell about it.
    pub fn probe() -> (Self, Choice) {
        match ring::Ring::new() {
            Ok((ring, None)) => {
                let message = "reads through io_uring with registered buffers".to_owned();
                (
                    Reader { backend: Backend::Ring(ring), calls: 0, notice: None },
                    Choice { best: true, message },
                )
            }
            Ok((ring, Some(error))) => {
                let message = format!(
                    "reads through io_uring without registered buffers ({error}): raise the memlock limit \
                     (`ulimit -l`, `LimitMEMLOCK=`) to 8M for fewer copies"
                );
                (
                    Reader { backend: Backend::Ring(ring), calls: 0, notice: None },
                    Choice { best: false, message },
                )
            }
            Err(error) => {
                let message = format!("reads with pread: {error}; {}", error.remedy());
                (Reader::plain(), Choice { best: false, message })
            }
        }
    }

    /// A reader that uses `pread` only.
    pub fn plain() -> Self {
        let stage = (0..BATCH_READS_MAX).map(|_| Vec::new()).collect();
        Reader { backend: Backend::Plain { stage }, calls: 0, notice: None }
    }

    /// True when this is the ring.
    pub fn is_ring(&self) -> bool {
        matches!(self.backend, Backend::Ring(_))
    }

    /// Runs up to [`BATCH_READS_MAX`] reads and waits for all of them; each request then holds its result.
    ///
    /// A longer batch is cut: the rest gets `ErrorKind::InvalidInput`.
    pub fn run(&mut self, batch: &mut [Request<'_>]) {
        let (now, rest) = batch.split_at_mut(batch.len().min(BATCH_READS_MAX));
        for request in rest {
            request.result = Err(io::ErrorKind::InvalidInput.into());
        }
        if now.is_empty() {
            return;
        }
        match &mut self.backend {
            Backend::Ring(ring) => {
                let (calls, failed) = ring.run(now);
                self.calls += calls;
                if let Some(failed) = failed {
                    self.leave_ring(&failed, now);
                }
            }
            Backend::Plain { stage } => {
                self.calls += now.len() as u64;
                for (request, stage) in now.iter_mut().zip(stage) {
                    request.result = pread(request, stage);
                }
            }
        }
    }

    /// The ring is of no use any more: what it did not finish is read with `pread`, and so is all that follows.
    fn leave_ring(&mut self, failed: &ring::Failed, batch: &mut [Request<'_>]) {
        let Backend::Ring(ring) = std::mem::replace(&mut self.backend, Reader::plain().backend) else {
            return;
        };
        let Backend::Plain { stage } = &mut self.backend else { return };
        for (index, (request, stage)) in batch.iter_mut().zip(stage).enumerate() {
            match (&request.target, &request.result) {
                _ if failed.open[index] => request.result = pread(request, stage),
                (Target::Stage, Ok(len)) => *stage = ring.staged(index, *len).to_vec(),
                _ => {}
            }
        }
        // The kernel may still write into its memory.
        std::mem::forget(ring);
        self.calls += failed.open.iter().filter(|open| **open).count() as u64;
        self.notice = Some(format!(
            "io_uring_enter failed ({}): from now on reads with pread; {}",
            failed.error,
            ring::ENTER_REMEDY
        ));
    }

    /// What has to be told since this was last asked.
    pub fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// The bytes that the staged read at `index` of the last batch brought.
    pub fn staged(&self, index: usize, len: usize) -> &[u8] {
        match &self.backend {
            Backend::Ring(ring) => ring.staged(index, len),
            Backend::Plain { stage } => stage.get(index).and_then(|s| s.get(..len)).unwrap_or(&[]),
        }
    }
}

/// One read without the ring.
fn pread(request: &mut Request<'_>, stage: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let result = match &mut request.target {
            Target::Stage => {
                stage.resize(STAGE_BYTES, 0);
                rustix::io::pread(request.file, stage.as_mut_slice(), request.offset)
            }
            Target::Append(buffer, limit) => {
                let room = (*limit).min(buffer.capacity() - buffer.len());
                append(request.file, buffer, room, request.offset)
            }
        };
        match result {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Reads behind the bytes of `buffer`, at most `room` of its spare capacity.
fn append(file: BorrowedFd<'_>, buffer: &mut Vec<u8>, room: usize, offset: u64) -> rustix::io::Result<usize> {
    if room == buffer.capacity() - buffer.len() {
        return rustix::io::pread(file, spare_capacity(buffer), offset);
    }
    let start = buffer.len();
    buffer.resize(start + room, 0);
    let result = rustix::io::pread(file, &mut buffer[start..], offset);
    buffer.truncate(start + result.unwrap_or(0));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::io::Write;

    fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = crate::testing::scratch_file();
        file.write_all(bytes).expect("write");
        file
    }

    /// Reads a file in pieces of several sizes and kinds; returns all its bytes.
    fn read_all(reader: &mut Reader, file: &std::fs::File, sizes: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for &size in sizes.iter().cycle() {
            let target =
                if size == 0 { Target::Stage } else { Target::Append(Vec::with_capacity(size + 7), size) };
            let mut batch = [Request::new(file.as_fd(), out.len() as u64, target)];
            reader.run(&mut batch);
            let [request] = batch;
            let n = request.result.expect("read");
            if n == 0 {
                return out;
            }
            match request.target {
                Target::Stage => out.extend_from_slice(reader.staged(0, n)),
                Target::Append(buffer, _) => {
                    assert_eq!(buffer.len(), n);
                    assert!(n <= size);
                    out.extend_from_slice(&buffer);
                }
            }
        }
        out
    }

    #[test]
    fn the_ring_and_the_fallback_read_the_same_bytes() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let file = file(&bytes);
        for sizes in [&[0][..], &[1000, 0, 100_000], &[262_144]] {
            assert_eq!(read_all(&mut Reader::plain(), &file, sizes), bytes, "plain {sizes:?}");
            let (mut reader, choice) = Reader::probe();
            assert_eq!(read_all(&mut reader, &file, sizes), bytes, "{} {sizes:?}", choice.message);
        }
    }

    #[test]
    fn a_batch_over_many_files_is_one_call() {
        let files: Vec<_> = (0..BATCH_READS_MAX).map(|n| file(format!("file {n}\n").as_bytes())).collect();
        let (mut reader, _) = Reader::probe();
        let mut batch: Vec<_> = files.iter().map(|f| Request::new(f.as_fd(), 0, Target::Stage)).collect();
        reader.run(&mut batch);
        for (n, request) in batch.iter().enumerate() {
            let len = *request.result.as_ref().expect("read");
            assert_eq!(reader.staged(n, len), format!("file {n}\n").as_bytes());
        }
        if reader.is_ring() {
            assert_eq!(reader.calls, 1);
        }
    }

    #[test]
    fn a_ring_that_fails_is_left_for_good() {
        let files: Vec<_> = (0..4).map(|n| file(format!("file {n}\n").as_bytes())).collect();
        let mut reader = Reader::probe().0;
        if let Backend::Ring(ring) = &reader.backend {
            ring.break_off();
        }
        for round in 0..2 {
            let told = reader.is_ring();
            let target = |n| match n % 2 {
                0 => Target::Stage,
                _ => {
                    let mut buffer = Vec::with_capacity(100);
                    buffer.extend_from_slice(b"before ");
                    Target::Append(buffer, 50)
                }
            };
            let request = |(n, file): (usize, _)| Request::new(std::fs::File::as_fd(file), 0, target(n));
            let mut batch: Vec<_> = files.iter().enumerate().map(request).collect();
            reader.run(&mut batch);
            for (n, request) in batch.iter().enumerate() {
                let (len, text) = (*request.result.as_ref().expect("read"), format!("file {n}\n"));
                match &request.target {
                    Target::Stage => assert_eq!(reader.staged(n, len), text.as_bytes(), "{round}"),
                    Target::Append(buffer, _) => assert_eq!(*buffer, format!("before {text}").into_bytes()),
                }
            }
            assert!(!reader.is_ring());
            assert_eq!(reader.take_notice().is_some(), told, "it is told once");
        }
    }

    #[test]
    fn an_error_stays_with_its_request() {
        let good = file(b"good");
        let directory = std::fs::File::open(std::env::temp_dir()).expect("open");
        for mut reader in [Reader::probe().0, Reader::plain()] {
            let mut batch = [
                Request::new(directory.as_fd(), 0, Target::Stage),
                Request::new(good.as_fd(), 1, Target::Stage),
            ];
            reader.run(&mut batch);
            assert!(batch[0].result.is_err());
            assert_eq!(*batch[1].result.as_ref().expect("read"), 3);
            assert_eq!(reader.staged(1, 3), b"ood");
        }
    }
}
