//! The records' fixed parts, byte for byte. Frozen: fields are only ever appended.

use std::mem::{offset_of, size_of};

/// A value with a frozen little-endian layout.
pub(super) trait Flat: Copy {
    /// Its bytes in the record.
    const SIZE: usize;
    /// The bytes that the version had that brought it: no record has fewer.
    const LEAST: usize = Self::SIZE;

    /// Writes it at an offset; `out` is long enough.
    fn write(self, out: &mut [u8], at: usize);

    /// Reads it at an offset; what lies beyond the end of `bytes` is zero.
    fn read(bytes: &[u8], at: usize) -> Self;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Flat for $type {
            const SIZE: usize = size_of::<$type>();

            fn write(self, out: &mut [u8], at: usize) {
                out[at..at + Self::SIZE].copy_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8], at: usize) -> $type {
                let field = at.checked_add(Self::SIZE).and_then(|end| bytes.get(at..end));
                field.and_then(|field| field.try_into().ok()).map_or(0, <$type>::from_le_bytes)
            }
        }
    )*};
}

integers!(u16, u32, u64);

/// The layout of one record, for the comparison with the C header.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The struct's name in C.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields' names and offsets, in order.
    pub fields: &'static [(&'static str, usize)],
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $c:literal $name:ident $($least:literal)? { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[expect(missing_docs, reason = "the fields are those of the event or action that the record is named after")]
            pub struct $name {
                $(pub $field: $type,)*
            }

            const _: () = assert!(0 $(+ size_of::<$type>())* == size_of::<$name>(), "padding must be a field");
            const _: () = assert!(size_of::<$name>() % 8 == 0, "records and elements keep the alignment of 8");

            impl Flat for $name {
                const SIZE: usize = size_of::<$name>();
                $(const LEAST: usize = $least;)?

                fn write(self, out: &mut [u8], at: usize) {
                    $(self.$field.write(out, at + offset_of!($name, $field));)*
                }

                fn read(bytes: &[u8], at: usize) -> $name {
                    $name { $($field: Flat::read(bytes, at.saturating_add(offset_of!($name, $field))),)* }
                }
            }
        )*

        /// The size that a struct had in the version that brought it, by its name in C; 0 for one that there is not.
        #[must_use]
        pub fn least(name: &str) -> usize {
            match name { $($c => <$name as Flat>::LEAST,)* _ => 0 }
        }

        /// Every struct of the contract.
        pub const LAYOUTS: &[Layout] = &[$(
            Layout {
                name: $c,
                size: size_of::<$name>(),
                fields: &[$((stringify!($field), offset_of!($name, $field)),)*],
            },
        )*];
    };
}

layouts! {
    /// What every record begins with.
    "ls_head" Head { size: u32, kind: u16, flags: u16, fixed: u32, pad: u32, seq: u64, at_ns: u64, }
    /// A UTF-8 text inside the record.
    "ls_text" Text { at: u32, len: u32, }
    /// Elements of one size inside the record.
    "ls_list" List { at: u32, count: u32, stride: u32, pad: u32, }

    /// The first event of an instance.
    "ls_ev_start" EvStart 48 { head: Head, active: u32, restored: u32, epoch: u64, since_handover_ns: u64, }
    /// The answer to one probe.
    "ls_ev_probe" EvProbe 64 {
        head: Head, side: u32, probe: u32, verdict: u32, status: u32, latency_ns: u64, detail: Text,
        server: u32, pad: u32, facts: List,
    }
    /// An element of `ls_ev_probe.facts`.
    "ls_fact" Fact { name: Text, value: Text, }
    /// What an agent says of its node.
    "ls_ev_agent" EvAgent 80 {
        head: Head, side: u32, role: u32, epoch: u64, serving: u32, fit: u32, services: List, release: Text,
        replication: u32, lan: u32, replication_detail: Text, waiting: Text,
    }
    /// An element of `ls_ev_agent.services`.
    "ls_service" Service { name: Text, exclusive: u32, state: u32, pid: u32, restarts: u32, }
    /// A connection to an agent came up or went down.
    "ls_ev_link" EvLink { head: Head, side: u32, connection: u32, up: u32, pad: u32, }
    /// What requests met at a side.
    "ls_ev_traffic" EvTraffic 64 {
        head: Head, side: u32, good: u32, server_errors: u32, refused: u32, resets: u32, timeouts: u32, window_ns: u64,
        slow: u32, pad: u32,
    }
    /// A timer is due.
    "ls_ev_timer" EvTimer { head: Head, timer: u32, pad: u32, }
    /// An operator asks for something.
    "ls_ev_order" EvOrder 56 {
        head: Head, order: u64, to: u32, confirmed: u32, by: Text, rights: List,
    }
    /// The pair's handover moved on.
    "ls_ev_handover" EvHandover { head: Head, epoch: u64, to: u32, stage: u32, active: u32, pad: u32, }
    /// What became of an action.
    "ls_ev_result" EvResult { head: Head, action: u64, outcome: u32, pad: u32, why: Text, }
    /// The pair's configuration has changed.
    "ls_ev_config" EvConfig { head: Head, change: u64, setup: Text, }
    /// An operator gives one of the policy's own commands. Rights: elements of `ls_text`.
    "ls_ev_command" EvCommand {
        head: Head, order: u64, side: u32, confirmed: u32, name: Text, argument: Text, by: Text, rights: List,
    }
    /// How sessions are shared out. Names: elements of `ls_text`.
    "ls_ev_sessions" EvSessions {
        head: Head, share: u64, on_a: u32, on_b: u32, moved: u32, left: u32, failed: u32, ended: u32, names: List,
    }

    /// Send a probe from now on. `port` and `status`: 0 for the default. Host, path and body: HTTP only.
    "ls_do_watch" DoWatch 96 {
        head: Head, probe: u32, side: u32, protocol: u32, port: u32, interval_ns: u64, timeout_ns: u64,
        status: u32, pad: u32, path: Text, host: Text, body: Text,
        server: u32, tls: u32, address: Text, facts: List,
    }
    /// An element of `ls_do_watch.facts`.
    "ls_extract" Extract { name: Text, expression: Text, source: u32, pad: u32, }
    /// Stop a probe, or send one at once.
    "ls_do_probe" DoProbe { head: Head, probe: u32, pad: u32, }
    /// Set a timer, or forget one.
    "ls_do_timer" DoTimer { head: Head, timer: u32, pad: u32, due_ns: u64, }
    /// Warm a side up.
    "ls_do_prepare" DoPrepare { head: Head, side: u32, pad: u32, }
    /// Move the active role. Evidence: elements of `uint64_t`.
    "ls_do_switch" DoSwitch { head: Head, to: u32, urgency: u32, order: u64, reason: Text, evidence: List, }
    /// Stop a side's exclusive services.
    "ls_do_stand_down" DoStandDown { head: Head, side: u32, pad: u32, reason: Text, evidence: List, }
    /// Start an ended service again.
    "ls_do_restart" DoRestart { head: Head, side: u32, pad: u32, service: Text, reason: Text, }
    /// Show a text beside a side.
    "ls_do_show" DoShow { head: Head, side: u32, pad: u32, text: Text, }
    /// Tell operators.
    "ls_do_alert" DoAlert { head: Head, level: u32, pad: u32, text: Text, }
    /// Refuse an order, or ask for its confirmation.
    "ls_do_answer" DoAnswer { head: Head, order: u64, text: Text, }
    /// Send a probe from now on: ICMP. Addresses: elements of `ls_text`.
    "ls_do_watch_icmp" DoWatchIcmp {
        head: Head, probe: u32, side: u32, server: u32, dscp: u32, interval_ns: u64, timeout_ns: u64,
        target: u32, pad: u32, addresses: List,
    }
    /// Send a probe from now on: a ping to the side's agent.
    "ls_do_watch_agent" DoWatchAgent {
        head: Head, probe: u32, side: u32, connection: u32, dscp: u32, interval_ns: u64, timeout_ns: u64, service: Text,
    }
    /// Send a probe from now on: XMPP.
    "ls_do_watch_xmpp" DoWatchXmpp {
        head: Head, probe: u32, side: u32, server: u32, port: u32, interval_ns: u64, timeout_ns: u64,
        transport: u32, tls: u32, path: Text, domain: Text, user: Text, secret: Text, presence: Text,
    }
    /// Send a probe from now on: GED-188.
    "ls_do_watch_cti" DoWatchCti {
        head: Head, probe: u32, side: u32, server: u32, port: u32, interval_ns: u64, timeout_ns: u64,
        tls: u32, version: u32, peripheral: u32, services: u32, idle_timeout_ns: u64, client: Text, secret: Text,
    }
    /// Share sessions out. Evidence: elements of `uint64_t`; rules: of `ls_share_rule`.
    "ls_do_share" DoShare {
        head: Head, a: u32, b: u32, from: u32, pad: u32, window_ns: u64, warning_ns: u64, order: u64, reason: Text,
        evidence: List, rules: List,
    }
    /// An element of `ls_do_share.rules`.
    "ls_share_rule" ShareRule { attribute: Text, value: Text, side: u32, pad: u32, }
    /// Which servers of a pool requests may be given to. Servers: elements of `uint64_t`.
    "ls_do_roster" DoRoster { head: Head, side: u32, pick: u32, pool: Text, servers: List, }
    /// What the edge itself answers.
    "ls_do_reply" DoReply {
        head: Head, rule: u32, when: u32, side: u32, status: u32, path: Text, query: Text, host: Text,
        content_type: Text, body: Text,
    }
    /// Forget what the edge itself answers.
    "ls_do_unanswer" DoUnanswer { head: Head, rule: u32, pad: u32, }
    /// Wake the policy at a time of day.
    "ls_do_alarm" DoAlarm { head: Head, timer: u32, minute: u32, }
    /// Answer a change of the configuration. Pending: elements of `ls_pending`.
    "ls_do_answer_config" DoAnswerConfig { head: Head, change: u64, refused: Text, pending: List, }
    /// An element of `ls_do_answer_config.pending`.
    "ls_pending" Pending { key: Text, until: Text, }
    /// Open a manual gate.
    "ls_do_confirm_gate" DoConfirmGate { head: Head, side: u32, pad: u32, gate: Text, by: Text, }
    /// Run a hook of a side's agent.
    "ls_do_run_hook" DoRunHook { head: Head, side: u32, pad: u32, hook: Text, reason: Text, }
    /// Why a step failed.
    "ls_do_fault" DoFault { head: Head, text: Text, }
}
