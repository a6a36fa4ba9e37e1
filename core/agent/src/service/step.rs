//! The driver `run`: a step, done when a program has ended as expected, and taken back at the stop.
//!
//! What takes it back is run by the guard, whatever ends the step: an order, the agent's death, the deadline. Until that has
//! ended well the step counts as there, and the node says of no stop that it is done: it is tried again and again.

use super::guarded::{Guarded, Means};
use super::{Event, Order, Post, earlier};
use crate::guard::order::{self, Begin};
use lockstep_policy::At;
use lockstep_wire::clock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// From one try to take a step back to the next: longer each time.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// One life of a step: from its program's start until it is taken back.
pub(crate) async fn run(means: Means, begin: Begin, orders: mpsc::Receiver<Order>, post: Post) {
    let step = Step { means, begin };
    match Guarded::begin(&step.means, step.begin.clone(), orders).await {
        Ok((guarded, orders)) => step.live(guarded, orders, &post).await,
        Err(Some(how)) => {
            post.say(Event::Exited { how }).await;
            post.say(Event::Gone).await;
        }
        Err(None) => {}
    }
}

/// What an earlier life of the agent may have left of a step: taken back, whether it was done or not.
pub(crate) async fn end(means: Means, begin: Begin, orders: mpsc::Receiver<Order>, post: Post) {
    let step = Step { means, begin };
    step.clean_up(None, orders, &post).await;
}

struct Step {
    means: Means,
    begin: Begin,
}

impl Step {
    async fn live(self, mut guarded: Guarded, mut orders: mpsc::Receiver<Order>, post: &Post) {
        let (mut ended, mut done, mut stopping) = (false, false, false);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Extend(reach)) => guarded.pass(Order::Extend(self.begin.own(reach))),
                    Some(order) => {
                        stopping |= matches!(order, Order::Stop { .. });
                        guarded.pass(order);
                    }
                    // The agent is ending, and with it the pipe.
                    None => return,
                },
                event = guarded.next() => match event {
                    Some(order::Event::Done) => {
                        done = true;
                        // What runs no more has no process.
                        post.say(Event::Started { pid: 0 }).await;
                    }
                    Some(order::Event::Exited { how } | order::Event::Failed { why: how }) => {
                        ended = true;
                        post.say(Event::Exited { how }).await;
                    }
                    Some(order::Event::Gone) if done && !stopping && self.begin.last.is_none() => {
                        return stand(orders, post).await;
                    }
                    Some(order::Event::Gone) => {
                        if done && !stopping {
                            let how = "its time was over, and its guard has taken it back".to_owned();
                            post.say(Event::Exited { how }).await;
                        }
                        return post.say(Event::Gone).await;
                    }
                    Some(order::Event::NotUndone { how }) => {
                        self.complain(&how);
                        break;
                    }
                    Some(order::Event::Started { .. } | order::Event::Ready | order::Event::Alive) => {}
                    None => {
                        let how = guarded.end().await;
                        if !ended && !stopping {
                            ended = true;
                            post.say(Event::Exited { how: format!("its guard has died: {how}") }).await;
                        }
                        break;
                    }
                },
            }
        }
        if !ended && !stopping {
            // The deadline was there, and nobody has ordered anything.
            post.say(Event::Exited { how: "its time was over, and it could not be taken back".to_owned() }).await;
        }
        self.clean_up(Some(clock::now()), orders, post).await;
    }

    /// Ends what is left, takes the step back, and says so.
    async fn clean_up(&self, kill_at: Option<At>, mut orders: mpsc::Receiver<Order>, post: &Post) {
        if !earlier::clear(&self.begin.lock, kill_at, &mut orders).await {
            return;
        }
        let mut pause = AGAIN;
        while self.begin.last.is_some() {
            match self.take_back().await {
                Ok(()) => break,
                Err(Some(how)) => self.complain(&how),
                Err(None) => return,
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
        post.say(Event::Gone).await;
    }

    /// An error is for a person to read; none: the agent is ending.
    async fn take_back(&self) -> Result<(), Option<String>> {
        let begin = Begin { command: Vec::new(), reach: None, ..self.begin.clone() };
        let mut guarded = Guarded::stand_by(&self.means, begin).await?;
        guarded.tell(&order::Order::Stop { kill_at: clock::now() + self.begin.stop_max });
        loop {
            match guarded.next().await {
                Some(order::Event::Gone) => return Ok(()),
                Some(order::Event::NotUndone { how } | order::Event::Failed { why: how }) => return Err(Some(how)),
                Some(_) => {}
                None => return Err(Some(format!("its guard has died: {}", guarded.end().await))),
            }
        }
    }

    fn complain(&self, how: &str) {
        let undo = self.begin.last.as_deref().unwrap_or_default().join(" ");
        tracing::error!(
            step = self.means.name,
            undo,
            how,
            "a step is not taken back: it counts as there. `undo` must end with status 0, also when there is nothing to undo"
        );
    }
}

/// A step that has nothing to be taken back stands until its end is ordered.
async fn stand(mut orders: mpsc::Receiver<Order>, post: &Post) {
    while let Some(order) = orders.recv().await {
        if let Order::Stop { .. } = order {
            return post.say(Event::Gone).await;
        }
    }
}
