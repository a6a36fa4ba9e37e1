//! What measurements do with a pair: its profile, its client, and what became of the active role.

use lockstep_demo::play::processes::DEMO;
use lockstep_demo::tally::{self, Exchange};
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use lockstep_tests::configuration::{self, PAIR, vip};
use lockstep_tests::network::Place;
use lockstep_tests::processes::Life;
use nix::sys::signal::Signal;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The client's own machine.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 50));

/// A pair with this lease profile, and more lines in `[pair.lease]`, on which A serves and B could.
pub fn start(dir: &Path, profile: &str, lease: &str) -> Bed {
    start_with(dir, profile, lease, |_| {})
}

/// The same, with something done to the bed before anything is started on it.
pub fn start_with(dir: &Path, profile: &str, lease: &str, prepare: impl FnOnce(&mut Bed)) -> Bed {
    // T2 would bring the role back to A by itself: no movement is asked for here.
    let policy = "first_server_auto_restart_as_active = false";
    let mut bed = Bed::with_policy(dir, policy);
    let given = "profile = \"lan\"";
    let text = configuration::edge(dir, policy);
    assert!(text.contains(given), "the bed's profile is put in the place of another");
    bed.configure_edge(&text.replace(given, &format!("profile = \"{profile}\"\n{lease}\n")));
    prepare(&mut bed);
    bed.start();
    bed
}

/// A client on a machine of its own, at so many requests a second.
pub struct Client {
    pub place: Place,
    life: Life,
    log: PathBuf,
}

impl Client {
    pub fn start(dir: &Path, rate: u32) -> Client {
        Client::start_to(dir, &format!("http://{}/work", vip()), rate, Place::lay("client", CLIENT))
    }

    pub fn start_to(dir: &Path, url: &str, rate: u32, place: Place) -> Client {
        let log = dir.join("client.jsonl");
        let mut command = place.command(lockstep_tests::lockstep());
        command.args(["simulate", "client", "--url", url, "--post-every", "10", "--timeout", "15s"]);
        command.args(["--rate", &rate.to_string(), "--log"]).arg(&log).env(DEMO, dir);
        let life = Life::begin(command, &dir.join("client.log"), None);
        Client { place, life, log }
    }

    pub fn exchanges(&self) -> Vec<Exchange> {
        if self.log.exists() { tally::read(&self.log).unwrap() } else { Vec::new() }
    }

    /// Ends it, and waits for what is under way.
    pub fn end(self) -> Vec<Exchange> {
        self.life.signal(Signal::SIGTERM);
        let status = self.life.wait("the client");
        assert!(status.success(), "the client failed: {status}");
        tally::read(&self.log).unwrap()
    }
}

/// The highest epoch that was used.
pub fn epoch(bed: &Bed) -> Option<u64> {
    bed.pair().map(|pair| pair.epoch.0)
}

/// Why the active role moved, or was to move, in each epoch after the first.
pub fn handovers(bed: &Bed, after: u64) -> Vec<String> {
    let last = within(Duration::from_secs(20), || epoch(bed)).unwrap_or(after);
    let reason = |epoch| match bed.ask(async |operator| operator.why(PAIR, Some(epoch)).await) {
        Ok(handover) => {
            let record = handover.record;
            format!("epoch {epoch} to {} ({:?}) at {}: {}", record.to, record.outcome, handover.when, record.reason)
        }
        Err(error) => format!("epoch {epoch}: no record: {error}"),
    };
    (after + 1..=last).map(reason).collect()
}

/// Looks until there is something, or the time is over.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begin.elapsed() >= time {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asks for a real-time priority for this program, so that what it times is not late; what it starts has none by that.
pub fn serve_me_first() {
    let words = ["--all-tasks", "--rr", "--reset-on-fork", "--pid", "20", &std::process::id().to_string()];
    let served = std::process::Command::new("chrt").args(words).status().is_ok_and(|status| status.success());
    if !served {
        println!("no real-time priority is given here: what is timed may be late");
    }
}

/// Takes from edge and agents what real-time priority they were given. Nothing is said of it in their logs.
pub fn take_priority(bed: &Bed) {
    for pid in [bed.edge_pid(), bed.agent_pid(Side::A), bed.agent_pid(Side::B)] {
        let words = ["--all-tasks", "--other", "--pid", "0", &pid.to_string()];
        let taken = std::process::Command::new("chrt").args(words).status().is_ok_and(|status| status.success());
        assert!(taken, "chrt takes the priority of process {pid}");
    }
}
