//! Requests that come to the nodes directly, past the VIP, while the active role moves: with `curl`, as a phone or a browser
//! that knows a node's own name.

use crate::bed::{Bed, until};
use crate::configuration::{self, CTI_START, CTI_STOP, PAIR, vip};
use crate::network::address;
use crate::stream::{figure, judge_logs};
use crate::world::in_a_world_of_its_own;
use lockstep_demo::now;
use lockstep_policy::Side::{self, A, B};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where agents listen for direct requests, on their nodes' addresses.
const PORT: u16 = 8080;
const AGENT: [&str; 1] = ["agent"];
/// A direct request each 10 ms, and as much again for the machine.
const NEXT: Duration = Duration::from_millis(20);

fn ready(dir: &Path) -> Bed {
    let mut bed = Bed::new(dir);
    for side in Side::BOTH {
        let node = address(side);
        let listener = format!(
            "\n[[redirect]]\nlisten = \"{node}:{PORT}\"\napplication = \"{node}:80\"\nvip = \"http://{}\"\n",
            vip().ip()
        );
        bed.configure_agent(side, &(configuration::agent(dir, side, PAIR) + &listener));
    }
    bed.start();
    bed
}

fn node(side: Side) -> SocketAddr {
    SocketAddr::new(address(side), PORT)
}

/// One answer that a `curl` got.
#[derive(Clone, Debug)]
struct Got {
    at: u64,
    /// 0: none.
    status: u16,
    /// What the application said of its CTI.
    cti: String,
    location: String,
}

/// A `curl` that asks one node for one address after the other, on one connection if it can.
struct Curl {
    side: Side,
    process: Child,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Curl {
    fn begin(side: Side, options: &[&str]) -> Curl {
        let url = format!("http://{}/work?number=[1-1000000]", node(side));
        let said = "%{stderr}%{http_code} cti=%header{x-cti} to=%{redirect_url}\n";
        let mut process = Command::new("curl")
            .args(["--silent", "--no-buffer", "--output", "/dev/null", "--rate", "6000/m", "--write-out", said])
            .args(options)
            .arg(url)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let told = Arc::clone(&got);
        std::thread::spawn(move || {
            let mut line = String::new();
            // One that is killed may have said half a line.
            while said.read_line(&mut line).is_ok() && line.ends_with('\n') {
                told.lock().unwrap().push(read(line.trim_end()));
                line.clear();
            }
        });
        Curl { side, process, got }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until so many more have been answered with that status.
    fn let_flow(&self, status: u16, answers: usize) {
        let from = now();
        until(&format!("{answers} answers {status} of node {}", self.side), || {
            let flown = self.got().iter().filter(|got| got.at >= from && got.status == status).count();
            (flown >= answers).then_some(())
        });
    }

    /// What it got, each answer judged.
    fn end(mut self) -> Vec<Got> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let got = self.got();
        for got in &got {
            match got.status {
                200 => assert_eq!(got.cti, "active", "I2: passed on to a side whose CTI was not active: {got:?}"),
                307 => assert!(got.location.starts_with(&format!("http://{}/work?number=", vip().ip())), "{got:?}"),
                _ => {}
            }
        }
        got
    }
}

fn read(line: &str) -> Got {
    let mut words = line.split(' ');
    let status = words.next().unwrap_or("").parse().unwrap_or_else(|_| panic!("curl says {line}"));
    let mut word = |name: &str| words.next().and_then(|word| word.strip_prefix(name)).unwrap_or("").to_owned();
    Got { at: now(), status, cti: word("cti="), location: word("to=") }
}

/// What a `curl` of one request says.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error"]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// Statuses in the order in which they came, each once until it changed.
fn course(got: &[Got]) -> Vec<u16> {
    let mut course: Vec<u16> = got.iter().map(|got| got.status).collect();
    course.dedup();
    course
}

fn first(got: &[Got], status: u16, from: u64) -> u64 {
    got.iter()
        .find(|got| got.status == status && got.at >= from)
        .map(|got| got.at)
        .expect("the course says that there is one")
}

/// I2, past the edge: the redirect changes in the same handover as the CTI.
#[test]
fn a_planned_switch_turns_both_nodes_round() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        // Who follows comes to the active side, with what he has sent.
        let there = format!("http://{}/order?number=7", node(B));
        assert_eq!(curl(&["--location", "--data", "an order", &there]), "an order");
        let seen =
            curl(&["--location", "--output", "/dev/null", "--write-out", "%header{x-side} %{url_effective}", &there]);
        assert_eq!(seen, format!("a http://{}/order?number=7", vip().ip()));

        let client = bed.client(100);
        let curls: Vec<Curl> = [A, B]
            .into_iter()
            .flat_map(|side| [Curl::begin(side, &[]), Curl::begin(side, &["--data", "an order"])])
            .collect();
        let let_flow = |active: Side| {
            for curl in &curls {
                curl.let_flow(if curl.side == active { 200 } else { 307 }, 20);
            }
        };
        let_flow(A);
        let mut switches = Vec::new();
        for to in [B, A] {
            let from = now();
            bed.switch(to);
            switches.push((to, from, now()));
            let_flow(to);
            bed.wait_well(to);
        }
        let seen = client.finish(&bed);
        seen.nothing_lost();
        let got: Vec<(Side, Vec<Got>)> = curls.into_iter().map(|curl| (curl.side, curl.end())).collect();
        judge_logs(&bed, |_| false);
        for (side, got) in &got {
            let wanted = if *side == A { [200, 307, 200] } else { [307, 200, 307] };
            assert_eq!(course(got), wanted, "each node turns once in each switch, and nothing else is answered");
        }
        for (to, from, end) in switches {
            let ends = |side: Side, status| {
                let of_side = got.iter().filter(|(of, _)| *of == side);
                of_side.map(|(_, got)| first(got, status, from)).collect::<Vec<_>>()
            };
            let (closed, opened) = (ends(to.other(), 307), ends(to, 200));
            let last_passed = got.iter().filter(|(side, _)| *side == to.other()).flat_map(|(_, got)| got);
            let last_passed =
                last_passed.filter(|got| got.status == 200 && (from..end).contains(&got.at)).map(|got| got.at).max();
            assert!(last_passed < opened.iter().copied().min(), "both nodes pass requests on in one switch");
            let since = |at: Option<&u64>| Duration::from_nanos(at.unwrap().saturating_sub(from));
            figure("direct requests, redirected by the old side", since(closed.iter().max()), CTI_STOP + NEXT);
            figure(
                "direct requests, passed on by the new side",
                since(opened.iter().max()),
                CTI_STOP + CTI_START + NEXT,
            );
        }
    });
}

#[test]
fn a_killed_agent_passes_nothing_on_and_its_node_redirects_when_it_is_back() {
    in_a_world_of_its_own(|dir| {
        let mut bed = ready(dir);
        let client = bed.client(100);
        let (on_a, on_b) = (Curl::begin(A, &["--connect-timeout", "2"]), Curl::begin(B, &[]));
        on_a.let_flow(200, 20);
        on_b.let_flow(307, 20);
        bed.kill_agent(A);
        bed.wait_served(B);
        on_b.let_flow(200, 20);
        bed.start_agent(A);
        bed.wait_well(B);
        on_a.let_flow(307, 20);
        client.finish(&bed);
        let (on_a, on_b) = (on_a.end(), on_b.end());
        judge_logs(&bed, |_| false);
        assert_eq!(course(&on_b), [307, 200]);
        assert_eq!(course(&on_a), [200, 0, 307], "nobody answers while there is no agent");
    });
}

/// Lesson 6: what waits at the listener of an agent that hangs is judged when it wakes up, by the clock.
#[test]
fn an_agent_that_wakes_up_redirects_what_has_waited_for_it() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(100);
        let kept = Curl::begin(A, &[]);
        kept.let_flow(200, 20);
        bed.signal(A, &AGENT, Signal::SIGSTOP);
        let ask = || {
            let said = ["--write-out", "%{http_code} %{redirect_url}\n", "--output", "/dev/null"];
            Command::new("curl")
                .args(["--silent", &format!("http://{}/late?1", node(A))])
                .args(said)
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut waiting: Vec<Child> = (0..10).map(|_| ask().unwrap()).collect();
        bed.wait_served(B);
        client.let_flow(20);
        for late in &mut waiting {
            assert_eq!(late.try_wait().unwrap(), None, "who hangs does not answer");
        }
        let asked = kept.got().len();
        bed.signal(A, &AGENT, Signal::SIGCONT);
        for late in waiting {
            let said = String::from_utf8(late.wait_with_output().unwrap().stdout).unwrap();
            assert_eq!(said, format!("307 http://{}/late?1\n", vip().ip()));
        }
        kept.let_flow(307, 20);
        bed.wait_well(B);
        client.finish(&bed);
        let kept = kept.end();
        assert!(kept[asked..].iter().all(|got| got.status == 307), "{:?}", &kept[asked..]);
        assert_eq!(course(&kept), [200, 307]);
    });
}
