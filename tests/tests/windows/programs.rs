//! The driver `exec` on Windows, and the lease of a Windows node.

use crate::site::{LEASE, STOP_MAX, Site, WINE, cti, exe, story, windows_path};
use lockstep_demo::now;
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use lockstep_tests::configuration::AGENT_PORT;
use lockstep_tests::network::address;
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A CTI program that has a child, which would outlive it.
fn program(dir: &Path) -> String {
    let child = windows_path(&dir.join("child.activity"));
    let mut command = vec![windows_path(&exe("lockstep-windows-rig.exe"))];
    command.extend(cti(dir, &["--start", "100", "--child", &child]));
    format!("driver = \"exec\"\ncommand = {command:?}")
}

#[test]
fn a_switch_to_windows_and_back_loses_nothing() {
    story(|dir| {
        let site = Site::ready(dir, &program(dir));
        let client = site.bed.client(200);
        client.let_flow(100);
        // The last one is A: the judge at the end looks for the active CTI among this kernel's own programs.
        for to in [B, A, B, A] {
            site.bed.switch(to);
            client.let_flow(100);
            site.bed.wait_well(to);
        }
        assert_eq!(site.starts(), 2);
        client.finish(&site.bed).nothing_lost();
    });
}

/// The kernel of Windows, and Wine's server, end what is in a job with its last handle: here the guard ends in order.
#[test]
fn a_killed_agent_takes_its_services_along() {
    story(|dir| {
        let mut site = Site::ready(dir, &program(dir));
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        let killed = now();
        site.kill_agent();
        let last = site.cti_ended();
        site.silent(&dir.join("child.activity"));
        let after = Duration::from_nanos(last.saturating_sub(killed));
        println!("the CTI ran {after:?} longer than its agent");
        assert!(after < LEASE + STOP_MAX + WINE, "{after:?}");
        site.bed.wait_served(A);
        site.start_agent();
        site.bed.wait_well(A);
        client.finish(&site.bed);
    });
}

/// The edge hears of an agent's death before the service's end: no guard, and nothing that it has started, has the agent's connections.
#[test]
fn nothing_that_an_agent_starts_holds_its_connections() {
    story(|dir| {
        let mut site = Site::ready(dir, &program(dir));
        let mut connection = TcpStream::connect((address(B), AGENT_PORT)).unwrap();
        site.bed.switch(B);
        site.signal_guard(Signal::SIGSTOP);
        connection.set_nonblocking(true).unwrap();
        assert!(is_open(&mut connection), "the agent has closed it by itself");
        site.kill_agent();
        until("the end of a connection to an agent that has been killed", || (!is_open(&mut connection)).then_some(()));
        site.signal_guard(Signal::SIGCONT);
        site.cti_ended();
        site.silent(&dir.join("child.activity"));
        site.bed.wait_served(A);
    });
}

fn is_open(connection: &mut TcpStream) -> bool {
    connection.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The guard's own deadline: nobody else is there to end the service.
#[test]
fn a_hung_agent_does_not_keep_its_services() {
    story(|dir| {
        let site = Site::ready(dir, &program(dir));
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        let stopped = now();
        site.signal_agent(Signal::SIGSTOP);
        let last = site.cti_ended();
        site.silent(&dir.join("child.activity"));
        let after = Duration::from_nanos(last.saturating_sub(stopped));
        println!("the CTI ran {after:?} after its agent had been stopped");
        assert!(after < LEASE + STOP_MAX + WINE, "{after:?}");
        site.bed.wait_served(A);
        site.signal_agent(Signal::SIGCONT);
        site.bed.wait_well(A);
        client.finish(&site.bed);
    });
}

/// T4, and the lease: nobody renews it.
#[test]
fn a_node_without_its_cable_stands_down_by_itself() {
    story(|dir| {
        let site = Site::ready(dir, &program(dir));
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        let pulled = now();
        site.bed.unplug(B);
        let after = Duration::from_nanos(site.cti_ended().saturating_sub(pulled));
        println!("the CTI ran {after:?} after the cable had been pulled");
        assert!(after < LEASE + STOP_MAX + WINE, "{after:?}");
        site.bed.wait_served(A);
        site.bed.plug(B);
        site.bed.wait_well(A);
        client.finish(&site.bed);
    });
}
