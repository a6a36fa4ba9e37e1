//! What occupants report, in its order, until the driver takes it.
//!
//! Most answers are without an action: nothing is to be done, only to be noted. They wake nobody. The driver finds them whenever it is
//! awake, and it is within seconds while an answer is missing ([`Seat::deadline`](super::seat::Seat::deadline)).

use super::feed::Reply;
use lockstep_policy::host::Report;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// The reports of one pair's occupants, each with its occupant's number. As many as events were handed over, so they are bounded by
/// those.
pub(super) struct Heard {
    room: Mutex<Room>,
    wake: UnboundedSender<Reply>,
}

#[derive(Default)]
struct Room {
    reports: VecDeque<(u64, Report)>,
    /// Somebody waits for each answer.
    awaited: bool,
}

impl Heard {
    /// `wake` is told when there is something to do.
    pub fn new(wake: UnboundedSender<Reply>) -> Heard {
        Heard { room: Mutex::default(), wake }
    }

    /// Adds a report, and wakes the driver if it has to do something.
    pub fn put(&self, occupant: u64, report: Report) {
        let mut room = self.room();
        let wakes = room.awaited || !is_quiet(&report);
        room.reports.push_back((occupant, report));
        drop(room);
        if wakes {
            // Without a driver nobody is to be woken.
            let _ = self.wake.send(Reply::Reported);
        }
    }

    /// The oldest report.
    pub fn take(&self) -> Option<(u64, Report)> {
        self.room().reports.pop_front()
    }

    /// Whether each report that is put from now on wakes the driver.
    pub fn await_all(&self, awaited: bool) {
        self.room().awaited = awaited;
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Whoever panicked with it left whole reports.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing is to be done.
fn is_quiet(report: &Report) -> bool {
    matches!(report, Report::Stepped(outcome) if outcome.actions.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::event::TimerId;
    use lockstep_policy::host::StepOutcome;
    use lockstep_policy::{Action, At};
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn answer(seq: u64, actions: Vec<Action>) -> Report {
        Report::Stepped(StepOutcome { seq, at: At::ZERO, first: 1, actions, cpu: Duration::ZERO })
    }

    #[test]
    fn an_answer_without_an_action_wakes_nobody_and_is_taken_in_its_turn() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let heard = Heard::new(wake);
        heard.put(1, answer(1, Vec::new()));
        heard.put(1, answer(2, Vec::new()));
        assert!(woken.try_recv().is_err());
        heard.put(1, answer(3, vec![Action::CancelTimer(TimerId(1))]));
        heard.put(1, answer(4, Vec::new()));
        assert!(matches!(woken.try_recv(), Ok(Reply::Reported)));
        assert!(woken.try_recv().is_err());
        let seq = |(_, report)| match report {
            Report::Stepped(outcome) => outcome.seq,
            other => panic!("{other:?}"),
        };
        assert_eq!(std::iter::from_fn(|| heard.take()).map(seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn whoever_waits_for_all_is_woken_by_each() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let heard = Heard::new(wake);
        heard.await_all(true);
        heard.put(1, answer(1, Vec::new()));
        assert!(woken.try_recv().is_ok());
        heard.await_all(false);
        heard.put(1, answer(2, Vec::new()));
        assert!(woken.try_recv().is_err());
        heard.put(1, Report::Away);
        assert!(woken.try_recv().is_ok());
    }
}
