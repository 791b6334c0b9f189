//! libsystemd, loaded when the first `systemd` input is configured, so that a build needs no system library.
//!
//! Owns: the calls into the library, each behind a safe method. Never: knows what a field means.
//! Invariants: the library is never unloaded; a journal stays on the thread that opened it; what the library lends
//! (a field's bytes) is borrowed from the journal, so that no later call can pull it away.

use libloading::Library;
use rustix::event::PollFlags;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The name under which the loader finds it.
pub(super) const NAME: &str = "libsystemd.so.0";
/// `SD_JOURNAL_LOCAL_ONLY`.
const LOCAL_ONLY: c_int = 1;
/// What `sd_journal_process` answers when files came or went.
const INVALIDATE: c_int = 2;

/// An `sd_journal`.
type Raw = *mut c_void;
type Plain = unsafe extern "C" fn(Raw) -> c_int;
type GetData = unsafe extern "C" fn(Raw, *mut *const c_void, *mut usize) -> c_int;

macro_rules! calls {
    ($( $field:ident: $symbol:literal => $ty:ty ),* $(,)?) => {
        /// What is called of it.
        struct Calls { $( $field: $ty, )* }

        impl Calls {
            fn load() -> Result<Calls, libloading::Error> {
                // SAFETY: its initialisers only set up its own state; it is meant to be loaded so.
                let library = unsafe { Library::new(NAME) }?;
                let calls = Calls {
                    // SAFETY: the types are those of sd-journal.h, which its version number keeps as they are.
                    $( $field: *unsafe { library.get::<$ty>($symbol) }?, )*
                };
                // The functions are used until the process ends.
                std::mem::forget(library);
                Ok(calls)
            }
        }
    };
}

calls! {
    open: b"sd_journal_open" => unsafe extern "C" fn(*mut Raw, c_int) -> c_int,
    open_directory: b"sd_journal_open_directory" => unsafe extern "C" fn(*mut Raw, *const c_char, c_int) -> c_int,
    close: b"sd_journal_close" => unsafe extern "C" fn(Raw),
    get_fd: b"sd_journal_get_fd" => Plain,
    get_events: b"sd_journal_get_events" => Plain,
    get_timeout: b"sd_journal_get_timeout" => unsafe extern "C" fn(Raw, *mut u64) -> c_int,
    process: b"sd_journal_process" => Plain,
    add_match: b"sd_journal_add_match" => unsafe extern "C" fn(Raw, *const c_void, usize) -> c_int,
    add_disjunction: b"sd_journal_add_disjunction" => Plain,
    add_conjunction: b"sd_journal_add_conjunction" => Plain,
    set_data_threshold: b"sd_journal_set_data_threshold" => unsafe extern "C" fn(Raw, usize) -> c_int,
    seek_head: b"sd_journal_seek_head" => Plain,
    seek_tail: b"sd_journal_seek_tail" => Plain,
    seek_cursor: b"sd_journal_seek_cursor" => unsafe extern "C" fn(Raw, *const c_char) -> c_int,
    test_cursor: b"sd_journal_test_cursor" => unsafe extern "C" fn(Raw, *const c_char) -> c_int,
    get_cursor: b"sd_journal_get_cursor" => unsafe extern "C" fn(Raw, *mut *mut c_char) -> c_int,
    next: b"sd_journal_next" => Plain,
    previous: b"sd_journal_previous" => Plain,
    get_realtime_usec: b"sd_journal_get_realtime_usec" => unsafe extern "C" fn(Raw, *mut u64) -> c_int,
    restart_data: b"sd_journal_restart_data" => unsafe extern "C" fn(Raw),
    enumerate_data: b"sd_journal_enumerate_data" => GetData,
    enumerate_available_data: b"sd_journal_enumerate_available_data" => GetData,
}

/// The library, loaded once; the error says what the loader said.
fn calls() -> Result<&'static Calls, String> {
    static CALLS: OnceLock<Result<Calls, String>> = OnceLock::new();
    CALLS.get_or_init(|| Calls::load().map_err(|error| error.to_string())).as_ref().map_err(Clone::clone)
}

/// Says whether the library is there.
pub(super) fn probe() -> Result<(), String> {
    calls().map(drop)
}

/// What `sd_journal_process` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing, or entries at the end of files.
    Entries,
    /// Files came or went.
    Files,
}

/// A field as the library gave it.
pub(super) enum Data<'j> {
    /// `NAME=value`.
    Field(&'j [u8]),
    /// One could not be read (its compression is not known here); the next call gives the next one.
    Unreadable(io::Error),
    /// No more of this entry.
    End,
}

/// An open journal.
pub(super) struct Journal {
    raw: Raw,
    calls: &'static Calls,
    /// The last field could not be read: the call that steps over it is the next one.
    step_over: bool,
}

/// The answer of a call, or what its negative `errno` says.
fn answer(code: c_int) -> io::Result<c_int> {
    if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(code) }
}

impl Journal {
    /// Opens the journal files of a folder, or those of this machine.
    pub(super) fn open(folder: Option<&Path>) -> io::Result<Journal> {
        let calls = calls().map_err(io::Error::other)?;
        let mut raw: Raw = std::ptr::null_mut();
        let code = match folder {
            Some(folder) => {
                let folder = CString::new(folder.as_os_str().as_bytes())?;
                // SAFETY: `raw` is written to, `folder` ends with a zero byte and lives through the call.
                unsafe { (calls.open_directory)(&mut raw, folder.as_ptr(), 0) }
            }
            // SAFETY: `raw` is written to.
            None => unsafe { (calls.open)(&mut raw, LOCAL_ONLY) },
        };
        answer(code)?;
        Ok(Journal { raw, calls, step_over: false })
    }

    /// Runs a call that takes nothing but the journal.
    fn plain(&mut self, call: Plain) -> io::Result<c_int> {
        // SAFETY: the journal is open until it is dropped, and used by one thread at a time.
        answer(unsafe { call(self.raw) })
    }

    /// What becomes readable when the journal changes; from the first call on, its folders are watched.
    pub(super) fn fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.plain(self.calls.get_fd)?;
        // SAFETY: the library keeps it open as long as the journal, which is borrowed meanwhile.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// What to wait for on that descriptor.
    pub(super) fn events(&mut self) -> PollFlags {
        let events = self.plain(self.calls.get_events).unwrap_or(0);
        PollFlags::from_bits_truncate(events as u16)
    }

    /// How long to wait at most: where files are on a network, the library looks again by itself.
    pub(super) fn timeout(&mut self) -> Option<Duration> {
        let mut at = u64::MAX;
        // SAFETY: `at` is written to.
        let code = unsafe { (self.calls.get_timeout)(self.raw, &mut at) };
        if code <= 0 || at == u64::MAX {
            return None;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        Some(Duration::from_micros(at.saturating_sub(now)))
    }

    /// Takes what the descriptor told.
    pub(super) fn process(&mut self) -> io::Result<News> {
        let code = self.plain(self.calls.process)?;
        Ok(if code == INVALIDATE { News::Files } else { News::Entries })
    }

    /// Adds `NAME=value`; entries have to fit all terms, or one of them.
    pub(super) fn add_match(&mut self, text: &str, all: bool) -> io::Result<()> {
        // SAFETY: the bytes live through the call, which copies them.
        answer(unsafe { (self.calls.add_match)(self.raw, text.as_ptr().cast(), text.len()) })?;
        self.plain(if all { self.calls.add_conjunction } else { self.calls.add_disjunction }).map(drop)
    }

    /// Compressed fields are opened up to so many bytes.
    pub(super) fn set_field_limit(&mut self, bytes: usize) -> io::Result<()> {
        // SAFETY: it sets a number.
        answer(unsafe { (self.calls.set_data_threshold)(self.raw, bytes) }).map(drop)
    }

    /// The next step leads to the first entry.
    pub(super) fn seek_head(&mut self) -> io::Result<()> {
        self.plain(self.calls.seek_head).map(drop)
    }

    /// The next step back leads to the last entry.
    pub(super) fn seek_tail(&mut self) -> io::Result<()> {
        self.plain(self.calls.seek_tail).map(drop)
    }

    /// The next step leads to the entry of this cursor, or where it is gone, to the one behind it.
    pub(super) fn seek_cursor(&mut self, cursor: &CStr) -> io::Result<()> {
        // SAFETY: `cursor` ends with a zero byte and lives through the call.
        answer(unsafe { (self.calls.seek_cursor)(self.raw, cursor.as_ptr()) }).map(drop)
    }

    /// True when this is the entry of the cursor.
    pub(super) fn is_at(&mut self, cursor: &CStr) -> io::Result<bool> {
        // SAFETY: as in `seek_cursor`.
        answer(unsafe { (self.calls.test_cursor)(self.raw, cursor.as_ptr()) }).map(|code| code > 0)
    }

    /// The cursor of this entry.
    pub(super) fn cursor(&mut self) -> io::Result<CString> {
        let mut text: *mut c_char = std::ptr::null_mut();
        // SAFETY: `text` is written to.
        answer(unsafe { (self.calls.get_cursor)(self.raw, &mut text) })?;
        // SAFETY: on success it is a string that ends with a zero byte, and ours.
        let cursor = unsafe { CStr::from_ptr(text) }.to_owned();
        // SAFETY: it was made by malloc, and is not used any more.
        unsafe { libc::free(text.cast()) };
        Ok(cursor)
    }

    /// Goes to the next entry; false when there is none yet.
    pub(super) fn next(&mut self) -> io::Result<bool> {
        self.step_over = false;
        let there = self.plain(self.calls.next)? > 0;
        // What was opened of the last entry must not be taken for this one's.
        // SAFETY: it forgets how far the fields were listed.
        unsafe { (self.calls.restart_data)(self.raw) };
        Ok(there)
    }

    /// Goes to the entry before; false when there is none.
    pub(super) fn previous(&mut self) -> io::Result<bool> {
        Ok(self.plain(self.calls.previous)? > 0)
    }

    /// When this entry was written, in microseconds since the epoch.
    pub(super) fn realtime(&mut self) -> io::Result<u64> {
        let mut micros = 0;
        // SAFETY: `micros` is written to.
        answer(unsafe { (self.calls.get_realtime_usec)(self.raw, &mut micros) })?;
        Ok(micros)
    }

    /// The next field of this entry.
    pub(super) fn field(&mut self) -> io::Result<Data<'_>> {
        let (mut data, mut len): (*const c_void, usize) = (std::ptr::null(), 0);
        let step_over = std::mem::take(&mut self.step_over);
        let call = if step_over { self.calls.enumerate_available_data } else { self.calls.enumerate_data };
        // SAFETY: both are written to.
        let code = unsafe { call(self.raw, &mut data, &mut len) };
        if matches!(-code, libc::E2BIG | libc::ENOBUFS | libc::EPROTONOSUPPORT) && !step_over {
            self.step_over = true;
            return Ok(Data::Unreadable(io::Error::from_raw_os_error(-code)));
        }
        if answer(code)? == 0 {
            return Ok(Data::End);
        }
        // SAFETY: they are valid until the next call, and no call can be made while `self` is borrowed.
        Ok(Data::Field(unsafe { std::slice::from_raw_parts(data.cast(), len) }))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it any more.
        unsafe { (self.calls.close)(self.raw) };
    }
}
