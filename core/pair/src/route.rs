//! What the edge does with a request of the pair now.

use lockstep_policy::{Epoch, Side};
use serde::{Deserialize, Serialize};

/// The pair's route. It names the epoch under which it holds: no connection of another epoch is used for it (I2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The epoch.
    pub epoch: Epoch,
    /// What to do.
    pub kind: RouteKind,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Give it to a side.
    Serve(Side),
    /// Let it wait, within its own bounds of number and time (I6).
    Hold,
    /// Answer 503 with `Retry-After`.
    Refuse,
    /// Give it to the side that its session belongs to ([`crate::share`]), in a pair in which both sides may serve.
    Share,
}
