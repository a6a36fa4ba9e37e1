//! The worker: a process, or a thread, that has one plugin's code and runs its instances for whoever started it.
//!
//! It does one frame after the other, in the order in which they came, and answers each chunk of them in one write.

use super::code::Code;
use super::confine;
use super::frame::{Frame, Hello, Inbox, is};
use super::instance::Instance;
use super::progress::Progress;
use super::{InstanceError, PluginFile, Snapshot, StepError};
use crate::{Setup, abi};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Answers wait for the end of their chunk, but not behind a step that took longer.
const LONG_STEP: Duration = Duration::from_micros(500);

/// Nor when they are more than this.
const MUCH: usize = 64 * 1024;

/// Serves the edge that started this process as a worker, on standard input; returns when the edge has gone. An error
/// says why this process is none.
pub fn serve() -> io::Result<()> {
    let none = |why: &str| io::Error::other(format!("this is for an edge to start: {why}"));
    let input = rustix::fs::fstat(rustix::stdio::stdin())?;
    if !rustix::fs::FileType::from_raw_mode(input.st_mode).is_socket() {
        return Err(none("standard input is not its connection"));
    }
    confine::shut().map_err(|why| none(&why))?;
    let stream = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    drop(nothing);
    work(stream)
}

/// Serves one connection to its end.
pub(super) fn work(stream: UnixStream) -> io::Result<()> {
    let (memory, page) = descriptors(&stream)?;
    let progress = Progress::of(page)?;
    progress.set_thread(u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0));
    let mut inbox = Inbox::default();
    let Some(hello) = greeted(&mut inbox, &stream)? else { return Ok(()) };
    let mut out = Vec::new();
    let desk = match loaded(hello, memory, progress) {
        Ok((desk, unconfined)) => {
            Frame { body: unconfined.as_bytes(), ..Frame::new(is::READY, 0) }.put(&mut out);
            desk
        }
        Err(why) => {
            Frame { body: why.as_bytes(), ..Frame::new(is::UNREADY, 0) }.put(&mut out);
            return (&stream).write_all(&out);
        }
    };
    desk.run(&stream, inbox, out)
}

/// What comes along with the first bytes: the plugin's file, and the page of progress.
fn descriptors(stream: &UnixStream) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut given = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            given.extend(descriptors);
        }
    }
    let given: Result<[OwnedFd; 2], _> = given.try_into();
    given.map(|[memory, page]| (memory, page)).map_err(|_| io::Error::other("no plugin came along"))
}

/// The first frame; none when the edge has gone already.
fn greeted(inbox: &mut Inbox, stream: &UnixStream) -> io::Result<Option<Hello>> {
    loop {
        if let Some(frame) = inbox.next().map_err(io::Error::other)? {
            return Ok(serde_json::from_slice(frame.body).ok());
        }
        if inbox.fill(stream)? == 0 {
            return Ok(None);
        }
    }
}

/// Loads the plugin, and confines the process if it is one; what could not be confined comes back as text.
fn loaded(hello: Hello, memory: OwnedFd, progress: Progress) -> Result<(Desk, String), String> {
    progress.begin(is::HELLO, 0, 0);
    let file = PluginFile::inherited(memory, hello.path, hello.fingerprint).map_err(|error| error.to_string())?;
    let code = Code::load(&file).map_err(|error| error.to_string())?;
    // The first look at a clock looks for the clock, which is not allowed afterwards.
    let clock = thread_cpu();
    let unconfined = hello.memory.and_then(|memory| confine::confine(memory, &progress).err()).unwrap_or_default();
    progress.end();
    Ok((Desk { code, progress, instances: BTreeMap::new(), clock }, unconfined))
}

/// One plugin's instances.
struct Desk {
    code: Code,
    progress: Progress,
    instances: BTreeMap<u64, Instance>,
    /// The thread's CPU time when it was last read.
    clock: Duration,
}

impl Desk {
    fn run(mut self, mut stream: &UnixStream, mut inbox: Inbox, mut out: Vec<u8>) -> io::Result<()> {
        loop {
            while let Some(frame) = inbox.next().map_err(io::Error::other)? {
                self.progress.begin(frame.kind, frame.instance, frame.number);
                let took = self.handle(&frame, &mut out);
                self.progress.end();
                if took >= LONG_STEP || out.len() >= MUCH {
                    stream.write_all(&out)?;
                    out.clear();
                }
            }
            if !out.is_empty() {
                stream.write_all(&out)?;
                out.clear();
            }
            if inbox.fill(stream)? == 0 {
                return Ok(());
            }
            self.clock = thread_cpu();
        }
    }

    /// Does what one frame asks; the CPU time of a step.
    fn handle(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Duration {
        match frame.kind {
            is::EVENT => return self.step(frame, out),
            is::ASK => self.answer(frame, out),
            is::CREATE => self.create(frame, out),
            is::RESTORE => self.restore(frame, out),
            is::SAVE => self.save(frame, out),
            is::DROP => drop(self.instances.remove(&frame.instance)),
            _ => {}
        }
        Duration::ZERO
    }

    fn step(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Duration {
        // One that could not be made: that has been said.
        let Some(instance) = self.instances.get_mut(&frame.instance) else { return Duration::ZERO };
        let before = instance.given();
        let stepped = instance.step_record(frame.number, frame.body);
        let now = thread_cpu();
        let took = now.saturating_sub(std::mem::replace(&mut self.clock, now));
        let answer = Frame { number: frame.number, ..Frame::new(is::STEPPED, frame.instance) };
        match stepped {
            Ok(actions) => {
                let mut body = Vec::new();
                for (number, action) in (before + 1..).zip(&actions) {
                    abi::encode_action(number, crate::At::ZERO, action, &mut body);
                }
                let extra = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                Frame { extra, body: &body, ..answer }.put(out);
            }
            Err(error) => Desk::failed(&error, Frame { kind: is::FAILED, ..answer }, out),
        }
        took
    }

    fn failed(error: &StepError, answer: Frame<'_>, out: &mut Vec<u8>) {
        // Our own type, with string keys only: it always serializes.
        let body = serde_json::to_vec(error).unwrap_or_default();
        Frame { body: &body, ..answer }.put(out);
    }

    fn answer(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let mut parts = frame.body.splitn(2, |byte| *byte == 0);
        let topic = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let (extra, text) = match self.code.describe(&topic, parts.next().unwrap_or_default()) {
            Ok(text) => (0, text),
            Err(why) => (1, why),
        };
        Frame { number: frame.number, extra, body: text.as_bytes(), ..Frame::new(is::ANSWER, 0) }.put(out);
    }

    fn create(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let setup: Setup = match serde_json::from_slice(frame.body) {
            Ok(setup) => setup,
            Err(error) => return unmade(frame, 0, &error.to_string(), out),
        };
        match Instance::create(self.code.clone(), &setup, frame.number) {
            Ok(instance) => {
                self.instances.insert(frame.instance, instance);
                Frame::new(is::MADE, frame.instance).put(out);
            }
            Err(error) => refused(frame, &error, out),
        }
    }

    fn restore(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let Some(instance) = self.instances.get_mut(&frame.instance) else { return };
        let snapshot = Snapshot {
            policy: instance.policy().to_owned(),
            state_version: u32::try_from(frame.number).unwrap_or(u32::MAX),
            given: frame.extra,
            state: frame.body.to_vec(),
        };
        if let Err(error) = instance.restore(&snapshot) {
            self.instances.remove(&frame.instance);
            refused(frame, &error, out);
        }
    }

    fn save(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let Some(instance) = self.instances.get(&frame.instance) else { return };
        let answer = Frame { number: frame.number, ..Frame::new(is::SAVED, frame.instance) };
        match instance.save() {
            Ok(snapshot) => Frame { extra: snapshot.given, body: &snapshot.state, ..answer }.put(out),
            Err(error) => Frame { kind: is::UNSAVED, body: error.to_string().as_bytes(), ..answer }.put(out),
        }
    }
}

fn refused(frame: &Frame<'_>, error: &InstanceError, out: &mut Vec<u8>) {
    let (extra, why) = match error {
        InstanceError::Refused { why, .. } => (0, why.clone()),
        InstanceError::Panicked { why, .. } => (1, why.clone()),
        InstanceError::Snapshot { why, .. } => (2, why.clone()),
        InstanceError::Parameters(_) => (0, error.to_string()),
    };
    unmade(frame, extra, &why, out);
}

fn unmade(frame: &Frame<'_>, extra: u64, why: &str, out: &mut Vec<u8>) {
    Frame { extra, body: why.as_bytes(), ..Frame::new(is::UNMADE, frame.instance) }.put(out);
}

/// CPU time of the calling thread: a starved machine is not blamed on the plugin.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
