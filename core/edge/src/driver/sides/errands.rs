//! What an agent is asked to do for somebody who waits for the answer: open a gate, run a hook.

use super::SideRoom;
use crate::admin::api::GateOrder;
use crate::driver::Driver;
use crate::driver::orders::ActionOf;
use lockstep_policy::Side;
use lockstep_policy::action::{ConfirmGate, RunHook};
use lockstep_policy::event::Outcome;
use lockstep_wire::{FromEdge, clock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Errands of one side that may be under way at once.
const ERRANDS: usize = 64;

/// An agent that says less in its welcome answers no such errand.
const KNOWS_ERRANDS: u32 = 1;

/// What came of an errand: how it ended, and why, when it was not done.
pub(in crate::driver) type Ended = (Outcome, String);

/// The errands of one side. An agent answers each, or its connection is lost: none is waited for longer.
#[derive(Debug, Default)]
pub(in crate::driver) struct Errands {
    last: u64,
    under_way: BTreeMap<u64, For>,
}

/// Whom an errand is for.
#[derive(Debug)]
pub(in crate::driver) enum For {
    /// The policy.
    Policy(ActionOf),
    /// An operator, who was noted to have said this.
    Operator(Value, oneshot::Sender<Ended>),
}

impl SideRoom {
    /// Sends an errand, or says why not.
    fn send(&mut self, side: Side, whom: For, errand: impl FnOnce(u64) -> FromEdge) -> Result<(), (For, Ended)> {
        let refused = |why: String| (Outcome::Refused, why);
        let Some(commands) = &self.commands else {
            return Err((whom, refused(format!("the agent of side {side} is not connected"))));
        };
        if self.minor < KNOWS_ERRANDS {
            let why = format!("the agent of side {side} is too old for it: install this edge's lockstep there");
            return Err((whom, refused(why)));
        }
        if self.errands.under_way.len() >= ERRANDS {
            return Err((whom, refused(format!("the agent of side {side} has {ERRANDS} errands under way already"))));
        }
        self.errands.last += 1;
        match commands.send(errand(self.errands.last)) {
            Ok(()) => {
                self.errands.under_way.insert(self.errands.last, whom);
                Ok(())
            }
            Err(why) => Err((whom, (Outcome::Failed, why))),
        }
    }
}

impl Driver {
    /// The policy opens a gate.
    pub(in crate::driver) fn confirm_gate(&mut self, of: ActionOf, order: ConfirmGate) {
        let ConfirmGate { side, gate, by } = order;
        tracing::info!(pair = self.config.name, %side, gate, by, "the policy opens a gate");
        self.send_errand(side, For::Policy(of), |id| FromEdge::ConfirmGate { id, gate, by });
    }

    /// The policy has a hook run.
    pub(in crate::driver) fn run_hook(&mut self, of: ActionOf, order: RunHook) {
        let RunHook { side, hook, reason } = order;
        tracing::info!(pair = self.config.name, %side, hook, reason, "a hook is run");
        self.send_errand(side, For::Policy(of), |id| FromEdge::RunHook { id, hook, reason });
    }

    /// An operator opens a gate, whatever the policy thinks of it.
    pub(in crate::driver) fn open_gate(&mut self, order: GateOrder, reply: oneshot::Sender<Ended>) {
        let GateOrder { gate, side, by } = order;
        let said = json!({ "confirm": gate, "side": side, "by": by });
        self.notes.operator(clock::now(), said.clone());
        self.send_errand(side, For::Operator(said, reply), |id| FromEdge::ConfirmGate { id, gate, by });
    }

    fn send_errand(&mut self, side: Side, whom: For, errand: impl FnOnce(u64) -> FromEdge) {
        if let Err((whom, ended)) = self.sides[side].send(side, whom, errand) {
            self.end_errand(whom, ended);
        }
    }

    /// The agent has answered an errand.
    pub(super) fn errand_answered(&mut self, side: Side, id: u64, ended: Ended) {
        if let Some(whom) = self.sides[side].errands.under_way.remove(&id) {
            self.end_errand(whom, ended);
        }
    }

    /// The connection that carried the errands has broken.
    pub(super) fn lose_errands(&mut self, side: Side) {
        for (_, whom) in std::mem::take(&mut self.sides[side].errands.under_way) {
            let why = "the connection to the agent broke before its answer; ask again, it may have been done";
            self.end_errand(whom, (Outcome::Failed, why.to_owned()));
        }
    }

    fn end_errand(&mut self, whom: For, (outcome, why): Ended) {
        match whom {
            For::Policy(of) => self.result(of, outcome, &why),
            For::Operator(said, reply) => {
                self.notes.operator(clock::now(), json!({ "said": said, "outcome": outcome, "why": why }));
                // He may wait no more.
                let _ = reply.send((outcome, why));
            }
        }
    }
}
