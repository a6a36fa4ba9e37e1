//! Keeps one worker alive, with all the instances in it.
//!
//! One thread does it: it reads answers, watches over the worker, and when the worker dies starts another one and puts
//! every instance back as it was. Events are written by whoever has them, without a thread in between.

use super::body::Body;
use super::frame::{Frame, Inbox, is};
use super::occupant::{Deliver, Haste, Sent, Unheard};
use super::post::{Fault, LifeOf, Post, State};
use super::progress::Work;
use super::talk::{doing, refusal, unconfined};
use super::watch::{LOOK, Seen, Watch};
use super::{Fingerprint, Isolation, PluginFile, Terms, instance};
use crate::{Event, Level, Setup, abi};
use rustix::net::{SendFlags, send};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that may wait for a worker to read them.
const QUEUE: usize = 8 << 20;
/// Instances are put into a worker while less than this waits.
const PLACING: usize = 256 * 1024;

/// Events without haste are written together: one waits for so long, and from then on for whatever wakes the keeper next, which is its
/// own look at the latest ([`LOOK`]).
const TOGETHER: Duration = Duration::from_millis(5);

/// A worker that dies sooner than this after its start, and not at an instance's work, is started again at once once.
const SOON: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(10);

/// All workers that are shared, by the file that they have loaded.
static SHARED: Mutex<BTreeMap<Fingerprint, Vec<Weak<Worker>>>> = Mutex::new(BTreeMap::new());

/// A worker for as long as somebody holds it.
pub(super) struct Worker {
    kept: Arc<Kept>,
}

/// What its keeper and its occupants share.
struct Kept {
    file: PluginFile,
    terms: Terms,
    room: Mutex<Room>,
    /// 0: there is no process.
    pid: AtomicU32,
    restarts: AtomicU64,
    closing: AtomicBool,
}

#[derive(Default)]
struct Room {
    /// To the worker; none while there is no worker.
    stream: Option<UnixStream>,
    /// What is to be written, and how much of it is.
    out: Vec<u8>,
    written: usize,
    /// Since when there is something to be written, when none of it has haste.
    waits: Option<Instant>,
    posts: BTreeMap<u64, Post>,
    last_post: u64,
    /// To be put into the worker.
    waiting: VecDeque<u64>,
    /// To be tried again, each at its time.
    empty: BTreeSet<(Instant, u64)>,
    /// An event's record, in memory that is kept.
    record: Vec<u8>,
}

impl Worker {
    /// The worker that has a file loaded on these terms, started if there is none.
    pub fn of(file: &PluginFile, terms: &Terms) -> io::Result<Arc<Worker>> {
        if terms.isolation == Isolation::InProcess {
            return Worker::start(file, terms).map(Arc::new);
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, workers| {
            workers.retain(|worker| worker.strong_count() > 0);
            !workers.is_empty()
        });
        let workers = shared.entry(file.fingerprint()).or_default();
        if let Some(worker) = workers.iter().filter_map(Weak::upgrade).find(|worker| worker.kept.terms == *terms) {
            return Ok(worker);
        }
        let worker = Worker::start(file, terms).map(Arc::new)?;
        workers.push(Arc::downgrade(&worker));
        Ok(worker)
    }

    fn start(file: &PluginFile, terms: &Terms) -> io::Result<Worker> {
        let kept = Arc::new(Kept {
            file: file.clone(),
            terms: terms.clone(),
            room: Mutex::default(),
            pid: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        });
        let mine = Arc::clone(&kept);
        std::thread::Builder::new().name(format!("keeps {}", file.id())).spawn(move || keep(&mine))?;
        Ok(Worker { kept })
    }

    pub fn occupy(&self, setup: &Setup, life: LifeOf, deliver: Deliver) -> u64 {
        let mut room = self.kept.room();
        room.last_post += 1;
        let post = room.last_post;
        room.posts.insert(post, Post::new(self.kept.file.clone(), setup, life, deliver));
        room.waiting.push_back(post);
        room.fill();
        post
    }

    pub fn send(&self, post: u64, life: u64, event: &Event, haste: Haste) -> Result<Sent, Unheard> {
        let room = &mut *self.kept.room();
        let Some(at) = room.posts.get_mut(&post) else { return Err(Unheard::Gone) };
        if at.life() != life || matches!(at.state, State::Empty(_)) {
            return Err(Unheard::Gone);
        }
        room.record.clear();
        abi::encode_event(event, &mut room.record);
        instance::fits(event.seq, &room.record).map_err(Unheard::TooLarge)?;
        if !instance::is_known(self.kept.file.stamp(), &room.record) {
            return Ok(Sent::Unknown);
        }
        if room.out.len() - room.written > QUEUE || !at.keep(event.seq, &room.record) {
            return Err(Unheard::Full);
        }
        if at.state == State::Placed {
            let first = room.out.is_empty();
            let frame = Frame::new(is::EVENT, at.instance(post));
            Frame { number: event.seq, body: &room.record, ..frame }.put(&mut room.out);
            at.save_if_due(post, &mut room.out);
            match haste {
                Haste::AtOnce => room.flush(),
                Haste::Together if first => room.waits = Some(Instant::now()),
                Haste::Together => {}
            }
        }
        Ok(Sent::Told)
    }

    pub fn save(&self, post: u64) {
        let room = &mut *self.kept.room();
        if let Some(at) = room.posts.get_mut(&post) {
            at.save(post, &mut room.out);
            room.flush();
        }
    }

    pub fn reconfigure(&self, post: u64, setup: &Setup) {
        if let Some(at) = self.kept.room().posts.get_mut(&post) {
            at.reconfigure(setup);
        }
    }

    pub fn leave(&self, post: u64) {
        let room = &mut *self.kept.room();
        if let Some(at) = room.posts.remove(&post).filter(|at| at.state == State::Placed) {
            Frame::new(is::DROP, at.instance(post)).put(&mut room.out);
            room.flush();
        }
    }

    pub fn pid(&self) -> Option<u32> {
        Some(self.kept.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub fn restarts(&self) -> u64 {
        self.kept.restarts.load(Ordering::Relaxed)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kept.closing.store(true, Ordering::Release);
        if let Some(stream) = &self.kept.room().stream {
            // Its keeper then reads the end. An error means that it does already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Kept {
    fn room(&self) -> MutexGuard<'_, Room> {
        // A panic inside would be ours; what it left is still one room, and each post is replayed from its own log.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Room {
    /// Puts waiting instances into the worker, as many as it can read soon.
    fn fill(&mut self) {
        if self.stream.is_none() {
            return;
        }
        while self.out.len() - self.written < PLACING {
            let Some(post) = self.waiting.pop_front() else { break };
            if let Some(at) = self.posts.get_mut(&post).filter(|at| at.state == State::Waiting) {
                at.place(post, &mut self.out);
                self.flush();
            }
        }
        if self.waits.is_none_or(|since| since.elapsed() >= TOGETHER) {
            self.flush();
        }
    }

    /// Writes what the worker's socket takes; the rest waits for the keeper.
    fn flush(&mut self) {
        let Some(stream) = &self.stream else { return };
        self.waits = None;
        while self.written < self.out.len() {
            match send(stream, &self.out[self.written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(written) => self.written += written,
                Err(rustix::io::Errno::INTR) => {}
                // Full, or dead: then its keeper knows soon.
                Err(_) => break,
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > QUEUE / 8 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// What became of a post after something went wrong.
    fn settle(&mut self, post: u64) {
        match self.posts.get(&post).map(|at| at.state) {
            Some(State::Waiting) => self.waiting.push_back(post),
            Some(State::Empty(until)) => drop(self.empty.insert((until, post))),
            Some(State::Placed) | None => {}
        }
    }

    /// Gives posts that have been empty for long enough another life.
    fn try_again(&mut self, now: Instant) {
        while let Some((until, post)) = self.empty.first().copied().filter(|(until, _)| *until <= now) {
            self.empty.remove(&(until, post));
            if let Some(at) = self.posts.get_mut(&post).filter(|at| at.state == State::Empty(until)) {
                at.start_anew("it starts anew");
                self.waiting.push_back(post);
            }
        }
    }

    fn fail(&mut self, post: u64, fault: &Fault) {
        if let Some(at) = self.posts.get_mut(&post) {
            at.fail(Instant::now(), fault);
            self.settle(post);
        }
    }

    /// Does what a frame of the worker says. An error is a worker that makes no sense.
    fn hear(&mut self, frame: &Frame<'_>, kept: &Kept) -> Result<(), String> {
        match frame.kind {
            is::READY if !frame.body.is_empty() => unconfined(&kept.file, &frame.text()),
            is::UNREADY => return Err(frame.text()),
            _ => {}
        }
        let post = frame.instance >> 16;
        // An instance that has failed fails at all that was sent after, too: that is no other failure.
        let there = |at: &&mut Post| at.state == State::Placed && at.is_this_time(frame.instance);
        let Some(at) = self.posts.get_mut(&post).filter(there) else { return Ok(()) };
        match frame.kind {
            is::MADE => at.made(),
            is::STEPPED => at.stepped(frame, kept.terms.warn_cpu)?,
            is::SAVED => at.saved(frame.number, frame.extra, frame.body),
            is::UNSAVED => at.not_saved(&frame.text()),
            is::UNMADE => {
                let how = refusal(&kept.file, "", frame.extra, frame.text());
                let at = Err(if frame.extra == 2 { doing(is::RESTORE) } else { doing(is::CREATE) });
                let how = match how {
                    super::InstanceError::Refused { why, .. } => why,
                    other => other.to_string(),
                };
                self.fail(post, &Fault { how, at });
            }
            is::FAILED => {
                let fault = at.step_failed(frame.body, frame.number);
                Frame::new(is::DROP, frame.instance).put(&mut self.out);
                self.fail(post, &fault);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A worker's end.
struct End {
    work: Option<Work>,
    how: String,
}

/// The keeper's thread: one worker after the other.
fn keep(kept: &Kept) {
    let mut pause = Duration::ZERO;
    while !kept.is_closing() {
        let began = Instant::now();
        let end = match Body::start(&kept.file, &kept.terms) {
            Ok(body) => attend(kept, body),
            Err(error) => End { work: None, how: format!("no worker can be started: {error}") },
        };
        if kept.is_closing() {
            return;
        }
        kept.restarts.fetch_add(1, Ordering::Relaxed);
        let culprit = bereave(kept, &end);
        if culprit || began.elapsed() >= SOON {
            pause = Duration::ZERO;
        } else {
            tracing::error!(
                plugin = kept.file.id(),
                "a worker of this plugin has died soon after its start: {}",
                end.how
            );
            rest(kept, pause);
            pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_LONGEST);
        }
    }
}

/// Waits, but not for somebody who has gone.
fn rest(kept: &Kept, pause: Duration) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !kept.is_closing() {
        std::thread::sleep(LOOK);
    }
}

/// Serves one worker to its end.
fn attend(kept: &Kept, mut body: Body) -> End {
    let failed = |how: String| End { work: None, how };
    let stream = match body.stream.try_clone() {
        Ok(stream) => stream,
        Err(error) => return failed(format!("it cannot be spoken to: {error}")),
    };
    kept.pid.store(body.pid().unwrap_or(0), Ordering::Relaxed);
    {
        let mut room = kept.room();
        room.stream = Some(stream);
        room.fill();
    }
    let why = converse(kept, &mut body);
    kept.pid.store(0, Ordering::Relaxed);
    kept.room().stream = None;
    body.kill();
    let (work, died) = body.bury();
    End { work, how: why.unwrap_or(died) }
}

/// Reads, writes and watches until the worker is of no more use; why, when it was not its own death.
fn converse(kept: &Kept, body: &mut Body) -> Option<String> {
    let (mut inbox, mut watch, mut told_stuck) = (Inbox::default(), Watch::default(), None);
    let mut look = Instant::now();
    if let Err(error) = body.stream.set_read_timeout(Some(LOOK)) {
        return Some(format!("it cannot be read from: {error}"));
    }
    loop {
        match inbox.fill(&body.stream) {
            Ok(1..) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(0) | Err(_) => return None,
        }
        if kept.is_closing() {
            return None;
        }
        let room = &mut *kept.room();
        loop {
            match inbox.next() {
                Ok(Some(frame)) => {
                    if let Err(why) = room.hear(&frame, kept) {
                        return Some(why);
                    }
                }
                Ok(None) => break,
                Err(garbage) => return Some(garbage.to_string()),
            }
        }
        room.fill();
        let now = Instant::now();
        if now < look {
            continue;
        }
        look = now + LOOK;
        room.try_again(now);
        match watch.look(body, &kept.terms) {
            Seen::Well => {}
            Seen::Slow(work, cpu) => room.slow(&work, cpu),
            Seen::Stuck(work, why) if kept.terms.isolation == Isolation::InProcess => {
                if told_stuck.replace(work.turn) != Some(work.turn) {
                    room.stuck(&work, &why);
                }
            }
            Seen::Stuck(_, why) => return Some(format!("it {why}, so its worker was killed")),
        }
    }
}

/// A worker has died: whose fault it was fails, and all others are made again. Whether it was somebody's fault.
fn bereave(kept: &Kept, end: &End) -> bool {
    let room = &mut *kept.room();
    room.stream = None;
    room.out.clear();
    room.written = 0;
    room.waits = None;
    room.waiting.clear();
    let culprit = end.work.map(|work| (work, work.instance >> 16)).filter(|(work, post)| {
        room.posts.get(post).is_some_and(|at| at.state == State::Placed && at.is_this_time(work.instance))
    });
    let others: Vec<u64> =
        room.posts.keys().copied().filter(|post| Some(*post) != culprit.map(|(_, post)| post)).collect();
    for post in others {
        let Some(at) = room.posts.get_mut(&post) else { continue };
        let was_there = at.state == State::Placed;
        at.disturbed();
        if was_there && culprit.is_none() {
            at.alert(
                Level::Warning,
                format!("{}: {}; it goes on in another worker, with its state", at.name(), end.how),
            );
        }
        if at.state == State::Waiting {
            room.waiting.push_back(post);
        }
    }
    // Last: should it end the next worker too, the others are at work by then.
    if let Some((work, post)) = culprit {
        let at = if work.task == is::EVENT { Ok(work.number) } else { Err(doing(work.task)) };
        room.fail(post, &Fault { how: end.how.clone(), at });
    }
    culprit.is_some()
}

impl Room {
    /// A worker is slow at something.
    fn slow(&mut self, work: &Work, cpu: Duration) {
        let Some(at) = self.posts.get_mut(&(work.instance >> 16)) else { return };
        if work.task == is::EVENT {
            at.slow_step(work.number, cpu);
        } else {
            at.alert(Level::Warning, format!("{} is slow {}: {cpu:.1?} of CPU time", at.name(), doing(work.task)));
        }
    }

    /// A thread does not come back from something.
    fn stuck(&mut self, work: &Work, why: &str) {
        let Some(at) = self.posts.get_mut(&(work.instance >> 16)) else { return };
        let (name, what) = match work.task {
            is::EVENT => (at.name(), format!("at {}", at.event(work.number))),
            task => (at.name(), doing(task).to_owned()),
        };
        let text = format!(
            "{name} is stuck {what}: it {why}; a thread cannot be stopped: until it answers the pair keeps its course, and \
             with isolation = \"process\" it would have been started again"
        );
        at.alert(Level::Critical, text);
    }
}
