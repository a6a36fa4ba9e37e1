//! A site with a pair of Finesse servers: publisher and subscriber, each with its Notification Service, two CTI servers of which
//! one is active, an edge, and desktops with addresses of their own.
//!
//! The vendor's intervals are scaled down by the policy's own parameters, to the least that they may be. Timeouts are not: no story
//! has a server that is silent, and the machine may be busy.

use super::{certificates, prosody};
use lockstep_demo::finesse::{self, Kind};
use lockstep_demo::tally::Exchange;
use lockstep_edge::admin::api::{PairStatus, SessionsStatus};
use lockstep_policy::{Side, Sides};
use lockstep_tests::bed::Bed;
use lockstep_tests::configuration::{ADMIN, vip};
use lockstep_tests::network::{Place, address};
use lockstep_tests::processes::{Life, until};
use lockstep_tests::stream::Stream;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The pair's name.
pub const PAIR: &str = "finesse";
/// How many desktops there are in most stories.
pub const DESKTOPS: u8 = 8;
/// Over how long the sessions of all of them are moved.
pub const WINDOW: Duration = Duration::from_secs(2);
/// The notice before an operator's move.
pub const WARNING: Duration = Duration::from_secs(1);
/// From one SystemInfo poll to the next.
pub const POLL: Duration = Duration::from_secs(1);
/// From one request of a desktop to the next.
pub const RHYTHM: Duration = Duration::from_millis(50);

const SYSTEM_INFO: u16 = 8445;
const DESKTOP: u16 = 80;
const GED188: [u16; 2] = [42027, 43027];

/// All of it.
#[derive(Debug)]
pub struct Site {
    pub bed: Bed,
    /// The machines of the CTI servers.
    peripheral_gateways: [Place; 2],
    cti: [Option<Life>; 2],
    servers: Sides<Option<Life>>,
    notification: Sides<Option<Life>>,
}

impl Site {
    /// A site on which all is well, and all sessions go to the publisher.
    pub fn well(dir: &Path) -> Site {
        Site::with(dir, "")
    }

    /// The same with other lines for the policy; waits until both sides are in service, and somebody is let in.
    pub fn with(dir: &Path, policy: &str) -> Site {
        certificates::make(dir);
        let secret = dir.join("watcher");
        std::fs::write(&secret, prosody::PASSWORD).unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let bed = Bed::bare(dir, PAIR, "finesse");
        bed.configure_edge(&edge(dir, policy));
        let gateways = [1, 2].map(|number| Place::lay(&format!("pg-{number}"), cti_host(number)));
        let mut site = Site {
            bed,
            peripheral_gateways: gateways,
            cti: [None, None],
            servers: Sides { a: None, b: None },
            notification: Sides { a: None, b: None },
        };
        site.start_cti(0, "active");
        site.start_cti(1, "standby");
        for side in Side::BOTH {
            prosody::furnish(dir, side);
            site.start_notification(side);
        }
        for side in Side::BOTH {
            prosody::wait(side);
            site.say(side, "in-service");
            site.start_server(side);
        }
        site.bed.start_edge();
        for side in Side::BOTH {
            site.wait_shown(side, "In service");
        }
        site.wait("sessions to be let in", |sessions| sessions.parts.a + sessions.parts.b > 0);
        site
    }

    // What runs on it.

    fn start_cti(&mut self, number: usize, role: &str) {
        self.cti_is(number, role);
        let mut command = self.peripheral_gateways[number].command(lockstep_tests::lockstep());
        command.args(["simulate", "ged188", "--role", role]);
        command.args(["--listen", &cti(number).to_string(), "--role-file"]).arg(self.role_file(number));
        self.cti[number] = Some(Life::begin(command, &self.bed.dir().join(format!("cti-{number}.log")), None));
    }

    /// `kill -9` of a CTI server.
    pub fn kill_cti(&mut self, number: usize) {
        self.cti[number].take().expect("it runs").kill();
    }

    /// Makes a CTI server the active one, or the standby.
    pub fn cti_is(&self, number: usize, role: &str) {
        std::fs::write(self.role_file(number), role).unwrap();
    }

    fn role_file(&self, number: usize) -> std::path::PathBuf {
        self.bed.dir().join(format!("cti-{number}.role"))
    }

    /// Starts a node's Notification Service.
    pub fn start_notification(&mut self, side: Side) {
        self.notification[side] = Some(prosody::start(self.bed.network(), self.bed.dir(), side));
    }

    /// `kill -9` of a node's Notification Service.
    pub fn kill_notification(&mut self, side: Side) {
        self.notification[side].take().expect("it runs").kill();
    }

    /// Starts a node's Finesse.
    pub fn start_server(&mut self, side: Side) {
        let (dir, node) = (self.bed.dir(), address(side));
        let mut command = self.bed.network().command_on(side, lockstep_tests::lockstep());
        command.args(["simulate", "finesse", "--side", &side.to_string(), "--cti-heartbeat", "1s"]);
        command.args(["--api", &format!("{node}:{SYSTEM_INFO}"), "--desktop", &format!("{node}:{DESKTOP}")]);
        for number in [0, 1] {
            command.args(["--cti", &cti(number).to_string()]);
        }
        command.args(["--notification", &prosody::xmpp(node).to_string(), "--domain", &prosody::domain(side)]);
        command.args(["--password", prosody::PASSWORD]);
        let (certificate, key) = certificates::of(dir, side);
        command.arg("--certificate").arg(certificate).arg("--key").arg(key);
        command.arg("--log").arg(dir.join(finesse::file_name(side)));
        command.arg("--control").arg(control(dir, side));
        self.servers[side] = Some(Life::begin(command, &dir.join(format!("finesse-{side}.log")), None));
    }

    /// `kill -9` of a node's Finesse.
    pub fn kill_server(&mut self, side: Side) {
        self.servers[side].take().expect("it runs").kill();
    }

    /// What a node's Finesse is from now on.
    pub fn say(&self, side: Side, word: &str) {
        // Written at once, or not at all.
        let file = control(self.bed.dir(), side);
        let new = file.with_extension("new");
        std::fs::write(&new, word).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// What a node's Finesse was asked.
    pub fn asked(&self, side: Side) -> Vec<finesse::Seen> {
        finesse::read(&self.bed.dir().join(finesse::file_name(side))).unwrap()
    }

    // What is seen of it.

    /// How the pair stands.
    pub fn pair(&self) -> PairStatus {
        until("the edge to answer", || self.bed.pair())
    }

    /// How its sessions are shared out.
    pub fn sessions(&self) -> SessionsStatus {
        self.pair().sessions.expect("both sides may serve")
    }

    /// Waits until its sessions are as wanted.
    pub fn wait(&self, what: &str, wanted: impl Fn(&SessionsStatus) -> bool) -> SessionsStatus {
        until(what, || Some(self.sessions()).filter(&wanted))
    }

    /// Waits until all sessions are on a side and none moves.
    pub fn wait_on(&self, side: Side, count: u32) -> SessionsStatus {
        self.settle(Sides::from_fn(|each| if each == side { count } else { 0 }))
    }

    /// Waits until each side has so many sessions, none moves, and the policy has been told, which is not at once.
    pub fn settle(&self, on: Sides<u32>) -> SessionsStatus {
        let sessions =
            self.wait(&format!("sessions on {on:?}"), |sessions| sessions.moving_from.is_none() && sessions.on == on);
        let told = || {
            let told = self.bed.journal().into_iter().rev().find_map(|entry| entry.what.get("sessions").cloned())?;
            let known = told["ended"] == true && told["on"]["a"] == on.a && told["on"]["b"] == on.b;
            known.then_some(())
        };
        until(&format!("the policy to know of sessions on {on:?}"), told);
        sessions
    }

    /// Waits until operators read this beside a side.
    pub fn wait_shown(&self, side: Side, text: &str) -> String {
        let shown = || Some(self.pair().sides[side].shown.clone()).filter(|shown| shown.contains(text));
        until(&format!("`{text}` beside {side}"), shown)
    }

    /// Waits until operators are told.
    pub fn wait_told(&self, text: &str) {
        until(&format!("the alert `{text}`"), || self.was_told(text).then_some(()));
    }

    /// Whether operators were told.
    pub fn was_told(&self, text: &str) -> bool {
        self.pair().alerts.iter().any(|alert| alert.text.contains(text))
    }

    /// Types a verb, which must succeed, as an operator does.
    pub fn types(&self, words: &[&str]) -> String {
        let (code, text) = self.bed.type_as("anna", words);
        assert_eq!(code, 0, "{text}");
        text
    }

    // Who uses it.

    /// Starts desktops, one after another, from the first of these numbers to the last.
    pub fn desktops(&self, numbers: std::ops::RangeInclusive<u8>) -> Vec<Desktop> {
        numbers.map(|number| self.desktop(number)).collect()
    }

    fn desktop(&self, number: u8) -> Desktop {
        let address = desktop(number);
        let rate = 1000 / RHYTHM.as_millis();
        let options = ["--from", &address.to_string(), "--rate", &rate.to_string(), "--timeout", "5s"];
        let stream = Stream::start_to(self.bed.dir(), &format!("desktop-{number}"), vip(), &options);
        Desktop { address, stream }
    }

    /// When a desktop's first request since then came to a side.
    pub fn turn(&self, desktop: &Desktop, side: Side, from: u64) -> Option<u64> {
        self.of(desktop, side).filter(|seen| seen.at >= from).map(|seen| seen.at).min()
    }

    fn of(&self, desktop: &Desktop, side: Side) -> impl Iterator<Item = finesse::Seen> {
        let address = desktop.address;
        self.asked(side).into_iter().filter(move |seen| seen.kind == Kind::Desktop && seen.client == Some(address))
    }

    /// Nothing came to that side, by its own log, that they sent after they had had their first answer of the other one.
    pub fn nobody_came_back(&self, desktops: &[Desktop], left: Side) {
        self.nobody_came_back_since(desktops, left, 0);
    }

    /// The same of what they have sent since then.
    pub fn nobody_came_back_since(&self, desktops: &[Desktop], left: Side, from: u64) {
        for desktop in desktops {
            let sent = desktop.seen_since(from);
            let of_other = sent.iter().filter(|exchange| exchange.side == Some(left.other()));
            let turn = of_other.map(|exchange| exchange.ended).min().expect("he has had his turn");
            let after: BTreeSet<u64> =
                sent.iter().filter(|exchange| exchange.sent > turn).map(|exchange| exchange.n).collect();
            let late: Vec<_> =
                self.of(desktop, left).filter(|seen| seen.id.is_some_and(|id| after.contains(&id))).collect();
            assert!(late.is_empty(), "{} still came to {left} after his turn: {late:#?}", desktop.address);
            let there = self.of(desktop, left.other()).any(|seen| seen.id.is_some_and(|id| after.contains(&id)));
            assert!(there, "{} has sent nothing after his turn", desktop.address);
        }
    }
}

/// Somebody's desktop, who asks all the time.
#[derive(Debug)]
pub struct Desktop {
    pub address: IpAddr,
    pub stream: Stream,
}

impl Desktop {
    /// What he sent since then, and what became of it.
    pub fn seen_since(&self, from: u64) -> Vec<Exchange> {
        self.stream.exchanges().into_iter().filter(|exchange| exchange.sent >= from).collect()
    }

    /// All that he sent since then was answered well, and by that side.
    pub fn is_served_by(&self, side: Side, from: u64) {
        let seen = until("an answer", || Some(self.seen_since(from)).filter(|seen| !seen.is_empty()));
        let wrong: Vec<_> =
            seen.iter().filter(|exchange| !exchange.is_good() || exchange.side != Some(side)).take(5).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", self.address);
    }

    /// Nothing that he sent was lost.
    pub fn nothing_lost(&self) {
        let failed: Vec<_> = self.seen_since(0).into_iter().filter(|exchange| !exchange.is_good()).collect();
        assert!(failed.is_empty(), "{}: {failed:#?}", self.address);
    }
}

/// The address of a desktop. All of them are on the floor where the edge is.
pub fn desktop(number: u8) -> IpAddr {
    let address = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 200 + number));
    let added = Command::new("ip").args(["address", "replace", &format!("{address}/24"), "dev", "bridge"]).status();
    assert!(added.unwrap().success(), "the desktop {address} cannot be put on the network");
    address
}

fn cti_host(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10 + number))
}

fn cti(number: usize) -> SocketAddr {
    SocketAddr::new(cti_host([1, 2][number]), GED188[number])
}

fn control(dir: &Path, side: Side) -> std::path::PathBuf {
    dir.join(format!("finesse-{side}.word"))
}

fn edge(dir: &Path, policy: &str) -> String {
    // `reload_window` is for 2,000 sessions.
    let reload = WINDOW * 2_000 / u32::from(DESKTOPS);
    let side = |side| {
        let node = address(side);
        let (one, other) = (cti(0), cti(1));
        format!(
            "[pair.{side}]\nservers = [\"{node}:{DESKTOP}\"]\n[pair.{side}.pools]\ncti = [\"{one}\", \"{other}\"]\n"
        )
    };
    format!(
        r#"[edge]
name = "edge-1"
state = {state:?}
admin = "{ADMIN}"
[edge.probe]
roots = {roots:?}
[secrets]
finesse-watcher = {secret:?}

[[pair]]
name = "{PAIR}"
listen = ["{vip}"]
[pair.policy]
plugin = {plugin:?}
tls = "verified"
poll_interval = "{poll}"
cti_heartbeat_interval = "1s"
reload_window = "{reload}"
maintenance_warning = "{warning}"
{policy}
[pair.policy.notification]
domain = {{ a = "{domain_a}", b = "{domain_b}" }}
user = "{watcher}"
secret = "finesse-watcher"
interval = "1s"
[pair.policy.cti_probe]
pool = "cti"
port = 0
{a}{b}"#,
        state = dir.join("edge"),
        roots = certificates::roots(dir),
        secret = dir.join("watcher"),
        vip = vip(),
        plugin = lockstep_tests::plugin("finesse"),
        poll = humantime::format_duration(POLL),
        reload = humantime::format_duration(reload),
        warning = humantime::format_duration(WARNING),
        domain_a = prosody::domain(Side::A),
        domain_b = prosody::domain(Side::B),
        watcher = prosody::WATCHER,
        a = side(Side::A),
        b = side(Side::B),
    )
}
