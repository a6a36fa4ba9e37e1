//! The test bed itself does what the stories rely on.

use crate::bed::{Bed, until};
use crate::network::{Network, address};
use crate::stream::judge_logs;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PORT: u16 = 7;

fn connect(side: Side) -> Result<TcpStream, ErrorKind> {
    let to = SocketAddr::new(address(side), PORT);
    TcpStream::connect_timeout(&to, Duration::from_millis(300)).map_err(|error| error.kind())
}

/// Waits until a connection to a node ends as expected; only the silence of a pulled cable needs its whole time.
fn until_connecting(side: Side, outcome: Result<(), ErrorKind>) {
    let begin = Instant::now();
    while connect(side).map(drop) != outcome {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain for {outcome:?} at node {side}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_node_is_reached_by_its_cable_only() {
    in_a_world_of_its_own(|dir| {
        assert!(dir.is_dir());
        let network = Network::lay();
        until_connecting(Side::A, Err(ErrorKind::ConnectionRefused));
        until_connecting(Side::B, Err(ErrorKind::ConnectionRefused));
        network.unplug(Side::A);
        until_connecting(Side::A, Err(ErrorKind::TimedOut));
        assert_eq!(connect(Side::B).map(drop), Err(ErrorKind::ConnectionRefused));
        network.plug(Side::A);
        until_connecting(Side::A, Err(ErrorKind::ConnectionRefused));
        network.cut_port(Side::B, PORT);
        until_connecting(Side::B, Err(ErrorKind::TimedOut));
        network.heal_port(Side::B);
        until_connecting(Side::B, Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_world_has_its_own_processes_and_node_programs_keep_their_number() {
    in_a_world_of_its_own(|_| {
        let network = Network::lay();
        let child = network.command_on(Side::B, "sleep").arg("100").stdin(Stdio::null()).spawn().unwrap();
        let words = || std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let begin = Instant::now();
        while !words().starts_with(b"sleep\0") {
            assert!(begin.elapsed() < Duration::from_secs(10), "it runs {:?}", String::from_utf8_lossy(&words()));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(std::process::id() < 100, "the numbers of a new world begin at 1");
        stop(child);
    });
}

/// The judgement can fail: agents that do not fence are found out.
#[test]
#[cfg(debug_assertions)]
fn its_judge_notices_agents_that_do_not_fence() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        Side::BOTH.into_iter().for_each(|side| bed.start_unfenced_agent(side));
        bed.start_edge();
        bed.wait_well(Side::A);
        drop(bed.order_switch(Side::B));
        until("both CTI services to run", || {
            (bed.cti_starts(Side::A) > 0 && bed.cti_starts(Side::B) > 0).then_some(())
        });
        until("the judge to notice", || {
            let judged = std::panic::catch_unwind(AssertUnwindSafe(|| judge_logs(&bed, |_| false)));
            let why = judged.err()?.downcast::<String>().expect("it says why");
            assert!(why.starts_with("I1: both CTI services ran at once"), "{why}");
            Some(())
        });
    });
}
