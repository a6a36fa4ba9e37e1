//! The driver `gate`: a step that a person takes. Nothing runs; the crew opens it on an edge's word.

use super::{Event, Order, Post};
use tokio::sync::mpsc;

/// One life of a gate: ends when it is told to.
pub(crate) async fn run(mut orders: mpsc::Receiver<Order>, post: Post) {
    while let Some(order) = orders.recv().await {
        if let Order::Stop { .. } = order {
            return post.say(Event::Gone).await;
        }
    }
}
