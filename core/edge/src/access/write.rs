//! The access log's one writing thread.

use super::{State, To};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What is written in one go.
const CHUNK: usize = 64 << 10;

/// What is kept for a disk that takes nothing; what comes on top of it is lost.
const KEPT: usize = 256 << 10;

/// From one write to the next, at most, and from one look at the file's name to the next.
const TURN: Duration = Duration::from_secs(1);

/// While lines come, they gather for so long: who puts them need not wake anybody for each.
const GATHER: Duration = Duration::from_millis(20);

/// What reaches the thread.
pub(super) enum Job {
    /// Write this line.
    Line(Vec<u8>),
    /// Look at the flags.
    Look,
    /// Write what there is, and end.
    Close(oneshot::Sender<()>),
}

/// Where lines go, opened.
pub(super) enum Sink {
    File { path: PathBuf, file: File },
    Stdout,
}

impl Sink {
    pub fn open(to: &To) -> io::Result<Sink> {
        match to {
            To::Stdout => Ok(Sink::Stdout),
            To::File(path) => Ok(Sink::File { file: append(path)?, path: path.clone() }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File { file, .. } => file.write(bytes),
            Sink::Stdout => rustix::io::write(rustix::stdio::stdout(), bytes).map_err(io::Error::from),
        }
    }

    /// Whether the file no longer has its name: it was renamed, or taken away.
    fn is_renamed(&self) -> bool {
        let Sink::File { path, file } = self else { return false };
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (std::fs::metadata(path), file.metadata()) {
            (Ok(named), Ok(open)) => !same(&named, &open),
            (Err(error), _) => error.kind() == ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for its reader.
    if std::fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is a pipe: name a file, or \"stdout\""));
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The thread's own.
pub(super) struct Writer {
    sink: Sink,
    state: Arc<State>,
    /// Whole lines; the first one's begin may have been written already.
    waiting: Vec<u8>,
    /// The begin of the first one has been written.
    torn: bool,
    /// When all was written last.
    written: Instant,
    /// When the name of the file was looked at last.
    looked: Instant,
    /// A disk that takes nothing is not asked before.
    again: Instant,
    /// It takes nothing: said, and not said again.
    fails: bool,
}

impl Writer {
    pub fn new(sink: Sink, state: Arc<State>) -> Writer {
        let now = Instant::now();
        let waiting = Vec::with_capacity(CHUNK);
        Writer { sink, state, waiting, torn: false, written: now, looked: now, again: now, fails: false }
    }

    /// Writes until it is closed, or nobody can put lines any more.
    pub fn run(&mut self, inbox: &Receiver<Job>) {
        loop {
            let mut gathering = false;
            let mut next = inbox.recv_timeout(self.wait());
            loop {
                match next {
                    Ok(Job::Line(line)) => {
                        gathering = true;
                        self.take(&line);
                    }
                    Ok(Job::Look) => {}
                    Ok(Job::Close(closed)) => {
                        self.end();
                        let _ = closed.send(());
                        return;
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return self.end(),
                }
                // One that has come since is taken at once; a full queue does not keep the thread from its other duties.
                next = if self.is_due() { Err(RecvTimeoutError::Timeout) } else { at_once(inbox) };
            }
            self.turn();
            if gathering {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn is_due(&self) -> bool {
        self.state.reopen.load(Relaxed) || self.written.elapsed() >= TURN
    }

    /// Until the next turn; with nothing to write, there is only the file's name to look at.
    fn wait(&self) -> Duration {
        let last = if self.waiting.is_empty() { self.looked } else { self.written };
        TURN.saturating_sub(last.elapsed())
    }

    fn take(&mut self, line: &[u8]) {
        self.state.queued.fetch_sub(line.len(), Relaxed);
        if self.waiting.len() + line.len() > KEPT {
            self.flush();
        }
        if self.waiting.len() + line.len() > KEPT {
            self.state.lost.fetch_add(1, Relaxed);
            return;
        }
        self.waiting.extend_from_slice(line);
        if self.waiting.len() >= CHUNK {
            self.flush();
        }
    }

    fn turn(&mut self) {
        if self.written.elapsed() >= TURN {
            self.flush();
            self.written = Instant::now();
        }
        let asked = self.state.reopen.swap(false, Relaxed);
        if asked || self.looked.elapsed() >= TURN {
            self.looked = Instant::now();
            if asked || self.sink.is_renamed() {
                self.reopen();
            }
        }
    }

    /// Writes what waits, as far as it is taken.
    fn flush(&mut self) {
        if Instant::now() < self.again {
            return;
        }
        let mut at = 0;
        let mut failure = None;
        while at < self.waiting.len() && failure.is_none() {
            match self.sink.write(&self.waiting[at..]) {
                Ok(0) => failure = Some(io::Error::from(ErrorKind::WriteZero)),
                Ok(written) => at += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            self.failed(&error);
        }
        self.torn = if at == 0 { self.torn } else { self.waiting[at - 1] != b'\n' };
        self.state.written.fetch_add(lines(&self.waiting[..at]), Relaxed);
        self.waiting.drain(..at);
        if self.fails && self.waiting.is_empty() {
            self.fails = false;
            let lost = self.state.lost.load(Relaxed);
            tracing::warn!(
                lost,
                "the access log is written again; so many lines are missing in it since the edge started"
            );
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.again = Instant::now() + TURN;
        if !self.fails {
            self.fails = true;
            tracing::warn!(%error, "the access log takes no writes; requests go on without it, and lines are lost: make room on its disk");
        }
    }

    /// Begins the file anew under its name. The former one is kept where that cannot be.
    fn reopen(&mut self) {
        let Sink::File { path, .. } = &self.sink else { return };
        let path = path.clone();
        self.flush();
        match append(&path) {
            Ok(file) => {
                if self.torn {
                    let end =
                        self.waiting.iter().position(|&byte| byte == b'\n').map_or(self.waiting.len(), |at| at + 1);
                    self.waiting.drain(..end);
                    self.torn = false;
                    self.state.lost.fetch_add(1, Relaxed);
                }
                self.sink = Sink::File { path, file };
                self.again = Instant::now();
            }
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "the access log cannot be opened again, and goes on in its former file");
            }
        }
    }

    fn end(&mut self) {
        self.again = Instant::now();
        self.flush();
        self.state.lost.fetch_add(lines(&self.waiting), Relaxed);
    }
}

fn at_once(inbox: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
    inbox.try_recv().map_err(|error| match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    })
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}
