//! The client's end of a connection whose protocol was changed: what passes to and fro is looked at, and between two frames a Close
//! is said that neither end has.

use super::frames::Frames;
use super::heads::{Heads, Last};
use super::{ANSWER, FRAME, LAST_WORDS, Order, Upgrade};
use crate::config::OnSwitch;
use crate::proxy::tls::Wire;
use bytes::BytesMut;
use pingora_core::protocols::raw_connect::ProxyDigest;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A server's Close: 1012.
const SERVICE_RESTART: &[u8] = b"\x88\x11\x03\xf4service restart";
/// What a client's Close of 1001 says, before it is masked.
const GOING_AWAY: [u8; 2] = [0x03, 0xe9];

/// What has been asked for, and what has become of it.
#[derive(Debug)]
pub(in crate::proxy) struct ClientEnd {
    upgrade: Arc<Upgrade>,
    digest: Option<Arc<ProxyDigest>>,
    down: Down,
    up: Frames,
    parting: Option<Box<Parting>>,
}

/// What goes to the client.
#[derive(Debug)]
enum Down {
    /// The answer's heads.
    Heads(Heads),
    /// An answer like any other: nothing was changed.
    Answer,
    Frames(Frames),
}

/// A connection that is being ended.
#[derive(Debug)]
struct Parting {
    step: Step,
    until: Pin<Box<Sleep>>,
    /// How much of its Close the client has been given.
    told: usize,
    /// What the server is still to be given of its own.
    for_server: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The client is told as soon as no frame is half said.
    Tell,
    /// The client is to answer; until then the server hears it.
    Hear,
    /// The server is told, and is to answer.
    Pass,
    /// The server is gone.
    Over,
}

/// How a connection ends that nobody reads from any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Ending {
    Reset,
    /// In order, after these words.
    Saying(&'static [u8]),
}

impl ClientEnd {
    /// A client asks for a change; `carried` is what its connection carries along.
    pub(in crate::proxy) fn new(
        on_switch: OnSwitch,
        finish_within: Duration,
        carried: Option<Arc<ProxyDigest>>,
    ) -> ClientEnd {
        let upgrade = Arc::new(Upgrade::new(on_switch, finish_within, carried));
        let digest = upgrade.digest();
        ClientEnd { upgrade, digest, down: Down::Heads(Heads::default()), up: Frames::default(), parting: None }
    }

    /// What its request carries along.
    pub(in crate::proxy) fn digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digest.clone()
    }

    /// Whether the server has agreed.
    pub(in crate::proxy) fn is_open(&self) -> bool {
        matches!(self.down, Down::Frames(_))
    }

    /// Pingora is at work on the request: what was held back of it goes.
    pub(in crate::proxy) fn lets_go(&self, cx: &Context<'_>) {
        self.upgrade.lets_go(cx);
    }

    /// What the server is to be given: what the client has said, and a Close where it has to be told. Nothing, at the end.
    pub(in crate::proxy) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut BufWriter<Wire>,
        ahead: &mut BytesMut,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look(cx);
        loop {
            match self.poll_part(cx, socket, into) {
                Poll::Ready(()) => return Poll::Ready(Ok(())),
                Poll::Pending if self.parting.as_ref().is_some_and(|parting| parting.hears_nobody()) => {
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            let before = into.filled().len();
            ready!(poll_read(cx, socket, ahead, into))?;
            if self.pass_up(before, into) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes note of what the client has said. Its answer to our Close is not for the server, who is told by us; false: there was
    /// nothing else.
    fn pass_up(&mut self, before: usize, into: &mut ReadBuf<'_>) -> bool {
        let said = &into.filled()[before..];
        let asked = self.parting.as_mut().filter(|parting| parting.step == Step::Hear && parting.has_told());
        match asked.and_then(|parting| self.up.close_in(said).map(|at| (parting, at))) {
            Some((parting, at)) => {
                self.up.pass(&said[..at]);
                parting.pass(&self.up);
                into.set_filled(before + at);
                at > 0
            }
            None => {
                self.up.pass(said);
                true
            }
        }
    }

    /// Ready: there is something for the server, or the end.
    fn poll_part(&mut self, cx: &mut Context<'_>, socket: &mut BufWriter<Wire>, into: &mut ReadBuf<'_>) -> Poll<()> {
        let (Some(parting), Down::Frames(down)) = (&mut self.parting, &self.down) else { return Poll::Pending };
        loop {
            let late = parting.until.as_mut().poll(cx).is_ready();
            match parting.step {
                Step::Tell => match parting.poll_tell(cx, socket, down) {
                    Poll::Ready(Ok(())) => parting.enter(Step::Hear, ANSWER),
                    // The client is gone.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending if late => parting.pass(&self.up),
                    Poll::Pending => return Poll::Pending,
                },
                Step::Hear if late || self.up.is_closed() => parting.pass(&self.up),
                Step::Hear => return Poll::Pending,
                Step::Pass if !parting.for_server.is_empty() => {
                    let given = parting.for_server.len().min(into.remaining());
                    into.put_slice(&parting.for_server[..given]);
                    parting.for_server.drain(..given);
                    return Poll::Ready(());
                }
                Step::Pass if down.is_closed() => return Poll::Ready(()),
                Step::Pass if late => {
                    // What it has not acknowledged must not reach it later.
                    self.upgrade.abort();
                    return Poll::Ready(());
                }
                // What the server has said last may still be on its way; pingora ends when it has passed that on.
                Step::Over if late || self.upgrade.resets() => return Poll::Ready(()),
                Step::Pass | Step::Over => return Poll::Pending,
            }
        }
    }

    /// Takes what the server says, or pingora for it, to the client; behind a Close there is nothing.
    pub(in crate::proxy) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut BufWriter<Wire>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_open() {
            return self.poll_write_answer(cx, socket, bytes);
        }
        self.look(cx);
        let Down::Frames(down) = &mut self.down else { return Poll::Ready(Ok(0)) };
        let mut allowed = bytes.len();
        if let Some(parting) = &mut self.parting
            && (parting.has_begun_to_tell() || parting.step != Step::Over && !down.is_closed())
        {
            if parting.has_begun_to_tell() || down.is_between() {
                return match parting.poll_tell(cx, socket, down) {
                    Poll::Ready(Ok(())) => {
                        down.pass(bytes);
                        Poll::Ready(Ok(bytes.len()))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => parting.poll_late(cx),
                };
            }
            allowed = down.rest_of_frame(bytes);
        }
        match Pin::new(socket).poll_write(cx, &bytes[..allowed]) {
            Poll::Ready(Ok(written)) => {
                down.pass(&bytes[..written]);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.parting.as_mut().map_or(Poll::Pending, |parting| parting.poll_late(cx)),
        }
    }

    fn poll_write_answer(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut BufWriter<Wire>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(socket).poll_write(cx, bytes))?;
        if let Down::Heads(heads) = &mut self.down
            && let Some(Last { at, changes }) = heads.pass(&bytes[..written])
        {
            self.down = if changes {
                let mut frames = Frames::default();
                frames.pass(&bytes[at..written]);
                Down::Frames(frames)
            } else {
                Down::Answer
            };
        }
        Poll::Ready(Ok(written))
    }

    /// Ends the connection, and says before what the client is owed.
    pub(in crate::proxy) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut BufWriter<Wire>,
    ) -> Poll<io::Result<()>> {
        match self.ending() {
            // It follows when the socket is closed.
            Ending::Reset => return Poll::Ready(Ok(())),
            Ending::Saying([]) => {}
            Ending::Saying(_) => {
                let Down::Frames(down) = &self.down else { return Poll::Ready(Ok(())) };
                let parting = self.parting.get_or_insert_with(|| Box::new(Parting::new(Step::Over, LAST_WORDS)));
                match parting.poll_tell(cx, socket, down) {
                    Poll::Ready(told) => told?,
                    Poll::Pending => return parting.poll_late(cx),
                }
            }
        }
        Pin::new(socket).poll_shutdown(cx)
    }

    /// How the connection is to be ended now.
    pub(in crate::proxy) fn ending(&self) -> Ending {
        let Down::Frames(down) = &self.down else { return Ending::Saying(&[]) };
        if self.upgrade.resets() {
            return Ending::Reset;
        }
        let told = self.parting.as_ref().map_or(0, |parting| parting.told);
        let owed =
            (self.upgrade.was_cut() || self.parting.is_some()) && (told > 0 || down.is_between() && !down.is_closed());
        Ending::Saying(if owed { &SERVICE_RESTART[told..] } else { &[] })
    }

    /// Looks at what is ordered.
    fn look(&mut self, cx: &mut Context<'_>) {
        match (self.upgrade.hear(cx), &mut self.parting) {
            (Order::GoOn, _) => {}
            (Order::Close, Some(_)) => {}
            (Order::Close, parting) => *parting = Some(Box::new(Parting::new(Step::Tell, FRAME))),
            (Order::End, Some(parting)) if parting.step == Step::Over => {}
            (Order::End, Some(parting)) => parting.enter(Step::Over, LAST_WORDS),
            (Order::End, parting) => *parting = Some(Box::new(Parting::new(Step::Over, LAST_WORDS))),
        }
    }
}

impl Upgrade {
    /// Whether the connection ends with a reset.
    fn resets(&self) -> bool {
        self.on_switch == OnSwitch::Reset && self.was_cut()
    }
}

impl Parting {
    fn new(step: Step, within: Duration) -> Parting {
        Parting { step, until: Box::pin(sleep(within)), told: 0, for_server: Vec::new() }
    }

    fn enter(&mut self, step: Step, within: Duration) {
        self.step = step;
        self.until.as_mut().reset(Instant::now() + within);
    }

    /// Tells the server, unless the client has, or has said half a frame.
    fn pass(&mut self, up: &Frames) {
        if up.is_between() && !up.is_closed() {
            self.for_server = going_away();
        }
        self.enter(Step::Pass, ANSWER);
    }

    /// Ready: the client is told, by us or by its server.
    fn poll_tell(&mut self, cx: &mut Context<'_>, socket: &mut BufWriter<Wire>, down: &Frames) -> Poll<io::Result<()>> {
        if self.told == 0 && down.is_closed() {
            return Poll::Ready(Ok(()));
        }
        // What ends the frame goes through `poll_write`, and whoever waits here is asked again after it.
        if self.told == 0 && !down.is_between() {
            return Poll::Pending;
        }
        while self.told < SERVICE_RESTART.len() {
            self.told += ready!(Pin::new(&mut *socket).poll_write(cx, &SERVICE_RESTART[self.told..]))?;
        }
        Pin::new(socket).poll_flush(cx)
    }

    fn has_begun_to_tell(&self) -> bool {
        self.told > 0
    }

    fn has_told(&self) -> bool {
        self.told == SERVICE_RESTART.len()
    }

    /// What the client says now is for nobody.
    fn hears_nobody(&self) -> bool {
        matches!(self.step, Step::Pass | Step::Over)
    }

    /// A client that does not take what it is given has no right to more than its time.
    fn poll_late<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.until.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn poll_read(
    cx: &mut Context<'_>,
    socket: &mut BufWriter<Wire>,
    ahead: &mut BytesMut,
    into: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if ahead.is_empty() {
        return Pin::new(socket).poll_read(cx, into);
    }
    let taken = ahead.len().min(into.remaining());
    into.put_slice(&ahead.split_to(taken));
    Poll::Ready(Ok(()))
}

/// A client's Close, masked as all that clients say (RFC 6455 section 5.3).
fn going_away() -> Vec<u8> {
    let mask = fastrand::u32(..).to_be_bytes();
    let [high, low] = GOING_AWAY;
    vec![0x88, 0x82, mask[0], mask[1], mask[2], mask[3], high ^ mask[0], low ^ mask[1]]
}
