//! The edge's half of the handover: one per pair.

mod contract;

pub use contract::{End, Input, Intent, Leftover, Order, OrderId, Output, Settings, Stored, Ticket};

use crate::record::Phase;
use crate::route::Route;
use lockstep_policy::{At, Epoch, Side};

/// The coordinator of one pair.
#[derive(Clone, Debug)]
pub struct Coordinator {
    #[expect(dead_code, reason = "the machine is being written")]
    settings: Settings,
}

/// What `lockstep status` shows of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The highest epoch used.
    pub epoch: Epoch,
    /// The active side, and the epoch in which it became so.
    pub active: Option<(Side, Epoch)>,
    /// The route.
    pub route: Route,
    /// The handover under way: where to, and in which phase.
    pub handover: Option<(Side, Phase)>,
    /// Whether it is still asking both agents after a start.
    pub recovering: bool,
}

impl Coordinator {
    /// A coordinator that continues from what was stored. It first asks both agents.
    #[must_use]
    pub fn new(settings: Settings, _stored: Stored, _now: At) -> Coordinator {
        Coordinator { settings }
    }

    /// Takes one input. Outputs are then waiting in [`Coordinator::poll`].
    pub fn handle(&mut self, _now: At, _input: Input) {}

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        None
    }

    /// How the pair stands.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            epoch: Epoch(0),
            active: None,
            route: Route { epoch: Epoch(0), kind: crate::RouteKind::Refuse },
            handover: None,
            recovering: true,
        }
    }
}
