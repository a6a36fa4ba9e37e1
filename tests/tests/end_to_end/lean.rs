//! Nodes that run `lockstep-agent`, the agent alone: the pair is none the wiser.

use crate::bed::Bed;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};

#[test]
fn agents_without_an_edge_in_them_serve_stand_down_and_die_as_the_others_do() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        bed.start_lean_agents();
        bed.start();
        let client = bed.client(200);
        client.let_flow(20);
        bed.switch(B);
        bed.wait_well(B);
        // Its guards are of the same program: nothing exclusive outlives it.
        bed.kill_agent(B);
        bed.wait_served(A);
        bed.start_agent(B);
        bed.wait_well(A);
        client.let_flow(20);
        client.finish(&bed);
    });
}
