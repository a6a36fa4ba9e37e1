//! How long a certificate still lasts, and how loudly that is said.

use super::facts::{Facts, written};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime};

/// A renewal that works is done within this part of the life after it is due; before that nobody is worried.
const GRACE: u32 = 60;
/// And no later than this.
const GRACE_MAX: Duration = Duration::from_secs(3_600);
/// A worry is voiced again after so long.
const AGAIN: Duration = Duration::from_secs(86_400);
/// One that must be acted on, after so long.
const URGENT_AGAIN: Duration = Duration::from_secs(3_600);

/// Where in its life a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Two thirds of it are not over.
    Fresh,
    /// It is to be renewed.
    Due,
    /// The last tenth of its life.
    Urgent,
    /// It has expired.
    Over,
    /// It is not valid yet: a clock is wrong.
    NotYet,
}

impl Life {
    /// Where a certificate is.
    #[must_use]
    pub fn of(facts: &Facts, now: SystemTime) -> Life {
        let life = facts.lasting();
        let passed = |part: u32, of: u32| now >= facts.not_before + life * part / of;
        match () {
            () if now < facts.not_before => Life::NotYet,
            () if now > facts.not_after => Life::Over,
            () if passed(9, 10) => Life::Urgent,
            () if passed(2, 3) => Life::Due,
            () => Life::Fresh,
        }
    }
}

/// How it stands with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it says.
    pub facts: Facts,
    /// Where in its life it is.
    pub life: Life,
    /// What a person must know; empty: nothing.
    pub text: String,
}

impl Standing {
    pub(super) fn of(facts: &Facts, ca_ends: SystemTime, now: SystemTime) -> Standing {
        let life = Life::of(facts, now);
        let renewed_by = facts.not_before + facts.lasting() * 2 / 3 + (facts.lasting() / GRACE).min(GRACE_MAX);
        let until = written(facts.not_after);
        let text = match life {
            Life::Due if now < renewed_by => String::new(),
            Life::Fresh if ca_ends < facts.not_after || ca_ends < now + facts.lasting() => {
                format!("the CA ends on {}: make a new one, and have both in `ca` for a while", written(ca_ends))
            }
            Life::Fresh => String::new(),
            Life::Due | Life::Urgent => {
                format!(
                    "the certificate ends on {until} and is not renewed: `lockstep pki renew`, or ca_key on the edge"
                )
            }
            Life::Over => format!("the certificate has ended on {until}: nobody trusts it; `lockstep pki renew`"),
            Life::NotYet => {
                let from = written(facts.not_before);
                format!("the certificate is valid from {from} on, and by this machine's clock it is {}", written(now))
            }
        };
        Standing { facts: facts.clone(), life, text }
    }
}

/// Says how it stands, in the log: when it gets worse, and again now and then.
#[derive(Debug, Default)]
pub(super) struct Worries {
    said: Option<(Life, Instant)>,
}

impl Worries {
    pub(super) fn voice(&mut self, standing: &Standing, trouble: &str) {
        if standing.text.is_empty() {
            self.said = None;
            return;
        }
        let again = if standing.life >= Life::Urgent { URGENT_AGAIN } else { AGAIN };
        if self.said.is_some_and(|(life, at)| life == standing.life && at.elapsed() < again) {
            return;
        }
        self.said = Some((standing.life, Instant::now()));
        let (serial, until) = (&standing.facts.serial, written(standing.facts.not_after));
        if standing.life >= Life::Urgent {
            tracing::error!(serial, until, trouble, "{}", standing.text);
        } else {
            tracing::warn!(serial, until, trouble, "{}", standing.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(days: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (1_000 + days)
    }

    fn facts() -> Facts {
        let identity = super::super::Identity::edge("edge-1");
        Facts { identity, subject: String::new(), serial: String::new(), not_before: at(0), not_after: at(30) }
    }

    #[test]
    fn a_life_has_these_parts() {
        let parts = [
            (19, Life::Fresh),
            (20, Life::Due),
            (26, Life::Due),
            (27, Life::Urgent),
            (30, Life::Urgent),
            (31, Life::Over),
        ];
        for (day, life) in parts {
            assert_eq!(Life::of(&facts(), at(day)), life, "day {day}");
        }
        assert_eq!(Life::of(&facts(), UNIX_EPOCH), Life::NotYet);
    }

    #[test]
    fn nobody_is_worried_while_a_renewal_has_its_time() {
        let text = |now| Standing::of(&facts(), at(3_650), now).text;
        assert_eq!(text(at(19)), "");
        assert_eq!(text(at(20)), "");
        assert!(text(at(20) + GRACE_MAX).contains("ends on 1972-10-27"));
        assert!(text(at(31)).contains("has ended on"));
        assert!(text(UNIX_EPOCH).contains("by this machine's clock it is 1970"));
        assert!(Standing::of(&facts(), at(40), at(15)).text.contains("the CA ends on"));
    }
}
