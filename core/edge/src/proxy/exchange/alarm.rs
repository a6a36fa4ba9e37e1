//! A deadline that moves on with each request, and almost never comes.
//!
//! A timer that is set for each wait costs more than most waits: the one of a connection is left where it is while deadlines
//! move away, and is looked at again when it goes off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// One connection's alarm.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready from the deadline on.
    pub(in crate::proxy) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test]
    async fn it_goes_off_at_the_last_deadline_it_was_told() {
        let (mut alarm, begun) = (Alarm::default(), Instant::now());
        let after = |ms| begun + Duration::from_millis(ms);
        let mut poll = |deadline| {
            let waker = std::task::Waker::noop();
            alarm.poll(&mut Context::from_waker(waker), deadline).is_ready()
        };
        assert!(!poll(after(60_000)) && !poll(after(20)) && !poll(after(40)));
        poll_fn(|cx| alarm.poll(cx, after(60))).await;
        assert!(begun.elapsed() >= Duration::from_millis(60));
        poll_fn(|cx| alarm.poll(cx, after(80))).await;
        assert!(begun.elapsed() >= Duration::from_millis(80), "it can be used again");
    }
}
