//! ABI v1: events and actions as flat records, and the table of functions that a plugin exports.
//!
//! The same bytes are the argument of a call, the entry of a journal, the frame on a pipe and the input of a replay.
//!
//! - A record is little-endian, begins at a multiple of 8 and has a size that is one. It holds no pointer.
//! - Every record begins with a [`layout::Head`]. `size` is the whole record, `fixed` the part before its texts and
//!   lists: a reader takes a field that begins at or after `fixed` as zero, and skips what it does not know between
//!   its own last field and `fixed`. So fields are only ever appended, and both older and newer records are read.
//! - A text is (offset, length) and a list is (offset, count, stride), both from the record's start.
//! - Every version reads records of every earlier one: what it has appended is then zero, and means none.
//! - A record of an unknown kind is skipped, unless it is flagged [`MUST_KNOW`].
//! - An unknown value of an enumeration makes the record malformed: a new value needs a new kind.
//!
//! `include/lockstep_policy.h` is the same contract in C; a test compares the two with a C compiler.
//! Reading never trusts a size or an offset, and never panics.

mod codes;
mod decode;
mod encode;
pub mod layout;
pub mod stamp;
pub mod table;
mod watch;

pub use codes::CODES;
pub use decode::{Decoded, Given, Malformed, action, event};
pub use encode::{encode_action, encode_event, encode_fault};
pub use stamp::{BadStamp, STAMP_SECTION, Stamp};
pub use table::{Bytes, Opaque, Put, Sink, TABLE_SYMBOL, Table};

/// The ABI's major version: another one has another exported symbol.
pub const MAJOR: u32 = 1;
/// The ABI's minor version: grows when fields or kinds are appended.
pub const MINOR: u32 = 1;

/// A reader that does not know the record's kind must refuse it rather than skip it.
pub const MUST_KNOW: u16 = 1;

/// The call did what it was asked.
pub const OK: i32 = 0;
/// The call is refused; the sink has the reason.
pub const REFUSED: i32 = -1;
/// The bytes handed in are not as the ABI says.
pub const MALFORMED: i32 = -2;
/// The sink takes no more.
pub const FULL: i32 = -3;
/// The plugin panicked, now or before: the instance is of no more use.
pub const PANICKED: i32 = -4;

/// The most bytes of one record.
pub const MAX_RECORD: usize = 64 * 1024;

/// Kinds of record. Events count from 1, actions from 257.
pub mod kind {
    /// [`crate::event::Start`].
    pub const START: u16 = 1;
    /// [`crate::event::ProbeResult`].
    pub const PROBE: u16 = 2;
    /// [`crate::event::AgentReport`].
    pub const AGENT: u16 = 3;
    /// [`crate::event::Link`].
    pub const LINK: u16 = 4;
    /// [`crate::event::Traffic`].
    pub const TRAFFIC: u16 = 5;
    /// A timer is due.
    pub const TIMER: u16 = 6;
    /// [`crate::event::Order`].
    pub const ORDER: u16 = 7;
    /// [`crate::event::Handover`].
    pub const HANDOVER: u16 = 8;
    /// [`crate::event::ActionResult`].
    pub const RESULT: u16 = 9;
    /// [`crate::event::ConfigChange`]. Since 1.1, as the two that follow.
    pub const CONFIG: u16 = 10;
    /// [`crate::event::Command`].
    pub const COMMAND: u16 = 11;
    /// [`crate::event::Sessions`].
    pub const SESSIONS: u16 = 12;

    /// [`crate::action::Watch`].
    pub const WATCH: u16 = 257;
    /// Stop a probe.
    pub const UNWATCH: u16 = 258;
    /// Probe at once.
    pub const PROBE_NOW: u16 = 259;
    /// Set a timer.
    pub const SET_TIMER: u16 = 260;
    /// Forget a timer.
    pub const CANCEL_TIMER: u16 = 261;
    /// Warm a side up.
    pub const PREPARE: u16 = 262;
    /// [`crate::action::Switch`].
    pub const SWITCH: u16 = 263;
    /// [`crate::action::StandDown`].
    pub const STAND_DOWN: u16 = 264;
    /// [`crate::action::RestartService`].
    pub const RESTART_SERVICE: u16 = 265;
    /// Show a text beside a side.
    pub const SHOW: u16 = 266;
    /// [`crate::action::Alert`].
    pub const ALERT: u16 = 267;
    /// Refuse an order.
    pub const REFUSE_ORDER: u16 = 268;
    /// Ask for confirmation of an order.
    pub const ASK_CONFIRMATION: u16 = 269;
    /// [`crate::action::Watch`] of [`crate::action::IcmpProbe`]. Since 1.1, as all that follow.
    pub const WATCH_ICMP: u16 = 270;
    /// [`crate::action::Watch`] of [`crate::action::AgentProbe`].
    pub const WATCH_AGENT: u16 = 271;
    /// [`crate::action::Watch`] of [`crate::action::XmppProbe`].
    pub const WATCH_XMPP: u16 = 272;
    /// [`crate::action::Watch`] of [`crate::action::CtiProbe`].
    pub const WATCH_CTI: u16 = 273;
    /// [`crate::action::Share`].
    pub const SHARE: u16 = 274;
    /// [`crate::action::Roster`].
    pub const ROSTER: u16 = 275;
    /// [`crate::action::Answer`].
    pub const ANSWER: u16 = 276;
    /// Forget an answer.
    pub const UNANSWER: u16 = 277;
    /// Wake the policy at a time of day.
    pub const SET_ALARM: u16 = 278;
    /// Accept an order or a command.
    pub const ACCEPT_ORDER: u16 = 279;
    /// [`crate::action::ConfigAnswer`].
    pub const ANSWER_CONFIG: u16 = 280;
    /// [`crate::action::ConfirmGate`].
    pub const CONFIRM_GATE: u16 = 281;
    /// [`crate::action::RunHook`].
    pub const RUN_HOOK: u16 = 282;
    /// Why a step failed: read only when the step returned an error.
    pub const FAULT: u16 = 511;

    /// The bit of a kind in `needs` and `knows`: events from bit 0, actions from bit 32. Zero: a kind without a bit.
    #[must_use]
    pub const fn bit(kind: u16) -> u64 {
        match kind {
            1..=32 => 1 << (kind - 1),
            257..=288 => 1 << (kind - 257 + 32),
            _ => 0,
        }
    }

    /// All kinds of event of this version.
    pub const EVENTS: [u16; 12] =
        [START, PROBE, AGENT, LINK, TRAFFIC, TIMER, ORDER, HANDOVER, RESULT, CONFIG, COMMAND, SESSIONS];
    /// All kinds of action of this version.
    pub const ACTIONS: [u16; 26] = [
        WATCH,
        UNWATCH,
        PROBE_NOW,
        SET_TIMER,
        CANCEL_TIMER,
        PREPARE,
        SWITCH,
        STAND_DOWN,
        RESTART_SERVICE,
        SHOW,
        ALERT,
        REFUSE_ORDER,
        ASK_CONFIRMATION,
        WATCH_ICMP,
        WATCH_AGENT,
        WATCH_XMPP,
        WATCH_CTI,
        SHARE,
        ROSTER,
        ANSWER,
        UNANSWER,
        SET_ALARM,
        ACCEPT_ORDER,
        ANSWER_CONFIG,
        CONFIRM_GATE,
        RUN_HOOK,
    ];

    /// The bits of some kinds.
    #[must_use]
    pub const fn bits(kinds: &[u16]) -> u64 {
        let mut bits = 0;
        let mut next = 0;
        while next < kinds.len() {
            bits |= bit(kinds[next]);
            next += 1;
        }
        bits
    }

    /// Events that a policy must know to decide anything: this host sends them flagged [`super::MUST_KNOW`].
    pub const INDISPENSABLE: [u16; 2] = [START, HANDOVER];
}
