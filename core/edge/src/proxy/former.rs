//! Generations of a pair's proxy before the present one, whose clients have not all left: they obey the roles that the present
//! one is told, in the same order.
//!
//! A generation may be in this process or in the one before it. It is told what has become of the route before the present
//! one follows that itself, and it never serves for longer than it was told last: so I2 holds for what it still has, and for
//! what it is asked by clients that are about to leave.

use super::pair::PairProxy;
use lockstep_pair::Route;
use lockstep_policy::{At, Epoch, Side};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a generation is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// See [`PairProxy::set_route`].
    Route(Route),
    /// See [`PairProxy::serve_until`].
    ServeUntil(At),
    /// See [`PairProxy::cut`].
    Cut(Side, Epoch),
    /// See [`PairProxy::set_maintenance`].
    Maintenance(Option<String>),
}

/// Resolves when nothing is in flight at a side.
pub type Drained = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A generation before the present one.
pub trait Generation: Send + Sync {
    /// Tells it. Never waits.
    fn tell(&self, pair: &str, word: &Word);
    /// Nothing of it is in flight at the side any more, by what it was told before.
    fn drained(&self, pair: &str, side: Side) -> Drained;
    /// It has no client any more.
    fn is_over(&self) -> bool;
}

/// One in this process: there as long as somebody uses it.
struct Here(Weak<PairProxy>);

impl Generation for Here {
    fn tell(&self, _: &str, word: &Word) {
        if let Some(proxy) = self.0.upgrade() {
            proxy.obey(word);
        }
    }

    fn drained(&self, _: &str, side: Side) -> Drained {
        let proxy = self.0.upgrade();
        Box::pin(async move {
            if let Some(proxy) = proxy {
                proxy.drained(side).await;
            }
        })
    }

    fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Those of one pair.
#[derive(Default)]
pub(super) struct Formers(Mutex<Vec<Arc<dyn Generation>>>);

impl Formers {
    fn with<T>(&self, look: impl FnOnce(&mut Vec<Arc<dyn Generation>>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn tell(&self, pair: &str, word: impl FnOnce() -> Word) {
        self.with(|formers| {
            formers.retain(|former| !former.is_over());
            if !formers.is_empty() {
                let word = word();
                formers.iter().for_each(|former| former.tell(pair, &word));
            }
        });
    }

    pub(super) fn drained(&self, pair: &str, side: Side) -> Vec<Drained> {
        self.with(|formers| formers.iter().map(|former| former.drained(pair, side)).collect())
    }
}

impl fmt::Debug for Formers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formers").field(&self.with(|formers| formers.len())).finish()
    }
}

impl PairProxy {
    /// What this generation is told the other one is told from now on, before.
    pub fn comes_after(&self, former: Arc<dyn Generation>) {
        self.formers.with(|formers| formers.push(former));
    }

    /// The same, for one in this process, which is told nothing by anybody else any more, and for those before it: they may have
    /// clients for longer than it has.
    pub fn replaces(&self, former: &Arc<PairProxy>) {
        let before = former.formers.with(std::mem::take);
        self.formers.with(|formers| formers.extend(before));
        self.comes_after(Arc::new(Here(Arc::downgrade(former))));
    }

    /// Whether a generation before this one still has clients.
    #[must_use]
    pub fn has_formers(&self) -> bool {
        self.formers.with(|formers| formers.iter().any(|former| !former.is_over()))
    }

    /// Does what the generation after this one was told.
    pub fn obey(&self, word: &Word) {
        match word {
            Word::Route(route) => self.set_route(*route),
            Word::ServeUntil(until) => self.serve_until(*until),
            Word::Cut(side, before) => {
                self.cut(*side, *before);
            }
            Word::Maintenance(words) => self.set_maintenance(words.clone()),
        }
    }
}
