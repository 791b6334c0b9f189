//! The io_uring: one ring, staging buffers that are registered where the memlock limit allows it.
//!
//! Owns: all `unsafe` of reading. Never: returns while the kernel may still write into a buffer.
//! Invariant: slot `i` of the staging memory belongs to request `i` of the running batch and to no other.

use super::{BATCH_READS_MAX, Request, STAGE_BYTES, Target};
use io_uring::{IoUring, Probe, opcode, types};
use rustix::fd::AsRawFd;
use std::io;

/// Why there is no ring.
#[derive(Debug)]
pub(super) enum RingError {
    /// `io_uring_setup` failed.
    Setup(io::Error),
    /// The kernel's ring cannot read.
    NoRead,
}

impl RingError {
    /// What the user can do about it.
    pub(super) fn remedy(&self) -> String {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
        match self {
            RingError::Setup(e) if e.raw_os_error() == Some(libc::ENOSYS) => "a kernel from 5.6 on has it, and a seccomp profile may hide it".to_owned(),
            RingError::Setup(e) if e.raw_os_error() == Some(libc::ENOMEM) => {
                "raise the memlock limit (`ulimit -l`, `LimitMEMLOCK=`) to 8M".to_owned()
            }
            RingError::Setup(_) if matches!(disabled.trim(), "1" | "2") => {
                format!("set the sysctl kernel.io_uring_disabled to 0 (it is {})", disabled.trim())
            }
            RingError::Setup(_) => {
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile".to_owned()
            }
            RingError::NoRead => "a kernel from 5.6 on has the opcode".to_owned(),
        }
    }
}

impl std::fmt::Display for RingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RingError::Setup(e) => write!(f, "io_uring_setup is refused ({e})"),
            RingError::NoRead => write!(f, "the kernel's io_uring has no IORING_OP_READ"),
        }
    }
}

/// What to do when `io_uring_enter` fails.
pub(super) const ENTER_REMEDY: &str = "allow io_uring_enter in the container's seccomp profile";

/// A batch that the ring could not finish.
pub(super) struct Failed {
    /// Why.
    pub(super) error: io::Error,
    /// Which of its reads have no result.
    pub(super) open: [bool; BATCH_READS_MAX],
}

/// The ring and its staging memory.
pub(super) struct Ring {
    // Declared before `stage`, so that the ring is gone before the memory that it has registered.
    ring: IoUring,
    stage: Box<[u8]>,
    registered: bool,
}

impl Ring {
    /// Sets the ring up; the second value says why its buffers are not registered.
    pub(super) fn new() -> Result<(Self, Option<io::Error>), RingError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(BATCH_READS_MAX as u32)
            .or_else(|_| IoUring::new(BATCH_READS_MAX as u32))
            .map_err(RingError::Setup)?;
        let mut probe = Probe::new();
        if ring.submitter().register_probe(&mut probe).is_err() || !probe.is_supported(opcode::Read::CODE) {
            return Err(RingError::NoRead);
        }
        let stage = vec![0; BATCH_READS_MAX * STAGE_BYTES].into_boxed_slice();
        let mut ring = Ring { ring, stage, registered: false };
        let refused = if probe.is_supported(opcode::ReadFixed::CODE) { ring.register().err() } else { None };
        Ok((ring, refused))
    }

    fn register(&mut self) -> io::Result<()> {
        let buffer = libc::iovec { iov_base: self.stage.as_mut_ptr().cast(), iov_len: self.stage.len() };
        // SAFETY: the memory is owned by `self`, never moves (boxed), and outlives the ring (field order).
        unsafe { self.ring.submitter().register_buffers(&[buffer])? };
        self.registered = true;
        Ok(())
    }

    /// The bytes of slot `index`.
    pub(super) fn staged(&self, index: usize, len: usize) -> &[u8] {
        let start = index * STAGE_BYTES;
        self.stage.get(start..start + len.min(STAGE_BYTES)).unwrap_or(&[])
    }

    /// Runs the batch (at most [`BATCH_READS_MAX`] reads) and waits for all of it; returns the number of calls made.
    ///
    /// When it fails, the ring must be kept for good: the kernel may still write into its memory.
    pub(super) fn run(&mut self, batch: &mut [Request<'_>]) -> (u64, Option<Failed>) {
        debug_assert!(batch.len() <= BATCH_READS_MAX);
        for (index, request) in batch.iter_mut().enumerate() {
            let entry = self.entry(index, request).user_data(index as u64);
            // SAFETY: the buffer behind the entry is this slot's staging memory or the request's own vector; both stay
            // where they are until this function has seen the entry's completion (or has given them up for good), and
            // nobody else touches them.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            // The queue has room for a whole batch and is empty between batches.
            assert!(pushed.is_ok(), "the submission queue holds a batch");
        }
        let (mut open, mut calls) = ([false; BATCH_READS_MAX], 0);
        open[..batch.len()].fill(true);
        let mut left = batch.len();
        while left > 0 {
            calls += 1;
            let entered = self.ring.submit_and_wait(left);
            for done in self.ring.completion() {
                left -= 1;
                if let Some(request) = batch.get_mut(done.user_data() as usize) {
                    open[done.user_data() as usize] = false;
                    finish(request, done.result());
                }
            }
            match entered {
                Ok(_) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                Err(error) => {
                    batch
                        .iter_mut()
                        .zip(open)
                        .filter(|(_, open)| *open)
                        .for_each(|(request, _)| abandon(request));
                    return (calls, Some(Failed { error, open }));
                }
            }
        }
        (calls, None)
    }

    /// Makes every further call fail.
    #[cfg(test)]
    pub(super) fn break_off(&self) {
        let null = std::fs::File::open("/dev/null").expect("null device");
        // SAFETY: both descriptors are open; the ring's number stands for the null device from now on.
        let made = unsafe { libc::dup2(null.as_raw_fd(), self.ring.as_raw_fd()) };
        assert_eq!(made, self.ring.as_raw_fd());
    }

    /// The read of slot `index`.
    fn entry(&mut self, index: usize, request: &mut Request<'_>) -> io_uring::squeue::Entry {
        let file = types::Fd(request.file.as_raw_fd());
        match &mut request.target {
            Target::Stage => {
                let slot = &mut self.stage[index * STAGE_BYTES..(index + 1) * STAGE_BYTES];
                let (start, len) = (slot.as_mut_ptr(), STAGE_BYTES as u32);
                match self.registered {
                    true => opcode::ReadFixed::new(file, start, len, 0).offset(request.offset).build(),
                    false => opcode::Read::new(file, start, len).offset(request.offset).build(),
                }
            }
            Target::Append(buffer, limit) => {
                let spare = buffer.spare_capacity_mut();
                let len = spare.len().min(*limit).min(u32::MAX as usize) as u32;
                opcode::Read::new(file, spare.as_mut_ptr().cast(), len).offset(request.offset).build()
            }
        }
    }
}

/// Gives a request a buffer of its own: the kernel may still write behind the bytes of the one that it had, which is
/// therefore never freed.
fn abandon(request: &mut Request<'_>) {
    if let Target::Append(buffer, _) = &mut request.target {
        let mut own = Vec::with_capacity(buffer.capacity());
        own.extend_from_slice(buffer);
        std::mem::forget(std::mem::replace(buffer, own));
    }
}

/// Records what the kernel said.
fn finish(request: &mut Request<'_>, result: i32) {
    let Ok(n) = usize::try_from(result) else {
        request.result = Err(io::Error::from_raw_os_error(-result));
        return;
    };
    if let Target::Append(buffer, _) = &mut request.target {
        // SAFETY: the kernel wrote `n` bytes into the spare capacity, which the entry's length did not exceed.
        unsafe { buffer.set_len(buffer.len() + n) };
    }
    request.result = Ok(n);
}
