//! An HTTP server that takes JSON lines and remembers the field `log` of each, with the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One record that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// When its request was complete.
    pub(crate) at: Instant,
    /// Which run of the engine sent it, see [`Sink::set_life`].
    pub(crate) life: usize,
    /// Its field `log`.
    pub(crate) log: String,
}

/// The server; it ends with the test program.
pub(crate) struct Sink {
    state: Arc<State>,
    port: u16,
}

#[derive(Default)]
struct State {
    arrivals: Mutex<Vec<Arrival>>,
    life: AtomicUsize,
    status: AtomicU16,
    delay_ms: AtomicU64,
    requests: AtomicU64,
    /// Requests are read and never answered.
    silent: AtomicBool,
}

impl Sink {
    /// Starts it.
    pub(crate) fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { status: AtomicU16::new(200), ..State::default() });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = serving.clone();
                // A connection that breaks is the engine's trouble, not the sink's.
                std::thread::spawn(move || drop(state.serve(stream)));
            }
        });
        Sink { state, port }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What comes now was sent by this run of the engine.
    pub(crate) fn set_life(&self, life: usize) {
        self.state.life.store(life, SeqCst);
    }

    /// The status of the answers; records count as arrived with 200 only.
    pub(crate) fn answer(&self, status: u16) {
        self.state.status.store(status, SeqCst);
    }

    /// How long an answer takes.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, SeqCst);
    }

    /// Takes requests, and answers none.
    pub(crate) fn fall_silent(&self, silent: bool) {
        self.state.silent.store(silent, SeqCst);
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(SeqCst)
    }

    /// Records so far.
    pub(crate) fn count(&self) -> usize {
        self.state.arrivals.lock().unwrap().len()
    }

    /// Looks at what arrived.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&[Arrival]) -> T) -> T {
        look(&self.state.arrivals.lock().unwrap())
    }

    /// All `log` fields so far.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.with(|arrivals| arrivals.iter().map(|a| a.log.clone()).collect())
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut answers = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let life = self.life.load(SeqCst);
        loop {
            let mut length = 0;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            self.requests.fetch_add(1, SeqCst);
            while self.silent.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let status = self.status.load(SeqCst);
            if status == 200 {
                let at = Instant::now();
                let new: Vec<_> = logs(&body).map(|log| Arrival { at, life, log }).collect();
                self.arrivals.lock().unwrap().extend(new);
            }
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(SeqCst)));
            answers.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        }
    }
}

/// The field `log` of each line of JSON; the tests write nothing into it that JSON escapes, except what they look for
/// in its escaped form.
pub(crate) fn logs(body: &[u8]) -> impl Iterator<Item = String> {
    body.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let line = String::from_utf8_lossy(line);
        let field = line.split_once("\"log\":\"").map(|(_, rest)| rest);
        field.map_or_else(|| format!("no log: {line}"), |rest| rest[..closing(rest)].to_owned())
    })
}

/// Where the string ends that `text` begins inside of.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}
