//! Hooks: programs of the configuration that an edge may have run, one at a time for each name.

use crate::config::Hook;
use crate::noticed::Noticed;
use crate::program;
use lockstep_policy::event::Outcome;
use lockstep_policy::{Epoch, Side};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Of what a hook has written, so many lines go to the edge.
const LINES: usize = 5;
/// And so many characters.
const TEXT_MAX: usize = 1000;

/// The hooks of an agent.
#[derive(Debug)]
pub(crate) struct Hooks {
    pair: String,
    side: Side,
    hooks: Vec<Hook>,
    running: BTreeSet<String>,
    noticed: mpsc::Sender<Noticed>,
}

/// Who has asked for a hook, and why.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) link: u64,
    pub(crate) id: u64,
    pub(crate) reason: String,
    /// The node's epoch.
    pub(crate) epoch: Epoch,
}

impl Hooks {
    pub(crate) fn new(pair: &str, side: Side, hooks: Vec<Hook>, noticed: mpsc::Sender<Noticed>) -> Hooks {
        Hooks { pair: pair.to_owned(), side, hooks, running: BTreeSet::new(), noticed }
    }

    /// Begins to run a hook; [`Noticed::Hook`] tells its end. An error says why it is not begun.
    pub(crate) fn run(&mut self, name: &str, wish: Wish) -> Result<(), String> {
        let Some(hook) = self.hooks.iter().find(|hook| hook.name == name).cloned() else {
            return Err(format!("the agent's configuration has no hook `{name}`"));
        };
        if !self.running.insert(hook.name.clone()) {
            return Err(format!("the hook `{name}` runs already"));
        }
        tracing::info!(hook = name, reason = wish.reason, "a hook is run");
        let variables = [
            ("LOCKSTEP_PAIR", self.pair.clone()),
            ("LOCKSTEP_SIDE", self.side.to_string()),
            ("LOCKSTEP_EPOCH", wish.epoch.0.to_string()),
            ("LOCKSTEP_REASON", wish.reason.replace('\0', " ")),
        ];
        let noticed = self.noticed.clone();
        tokio::spawn(async move {
            let (outcome, text) = end(&hook, &variables).await;
            let Hook { name, .. } = hook;
            tracing::info!(hook = name, ?outcome, text, "a hook has ended");
            let Wish { link, id, .. } = wish;
            let _ = noticed.send(Noticed::Hook { link, id, name, outcome, text }).await;
        });
        Ok(())
    }

    /// A hook has ended, and may be run again.
    pub(crate) fn ended(&mut self, name: &str) {
        self.running.remove(name);
    }
}

async fn end(hook: &Hook, variables: &[(&str, String)]) -> (Outcome, String) {
    let (outcome, text) = match program::run(&hook.command, variables, hook.timeout).await {
        Err(error) => (Outcome::Failed, format!("`{}` could not be run: {error}", hook.command[0])),
        Ok(ended) => {
            let words = ended.last_lines(LINES);
            match ended.status {
                Some(status) if status.success() => (Outcome::Done, words),
                Some(status) => (Outcome::Failed, format!("{status}: {words}")),
                None => (Outcome::Failed, format!("killed after {:?}: {words}", hook.timeout)),
            }
        }
    };
    (outcome, text.trim_end().trim_end_matches(':').chars().take(TEXT_MAX).collect())
}
