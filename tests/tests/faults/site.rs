//! The site on which a schedule is played: the bed with a switch in its cables, small disks, and wall clocks that can be set.

use crate::schedule::{Fault, Host, Kind, Schedule, Target};
use crate::wire::{self, Wire};
use lockstep_demo::now;
use lockstep_demo::play::processes::{Process, of_node, signal_all};
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The disk of an edge's state, and of an agent's.
const DISK: [&str; 3] = ["size=24m", "size=512k", "size=512k"];
/// A supervisor starts again what has ended by itself after so long, in nanoseconds.
const SUPERVISED: u64 = 200_000_000;

/// One thing that was done, and when.
#[derive(Clone, Debug)]
pub struct Deed {
    /// On `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    /// What.
    pub what: String,
}

/// From when to when the edge did not run, on `CLOCK_BOOTTIME`, in nanoseconds.
pub type Absence = (u64, u64);

/// The site.
#[derive(Debug)]
pub struct Site {
    /// The bed.
    pub bed: Bed,
    /// The switch between the hosts.
    pub wire: Wire,
    /// What was done.
    pub deeds: Vec<Deed>,
    dir: PathBuf,
    /// Hosts whose edge or agent must stay dead, by the number of the fault.
    kept_dead: Vec<(usize, Host)>,
    /// Since when nobody runs there; none while somebody does.
    ended: [Option<u64>; 3],
    absences: Vec<Absence>,
    stopped: Option<u64>,
    woken: Vec<(u64, u64)>,
    kills: Vec<(Side, u64)>,
    /// Ambushes under way: the fault's number, the side, and the CTI that does not count.
    ambushes: Vec<(usize, Side, Option<Process>)>,
    /// Links that flap: the fault's number, the host, down and up, whether it is down, and the next change.
    flaps: Vec<Flap>,
}

#[derive(Debug)]
struct Flap {
    number: usize,
    host: Host,
    times: [Duration; 2],
    is_up: bool,
    next: u64,
}

impl Site {
    /// Lays everything out around a bed on which nothing runs yet.
    pub fn new(mut bed: Bed, schedule: &Schedule) -> Site {
        let dir = bed.dir().to_owned();
        for (host, size) in Host::ALL.into_iter().zip(DISK) {
            let state = dir.join(host.name());
            std::fs::create_dir_all(&state).unwrap();
            mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some(size)).unwrap();
        }
        if schedule.sets_clocks() {
            // The library's own shared memory must not meet that of another world, whose processes have the same numbers.
            mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            bed.set_edge_environment(clock_environment(&dir, Host::Edge));
            for side in Side::BOTH {
                bed.set_agent_environment(side, clock_environment(&dir, Host::Node(side)));
            }
        }
        let wire = Wire::lay(&bed, schedule.seed);
        Site {
            bed,
            wire,
            deeds: Vec::new(),
            dir,
            kept_dead: Vec::new(),
            ended: [None; 3],
            absences: Vec::new(),
            stopped: None,
            woken: Vec::new(),
            kills: Vec::new(),
            ambushes: Vec::new(),
            flaps: Vec::new(),
        }
    }

    /// Notes what was done.
    pub fn note(&mut self, what: impl Into<String>) {
        self.deeds.push(Deed { at: now(), what: what.into() });
    }

    /// When no edge ran.
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// When the edge was stopped, and woken.
    pub fn woken(&self) -> &[(u64, u64)] {
        &self.woken
    }

    /// When a side's agent or its guards were killed.
    pub fn kills(&self) -> &[(Side, u64)] {
        &self.kills
    }

    /// A fault begins.
    pub fn begin(&mut self, number: usize, fault: &Fault) {
        self.note(format!("begins: {}", fault.kind));
        match fault.kind {
            Kind::Weather(path, weather) => self.wire.begin(number, path, weather),
            Kind::Unplug(host) => self.link(host, false),
            Kind::Flap(host, down, up) => {
                self.flaps.push(Flap { number, host, times: [down, up], is_up: true, next: now() });
            }
            Kind::Stop(target) => self.stop(target),
            Kind::Kill(target) => self.kill(number, target),
            Kind::Full(host) => fill(&self.dir.join(host.name())),
            Kind::Clock(host, days) => set_clock(&self.dir, host, days),
            Kind::Broken(side) => std::fs::write(broken(&self.dir, side), "").unwrap(),
            Kind::Ambush(side) => {
                let cti = self.of(side, &["simulate", "cti"]).pop();
                self.ambushes.push((number, side, cti));
            }
        }
    }

    /// It is over.
    pub fn end(&mut self, number: usize, fault: &Fault) {
        self.note(format!("is over: {}", fault.kind));
        match fault.kind {
            Kind::Weather(..) => self.wire.end(number),
            Kind::Unplug(host) => self.link(host, true),
            Kind::Flap(host, ..) => {
                self.flaps.retain(|flap| flap.number != number);
                self.link(host, true);
            }
            Kind::Stop(target) => self.resume(target),
            Kind::Kill(_) => self.revive(number),
            Kind::Full(host) => free(&self.dir.join(host.name())),
            Kind::Clock(host, _) => set_clock(&self.dir, host, 0),
            Kind::Broken(side) => drop(std::fs::remove_file(broken(&self.dir, side))),
            Kind::Ambush(_) => {
                self.ambushes.retain(|(of, ..)| *of != number);
                // An ambush that was sprung has killed under this number.
                self.revive(number);
            }
        }
    }

    /// What goes on beside the schedule: links flap, ambushes are sprung, supervisors start what has ended.
    pub fn tend(&mut self) {
        self.flap();
        self.spring();
        for host in Host::ALL {
            if !self.has_ended(host) {
                continue;
            }
            let since = *self.ended[host.index()].get_or_insert_with(now);
            let kept_dead = self.kept_dead.iter().any(|(_, dead)| *dead == host);
            if !kept_dead && now() - since > SUPERVISED {
                self.start(host);
            }
        }
    }

    fn flap(&mut self) {
        let mut changes = Vec::new();
        for flap in self.flaps.iter_mut().filter(|flap| flap.next <= now()) {
            flap.is_up = !flap.is_up;
            flap.next = now() + u64::try_from(flap.times[usize::from(flap.is_up)].as_nanos()).unwrap_or(0);
            changes.push((flap.host, flap.is_up));
        }
        changes.into_iter().for_each(|(host, is_up)| self.link(host, is_up));
    }

    fn spring(&mut self) {
        for (number, side, before) in std::mem::take(&mut self.ambushes) {
            match self.of(side, &["simulate", "cti"]).pop() {
                Some(begun) if Some(&begun) != before.as_ref() => {
                    self.note(format!("the ambush on the agent of {side} is sprung"));
                    self.kill(number, Target::Agent(side));
                }
                _ => self.ambushes.push((number, side, before)),
            }
        }
    }

    fn has_ended(&mut self, host: Host) -> bool {
        match host {
            Host::Edge => self.bed.edge_has_ended(),
            Host::Node(side) => self.bed.agent_has_ended(side),
        }
    }

    fn start(&mut self, host: Host) {
        self.note(format!("{} is started again", host.name()));
        match host {
            Host::Edge => self.bed.start_edge(),
            Host::Node(side) => self.bed.start_agent(side),
        }
        let ended = self.ended[host.index()].take();
        if let (Host::Edge, Some(ended)) = (host, ended) {
            self.absences.push((ended, now()));
        }
    }

    fn of(&self, side: Side, verb: &[&str]) -> Vec<Process> {
        of_node(&self.dir, side).unwrap().into_iter().filter(|process| process.runs(verb)).collect()
    }

    fn processes(&self, target: Target) -> Vec<Process> {
        match target {
            Target::Edge => Vec::new(),
            Target::Agent(side) => self.of(side, &["agent"]),
            Target::App(side) => self.of(side, &["simulate", "app"]),
            Target::Cti(side) => self.of(side, &["simulate", "cti"]),
            Target::Guards(side) => self.of(side, &["guard"]),
            Target::Node(side) => of_node(&self.dir, side).unwrap(),
        }
    }

    fn stop(&mut self, target: Target) {
        match target {
            Target::Edge if self.bed.edge_has_ended() => self.note("there is no edge to be stopped"),
            Target::Edge => {
                self.stopped.get_or_insert_with(now);
                self.bed.signal_edge(Signal::SIGSTOP);
            }
            Target::Node(side) => self.bed.freeze(side),
            other => signal_all(&self.processes(other), Signal::SIGSTOP),
        }
    }

    fn resume(&mut self, target: Target) {
        match target {
            Target::Edge if self.bed.edge_has_ended() => {}
            Target::Edge => {
                self.woken.extend(self.stopped.take().map(|stopped| (stopped, now())));
                self.bed.signal_edge(Signal::SIGCONT);
            }
            Target::Node(side) => self.bed.thaw(side),
            other => signal_all(&self.processes(other), Signal::SIGCONT),
        }
    }

    fn kill(&mut self, number: usize, target: Target) {
        if let Target::Agent(side) | Target::Guards(side) | Target::Node(side) = target {
            self.kills.push((side, now()));
        }
        match target {
            Target::Edge => {
                self.kept_dead.push((number, Host::Edge));
                if !self.bed.edge_has_ended() {
                    self.ended[0] = Some(now());
                    self.bed.kill_edge();
                }
            }
            Target::Agent(side) | Target::Node(side) => {
                self.kept_dead.push((number, Host::Node(side)));
                signal_all(&self.processes(target), Signal::SIGKILL);
                if !self.bed.agent_has_ended(side) {
                    self.bed.kill_agent(side);
                }
                self.ended[Host::Node(side).index()] = Some(now());
            }
            other => signal_all(&self.processes(other), Signal::SIGKILL),
        }
    }

    /// What that fault has kept dead is started, unless another one keeps it dead too.
    fn revive(&mut self, number: usize) {
        let was_dead: Vec<_> = self.kept_dead.extract_if(.., |(of, _)| *of == number).map(|(_, host)| host).collect();
        for host in was_dead {
            if !self.kept_dead.iter().any(|(_, dead)| *dead == host) && self.has_ended(host) {
                self.start(host);
            }
        }
    }

    /// Takes a host's link up or down.
    fn link(&self, host: Host, up: bool) {
        match (host, up) {
            (Host::Edge, true) => wire::run("ip link set edge-port up"),
            (Host::Edge, false) => wire::run("ip link set edge-port down"),
            (Host::Node(side), true) => self.bed.plug(side),
            (Host::Node(side), false) => self.bed.unplug(side),
        }
    }
}

/// While this file exists, a side's CTI service fails to start.
pub fn broken(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("broken-{side}"))
}

fn ballast(state: &Path) -> PathBuf {
    state.join("ballast")
}

/// Fills a disk to its last byte.
fn fill(state: &Path) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(ballast(state)).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

fn free(state: &Path) {
    let _ = std::fs::remove_file(ballast(state));
}

fn clock_file(dir: &Path, host: Host) -> PathBuf {
    dir.join(format!("clock-{}", host.name()))
}

/// A wall clock jumps when its file is written anew; nobody finds the file half written.
fn set_clock(dir: &Path, host: Host, days: i32) {
    let (file, beside) = (clock_file(dir, host), dir.join("clock.new"));
    std::fs::write(&beside, format!("{days:+}d\n")).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// What makes the wall clock of a process one that can be set, and leaves all its other clocks alone.
pub fn clock_environment(dir: &Path, host: Host) -> Vec<(String, String)> {
    set_clock(dir, host, 0);
    let pairs = [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock_file(dir, host).display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Debian's `libfaketime`, of whichever architecture.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|file| file.exists()).expect("missing: faketime. As root: apt-get install faketime")
}
