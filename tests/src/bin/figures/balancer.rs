//! The same application and CTI behind an HAProxy that asks which side is active, every 0.1 s, and a daemon on each node that watches the
//! other one and starts its own CTI: two clocks that do not know each other, and nothing that fences.

use crate::options::Options;
use crate::site::{self, Client};
use crate::table::nanos_ms;
use lockstep_demo::play::processes::DEMO;
use lockstep_demo::{activity, app, now};
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::configuration::{CTI_START, CTI_STOP};
use lockstep_tests::network::{self, Network, Place};
use lockstep_tests::processes::{Life, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);
const FALL: u32 = 2;
const RATE: u32 = 200;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 50));

pub fn in_world(options: &Options, dir: &Path) -> Value {
    let network = Network::lay();
    let _applications = Side::BOTH.map(|side| {
        let mut command = network.command_on(side, lockstep_tests::lockstep());
        command.args(["simulate", "app", "--side", &side.to_string(), "--listen", &server(side).to_string()]);
        command.arg("--lock").arg(lock(dir, side)).arg("--log").arg(dir.join(app::file_name(side))).env(DEMO, dir);
        Life::begin(command, &dir.join(format!("app-{side}.log")), None)
    });
    let _balancer = start_balancer(dir);
    let client = Client::start_to(dir, &format!("http://{}/work", vip()), RATE, Place::lay("client", CLIENT));
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut cuts = Vec::new();
    for number in 0..options.runs {
        let cti = Life::begin(cti(dir, A, Some(&network)), &dir.join("cti-a.log"), None);
        let from = now();
        until("A to serve", || answered(&client, A, from).map(drop));
        let mut daemon = watch(&network, dir);
        std::thread::sleep(Duration::from_micros(random.u64(300_000..800_000)));
        let cut = now();
        network.unplug(A);
        until("B to serve", || answered(&client, B, cut).map(drop));
        cuts.push(cut);
        // What A's side does not know: it is still active. Both are ended for the next run.
        cti.kill();
        let _ = daemon.kill();
        let _ = daemon.wait();
        end_cti_of_b(dir);
        network.plug(A);
        if number % 20 == 19 {
            println!("{} of {}", number + 1, options.runs);
        }
    }
    let exchanges = client.end();
    let logs = Side::BOTH.map(|side| activity::read(&dir.join(activity::file_name(side))).unwrap());
    let overlaps = activity::overlaps(&logs[0], &logs[1]);
    let run = |cut: &u64| {
        let from_b = exchanges.iter().filter(|exchange| exchange.is_good() && exchange.side == Some(B));
        let answer = from_b.map(|exchange| exchange.ended).filter(|ended| ended > cut).min();
        json!({ "way": "cable", "answer": answer.map(|at| nanos_ms(at - cut)) })
    };
    // One that dies while the other is being taken over may overlap with two.
    let ends = cuts.iter().skip(1).copied().chain([u64::MAX]);
    let in_run = |(cut, end): &(&u64, u64)| overlaps.iter().any(|overlap| overlap.to >= **cut && overlap.from < *end);
    let both = format!("in {} of {} runs", cuts.iter().zip(ends).filter(in_run).count(), cuts.len());
    json!({ "runs": cuts.iter().map(run).collect::<Vec<_>>(), "both": both })
}

fn answered(client: &Client, side: Side, after: u64) -> Option<u64> {
    let exchanges = client.exchanges();
    exchanges.iter().rev().find(|one| one.is_good() && one.side == Some(side) && one.sent > after).map(|one| one.ended)
}

fn vip() -> SocketAddr {
    SocketAddr::new(network::VIP, 80)
}

fn server(side: Side) -> SocketAddr {
    SocketAddr::new(network::address(side), 80)
}

fn lock(dir: &Path, side: Side) -> std::path::PathBuf {
    dir.join(format!("cti-{side}.lock"))
}

/// It asks each side whether its CTI is active, as its vendor's page says.
fn start_balancer(dir: &Path) -> Life {
    let file = dir.join("haproxy.cfg");
    let server = |side: Side| {
        format!(
            "  server {side} {} check inter {}ms fall {FALL} rise 1 on-marked-down shutdown-sessions\n",
            server(side),
            INTERVAL.as_millis()
        )
    };
    let configuration = format!(
        "global\n  spread-checks 0\ndefaults\n  mode http\n  retries 0\n  timeout connect 500ms\n  timeout client 10s\n  timeout server 10s\n  \
         timeout check {}ms\nfrontend vip\n  bind {}\n  default_backend phones\nbackend phones\n  option httpchk\n  \
         http-check send meth GET uri {}?mod=FT\n  http-check expect string ACTIVE\n{}{}",
        INTERVAL.as_millis(),
        vip(),
        app::MONITOR,
        server(A),
        server(B)
    );
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Life::begin(command, &dir.join("haproxy.log"), None)
}

fn cti(dir: &Path, side: Side, network: Option<&Network>) -> Command {
    let binary = lockstep_tests::lockstep();
    let mut command = network.map_or_else(|| Command::new(&binary), |network| network.command_on(side, &binary));
    let time = |time: Duration| humantime::format_duration(time).to_string();
    command.args(["simulate", "cti", "--side", &side.to_string()]);
    command.args(["--start-time", &time(CTI_START), "--stop-time", &time(CTI_STOP), "--lock"]).arg(lock(dir, side));
    command.arg("--log").arg(dir.join(activity::file_name(side))).env(DEMO, dir);
    command
}

/// Node B's daemon.
fn watch(network: &Network, dir: &Path) -> Child {
    let mut command = network.command_on(B, std::env::current_exe().unwrap());
    command.args(["daemon", "--side", "b", "--dir"]).arg(dir).spawn().unwrap()
}

/// Watches the other side, and starts its own CTI when that one has not answered twice.
pub fn daemon(options: &Options) -> bool {
    let (peer, mut failures) = (server(options.side.other()), 0);
    loop {
        let begin = Instant::now();
        failures = if answers(peer) { 0 } else { failures + 1 };
        if failures >= FALL {
            break;
        }
        std::thread::sleep(INTERVAL.saturating_sub(begin.elapsed()));
    }
    // It outlives this program: whoever ends the world ends it.
    #[expect(clippy::zombie_processes, reason = "nobody is left here to wait for it")]
    let child = cti(&options.dir, options.side, None).spawn().unwrap();
    std::fs::write(options.dir.join("cti-b.pid"), child.id().to_string()).unwrap();
    true
}

fn answers(peer: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&peer, INTERVAL)?;
        stream.set_read_timeout(Some(INTERVAL))?;
        write!(stream, "GET {}?mod=NONE HTTP/1.0\r\n\r\n", app::MONITOR)?;
        let mut answer = [0u8; 64];
        stream.read(&mut answer)
    };
    matches!(ask(), Ok(1..))
}

fn end_cti_of_b(dir: &Path) {
    let file = dir.join("cti-b.pid");
    let text = until("B's CTI to be known", || std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty()));
    let pid = nix::unistd::Pid::from_raw(text.parse().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = std::fs::remove_file(file);
    // Until the kernel has ended it, it holds its lock.
    site::within(Duration::from_secs(2), || nix::sys::signal::kill(pid, None).is_err().then_some(()));
}
