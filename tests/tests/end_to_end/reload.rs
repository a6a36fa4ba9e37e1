//! The configuration changes while clients are served: whole or not at all, and none of them notices.

use crate::bed::{Bed, until};
use crate::configuration;
use crate::knocks::{Knocks, Lasting};
use crate::network::VIP;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

/// Of a listener that comes and goes, and of one that another program has.
const MORE: u16 = 8081;
const TAKEN: u16 = 8082;
const METRICS: &str = "127.0.0.1:7481";

/// The bed's configuration.
fn configuration(dir: &Path, edge: &str, pair: &str, policy: &str) -> String {
    let text = configuration::calm(&configuration::edge(dir, policy));
    text.replacen("\n[[pair]]", &format!("\n{edge}\n[[pair]]"), 1).replacen(
        "[pair.policy]",
        &format!("{pair}\n[pair.policy]"),
        1,
    )
}

fn ready(dir: &Path) -> Bed {
    let mut bed = Bed::new(dir);
    bed.configure_edge(&configuration(dir, "", "", STAYS));
    bed.start();
    bed
}

const STAYS: &str = "first_server_auto_restart_as_active = false";

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(VIP, port)
}

fn listener(port: u16) -> String {
    format!("[[pair.listener]]\nlisten = [\"{}\"]\n", at(port))
}

/// Reloads, and is told that it is in force.
fn reload(bed: &Bed, text: &str) -> String {
    bed.configure_edge(text);
    let (code, said) = bed.type_as("eva", &["reload"]);
    assert_eq!(code, 0, "{said}");
    said
}

#[test]
fn twenty_reloads_under_load_lose_nothing() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let (cti, epoch) = (bed.cti(A), bed.pair().unwrap().active.unwrap().epoch);
        let client = bed.client(300);
        let knocks = Knocks::begin(configuration::vip());
        client.let_flow(50);
        let log = dir.join("access.log");
        let access = format!("[edge.access_log]\nfile = {log:?}\n");
        for turn in 0..20 {
            let edge = match turn % 4 {
                0 => "trace = \"always\"".to_owned(),
                1 => format!("metrics = \"{METRICS}\"\n{access}"),
                2 => format!("request_id = \"always\"\n{access}format = \"combined\"\n"),
                _ => String::new(),
            };
            let more = if turn % 2 == 0 { listener(MORE) } else { String::new() };
            // Other limits are another door to the same socket; another waiting room is another proxy and another driver.
            let pair = format!(
                "{more}[pair.limits]\nhead_timeout = \"{}s\"\n[pair.hold]\nmax_wait = \"{}s\"\n[pair.upstream]\nconnections = {}\n",
                10 + turn % 3,
                14 + turn / 5,
                500 + turn,
            );
            let said = reload(&bed, &configuration(dir, &edge, &pair, STAYS));
            assert!(said.contains("listeners: ") || said.contains("made again"), "{said}");
            let there = turn % 2 == 0;
            until("the listener to come, or to go", || (TcpStream::connect(at(MORE)).is_ok() == there).then_some(()));
            client.let_flow(30);
        }
        assert!(log.exists(), "there was an access log");
        knocks.nothing_lost();
        bed.wait_well(A);
        client.finish(&bed).nothing_lost();
        assert_eq!((bed.cti(A), bed.pair().unwrap().active.unwrap().epoch), (cti, epoch), "nobody has moved");
        bed.switch(B);
    });
}

#[test]
fn what_cannot_be_done_is_found_before_anything_is_changed() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(200);
        client.let_flow(20);
        reload(&bed, &configuration(dir, "", &listener(MORE), STAYS));
        let mut lasting = Lasting::begin(at(MORE));
        let taken = TcpListener::bind(at(TAKEN)).unwrap();
        let nowhere = dir.join("nowhere/access.log");
        let access = format!("[edge.access_log]\nfile = {nowhere:?}\n");
        let tls = format!("{}tls = {{ certificates = [\"absent.pem\"] }}\n", listener(8083));
        for (edge, pair, why) in [
            ("", listener(TAKEN), "pair.listener.listen: cannot listen on"),
            ("metrics = \"192.0.2.1:7481\"", String::new(), "edge.metrics: cannot listen on"),
            (access.as_str(), String::new(), "edge.access_log.file: "),
            ("", tls, "absent.pem"),
        ] {
            // What is sound in it is not done either: the listener that there is would go, and users and others would come.
            bed.configure_edge(&configuration(
                dir,
                edge,
                &format!("{pair}[pair.limits]\nhead_timeout = \"7s\"\n"),
                STAYS,
            ));
            let (code, said) = bed.type_as("eva", &["reload"]);
            assert!(code == 1 && said.contains(why) && said.contains("was kept"), "{code}: {said}");
            lasting.ask();
        }
        drop(taken);
        let said = reload(&bed, &configuration(dir, "", &listener(TAKEN), STAYS));
        assert!(said.contains("listeners: 1 opened, 1 closed"), "{said}");
        assert!(lasting.ask().contains("connection: close"), "a client of a listener that has gone is told so");
        lasting.wait_end();
        Lasting::begin(at(TAKEN));
        client.finish(&bed).nothing_lost();
    });
}

/// A pair that goes would stand its active side down: that asks for a word.
#[test]
fn pairs_come_and_go() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let client = bed.client(100);
        let whole = configuration(dir, "", "", STAYS);
        let (edge, pair) = whole.split_once("[[pair]]").unwrap();
        let second = pair
            .replace("name = \"telisca\"", "name = \"second\"")
            .replace(&format!("listen = [\"{}\"]", configuration::vip()), &format!("listen = [\"{}\"]", at(MORE)));
        let second = second.lines().filter(|line| !line.starts_with("agent = ")).collect::<Vec<_>>().join("\n");
        // Nobody is there to be active: the pair is at work, and says so to its clients.
        let agent = |text: &str, side: &str, port: u16| {
            let table = format!("[pair.{side}]\n");
            text.replace(&table, &format!("{table}agent = \"127.0.0.1:{port}\"\n"))
        };
        let second = agent(&agent(&second, "a", 1), "b", 2);
        let both = format!("{edge}[[pair]]{pair}\n[[pair]]{second}");
        let said = reload(&bed, &both);
        assert!(said.contains("pair \"second\": is new, and at work"), "{said}");
        let names = || -> Vec<String> {
            let status = bed.ask(async |operator| operator.status().await).unwrap();
            status.pairs.into_iter().map(|pair| pair.name).collect()
        };
        assert_eq!(names(), ["telisca", "second"]);
        assert!(TcpStream::connect(at(MORE)).is_ok());

        bed.configure_edge(&format!("{edge}[[pair]]{second}"));
        let (code, said) = bed.type_as("eva", &["reload"]);
        assert!(code == 1 && said.contains("begin with `lockstep maintenance telisca on`"), "{said}");
        assert_eq!(names(), ["telisca", "second"]);
        client.let_flow(20);

        reload(&bed, &whole);
        assert_eq!(names(), ["telisca"]);
        until("its listener to be gone", || TcpStream::connect(at(MORE)).is_err().then_some(()));
        client.finish(&bed).nothing_lost();

        bed.configure_edge(&both);
        assert_eq!(bed.type_as("eva", &["reload"]).0, 0);
        assert_eq!(bed.type_as("eva", &["maintenance", "telisca", "on"]).0, 0);
        reload(&bed, &format!("{edge}[[pair]]{second}"));
        assert_eq!(names(), ["second"]);
        until("its side to stand down", || bed.cti(A).is_none().then_some(()));
    });
}
