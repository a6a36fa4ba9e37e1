//! What clients' requests meet at a side reaches the policy at once, and has the side probed: by the times of real sockets.

use crate::driving::told;
use crate::node::{self, Running};
use crate::place::{Edge, PATIENT, Place};
use lockstep_edge::Side;
use lockstep_edge::admin::api::{SwitchAnswer, SwitchOrder};
use lockstep_pair::RouteKind;
use lockstep_policy::{At, Sides};
use lockstep_wire::clock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Trouble is to be known within this. It is asked of the quickest of some rounds, so that a busy machine, which lets this process
/// or the edge's threads wait, fails nobody; what waits for a timer of 100 ms in each round fails.
const WITHIN: Duration = Duration::from_millis(50);
const ROUNDS: usize = 8;

/// Answers are slow from then on, and the slow ones here take twice as long.
const SLOW: Duration = Duration::from_millis(60);

/// What side A's server has done: when it met a request for this path with trouble, when it was probed.
#[derive(Default)]
struct Seen {
    trouble: Option<At>,
    probed: Option<At>,
}

type Notes = Arc<Mutex<Seen>>;

/// Answers the requests of clients as their path says, and probes well.
async fn serve(listener: TcpListener, notes: Notes) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let notes = Arc::clone(&notes);
        tokio::spawn(async move {
            let mut head = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut head).await {
                let path = String::from_utf8_lossy(&head[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
                let answer: &[u8] = match path.as_str() {
                    "/probe" => {
                        notes.lock().unwrap().probed.get_or_insert(clock::now());
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                    }
                    "/reset" => {
                        notes.lock().unwrap().trouble = Some(clock::now());
                        return;
                    }
                    "/ill" => {
                        notes.lock().unwrap().trouble = Some(clock::now());
                        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
                    }
                    "/slow" => {
                        sleep(SLOW * 2).await;
                        notes.lock().unwrap().trouble = Some(clock::now());
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                    }
                    _ => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// An edge whose side A is active, and has a server of the test's own.
struct World {
    place: Place,
    edge: Edge,
    _nodes: Sides<Running>,
    notes: Notes,
    serving: JoinHandle<()>,
}

impl World {
    async fn new() -> World {
        let nodes = node::both("phones").await;
        let listener = TcpListener::bind(crate::place::free()).await.unwrap();
        let servers = Sides { a: listener.local_addr().unwrap(), b: nodes.b.server };
        let agents = Sides::from_fn(|side| nodes[side].agent);
        let policy = format!("plugin = \"{}\"\n[pair.detect]\nslow = \"{}ms\"", told().display(), SLOW.as_millis());
        let place = Place::with(&policy, servers, agents);
        place.trust(&told());
        let notes = Notes::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&notes)));
        let edge = place.start().await;
        let world = World { place, edge, _nodes: nodes, notes, serving };
        let serves = |route: RouteKind| route == RouteKind::Serve(Side::A);
        let deadline = Instant::now() + PATIENT;
        while !serves(world.place.client().status().await.unwrap().pairs[0].route.kind) {
            let _ = world.order("eva").await;
            assert!(Instant::now() < deadline, "A never serves");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(world.order("watch").await, SwitchAnswer::Refused(why) if why == "watching"));
        world
    }

    async fn order(&self, by: &str) -> SwitchAnswer {
        let order = SwitchOrder { to: Side::A, confirmed: true, unsafe_because: None, by: by.to_owned() };
        timeout(PATIENT, self.place.client().switch("phones", &order)).await.expect("an order ends").unwrap()
    }

    /// Asks through the VIP, on a connection of its own.
    async fn ask(&self, path: &str) {
        let mut stream = TcpStream::connect(self.place.vip).await.unwrap();
        let request = format!("POST {path} HTTP/1.1\r\nhost: vip\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let request = if path == "/slow" { request.replace("POST", "GET") } else { request };
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENT, stream.read_to_end(&mut answer)).await.unwrap();
    }

    /// The first observation of a kind that the journal has from a time on.
    async fn observed(&self, since: At, kind: &str) -> At {
        let deadline = Instant::now() + PATIENT;
        loop {
            let journal = self.place.client().journal("phones", 0, 10_000).await.unwrap();
            let counts = |what: &serde_json::Value| what.pointer(&format!("/traffic/{kind}")).and_then(|n| n.as_u64());
            let mut told = journal.entries.iter().filter(|entry| counts(&entry.what).is_some_and(|count| count > 0));
            let since_ms = since.0 as f64 / 1e6;
            if let Some(entry) = told.find(|entry| entry.at_ms >= since_ms) {
                return At((entry.at_ms * 1e6) as u64);
            }
            assert!(Instant::now() < deadline, "no observation of {kind} since {since_ms}: {journal:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn probed(&self) -> At {
        let deadline = Instant::now() + PATIENT;
        loop {
            if let Some(at) = self.notes.lock().unwrap().probed {
                return at;
            }
            assert!(Instant::now() < deadline, "no probe");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_observed_within_50_ms_and_has_the_side_probed() {
    let world = World::new().await;
    for (path, kind) in [("/ill", "server_errors"), ("/reset", "resets"), ("/slow", "slow")] {
        let mut quickest = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            // No probe by what a side answers comes sooner after the last one.
            sleep(Duration::from_millis(300)).await;
            *world.notes.lock().unwrap() = Seen::default();
            world.ask(path).await;
            let trouble = world.notes.lock().unwrap().trouble.expect("the server was asked");
            let (observed, probed) = (world.observed(trouble, kind).await, world.probed().await);
            quickest = [quickest[0].min(observed.since(trouble)), quickest[1].min(probed.since(trouble))];
        }
        assert!(quickest.iter().all(|time| *time <= WITHIN), "{kind}: observed and probed after {quickest:?} at best");
    }
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_observed_within_50_ms() {
    let World { place, edge, _nodes, notes, serving } = World::new().await;
    serving.abort();
    while !serving.is_finished() {
        sleep(Duration::from_millis(1)).await;
    }
    let world = World { place, edge, _nodes, notes, serving };
    let mut quickest = Duration::MAX;
    for _ in 0..ROUNDS {
        let asked = clock::now();
        world.ask("/any").await;
        quickest = quickest.min(world.observed(asked, "refused").await.since(asked));
    }
    assert!(quickest <= WITHIN, "observed after {quickest:?} at best");
    world.edge.stop().await;
}
