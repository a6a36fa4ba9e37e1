//! One pair's policy at work.
#![allow(unsafe_code, reason = "calls a plugin's functions: the host's side of the C boundary")]

use super::code::Code;
use super::sink::Collector;
use super::{InstanceError, StepError};
use crate::abi::layout::Head;
use crate::abi::{self, Bytes, Decoded, Given, MAX_RECORD, Opaque, Stamp, kind};
use crate::{Action, At, Event, Setup};
use serde::{Deserialize, Serialize};
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// One pair's policy at work. Not shared: one thread at a time feeds it.
#[derive(Debug)]
pub struct Instance {
    code: Code,
    raw: NonNull<Opaque>,
    given: u64,
    failed_at: Option<u64>,
    record: Vec<u8>,
    /// The record again, in memory that is aligned as the ABI says.
    aligned: Vec<u64>,
    answer: Box<Collector>,
}

// SAFETY: by the ABI an instance may be used by any thread, one at a time; `Instance` owns it, is not `Clone`, and
// calls it by `&mut self` only, but for `save`, which does not change it, and `Instance` is not `Sync`.
unsafe impl Send for Instance {}

/// All that an instance knows; opaque but to the policy that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The policy's id.
    pub policy: String,
    /// The plugin's version of the state's format.
    pub state_version: u32,
    /// How many actions were given so far.
    pub given: u64,
    /// The plugin's own bytes.
    pub state: Vec<u8>,
}

impl Instance {
    pub(super) fn create(code: Code, setup: &Setup, seed: u64) -> Result<Instance, InstanceError> {
        let policy = code.file.id().to_owned();
        let refused = |why: String| InstanceError::Refused { policy: policy.clone(), pair: setup.pair.clone(), why };
        let function = code.table.create.ok_or_else(|| refused("its table has no `create`".to_owned()))?;
        let config = serde_json::to_vec(setup).map_err(|error| refused(error.to_string()))?;
        let mut answer = Box::new(Collector::new());
        let mut raw = ptr::null_mut();
        // SAFETY: the library's `create`, loaded for good; config, place and sink live longer than the call.
        let answered = unsafe { function(lend(&config), seed, &raw mut raw, answer.as_sink()) };
        let raw = match (answered, NonNull::new(raw)) {
            (abi::OK, Some(raw)) => raw,
            (abi::OK, None) => return Err(refused("it made no instance, and does not say why".to_owned())),
            (abi::PANICKED, _) => return Err(InstanceError::Panicked { policy, why: answer.text() }),
            _ => return Err(refused(answer.text())),
        };
        Ok(Instance { code, raw, given: 0, failed_at: None, record: Vec::new(), aligned: Vec::new(), answer })
    }

    /// The policy's id.
    #[must_use]
    pub fn policy(&self) -> &str {
        self.code.file.id()
    }

    /// How many actions it has given: the number of the last one. After a step that gave `n` actions these are
    /// numbered `given() - n + 1` to `given()`.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Hands it one event; its answer. An event of a kind that the policy does not know is not handed over, and has no
    /// actions. An error but `EventTooLarge` poisons the instance.
    pub fn step(&mut self, event: &Event) -> Result<Vec<Action>, StepError> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        abi::encode_event(event, &mut record);
        let result = self.step_record(event.seq, &record);
        self.record = record;
        result
    }

    /// The same with the event's record.
    pub(super) fn step_record(&mut self, seq: u64, record: &[u8]) -> Result<Vec<Action>, StepError> {
        if let Some(since) = self.failed_at {
            return Err(StepError::Poisoned { policy: self.policy().to_owned(), since });
        }
        fits(seq, record)?;
        if !is_known(self.code.file.stamp(), record) {
            return Ok(Vec::new());
        }
        let code = self.call_step(record);
        let result = self.read_actions(code, seq);
        match &result {
            Ok(actions) => self.given += actions.len() as u64,
            Err(_) => self.failed_at = Some(seq),
        }
        result
    }

    /// All that it knows.
    pub fn save(&self) -> Result<Snapshot, InstanceError> {
        let policy = self.policy().to_owned();
        let failed = |why: String| InstanceError::Snapshot { policy: policy.clone(), why };
        if let Some(since) = self.failed_at {
            return Err(failed(format!("it failed at event {since} and saves nothing any more")));
        }
        let function = self.code.table.save.ok_or_else(|| failed("its table has no `save`".to_owned()))?;
        let mut answer = Collector::new();
        // SAFETY: the library's `save` with an instance of its `create`, not destroyed; the sink lives longer than the call.
        let code = unsafe { function(self.raw.as_ptr(), answer.as_sink()) };
        match (code, answer.refused()) {
            (_, Some(bound)) => Err(failed(format!("its state has {bound}"))),
            (abi::OK, None) => Ok(Snapshot {
                state_version: self.code.file.state_version(),
                given: self.given,
                state: answer.bytes().to_vec(),
                policy,
            }),
            (abi::PANICKED, None) => Err(InstanceError::Panicked { policy, why: answer.text() }),
            (code, None) => Err(failed(format!("it returned {code}: {}", answer.text()))),
        }
    }

    /// Goes on from a snapshot, with the parameters that this instance was made with. After an error the instance is
    /// as it was, as far as the plugin keeps to that.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), InstanceError> {
        let policy = self.policy().to_owned();
        let failed = |why: String| InstanceError::Snapshot { policy: policy.clone(), why };
        if snapshot.policy != policy {
            return Err(failed(format!("it is one of policy `{}`", snapshot.policy)));
        }
        let function = self.code.table.restore.ok_or_else(|| failed("its table has no `restore`".to_owned()))?;
        self.answer.clear();
        // SAFETY: the library's `restore` with an instance of its `create`, not destroyed and used by nobody else now;
        // state and sink live longer than the call.
        let code = unsafe {
            function(self.raw.as_ptr(), snapshot.state_version, lend(&snapshot.state), self.answer.as_sink())
        };
        match code {
            abi::OK => {
                self.given = snapshot.given;
                self.failed_at = None;
                Ok(())
            }
            abi::PANICKED => Err(InstanceError::Panicked { policy, why: self.answer.text() }),
            _ => Err(failed(self.answer.text())),
        }
    }

    fn call_step(&mut self, record: &[u8]) -> i32 {
        let Some(function) = self.code.table.step else { return abi::MALFORMED };
        self.aligned.clear();
        let words = record.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
        self.aligned.extend(words);
        let events = Bytes { ptr: self.aligned.as_ptr().cast(), len: record.len() };
        self.answer.clear();
        // SAFETY: the library's `step` with an instance of its `create`, not destroyed and used by nobody else now; the
        // record is aligned, and it and the sink live longer than the call.
        unsafe { function(self.raw.as_ptr(), events, self.answer.as_sink()) }
    }

    /// Hands it records as they are, sound or not, and gives its code and all that it put. The checks of conformance ask
    /// so; what it then says is not counted.
    #[cfg(feature = "author")]
    pub(crate) fn hand(&mut self, records: &[u8]) -> (i32, Vec<u8>) {
        self.answer.clear();
        let sink = self.answer.as_sink();
        let code = self.hand_to(records, sink);
        (code, self.answer.bytes().to_vec())
    }

    /// The same with another sink, which is valid for the call.
    #[cfg(feature = "author")]
    pub(crate) fn hand_to(&mut self, records: &[u8], sink: *mut abi::Sink) -> i32 {
        let Some(function) = self.code.table.step else { return abi::MALFORMED };
        // SAFETY: the library's `step` with an instance of its `create`, not destroyed and used by nobody else now; the
        // records are lent for the call, and the sink is valid for it.
        unsafe { function(self.raw.as_ptr(), lend(records), sink) }
    }

    fn read_actions(&self, code: i32, seq: u64) -> Result<Vec<Action>, StepError> {
        let policy = || self.policy().to_owned();
        if let Some(bound) = self.answer.refused() {
            return Err(StepError::TooMuch { policy: policy(), seq, why: bound.to_owned() });
        }
        let mut actions = Vec::new();
        let mut fault = None;
        for piece in self.answer.pieces() {
            match self.read_action(piece, actions.len() as u64) {
                Ok(Some(Given::Action(_, action))) => actions.push(action),
                Ok(Some(Given::Fault(text))) => fault = Some(text),
                Ok(None) => {}
                Err(why) => return Err(StepError::Broken { policy: policy(), seq, why }),
            }
        }
        let why = || fault.clone().unwrap_or_else(|| format!("it returned {code}, and does not say why"));
        match code {
            abi::OK => Ok(actions),
            abi::PANICKED => Err(StepError::Panicked { policy: policy(), seq, why: why() }),
            abi::FULL => Err(StepError::TooMuch { policy: policy(), seq, why: why() }),
            _ => Err(StepError::Broken { policy: policy(), seq, why: why() }),
        }
    }

    /// One record that the plugin gave, after `before` others in this step. Kinds that we may skip are `None`.
    fn read_action(&self, piece: &[u8], before: u64) -> Result<Option<Given>, String> {
        let (decoded, rest) = abi::action(piece).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow an action's record", rest.len()));
        }
        let expected = self.given + before + 1;
        match decoded {
            Decoded::Known(Given::Action(number, _)) if number != 0 && number != expected => {
                Err(format!("it numbers action {expected} as {number}"))
            }
            Decoded::Known(given) => Ok(Some(given)),
            Decoded::Unknown { .. } => Ok(None),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(function) = self.code.table.destroy {
            // SAFETY: the library's `destroy` with an instance of its `create`, once: nothing uses it afterwards.
            unsafe { function(self.raw.as_ptr()) }
        }
    }
}

/// Whether an event's record is small enough to be handed over.
pub(super) fn fits(seq: u64, record: &[u8]) -> Result<(), StepError> {
    if record.len() <= MAX_RECORD {
        return Ok(());
    }
    Err(StepError::EventTooLarge { seq, size: record.len(), limit: MAX_RECORD })
}

/// Whether a record is of a kind that the plugin says it knows, or may not skip.
pub(super) fn is_known(stamp: &Stamp, record: &[u8]) -> bool {
    let (kind, flags, _) = head(record);
    flags & abi::MUST_KNOW != 0 || stamp.knows() & kind::bit(kind) != 0
}

/// Kind, flags and time of a record of ours.
pub(super) fn head(record: &[u8]) -> (u16, u16, At) {
    let bytes = |at: usize, count: usize| record.get(at..at + count).unwrap_or_default();
    let number = |at, count| bytes(at, count).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let short = |at| u16::try_from(number(at, 2)).unwrap_or(0);
    (short(offset_of!(Head, kind)), short(offset_of!(Head, flags)), At(number(offset_of!(Head, at_ns), 8)))
}

fn lend(bytes: &[u8]) -> Bytes {
    Bytes { ptr: bytes.as_ptr(), len: bytes.len() }
}
