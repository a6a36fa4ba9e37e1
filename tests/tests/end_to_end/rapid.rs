//! The rapid profile: the active node's cable is pulled, and the other side serves as soon as a short lease is over. Its figures, of many
//! runs, are those of `make rapid`.

use crate::bed::Bed;
use crate::configuration::{self, CTI_START};
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{A, B};
use std::time::Duration;

/// What unplugging may cost beyond the other CTI's start.
const UNPLUGGED: Duration = Duration::from_millis(350);

#[test]
fn an_unplugged_node_is_replaced_when_its_short_lease_is_over() {
    in_a_world_of_its_own(|dir| {
        let policy = "first_server_auto_restart_as_active = false";
        let mut bed = Bed::with_policy(dir, policy);
        bed.configure_edge(&configuration::edge(dir, policy).replace("profile = \"lan\"", "profile = \"rapid\""));
        bed.start();
        // A machine that is busy may have moved the role already, which is what this profile risks.
        let active = bed.wait_any_well();
        let client = bed.client(200);
        client.let_flow(50);
        let fault = now();
        bed.unplug(active);
        bed.wait_served(active.other());
        bed.print_handover();
        client.let_flow(50);
        bed.plug(active);
        assert!([A, B].contains(&bed.wait_any_well()));
        let seen = client.finish(&bed);
        figure("rapid: unplugged, first good answer", seen.good_again(fault), CTI_START + UNPLUGGED);
    });
}
