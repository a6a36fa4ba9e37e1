//! The table of functions that a plugin exports, as C sees it.
//!
//! Inputs are lent for the call; outputs go through a sink that copies. Neither side frees the other's memory.

use super::Stamp;
use super::layout::Layout;
use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// The exported symbol: the [`Table`] itself, not a pointer to it. A new major version has a new name.
pub const TABLE_SYMBOL: &str = "lockstep_policy_v1";

/// Bytes that are lent for a call. `ptr` may be anything when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// Where they begin; at a multiple of 8 when they are records.
    pub ptr: *const u8,
    /// How many.
    pub len: usize,
}

/// [`Sink::put`].
pub type Put = unsafe extern "C" fn(sink: *mut Sink, ptr: *const u8, len: usize) -> i32;

/// Where outputs go. The caller's own data follows it in memory.
#[repr(C)]
#[derive(Debug)]
pub struct Sink {
    /// Copies the bytes. In `step` one call is one record; elsewhere the bytes of all calls are joined.
    pub put: Option<Put>,
}

/// A plugin's instance, known to the plugin only.
#[repr(C)]
#[derive(Debug)]
pub struct Opaque {
    private: [u8; 0],
}

/// `ls_policy`. Functions return [`super::OK`] or one of the errors beside it. They may be called from any thread;
/// those that take an instance, from one thread at a time.
#[repr(C)]
#[derive(Debug)]
pub struct Table {
    /// The table's size in bytes: functions are only ever appended.
    pub size: u32,
    /// The minor version that the plugin was built against.
    pub minor: u32,
    /// The plugin's stamp, the same that its file's section holds.
    pub stamp: *const Stamp,
    /// `describe(topic, config, out)`: the answer to a topic as text or JSON. `config` is the setup's JSON for
    /// `explain`, `lint` and `delay`, and empty for `schema` and `rules`.
    pub describe: Option<unsafe extern "C" fn(*const c_char, Bytes, *mut Sink) -> i32>,
    /// `create(config, seed, instance, why)`: a new instance for the setup's JSON.
    pub create: Option<unsafe extern "C" fn(Bytes, u64, *mut *mut Opaque, *mut Sink) -> i32>,
    /// `step(instance, events, actions)`: one or more event records in, action records out.
    pub step: Option<unsafe extern "C" fn(*mut Opaque, Bytes, *mut Sink) -> i32>,
    /// `save(instance, out)`: all that the instance knows, in the plugin's own format.
    pub save: Option<unsafe extern "C" fn(*const Opaque, *mut Sink) -> i32>,
    /// `restore(instance, state version, state, why)`: goes on from saved bytes.
    pub restore: Option<unsafe extern "C" fn(*mut Opaque, u32, Bytes, *mut Sink) -> i32>,
    /// `destroy(instance)`; a null instance is ignored.
    pub destroy: Option<unsafe extern "C" fn(*mut Opaque)>,
    /// `extension(name)`: a further table by its name, or null.
    pub extension: Option<unsafe extern "C" fn(*const c_char) -> *const c_void>,
}

// SAFETY: a table is constant, and what it points to is constant and lives as long as the library, which is never
// unloaded. Its functions may be called from any thread (see above).
#[allow(unsafe_code, reason = "a table of C functions is shared between threads")]
unsafe impl Sync for Table {}

/// The layouts of the table and of what it is used with, for the comparison with the C header.
pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "ls_bytes",
        size: size_of::<Bytes>(),
        fields: &[("ptr", offset_of!(Bytes, ptr)), ("len", offset_of!(Bytes, len))],
    },
    Layout { name: "ls_sink", size: size_of::<Sink>(), fields: &[("put", offset_of!(Sink, put))] },
    Layout {
        name: "ls_policy",
        size: size_of::<Table>(),
        fields: &[
            ("size", offset_of!(Table, size)),
            ("minor", offset_of!(Table, minor)),
            ("stamp", offset_of!(Table, stamp)),
            ("describe", offset_of!(Table, describe)),
            ("create", offset_of!(Table, create)),
            ("step", offset_of!(Table, step)),
            ("save", offset_of!(Table, save)),
            ("restore", offset_of!(Table, restore)),
            ("destroy", offset_of!(Table, destroy)),
            ("extension", offset_of!(Table, extension)),
        ],
    },
];
