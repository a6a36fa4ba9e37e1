//! A journal played again: the same plugin from the same events gives the same actions, byte for byte; another one shows
//! where it would have decided otherwise.
//!
//! Time, results of actions and handovers are those of the journal: a candidate that switches earlier is not told of its
//! own switch, only of the one that was.

mod player;

use super::{Fingerprint, InstanceError, Library, LifeRecord, StepError};
use crate::journal::{self, Entry, Reader, action_text, event_text};
use crate::{Action, At, Event, Setup};
use player::{Player, Tell};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a replay has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lives of the policy that were played.
    pub lives: u64,
    /// Events whose answers were compared.
    pub events: u64,
    /// Actions in the journal, of the events that were compared.
    pub actions: u64,
    /// Events at which the candidate gave other actions.
    pub otherwise: u64,
    /// Events that were not compared: nobody was handed them, or their answers were not written down.
    pub passed_over: u64,
    /// The first switch in the journal that the candidate does not order at the same event.
    pub switched: Option<(u64, At)>,
    /// The first switch of the candidate that the journal does not have at the same event.
    pub would_switch: Option<(u64, At)>,
    /// Where something is missing, and the comparison began again afterwards; the first ones.
    pub gaps: Vec<String>,
}

/// An event at which the candidate gives other actions than the journal has.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The event.
    pub event: Event,
    /// The actions in the journal.
    pub recorded: Vec<Action>,
    /// Those of the candidate, or how it failed.
    pub given: Result<Vec<Action>, StepError>,
}

impl Difference {
    /// Whether it is about more than how the policy watches: a switch, a stand-down, an alert, an answer to an operator.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        let given = self.given.as_deref().unwrap_or_default();
        self.given.is_err() || decisions(given).ne(decisions(&self.recorded))
    }
}

fn decisions(actions: &[Action]) -> impl Iterator<Item = &Action> {
    actions.iter().filter(|action| !is_routine(action))
}

/// What a policy does all the time without having decided anything.
fn is_routine(action: &Action) -> bool {
    matches!(
        action,
        Action::Watch(_)
            | Action::Unwatch(_)
            | Action::ProbeNow(_)
            | Action::SetTimer(..)
            | Action::CancelTimer(_)
            | Action::Show(..)
    )
}

/// The event, and both lists of actions; `-` in the journal, `+` of the candidate.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} at {}: {}", self.event.seq, self.event.at, event_text(&self.event))?;
        if self.recorded.is_empty() {
            write!(f, "\n  - nothing")?;
        }
        self.recorded.iter().try_for_each(|action| write!(f, "\n  - {}", action_text(action)))?;
        match &self.given {
            Err(error) => write!(f, "\n  + {error}"),
            Ok(given) if given.is_empty() => write!(f, "\n  + nothing"),
            Ok(given) if *given == self.recorded => {
                write!(f, "\n  + the same in words, and other bytes: numbers differ")
            }
            Ok(given) => given.iter().try_for_each(|action| write!(f, "\n  + {}", action_text(action))),
        }
    }
}

/// A journal cannot be played, or was not played as it was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it can be played.
    #[error("{}: {why}", path.display())]
    Nothing {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The plugin makes no instance for a life.
    #[error("life {life}: {source}")]
    Instance {
        /// The life.
        life: u64,
        /// Why.
        source: InstanceError,
    },
    /// The same plugin does otherwise than it did.
    #[error("the policy does otherwise than it did (- in the journal, + now):\n{0}")]
    Different(Box<Difference>),
}

/// The policies' lives in a journal, oldest first: what a replay needs plugins for.
pub fn lives(path: &Path) -> Result<Vec<LifeRecord>, ReplayError> {
    let mut lives: Vec<LifeRecord> = Vec::new();
    read(path, &mut |entry| {
        if let Ok(Entry::Life(life)) = entry
            && lives.last() != Some(&*life)
        {
            lives.push(*life);
        }
        Ok(())
    })?;
    Ok(lives)
}

/// Plays a file or a pair's directory with the plugin that it was recorded with. Each action must be the same, byte for
/// byte. A tail that a crash has torn off is no difference.
///
/// Lives of a plugin with another fingerprint are passed over; one life at least must be played.
pub fn verify(path: &Path, library: &Library) -> Result<Summary, ReplayError> {
    let same = |life: &LifeRecord| (life.fingerprint == library.fingerprint()).then(|| life.setup.clone());
    play(path, library, &same, &mut |difference| Err(ReplayError::Different(Box::new(difference))))
}

/// Plays a journal with any plugin, on the setups that `change` makes of those in the journal, and tells each event at
/// which it gives other actions.
pub fn compare(
    path: &Path,
    library: &Library,
    change: &dyn Fn(&Setup) -> Setup,
    tell: &mut dyn FnMut(Difference),
) -> Result<Summary, ReplayError> {
    let setup = |life: &LifeRecord| Some(change(&life.setup));
    play(path, library, &setup, &mut |difference| {
        tell(difference);
        Ok(())
    })
}

fn play(
    path: &Path,
    library: &Library,
    setup: &dyn Fn(&LifeRecord) -> Option<Setup>,
    tell: &mut Tell<'_>,
) -> Result<Summary, ReplayError> {
    let mut player = Player::new(library, setup, tell);
    read(path, &mut |entry| player.take(entry))?;
    let summary = player.end();
    if summary.lives == 0 {
        let why = match summary.gaps.first() {
            Some(gap) => gap.clone(),
            None => format!("holds no life of policy `{}` ({}…)", library.id(), short(library.fingerprint())),
        };
        return Err(ReplayError::Nothing { path: path.to_owned(), why });
    }
    Ok(summary)
}

fn short(fingerprint: Fingerprint) -> String {
    fingerprint.to_string().chars().take(12).collect()
}

/// Hands over each entry of a journal; an error is a rest of a file that cannot be read.
fn read(
    path: &Path,
    take: &mut dyn FnMut(Result<Entry, String>) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReplayError::Read { path, source }
    };
    let files = journal::files(path).map_err(failed(path))?;
    for file in files {
        for entry in Reader::open(&file).map_err(failed(&file))? {
            take(entry.map_err(|torn| format!("{}: {torn}", file.display())))?;
        }
    }
    Ok(())
}
