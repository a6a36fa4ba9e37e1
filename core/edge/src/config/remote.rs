//! Sides that admit no agent, whom the edge itself activates and stops; and what turns a node off.

use super::calls::{self, CallConfig};
use super::pair::HOUR;
use super::table::Table;
use http::Method;
use lockstep_pair::coordinator::{Bound, FenceHook, Fencing};
use lockstep_policy::Side;
use std::time::Duration;

/// How long an activation, a stop or a fencing hook may take, if nothing else is said.
const USUAL: Duration = Duration::from_secs(30);

/// How a side is activated and stopped that admits no agent. It holds no lease: nothing there ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Makes it active; the answer confirms that it is.
    pub activate: CallConfig,
    /// Stops it; the answer confirms that it is stopped.
    pub stand_down: CallConfig,
    /// Asks whether it is active; none: the answers of the other two are believed.
    pub status: Option<StatusConfig>,
    /// So long after it was told to stop, without an answer that confirms, it counts as stopped in a failover; none: it
    /// never does.
    pub unfenced_delay: Option<Duration>,
}

/// How a side without an agent is asked whether it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// The question. An answer that confirms says that the side is active.
    pub call: CallConfig,
    /// From one to the next.
    pub interval: Duration,
}

/// What turns a side's node off, and confirms that it is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceConfig {
    /// The hook.
    pub call: CallConfig,
    /// So long the side may confirm by itself before.
    pub after: Duration,
}

/// The keys of a side in an agent's stead: where the first of them stands, and what they say.
pub(super) fn read(table: &mut Table<'_, '_>, side: Side) -> (Option<usize>, Option<RemoteConfig>) {
    let keys = ["activate", "stand_down", "status", "unfenced_delay"];
    let at = keys.into_iter().filter_map(|key| table.place(key)).min();
    let given = table.has("unfenced_delay");
    let delay = table.duration("unfenced_delay", Duration::from_secs(60), Duration::ZERO..=HOUR).value;
    let paths = match side {
        Side::A => ["pair.a.activate", "pair.a.stand_down", "pair.a.status"],
        Side::B => ["pair.b.activate", "pair.b.stand_down", "pair.b.status"],
    };
    let mut call = |key, path| {
        let mut call = table.table(key, path)?;
        let read = calls::read(&mut call, Method::POST, USUAL);
        call.finish();
        read
    };
    let (activate, stand_down) = (call("activate", paths[0]), call("stand_down", paths[1]));
    let status = table.table("status", paths[2]).and_then(status);
    let Some(at) = at else { return (None, None) };
    for (key, path) in ["activate", "stand_down"].into_iter().zip(paths) {
        if !table.has(key) {
            let valid = format!("a table `[{path}]` with `url` or `command`, or an agent and none of these tables");
            table.missing(key, &valid);
        }
    }
    let remote = activate.zip(stand_down).map(|(activate, stand_down)| RemoteConfig {
        activate,
        stand_down,
        status,
        unfenced_delay: given.then_some(delay),
    });
    (Some(at), remote)
}

fn status(mut table: Table<'_, '_>) -> Option<StatusConfig> {
    let interval = table.duration("interval", Duration::from_secs(1), Duration::from_millis(50)..=HOUR).value;
    let call = calls::read(&mut table, Method::GET, Duration::from_secs(2));
    table.finish();
    Some(StatusConfig { call: call?, interval })
}

/// `[pair.a.fence]` or `[pair.b.fence]`.
pub(super) fn fence(table: &mut Table<'_, '_>, side: Side) -> Option<FenceConfig> {
    let path = if side == Side::A { "pair.a.fence" } else { "pair.b.fence" };
    let mut table = table.table("fence", path)?;
    let after = table.duration("after", Duration::from_secs(2), Duration::ZERO..=HOUR).value;
    let call = calls::read(&mut table, Method::POST, USUAL);
    table.finish();
    Some(FenceConfig { call: call?, after })
}

/// What the coordinator is told of it.
pub(super) fn fencing(remote: Option<&RemoteConfig>, fence: Option<&FenceConfig>) -> Fencing {
    Fencing {
        bound: remote.map_or(Bound::Lease, |remote| Bound::Unfenced { delay: remote.unfenced_delay }),
        hook: fence.map(|fence| FenceHook { after: fence.after, timeout: fence.call.timeout }),
    }
}
