//! F7, seen from the other end: the CTI servers that a side may connect to, when they are asked themselves.

use crate::{Finesse, probes, view};
use lockstep_policy::Side;
use lockstep_policy::action::{Action, Alert, Level};
use lockstep_policy::event::{ProbeResult, Verdict};
use lockstep_policy::sdk::Actions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `E_CTI_SERVER_NOT_MASTER`: how a CTI server says that it is the standby.
const STANDBY: &str = "92";

/// The CTI hosts of one side, by the numbers of their servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CtiHosts {
    hosts: BTreeMap<u32, Host>,
    /// Operators were told that none of them answers as active.
    told: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Host {
    state: State,
    missed: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Unknown,
    Active,
    Standby,
    Lost,
}

impl Finesse {
    /// A heartbeat has ended. It decides nothing: that a side has lost its CTI server is for the side to say, which looks
    /// for another one first.
    pub(crate) fn on_heartbeat(&mut self, result: &ProbeResult, out: &mut Actions) {
        let misses = self.timing.cti.failures;
        let side = result.side;
        let cti = &mut self.cti[side];
        let host = cti.hosts.entry(result.server).or_default();
        host.missed = host.missed.saturating_add(1);
        match result.verdict {
            Verdict::Good => *host = Host { state: State::Active, missed: 0 },
            Verdict::Wrong if result.fact("status") == Some(STANDBY) => {
                *host = Host { state: State::Standby, missed: 0 }
            }
            _ if host.missed >= misses => host.state = State::Lost,
            _ => {}
        }
        // One that was not heard yet may be the active one.
        let mut asked = self.watches.iter().filter(|watch| watch.side == side && probes::is_heartbeat(watch));
        let state = |server| cti.hosts.get(&server).map_or(State::Unknown, |host| host.state);
        let lost = asked.all(|watch| matches!(state(watch.server), State::Lost | State::Standby));
        if lost && !cti.told {
            let standby = cti.hosts.values().filter(|host| host.state == State::Standby).count();
            let text = format!(
                "F7: no CTI server of {side} answers as active ({standby} of {} as standby; the last one asked {}): {side} \
                 goes out of service until it has found one",
                cti.hosts.len(),
                view::in_words(result)
            );
            out.push(Action::Alert(Alert { level: Level::Warning, text }));
        }
        cti.told = lost;
    }

    /// What operators read of a side's CTI hosts; empty when they are not asked.
    pub(crate) fn cti_in_words(&self, side: Side) -> String {
        let count = |state| self.cti[side].hosts.values().filter(|host| host.state == state).count();
        let states = [(State::Active, "active"), (State::Standby, "standby"), (State::Lost, "lost")];
        let words = states.into_iter().filter(|(state, _)| count(*state) > 0);
        let words: Vec<String> = words.map(|(state, word)| format!("{} {word}", count(state))).collect();
        if words.is_empty() { String::new() } else { format!("; CTI servers: {}", words.join(", ")) }
    }
}
