//! Sides that admit no agent.

use super::*;

/// In an agent's stead: all that is needed, and nothing beside it.
#[test]
fn calls_of_sides_without_an_agent() {
    let agent = "agent = \"10.0.0.1:7401\"\n";
    let calls = "[pair.a.activate]\nurl = \"http://10.0.0.1/start\"\n[pair.a.stand_down]\ncommand = [\"/bin/stop\"]\n";
    let directory = directory();
    let file = directory.path().join("edge.toml");
    std::fs::write(&file, in_the_open(&VALID.replace(agent, calls))).unwrap();
    let config = load(&file).unwrap();
    let side = &config.pairs[0].sides.a;
    assert!(side.agent.is_none() && side.remote.as_ref().is_some_and(|remote| remote.unfenced_delay.is_none()));

    refused(
        agent,
        &format!("{agent}{calls}"),
        "edge.toml:19:1: pair.a.agent: stands beside calls that the edge makes in an \
         agent's stead; an agent, which holds a lease; or, where the node admits none, the edge's own calls",
    );
    refused(
        agent,
        "[pair.a.activate]\nurl = \"http://10.0.0.1/start\"\n",
        "edge.toml:16:1: pair.a.stand_down: is missing; \
         a table `[pair.a.stand_down]` with `url` or `command`, or an agent and none of these tables",
    );
    refused(
        agent,
        &calls.replace("/bin/stop", "stop"),
        "edge.toml:21:11: pair.a.stand_down.command: does not begin with the whole path of a program; \
         [\"/path/of/program\", \"argument\"]",
    );
}
