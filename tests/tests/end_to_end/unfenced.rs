//! Sides that admit no agent: node A is a vendor's appliance, which the edge starts and stops by its web page. Nothing
//! there ends by itself, and only its answers, a hook, a delay or a person's word say that it has stopped.

use crate::bed::{Bed, until};
use crate::configuration::{self, AGENT_PORT, PAIR};
use crate::network::address;
use crate::processes::Life;
use crate::stream::judge_logs;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::play::processes::{DEMO, NODE};
use lockstep_demo::{activity, app};
use lockstep_edge::admin::api::Handover;
use lockstep_pair::record::{Fenced, Outcome};
use lockstep_policy::Side::{A, B};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};

const PAGE: u16 = 8000;
const APP: [&str; 2] = ["simulate", "app"];
const NO_LOSS: fn(u64) -> bool = |_| false;

/// The appliance, and where it writes down how it was called.
struct Appliance {
    life: Option<Life>,
    dir: PathBuf,
}

impl Appliance {
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// From now on its page answers a stop with 500, and does nothing.
    fn get_stuck(&self) {
        std::fs::write(self.dir.join("stuck"), "").unwrap();
    }

    fn start(&mut self, bed: &Bed, active: bool) {
        let mut command = bed.network().command_on(A, lockstep_tests::lockstep());
        let page = address(A);
        command.args(["simulate", "appliance", "--side", "a", "--listen", &format!("{page}:{PAGE}")]);
        command.args(["--app", &format!("{page}:80"), "--lock"]).arg(lock(&self.dir));
        command.arg("--log").arg(self.dir.join(app::file_name(A)));
        command.arg("--activity").arg(self.dir.join(activity::file_name(A)));
        command.arg("--calls").arg(self.dir.join("calls")).arg("--stuck").arg(self.dir.join("stuck"));
        if active {
            command.arg("--active");
        }
        command.env(DEMO, &self.dir).env(NODE, "a");
        self.life = Some(Life::begin(command, &self.dir.join("appliance.log"), None));
    }

    /// Its power is gone.
    fn switch_off(&mut self) {
        let off = std::process::Command::new("sh").args(["-c", &off(&self.dir)]).status().unwrap();
        assert!(off.success(), "the node could not be switched off: {off}");
        self.life.take().expect("it is on").kill();
    }
}

fn lock(dir: &Path) -> PathBuf {
    dir.join("cti-a.lock")
}

/// What switches the whole node off: all of its processes name its lock.
fn off(dir: &Path) -> String {
    let lock = lock(dir).display().to_string();
    format!(
        "for process in /proc/[0-9]*; do\n  tr '\\0' '\\n' <\"$process/cmdline\" 2>/dev/null | grep -qxF '{lock}' && kill -9 \"${{process#/proc/}}\"\ndone\ntrue"
    )
}

/// Both sides stand, side A serves; `more` is about side A.
fn ready(dir: &Path, more: &str) -> (Bed, Appliance) {
    let mut bed = Bed::bare(dir, PAIR, "telisca");
    let page = format!("http://{}:{PAGE}", address(A));
    let calls = format!(
        r#"{more}
[pair.a.activate]
url = "{page}/start"
[pair.a.stand_down]
url = "{page}/stop"
timeout = "1s"
[pair.a.status]
url = "{page}/role"
says = "active"
interval = "100ms"
timeout = "500ms"
"#
    );
    let text = configuration::edge(dir, "first_server_auto_restart_as_active = false");
    let agent = format!("agent = \"{}:{AGENT_PORT}\"\n", address(A));
    assert!(text.contains(&agent), "{text}");
    bed.configure_edge(&text.replace(&agent, &calls));
    bed.configure_agent(B, &configuration::agent(dir, B, PAIR));
    let mut appliance = Appliance { life: None, dir: dir.to_owned() };
    appliance.start(&bed, false);
    bed.start_agent(B);
    bed.start_edge();
    bed.wait_served(A);
    bed.wait("side B to be fit", |pair| pair.sides.b.report.as_ref().is_some_and(|report| report.fit));
    (bed, appliance)
}

fn latest(bed: &Bed) -> Handover {
    bed.ask(async |operator| operator.why(PAIR, None).await).expect("there was a handover")
}

#[test]
fn a_planned_switch_from_and_to_an_appliance_loses_nothing_and_is_marked() {
    in_a_world_of_its_own(|dir| {
        let (bed, appliance) = ready(dir, "");
        let client = bed.client(200);
        client.let_flow(50);
        assert_eq!(bed.switch(B).record.fenced, Some(Fenced::Confirmed));
        client.let_flow(50);
        bed.switch(A);
        client.let_flow(50);
        client.end().nothing_lost();
        judge_logs(&bed, NO_LOSS);
        assert_eq!(appliance.calls(), ["/start 200", "/stop 200", "/start 200"]);
        let (code, status) = bed.type_as("eva", &["status"]);
        assert!(code == 0 && status.contains("UNFENCED") && status.contains("side a is unfenced"), "{status}");
        let journal = bed.journal();
        assert!(journal.iter().any(|entry| entry.what.to_string().contains("side a is unfenced")), "{journal:?}");
    });
}

/// The edge dies and comes back: nothing there ends by itself, and nothing is started or stopped.
#[test]
fn a_restarted_edge_does_not_disturb_an_active_appliance() {
    in_a_world_of_its_own(|dir| {
        let (mut bed, appliance) = ready(dir, "");
        bed.kill_edge();
        bed.start_edge();
        bed.wait_served(A);
        let client = bed.client(100);
        client.let_flow(200);
        client.end().nothing_lost();
        assert_eq!(appliance.calls(), ["/start 200"]);
        assert_eq!(bed.cti_starts(A), 1);
    });
}

#[test]
fn a_failover_from_a_dead_appliance_waits_for_a_persons_word_and_writes_it_down() {
    in_a_world_of_its_own(|dir| {
        let (bed, mut appliance) = ready(dir, "");
        appliance.switch_off();
        bed.wait("a failover to wait for side A", |pair| {
            pair.handover
                .is_some_and(|handover| handover.to == B && handover.phase == lockstep_pair::record::Phase::Fence)
        });
        let word = "eva has pulled the plug";
        let (code, said) = bed.type_as("eva", &["switch", PAIR, "--to", "b", "--unsafe", word]);
        assert!(code != 0 && said.contains("Make sure that side a is off"), "it asks first: {said}");
        let (code, said) = bed.type_as("eva", &["switch", PAIR, "--to", "b", "--unsafe", word, "--yes"]);
        assert_eq!(code, 0, "{said}");
        bed.wait_served(B);
        assert_eq!(latest(&bed).record.fenced, Some(Fenced::Unsafe { reason: word.to_owned() }));
        let (_, why) = bed.type_as("eva", &["why", PAIR]);
        assert!(why.contains("UNSAFE") && why.contains(word), "{why}");
        let journal = bed.journal();
        assert!(journal.iter().any(|entry| entry.what.to_string().contains(word)), "the reason is in the journal");
        judge_logs(&bed, NO_LOSS);
    });
}

#[test]
fn a_failover_from_a_dead_appliance_goes_on_after_its_delay_and_says_that_both_may_be_active() {
    in_a_world_of_its_own(|dir| {
        let (bed, mut appliance) = ready(dir, "unfenced_delay = \"1500ms\"");
        let client = bed.client(100);
        client.let_flow(50);
        appliance.switch_off();
        bed.wait_served(B);
        client.let_flow(50);
        client.end();
        let Handover { record, .. } = latest(&bed);
        assert_eq!((record.outcome, &record.fenced), (Some(Outcome::Completed), &Some(Fenced::Unfenced)));
        let fence = record.phases.iter().find(|phase| phase.phase == lockstep_pair::record::Phase::Fence).unwrap();
        let took = fence.ended.unwrap().since(fence.began);
        assert!(took.as_millis() >= 1500, "it waited {took:?}");
        let (_, status) = bed.type_as("eva", &["status"]);
        assert!(status.contains("make sure that it is off"), "{status}");

        // The node boots, and starts what it was: it is stopped as soon as it is seen.
        appliance.start(&bed, true);
        until("the appliance to be stopped", || {
            appliance.calls().last().is_some_and(|call| call == "/stop 200").then_some(())
        });
        bed.wait("the alert", |pair| pair.alerts.iter().any(|alert| alert.text.contains("without the right")));
        until("its CTI to be gone", || bed.cti(A).is_none().then_some(()));
        bed.wait_served(B);
    });
}

#[test]
fn a_fencing_hook_turns_a_stuck_node_off_and_its_word_counts() {
    in_a_world_of_its_own(|dir| {
        let script = dir.join("fence-a");
        std::fs::write(&script, format!("#!/bin/sh\n{}\necho off: $LOCKSTEP_PAIR $LOCKSTEP_SIDE\n", off(dir))).unwrap();
        let hook =
            format!("[pair.a.fence]\ncommand = [\"/bin/sh\", {script:?}]\nafter = \"300ms\"\ntimeout = \"5s\"\n");
        let (bed, appliance) = ready(dir, &hook);
        let client = bed.client(100);
        client.let_flow(50);
        appliance.get_stuck();
        bed.signal(A, &APP, Signal::SIGSTOP);
        bed.wait_served(B);
        client.let_flow(50);
        client.end();
        assert_eq!(latest(&bed).record.fenced, Some(Fenced::Hook));
        assert!(appliance.calls().contains(&"/stop 500".to_owned()), "it was asked first: {:?}", appliance.calls());
        judge_logs(&bed, NO_LOSS);
        drop(appliance);
    });
}

#[test]
fn a_hook_that_cannot_confirm_fences_nobody() {
    in_a_world_of_its_own(|dir| {
        let hook = "[pair.a.fence]\ncommand = [\"/bin/sh\", \"-c\", \"echo no answer from the power switch; exit 1\"]\nafter = \"100ms\"\n";
        let (bed, appliance) = ready(dir, hook);
        appliance.get_stuck();
        bed.signal(A, &APP, Signal::SIGSTOP);
        bed.wait("the alert", |pair| {
            pair.alerts.iter().any(|alert| alert.text.contains("no answer from the power switch"))
        });
        assert_eq!(bed.cti_starts(B), 0, "nobody knows that side A has stopped");
        judge_logs(&bed, NO_LOSS);
        drop(appliance);
    });
}
