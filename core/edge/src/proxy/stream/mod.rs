//! Streams: TCP connections that are passed on as they are, each to a server of the side that the route names when it comes.
//!
//! A stream is given away as a request is (`reach`: I2, and the waiting room of I6); from its first byte on it belongs to
//! its server. `course` copies between two `end`s, through `pipe`. When the side loses its role, the listener's word says what becomes of the
//! stream; a cut always wins. `hello` reads the name in a TLS client's first message, where the listener asks for one.

mod course;
mod end;
mod hello;
mod line;
mod pipe;
mod reach;

pub(super) use pipe::Between;

use super::client::linger;
use super::links::Kept;
use super::listen::Met;
use super::pair::{PairProxy, PoolId, Shared};
use super::proxy_protocol;
use super::settings::{ListenSettings, StreamSettings};
use super::shelter::Place;
use super::table::Target;
use super::tls::{Mark, Termination};
use super::traffic::Trouble;
use crate::config::OnSwitch;
use course::{Course, Step};
use end::End;
use hello::{BYTES_MAX, DECODE_ERROR, Hello, Names, UNRECOGNIZED_NAME};
use line::Story;
use lockstep_policy::Sides;
use reach::{Asking, Missed, Reached};
use rustix::net::sockopt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a stream that is ended in order may take to pass on what has come.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long half a stream may lie still after the other half has ended.
const HALF_STILL: Duration = Duration::from_secs(60 * 60);
/// A peer that is silent for so long is asked whether it is there, at these intervals, so often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 5);

/// The streams of a pair, counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) all: AtomicU64,
    pub(super) open: Sides<AtomicU64>,
    /// Closed by the edge before a server had them.
    pub(super) refused: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

/// What a listener does with its streams.
#[derive(Debug)]
pub(super) struct Rules {
    names: Names,
    settings: StreamSettings,
    /// TLS with clients ends here.
    tls: Option<Arc<Termination>>,
}

impl Rules {
    pub(super) fn new(settings: StreamSettings, tls: Option<Arc<Termination>>) -> Rules {
        Rules { names: Names::new(&settings.sni), settings, tls }
    }
}

/// A client whose stream begins.
struct Guest {
    end: End,
    client: SocketAddr,
    asked: SocketAddr,
    place: Place,
    /// By what it is known again, where sessions are named by that.
    mark: Option<Mark>,
}

/// Passes one client's stream on, from its first byte to its last.
pub(super) async fn pass(met: Met, pair: Arc<PairProxy>, pool: PoolId, rules: Arc<Rules>, limits: ListenSettings) {
    let pair = pair.shared();
    pair.streams.all.fetch_add(1, Relaxed);
    stay_awake(&met.socket);
    if let Some(guest) = greeted(met, pair, &rules, &limits).await
        && let Some((guest, ended)) = converse(guest, pair, pool, &rules, &limits).await
    {
        finish(guest, ended).await;
    }
}

/// Does the handshake, where there is to be one; `None`: the client has failed in it.
async fn greeted(met: Met, pair: &Shared, rules: &Rules, limits: &ListenSettings) -> Option<Guest> {
    let Met { socket, client, asked, place } = met;
    let marked = pair.sessions.as_ref().is_some_and(|sessions| sessions.is_by_tls());
    let (end, mark) = match &rules.tls {
        None => (End::Plain(socket), None),
        Some(tls) => match tls.accept(socket, limits.head_timeout, marked).await {
            Ok((stream, mark)) => (End::Secured(Box::new(stream.into())), mark),
            Err(error) => {
                tracing::debug!(%client, %error, "a client's TLS handshake has failed");
                return None;
            }
        },
    };
    Some(Guest { end, client, asked, place, mark })
}

/// How a stream ends for its client.
enum Ended {
    /// With FIN, or as both ends have agreed on already.
    InOrder,
    /// With these last words.
    Saying(&'static [u8]),
    /// With a reset.
    Reset,
}

async fn converse(
    mut guest: Guest,
    pair: &Shared,
    pool: PoolId,
    rules: &Rules,
    limits: &ListenSettings,
) -> Option<(Guest, Ended)> {
    let mut story = Story::of(guest.client, guest.asked);
    let refused = |mut story: Story, why| {
        pair.streams.refused.fetch_add(1, Relaxed);
        story.why = Some(why);
        story.tell(pair);
    };
    let hello = if rules.names.is_empty() {
        Vec::new()
    } else {
        match greet(&mut guest.end, &rules.names, limits.head_timeout).await? {
            Ok(hello) => hello,
            Err((alert, why)) => {
                refused(story, why);
                return Some((guest, Ended::Saying(alert)));
            }
        }
    };
    let announcement = rules.settings.proxy_protocol;
    let announcement = announcement.map(|version| proxy_protocol::header(version, guest.client, guest.asked));
    let asking = Asking {
        pair,
        pool: pool.0,
        client: guest.client,
        socket: guest.end.socket(),
        mark: guest.mark,
        has_spoken: !hello.is_empty(),
        // Before it is encrypted nothing is said but who asks.
        secured: rules.settings.secured.then(|| announcement.clone().unwrap_or_default()),
    };
    let reached = match asking.reach().await {
        Ok(reached) => reached,
        Err(Missed { why, waited }) => {
            story.waited = waited;
            refused(story, why);
            return Some((guest, Ended::InOrder));
        }
    };
    let first_words = match announcement.filter(|_| !rules.settings.secured) {
        Some(announcement) => [announcement, hello].concat(),
        None => hello,
    };
    let side = reached.target.side;
    story.given_to = Some((side, reached.target.epoch));
    (story.waited, story.attempts) = (reached.waited, reached.attempts);
    let open = Open::at(&pair.streams.open[side]);
    let ended = run(&mut guest.end, reached, &first_words, pair, rules, &mut story).await;
    drop(open);
    story.tell(pair);
    Some((guest, ended))
}

/// What a client is told, and what people are.
type Refusal = (&'static [u8], &'static str);

/// Reads the client's first message. Its bytes, if it asks for one of the names; else what to tell it. `None`: it has gone,
/// or is too slow.
async fn greet(socket: &mut End, names: &Names, within: Duration) -> Option<Result<Vec<u8>, Refusal>> {
    let read = async {
        let (mut hello, mut bytes, mut have) = (Hello::default(), [0; 4096], 0);
        loop {
            let room = bytes.len().min(BYTES_MAX - have);
            let read = socket.read(&mut bytes[..room]).await.ok().filter(|read| *read > 0)?;
            have += read;
            match hello.feed(&bytes[..read]) {
                Ok(None) => {}
                Ok(Some(Some(name))) if names.take(&name) => return Some(Ok(hello.into_bytes())),
                Ok(Some(_)) => {
                    return Some(Err((&UNRECOGNIZED_NAME[..], "the client asks for a name that is not known here")));
                }
                Err(hello::Malformed(why)) => return Some(Err((&DECODE_ERROR[..], why))),
            }
        }
    };
    timeout(within, read).await.ok().flatten()
}

/// One more that is open, until it is dropped.
struct Open<'c>(&'c AtomicU64);

impl<'c> Open<'c> {
    fn at(count: &'c AtomicU64) -> Open<'c> {
        count.fetch_add(1, Relaxed);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Done,
    ClientBroke,
    ServerBroke,
    /// The edge has cut the connection to the server.
    Cut,
    /// The role has left the side, by the listener's word.
    Closed,
    Reset,
    /// As `Closed`, but later.
    FinishOver,
    /// Half of it has ended, and nothing came on the other half for too long.
    Still,
}

impl Why {
    /// For people; nothing, where both ends have ended it.
    fn in_words(self) -> Option<&'static str> {
        match self {
            Why::Done => None,
            Why::ClientBroke => Some("the client broke it off"),
            Why::ServerBroke => Some("the server broke it off"),
            Why::Cut => Some("the edge cut it"),
            Why::Closed => Some("closed: the side has lost its role"),
            Why::Reset => Some("reset: the side has lost its role"),
            Why::FinishOver => Some("closed: the side has lost its role, and the time to finish is over"),
            Why::Still => Some("closed: one half had ended, and the other lay still for too long"),
        }
    }
}

/// Copies both ways until the stream ends, or is ended. When this returns, the server's connection is closed, or about to be.
async fn run(
    client: &mut End,
    reached: Reached,
    first_words: &[u8],
    pair: &Shared,
    rules: &Rules,
    story: &mut Story,
) -> Ended {
    let Reached { mut server, kept, target, mut changes, presence: _present, .. } = reached;
    stay_awake(server.socket());
    reach::tell_first(pair, &target, false);
    let said = say((&mut server, &kept), first_words, pair.settings.write_timeout).await;
    let mut course = Course::new(client, &mut server, &pair.streams);
    let mut why =
        if said { go(&mut course, &kept, &target, &mut changes, pair, rules).await } else { Why::ServerBroke };
    if kept.link.was_cut() {
        why = Why::Cut;
    }
    let resets = rules.settings.on_switch == OnSwitch::Reset;
    let ended = match why {
        Why::Done => Ended::InOrder,
        Why::Cut if resets => Ended::Reset,
        Why::Cut => {
            // A client that does not take it in time has no right to more: the server is gone.
            let _ = timeout(CATCH_UP, course.give_client_what_is_held()).await;
            Ended::InOrder
        }
        Why::Closed | Why::FinishOver | Why::Still => {
            tokio::select! {
                _ = timeout(CATCH_UP, course.catch_up()) => {}
                () = kept.link.ended() => {}
            }
            Ended::InOrder
        }
        Why::ClientBroke | Why::Reset => {
            kept.link.abort();
            Ended::Reset
        }
        Why::ServerBroke => {
            if course.answered().is_none() {
                reach::note_trouble(pair, &target, Trouble::Reset);
            }
            if course.client_is_told() { Ended::InOrder } else { Ended::Reset }
        }
    };
    (story.received, story.sent) = course.passed();
    (story.answered, story.why) = (course.answered(), why.in_words());
    if matches!(why, Why::Closed | Why::FinishOver | Why::Still) {
        tokio::spawn(part(server, kept));
    }
    ended
}

/// Ends a server's connection in order, and with a reset what has no end in time: a node that is out of reach must not be given,
/// when it is back, what it has not acknowledged. Until then a cut finds the connection.
async fn part(mut server: End, kept: Kept) {
    let ended = async {
        let _ = server.shutdown().await;
        let mut sink = vec![0; 4096];
        while matches!(server.read(&mut sink).await, Ok(1..)) {}
    };
    tokio::select! {
        ended = timeout(CATCH_UP, ended) => if ended.is_err() {
            kept.link.abort();
        },
        () = kept.link.ended() => {}
    }
}

/// Gives the server what comes before the client's own bytes, or was read of them.
async fn say((server, kept): (&mut End, &Kept), words: &[u8], within: Duration) -> bool {
    let said = async {
        server.write_all(words).await?;
        server.flush().await
    };
    tokio::select! {
        said = timeout(within, said) => matches!(said, Ok(Ok(()))),
        () = kept.link.ended() => false,
    }
}

/// Copies until something ends the stream.
async fn go(
    course: &mut Course<'_>,
    kept: &Kept,
    target: &Target,
    changes: &mut watch::Receiver<()>,
    pair: &Shared,
    rules: &Rules,
) -> Why {
    let mut finish_until = None;
    loop {
        let before = course.passed();
        tokio::select! {
            biased;
            () = kept.link.ended() => return Why::Cut,
            () = reach::role_lost(&pair.table, target, changes), if finish_until.is_none() => {
                match rules.settings.on_switch {
                    OnSwitch::Close => return Why::Closed,
                    OnSwitch::Reset => return Why::Reset,
                    OnSwitch::Finish => finish_until = Some(Instant::now() + rules.settings.finish_within),
                }
            }
            () = sleep_until(finish_until.unwrap_or_else(Instant::now)), if finish_until.is_some() => {
                return Why::FinishOver;
            }
            () = sleep(HALF_STILL), if course.is_half() => {
                if course.passed() == before {
                    return Why::Still;
                }
            }
            step = course.step() => match step {
                Step::Answered => {
                    kept.link.answered();
                    pair.traffic.answered(target, true, None);
                    reach::tell_first(pair, target, true);
                }
                Step::Half => {}
                Step::Done => return Why::Done,
                Step::ClientBroke => return Why::ClientBroke,
                Step::ServerBroke => return Why::ServerBroke,
            },
        }
    }
}

/// Ends the client's connection.
async fn finish(guest: Guest, ended: Ended) {
    let Guest { mut end, place, .. } = guest;
    match ended {
        Ended::InOrder => linger(end, Some(place)).await,
        Ended::Saying(words) => {
            let _ = timeout(CATCH_UP, end.write_all(words)).await;
            linger(end, Some(place)).await;
        }
        // A close that lingers for no time is a reset.
        Ended::Reset => drop(sockopt::set_socket_linger(end.socket(), Some(Duration::ZERO))),
    }
}

/// A peer that has gone without a word is noticed, however little there is to say; and no small message waits for the
/// acknowledgement of the one before.
fn stay_awake(socket: &TcpStream) {
    let (idle, interval, times) = KEEPALIVE;
    let _ = socket.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, idle);
    let _ = sockopt::set_tcp_keepintvl(socket, interval);
    let _ = sockopt::set_tcp_keepcnt(socket, times);
}
