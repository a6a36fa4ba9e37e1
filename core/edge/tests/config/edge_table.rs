//! `[edge]`: its policies, and its users.

use super::*;

/// What a table is refused with that follows `[edge]`.
#[track_caller]
fn edge_table_refused(table: &str, sentences: &[&str]) {
    assert_eq!(refusals(&VALID.replacen("[[pair]]", &format!("{table}\n[[pair]]"), 1)), sentences);
}

#[test]
fn terms_for_policies() {
    edge_table_refused("[edge.policies]\nabsent_max = \"10s\"\nkill_cpu = \"1s\"\nmemory = \"64MiB\"", &[]);
    edge_table_refused(
        "[edge.policies]\nisolation = \"thread\"",
        &["edge.toml:5:13: edge.policies.isolation: \"thread\" is not known; \"process\" or \"in-process\""],
    );
    edge_table_refused(
        "[edge.policies]\nabsent_max = \"1ms\"",
        &[
            "edge.toml:5:14: edge.policies.absent_max: \"1ms\" is out of range; a duration with its unit from 100ms to 3600s, such as \"500ms\"",
        ],
    );
    edge_table_refused(
        "[edge.policies]\nkill_wall = 5",
        &[
            "edge.toml:5:13: edge.policies.kill_wall: is of the wrong type (integer); a duration with its unit from 100ms to 3600s, such as \"500ms\"",
        ],
    );
    edge_table_refused(
        "[edge.policies]\nwarn_cpu = \"2s\"",
        &[
            "edge.toml:4:1: edge.policies.kill_cpu: 1s is less than edge.policies.warn_cpu (2s): nobody would be warned; \
           at least warn_cpu",
        ],
    );
    edge_table_refused(
        "[edge.policies]\nmemory = \"1MiB\"",
        &["edge.toml:5:10: edge.policies.memory: 1048576 bytes are out of range; a size with its unit from 16MiB \
           to 1TiB, such as \"1GiB\""],
    );
    edge_table_refused(
        "[edge.policies]\nmemroy = \"1GiB\"",
        &[
            "edge.toml:5:1: edge.policies.memroy: is not a known key; known: isolation, trust, absent_max, warn_cpu, kill_cpu, kill_wall, memory; did you mean `memory`?",
        ],
    );
}

#[test]
fn a_list_of_trusted_plugins_that_is_not_there() {
    let said = refusals(&VALID.replacen("[[pair]]", "[edge.policies]\ntrust = \"nowhere.trust\"\n[[pair]]", 1));
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("edge.toml:10:10: pair.policy.plugin: "), "{said:?}");
    assert!(said[0].contains("nowhere.trust"), "{said:?}");
}

#[test]
fn users() {
    let hash = "0123456789abcdef".repeat(4);
    let user = |name: &str, token: &str| format!("[[edge.users]]\nname = \"{name}\"\ntoken_sha256 = \"{token}\"");
    edge_table_refused(&(user("eva", &hash) + "\nrights = [\"operate\", \"remote-control\"]"), &[]);
    edge_table_refused(&user("eva", &hash), &[]);
    let valid = "a name of 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
    edge_table_refused(
        &user("eva b", &hash),
        &[&format!("edge.toml:5:8: edge.users.name: \"eva b\" is not a name; {valid}")],
    );
    edge_table_refused(
        &(user("eva", &hash) + "\n" + &user("eva", &hash)),
        &["edge.toml:8:8: edge.users.name: two users are called \"eva\"; one entry for each"],
    );
    let prints = "64 hexadecimal digits: `lockstep user NAME` makes a token and prints them";
    edge_table_refused(
        &user("eva", "secret"),
        &[&format!("edge.toml:6:16: edge.users.token_sha256: is not a SHA-256; {prints}")],
    );
    edge_table_refused(
        "[[edge.users]]\nrights = [\"operate\"]",
        &[
            &format!("edge.toml:4:1: edge.users.name: is missing; {valid}"),
            &format!("edge.toml:4:1: edge.users.token_sha256: is missing; {prints}"),
        ],
    );
    edge_table_refused(
        &(user("eva", &hash) + "\nrights = [1]"),
        &[
            "edge.toml:7:11: edge.users.rights: is of the wrong type (integer); words such as \"operate\" or \"remote-control\"",
        ],
    );
}
