//! What goes wrong. Each costs one of what is left to go wrong.

use crate::bounds::Bounds;
use crate::event::Event;
use crate::pair::Pair;
use lockstep_pair::coordinator::Input;

impl Pair {
    pub(super) fn fault(&mut self, bounds: &Bounds, event: Event) {
        let left = &mut self.left;
        match event {
            Event::EdgeCrashes(written) => {
                spend_first([&mut left.edge_crashes, &mut left.crashes]);
                self.edge_crashes(bounds, written);
            }
            Event::NodeCrashes(side, written) => {
                spend_first([&mut left.node_crashes, &mut left.crashes]);
                self.node_crashes(side, written);
            }
            Event::DownStalls(side) => {
                left.stalls -= 1;
                self.links[side].down_stalled = true;
            }
            Event::UpStalls(side) => {
                left.stalls -= 1;
                self.links[side].up_stalled = true;
            }
            Event::LoseToNode(side) => {
                left.losses -= 1;
                self.links[side].to_node.pop_front();
            }
            Event::LoseToEdge(side) => {
                left.losses -= 1;
                self.links[side].to_edge.pop_front();
            }
            Event::CopyToNode(side) => {
                left.duplicates -= 1;
                let link = &mut self.links[side];
                link.stray.extend(link.to_node.front().copied());
            }
            Event::CopyToEdge(side) => {
                left.duplicates -= 1;
                if let Some(message) = self.links[side].to_edge.front().cloned() {
                    self.tell_edge(bounds, Input::Node { side, message });
                }
            }
            Event::OvertakeToNode(side) => {
                left.reorders -= 1;
                self.links[side].to_node.swap(0, 1);
            }
            Event::OvertakeToEdge(side) => {
                left.reorders -= 1;
                self.links[side].to_edge.swap(0, 1);
            }
            Event::EdgeWriteFails => {
                left.failed_writes -= 1;
                self.edge_write_fails(bounds);
            }
            Event::NodeWriteFails(side) => {
                left.failed_writes -= 1;
                self.node_write_fails(bounds, side);
            }
            Event::RunFails(side) => {
                left.failed_runs -= 1;
                self.run_fails(bounds, side);
            }
            Event::Dies(side) => {
                left.deaths -= 1;
                self.killed(bounds, side);
            }
            _ => {}
        }
    }
}

fn spend_first(budgets: [&mut u8; 2]) {
    let [particular, general] = budgets;
    let budget = if *particular > 0 { particular } else { general };
    *budget -= 1;
}
