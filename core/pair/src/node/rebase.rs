//! States of a node that will act alike, made equal: for a model, which looks at each state once, however long it took to
//! come to it.

use super::Node;
use std::time::Duration;

impl Node {
    /// The same node, had its clock been started later by so much. A point of time before the clock's new start becomes
    /// that start: so far back, how far makes no difference, if the clock then reads more than the longest of the pair's
    /// times.
    pub fn rebase(&mut self, by: Duration) {
        self.next_report = self.next_report - by;
        if let Some(lease) = &mut self.lease {
            lease.stamp.at = lease.stamp.at - by;
        }
    }
}
