//! The numbers that stand for the values of an enumeration. Zero stands for none.

use crate::Side;
use crate::action::{Level, Pick, Source, Tls, Urgency, XmppTransport};
use crate::event::{Connection, Lan, Outcome, Replication, Role, ServiceState, Stage, Verdict};

/// A value with a frozen number.
pub(super) trait Code: Copy {
    /// Its number.
    fn code(self) -> u32;

    /// The value of a number; `None` for one that this version does not know.
    fn from_code(code: u32) -> Option<Self>;
}

macro_rules! codes {
    ($($type:ident { $($c:literal $variant:ident = $code:literal,)* })*) => {
        $(
            impl Code for $type {
                fn code(self) -> u32 {
                    match self { $($type::$variant => $code,)* }
                }

                fn from_code(code: u32) -> Option<$type> {
                    match code { $($code => Some($type::$variant),)* _ => None }
                }
            }
        )*

        /// Every number with its name in C.
        pub const CODES: &[(&str, u32)] = &[$($(($c, $code),)*)*];
    };
}

codes! {
    Side { "LS_A" A = 1, "LS_B" B = 2, }
    Verdict {
        "LS_PROBE_GOOD" Good = 1, "LS_PROBE_WRONG" Wrong = 2, "LS_PROBE_SILENT" Silent = 3, "LS_PROBE_REFUSED" Refused = 4,
    }
    Role {
        "LS_ROLE_UNKNOWN" Unknown = 1, "LS_ROLE_STANDBY" Standby = 2, "LS_ROLE_ACTIVATING" Activating = 3,
        "LS_ROLE_ACTIVE" Active = 4, "LS_ROLE_STANDING_DOWN" StandingDown = 5, "LS_ROLE_FAILED" Failed = 6,
    }
    ServiceState {
        "LS_SERVICE_STOPPED" Stopped = 1, "LS_SERVICE_STARTING" Starting = 2, "LS_SERVICE_RUNNING" Running = 3,
        "LS_SERVICE_STOPPING" Stopping = 4, "LS_SERVICE_EXITED" Exited = 5, "LS_SERVICE_UNREADY" Unready = 6,
    }
    Connection { "LS_LINK_MAIN" Main = 1, "LS_LINK_AUXILIARY" Auxiliary = 2, }
    Stage {
        "LS_HANDOVER_BEGUN" Begun = 1, "LS_HANDOVER_COMPLETED" Completed = 2,
        "LS_HANDOVER_ROLLED_BACK" RolledBack = 3, "LS_HANDOVER_NO_ACTIVE" NoActive = 4,
    }
    Outcome { "LS_DONE" Done = 1, "LS_NOT_BEGUN" Refused = 2, "LS_FAILED" Failed = 3, }
    Urgency { "LS_PLANNED" Planned = 1, "LS_FAILOVER" Failover = 2, }
    Level { "LS_INFO" Info = 1, "LS_WARNING" Warning = 2, "LS_CRITICAL" Critical = 3, }
    Replication {
        "LS_REPLICATION_UNKNOWN" Unknown = 0, "LS_REPLICATION_CURRENT" Current = 1,
        "LS_REPLICATION_BEHIND" Behind = 2, "LS_REPLICATION_STOPPED" Stopped = 3,
    }
    Lan { "LS_LAN_UNKNOWN" Unknown = 0, "LS_LAN_CONNECTED" Connected = 1, "LS_LAN_ISOLATED" Isolated = 2, }
    Tls { "LS_TLS_OFF" Off = 0, "LS_TLS_UNVERIFIED" Unverified = 1, "LS_TLS_VERIFIED" Verified = 2, }
    Source { "LS_FROM_BODY" Body = 1, "LS_FROM_XML" Xml = 2, "LS_FROM_JSON" Json = 3, "LS_FROM_HEADER" Header = 4, }
    XmppTransport { "LS_XMPP_TCP" Tcp = 1, "LS_XMPP_BOSH" Bosh = 2, }
    Pick { "LS_PICK_TURN" Turn = 1, "LS_PICK_ORDER" Order = 2, "LS_PICK_SHUFFLE" Shuffle = 3, }
}

/// A side, or none.
pub(super) fn side_or_none(side: Option<Side>) -> u32 {
    side.map_or(0, Side::code)
}
