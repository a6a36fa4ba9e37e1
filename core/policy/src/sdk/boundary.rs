//! The C functions behind [`export_policy!`](crate::export_policy), one set per policy.
//!
//! No panic crosses: each function catches it, and an instance that saw one is poisoned. A panic while catching
//! (in the drop of a panic's payload) cannot happen, because payloads are never dropped.

use super::{Actions, Policy};
use crate::abi::{self, Bytes, Decoded, Opaque, Sink, Stamp, Table};
use crate::{At, Setup};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The stamp of a policy.
#[must_use]
pub const fn stamp<P: Policy>(unwinds: bool) -> Stamp {
    Stamp::new(P::ID, P::VERSION, P::STATE_VERSION, P::NEEDS, unwinds)
}

/// The table of a policy.
#[must_use]
pub const fn table<P: Policy>(stamp: &'static Stamp) -> Table {
    Table {
        size: size_of::<Table>() as u32,
        minor: abi::MINOR,
        stamp,
        describe: Some(describe::<P>),
        create: Some(create::<P>),
        step: Some(step::<P>),
        save: Some(save::<P>),
        restore: Some(restore::<P>),
        destroy: Some(destroy::<P>),
        extension: Some(extension),
    }
}

/// An instance, behind the pointer that the host holds.
struct Held<P> {
    policy: Option<P>,
    setup: Setup,
    seed: u64,
    given: u64,
    record: Vec<u8>,
}

/// A snapshot's bytes: JSON, so that a support engineer can read them.
#[derive(Serialize, Deserialize)]
struct Saved<P> {
    given: u64,
    /// What the instance was made from; none in snapshots of an earlier SDK.
    #[serde(default)]
    setup: Option<Setup>,
    policy: P,
}

/// Why a call fails: the code to return, and the text for the sink.
type Failure = (i32, String);

unsafe extern "C" fn describe<P: Policy>(topic: *const c_char, config: Bytes, out: *mut Sink) -> i32 {
    guarded(out, || {
        if topic.is_null() {
            return Err((abi::MALFORMED, "no topic was named".to_owned()));
        }
        // SAFETY: the host lends a text that ends with NUL for the call, by the contract of `describe`.
        let topic = unsafe { CStr::from_ptr(topic) };
        // SAFETY: as above.
        let config = unsafe { lent(config) };
        let answer = description::<P>(topic.to_str().unwrap_or_default(), config)?;
        // SAFETY: `out` is the host's sink for this call.
        unsafe { put(out, answer.as_bytes()) }
    })
}

fn description<P: Policy>(topic: &str, config: &[u8]) -> Result<String, Failure> {
    match topic {
        "schema" => json(&schemars::schema_for!(P::Config)),
        "rules" => json(&P::rules()),
        "commands" => json(&P::commands()),
        "traits" => configured::<P>(config).and_then(|(setup, config)| json(&P::traits(&setup, &config))),
        "explain" => configured::<P>(config).map(|(setup, config)| P::explain(&setup, &config)),
        "lint" => configured::<P>(config).and_then(|(setup, config)| json(&P::lint(&setup, &config))),
        "delay" => configured::<P>(config).and_then(|(setup, config)| {
            let expected = P::expected_delay(&setup, &config).as_nanos();
            json(&serde_json::json!({ "expected_ns": u64::try_from(expected).unwrap_or(u64::MAX) }))
        }),
        _ => Err((abi::REFUSED, format!("the topic `{topic}` is unknown to it"))),
    }
}

unsafe extern "C" fn create<P: Policy>(config: Bytes, seed: u64, instance: *mut *mut Opaque, why: *mut Sink) -> i32 {
    guarded(why, || {
        if instance.is_null() {
            return Err((abi::MALFORMED, "no place for the instance was given".to_owned()));
        }
        // SAFETY: the host lends these bytes for the call.
        let (setup, config) = configured::<P>(unsafe { lent(config) })?;
        let policy = P::create(&setup, config, seed).map_err(|why| (abi::REFUSED, why))?;
        let held = Box::new(Held { policy: Some(policy), setup, seed, given: 0, record: Vec::new() });
        // SAFETY: the host gave a place for one pointer, checked above not to be null.
        unsafe { instance.write(Box::into_raw(held).cast()) };
        Ok(())
    })
}

unsafe extern "C" fn step<P: Policy>(instance: *mut Opaque, events: Bytes, actions: *mut Sink) -> i32 {
    // SAFETY: the host hands back what `create` gave it, and uses it from one thread at a time.
    let Some(held) = (unsafe { instance.cast::<Held<P>>().as_mut() }) else { return abi::MALFORMED };
    // The policy is out of its place while it works: a panic leaves the place empty, and that is the poison.
    let Some(policy) = held.policy.take() else { return abi::PANICKED };
    let mut at = At::ZERO;
    // SAFETY: the host lends these bytes for the call.
    let events = unsafe { lent(events) };
    let stepped = catch_unwind(AssertUnwindSafe(|| {
        let mut policy = policy;
        let done = steps(&mut policy, &mut held.given, &mut held.record, events, &mut at, actions);
        (policy, done)
    }));
    let (code, text) = match stepped {
        Ok((policy, Ok(()))) => {
            held.policy = Some(policy);
            return abi::OK;
        }
        Ok((policy, Err(failure))) => {
            held.policy = Some(policy);
            failure
        }
        Err(payload) => (abi::PANICKED, panic_text(payload)),
    };
    held.record.clear();
    abi::encode_fault(at, clipped(&text), &mut held.record);
    // SAFETY: `actions` is the host's sink for this call. That it may be full changes nothing: the step has failed.
    let _ = unsafe { put(actions, &held.record) };
    code
}

fn steps<P: Policy>(
    policy: &mut P,
    given: &mut u64,
    record: &mut Vec<u8>,
    mut events: &[u8],
    at: &mut At,
    sink: *mut Sink,
) -> Result<(), Failure> {
    while !events.is_empty() {
        let (decoded, rest) = abi::event(events).map_err(|error| (abi::MALFORMED, error.to_string()))?;
        events = rest;
        let Decoded::Known(event) = decoded else { continue };
        *at = event.at;
        let mut actions = Actions::after(*given);
        policy.step(&event, &mut actions);
        for action in actions.into_vec() {
            *given += 1;
            record.clear();
            abi::encode_action(*given, event.at, &action, record);
            // SAFETY: `sink` is the host's sink for the call of `step` that we are in.
            unsafe { put(sink, record) }?;
        }
    }
    Ok(())
}

unsafe extern "C" fn save<P: Policy>(instance: *const Opaque, out: *mut Sink) -> i32 {
    // SAFETY: the host hands back what `create` gave it, and uses it from one thread at a time.
    let Some(held) = (unsafe { instance.cast::<Held<P>>().as_ref() }) else { return abi::MALFORMED };
    let Some(policy) = &held.policy else { return abi::PANICKED };
    guarded(out, || {
        let saved = json(&Saved { given: held.given, setup: Some(held.setup.clone()), policy })?;
        // SAFETY: `out` is the host's sink for this call.
        unsafe { put(out, saved.as_bytes()) }
    })
}

unsafe extern "C" fn restore<P: Policy>(
    instance: *mut Opaque,
    state_version: u32,
    state: Bytes,
    why: *mut Sink,
) -> i32 {
    // SAFETY: the host hands back what `create` gave it, and uses it from one thread at a time.
    let Some(held) = (unsafe { instance.cast::<Held<P>>().as_mut() }) else { return abi::MALFORMED };
    // SAFETY: the host lends these bytes for the call.
    let state = unsafe { lent(state) };
    guarded(why, || {
        let unreadable = |error: serde_json::Error| (abi::REFUSED, format!("it cannot be read: {error}"));
        let saved: Saved<serde_json::Value> = serde_json::from_slice(state).map_err(unreadable)?;
        let same_format = state_version == P::STATE_VERSION;
        let before = if same_format {
            serde_json::from_value(saved.policy).map_err(unreadable)?
        } else {
            P::migrate(state_version, saved.policy).map_err(|why| (abi::REFUSED, why))?
        };
        let as_it_was = same_format && saved.setup.as_ref() == Some(&held.setup);
        let policy = if as_it_was { before } else { made::<P>(held.setup.clone(), held.seed)?.resume(before) };
        held.policy = Some(policy);
        held.given = saved.given;
        Ok(())
    })
}

fn made<P: Policy>(setup: Setup, seed: u64) -> Result<P, Failure> {
    let config = config::<P>(&setup)?;
    P::create(&setup, config, seed).map_err(|why| (abi::REFUSED, why))
}

unsafe extern "C" fn destroy<P: Policy>(instance: *mut Opaque) {
    if instance.is_null() {
        return;
    }
    // SAFETY: the host hands back what `create` made with `Box::into_raw`, once, and does not use it again.
    let held = unsafe { Box::from_raw(instance.cast::<Held<P>>()) };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(held))) {
        std::mem::forget(payload);
    }
}

unsafe extern "C" fn extension(_name: *const c_char) -> *const c_void {
    ptr::null()
}

fn configured<P: Policy>(config_json: &[u8]) -> Result<(Setup, P::Config), Failure> {
    let setup: Setup = serde_json::from_slice(config_json)
        .map_err(|error| (abi::MALFORMED, format!("the setup is not as this version expects: {error}")))?;
    let config = config::<P>(&setup)?;
    Ok((setup, config))
}

fn config<P: Policy>(setup: &Setup) -> Result<P::Config, Failure> {
    let parameters = serde_json::Value::Object(setup.parameters.clone());
    serde_json::from_value(parameters).map_err(|error| (abi::REFUSED, error.to_string()))
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| (abi::REFUSED, error.to_string()))
}

/// Runs a call; what it fails with goes to the sink.
fn guarded(sink: *mut Sink, call: impl FnOnce() -> Result<(), Failure>) -> i32 {
    let (code, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(failure)) => failure,
        Err(payload) => (abi::PANICKED, panic_text(payload)),
    };
    // SAFETY: `sink` is the host's sink for the call that we are in. That it may be full changes nothing.
    let _ = unsafe { put(sink, text.as_bytes()) };
    code
}

/// # Safety
/// `bytes` is lent by the host for as long as the result is used.
unsafe fn lent<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.ptr.is_null() || bytes.len == 0 {
        return &[];
    }
    // SAFETY: not null, and by the function's contract valid for `len` bytes that nobody changes meanwhile.
    unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) }
}

/// # Safety
/// `sink` is null, or a sink of the host that is valid now.
unsafe fn put(sink: *mut Sink, bytes: &[u8]) -> Result<(), Failure> {
    // SAFETY: by the function's contract. Only the function pointer is copied out of it: no reference stays.
    let function = if sink.is_null() { None } else { unsafe { (*sink).put } };
    let Some(function) = function else { return Err((abi::MALFORMED, "the host gave no sink".to_owned())) };
    // SAFETY: the sink is valid by the function's contract, and copies the bytes during the call.
    match unsafe { function(sink, bytes.as_ptr(), bytes.len()) } {
        abi::OK => Ok(()),
        code => Err((code, "the host's sink took no more".to_owned())),
    }
}

/// The panic's message. The payload is leaked: dropping a foreign value might panic again.
fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    std::mem::forget(payload);
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

/// At most a thousand bytes of a text: a fault must fit where the actions did not.
fn clipped(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 1_000).last().unwrap_or(0);
    if text.len() <= 1_000 { text } else { &text[..end] }
}
