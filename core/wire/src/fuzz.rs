//! What a stranger may send instead of frames: whatever the bytes are, the answer is a message or a sentence.

use crate::frame::{FromAgent, FromEdge};
use crate::proto;
use lockstep_fuzz::{Became, became, run};
use lockstep_pair::protocol::FromNode;
use prost::Message;

fn agent(bytes: &[u8]) -> Became {
    let Ok(frame) = proto::AgentFrame::decode(bytes) else { return became("no frame") };
    match FromAgent::try_from(frame) {
        // What was understood is said again in the same words.
        Ok(message) => {
            let again = proto::AgentFrame::from(message.clone());
            assert_eq!(FromAgent::try_from(again).as_ref(), Ok(&message));
            let services =
                if let FromAgent::Node(FromNode::Report(report)) = &message { report.services.len() } else { 0 };
            became((std::mem::discriminant(&message), services.min(4)))
        }
        Err(error) => became(error.to_string()),
    }
}

fn edge(bytes: &[u8]) -> Became {
    let Ok(frame) = proto::EdgeFrame::decode(bytes) else { return became("no frame") };
    match FromEdge::try_from(frame) {
        Ok(message) => {
            let again = proto::EdgeFrame::from(message.clone());
            assert_eq!(FromEdge::try_from(again).as_ref(), Ok(&message));
            became(std::mem::discriminant(&message))
        }
        Err(error) => became(error.to_string()),
    }
}

/// Frames as they are sent.
fn seeds() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    use lockstep_policy::event::Outcome;
    let of_agents = [
        FromAgent::ServiceRestarted { id: 7, outcome: Outcome::Failed, why: "it does not start".to_owned() },
        FromAgent::HookRan { id: 8, outcome: Outcome::Done, text: "well".to_owned() },
        FromAgent::CertificateWanted { id: 9, request: vec![0x30, 0x82, 1, 2] },
        FromAgent::CertificateChanged,
    ];
    let of_edges = [
        FromEdge::RestartService { id: 7, name: "cti".to_owned() },
        FromEdge::RunHook { id: 8, hook: "promote".to_owned(), reason: "an order".to_owned() },
        FromEdge::CertificateIssued { id: 9, outcome: Err("not for you".to_owned()) },
    ];
    (
        of_agents.into_iter().map(|message| proto::AgentFrame::from(message).encode_to_vec()).collect(),
        of_edges.into_iter().map(|message| proto::EdgeFrame::from(message).encode_to_vec()).collect(),
    )
}

/// Each kind of frame, empty and with a table in it.
fn kinds() -> Vec<Vec<u8>> {
    let of_length = |tag: u8| [vec![tag << 3 | 2, 0], vec![tag << 3 | 2, 6, 0x08, 1, 0x10, 2, 0x18, 3]];
    (1..16).flat_map(of_length).collect()
}

#[test]
fn frames_of_agents() {
    let seeds = [seeds().0, kinds()].concat();
    run(
        "frames_of_agents",
        &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        &[b"\x0a\x00", b"\x12\x02", b"\xff\xff\x03"],
        agent,
    );
}

#[test]
fn frames_of_edges() {
    let seeds = [seeds().1, kinds()].concat();
    run(
        "frames_of_edges",
        &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        &[b"\x0a\x00", b"\x12\x02", b"\xff\xff\x03"],
        edge,
    );
}
