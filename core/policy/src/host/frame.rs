//! What edge and worker say to each other: frames on a stream socket, whose bodies are the records of the ABI as they are.
//!
//! A frame is a head of 40 bytes and a body, filled up to a multiple of 8. What does not read as one ends the connection.

use std::io::{self, Read};

/// The most bytes of a frame: a snapshot, or a setup with very many servers.
pub(super) const MAX_FRAME: usize = 8 << 20;

/// What is read at once: a burst of events, and of their answers, in one system call.
const CHUNK: usize = 256 * 1024;

const HEAD: usize = 40;

/// The kinds of frame: to the worker from 1, from it from 101.
pub(super) mod is {
    /// What to load; JSON of [`super::Hello`]. The file and the page of progress come along.
    pub const HELLO: u32 = 1;
    /// A topic and its setup, parted by a NUL. `number` names the question.
    pub const ASK: u32 = 2;
    /// Make an instance: `number` is the seed, the body the setup's JSON.
    pub const CREATE: u32 = 3;
    /// Go on from a state: `number` is the state's version, `extra` how many actions were given.
    pub const RESTORE: u32 = 4;
    /// An event: `number` is its number, the body its record.
    pub const EVENT: u32 = 5;
    /// Save: `number` comes back.
    pub const SAVE: u32 = 6;
    /// Forget the instance.
    pub const DROP: u32 = 7;

    /// It is loaded. The body says what could not be confined; empty: all was.
    pub const READY: u32 = 101;
    /// It cannot be loaded, because.
    pub const UNREADY: u32 = 102;
    /// The answer to a question; `extra` is 1 when it is a refusal.
    pub const ANSWER: u32 = 103;
    /// The instance is made.
    pub const MADE: u32 = 104;
    /// It is not, or cannot go on from its state: `extra` says which error, the body why.
    pub const UNMADE: u32 = 105;
    /// An event is answered: `extra` is the CPU time in ns, the body the actions' records.
    pub const STEPPED: u32 = 106;
    /// An event is not answered; the body is the JSON of a `StepError`.
    pub const FAILED: u32 = 107;
    /// The state as of event `number`, after `extra` actions.
    pub const SAVED: u32 = 108;
    /// It cannot be saved, because.
    pub const UNSAVED: u32 = 109;
}

/// The first frame.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Hello {
    pub path: std::path::PathBuf,
    pub fingerprint: super::Fingerprint,
    /// Bytes of memory that the worker may take over what it has; none: it is not confined at all.
    pub memory: Option<u64>,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub kind: u32,
    /// The instance, or 0.
    pub instance: u64,
    pub number: u64,
    pub extra: u64,
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn new(kind: u32, instance: u64) -> Frame<'a> {
        Frame { kind, instance, number: 0, extra: 0, body: &[] }
    }

    /// Appends it to what is to be sent.
    pub fn put(&self, out: &mut Vec<u8>) {
        let size = HEAD + self.body.len().next_multiple_of(8);
        out.reserve(size);
        let end = out.len() + size;
        let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&short(size));
        out.extend_from_slice(&short(self.body.len()));
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [self.instance, self.number, self.extra] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.body);
        out.resize(end, 0);
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body).into_owned()
    }

    /// The first frame of some bytes and its size; `None`: it is not whole yet.
    fn first(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Garbage> {
        let Some(head) = bytes.get(..HEAD) else { return Ok(None) };
        let short = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 4)) << 32;
        let (size, length) = (short(0) as usize, short(4) as usize);
        if size > MAX_FRAME || length > MAX_FRAME || size != HEAD + length.next_multiple_of(8) {
            return Err(Garbage);
        }
        let Some(body) = bytes.get(HEAD..size).and_then(|body| body.get(..length)) else { return Ok(None) };
        let frame = Frame { kind: short(8), instance: long(16), number: long(24), extra: long(32), body };
        Ok(Some((frame, size)))
    }
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it sent bytes that mean nothing")]
pub(super) struct Garbage;

/// What was received and not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Its length is the room that there is.
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// Where what was received ends.
    end: usize,
}

impl Inbox {
    /// Reads once; how many bytes came. 0: the other end has gone.
    pub fn fill(&mut self, mut from: impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        if self.bytes.len() - self.end < CHUNK / 2 {
            self.bytes.resize(self.end + CHUNK, 0);
        }
        let read = from.read(&mut self.bytes[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// The next whole frame.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Garbage> {
        let Some((frame, size)) = Frame::first(&self.bytes[self.at..self.end])? else { return Ok(None) };
        self.at += size;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the stream is cut, the same frames come out.
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec((any::<u32>(), any::<[u64; 3]>(), prop::collection::vec(any::<u8>(), 0..50)), 1..8),
            cut in 1_usize..200,
        ) {
            let frame = |(kind, [instance, number, extra], body): &'_ (u32, [u64; 3], Vec<u8>)| {
                let mut out = Vec::new();
                Frame { kind: *kind, instance: *instance, number: *number, extra: *extra, body }.put(&mut out);
                out
            };
            let stream: Vec<u8> = frames.iter().flat_map(frame).collect();
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(cut) {
                inbox.fill(chunk).expect("a slice can be read");
                while let Some(frame) = inbox.next().expect("it is sound") {
                    seen.push((frame.kind, [frame.instance, frame.number, frame.extra], frame.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
            let bytes: Vec<u8> = if small { bytes.iter().map(|byte| byte % 3).collect() } else { bytes };
            let mut inbox = Inbox::default();
            inbox.fill(bytes.as_slice()).expect("a slice can be read");
            while let Ok(Some(_)) = inbox.next() {}
        }
    }
}
