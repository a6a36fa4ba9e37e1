//! One `[[pair]]`: its sides, times and bounds. Every default of a pair stands here.

use super::limits::{self, LimitsConfig};
use super::listener::{self, ReadListener, UpstreamConfig};
use super::manner;
use super::policy::{self, Plugins};
use super::problem::Problems;
use super::remote;
use super::sides::{self, Listening, Named, ReadSide, side};
use super::table::{Placed, Table};
use super::{HoldConfig, PolicyConfig, session};
use crate::proxy::{Manner, SessionSettings};
use lockstep_pair::coordinator::{Leftover, Settings};
use lockstep_pair::protocol::Terms;
use lockstep_policy::setup::Detect;
use lockstep_policy::{Side, Sides};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// What a server's, a listener's or an agent's address must be. Names are not looked up: a pair must switch while DNS
/// is down.
pub(super) const ADDRESS: &str = "an address \"IP:PORT\", such as \"10.0.0.1:80\" (names are not looked up)";

/// A pair as it was read; what could not be read is at its default or missing, and has been refused.
pub(super) struct Read {
    pub name: Placed<String>,
    pub listeners: Vec<Named>,
    pub more: Vec<ReadListener>,
    pub upstream: UpstreamConfig,
    pub limits: LimitsConfig,
    pub manner: Manner,
    pub answer: Vec<Placed<SocketAddr>>,
    pub session: SessionSettings,
    pub policy: Option<PolicyConfig>,
    pub settings: Settings,
    pub hold: HoldConfig,
    pub sides: Sides<ReadSide>,
}

impl Read {
    /// All addresses that the pair listens on.
    pub fn listening(&self) -> impl Iterator<Item = Listening> {
        let of_pools = self.listeners.iter().flat_map(|named| {
            let key = match named.name.as_str() {
                "" => "pair.listen".to_owned(),
                name => format!("pair.listeners.{name}"),
            };
            named.addresses.iter().map(move |address| (address, key.clone()))
        });
        let answers = self.answer.iter().map(|address| (address, "pair.answer".to_owned()));
        let short = of_pools.chain(answers);
        let short = short.map(|(address, key)| Listening { value: address.value, at: address.at, key });
        short.chain(self.more.iter().flat_map(ReadListener::listening))
    }

    /// The pair's configuration, when nothing is missing.
    pub fn config(self) -> Option<super::PairConfig> {
        let (listen, listeners) = sides::pool_listeners(self.listeners);
        Some(super::PairConfig {
            sides: Sides { a: self.sides.a.config(), b: self.sides.b.config() },
            name: self.name.value,
            listen,
            listeners,
            listener: self.more.into_iter().map(|listener| listener.config).collect(),
            upstream: self.upstream,
            limits: self.limits,
            manner: self.manner,
            answer: self.answer.iter().map(|answer| answer.value).collect(),
            session: self.session,
            policy: self.policy?,
            settings: self.settings,
            hold: self.hold,
        })
    }
}

pub(super) fn read<'i>(
    mut table: Table<'_, 'i>,
    plugins: &mut Plugins,
    problems: &std::cell::RefCell<Problems<'i>>,
    dir: &Path,
) -> Read {
    let name = name(&mut table);
    let listeners = sides::listeners(&mut table);
    let limits = limits::read(table.table("limits", "pair.limits"), &LimitsConfig::default());
    let more = listener::listeners(&mut table, dir, &limits);
    let upstream = listener::upstream(table.table("upstream", "pair.upstream"), dir);
    listener::check_upstream(&table, &more, &upstream);
    let answer = table.list("answer", ADDRESS).map(|answer| answer.items).unwrap_or_default();
    let exclusive_only = ["lease", "handover"].map(|key| (key, table.place(key)));
    let terms = lease(table.table("lease", "pair.lease"));
    let (detect, slow) = detect(table.table("detect", "pair.detect"), terms.detect);
    let hold = hold(table.table("hold", "pair.hold"));
    let mode = manner::mode(&mut table);
    let mut manner = manner::read(&mut table, dir, hold.retry_after);
    manner.crowd = upstream.crowd;
    manner.slow = slow;
    let mut settings = handover(table.table("handover", "pair.handover"), terms);
    let (session_at, session) = session::read(table.table("session", "pair.session"));
    session::check(&table, session_at, &session, &more);
    let a = side(table.table("a", "pair.a"), &table, Side::A);
    let b = side(table.table("b", "pair.b"), &table, Side::B);
    let sides = Sides { a, b };
    settings.fencing = Sides::from_fn(|side| remote::fencing(sides[side].remote.as_ref(), sides[side].fence.as_ref()));
    sides::check(&table, &listeners, &more, &sides);
    manner.redirect = manner::redirect(&table, &mode, &sides, &more);
    let policy = match table.table("policy", "pair.policy") {
        Some(policy) => {
            let setups = Sides::from_fn(|side| sides[side].setup());
            policy::read(policy, &name.value, detect, setups, plugins, problems)
        }
        None => {
            table.missing("policy", "a table `[pair.policy]` with `plugin = \"NAME\"`");
            None
        }
    };
    match &policy {
        Some(policy) if policy.traits.exclusive => exclusive(&table, policy.plugin.id(), &sides, session_at),
        Some(policy) => {
            shared(&table, policy.plugin.id(), exclusive_only);
            for (side, read) in sides.iter() {
                for at in [read.remote_at, read.fence_at].into_iter().flatten() {
                    let what = "both sides may serve: nobody is activated, stopped or fenced";
                    table.refuse(at, &side.to_string(), what, "`servers` and `pools` only");
                }
            }
        }
        None => {}
    }
    table.finish();
    Read { name, listeners, more, upstream, limits, manner, answer, session, policy, settings, hold, sides }
}

/// What a pair needs of which one side is active at a time.
fn exclusive(table: &Table<'_, '_>, policy: &str, sides: &Sides<ReadSide>, session: Option<usize>) {
    for (side, read) in sides.iter() {
        let key = format!("{side}.agent");
        match (read.has_agent, read.remote_at) {
            (true, Some(at)) => {
                let valid = "an agent, which holds a lease; or, where the node admits none, the edge's own calls";
                table.refuse(at, &key, "stands beside calls that the edge makes in an agent's stead", valid);
            }
            (false, None) => {
                let valid = format!(
                    "the side's agent, such as `agent = \"10.0.0.1:7401\"`: with the policy `{policy}` one side is \
                     active at a time, by a lease that its agent holds. Where the node admits no agent: the edge's own \
                     calls, [pair.{side}.activate] and [pair.{side}.stand_down]"
                );
                table.refuse(read.at, &key, "is missing", valid);
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    if let Some(at) = session {
        let what = format!("with the policy `{policy}` one side is active at a time, and no sessions are shared out");
        table.refuse(at, "session", what, "no table `[pair.session]`, or a policy with which both sides may serve");
    }
}

/// What has no meaning in a pair in which both sides may serve.
fn shared(table: &Table<'_, '_>, policy: &str, given: [(&'static str, Option<usize>); 2]) {
    for (key, at) in given.into_iter().filter_map(|(key, at)| Some((key, at?))) {
        let what = format!("with the policy `{policy}` both sides may serve: there is no lease and no handover");
        table.refuse(at, key, what, format!("no table `[pair.{key}]`"));
    }
}

fn name(table: &mut Table<'_, '_>) -> Placed<String> {
    let valid = "a name of 1 to 64 letters, digits, `-`, `_` or `.`";
    let Some(name) = table.text("name") else {
        table.missing("name", valid);
        return Placed { value: String::new(), at: table.at() };
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(sound) {
        table.refuse(name.at, "name", format!("\"{}\" is not a name", name.value), valid);
    }
    name
}

/// The times of detection, and from which on an answer to a client is slow.
fn detect(
    table: Option<Table<'_, '_>>,
    (interval, timeout, failures): (Duration, Duration, u64),
) -> (Detect, Option<Duration>) {
    let (mut interval, mut timeout, mut failures) = (interval, timeout, failures);
    let mut slow = Duration::ZERO;
    if let Some(mut table) = table {
        interval = table.duration("interval", interval, ms(10)..=HOUR).value;
        timeout = table.duration("timeout", timeout, ms(10)..=HOUR).value;
        failures = table.number("failures", failures, 1..=1000);
        slow = table.duration("slow", slow, ms(1)..=HOUR).value;
        table.finish();
    }
    let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let detect = Detect {
        interval_ms: whole(interval),
        timeout_ms: whole(timeout),
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
    };
    (detect, (!slow.is_zero()).then_some(slow))
}

/// A lease's times, and how far the edge's clock and a node's may run apart.
struct Lease {
    terms: Terms,
    margin: Duration,
    drift_ppm: u32,
    /// What `[pair.detect]` is when it is not given: interval, timeout and failures that go with the lease.
    detect: (Duration, Duration, u64),
}

impl Lease {
    const DEFAULT: Lease = Lease {
        terms: Terms { ttl: ms(3000), renew: ms(1000), stop_max: ms(5000) },
        margin: ms(100),
        drift_ppm: 10_000,
        detect: (ms(100), ms(200), 2),
    };
    /// Renewed so often that a node, or the edge, may stand still for half a second.
    const LAN: Lease = Lease {
        terms: Terms { ttl: ms(600), renew: ms(50), stop_max: ms(250) },
        margin: ms(20),
        drift_ppm: 10_000,
        detect: Lease::DEFAULT.detect,
    };
    const RAPID: Lease = Lease {
        terms: Terms { ttl: ms(200), renew: ms(50), stop_max: ms(80) },
        margin: ms(10),
        drift_ppm: 10_000,
        detect: (ms(30), ms(60), 3),
    };
}

fn lease(table: Option<Table<'_, '_>>) -> Lease {
    let Some(mut table) = table else { return Lease::DEFAULT };
    let profiles = [("default", &Lease::DEFAULT), ("lan", &Lease::LAN), ("rapid", &Lease::RAPID)];
    let profile = table.word("profile", &profiles);
    let base = profile.unwrap_or(&Lease::DEFAULT);
    let ttl = table.duration("ttl", base.terms.ttl, ms(50)..=HOUR);
    let renew = table.duration("renew", base.terms.renew, ms(10)..=HOUR);
    let stop_max = table.duration("stop_max", base.terms.stop_max, ms(10)..=HOUR).value;
    let margin = table.duration("margin", base.margin, ms(1)..=HOUR).value;
    let drift_ppm = table.number("drift_ppm", u64::from(base.drift_ppm), 0..=200_000);
    if renew.value > ttl.value / 2 {
        let what = format!(
            "{} is more than half of pair.lease.ttl ({}): one lost renewal would end the lease",
            humantime::format_duration(renew.value),
            humantime::format_duration(ttl.value)
        );
        let most = humantime::format_duration(ttl.value / 2);
        table.refuse(renew.at, "renew", what, format!("at most {most}, or a longer ttl"));
    }
    table.finish();
    let drift_ppm = u32::try_from(drift_ppm).unwrap_or(u32::MAX);
    let terms = Terms { ttl: ttl.value, renew: renew.value, stop_max };
    Lease { terms, margin, drift_ppm, detect: base.detect }
}

fn hold(table: Option<Table<'_, '_>>) -> HoldConfig {
    let mut hold =
        HoldConfig { max_requests: 1000, max_wait: ms(15_000), release_at_once: 100, retry_after: ms(5_000) };
    if let Some(mut table) = table {
        let max_requests = table.number("max_requests", hold.max_requests as u64, 0..=1_000_000);
        hold.max_requests = usize::try_from(max_requests).unwrap_or(usize::MAX);
        hold.max_wait = table.duration("max_wait", hold.max_wait, ms(1)..=HOUR).value;
        let at_once = table.number("release_at_once", hold.release_at_once.into(), 0..=100_000);
        hold.release_at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
        hold.retry_after = table.duration("retry_after", hold.retry_after, ms(1000)..=HOUR).value;
        table.finish();
    }
    hold
}

fn handover(table: Option<Table<'_, '_>>, lease: Lease) -> Settings {
    let mut settings = Settings {
        terms: lease.terms,
        drift_ppm: lease.drift_ppm,
        margin: lease.margin,
        prepare: ms(10_000),
        drain: ms(5_000),
        leftover: Leftover::Cut,
        fence: ms(10_000),
        activate: ms(60_000),
        activate_attempts: 2,
        settle: ms(10_000),
        recover: ms(2_000),
        fencing: Sides::default(),
    };
    let Some(mut table) = table else { return settings };
    settings.prepare = table.duration("prepare", settings.prepare, ms(0)..=HOUR).value;
    settings.drain = table.duration("drain", settings.drain, ms(0)..=HOUR).value;
    let leftover = table.word("leftover", &[("cut", Leftover::Cut), ("finish", Leftover::Finish)]);
    settings.leftover = leftover.unwrap_or_default();
    settings.fence = table.duration("fence", settings.fence, ms(10)..=HOUR).value;
    settings.activate = table.duration("activate", settings.activate, ms(10)..=HOUR).value;
    let attempts = table.number("activate_attempts", u64::from(settings.activate_attempts), 1..=100);
    settings.activate_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    settings.settle = table.duration("settle", settings.settle, ms(0)..=HOUR).value;
    settings.recover = table.duration("recover", settings.recover, ms(10)..=HOUR).value;
    table.finish();
    settings
}
