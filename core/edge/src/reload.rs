//! A running edge reads its configuration again: a bad one changes nothing, of a good one is applied what can be.

use crate::admin::server::Edge;
use crate::config::{self, Config, EdgeConfig, PairConfig, PolicyConfig, UpstreamConfig};
use crate::driver::{Ask, Feed};
use crate::encryption;
use lockstep_policy::Setup;
use lockstep_wire::trust::Trust;
use std::sync::Arc;

/// Reads the file again. A policy's parameters, its detection times and its plugin are taken over at once; all else is
/// named as needing a restart.
pub(crate) async fn reload(running: &mut Config, edge: &Edge) {
    let path = running.file.clone();
    let said = match tokio::task::spawn_blocking(move || config::load(&path)).await {
        Ok(Ok(new)) => apply(running, new, edge).await,
        Ok(Err(report)) => {
            let kept = "the configuration is not valid, and the running one was kept".to_owned();
            std::iter::once(kept).chain(report.errors.iter().map(ToString::to_string)).collect()
        }
        Err(error) => vec![format!("the running configuration was kept: {error}")],
    };
    for line in &said {
        tracing::warn!("reload: {line}");
    }
    edge.reload.store(Arc::new(said));
}

async fn apply(running: &mut Config, new: Config, edge: &Edge) -> Vec<String> {
    let mut said = restarts(running, &new);
    if running.edge.users != new.edge.users {
        edge.users.store(Arc::new(new.edge.users.clone()));
        running.edge.users.clone_from(&new.edge.users);
        said.push("[[edge.users]]: applied".to_owned());
    }
    if running.secrets != new.secrets {
        running.secrets.take_over(&new.secrets);
        said.push("[secrets]: applied".to_owned());
    }
    match edge.trust.as_ref().map(Trust::reload) {
        Some(Ok(true)) => said.push("[edge.tls]: other certificates are in force".to_owned()),
        Some(Err(error)) => said.push(format!("[edge.tls]: the certificates of before stay in force: {error}")),
        Some(Ok(false)) | None => {}
    }
    let encrypted = Arc::clone(&edge.encrypted);
    match tokio::task::spawn_blocking(move || encryption::reload(&encrypted)).await {
        Ok(Ok(changed)) => said.extend(changed),
        Ok(Err(error)) => {
            said.push(format!("certificates of listeners and servers stay as they were, all of them: {error}"))
        }
        Err(error) => said.push(format!("certificates of listeners and servers stay as they were: {error}")),
    }
    for pair in &mut running.pairs {
        let Some(wanted) = new.pairs.iter().find(|wanted| wanted.name == pair.name) else { continue };
        let Some(door) = edge.pairs.iter().find(|door| door.name == pair.name) else { continue };
        if pair.manner != wanted.manner {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let told = door.feeds.send(Feed::Ask(Ask::Manner(Box::new(wanted.manner.clone()), reply))).await;
            if told.is_ok() && answer.await.is_ok() {
                pair.manner.clone_from(&wanted.manner);
                let keys = "mode, unavailable, maintenance, forwarded, rewrite and upstream.connections";
                said.push(format!("pair \"{}\": {keys}: as in the file now", pair.name));
            }
        }
        let Some(policy) = new_policy(pair, wanted) else { continue };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let told = door.feeds.send(Feed::Ask(Ask::Policy(Box::new(policy.clone()), reply))).await;
        let gone = || vec!["not applied: the pair is being stopped".to_owned()];
        let outcome = if told.is_ok() { answer.await.unwrap_or_else(|_| gone()) } else { gone() };
        if outcome.first().is_some_and(|first| first.starts_with("in force")) {
            pair.policy = policy;
        }
        let name = &pair.name;
        said.extend(outcome.into_iter().map(|line| format!("pair \"{name}\": pair.policy and pair.detect: {line}")));
    }
    if said.is_empty() {
        said.push("nothing has changed".to_owned());
    }
    said
}

/// The policy as wanted, on the sides as they run; none when it is as it was.
fn new_policy(running: &PairConfig, wanted: &PairConfig) -> Option<PolicyConfig> {
    let (old, new) = (&running.policy, &wanted.policy);
    let setup = Setup { sides: old.setup.sides.clone(), ..new.setup.clone() };
    let same = old.setup == setup && old.plugin.fingerprint() == new.plugin.fingerprint();
    // What moves the route of a pair is made once.
    let applies = old.traits == new.traits;
    (applies && !same).then(|| PolicyConfig { setup, ..new.clone() })
}

/// What has changed and waits for a restart.
fn restarts(running: &Config, new: &Config) -> Vec<String> {
    let needs = |what: String| format!("{what}: has changed, and needs a restart of the edge");
    let mut said = Vec::new();
    let as_it_runs = EdgeConfig { users: running.edge.users.clone(), ..new.edge.clone() };
    if running.edge != as_it_runs {
        said.push(needs("[edge]".to_owned()));
    }
    for pair in &running.pairs {
        let Some(wanted) = new.pairs.iter().find(|wanted| wanted.name == pair.name) else {
            said.push(format!(
                "pair \"{}\": is gone from the file, and runs on until the edge is restarted",
                pair.name
            ));
            continue;
        };
        let changed = [
            ("pair.listen", pair.listen != wanted.listen),
            ("pair.listeners", pair.listeners != wanted.listeners),
            ("pair.listener", pair.listener != wanted.listener),
            (
                "pair.upstream",
                pair.upstream != UpstreamConfig { crowd: pair.upstream.crowd, ..wanted.upstream.clone() },
            ),
            ("pair.limits", pair.limits != wanted.limits),
            ("pair.answer", pair.answer != wanted.answer),
            ("pair.session", pair.session != wanted.session),
            ("pair.policy, from one active side to two or back", pair.policy.traits != wanted.policy.traits),
            ("pair.lease, pair.handover", pair.settings != wanted.settings),
            ("pair.hold", pair.hold != wanted.hold),
            ("pair.a, pair.b", pair.sides != wanted.sides),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        said.extend(changed.map(|(key, _)| needs(format!("pair \"{}\": {key}", pair.name))));
    }
    let known = |wanted: &&PairConfig| !running.pairs.iter().any(|pair| pair.name == wanted.name);
    let added = new.pairs.iter().filter(known);
    said.extend(added.map(|pair| format!("pair \"{}\": is new, and starts when the edge is restarted", pair.name)));
    said
}
