//! Bytes both ways between two ends, each way until its end: a half that is closed leaves the other half open.

use super::Counts;
use super::end::End;
use super::pipe::Between;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

/// Reads of one direction before others of the same thread have their turn.
const TURN: usize = 16;

/// One direction.
#[derive(Debug, Default)]
struct Way {
    between: Between,
    passed: u64,
    /// What was written need not have left yet.
    unflushed: bool,
    /// The sender has sent all.
    ended: bool,
    /// … and the receiver has been told.
    told: bool,
}

/// Which end a direction broke at.
#[derive(Debug)]
enum At {
    Sender,
    Receiver,
}

impl Way {
    /// Passes bytes on until one of the two makes it wait, or all is done.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut End, &mut End),
        count: &AtomicU64,
    ) -> Poll<Result<(), At>> {
        if self.told {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            ready!(self.poll_give(cx, to)).map_err(|_| At::Receiver)?;
            if self.ended {
                let told = ready!(to.poll_end(cx));
                self.told = true;
                return Poll::Ready(told.map_err(|_| At::Receiver));
            }
            match from.poll_fill(cx, &mut self.between) {
                Poll::Ready(Ok(read)) => {
                    self.ended = read == 0;
                    self.passed += read as u64;
                    count.fetch_add(read as u64, Relaxed);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(At::Sender)),
                Poll::Pending => {
                    self.between.rest();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held.
    fn poll_give(&mut self, cx: &mut Context<'_>, to: &mut End) -> Poll<io::Result<()>> {
        while self.between.held() > 0 {
            if ready!(to.poll_empty(cx, &mut self.between))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all that had come by now has been passed on.
    fn poll_caught_up(&mut self, cx: &mut Context<'_>, ends: (&mut End, &mut End), count: &AtomicU64) -> Poll<()> {
        match self.poll(cx, ends, count) {
            Poll::Ready(_) => Poll::Ready(()),
            // What makes it wait is the sender: nothing more has come.
            Poll::Pending if self.between.held() == 0 && !self.unflushed => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What has happened on a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The server has sent its first byte.
    Answered,
    /// One half has ended.
    Half,
    /// Both have.
    Done,
    /// The client's connection is broken.
    ClientBroke,
    /// The server's connection is broken.
    ServerBroke,
}

/// Both directions between a client and a server.
#[derive(Debug)]
pub(super) struct Course<'s> {
    client: &'s mut End,
    server: &'s mut End,
    counts: &'s Counts,
    up: Way,
    down: Way,
    answered: Option<Instant>,
    half: bool,
}

impl<'s> Course<'s> {
    pub(super) fn new(client: &'s mut End, server: &'s mut End, counts: &'s Counts) -> Course<'s> {
        let as_it_is = client.is_plain() && server.is_plain();
        let between = if as_it_is { Between::default } else { Between::buffered };
        let way = || Way { between: between(), ..Way::default() };
        Course { client, server, counts, up: way(), down: way(), answered: None, half: false }
    }

    /// Bytes that were passed on, from the client and to it.
    pub(super) fn passed(&self) -> (u64, u64) {
        (self.up.passed, self.down.passed)
    }

    /// When the server has sent its first byte.
    pub(super) fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// Whether one half has ended.
    pub(super) fn is_half(&self) -> bool {
        self.half
    }

    /// Whether the client has been told that nothing more comes.
    pub(super) fn client_is_told(&self) -> bool {
        self.down.told
    }

    /// Passes bytes on until something is to be told. Nothing is lost when the future is dropped.
    pub(super) async fn step(&mut self) -> Step {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let up = self.up.poll(cx, (&mut *self.client, &mut *self.server), &self.counts.bytes_in);
        let down = self.down.poll(cx, (&mut *self.server, &mut *self.client), &self.counts.bytes_out);
        // What the server has said before its end is not lost by what the client says after it.
        match (&up, &down) {
            (Poll::Ready(Err(At::Sender)), _) | (_, Poll::Ready(Err(At::Receiver))) => {
                return Poll::Ready(Step::ClientBroke);
            }
            (_, Poll::Ready(Err(At::Sender))) => return Poll::Ready(Step::ServerBroke),
            (Poll::Ready(Err(At::Receiver)), _) if self.down.between.held() == 0 => {
                return Poll::Ready(Step::ServerBroke);
            }
            _ => {}
        }
        if self.answered.is_none() && self.down.passed > 0 {
            self.answered = Some(Instant::now());
            return Poll::Ready(Step::Answered);
        }
        match (up.is_ready(), down.is_ready()) {
            (true, true) => Poll::Ready(Step::Done),
            (true, false) | (false, true) if !self.half => {
                self.half = true;
                Poll::Ready(Step::Half)
            }
            _ => Poll::Pending,
        }
    }

    /// Passes on what has come by now.
    pub(super) async fn catch_up(&mut self) {
        poll_fn(|cx| {
            let up = self.up.poll_caught_up(cx, (&mut *self.client, &mut *self.server), &self.counts.bytes_in);
            let down = self.down.poll_caught_up(cx, (&mut *self.server, &mut *self.client), &self.counts.bytes_out);
            if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Gives the client what is held for it; the server is out of reach.
    pub(super) async fn give_client_what_is_held(&mut self) {
        let _ = poll_fn(|cx| self.down.poll_give(cx, &mut *self.client)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// More than all sockets and pipes on the way hold.
    const LONG: usize = 16 << 20;

    async fn sockets() -> (TcpStream, End) {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (one, End::Plain(listener.accept().await.unwrap().0))
    }

    fn text(seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.u8(..)).take(LONG).collect()
    }

    /// Sends all, closes its half, and reads until the other half is closed.
    async fn talk(socket: TcpStream, says: Vec<u8>) -> Vec<u8> {
        let (mut read, mut write) = socket.into_split();
        let said = tokio::spawn(async move {
            write.write_all(&says).await.unwrap();
            write.shutdown().await.unwrap();
            write
        });
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.unwrap();
        said.await.unwrap();
        heard
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_bytes_arrive_both_ways_by_pipe_and_by_buffer() {
        for between in [Between::default, Between::buffered] {
            let ((client, mut of_client), (server, mut of_server)) = (sockets().await, sockets().await);
            let counts = Counts::default();
            let mut course = Course::new(&mut of_client, &mut of_server, &counts);
            (course.up.between, course.down.between) = (between(), between());
            let (asked, answered) = (text(1), text(2));
            let talks = [tokio::spawn(talk(client, asked.clone())), tokio::spawn(talk(server, answered.clone()))];
            let mut steps = Vec::new();
            while steps.last() != Some(&Step::Done) {
                steps.push(course.step().await);
            }
            assert!(steps.contains(&Step::Answered) && course.is_half() == steps.contains(&Step::Half), "{steps:?}");
            let [heard, asked_for] = talks.map(|talk| async { talk.await.unwrap() });
            assert!(heard.await == answered && asked_for.await == asked, "bytes differ");
            assert_eq!(course.passed(), (LONG as u64, LONG as u64));
            assert_eq!(counts.bytes_in.load(Relaxed) + counts.bytes_out.load(Relaxed), 2 * LONG as u64);
        }
    }

    #[tokio::test]
    async fn what_is_broken_is_told_by_its_end() {
        for (client_breaks, told) in [(true, Step::ClientBroke), (false, Step::ServerBroke)] {
            let ((client, mut of_client), (server, mut of_server)) = (sockets().await, sockets().await);
            let counts = Counts::default();
            let mut course = Course::new(&mut of_client, &mut of_server, &counts);
            let breaks = if client_breaks { &client } else { &server };
            rustix::net::sockopt::set_socket_linger(breaks, Some(std::time::Duration::ZERO)).unwrap();
            let _stays = if client_breaks { (drop(client), server) } else { (drop(server), client) };
            assert_eq!(course.step().await, told);
        }
    }

    #[tokio::test]
    async fn who_catches_up_waits_for_nothing_that_has_not_come() {
        let ((mut client, mut of_client), (mut server, mut of_server)) = (sockets().await, sockets().await);
        let counts = Counts::default();
        let mut course = Course::new(&mut of_client, &mut of_server, &counts);
        server.write_all(b"the last words").await.unwrap();
        course.server.socket().readable().await.unwrap();
        course.catch_up().await;
        drop(of_client);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"the last words");
    }
}
