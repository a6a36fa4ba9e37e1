//! A planned switch, both ways, while a client sends 500 requests a second.

use crate::bed::Bed;
use crate::configuration::{CTI_START, CTI_STOP};
use crate::stream::figure;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{A, B};
use std::time::Duration;

/// I6: who is held is answered.
#[test]
fn loses_nothing_either_way() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(500);
        client.let_flow(250);
        let mut handovers = Vec::new();
        for to in [B, A] {
            let from = now();
            let handover = bed.switch(to);
            client.let_flow(250);
            handovers.push((from, now(), handover));
            bed.wait_well(to);
        }
        let seen = client.finish(&bed);
        seen.nothing_lost();
        for (from, to, handover) in handovers {
            let gap = Duration::from_secs_f64(seen.between(from, to).longest_gap_ms / 1_000.0);
            figure("planned_switch gap", gap, CTI_STOP + CTI_START + Duration::from_millis(50));
            let skew = handover.measures.skew_ms.expect("a request was sent");
            figure("planned_switch skew", Duration::from_secs_f64(skew / 1_000.0), Duration::from_millis(5));
        }
    });
}
