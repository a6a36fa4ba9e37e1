//! An agent is killed at every point of a planned switch, on either side, and comes back.

use crate::bed::{Bed, until};
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{self, A, B};

/// I4: A is active. The agent of `side` is killed when it passes a point in the switch to B, and started again by nobody's decision but a
/// supervisor's. The points are counted from the agent's start: what it passes until A is active comes before.
fn dies(side: Side, point: &str) -> impl FnOnce(&std::path::Path) {
    move |dir| {
        let mut bed = Bed::new(dir);
        bed.start_agent_that_dies(side, Some(point));
        bed.start_agent(side.other());
        bed.start_edge();
        bed.wait_well(A);
        let client = bed.client(200);
        client.let_flow(20);
        assert!(!bed.agent_is_dead(side), "{point} was passed before the switch: count on");
        let order = bed.order_switch(B);
        until("the agent's death", || bed.agent_is_dead(side).then_some(()));
        bed.start_agent(side);
        let answer = order.join().unwrap();
        let serving = bed.wait_any_well();
        client.let_flow(50);
        let seen = client.finish(&bed);
        let (failed, requests) = (seen.summary().failed, seen.summary().requests);
        println!("{point} of {side}: side {serving} serves; {failed} of {requests} failed");
        assert!(answer.is_ok(), "the order is answered, whatever its outcome: {answer:?}");
        // The role may have moved again meanwhile, where a busy machine has made an active side silent.
        let serving = bed.wait_any_well();
        bed.switch(serving.other());
        bed.wait_well(serving.other());
    }
}

macro_rules! deaths {
    ($($name:ident: $side:ident, $point:literal;)*) => {$(
        #[test]
        fn $name() {
            in_a_world_of_its_own(|dir| dies($side, $point)(dir));
        }
    )*};
}

deaths! {
    old_side_before_the_fence_is_stored: A, "before-store:2";
    old_side_after_the_fence_is_stored: A, "after-store:2";
    old_side_before_stopping: A, "stop:2";
    old_side_when_stopped: A, "stopped:2";
    new_side_before_the_role_is_stored: B, "before-store:2";
    new_side_after_the_role_is_stored: B, "after-store:2";
    new_side_before_starting: B, "start:1";
    new_side_when_started: B, "started:1";
}
