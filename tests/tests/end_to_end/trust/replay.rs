//! I3 over a connection that is trusted: an edge that says old things again, in whatever order, changes nothing.

use crate::bed::{Bed, PATIENCE, until};
use crate::configuration::{AGENT_PORT, PAIR, ca, certificate, edge_1};
use crate::network::address;
use crate::stream::judge_logs;
use crate::world::in_a_world_of_its_own;
use lockstep_pair::protocol::{Answer, FromNode, Lease, Report, Terms, ToNode};
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Role;
use lockstep_policy::{Epoch, Side};
use lockstep_wire::trust::{TlsFiles, Trust, Wanted};
use lockstep_wire::{Client, Commands, FromAgent, FromEdge, Hello, LinkError, Main, Messages};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A lease that a busy machine keeps too: it is not what the story is about.
const TERMS: Terms =
    Terms { ttl: Duration::from_secs(4), renew: Duration::from_millis(100), stop_max: Duration::from_secs(4) };

/// As an edge of that name.
pub(super) async fn connect(trust: &Trust, side: Side, name: &str) -> Result<Main, LinkError> {
    let wanted = Wanted::Agent { pair: PAIR.to_owned(), side };
    let to = format!("{}:{AGENT_PORT}", address(side));
    let hello = Hello { protocol: 0, pair: PAIR.to_owned(), side, edge: name.to_owned(), terms: TERMS, minor: 0 };
    Client::connect_trusting(&to, PATIENCE, trust, wanted).await?.main(hello).await
}

/// An edge that writes down what it says.
struct Recorder {
    commands: Commands,
    messages: Messages,
    said: Vec<ToNode>,
    renews: Option<Epoch>,
    refused: usize,
}

impl Recorder {
    async fn connect(dir: &Path) -> Recorder {
        let file = certificate(dir, &edge_1());
        let files = TlsFiles { ca: ca(dir).ca(), certificate: file.clone(), key: file, revoked: None, ca_key: None };
        let trust = Trust::load(files, edge_1()).unwrap();
        let begin = Instant::now();
        loop {
            match connect(&trust, Side::A, "edge-1").await {
                Ok(Main { commands, messages, .. }) => {
                    return Recorder { commands, messages, said: Vec::new(), renews: None, refused: 0 };
                }
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
            }
        }
    }

    async fn say(&mut self, command: ToNode) {
        self.said.push(command);
        self.again(&command).await;
    }

    async fn again(&self, command: &ToNode) {
        let begin = Instant::now();
        while let Err(error) = self.commands.send(FromEdge::Command(*command)) {
            let is_slow = matches!(error, LinkError::Stalled) && begin.elapsed() < PATIENCE;
            assert!(is_slow, "{error}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The next report; leases are renewed on the way.
    async fn report(&mut self) -> Report {
        loop {
            match timeout(PATIENCE, self.messages.next()).await.unwrap().unwrap() {
                FromAgent::Node(FromNode::Report(report)) => {
                    if let Some(epoch) = self.renews {
                        let lease = Lease { stamp: report.stamp, ttl: TERMS.ttl };
                        self.say(ToNode::Renew { epoch, lease }).await;
                    }
                    return report;
                }
                FromAgent::Node(FromNode::Answer(Answer::Refused { .. })) => self.refused += 1,
                _ => {}
            }
        }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let begin = Instant::now();
        loop {
            let report = self.report().await;
            if wanted(&report) {
                return report;
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}: {report:?}");
        }
    }

    /// Orders it as often as it takes: an order that comes while the node still works off stand-downs that were replayed is
    /// given up for them.
    async fn activate(&mut self, epoch: Epoch) {
        self.renews = None;
        let begin = Instant::now();
        loop {
            let report = self.report().await;
            match report.role {
                Role::Active if report.epoch == epoch => return,
                Role::Standby if report.fit => {
                    self.say(ToNode::Prepare { epoch }).await;
                    self.say(ToNode::Activate { epoch, lease: Lease { stamp: report.stamp, ttl: TERMS.ttl } }).await;
                    self.renews = Some(epoch);
                }
                _ => {}
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for it to be active: {report:?}");
        }
    }

    async fn stand_down(&mut self, epoch: Epoch) {
        self.renews = None;
        self.say(ToNode::StandDown { epoch, urgency: Urgency::Planned }).await;
        self.until("it to stand by", |report| report.role == Role::Standby && report.epoch == epoch).await;
    }
}

#[test]
fn what_is_said_again_in_any_order_changes_nothing() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        bed.start_agent(Side::A);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut edge = Recorder::connect(dir).await;
            edge.activate(Epoch(5)).await;
            for _ in 0..5 {
                edge.report().await;
            }
            edge.stand_down(Epoch(6)).await;
            let old = std::mem::take(&mut edge.said);
            assert!(old.len() > 6, "activated, renewed, stood down: {old:?}");

            // While it stands by: nothing becomes active.
            let (stored, starts) = (stored(&bed), bed.cti_starts(Side::A));
            // To stand down in this very epoch is confirmed as often as it is said.
            let stands_by = |report: &Report| {
                let role = matches!(report.role, Role::Standby | Role::StandingDown);
                role && report.epoch == Epoch(6) && !report.serving && report.lease_left.is_zero()
            };
            replay(&mut edge, &old, stands_by).await;
            assert_eq!(
                (stored, starts),
                (self::stored(&bed), bed.cti_starts(Side::A)),
                "nothing was written or started"
            );
            assert!(edge.refused > 0, "it says that it was asked and did not");

            // While it is active in a later epoch: it stays so, by the same process.
            edge.activate(Epoch(7)).await;
            let (stored, starts, cti) = (self::stored(&bed), bed.cti_starts(Side::A), bed.cti(Side::A).unwrap().pid);
            replay(&mut edge, &old, |report| report.role == Role::Active && report.epoch == Epoch(7)).await;
            assert_eq!((stored, starts), (self::stored(&bed), bed.cti_starts(Side::A)));
            assert_eq!(bed.cti(Side::A).unwrap().pid, cti);

            // Over another connection of the same edge, which takes the place of this one.
            let recent: Vec<ToNode> = edge.said.clone();
            drop(edge);
            let mut edge = Recorder::connect(dir).await;
            edge.renews = Some(Epoch(7));
            edge.until("it to be active still", |report| report.role == Role::Active).await;
            replay(&mut edge, &old, |report| report.role == Role::Active && report.epoch == Epoch(7)).await;
            assert_eq!(bed.cti(Side::A).unwrap().pid, cti);

            // Of this very epoch: old renewals do not keep a lease that nobody renews any more.
            edge.renews = None;
            let begin = Instant::now();
            let renewals: Vec<_> =
                recent.iter().rev().filter(|command| matches!(command, ToNode::Renew { .. })).take(20).collect();
            loop {
                for renewal in &renewals {
                    edge.again(renewal).await;
                }
                let report = edge.report().await;
                if report.role == Role::Standby {
                    break;
                }
                assert!(begin.elapsed() < PATIENCE, "replayed renewals keep it active: {report:?}");
            }
            until("its CTI to have ended", || bed.cti(Side::A).is_none().then_some(()));
        });
        judge_logs(&bed, |_| false);
    });
}

/// Says what was said in ten orders, three of them chosen: as it was, backwards, each twice; and looks at each report meanwhile.
async fn replay(edge: &mut Recorder, old: &[ToNode], is_as_before: impl Fn(&Report) -> bool) {
    let dice = &mut fastrand::Rng::with_seed(7);
    let mut orders: Vec<Vec<ToNode>> = vec![old.to_vec(), old.iter().rev().cloned().collect()];
    orders.push(old.iter().flat_map(|command| [*command, *command]).collect());
    for _ in 0..7 {
        let mut shuffled = old.to_vec();
        dice.shuffle(&mut shuffled);
        orders.push(shuffled);
    }
    for order in orders {
        // Fewer at once than may wait for a connection.
        for part in order.chunks(16) {
            for command in part {
                edge.again(command).await;
            }
            let report = edge.report().await;
            assert!(is_as_before(&report), "after {part:?}: {report:?}");
        }
    }
    // What was said last has been heard by now.
    for _ in 0..3 {
        let report = edge.report().await;
        assert!(is_as_before(&report), "{report:?}");
    }
}

/// What the node has on its disk.
fn stored(bed: &Bed) -> String {
    std::fs::read_to_string(bed.dir().join("agent-a/node.json")).unwrap()
}
