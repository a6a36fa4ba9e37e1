//! The wait for a client's next request, until its head is whole.

use super::open::Open;
use super::{Client, READ_STEP};
use crate::proxy::answer::Answer;
use crate::proxy::chunks::Chunks;
use crate::proxy::h2;
use crate::proxy::head::{self, Body};
use crate::proxy::pace::Pace;
use crate::proxy::settings::ListenSettings;
use crate::proxy::websocket::ClientEnd;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Many programs write a request's head and its body one right after the other.
const MOMENT: Duration = Duration::from_millis(2);

/// Why no further head comes.
#[derive(Debug)]
pub(in crate::proxy) enum Over {
    /// The client left, stayed idle for too long, or the listener closes.
    Quietly,
    /// The client is to be told.
    With(Answer),
    /// It speaks HTTP/2 from here on.
    Http2,
}

impl Client {
    /// Waits until a whole head is here and lets pingora read that request.
    pub(in crate::proxy) async fn next_request(
        &mut self,
        first: bool,
        limits: &ListenSettings,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<head::Head, Over> {
        let head = self.next_head(first, limits, closing).await?;
        let length = head.length as u64;
        self.pace = Pace::of(limits.body_rate);
        self.upgrade = None;
        self.taking = Pace::of(limits.answer_rate);
        self.open = match head.body {
            Body::Length(body) if body > limits.body_bytes => return Err(Over::With(head::TOO_LARGE)),
            Body::Length(body) => Open::Bytes(body.saturating_add(length)),
            Body::Chunks => Open::Chunks(length, Box::new(Chunks::new(limits.body_bytes))),
            Body::Unknown => {
                let end = ClientEnd::new(limits.on_switch, limits.finish_within, self.presence.clone());
                self.upgrade = Some(Box::new(end));
                Open::Bytes(length)
            }
        };
        Ok(head)
    }

    /// Waits until a whole head is here.
    pub(in crate::proxy) async fn next_head(
        &mut self,
        first: bool,
        limits: &ListenSettings,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<head::Head, Over> {
        if !first && !self.first_byte(limits, closing).await {
            return Err(Over::Quietly);
        }
        let deadline = Instant::now() + limits.head_timeout;
        match timeout_at(deadline, self.head(first, limits)).await {
            Ok(head) => head,
            Err(_) if self.ahead.is_empty() => Err(Over::Quietly),
            Err(_) => Err(Over::With(head::TOO_SLOW)),
        }
    }

    /// Waits for the first byte of a further request.
    async fn first_byte(&mut self, limits: &ListenSettings, closing: &mut watch::Receiver<bool>) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let place = self.place.take();
        let deadline = Instant::now() + limits.idle_timeout;
        let came = {
            let mut closed = pin!(async {
                // A sender that is gone closes the listener as well.
                let _ = closing.wait_for(|closing| *closing).await;
                if let Some(place) = &place {
                    place.no_longer().await;
                }
            });
            poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_read_ahead(cx) {
                    return Poll::Ready(matches!(read, Ok(1..)));
                }
                let is_over = self.alarm.poll(cx, deadline).is_ready() || closed.as_mut().poll(cx).is_ready();
                if is_over { Poll::Ready(false) } else { Poll::Pending }
            })
            .await
        };
        self.place = place;
        came
    }

    async fn head(&mut self, first: bool, limits: &ListenSettings) -> Result<head::Head, Over> {
        let longest = limits.head_bytes;
        let mut empty_lines = 0;
        let mut judged = 0;
        loop {
            match first && limits.prior_knowledge {
                true if h2::begins(&self.ahead) == Some(true) => return Err(Over::Http2),
                true if h2::begins(&self.ahead).is_none() => {
                    self.more_of_head().await?;
                    continue;
                }
                _ => {}
            }
            // RFC 9112 section 2.2: empty lines before a request are ignored.
            while judged == 0 && self.ahead.starts_with(b"\r\n") {
                self.ahead.advance(2);
                empty_lines += 2;
            }
            // Judged at the start, to refuse garbage at once, and then once a line, not once a byte.
            let news = &self.ahead[judged..];
            if !news.is_empty() && (judged == 0 || news.contains(&b'\n')) {
                judged = self.ahead.len();
                if let Some(head) =
                    head::read(&self.ahead[..judged.min(longest)], &mut self.outline).map_err(Over::With)?
                {
                    return Ok(head);
                }
            }
            if self.ahead.len() + empty_lines >= longest {
                return Err(Over::With(head::TOO_LONG));
            }
            self.more_of_head().await?;
        }
    }

    async fn more_of_head(&mut self) -> Result<(), Over> {
        match self.read_ahead().await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Over::Quietly),
        }
    }

    async fn read_ahead(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_ahead(cx)).await
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(READ_STEP);
        let socket = self.socket.as_mut().expect("the socket is taken out in drop only");
        let read = ready!(pin!(socket.read_buf(&mut self.ahead)).poll(cx))?;
        self.ended |= read == 0;
        Poll::Ready(Ok(read))
    }

    /// Whether so many bytes have come, or come in a moment.
    pub(in crate::proxy) async fn has_come(&mut self, bytes: usize) -> bool {
        let mut deadline = None;
        poll_fn(|cx| {
            while self.ahead.len() < bytes {
                match self.poll_read_ahead(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    // Who reads on finds out what is wrong.
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => {
                        let deadline = *deadline.get_or_insert_with(|| Instant::now() + MOMENT);
                        return self.alarm.poll(cx, deadline).map(|()| false);
                    }
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Takes bytes that have come; nobody else will read them.
    pub(in crate::proxy) fn take(&mut self, length: usize) -> BytesMut {
        self.ahead.split_to(length)
    }
}
