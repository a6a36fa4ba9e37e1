//! What is known of one side: its agent's connections and its agent's word.

use lockstep_policy::event::{AgentReport, Connection, Lan, Link, Replication, Role, ServiceState};
use lockstep_policy::{At, Epoch};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The most services of a node that are remembered.
const MAX_SERVICES: usize = 64;

/// What is known of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) main: Option<LinkView>,
    pub(crate) aux: Option<LinkView>,
    pub(crate) report: Option<Report>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkView {
    pub(crate) up: bool,
    pub(crate) seq: u64,
}

/// An agent's report, as far as this policy looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) role: Role,
    pub(crate) epoch: Epoch,
    pub(crate) serving: bool,
    pub(crate) fit: bool,
    pub(crate) release: String,
    pub(crate) replication: Replication,
    pub(crate) replication_detail: String,
    pub(crate) isolated: bool,
    pub(crate) services: Vec<ServiceView>,
    pub(crate) at: At,
    pub(crate) seq: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceView {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) restarts: u32,
    pub(crate) exited: bool,
}

impl View {
    /// Takes a change of a connection. Whether it is one.
    pub(crate) fn on_link(&mut self, link: Link, seq: u64) -> bool {
        let known = match link.connection {
            Connection::Main => &mut self.main,
            Connection::Auxiliary => &mut self.aux,
        };
        let changed = known.is_none_or(|known| known.up != link.up);
        if changed {
            *known = Some(LinkView { up: link.up, seq });
        }
        if link.connection == Connection::Main && !link.up {
            // What it said before it went away is no word of the agent that comes back.
            self.report = None;
        }
        changed
    }

    pub(crate) fn on_report(&mut self, report: &AgentReport, seq: u64, at: At) {
        let services = report.services.iter().take(MAX_SERVICES).map(|service| ServiceView {
            name: service.name.clone(),
            pid: service.pid,
            restarts: service.restarts,
            exited: service.state == ServiceState::Exited,
        });
        self.report = Some(Report {
            role: report.role,
            epoch: report.epoch,
            serving: report.serving,
            fit: report.fit,
            release: report.release.clone(),
            replication: report.replication,
            replication_detail: report.replication_detail.clone(),
            isolated: report.lan == Lan::Isolated,
            services: services.collect(),
            at,
            seq,
        });
    }

    pub(crate) fn connected(&self) -> bool {
        self.main.is_some_and(|link| link.up)
    }

    /// A connection is known to be down.
    pub(crate) fn lost(&self, connection: Connection) -> bool {
        let link = match connection {
            Connection::Main => self.main,
            Connection::Auxiliary => self.aux,
        };
        link.is_some_and(|link| !link.up)
    }

    /// The agent's last report, as long as the agent is there to take it back.
    pub(crate) fn word(&self) -> Option<&Report> {
        self.report.as_ref().filter(|_| self.connected())
    }

    pub(crate) fn release(&self) -> Option<&str> {
        self.word().map(|report| report.release.as_str()).filter(|release| !release.is_empty())
    }

    /// It could become active; if not, why not.
    pub(crate) fn can_take_over(&self) -> Result<(), String> {
        match self.word() {
            None if !self.connected() => Err("its agent is not connected".to_owned()),
            None => Err("its agent has not reported yet".to_owned()),
            Some(report) if !report.fit => {
                Err("its agent does not say that it is fit: it is still starting".to_owned())
            }
            Some(_) => Ok(()),
        }
    }
}

/// How two releases stand to each other: numbers in them count as numbers, so that `2021 R10` is above `2021 R9`.
pub(crate) fn compare_releases(one: &str, other: &str) -> Ordering {
    parts(one).cmp(&parts(other))
}

/// A run of digits or of letters. Letters stand below numbers: `22 beta` is below `22 1`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Word(String),
    Number(u64),
}

fn parts(release: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for word in release.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let digits = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            parts.push(match part.parse() {
                Ok(number) if digits => Part::Number(number),
                _ => Part::Word(part.to_ascii_lowercase()),
            });
            rest = after;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::compare_releases;
    use std::cmp::Ordering;

    #[test]
    fn releases_compare_as_people_count() {
        for (lower, higher) in [
            ("2021 R9", "2021 R10"),
            ("2020 R4", "2021 R1"),
            ("22.1", "22.1.1"),
            ("2021 R2 Patch 3", "2021R2 Patch 12"),
        ] {
            assert_eq!(compare_releases(lower, higher), Ordering::Less, "{lower} {higher}");
        }
        assert_eq!(compare_releases("2021 R2", "2021r2"), Ordering::Equal);
    }
}
