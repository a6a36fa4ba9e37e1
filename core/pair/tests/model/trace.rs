//! A path as a person reads it.

use crate::event::Event;
use crate::pair::{Host, Link, NOW, Pair, TICK};
use lockstep_pair::RouteKind;
use lockstep_pair::protocol::{Answer, FromNode, Lease, ToNode};
use lockstep_policy::{At, Side};
use std::fmt::Write;

/// One line for each event, and under it what has become of each host, where it is other than before.
pub fn tell(path: &[(Box<Pair>, Option<Event>)]) -> String {
    let mut text = String::new();
    let mut time = 0;
    let mut before: [String; 3] = Default::default();
    for (nth, (pair, event)) in path.iter().enumerate() {
        let now = [edge(pair), side(pair, Side::A), side(pair, Side::B)];
        for (line, _) in now.iter().zip(&before).filter(|(now, before)| now != before) {
            _ = writeln!(text, "          {line}");
        }
        if let Some(broken) = &pair.broken {
            _ = writeln!(text, "          {:?}: {}", broken.promise, broken.what);
        }
        if let Some(event) = event {
            time += u64::from(*event == Event::Pass);
            _ = writeln!(text, "{:>3}. {time:>3} s  {event:?}", nth + 1);
        }
        before = now;
    }
    text
}

fn edge(pair: &Pair) -> String {
    let edge = &pair.edge;
    let Some(coordinator) = &edge.coordinator else { return format!("edge     down; disk {:?}", edge.disk) };
    let view = coordinator.view();
    let route = match edge.route.kind {
        RouteKind::Serve(side) => format!("serves {side} for {}", ahead(edge.serve_until)),
        kind => format!("{kind:?}"),
    };
    let phase = match view.handover {
        Some((to, phase)) => format!(", handover to {to}: {phase:?}"),
        None if view.recovering => ", recovering".to_owned(),
        None => String::new(),
    };
    let writes = if edge.writes.is_empty() { String::new() } else { format!(", writes {:?}", edge.writes) };
    format!("edge     epoch {}, {route} in epoch {}{phase}{writes}", view.epoch, edge.route.epoch)
}

fn side(pair: &Pair, side: Side) -> String {
    let (host, link) = (&pair.hosts[side], &pair.links[side]);
    let Host { disk, running, ready, .. } = host;
    let role = host.node.as_ref().map_or("down".to_owned(), |node| {
        let report = node.report(NOW);
        format!("{:?} in epoch {}, lease {} s", report.role, report.epoch, report.lease_left.as_secs())
    });
    let services = match (running, ready) {
        (false, _) => "services down",
        (true, false) => "services RUN, not ready",
        (true, true) => "services RUN",
    };
    let kill = host.kill_at.map_or(String::new(), |at| format!(", killed in {}", ahead(at)));
    let writes = if host.writes.is_empty() { String::new() } else { format!(", writes {:?}", host.writes) };
    format!("side {side}   {role}, disk {}; {services}{kill}{writes}{}", disk.epoch, under_way(link))
}

fn under_way(link: &Link) -> String {
    let mut text = String::new();
    if !link.up {
        text.push_str("; no connection");
    }
    if link.down_stalled {
        text.push_str("; stalled to it");
    }
    if link.up_stalled {
        text.push_str("; stalled from it");
    }
    for message in &link.to_node {
        _ = write!(text, "; to it {}", command(message));
    }
    for message in &link.stray {
        _ = write!(text, "; astray {}", command(message));
    }
    for message in &link.to_edge {
        _ = write!(text, "; from it {}", word(message));
    }
    text
}

fn command(message: &ToNode) -> String {
    let until = |lease: &Lease| format!("until {}", ahead(lease.end()));
    match message {
        ToNode::Prepare { epoch } => format!("Prepare({epoch})"),
        ToNode::StandDown { epoch, urgency } => format!("StandDown({epoch}, {urgency:?})"),
        ToNode::Activate { epoch, lease } => format!("Activate({epoch}, {})", until(lease)),
        ToNode::Renew { epoch, lease } => format!("Renew({epoch}, {})", until(lease)),
    }
}

fn word(message: &FromNode) -> String {
    match message {
        FromNode::Report(report) => {
            let age = NOW.since(report.stamp.at).as_secs();
            format!(
                "Report({:?} in {}, lease {} s, {age} s old)",
                report.role,
                report.epoch,
                report.lease_left.as_secs()
            )
        }
        FromNode::Answer(Answer::Prepared { epoch }) => format!("Prepared({epoch})"),
        FromNode::Answer(Answer::StoodDown { epoch }) => format!("StoodDown({epoch})"),
        FromNode::Answer(Answer::Activated { epoch }) => format!("Activated({epoch})"),
        FromNode::Answer(Answer::Failed { epoch, why }) => format!("Failed({epoch}: {why})"),
        FromNode::Answer(Answer::Refused { epoch, highest, why }) => format!("Refused({epoch}, has {highest}: {why})"),
    }
}

/// How far ahead a point is; what is past is over.
fn ahead(at: At) -> String {
    if at < NOW { "none".to_owned() } else { format!("{:.1} s", at.since(NOW).as_secs_f64() / TICK.as_secs_f64()) }
}
