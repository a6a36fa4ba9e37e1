//! What requests meet beside the active side: sessions where both sides may serve, pools, and answers to balancers.

use crate::place::{Edge, PATIENT, Place, free};
use crate::{node, workers};
use lockstep_edge::Side;
use lockstep_edge::admin::api::{Handover, PairStatus, PauseOrder, SwitchAnswer, SwitchOrder};
use lockstep_pair::RouteKind;
use lockstep_pair::record::{Outcome, Phase};
use lockstep_policy::host::trust;
use lockstep_policy::{At, Sides};
use lockstep_wire::clock;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, timeout};

/// The policy of this test: an example of this crate, beside the tests.
fn shares() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps");
    let file = target.join("examples/libshares.so");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        // A runner that was asked for this test alone has not built it.
        if !file.exists() {
            let build = ["build", "-p", "lockstep-edge", "--example", "shares"];
            let built = Command::new(env!("CARGO")).args(build).status();
            assert!(built.is_ok_and(|built| built.success()), "the policy for this test cannot be built");
        }
    });
    file
}

/// An edge with that policy.
struct World {
    place: Place,
    edge: Edge,
    answers: SocketAddr,
}

impl World {
    /// `pair` is what stands in `[[pair]]`, up to its first table; `tables` are these.
    async fn new(parameters: &str, pair: &str, tables: &str) -> World {
        let place = Place { directory: tempfile::TempDir::new().unwrap(), vip: free(), admin: free() };
        let (answers, plugin) = (free(), shares());
        let Place { vip, admin, .. } = &place;
        let text = format!(
            "[edge]\nstate = \"state\"\nadmin = \"{admin}\"\ntls = {{ insecure = true }}\n[[pair]]\nname = \"desks\"\nlisten = [\"{vip}\"]\n\
             answer = [\"{answers}\"]\n{pair}\n[pair.policy]\nplugin = \"{}\"\n{parameters}\n\
             [pair.hold]\nmax_wait = \"5s\"\n{tables}",
            plugin.display(),
        );
        std::fs::write(place.config(), text).unwrap();
        workers::are_this_program();
        trust(&place.directory.path().join("policies.trust"), &[plugin]).unwrap();
        let edge = place.start().await;
        let world = World { place, edge, answers };
        world.until("the policy works", |pair| pair.policy.working).await;
        world
    }

    async fn pair(&self) -> PairStatus {
        self.place.client().status().await.unwrap().pairs.remove(0)
    }

    async fn until(&self, what: &str, is: impl Fn(&PairStatus) -> bool) -> PairStatus {
        let deadline = Instant::now() + PATIENT;
        loop {
            let pair = self.pair().await;
            if is(&pair) {
                return pair;
            }
            assert!(Instant::now() < deadline, "never: {what}: {pair:#?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn said(&self, text: &str) -> PairStatus {
        self.until(text, |pair| pair.alerts.iter().any(|alert| alert.text.contains(text))).await
    }

    async fn order(&self, to: Side, by: &str) -> SwitchAnswer {
        let order = SwitchOrder { to, confirmed: true, unsafe_because: None, by: by.to_owned() };
        timeout(PATIENT, self.place.client().switch("desks", &order)).await.expect("an order ends").unwrap()
    }
}

/// Asks from an address of loopback's own; status and body.
async fn ask(from: u8, at: SocketAddr, path: &str) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 2, from], 0))).unwrap();
    let mut stream = socket.connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: vip\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
}

/// A server without an agent; it answers with its name.
async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(free()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn shared() -> World {
    let (a, b) = (server("a").await, server("b").await);
    let sides = format!("[pair.a]\nservers = [\"{a}\"]\n[pair.b]\nservers = [\"{b}\"]\n");
    World::new("", "", &sides).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_serve_without_agents_and_an_operator_moves_sessions() {
    let world = shared().await;
    let mut sides = String::new();
    for client in [1, 2, 3, 4, 1, 2, 3, 4] {
        sides.push_str(&ask(client, world.place.vip, "/").await.1);
    }
    assert_eq!(sides, "abababab");
    let pair = world.said("sessions 2:2").await;
    assert_eq!((pair.route.kind, pair.active, &*pair.sides.a.agent), (RouteKind::Share, None, ""));
    let sessions = pair.sessions.expect("a pair with sessions");
    assert_eq!(
        (sessions.on, sessions.parts, &*sessions.reason),
        (Sides { a: 2, b: 2 }, Sides { a: 1, b: 1 }, "as told")
    );

    let SwitchAnswer::Accepted(text) = world.order(Side::B, "moves").await else { panic!("not accepted") };
    assert_eq!(text, "new sessions go to side b; the 2 sessions of side a are moved within 300ms");
    world.said("sessions 0:4, 2 moved, 0 left, ended true").await;
    for client in [1, 2, 3, 4, 5] {
        assert_eq!(ask(client, world.place.vip, "/").await.1, "b");
    }
    assert!(matches!(world.order(Side::A, "closes").await, SwitchAnswer::Accepted(_)));
    assert_eq!(ask(1, world.place.vip, "/").await.1, "b");
    assert_eq!(ask(9, world.place.vip, "/").await.0, 503);
    assert_eq!(ask(1, world.answers, "/who?side=a").await.1, "STANDBY");
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_sides_serve_no_role_is_moved_and_a_pause_keeps_sessions_where_they_are() {
    let world = shared().await;
    world.until("sessions are shared out", |pair| pair.route.kind == RouteKind::Share).await;
    assert_eq!(ask(1, world.answers, "/who?side=b").await.1, "ACTIVE");
    let SwitchAnswer::Refused(why) = world.order(Side::B, "switches").await else { panic!("not refused") };
    assert!(why.contains("both sides of this pair may serve: there is no active role to move"), "{why}");
    world.said("Refused: both sides of this pair may serve").await;
    assert!(matches!(world.order(Side::A, "prepares").await, SwitchAnswer::Refused(_)));
    let pause = PauseOrder { by: "eva".to_owned(), reason: "works".to_owned() };
    world.place.client().pause("desks", &pause).await.unwrap();
    // An operator's own order goes through a pause.
    assert!(matches!(world.order(Side::B, "moves").await, SwitchAnswer::Accepted(_)));
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_has_its_listener_and_the_policy_its_say() {
    let [a, b, ua, ub] = [server("a").await, server("b").await, server("ua").await, server("ub").await];
    let tables = format!(
        "[pair.a]\nservers = [\"{a}\"]\n[pair.a.pools]\nucs = [\"{ua}\"]\n\
         [pair.b]\nservers = [\"{b}\"]\n[pair.b.pools]\nucs = [\"{ub}\"]\n"
    );
    let ucs = free();
    let world = World::new("", &format!("[pair.listeners]\nucs = [\"{ucs}\"]"), &tables).await;
    assert_eq!((&*ask(1, world.place.vip, "/").await.1, &*ask(1, ucs, "/").await.1), ("a", "ua"));
    assert_eq!((&*ask(2, ucs, "/").await.1, &*ask(2, world.place.vip, "/").await.1), ("ub", "b"));
    let pair = world.pair().await;
    assert_eq!(pair.listen, [world.place.vip.to_string(), ucs.to_string()]);
    assert_eq!(pair.sides.a.servers, [a.to_string(), ua.to_string()]);
    assert!(matches!(world.order(Side::A, "restricts").await, SwitchAnswer::Accepted(_)));
    world.said("Refused: server 9 is none of the side's 2").await;
    assert_eq!((ask(1, ucs, "/").await.0, ask(1, world.place.vip, "/").await.0), (503, 200));
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_rings_at_its_minute() {
    // Else building it would take of the alarm's time.
    shares();
    // It begins in 15 seconds at the earliest, in 75 at the latest.
    let minute = |after: i64| {
        let time = jiff::Zoned::now().saturating_add(jiff::SignedDuration::from_secs(after));
        u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap()
    };
    let (a, b) = (server("a").await, server("b").await);
    let sides = format!("[pair.a]\nservers = [\"{a}\"]\n[pair.b]\nservers = [\"{b}\"]\n");
    let world = World::new(&format!("alarm = {}", minute(75)), "", &sides).await;
    let deadline = Instant::now() + Duration::from_secs(75) + PATIENT;
    while !world.pair().await.alerts.iter().any(|alert| alert.text == "timer 7 rang") {
        assert!(Instant::now() < deadline, "it has not rung");
        sleep(Duration::from_millis(100)).await;
    }
    world.edge.stop().await;
}

/// The time at which a phase of a handover began.
fn began(handover: &Handover, phase: Phase) -> At {
    let phases = &handover.record.phases;
    phases.iter().find(|one| one.phase == phase).map(|one| one.began).expect("a completed handover has it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_t11_in_real_handovers_a_side_is_called_active_only_while_it_is_served() {
    const HANDOVERS: usize = 40;
    let nodes = node::both("desks").await;
    let tables = Side::BOTH.map(|side| {
        format!("[pair.{side}]\nservers = [\"{}\"]\nagent = \"{}\"\n", nodes[side].server, nodes[side].agent)
    });
    let lease =
        "[pair.lease]\nttl = \"10s\"\nrenew = \"100ms\"\nstop_max = \"250ms\"\n[pair.handover]\nrecover = \"500ms\"\n";
    let world = World::new("exclusive = true", "", &format!("{lease}{}", tables.concat())).await;
    world
        .until("both agents are heard", |pair| pair.sides.iter().all(|(_, side)| side.main && side.report.is_some()))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let pollers: Vec<_> = [Side::A, Side::B, Side::A, Side::B]
        .into_iter()
        .map(|side| tokio::spawn(poll(world.answers, side, Arc::clone(&stop))))
        .collect();
    // An order is answered with the first answer of the new side, or a second later.
    let (vip, stopped) = (world.place.vip, Arc::clone(&stop));
    let client = tokio::spawn(async move {
        while !stopped.load(SeqCst) {
            ask(1, vip, "/").await;
        }
    });
    let mut handovers = Vec::new();
    for number in 0..HANDOVERS {
        let to = if number % 2 == 0 { Side::A } else { Side::B };
        let SwitchAnswer::Ended(handover) = world.order(to, "switches").await else { panic!("handover {number}") };
        assert_eq!(handover.record.outcome, Some(Outcome::Completed), "{handover:?}");
        handovers.push(*handover);
    }
    stop.store(true, SeqCst);
    client.await.unwrap();
    let (mut claims, mut asked) = (Vec::new(), 0);
    for poller in pollers {
        let (of, count) = poller.await.unwrap();
        claims.extend(of);
        asked += count;
    }
    assert!(claims.len() > HANDOVERS, "{} of {asked} answers are claims", claims.len());
    // A side may be called active from its own commit until the hold of the next handover is carried out, which is
    // before that one's commit.
    let commits: Vec<(At, Side)> = handovers.iter().map(|h| (began(h, Phase::Commit), h.record.to)).collect();
    for (from, to, side) in &claims {
        let served = commits.iter().enumerate().any(|(number, (commit, of))| {
            let until = commits.get(number + 1).map_or(At(u64::MAX), |(next, _)| *next);
            of == side && to >= commit && *from <= until
        });
        assert!(served, "{side} was called active between {from} and {to}: {commits:?}");
    }
    world.edge.stop().await;
}

/// Asks again and again on one connection; when it was told `ACTIVE`, and how often it asked.
async fn poll(at: SocketAddr, side: Side, stop: Arc<AtomicBool>) -> (Vec<(At, At, Side)>, usize) {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (mut claims, mut asked) = (Vec::new(), 0);
    let request = format!("GET /who?side={side} HTTP/1.1\r\nhost: edge\r\n\r\n");
    while !stop.load(SeqCst) {
        let from = clock::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nACTIVE") && !answer.ends_with(b"\r\n\r\nSTANDBY") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        if answer.ends_with(b"ACTIVE") {
            claims.push((from, clock::now(), side));
        }
        asked += 1;
    }
    (claims, asked)
}
