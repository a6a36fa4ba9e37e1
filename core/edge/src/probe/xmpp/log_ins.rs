//! Who was refused a log-in, and when who logged in last: nobody is locked out, and no server is worn down, by a probe.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After a refusal nothing is tried for so long, whatever else is declared.
const PAUSE: Duration = Duration::from_secs(300);

/// Accounts that are remembered; what is older than any pause goes first.
const ACCOUNTS: usize = 1024;

/// Shared by all probes of the edge: an account has one lock, however many probes use it.
#[derive(Default)]
pub(crate) struct LogIns(Mutex<BTreeMap<Account, Attempt>>);

/// A user at a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account {
    pub server: SocketAddr,
    pub user: String,
    pub domain: String,
}

/// Why a log-in must not be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotNow {
    /// The server has refused the latest one.
    Refused(String),
    /// The latest one is too short ago.
    TooSoon(String),
}

#[derive(Clone, Debug)]
struct Attempt {
    at: Instant,
    /// When it was refused, and how.
    refused: Option<(Instant, String)>,
}

impl LogIns {
    /// Notes that one begins; an error says why it must not, for now. `gap`: from one to the next.
    pub(super) fn begin(&self, now: Instant, account: &Account, gap: Duration) -> Result<(), NotNow> {
        let mut known = self.lock();
        let user = &account.user;
        if let Some(attempt) = known.get_mut(account) {
            if let Some((at, why)) = &attempt.refused
                && let Some(left) = PAUSE.checked_sub(now.duration_since(*at))
            {
                let left = left.as_secs() + 1;
                return Err(NotNow::Refused(format!(
                    "the server has refused the log-in of {user} ({why}); it is tried again in {left} s, so that \
                     nobody is locked out"
                )));
            }
            if let Some(left) = gap.checked_sub(now.duration_since(attempt.at)) {
                let left = left.as_millis();
                return Err(NotNow::TooSoon(format!("{user} has just logged in, and does so again in {left} ms")));
            }
        }
        if known.len() >= ACCOUNTS {
            known.retain(|_, attempt| now.duration_since(attempt.at) < PAUSE);
        }
        if known.len() >= ACCOUNTS && !known.contains_key(account) {
            return Err(NotNow::TooSoon(format!("{ACCOUNTS} accounts were tried lately, and no more are")));
        }
        known.insert(account.clone(), Attempt { at: now, refused: None });
        Ok(())
    }

    /// Notes that the server has refused it.
    pub(super) fn refused(&self, now: Instant, account: &Account, why: &str) {
        if let Some(attempt) = self.lock().get_mut(account) {
            attempt.refused = Some((now, why.to_owned()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Account, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: &str) -> Account {
        Account { server: ([127, 0, 0, 1], 5222).into(), user: user.into(), domain: "d".into() }
    }

    #[test]
    fn a_refusal_holds_for_five_minutes_for_that_account_only() {
        let (log_ins, now, gap) = (LogIns::default(), Instant::now(), Duration::from_secs(1));
        log_ins.begin(now, &account("finesse"), gap).unwrap();
        log_ins.refused(now, &account("finesse"), "not-authorized");
        let refused = log_ins.begin(now + Duration::from_secs(200), &account("finesse"), gap).unwrap_err();
        let NotNow::Refused(why) = refused else { panic!("{refused:?}") };
        assert!(why.contains("(not-authorized); it is tried again in 101 s"), "{why}");
        assert!(log_ins.begin(now, &account("other"), gap).is_ok());
        assert!(log_ins.begin(now + Duration::from_secs(301), &account("finesse"), gap).is_ok());
    }

    #[test]
    fn log_ins_keep_their_distance() {
        let (log_ins, now, gap) = (LogIns::default(), Instant::now(), Duration::from_secs(10));
        log_ins.begin(now, &account("finesse"), gap).unwrap();
        let early = log_ins.begin(now + Duration::from_secs(9), &account("finesse"), gap);
        assert!(matches!(early, Err(NotNow::TooSoon(_))), "{early:?}");
        assert!(log_ins.begin(now + Duration::from_secs(11), &account("finesse"), gap).is_ok());
    }

    #[test]
    fn no_more_accounts_are_remembered_than_there_is_room_for() {
        let (log_ins, now) = (LogIns::default(), Instant::now());
        for number in 0..ACCOUNTS {
            log_ins.begin(now, &account(&number.to_string()), Duration::ZERO).unwrap();
        }
        assert!(log_ins.begin(now, &account("one more"), Duration::ZERO).is_err());
        assert!(log_ins.begin(now + PAUSE, &account("one more"), Duration::ZERO).is_ok());
    }
}
