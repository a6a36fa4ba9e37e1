//! Plays a schedule: builds the site, breaks it as the schedule says, heals it, and collects what everybody has written.

use crate::judge::{Alive, Evidence};
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
use lockstep_tests::witness::Witness;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one look at the schedule to the next.
const STEP: Duration = Duration::from_millis(5);
/// How long a site that is whole again may take until one side serves and the other could. Only time counts in which the machine keeps
/// time itself: leases of 600 ms are lost, rightly, on one that stands still again and again.
pub const LIVENESS: Duration = Duration::from_secs(20);
/// A machine keeps time while who wants to run does so within this time: the margin of the leases.
const CALM: Duration = Duration::from_millis(20);
/// So long is waited at most for that much time of a machine that keeps time.
const PATIENCE: Duration = Duration::from_secs(120);
/// What has been held, or given to a side, is answered within this time.
const ANSWERED: Duration = Duration::from_secs(70);
/// From one look at the pair to the next.
const LOOK: Duration = Duration::from_millis(200);
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

/// What is not as it should be on the site, which the judge must notice.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// Changes each agent's configuration.
    pub agent: fn(&str) -> String,
    /// In each agent's environment.
    pub environment: &'static [(&'static str, &'static str)],
}

/// Nothing is changed.
pub const NONE: Mutation = Mutation { agent: str::to_owned, environment: &[] };

/// Plays a schedule in a world's directory.
pub fn play(dir: &Path, schedule: &Schedule, mutation: Mutation) -> Evidence {
    let mut site = Site::new(bed(dir, mutation), schedule);
    site.note("the site is started");
    start(&mut site);
    let (watch, witness) = (Watch::begin(dir), Witness::begin());
    let mut client =
        Stream::start_to(dir, "client", vip(), &["--rate", "100", "--post-every", "4", "--timeout", "60s"]);
    let began = now();
    site.note("the schedule begins");
    follow(&mut site, schedule);
    site.note("all is healed");
    let alive = wait_alive(&mut site, &client, &witness);
    assert!(client.quiet_down(ANSWERED), "I6: {ANSWERED:?} after its last request the client still waits for answers");
    let exchanges = client.exchanges();
    site.note("the client has ended");
    let stood_still = witness.longest_standstill();
    Evidence { began, alive, exchanges, stood_still, ..collect(dir, site, &watch) }
}

/// Starts everybody, and waits until side A serves and side B could: for longer than other stories do, for several are told at once.
fn start(site: &mut Site) {
    site.bed.start_agents();
    site.bed.start_edge();
    let begin = Instant::now();
    while site.bed.pair().as_ref().and_then(well) != Some(Side::A) {
        assert!(begin.elapsed() < PATIENCE, "the site does not come up: {:#?}", site.bed.pair());
        std::thread::sleep(STEP);
    }
}

fn bed(dir: &Path, mutation: Mutation) -> Bed {
    let mut bed = Bed::with_policy(dir, POLICY);
    for side in Side::BOTH {
        let more = |text: String, program: &str, option: &str, file: &Path| {
            let words = format!("\"simulate\", \"{program}\", \"--side\", \"{side}\"");
            assert!(text.contains(&words), "the agent's configuration starts no {program}: {text}");
            text.replace(&words, &format!("{words}, \"{option}\", {file:?}"))
        };
        let text = more(configuration::agent(dir, side, PAIR), "app", "--done", &dir.join(done(side)));
        let text = more(text, "cti", "--broken", &broken(dir, side));
        bed.configure_agent(side, &(mutation.agent)(&text));
        let environment = mutation.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        bed.set_agent_environment(side, environment.collect());
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

/// Liveness: one side serves, the other could, answers are good, and an order is obeyed, which is the best proof that edge and agents agree.
fn wait_alive(site: &mut Site, client: &Stream, witness: &Witness) -> Alive {
    let (begin, healed) = (Instant::now(), now());
    let (mut kept_time, mut last) = (Duration::ZERO, String::new());
    while kept_time < LIVENESS && begin.elapsed() < PATIENCE {
        let look = Instant::now();
        site.tend();
        let pair = site.bed.pair();
        match pair.as_ref().and_then(well).filter(|_| good_in_a_row(client, healed)) {
            Some(serving) => {
                let after = begin.elapsed();
                site.note(format!("the site is well, and {serving} serves"));
                match obeys(site, serving.other()) {
                    Ok(()) => return Alive::After(after),
                    Err(why) => last = why,
                }
                site.note(format!("the last order came to nothing: {last}"));
            }
            None => last = format!("{pair:#?}"),
        }
        std::thread::sleep(LOOK);
        if witness.latest_standstill() < CALM {
            kept_time += look.elapsed();
        }
    }
    if kept_time < LIVENESS {
        return Alive::Unknown(format!("in {:.0?} the machine kept time for {kept_time:.0?} only", begin.elapsed()));
    }
    Alive::Never(format!(
        "{kept_time:.1?} after the last fault was over the pair is not well, or obeys no order: {last}"
    ))
}

fn obeys(site: &Site, to: Side) -> Result<(), String> {
    match site.bed.order_switch(to).join().unwrap() {
        Ok(SwitchAnswer::Ended(handover)) if handover.record.outcome == Some(Outcome::Completed) => Ok(()),
        Ok(SwitchAnswer::Ended(handover)) => Err(handover.record.why),
        other => Err(format!("{other:?}")),
    }
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

/// Waits until all is at rest, and reads what everybody has written.
fn collect(dir: &Path, mut site: Site, watch: &Watch) -> Evidence {
    let at_rest = wait_at_rest(&mut site);
    let files = |name: fn(Side) -> String| Side::BOTH.map(|side| dir.join(name(side)));
    Evidence {
        began: 0,
        stood_still: Duration::ZERO,
        alive: Alive::After(Duration::ZERO),
        exchanges: Vec::new(),
        at_rest,
        absences: site.absences().to_vec(),
        woken: site.woken().to_vec(),
        kills: site.kills().to_vec(),
        given: site.wire.given(),
        ctis: files(activity::file_name).map(|file| activity::read(&file).unwrap()),
        misplaced: files(app::file_name).map(|file| app::misplaced(&file).unwrap()),
        done: files(done).map(|file| app::misplaced(&file).unwrap()),
        watched: watch.end(),
        store: stored::edge(dir, PAIR),
        nodes: Side::BOTH.map(|side| stored::node(dir, side)),
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
