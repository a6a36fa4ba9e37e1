//! A client's connection, as pingora reads it: one request at a time.
//!
//! Between requests we read the next head ourselves, under our limits. Then pingora is let at the bytes of that request
//! and no more: what a client sends ahead stays here until its turn comes. While an answer is being made, pingora
//! reads on only to notice that the client has left.

use super::answer::{Answer, Refused};
use super::chunks::Chunks;
use super::exchange::Alarm;
use super::h2::{self, Found, Frames};
use super::head::{self, Body};
use super::outline::{Line, Outline};
use super::pace::Pace;
use super::settings::ListenSettings;
use super::shelter::{Guest, Place};
use super::stream::Between;
use super::tls::Wire;
use super::websocket::{ClientEnd, Ending};
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use lockstep_wire::clock;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
};
use rustix::net::sockopt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, Interest, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Holds an answer's head until its body follows: one packet instead of two.
const WRITE_BUFFER: usize = 2 * 1024;
const READ_STEP: usize = 4 * 1024;
/// What a client may send ahead of its turn; more stays in the kernel.
const AHEAD_MAX: usize = 16 * 1024;
/// How long, and how much, is read from a client that we answered before it had said all.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` only while it is dropped.
    socket: Option<BufWriter<Wire>>,
    ahead: BytesMut,
    /// Of the head that is next in there.
    outline: Outline,
    /// Room for the lines of an answer's head.
    heard: Vec<Line>,
    alarm: Alarm,
    open: Open,
    /// How fast a body must come.
    pace: Pace,
    /// How fast an answer must be taken.
    taking: Pace,
    /// What is wrong with the present body.
    fault: Option<Answer>,
    /// The client has sent all that it will ever send.
    ended: bool,
    digest: Arc<SocketDigest>,
    /// How it is encrypted, if it is.
    encryption: Option<Arc<SslDigest>>,
    /// Its frames are looked at; with HTTP/2 only.
    frames: Option<Frames>,
    /// Which session it carries, in a pair in which both sides may serve.
    presence: Option<Arc<ProxyDigest>>,
    /// It has asked for a WebSocket.
    upgrade: Option<Box<ClientEnd>>,
    /// Its place among the listener's connections.
    place: Option<Place>,
}

/// What pingora may read.
#[derive(Debug)]
enum Open {
    Bytes(u64),
    /// So many bytes of a head, and then chunks.
    Chunks(u64, Box<Chunks>),
    All,
}

/// Why no further head comes.
#[derive(Debug)]
pub(super) enum Over {
    /// The client left, stayed idle for too long, or the listener closes.
    Quietly,
    /// The client is to be told.
    With(Answer),
    /// It speaks HTTP/2 from here on.
    Http2,
}

impl Client {
    pub(super) fn new(socket: Wire, address: SocketAddr, presence: Option<Arc<ProxyDigest>>, place: Place) -> Client {
        let digest = SocketDigest::from_raw_fd(socket.tcp().as_raw_fd());
        let _ = digest.peer_addr.set(Some(address.into()));
        Client {
            encryption: socket.encryption().map(Arc::new),
            frames: None,
            socket: Some(BufWriter::with_capacity(WRITE_BUFFER, socket)),
            ahead: BytesMut::new(),
            outline: Outline::default(),
            heard: Vec::new(),
            alarm: Alarm::default(),
            open: Open::Bytes(0),
            pace: Pace::default(),
            taking: Pace::default(),
            fault: None,
            ended: false,
            digest: Arc::new(digest),
            presence,
            upgrade: None,
            place: Some(place),
        }
    }

    /// It has connected to that address, as its balancer says.
    pub(super) fn that_asked_for(self, asked: SocketAddr) -> Client {
        let _ = self.digest.local_addr.set(Some(asked.into()));
        self
    }

    /// Who it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.digest.peer_addr.get()?.as_ref()?.as_inet().copied()
    }

    /// It asks for something. An error: its source asks too often, and may again after so long.
    pub(super) fn asks(&self) -> Result<(), Duration> {
        self.place.as_ref().map_or(Ok(()), |place| place.asks(clock::now()))
    }

    fn socket(&mut self) -> &mut BufWriter<Wire> {
        self.socket.as_mut().expect("the socket is taken out in drop only")
    }

    /// Whether both ends agreed on HTTP/2 in their handshake.
    pub(super) fn agreed_on_http2(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.get_ref().agreed_on_http2())
    }

    /// Lets everything be read, as HTTP/2. In the returned stands what is found in it.
    pub(super) fn becomes_http2(&mut self) -> Arc<Found> {
        self.open = Open::All;
        let found = Arc::<Found>::default();
        self.frames = Some(Frames::new(&found));
        found
    }

    /// Whose it is, where somebody counts what sources ask for.
    pub(super) fn guest(&self) -> Option<Arc<Guest>> {
        self.place.as_ref().and_then(Place::guest)
    }

    /// Ends a connection on which no answer is under way. With TLS the client is told that nothing was cut off.
    pub(super) async fn leave(mut self) {
        if self.encryption.is_some() {
            let _ = timeout(LINGER, self.socket().shutdown()).await;
        }
    }

    /// Waits until a whole head is here and lets pingora read that request.
    pub(super) async fn next_request(
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
    pub(super) async fn next_head(
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

    /// Takes the head that has come; nobody else will read it.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        self.ahead.split_to(length)
    }

    /// Answers a request that is not passed on. The connection is at its end.
    pub(super) async fn refuse(&mut self, answer: &Answer, limits: &ListenSettings) {
        // A client that does not take its refusal loses nothing more.
        self.give(&answer.to_wire(), limits).await;
    }

    /// Writes an answer. False: the client did not take it.
    pub(super) async fn give(&mut self, wire: &[u8], limits: &ListenSettings) -> bool {
        let socket = self.socket();
        let written = timeout(limits.write_timeout, async {
            socket.write_all(wire).await?;
            socket.flush().await
        });
        matches!(written.await, Ok(Ok(())))
    }

    /// Whether the client has sent, or may be about to send, what nobody will read.
    fn has_unread(&self) -> bool {
        let upgraded = self.upgrade.as_ref().is_some_and(|end| end.is_open());
        !self.ended && (upgraded || !self.ahead.is_empty() || !matches!(self.open, Open::Bytes(0)))
    }
}

/// Closing a socket with unread bytes resets the connection, and the reset may overtake our answer. So what still comes
/// is read for a moment.
impl Drop for Client {
    fn drop(&mut self) {
        let unread = self.has_unread();
        let (Some(socket), Ok(runtime)) = (self.socket.take(), tokio::runtime::Handle::try_current()) else { return };
        match self.upgrade.take().map(|end| end.ending()) {
            // A close that lingers for no time is a reset.
            Some(Ending::Reset) => {
                let _ = sockopt::set_socket_linger(socket.get_ref().tcp(), Some(Duration::ZERO));
            }
            Some(Ending::Saying(words @ [_, ..])) => {
                let place = self.place.take();
                runtime.spawn(async move {
                    let mut socket = socket;
                    let _ = timeout(LINGER, socket.write_all(words)).await;
                    linger(socket, place).await;
                });
            }
            _ if unread => drop(runtime.spawn(linger(socket.into_inner(), self.place.take()))),
            _ => {}
        }
    }
}

/// Ends a connection in order: what still comes is read for a moment.
pub(super) async fn linger(mut socket: impl AsyncRead + AsyncWrite + Unpin, _place: Option<Place>) {
    let rest = async {
        let _ = socket.shutdown().await;
        let mut sink = vec![0; READ_STEP];
        let mut read = 0;
        while read < LINGER_BYTES {
            match socket.read(&mut sink).await {
                Ok(some @ 1..) => read += some,
                Ok(0) | Err(_) => return,
            }
        }
    };
    let _ = timeout(LINGER, rest).await;
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(fault) = &this.fault {
            return Poll::Ready(Err(Refused::error(fault.clone())));
        }
        match &mut this.upgrade {
            Some(end) if end.is_open() => {
                let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
                return end.poll_read(cx, socket, &mut this.ahead, into);
            }
            Some(end) => end.lets_go(cx),
            None => {}
        }
        let allowed = match this.open {
            Open::Bytes(0) => return this.poll_left(cx),
            Open::Bytes(left) | Open::Chunks(left @ 1.., _) => {
                usize::try_from(left).unwrap_or(usize::MAX).min(into.remaining())
            }
            Open::Chunks(0, _) | Open::All => into.remaining(),
        };
        let before = into.filled().len();
        let read = if this.ahead.is_empty() {
            let mut part = ReadBuf::new(into.initialize_unfilled_to(allowed));
            let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
            let Poll::Ready(done) = Pin::new(socket).poll_read(cx, &mut part) else { return this.poll_late(cx) };
            done?;
            let read = part.filled().len();
            into.advance(read);
            this.ended |= read == 0 && allowed > 0;
            this.pace.came(read, allowed);
            read
        } else {
            let read = allowed.min(this.ahead.len());
            into.put_slice(&this.ahead.split_to(read));
            read
        };
        if let Some(frames) = &mut this.frames {
            frames.came(&into.filled()[before..]);
        }
        Poll::Ready(this.account(read, before, into))
    }
}

impl Client {
    /// Takes note of what pingora is about to be given: bytes behind the end of the body are put aside again.
    fn account(&mut self, read: usize, before: usize, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let chunks = match &mut self.open {
            Open::All => return Ok(()),
            Open::Bytes(left) | Open::Chunks(left @ 1.., _) => {
                *left -= read as u64;
                return Ok(());
            }
            Open::Chunks(0, chunks) => chunks,
        };
        let new = &into.filled()[before..];
        match chunks.follow(new) {
            Ok(of_body) if of_body < new.len() => {
                let mut ahead = BytesMut::from(&new[of_body..]);
                ahead.extend_from_slice(&self.ahead);
                self.ahead = ahead;
                into.set_filled(before + of_body);
            }
            Ok(_) => {}
            Err(answer) => {
                into.set_filled(before);
                self.fault = Some(answer.clone());
                return Err(Refused::error(answer));
            }
        }
        if chunks.is_over() {
            self.open = Open::Bytes(0);
        }
        Ok(())
    }

    /// The client has no room for more. Ready when it takes its answer too slowly: nothing can be said to it then.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if matches!(self.open, Open::All) {
            return Poll::Pending;
        }
        self.taking
            .poll_late(cx)
            .map(|()| io::Error::new(io::ErrorKind::TimedOut, "the client takes its answer too slowly"))
    }

    /// Nothing has come of what is due. A client that is too slow is told so.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.open, Open::All) {
            return Poll::Pending;
        }
        ready!(self.pace.poll_late(cx));
        self.fault = Some(head::TOO_SLOW_BODY);
        Poll::Ready(Err(Refused::error(head::TOO_SLOW_BODY)))
    }
}

impl Client {
    /// Ready, with nothing read, when the client has left; what it sends ahead is put aside.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD_MAX {
            let mut bytes = [0; 512];
            let mut part = ReadBuf::new(&mut bytes);
            let socket = self.socket.as_mut().expect("the socket is taken out in drop only");
            ready!(Pin::new(socket).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(part.filled());
        }
        // Enough: the answer that is being made ends this wait, nothing else needs to.
        Poll::Pending
    }
}

/// For an exchange of our own (`exchange`), which reads and writes past pingora.
impl Client {
    /// The head that is next, and where its parts stand.
    pub(super) fn outlined(&self, length: usize) -> (&[u8], &Outline) {
        (&self.ahead[..length], &self.outline)
    }

    /// Takes the head of a request without a body, with what is used again by one request after the other.
    pub(super) fn begin_exchange(&mut self, length: usize) -> (BytesMut, Outline, Vec<Line>) {
        self.open = Open::Bytes(0);
        (self.take(length), std::mem::take(&mut self.outline), std::mem::take(&mut self.heard))
    }

    /// Gives back what was taken to be used again.
    pub(super) fn end_exchange(&mut self, outline: Outline, heard: Vec<Line>) {
        (self.outline, self.heard) = (outline, heard);
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Where it has connected to.
    pub(super) fn listener(&self) -> Option<SocketAddr> {
        self.digest.local_addr()?.as_inet().copied()
    }

    /// The alarm of whoever waits for something on its behalf.
    pub(super) fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    /// Writes what is taken of these parts.
    pub(super) fn poll_give(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = self.socket();
        if !socket.buffer().is_empty() {
            ready!(Pin::new(&mut *socket).poll_flush(cx))?;
        }
        let Poll::Ready(written) = Pin::new(socket.get_mut()).poll_write_vectored(cx, parts) else {
            return self.poll_untaken(cx).map(Err);
        };
        let written = written?;
        self.taking.came(written, usize::MAX);
        Poll::Ready(Ok(written))
    }

    /// Ready when all that was written has left.
    pub(super) fn poll_given(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.encryption.is_none() { Poll::Ready(Ok(())) } else { Pin::new(self).poll_flush(cx) }
    }

    /// Writes what is taken of what lies between a server and this client, who speaks no TLS.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>, between: &mut Between) -> Poll<io::Result<usize>> {
        let socket = self.socket().get_ref().tcp();
        let moved = loop {
            match socket.try_io(Interest::WRITABLE, || between.empty(socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => break moved,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match socket.poll_write_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => return self.poll_untaken(cx).map(Err),
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        self.taking.came(moved, usize::MAX);
        Poll::Ready(Ok(moved))
    }

    /// Ends the connection so that nobody takes what was sent for a whole answer.
    pub(super) fn break_off(&mut self) {
        // Closed with this, it is reset.
        let _ = sockopt::set_socket_linger(self.socket().get_ref().tcp(), Some(Duration::ZERO));
        self.ended = true;
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(end) = &mut this.upgrade {
            let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
            return end.poll_write(cx, socket, bytes);
        }
        let Poll::Ready(written) = Pin::new(this.socket()).poll_write(cx, bytes) else {
            return this.poll_untaken(cx).map(Err);
        };
        let written = written?;
        this.taking.came(written, usize::MAX);
        if let Some(frames) = &mut this.frames {
            frames.went(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(this.socket()).poll_flush(cx) {
            Poll::Ready(flushed) => {
                this.taking.came(0, usize::MAX);
                Poll::Ready(flushed)
            }
            Poll::Pending => this.poll_untaken(cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
        match &mut this.upgrade {
            Some(end) => end.poll_shutdown(cx, socket),
            None => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for Client {
    async fn shutdown(&mut self) {
        // What cannot be shut down is closed already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Client {
    fn id(&self) -> i32 {
        self.socket.as_ref().map_or(-1, |socket| socket.get_ref().tcp().as_raw_fd())
    }
}

impl Ssl for Client {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.encryption.clone()
    }
}

impl Peek for Client {}

impl GetTimingDigest for Client {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Client {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.upgrade.as_ref().and_then(|end| end.digest()).or_else(|| self.presence.clone())
    }
}

impl GetSocketDigest for Client {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
