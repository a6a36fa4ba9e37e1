//! Bodies on their way through: nothing is kept but what is at hand, and nobody may be silent for ever.

use super::connection::Course;
use super::standing::Passage;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Of a body that nobody wants so much is read, and for so long, so that its sender comes to hear the answer.
const UNWANTED_MAX: usize = 1 << 20;
const UNWANTED: Duration = Duration::from_secs(2);

/// The body of a message that is passed on, or of an answer of our own.
#[derive(Debug)]
pub(super) enum Body {
    /// Ours.
    Own(Full<Bytes>),
    /// Somebody else's.
    Passed(Passed),
}

/// A body that is passed on as it comes.
#[derive(Debug)]
pub(super) struct Passed {
    body: Incoming,
    idle: Duration,
    /// Runs while somebody waits for the next part, and not while nobody reads what is there.
    silence: Pin<Box<Sleep>>,
    waits: bool,
    /// Until the last byte has been handed over.
    held: Option<Held>,
}

/// What is held for as long as an answer's body is passed on: it counts as passing, and is cut with the others.
#[derive(Debug)]
pub(super) struct Held {
    _passage: Passage,
    course: Arc<Course>,
}

impl Held {
    pub(super) fn new(passage: Passage, course: &Arc<Course>) -> Held {
        course.begins();
        Held { _passage: passage, course: Arc::clone(course) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.course.ends();
    }
}

impl Body {
    pub(super) fn own(text: String) -> Body {
        Body::Own(Full::new(text.into()))
    }

    pub(super) fn passed(body: Incoming, idle: Duration, held: Option<Held>) -> Body {
        Body::Passed(Passed { body, idle, silence: Box::pin(sleep(idle)), waits: false, held })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Body::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Body::Passed(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Own(body) => body.is_end_stream(),
            Body::Passed(body) => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Own(body) => body.size_hint(),
            Body::Passed(body) => body.body.size_hint(),
        }
    }
}

impl Passed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            if !self.waits {
                self.waits = true;
                self.silence.as_mut().reset(Instant::now() + self.idle);
            }
            return self.silence.as_mut().poll(context).map(|()| Some(Err(io::ErrorKind::TimedOut.into())));
        };
        self.waits = false;
        if frame.is_none() || self.body.is_end_stream() {
            self.held = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }
}

/// Reads what a client sends with a request that is not passed on: many listen only when they have said everything.
pub(super) async fn hear_out(body: Incoming) {
    let _ = timeout(UNWANTED, Limited::new(body, UNWANTED_MAX).collect()).await;
}
