//! The driver `windows-service`: services of Wine's service control manager.

use crate::site::{LEASE, STOP_MAX, Site, WINE, cti, story};
use lockstep_demo::now;
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use std::path::Path;
use std::time::Duration;

const RIG: &str = "lockstep-windows-rig.exe";
const NAME: &str = "LockstepCti";
const DRIVER: &str = "driver = \"windows-service\"\nservice = \"LockstepCti\"";

fn register(site: &Site, dir: &Path, more: &[&str]) {
    let words = cti(dir, &[&["--service", NAME, "--start", "100"], more].concat());
    let words: Vec<&str> = ["register", NAME, "--"].into_iter().chain(words.iter().map(String::as_str)).collect();
    site.do_run(RIG, &words);
}

fn ready(dir: &Path, more: &[&str]) -> Site {
    let mut site = Site::without_agent(dir, DRIVER);
    register(&site, dir, more);
    site.start_agent();
    site.begin("agent-b");
    site
}

fn state(site: &Site) -> String {
    site.do_run(RIG, &["state", NAME])
}

#[test]
fn a_service_is_started_and_stopped_by_the_service_control_manager() {
    story(|dir| {
        let site = ready(dir, &[]);
        let client = site.bed.client(200);
        client.let_flow(50);
        site.bed.switch(B);
        assert!(state(&site).starts_with("Running"), "{}", state(&site));
        client.let_flow(50);
        site.bed.wait_well(B);
        site.bed.switch(A);
        site.bed.wait_well(A);
        assert!(state(&site).starts_with("Stopped"), "{}", state(&site));
        assert_eq!(site.orderly_ends(), 1, "it was asked, and not killed");
        client.finish(&site.bed).nothing_lost();
    });
}

/// What does not stop when it is told to is killed in time for the other side.
#[test]
fn a_deaf_service_is_killed_in_time() {
    story(|dir| {
        let site = ready(dir, &["--deaf"]);
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        site.bed.switch(A);
        site.bed.wait_well(A);
        // Wine's manager goes on saying that it runs.
        site.cti_ended();
        assert_eq!(site.orderly_ends(), 0);
        client.finish(&site.bed);
    });
}

#[test]
fn a_killed_agent_takes_a_service_along() {
    story(|dir| {
        let mut site = ready(dir, &[]);
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        let killed = now();
        site.kill_agent();
        let after = Duration::from_nanos(site.cti_ended().saturating_sub(killed));
        println!("the service ran {after:?} longer than the agent");
        assert!(after < LEASE + STOP_MAX + WINE, "{after:?}");
        site.bed.wait_served(A);
        site.start_agent();
        site.bed.wait_well(A);
        client.finish(&site.bed);
    });
}

/// One that Windows starts by itself would run on whatever side.
#[test]
fn a_service_that_windows_starts_is_not_made_active() {
    story(|dir| {
        let mut site = Site::without_agent(dir, DRIVER);
        let words = cti(dir, &["--service", NAME]);
        let words: Vec<&str> =
            ["register", NAME, "--auto", "--"].into_iter().chain(words.iter().map(String::as_str)).collect();
        site.do_run(RIG, &words);
        site.start_agent();
        site.begin("agent-b");
        until("the agent to name what is wrong", || {
            site.bed.log("agent-b").contains("is started by Windows itself").then_some(())
        });
        assert_eq!(site.starts(), 0);
    });
}
