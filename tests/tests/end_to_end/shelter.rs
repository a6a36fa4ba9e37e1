//! Clients that are slow on purpose, and a pair that is closed for maintenance.

use crate::bed::Bed;
use crate::configuration::{PAIR, edge, vip};
use crate::processes::until;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::A;
use lockstep_tests::http;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Connections of each kind of attack, and for how many seconds.
const CONNECTIONS: &str = "200";
const SECONDS: &str = "10";

fn ready(dir: &Path, more: &str) -> Bed {
    let mut bed = Bed::new(dir);
    bed.configure_edge(&edge(dir, "").replace("[pair.lease]", &format!("{more}\n[pair.lease]")));
    bed.start();
    bed
}

/// Somebody else's program for slow clients, in one of its modes.
fn slow(mode: &[&str]) -> std::process::Child {
    let url = format!("http://{}/", vip());
    let mut command = Command::new("slowhttptest");
    command.args(mode).args(["-c", CONNECTIONS, "-r", "200", "-l", SECONDS, "-i", "1", "-p", "3", "-u", &url]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("slowhttptest is installed")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Slow heads, slow bodies and slow readers, all at once.
#[test]
fn slow_clients_hurt_nobody_else() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir, "[pair.limits]\nhead_timeout = \"2s\"\nbody_timeout = \"5s\"\n");
        let client = bed.client(200);
        client.let_flow(100);
        let attacks =
            [slow(&["-H"]), slow(&["-B", "-s", "100000"]), slow(&["-X", "-w", "1", "-y", "10", "-n", "1", "-z", "1"])];
        for attack in attacks {
            let output = attack.wait_with_output().unwrap();
            let text = said(&output);
            assert!(output.status.success(), "{text}");
            let mut looks = text.lines().filter(|line| line.contains("service available:"));
            assert!(looks.all(|look| look.contains("YES")), "{text}");
        }
        client.let_flow(100);
        client.finish(&bed).nothing_lost();
        bed.wait("the slow requests to be gone", |pair| pair.sides.a.in_flight == 0);
    });
}

/// It is taken off by hand only: not by a new edge either.
#[test]
fn maintenance_is_told_until_it_is_over() {
    in_a_world_of_its_own(|dir| {
        let mut bed =
            ready(dir, "[pair.maintenance]\nstatus = 503\ncontent_type = \"text/html\"\nbody = \"<p>Back at 6\"\n");
        let told = || until("an answer", || http::get(vip(), "/", &[]));
        assert_eq!(told().status, 200);
        let (code, text) = bed.type_as("eva", &["maintenance", PAIR, "on"]);
        assert_eq!((code, text.contains("under maintenance")), (0, true), "{text}");
        assert_eq!((told().status, told().body.as_str()), (503, "<p>Back at 6"));
        let (_, status) = bed.type_as("eva", &["status"]);
        assert!(status.contains("maintenance by eva since"), "{status}");
        bed.kill_edge();
        bed.start_edge();
        bed.wait("the pair to be back", |pair| pair.active.is_some_and(|active| active.side == A));
        assert_eq!((told().status, told().body.as_str()), (503, "<p>Back at 6"));
        let (code, text) = bed.type_as("eva", &["maintenance", PAIR, "on", "--text", "patch day"]);
        assert_eq!((code, told().body.as_str()), (0, "patch day\n"), "{text}");
        let (code, _) = bed.type_as("eva", &["maintenance", PAIR, "off"]);
        assert_eq!(code, 0);
        until("the pair to serve", || (told().status == 200).then_some(()));
        // What was noted right before the kill may be lost, and is in the store.
        until("the journal to tell of it", || {
            let noted: Vec<String> = bed.journal().iter().map(|entry| entry.what.to_string()).collect();
            let tells = |text: &str| noted.iter().any(|what| what.contains("\"maintenance\":") && what.contains(text));
            (tells("patch day") && tells("null")).then_some(())
        });
    });
}
