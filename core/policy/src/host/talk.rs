//! A short talk with a worker of its own: what a plugin says of itself, and whether it accepts a setup. However the
//! plugin behaves, each answer or its absence comes in bounded time.

use super::body::Body;
use super::frame::{Frame, Inbox, is};
use super::watch::{LOOK, Seen, Watch};
use super::{InstanceError, LoadError, PluginFile, Terms};
use crate::Setup;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::time::{Duration, Instant};

/// Whatever the clocks say: nobody waits for longer.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Talk {
    /// None: it has died.
    body: Option<Body>,
    inbox: Inbox,
    file: PluginFile,
    terms: Terms,
    /// Questions so far.
    asked: u64,
}

/// A frame that outlives its buffer.
struct Told {
    kind: u32,
    extra: u64,
    text: String,
}

impl Talk {
    /// Starts a worker that has the plugin loaded.
    pub fn begin(file: &PluginFile, terms: &Terms) -> Result<Talk, LoadError> {
        let failed = |why: String| LoadError::Worker { path: file.path().to_owned(), why };
        let body = Body::start(file, terms).map_err(|error| failed(format!("no worker can be started: {error}")))?;
        let (file_of, terms) = (file.clone(), terms.clone());
        let mut talk = Talk { body: Some(body), inbox: Inbox::default(), file: file_of, terms, asked: 0 };
        let told = talk.wait(0).map_err(|why| failed(format!("its worker did not get ready: {why}")))?;
        if told.kind == is::UNREADY {
            // It names the file itself.
            let why = told.text.strip_prefix(&format!("{}: ", file.path().display())).unwrap_or(&told.text).to_owned();
            return Err(failed(why));
        }
        if !told.text.is_empty() {
            unconfined(file, &told.text);
        }
        Ok(talk)
    }

    /// Whether the worker has died.
    pub fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// Puts a topic and its setup to the plugin; its refusal is the error.
    pub fn ask(&mut self, topic: &str, setup: &[u8]) -> Result<String, String> {
        let body = [topic.as_bytes(), &[0], setup].concat();
        self.asked += 1;
        let told = self.put(&Frame { number: self.asked, body: &body, ..Frame::new(is::ASK, 0) })?;
        if told.extra == 0 { Ok(told.text) } else { Err(told.text) }
    }

    /// Makes an instance for a pair, and forgets it.
    pub fn try_create(&mut self, setup: &Setup) -> Result<(), InstanceError> {
        self.asked += 1;
        let instance = self.asked;
        let refused = |why: String| refusal(&self.file, &setup.pair, 0, why);
        let config = serde_json::to_vec(setup).map_err(|error| refused(error.to_string()))?;
        let told = self.put(&Frame { body: &config, ..Frame::new(is::CREATE, instance) });
        let told = told.map_err(|why| refusal(&self.file, &setup.pair, 0, why))?;
        if told.kind == is::UNMADE {
            return Err(refusal(&self.file, &setup.pair, told.extra, told.text));
        }
        // No answer comes: whether the plugin dies of it, the next question shows.
        self.send(&Frame::new(is::DROP, instance)).map_err(|why| refusal(&self.file, &setup.pair, 0, why))
    }

    fn put(&mut self, frame: &Frame<'_>) -> Result<Told, String> {
        self.send(frame)?;
        self.wait(frame.kind)
    }

    fn send(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let Some(body) = &self.body else { return Err("its worker has died before".to_owned()) };
        let mut out = Vec::new();
        frame.put(&mut out);
        // The worker reads whenever it is not at work, and it is not: it has answered everything.
        (&body.stream).write_all(&out).map_err(|error| format!("its worker cannot be reached: {error}"))
    }

    fn wait(&mut self, task: u32) -> Result<Told, String> {
        let (mut watch, began) = (Watch::default(), Instant::now());
        loop {
            match self.inbox.next() {
                Ok(Some(frame)) => return Ok(Told { kind: frame.kind, extra: frame.extra, text: frame.text() }),
                Ok(None) => {}
                Err(garbage) => return Err(self.end(task, Some(garbage.to_string()))),
            }
            let Some(body) = &self.body else { return Err("its worker has died before".to_owned()) };
            if readable(body) {
                match self.inbox.fill(&body.stream) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Err(self.end(task, None)),
                }
            } else if let Seen::Stuck(_, why) = watch.look(body, &self.terms) {
                return Err(self.end(task, Some(format!("it {why}, and was stopped"))));
            } else if began.elapsed() > LONGEST {
                return Err(self.end(task, Some(format!("it did not answer within {LONGEST:?}, and was stopped"))));
            }
        }
    }

    /// The worker is of no more use; what is said of it.
    fn end(&mut self, task: u32, why: Option<String>) -> String {
        let died = self.body.take().map(|mut body| {
            body.kill();
            body.bury().1
        });
        format!("{}: {}", doing(task), why.or(died).unwrap_or_default())
    }
}

/// What was being done, for a person to read.
pub(super) fn doing(task: u32) -> &'static str {
    match task {
        is::ASK => "while it described itself",
        is::CREATE => "while an instance was made",
        is::RESTORE => "while an instance was restored",
        is::SAVE => "while an instance was saved",
        is::DROP => "while an instance was ended",
        0 => "before it read what it was told",
        _ => "while it was loaded",
    }
}

/// An `UNMADE` frame as the error that it was.
pub(super) fn refusal(file: &PluginFile, pair: &str, extra: u64, why: String) -> InstanceError {
    let policy = file.id().to_owned();
    match extra {
        1 => InstanceError::Panicked { policy, why },
        2 => InstanceError::Snapshot { policy, why },
        _ => InstanceError::Refused { policy, pair: pair.to_owned(), why },
    }
}

/// The kernel refuses a part of the confinement: said once for each plugin.
pub(super) fn unconfined(file: &PluginFile, why: &str) {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};
    static SAID: Mutex<BTreeSet<super::Fingerprint>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(file.fingerprint()) {
        tracing::warn!(plugin = file.id(), "it runs less confined than it should: {why}");
    }
}

fn readable(body: &Body) -> bool {
    let mut wanted = [PollFd::new(&body.stream, PollFlags::IN)];
    let wait = Timespec::try_from(LOOK).ok();
    // An interrupted wait is a short one.
    poll(&mut wanted, wait.as_ref()).is_ok_and(|ready| ready > 0)
}
