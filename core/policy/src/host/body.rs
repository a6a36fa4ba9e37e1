//! A worker as its edge sees it: a process or a thread, a connection to it, its clocks and its end.

use super::confine;
use super::frame::{Frame, Hello, is};
use super::progress::{Progress, Work};
use super::{Isolation, PluginFile, Terms, worker};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lines of a worker's standard error that are logged; what follows is not read.
const LINES: usize = 1000;

/// The longest such line, in bytes.
const LINE: u64 = 500;

/// A running worker.
#[derive(Debug)]
pub(super) struct Body {
    pub stream: UnixStream,
    progress: Progress,
    kind: Kind,
    /// The last line of its standard error.
    last_words: Arc<Mutex<String>>,
}

#[derive(Debug)]
enum Kind {
    Process(Child),
    Thread,
}

impl Body {
    /// Starts a worker and tells it what to load. The thread that calls this must live as long as the worker: the
    /// kernel kills it with that thread.
    pub fn start(file: &PluginFile, terms: &Terms) -> io::Result<Body> {
        let (stream, theirs) = UnixStream::pair()?;
        let progress = Progress::new()?;
        let last_words = Arc::default();
        let (kind, memory) = match terms.isolation {
            Isolation::Process => (process(file, terms, theirs, &last_words)?, Some(terms.memory)),
            Isolation::InProcess => (thread(file, theirs)?, None),
        };
        let body = Body { stream, progress, kind, last_words };
        body.greet(file, memory)?;
        Ok(body)
    }

    fn greet(&self, file: &PluginFile, memory: Option<u64>) -> io::Result<()> {
        let descriptors = [file.memory().as_fd(), self.progress.memory()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&self.stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        let hello = Hello { path: file.path().to_owned(), fingerprint: file.fingerprint(), memory };
        let hello = serde_json::to_vec(&hello).map_err(io::Error::other)?;
        let mut out = Vec::new();
        Frame { body: &hello, ..Frame::new(is::HELLO, 0) }.put(&mut out);
        (&self.stream).write_all(&out)
    }

    /// The process; none: it is a thread.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Process(child) => Some(child.id()),
            Kind::Thread => None,
        }
    }

    /// What it is doing now; none: it has nothing to do.
    pub fn work(&self) -> Option<Work> {
        match self.progress.work() {
            (work, true) => Some(work),
            (work, false) if self.has_unread() => Some(Work { task: 0, instance: 0, number: 0, ..work }),
            (_, false) => None,
        }
    }

    /// Whether it was told something that it has not read.
    #[allow(unsafe_code, reason = "asks the kernel about a socket")]
    fn has_unread(&self) -> bool {
        let mut bytes: libc::c_int = 0;
        // SAFETY: for a socket this request writes one number to the place that is given.
        let asked = unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        asked == 0 && bytes > 0
    }

    /// CPU time that it has used.
    pub fn cpu(&self) -> Duration {
        match &self.kind {
            Kind::Process(child) => cpu_of(clock_of(child.id().into(), CPU_OF_PROCESS)),
            Kind::Thread => cpu_of(clock_of(self.progress.thread(), CPU_OF_THREAD)),
        }
    }

    /// Whether it waits for something, and not for its turn on a processor.
    pub fn is_asleep(&self) -> bool {
        let process = self.pid().map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let file = format!("/proc/{process}/task/{}/stat", self.progress.thread());
        // The state is the word behind the name, which is in brackets and may hold anything.
        let state = std::fs::read_to_string(file).ok();
        let state = state.and_then(|text| text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
        state != Some('R')
    }

    /// Ends it, if it is a process. A thread cannot be ended.
    pub fn kill(&mut self) -> bool {
        match &mut self.kind {
            Kind::Process(child) => child.kill().is_ok(),
            Kind::Thread => false,
        }
    }

    /// What it was doing when it died, and of what.
    pub fn bury(mut self) -> (Option<Work>, String) {
        let work = Some(self.progress.work()).filter(|(_, busy)| *busy).map(|(work, _)| work);
        let why = match &mut self.kind {
            Kind::Thread => "its thread has ended".to_owned(),
            Kind::Process(child) => {
                // The connection is closed, so it has ended, or lives in a way that is of no use.
                let _ = child.kill();
                match (self.progress.forbidden(), child.wait()) {
                    (Some(call), _) => confine::attempt(call),
                    (None, Ok(status)) => end(status),
                    (None, Err(error)) => format!("its end is not known: {error}"),
                }
            }
        };
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if words.is_empty() { (work, why) } else { (work, format!("{why} (its last words: {words})")) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Kind::Process(child) = &mut self.kind {
            // An error means that it has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn process(file: &PluginFile, terms: &Terms, theirs: UnixStream, last_words: &Arc<Mutex<String>>) -> io::Result<Kind> {
    let mut child = Command::new(&terms.program.file)
        .args(&terms.program.arguments)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(stderr) = child.stderr.take() {
        let (name, words) = (format!("{} {}", file.id(), file.version()), Arc::clone(last_words));
        std::thread::Builder::new()
            .name(format!("{} stderr", file.id()))
            .spawn(move || listen(stderr, &name, &words))?;
    }
    Ok(Kind::Process(child))
}

/// Logs what a worker writes to standard error, to its end or to a bound.
fn listen(stderr: ChildStderr, plugin: &str, last_words: &Mutex<String>) {
    let mut lines = BufReader::new(stderr);
    for _ in 0..LINES {
        let mut line = Vec::new();
        match (&mut lines).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim().replace(char::is_control, "?");
        if !line.is_empty() {
            tracing::warn!(plugin, "{line}");
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
    tracing::warn!(plugin, "it has written {LINES} lines: what follows is not logged");
}

fn thread(file: &PluginFile, theirs: UnixStream) -> io::Result<Kind> {
    let id = file.id().to_owned();
    std::thread::Builder::new().name(format!("policy {id}")).spawn(move || {
        if let Err(error) = worker::work(theirs) {
            tracing::warn!(plugin = id, "a policy's thread has ended: {error}");
        }
    })?;
    Ok(Kind::Thread)
}

fn end(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGSEGV | libc::SIGBUS), _) => {
            "it crashed (a bad memory access, or its stack overflowed)".to_owned()
        }
        (Some(libc::SIGABRT), _) => "it aborted".to_owned(),
        (Some(libc::SIGKILL), _) => "it was killed".to_owned(),
        (Some(libc::SIGSYS), _) => "it made a system call that a policy may not make".to_owned(),
        (Some(libc::SIGILL | libc::SIGFPE | libc::SIGTRAP), _) => "it crashed (a forbidden instruction)".to_owned(),
        (Some(signal), _) => format!("it ended by signal {signal}"),
        (None, Some(code)) => format!("it ended with code {code}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// What Linux calls a process's or a thread's CPU clock: its number, inverted, above three bits that say which.
const CPU_OF_PROCESS: libc::clockid_t = 2;
const CPU_OF_THREAD: libc::clockid_t = 6;

fn clock_of(id: u64, which: libc::clockid_t) -> Option<libc::clockid_t> {
    let id = libc::clockid_t::try_from(id).ok().filter(|id| *id > 0)?;
    Some((!id << 3) | which)
}

#[allow(unsafe_code, reason = "a clock by its number")]
fn cpu_of(clock: Option<libc::clockid_t>) -> Duration {
    let Some(clock) = clock else { return Duration::ZERO };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in the time, or refuses a clock that is no more.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
