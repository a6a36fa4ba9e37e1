//! The machine's watchdog, with a named pipe in its stead: it is opened, fed and closed by the code that does so with a device.
//! That a device resets a machine is its driver's affair, and is not tested.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use lockstep_pair::protocol::{Answer, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Role;
use rustix::process::Signal;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;
use world::agent::Node;
use world::edge::Edge;
use world::process::{send, stop};
use world::wait_until;

const SERVICE: &str = r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true

[watchdog]
device = "DIR/device"
timeout = "2s"
"#;

/// What a kernel would see.
struct Kernel(File);

impl Kernel {
    fn new(node: &Node) -> Kernel {
        let device = node.path("device");
        assert!(std::process::Command::new("mkfifo").arg(&device).status().unwrap().success());
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        Kernel(File::options().read(true).write(true).custom_flags(flags).open(device).unwrap())
    }

    /// What has come since the last look.
    fn came(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let count = self.0.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    fn waits_for(&mut self, what: &str, byte: u8) {
        wait_until(what, || self.came().contains(&byte));
    }

    /// The same while the lease is renewed.
    async fn sees(&mut self, edge: &mut Edge, what: &str, byte: u8) {
        let until = std::time::Instant::now() + world::PATIENCE;
        while !self.came().contains(&byte) {
            assert!(std::time::Instant::now() < until, "waited for {what}");
            edge.report("anything", |_| true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_fed_while_something_exclusive_may_run_and_rests_when_the_node_has_stood_down() {
    let node = Node::new(SERVICE);
    let mut kernel = Kernel::new(&node);
    let mut agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.report("standby", |report| report.role == Role::Standby).await;
    kernel.waits_for("its rest after the stop that a life begins with", b'V');
    edge.activate(Epoch(1)).await;
    for _ in 0..3 {
        kernel.sees(&mut edge, "food", 0).await;
    }
    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(2), urgency: Urgency::Planned });
    assert_eq!(edge.answer().await, Answer::StoodDown { epoch: Epoch(2) });
    kernel.waits_for("its rest", b'V');
    let report = edge.report("standby", |report| report.role == Role::Standby).await;
    let until = report.stamp.at + Duration::from_millis(1_500);
    edge.report("later", |report| report.stamp.at > until).await;
    assert!(kernel.came().is_empty(), "a standby's is not fed");

    // Also at the agent's own end.
    edge.activate(Epoch(3)).await;
    kernel.sees(&mut edge, "food", 0).await;
    send(agent.pid(), Signal::TERM);
    kernel.waits_for("its rest", b'V');
    assert!(agent.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_or_dies_feeds_nothing_and_does_not_let_it_rest() {
    for hangs in [true, false] {
        let node = Node::new(SERVICE);
        let mut kernel = Kernel::new(&node);
        let mut agent = node.start();
        let mut edge = Edge::connect(&node.address).await;
        edge.activate(Epoch(1)).await;
        if hangs {
            stop(agent.pid())
        } else {
            agent.kill()
        }
        kernel.came();
        // Longer than it counts.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(kernel.came().is_empty(), "a device would have reset the machine by now");
        if hangs {
            send(agent.pid(), Signal::CONT);
            kernel.waits_for("its rest, when nothing exclusive is left", b'V');
        } else {
            // The next life takes it over.
            let _agent = node.start();
            kernel.waits_for("its rest, when nothing exclusive is left", b'V');
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_refused_with_what_to_do() {
    let node = Node::new(SERVICE);
    let error = node.start_refused();
    assert!(error.contains("[watchdog]") && error.contains("device cannot be opened"), "{error}");
    let node = Node::new(&SERVICE.replace("timeout = \"2s\"", ""));
    assert!(node.start_refused().contains("say it by `timeout`"));
}
