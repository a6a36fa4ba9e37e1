//! Whether the node finds itself on its LAN: its interface has a carrier, and its gateway or another neighbour answers.
//!
//! Neighbours are asked by ICMP echo alone. A neighbour table shows what answered once, and a TCP port that is silent may
//! be closed by a firewall: an active node stands down by what is found here, so nothing is guessed.
//!
//! - `linux` and `windows`: one check, by what the system says.
//! - Here: check after check, and the count of failures.

#[cfg(not(windows))]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use linux as system;
#[cfg(windows)]
use windows as system;

pub(crate) use system::permitted;

use crate::config;
use crate::noticed::Noticed;
use lockstep_policy::event::Lan;
use system::Checker;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// Looks again and again, until nobody listens.
pub(crate) async fn watch(config: config::Lan, to: mpsc::Sender<Noticed>) {
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checker = Checker::new(config.clone());
    let mut count = Count { failures: config.failures, failed: 0, lan: Lan::Unknown };
    loop {
        ticks.tick().await;
        let Ok((used, found)) =
            spawn_blocking(move || (checker.check(), checker)).await.map(|(found, used)| (used, found))
        else {
            return;
        };
        checker = used;
        if let Some((lan, why)) = count.count(found) {
            match lan {
                Lan::Isolated => tracing::error!(why, "the node finds itself isolated from its LAN"),
                _ => tracing::info!("the node finds itself on its LAN"),
            }
            if to.send(Noticed::Lan(lan, why)).await.is_err() {
                return;
            }
        }
    }
}

/// What one check says: on the LAN, or why not. None: there is nothing to look at, as before the first default route.
type Found = Option<Result<(), String>>;

/// Failures in a row.
#[derive(Debug)]
struct Count {
    /// So many mean isolated.
    failures: u32,
    failed: u32,
    lan: Lan,
}

impl Count {
    /// What has changed, if something has.
    fn count(&mut self, found: Found) -> Option<(Lan, String)> {
        let (lan, why) = match found? {
            Ok(()) => {
                self.failed = 0;
                (Lan::Connected, String::new())
            }
            Err(why) => {
                self.failed = self.failed.saturating_add(1);
                if self.failed < self.failures {
                    return None;
                }
                (Lan::Isolated, format!("{why} ({} checks in a row)", self.failures))
            }
        };
        (std::mem::replace(&mut self.lan, lan) != lan).then_some((lan, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_takes_failures_in_a_row_and_one_success_ends_it() {
        let mut count = Count { failures: 3, failed: 0, lan: Lan::Unknown };
        let bad = || Some(Err("eth0 has no carrier".to_owned()));
        assert_eq!(count.count(None), None);
        assert_eq!(count.count(Some(Ok(()))), Some((Lan::Connected, String::new())));
        for found in [bad(), bad(), Some(Ok(())), bad(), bad()] {
            assert_eq!(count.count(found), None);
        }
        let (lan, why) = count.count(bad()).unwrap();
        assert!(lan == Lan::Isolated && why.contains("no carrier (3 checks"), "{why}");
        assert_eq!(count.count(bad()), None, "said once");
        assert_eq!(count.count(Some(Ok(()))), Some((Lan::Connected, String::new())));
    }
}
