//! What comes from outside and is wrong: configurations, agents of other pairs, and clients that do not speak HTTP.

use crate::bed::{Bed, PATIENCE};
use crate::configuration::{self, vip};
use crate::processes::lockstep;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The bed's configuration with something spoilt.
fn spoilt(dir: &Path, good: &str, bad: &str) -> String {
    let text = configuration::edge(dir, "");
    assert_eq!(text.matches(good).count(), 1, "{good:?} must be there once in {text}");
    text.replace(good, bad)
}

/// A copy of the plugin that says it is of another major version of the ABI.
fn of_another_major(dir: &Path) -> String {
    const MAGIC: &[u8] = b"lockstep.policy\0";
    let mut plugin = std::fs::read(lockstep_tests::plugin("telisca")).unwrap();
    let stamps: Vec<_> = plugin
        .windows(24)
        .enumerate()
        .filter(|(_, bytes)| bytes.starts_with(MAGIC) && bytes[20..] == 1_u32.to_le_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!stamps.is_empty(), "the plugin has a stamp");
    for at in stamps {
        plugin[at + 20] = 9;
    }
    let file = dir.join("liblockstep_other.so");
    std::fs::write(&file, plugin).unwrap();
    file.display().to_string()
}

fn of_no_library(dir: &Path) -> String {
    let file = dir.join("liblockstep_none.so");
    std::fs::write(&file, "this is no library\n").unwrap();
    file.display().to_string()
}

/// Each is refused with a sentence that names file, line, key and remedy, and with exit code 1.
#[test]
fn check_refuses_every_bad_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    configuration::trust_plugin(dir, "telisca");
    let good = configuration::edge(dir, "");
    let line_of = |text: &str| 1 + good.lines().position(|line| line.contains(text)).unwrap();
    let plugin = lockstep_tests::plugin("telisca").display().to_string();
    let side_a = "servers = [\"10.77.0.1:80\"]";
    let second = good[good.find("[[pair]]").unwrap()..].replace("name = \"telisca\"", "name = \"mail\"");

    let cases: [(&str, String, usize, &[&str]); 8] = [
        (
            "an unknown key",
            spoilt(dir, "fast = true", "fats = true"),
            line_of("fast"),
            &["fats", "did you mean `fast`"],
        ),
        (
            "a wrong type",
            spoilt(dir, "fast = true", "fast = \"yes\""),
            line_of("fast"),
            &["pair.policy.fast", "true or false"],
        ),
        (
            "a missing plugin",
            spoilt(dir, &plugin, "/nowhere/liblockstep_telisca.so"),
            line_of("plugin ="),
            &["pair.policy.plugin", "/nowhere/liblockstep_telisca.so"],
        ),
        (
            "a plugin of another major",
            spoilt(dir, &plugin, &of_another_major(dir)),
            line_of("plugin ="),
            &["pair.policy.plugin", "ABI 9"],
        ),
        (
            "a plugin that is no library",
            spoilt(dir, &plugin, &of_no_library(dir)),
            line_of("plugin ="),
            &["pair.policy.plugin", "liblockstep_none.so"],
        ),
        (
            "two pairs on one listener",
            format!("{good}{second}"),
            good.lines().count() + 3,
            &["pair.listen", "10.77.0.100:80", "telisca"],
        ),
        ("a side without servers", spoilt(dir, side_a, "servers = []"), line_of(side_a), &["pair.a.servers"]),
        ("no TOML", spoilt(dir, "fast = true", "fast = = true"), line_of("fast"), &[]),
    ];
    for (what, text, line, parts) in cases {
        let file = dir.join("edge.toml");
        std::fs::write(&file, text).unwrap();
        let output = lockstep().arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        println!("{what}: {said}");
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        let place = format!("{}:{line}:", file.display());
        assert!(said.contains(&place), "{what}: no {place:?} in: {said}");
        for part in parts {
            assert!(said.contains(part), "{what}: no {part:?} in: {said}");
        }
    }

    let missing = lockstep().arg("check").arg(dir.join("none.toml")).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("none.toml"));

    std::fs::write(dir.join("edge.toml"), good).unwrap();
    let lint = lockstep().args(["check", "--lint"]).arg(dir.join("edge.toml")).output().unwrap();
    let said = String::from_utf8(lint.stdout).unwrap();
    assert_eq!(lint.status.code(), Some(0), "{said}");
    assert!(said.contains("T9") && said.contains("expected switch delay"), "rules T9 and T10: {said}");
}

/// A running edge that is given a bad configuration keeps the old one, and says what is wrong with the new one.
#[test]
fn a_running_edge_keeps_its_configuration_when_the_new_one_is_bad() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        bed.configure_edge(&spoilt(dir, "fast = true", "fats = true"));
        bed.signal_edge(Signal::SIGHUP);
        let said = |bed: &Bed| bed.ask(async |operator| operator.status().await).unwrap().reload.join("\n");
        crate::bed::until("the edge to refuse it", || Some(said(&bed)).filter(|said| !said.is_empty()));
        let refusal = said(&bed);
        for part in ["the running one was kept", "edge.toml:", "fats", "did you mean `fast`"] {
            assert!(refusal.contains(part), "no {part:?} in: {refusal}");
        }
        client.let_flow(50);
        bed.wait_well(A);
        client.finish(&bed).nothing_lost();
        bed.switch(B);
    });
}

/// An agent that speaks for another pair is not given the pair's role, and the edge says why.
#[test]
fn an_agent_of_a_foreign_pair_is_refused() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        bed.kill_agent(B);
        std::fs::remove_dir_all(dir.join("agent-b")).unwrap();
        bed.configure_agent(B, &configuration::agent(dir, B, "mail"));
        bed.start_agent(B);
        bed.wait("the edge to refuse it", |pair| pair.sides.b.trouble.contains("mail"));
        let trouble = bed.pair().unwrap().sides.b.trouble;
        assert!(trouble.contains("telisca") && trouble.contains("correct"), "what is wrong, and the remedy: {trouble}");
        client.let_flow(50);
        client.finish(&bed).nothing_lost();
    });
}

/// Sends something to the VIP, and waits until the edge has cut the connection; what it answered, and how long that took.
fn send(bytes: &[u8]) -> (String, Duration) {
    let mut stream = TcpStream::connect(vip()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let begin = Instant::now();
    // It need not take all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not cut within {PATIENCE:?}: {error}"),
    }
    (String::from_utf8_lossy(&answer).into_owned(), begin.elapsed())
}

/// The limit for a head that does not come is 10 s; a busy machine may be later.
const CUT: Duration = Duration::from_secs(15);

#[test]
fn clients_that_do_not_speak_http_are_answered_or_cut_and_hurt_nobody() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let silent: Vec<_> = (0..50).map(|_| std::thread::spawn(|| send(b""))).collect();
        let slow = std::thread::spawn(|| send(b"GET / HTTP/1.1\r\nhost: vip\r\nx-slow: "));

        let (answer, _) = send(&[0x16, 3, 1, 0, 0xff, 0, 13, 10, 13, 10]);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "garbage: {answer}");
        let (answer, _) = send(b"BREW /pot HTCPCP/1.0\r\n\r\n");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "another protocol: {answer}");
        let megabyte =
            [b"GET / HTTP/1.1\r\nhost: vip\r\nx-large: ".as_slice(), &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
        let (answer, took) = send(&megabyte);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "a header of 1 MB: {answer}");
        assert!(took < CUT);

        for connection in silent.into_iter().chain([slow]) {
            let (answer, took) = connection.join().unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "silence: {answer}");
            assert!(took < CUT, "cut after {took:?}");
        }
        client.finish(&bed).nothing_lost();
    });
}
