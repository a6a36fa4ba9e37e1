//! Plays a schedule: builds the site, breaks it as the schedule says, heals it, and collects what everybody has written.

use crate::judge::Evidence;
use crate::schedule::{Host, Kind, Schedule};
use crate::site::{Site, broken};
use crate::stored;
use crate::watch::Watch;
use lockstep_demo::{activity, app, now};
use lockstep_edge::admin::api::{PairStatus, SwitchAnswer};
use lockstep_pair::RouteKind;
use lockstep_pair::record::Outcome;
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use lockstep_tests::configuration::{self, PAIR, vip};
use lockstep_tests::stream::Stream;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one look at the schedule to the next.
const STEP: Duration = Duration::from_millis(5);
/// How long a site that is whole again may take until one side serves and the other could.
pub const LIVENESS: Duration = Duration::from_secs(40);
/// So many good answers in a row are service.
const GOOD: usize = 20;

/// The policy's lines, and the times of a handover: short ones, so that a play is longer than they are.
const POLICY: &str = r#"first_server_auto_restart_as_active = false
[pair.hold]
max_wait = "3s"
retry_after = "1s"
[pair.handover]
prepare = "2s"
drain = "500ms"
fence = "2s"
activate = "4s"
settle = "2s"
"#;

/// What is changed in the configurations before a play: mutations, which the judge must notice.
pub type Change = fn(String) -> String;

/// Plays a schedule in a world's directory.
pub fn play(dir: &Path, schedule: &Schedule, edge: Change, agent: Change) -> Evidence {
    let mut site = Site::new(bed(dir, edge, agent), schedule);
    site.note("the site is started");
    site.bed.start();
    let watch = Watch::begin(dir);
    let client = Stream::start_to(dir, "client", vip(), &["--rate", "100", "--post-every", "4", "--timeout", "15s"]);
    let began = now();
    site.note("the schedule begins");
    follow(&mut site, schedule);
    site.note("all is healed");
    let alive = wait_alive(&mut site, &client);
    let mut obeyed = false;
    if alive.is_ok() {
        site.note("the site is well");
        obeyed = obeys(&mut site);
    }
    let seen = client.end();
    site.note("the client has ended");
    Evidence { began, alive, obeyed, exchanges: seen.exchanges().to_vec(), ..collect(dir, site, &watch) }
}

fn bed(dir: &Path, edge: Change, agent: Change) -> Bed {
    let bed = Bed::with_policy(dir, POLICY);
    let text = std::fs::read_to_string(bed.edge_file()).unwrap();
    bed.configure_edge(&edge(text));
    for side in Side::BOTH {
        let more = |text: String, program: &str, option: &str, file: &Path| {
            let words = format!("\"simulate\", \"{program}\", \"--side\", \"{side}\"");
            assert!(text.contains(&words), "the agent's configuration starts no {program}: {text}");
            text.replace(&words, &format!("{words}, \"{option}\", {file:?}"))
        };
        let text = more(configuration::agent(dir, side, PAIR), "app", "--done", &dir.join(done(side)));
        let text = more(text, "cti", "--broken", &broken(dir, side));
        bed.configure_agent(side, &agent(text));
    }
    bed
}

/// The name of the log of all requests that a side's application has done.
fn done(side: Side) -> String {
    format!("app-{side}.done")
}

/// The timeline: each fault's beginning and end, each order, at its time.
fn follow(site: &mut Site, schedule: &Schedule) {
    enum Event {
        Begin(usize),
        End(usize),
        Order(Side),
    }
    let faults = schedule.faults.iter().enumerate();
    let mut events: Vec<_> = faults
        .flat_map(|(n, fault)| [(fault.at, Event::Begin(n)), (fault.at + fault.lasts, Event::End(n))])
        .chain(schedule.orders.iter().map(|(at, to)| (*at, Event::Order(*to))))
        .collect();
    events.sort_by_key(|(at, _)| *at);
    let begin = Instant::now();
    for (at, event) in events {
        while begin.elapsed() < at {
            site.tend();
            std::thread::sleep(STEP.min(at.saturating_sub(begin.elapsed())));
        }
        match event {
            Event::Begin(n) => site.begin(n, &schedule.faults[n]),
            Event::End(n) => site.end(n, &schedule.faults[n]),
            Event::Order(to) => {
                site.note(format!("an order: to {to}"));
                // Nobody waits for its end here: an edge that is killed never says it.
                drop(site.bed.order_switch(to));
            }
        }
    }
}

/// Liveness: one side serves, the other could, and answers are good.
fn wait_alive(site: &mut Site, client: &Stream) -> Result<Duration, String> {
    let begin = Instant::now();
    let healed = now();
    let mut last = None;
    while begin.elapsed() < LIVENESS {
        site.tend();
        let pair = site.bed.pair();
        let serving = pair.as_ref().and_then(well);
        if serving.is_some() && good_in_a_row(client, healed) {
            return Ok(begin.elapsed());
        }
        last = pair;
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("liveness: {LIVENESS:?} after the last fault was over the pair is not well: {last:#?}"))
}

fn good_in_a_row(client: &Stream, since: u64) -> bool {
    let exchanges = client.exchanges();
    let latest = exchanges.iter().rev().take(GOOD).filter(|exchange| exchange.is_good() && exchange.sent > since);
    latest.count() == GOOD
}

/// The side that serves while the other could, as the edge says.
fn well(pair: &PairStatus) -> Option<Side> {
    let serving = pair.active.filter(|_| pair.handover.is_none() && !pair.recovering)?.side;
    let is_well = |side: Side| {
        let status = &pair.sides[side];
        let says_so = status.report.as_ref().is_some_and(|report| report.fit && report.serving == (side == serving));
        status.main && status.auxiliary && says_so
    };
    (pair.route.kind == RouteKind::Serve(serving) && Side::BOTH.into_iter().all(is_well)).then_some(serving)
}

/// A site that is well obeys: the best proof that edge and agents agree. A machine that stands still may spoil one attempt.
fn obeys(site: &mut Site) -> bool {
    for _ in 0..3 {
        let Some(serving) = site.bed.pair().as_ref().and_then(well) else { continue };
        let answer = site.bed.order_switch(serving.other()).join().unwrap();
        site.note(match &answer {
            Ok(SwitchAnswer::Ended(handover)) => {
                format!("the last order has ended: {:?} {}", handover.record.outcome, handover.record.why)
            }
            other => format!("the last order: {other:?}"),
        });
        if matches!(answer, Ok(SwitchAnswer::Ended(handover)) if handover.record.outcome == Some(Outcome::Completed)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    false
}

/// Waits until all is at rest, and reads what everybody has written.
fn collect(dir: &Path, mut site: Site, watch: &Watch) -> Evidence {
    let at_rest = wait_at_rest(&mut site);
    let files = |name: fn(Side) -> String| [Side::A, Side::B].map(|side| dir.join(name(side)));
    Evidence {
        began: 0,
        alive: Ok(Duration::ZERO),
        obeyed: true,
        exchanges: Vec::new(),
        at_rest,
        absences: site.absences().to_vec(),
        given: site.wire.given(),
        ctis: files(activity::file_name).map(|file| activity::read(&file).unwrap()),
        misplaced: files(app::file_name).map(|file| app::misplaced(&file).unwrap()),
        done: files(done).map(|file| app::misplaced(&file).unwrap()),
        watched: watch.end(),
        store: stored::edge(dir, PAIR),
        nodes: [Side::A, Side::B].map(|side| stored::node(dir, side)),
        deeds: site.deeds,
    }
}

/// Nothing is under way any more: only then must all stores agree.
fn wait_at_rest(site: &mut Site) -> Option<Side> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        site.tend();
        if let Some(serving) = site.bed.pair().as_ref().and_then(well) {
            return Some(serving);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// Whether the edge's disk was ever full: then parts of its journal may be missing.
pub fn fills_the_edges_disk(schedule: &Schedule) -> bool {
    schedule.faults.iter().any(|fault| fault.kind == Kind::Full(Host::Edge))
}
