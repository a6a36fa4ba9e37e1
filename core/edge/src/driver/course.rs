//! Who moves a pair's route: its coordinator or, in a pair in which both sides may serve, nobody.

use lockstep_pair::coordinator::{End, Input, Output, Settings, Stored, View};
use lockstep_pair::{Coordinator, Route, RouteKind};
use lockstep_policy::{At, Epoch};
use std::collections::VecDeque;

/// What whoever wants to move the active role is told where there is none.
pub(super) const NO_ROLE: &str =
    "both sides of this pair may serve: there is no active role to move, and its policy shares the sessions out";

/// Stands where a coordinator stands. Without one, what only it could do is refused, and all else passes it by.
pub(super) enum Course {
    /// One side is active at a time.
    Exclusive(Box<Coordinator>),
    /// Both sides may serve.
    Shared(Shared),
}

#[derive(Default)]
pub(super) struct Shared {
    outputs: VecDeque<Output>,
    /// Whether sessions have been shared out; until then requests wait.
    shares: bool,
}

impl Course {
    pub fn exclusive(settings: Settings, stored: Stored, now: At) -> Course {
        Course::Exclusive(Box::new(Coordinator::new(settings, stored, now)))
    }

    pub fn is_shared(&self) -> bool {
        matches!(self, Course::Shared(_))
    }

    /// Sessions have been shared out.
    pub fn shares(&mut self) {
        if let Course::Shared(shared) = self {
            shared.shares = true;
        }
    }

    /// Whether sessions have been shared out since the edge started.
    pub fn has_shared(&self) -> bool {
        matches!(self, Course::Shared(Shared { shares: true, .. }))
    }

    pub fn handle(&mut self, now: At, input: Input) {
        match (self, input) {
            (Course::Exclusive(coordinator), input) => coordinator.handle(now, input),
            (Course::Shared(shared), Input::Switch(order) | Input::StandDown(order)) => {
                let end = End::Refused(NO_ROLE.to_owned());
                shared.outputs.push_back(Output::Ended { id: order.id, end });
            }
            (Course::Shared(_), _) => {}
        }
    }

    pub fn poll(&mut self) -> Option<Output> {
        match self {
            Course::Exclusive(coordinator) => coordinator.poll(),
            Course::Shared(shared) => shared.outputs.pop_front(),
        }
    }

    pub fn deadline(&self) -> Option<At> {
        match self {
            Course::Exclusive(coordinator) => coordinator.deadline(),
            Course::Shared(_) => None,
        }
    }

    pub fn view(&self) -> View {
        match self {
            Course::Exclusive(coordinator) => coordinator.view(),
            Course::Shared(shared) => View {
                epoch: Epoch(0),
                active: None,
                route: Route { epoch: Epoch(0), kind: if shared.shares { RouteKind::Share } else { RouteKind::Hold } },
                handover: None,
                recovering: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_pair::coordinator::{Order, OrderId};
    use lockstep_policy::Side;
    use lockstep_policy::action::Urgency;

    #[test]
    fn where_both_sides_may_serve_nobody_moves_a_role() {
        let mut course = Course::Shared(Shared::default());
        let order = |id| Order {
            id: OrderId(id),
            to: Side::B,
            urgency: Urgency::Planned,
            reason: String::new(),
            by: String::new(),
            evidence: Vec::new(),
            unsafe_because: None,
        };
        course.handle(At::ZERO, Input::Switch(order(1)));
        course.handle(At::ZERO, Input::StandDown(order(2)));
        course.handle(At::ZERO, Input::Link { side: Side::A, up: true });
        course.handle(At::ZERO, Input::Prepare(Side::A));
        for id in [1, 2] {
            match course.poll() {
                Some(Output::Ended { id: OrderId(of), end: End::Refused(why) }) => {
                    assert_eq!((of, &*why), (id, NO_ROLE))
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(course.poll().is_none());
        assert_eq!((course.deadline(), course.view().route.kind), (None, RouteKind::Hold));
        course.shares();
        assert_eq!(course.view().route.kind, RouteKind::Share);
    }
}
