//! The agent as a Windows service: `lockstep agent install` and its like.

use crate::site::{Site, cti, exe, story, windows_path};
use lockstep_policy::Side::{A, B};
use lockstep_tests::bed::until;
use std::path::Path;

const LOCKSTEP: &str = "lockstep.exe";

fn program(dir: &Path) -> String {
    let mut command = vec![windows_path(&exe("lockstep-windows-rig.exe"))];
    command.extend(cti(dir, &[]));
    format!("driver = \"exec\"\ncommand = {command:?}")
}

#[test]
fn an_installed_agent_works_until_it_is_uninstalled() {
    story(|dir| {
        let mut site = Site::without_agent(dir, &program(dir));
        let (config, log) = (windows_path(&dir.join("agent-b.toml")), windows_path(&dir.join("installed.log")));
        let none = site.run(LOCKSTEP, &["agent", "start"]);
        assert!(String::from_utf8_lossy(&none.stderr).contains("`lockstep agent install` makes it"));

        let install = ["agent", "install", "--config", &config, "--log", &log];
        let said = site.do_run(LOCKSTEP, &install);
        assert!(said.contains("installed"), "{said}");
        let again = site.run(LOCKSTEP, &install);
        assert!(String::from_utf8_lossy(&again.stderr).contains("already"), "it is not installed twice");

        site.do_run(LOCKSTEP, &["agent", "start"]);
        site.begin("installed");
        let client = site.bed.client(100);
        site.bed.switch(B);
        client.let_flow(20);
        site.bed.wait_well(B);

        // A planned stop of the agent, as at the machine's shutdown: its services end with it.
        site.do_run(LOCKSTEP, &["agent", "stop"]);
        site.cti_ended();
        site.bed.wait_served(A);
        site.do_run(LOCKSTEP, &["agent", "start"]);
        site.bed.wait_well(A);
        site.do_run(LOCKSTEP, &["agent", "uninstall"]);
        until("the edge to miss the agent", || site.bed.pair().filter(|pair| !pair.sides.b.main).map(drop));
        let words = site.bed.log("installed");
        assert!(words.contains("the agent runs"), "its log: {words}");
        client.finish(&site.bed);
    });
}
