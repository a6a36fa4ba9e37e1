//! A running edge reads its configuration again, and has it in force as a whole or not at all.
//!
//! All that can fail is done first: the file is read, addresses are bound, certificates are read, the access log is opened. Only
//! then is anything changed, and clients notice nothing of it: an address that stays keeps its socket, and who is connected stays
//! until his answer is given.

use crate::access::AccessLog;
use crate::admin::api::Reloaded;
use crate::config::{self, Config, EdgeConfig, PairConfig, PolicyConfig, SideConfig, UpstreamConfig};
use crate::doors::Closed;
use crate::driver::{Ask, Feed};
use crate::pairs::{self, AtWork, Ready, Turn, Turned, Unready};
use crate::probe::Means;
use crate::proxy::Seeing;
use crate::run::{Own, Running, seeing};
use crate::store::Found;
use lockstep_policy::{Epoch, Setup, Side, Sides};
use lockstep_wire::trust::Trust;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Reads the file again, and has it in force.
pub(crate) async fn reload(running: &mut Running) -> Reloaded {
    let path = running.config.file.clone();
    let outcome = match tokio::task::spawn_blocking(move || config::load(&path)).await {
        Ok(Ok(new)) => apply(running, new).await,
        Ok(Err(report)) => {
            let kept = "the configuration is not valid, and the running one was kept".to_owned();
            Err(std::iter::once(kept).chain(report.errors.iter().map(ToString::to_string)).collect())
        }
        Err(error) => Err(vec![format!("the running configuration was kept: {error}")]),
    };
    let applied = outcome.is_ok();
    let (Ok(said) | Err(said)) = outcome;
    for line in &said {
        tracing::warn!("reload: {line}");
    }
    Reloaded { applied, said }
}

/// Sentences for a person: what is in force, or why nothing has changed.
type Outcome = Result<Vec<String>, Vec<String>>;

async fn apply(running: &mut Running, new: Config) -> Outcome {
    let kept = |why: String| vec!["nothing has changed, and the running configuration was kept".to_owned(), why];
    let mut said = restarts(&running.config.edge, &new.edge);
    let plan = Plan::make(running, &new).await.map_err(kept)?;
    match running.edge.trust.as_ref().map(Trust::reload) {
        Some(Ok(true)) => said.push("[edge.tls]: other certificates are in force".to_owned()),
        Some(Err(error)) => {
            return Err(kept(format!("[edge.tls]: the certificates of before stay in force: {error}")));
        }
        Some(Ok(false)) | None => {}
    }
    running.leave(|name| plan.ends(name)).await.map_err(kept)?;
    let found = match plan.found(running) {
        Ok(found) => found,
        Err(why) => {
            running.resume().map_err(|error| vec![error.to_string()])?;
            return Err(kept(why));
        }
    };
    plan.carry_out(running, &new, found, &mut said);
    for at in 0..running.pairs.len() {
        let name = running.pairs[at].config.name.clone();
        if let Some(wanted) = new.pairs.iter().find(|wanted| wanted.name == name) {
            change_in_place(&mut running.pairs[at], wanted, &mut said).await;
        }
    }
    if said.is_empty() {
        said.push("nothing has changed".to_owned());
    }
    Ok(said)
}

/// What is to be done, with all done already that can fail.
struct Plan {
    seeing: Option<Seeing>,
    /// Another address for metrics, or none.
    metrics: Option<Option<Own>>,
    /// Probes trust others.
    means: Option<Arc<Means>>,
    turns: Vec<(String, Turn, Vec<&'static str>)>,
    added: Vec<Ready>,
    gone: Vec<String>,
}

impl Plan {
    async fn make(running: &Running, new: &Config) -> Result<Plan, String> {
        let (seen, wanted) = (&running.config.edge.seen, &new.edge.seen);
        let gone = gone(running, new).await?;
        let sockets = running.own_sockets();
        let means = (running.config.edge.probe != new.edge.probe)
            .then(|| Arc::new(Means::new(running.config.secrets.clone(), &new.edge.probe)));
        let mut plan = Plan { seeing: None, metrics: None, means, turns: Vec::new(), added: Vec::new(), gone };
        for pair in &new.pairs {
            let unready = |why| unready(&pair.name, why);
            match running.pairs.iter().find(|there| there.config.name == pair.name) {
                Some(there) => {
                    let mut why = made_again_by(&there.config, pair);
                    why.extend(plan.means.is_some().then_some("edge.probe"));
                    let turn = there.prepare(pair, &sockets, !why.is_empty()).map_err(unready)?;
                    plan.turns.push((pair.name.clone(), turn, why));
                }
                None => plan.added.push(Ready::new(pair, &sockets).map_err(unready)?),
            }
        }
        if seen.metrics != wanted.metrics {
            plan.metrics = Some(match wanted.metrics {
                Some(address) => Some(Own::bind(address, &sockets).await.map_err(|error| {
                    format!("edge.metrics: cannot listen on {address}: {error}: give it an address of this machine and a port that nobody listens on")
                })?),
                None => None,
            });
        }
        if seen.access_log != wanted.access_log {
            plan.seeing = Some(seeing(wanted).map_err(|(log, error)| {
                format!("edge.access_log.file: {log} cannot be appended to: {error}: make its directory, and let the edge's user write there")
            })?);
        } else if (seen.trace, seen.request_id) != (wanted.trace, wanted.request_id) {
            let log = running.ground.seeing.log.clone();
            plan.seeing = Some(Seeing { log, trace: wanted.trace, request_id: wanted.request_id });
        }
        Ok(plan)
    }

    /// Whether a pair's driver has to leave.
    fn ends(&self, pair: &str) -> bool {
        self.gone.iter().any(|gone| gone == pair)
            || self.turns.iter().any(|(name, _, again)| name == pair && !again.is_empty())
    }

    /// What is stored of pairs that get another driver. Their drivers have left.
    fn found(&self, running: &Running) -> Result<Vec<(String, Found)>, String> {
        let again = self.turns.iter().filter(|(_, _, again)| !again.is_empty()).map(|(name, ..)| name.as_str());
        let names = again.chain(self.added.iter().map(Ready::name));
        let found = names.map(|name| {
            let found = pairs::found(name, &running.ground.store, &running.ground.journal);
            found.map(|found| (name.to_owned(), found)).map_err(|error| error.to_string())
        });
        found.collect()
    }

    fn carry_out(self, running: &mut Running, new: &Config, found: Vec<(String, Found)>, said: &mut Vec<String>) {
        let Plan { seeing, metrics, means, turns, added, gone } = self;
        let found = |name: &str| found.iter().find(|(of, _)| of == name).map(|(_, found)| found.clone());
        see(running, new, seeing, metrics, said);
        if let Some(means) = means {
            running.ground.means = means;
            said.push("[edge.probe]: applied".to_owned());
        }
        running.config.edge.probe = new.edge.probe.clone();
        running.config.edge.drain = new.edge.drain;
        let mut closed: Vec<Closed> = Vec::new();
        for (name, turn, again) in turns {
            let Some(pair) = running.pairs.iter_mut().find(|pair| pair.config.name == name) else { continue };
            let upstream = new.pairs.iter().find(|wanted| wanted.name == name).is_some_and(|wanted| {
                let running = &pair.config.upstream;
                *running != UpstreamConfig { crowd: running.crowd, ..wanted.upstream.clone() }
            });
            let turned = if again.is_empty() {
                pair.turn(turn, &running.ground, &mut running.tasks)
            } else {
                let found = found(&name).unwrap_or_default();
                pair.make_again(turn, &running.ground, found, &mut running.tasks)
            };
            said.extend(told(&name, &turned, upstream, &again));
            closed.extend(turned.closed);
        }
        for ready in added {
            let name = ready.name().to_owned();
            let found = found(&name).unwrap_or_default();
            running.pairs.push(ready.start(&running.ground, found, None, &mut running.tasks));
            said.push(format!("pair \"{name}\": is new, and at work"));
        }
        for name in gone {
            let Some(at) = running.pairs.iter().position(|pair| pair.config.name == name) else { continue };
            let mut pair = running.pairs.remove(at);
            closed.extend(pair.close());
            if pair.config.policy.traits.exclusive {
                // Nobody says any more which side is active.
                for side in Side::BOTH {
                    pair.proxy.cut(side, Epoch(u64::MAX));
                }
            }
            said.push(format!("pair \"{name}\": is gone"));
        }
        if !closed.is_empty() {
            running.let_leave(closed);
        }
        let place = |pair: &AtWork| new.pairs.iter().position(|wanted| wanted.name == pair.config.name);
        running.pairs.sort_by_key(place);
        let doors = running.pairs.iter().map(|pair| Arc::clone(&pair.door)).collect();
        running.edge.pairs.store(Arc::new(doors));
    }
}

/// How the data plane is seen, users and secrets.
fn see(
    running: &mut Running,
    new: &Config,
    seeing: Option<Seeing>,
    metrics: Option<Option<Own>>,
    said: &mut Vec<String>,
) {
    if let Some(seeing) = seeing {
        let (before, wanted) = (&running.config.edge.seen, &new.edge.seen);
        let log = (before.access_log != wanted.access_log).then_some("[edge.access_log]");
        let marks = (before.trace, before.request_id) != (wanted.trace, wanted.request_id);
        let changed = log.into_iter().chain(marks.then_some("edge.trace, edge.request_id"));
        said.extend(changed.map(|keys| format!("{keys}: applied")));
        // The one before ends when the last request that knows it is over.
        running.edge.access_log.store(seeing.log.clone().map(Arc::<AccessLog>::new));
        running.pairs.iter().for_each(|pair| pair.proxy.be_seen(seeing.clone()));
        running.ground.seeing = seeing;
    }
    if let Some(metrics) = metrics {
        running.serve_metrics(metrics);
        said.push("edge.metrics: applied".to_owned());
    }
    running.config.edge.seen = new.edge.seen.clone();
    if running.config.edge.users != new.edge.users {
        running.edge.users.store(Arc::new(new.edge.users.clone()));
        running.config.edge.users.clone_from(&new.edge.users);
        said.push("[[edge.users]]: applied".to_owned());
    }
    if running.config.secrets != new.secrets {
        running.config.secrets.take_over(&new.secrets);
        said.push("[secrets]: applied".to_owned());
    }
}

/// What has become of a pair's doors.
fn told(name: &str, turned: &Turned, upstream: bool, again: &[&'static str]) -> Vec<String> {
    let mut said = Vec::new();
    if !again.is_empty() {
        said.push(format!("pair \"{name}\": {}: applied, and the pair made again", again.join(", ")));
    } else {
        let (opened, closed) = (turned.opened, turned.closed.len());
        if opened + closed > 0 {
            said.push(format!("pair \"{name}\": listeners: {opened} opened, {closed} closed"));
        }
        if upstream {
            said.push(format!("pair \"{name}\": pair.upstream: applied"));
        } else if turned.upstream {
            said.push(format!("pair \"{name}\": pair.upstream.tls: other certificates are in force"));
        }
    }
    if turned.certificates > 0 {
        let others = turned.certificates;
        said.push(format!("pair \"{name}\": pair.listener.tls: other certificates are in force ({others} listeners)"));
    }
    said
}

/// Pairs that are not in the file any more. One with an active side asks for a word first: what stands down is a service.
async fn gone(running: &Running, new: &Config) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for pair in &running.pairs {
        let name = &pair.config.name;
        if new.pairs.iter().any(|wanted| wanted.name == *name) {
            continue;
        }
        let status = pair.status().await;
        if let Some(status) = status.filter(|status| status.maintenance.is_none())
            && let Some(active) = status.active
        {
            let side = active.side;
            return Err(format!(
                "pair \"{name}\": is gone from the file, and its side {side} is active, which would stand down: \
                 begin with `lockstep maintenance {name} on`, then reload"
            ));
        }
        names.push(name.clone());
    }
    Ok(names)
}

fn unready(pair: &str, why: Unready) -> String {
    match why {
        Unready::Encryption(key, error) => {
            format!(
                "pair \"{pair}\": {key}: certificates of listeners and servers stay as they were, all of them: {error}"
            )
        }
        Unready::Listen(key, error) => format!("pair \"{pair}\": {key}: {error}"),
    }
}

/// What of a pair cannot change while its driver and its proxy are what they are.
fn made_again_by(running: &PairConfig, wanted: &PairConfig) -> Vec<&'static str> {
    // A side's name is for clients only.
    let sides =
        Sides::from_fn(|side| SideConfig { name: running.sides[side].name.clone(), ..wanted.sides[side].clone() });
    let changed = [
        ("pair.session", running.session != wanted.session),
        ("pair.policy, from one active side to two or back", running.policy.traits != wanted.policy.traits),
        ("pair.lease, pair.handover", running.settings != wanted.settings),
        ("pair.hold", running.hold != wanted.hold),
        ("pair.a, pair.b", running.sides != sides),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// What a pair takes over as it is: how clients are treated, and the policy.
async fn change_in_place(pair: &mut AtWork, wanted: &PairConfig, said: &mut Vec<String>) {
    let feeds = pair.door.feeds.load_full();
    let name = wanted.name.clone();
    if pair.config.manner != wanted.manner {
        let (reply, answer) = oneshot::channel();
        let told = feeds.send(Feed::Ask(Ask::Manner(Box::new(wanted.manner.clone()), reply))).await;
        if told.is_ok() && answer.await.is_ok() {
            pair.config.manner.clone_from(&wanted.manner);
            pair.config.upstream.crowd = wanted.upstream.crowd;
            let keys = "mode, unavailable, maintenance, forwarded, rewrite and upstream.connections";
            said.push(format!("pair \"{name}\": {keys}: as in the file now"));
        }
    }
    let Some(policy) = new_policy(&pair.config, wanted) else { return };
    let (reply, answer) = oneshot::channel();
    let told = feeds.send(Feed::Ask(Ask::Policy(Box::new(policy.clone()), reply))).await;
    let gone = || vec!["not applied: the pair is being stopped".to_owned()];
    let outcome = if told.is_ok() { answer.await.unwrap_or_else(|_| gone()) } else { gone() };
    if outcome.first().is_some_and(|first| first.starts_with("in force")) {
        pair.config.policy = policy;
    }
    said.extend(outcome.into_iter().map(|line| format!("pair \"{name}\": pair.policy and pair.detect: {line}")));
}

/// The policy as wanted, on the sides as they run; none when it is as it was.
fn new_policy(running: &PairConfig, wanted: &PairConfig) -> Option<PolicyConfig> {
    let (old, new) = (&running.policy, &wanted.policy);
    let setup = Setup { sides: old.setup.sides.clone(), ..new.setup.clone() };
    let same = old.setup == setup && old.plugin.fingerprint() == new.plugin.fingerprint();
    (!same).then(|| PolicyConfig { setup, ..new.clone() })
}

/// What has changed of the edge's own and waits for a restart. An upgrade is one that no client notices.
fn restarts(running: &EdgeConfig, new: &EdgeConfig) -> Vec<String> {
    let quiet = [
        ("edge.admin", running.admin != new.admin),
        ("edge.journal", running.journal != new.journal),
        ("edge.policies", running.policies != new.policies),
        ("edge.tls", running.security != new.security),
    ];
    let loud = [("edge.name", running.name != new.name), ("edge.state", running.state != new.state)];
    let quiet = quiet.into_iter().filter(|(_, changed)| *changed);
    let quiet = quiet.map(|(key, _)| {
        format!("{key}: has changed, and needs a restart of the edge: `lockstep upgrade` is one that no client notices")
    });
    let loud = loud.into_iter().filter(|(_, changed)| *changed);
    quiet.chain(loud.map(|(key, _)| format!("{key}: has changed, and needs a restart of the edge"))).collect()
}
