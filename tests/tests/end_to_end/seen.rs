//! What is seen of the data plane: the access log and the metrics agree with the clients, and nothing waits for either.

use crate::bed::{Bed, until};
use crate::configuration::{self, ADMIN, PAIR};
use crate::processes::lockstep;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::tally::Exchange;
use lockstep_edge::metrics::{Kind, families};
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::exposition::Scrape;
use lockstep_tests::http::get;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7481);

/// A bed whose edge writes an access log and shows metrics.
fn bed(dir: &Path, log: &Path) -> Bed {
    let mut bed = Bed::new(dir);
    let text = configuration::edge(dir, "first_server_auto_restart_as_active = false");
    let seen = format!(
        "metrics = \"{METRICS}\"\ntrace = \"always\"\n[edge.access_log]\nfile = {log:?}\nformat = \"json\"\n\n[[pair]]"
    );
    bed.configure_edge(&text.replacen("[[pair]]", &seen, 1));
    bed.start();
    bed
}

fn scrape() -> Scrape {
    let answer = get(METRICS, "/metrics", &[]).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    Scrape::read(&answer.body).unwrap_or_else(|why| panic!("{why}\n{}", answer.body))
}

fn of_pair(scrape: &Scrape, name: &str, labels: &str) -> u64 {
    let sample = format!("{name}{{{labels}}}");
    scrape.get(&sample).unwrap_or_else(|| panic!("no {sample}")) as u64
}

/// A flag that is raised in any case: who waits for it does not wait for a story that has failed.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// All lines, of a file that may not be there yet.
fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn side(line: &Value) -> Option<Side> {
    serde_json::from_value(line.get("side")?.clone()).ok()
}

/// Requests pass through a planned switch; the log is rotated twice, once without a word and once with a signal; metrics are scraped all the
/// while.
#[test]
fn every_request_has_its_line_and_is_counted_once() {
    in_a_world_of_its_own(|dir| {
        let log = dir.join("access.log");
        let bed = bed(dir, &log);
        let client = bed.client(300);
        let done = AtomicBool::new(false);
        let first = bed.pair().and_then(|pair| pair.active).expect("side a is active").epoch.0;
        let completed = format!("outcome=\"completed\",pair=\"{PAIR}\"");
        let handovers = of_pair(&scrape(), "lockstep_handovers_total", &completed);
        let (handover, scrapes) = std::thread::scope(|threads| {
            let scraper = threads.spawn(|| {
                let mut before = scrape();
                let mut scrapes = 1;
                while !done.load(Relaxed) {
                    let now = scrape();
                    assert_eq!(now.fell(&before), Vec::<String>::new(), "counters only grow");
                    before = now;
                    scrapes += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                scrapes
            });
            let _done = Raised(&done);
            client.let_flow(150);
            std::fs::rename(&log, dir.join("access.log.1")).unwrap();
            until("the log to be begun anew", || log.exists().then_some(()));
            let handover = bed.switch(B);
            client.let_flow(150);
            std::fs::rename(&log, dir.join("access.log.2")).unwrap();
            bed.signal_edge(Signal::SIGUSR1);
            until("the log to be begun anew", || log.exists().then_some(()));
            client.let_flow(50);
            done.store(true, Relaxed);
            (handover, scraper.join().unwrap())
        });
        let seen = client.finish(&bed);
        seen.nothing_lost();
        println!("{scrapes} scrapes under load");
        assert!(scrapes > 10);

        let sent: Vec<&Exchange> = seen.exchanges().iter().collect();
        let all = || ["access.log.1", "access.log.2", "access.log"].map(|name| lines(&dir.join(name))).concat();
        let lines = until("all lines to be written", || Some(all()).filter(|lines| lines.len() >= sent.len()));
        assert_eq!(lines.len(), sent.len(), "one line for each request");
        let traces: BTreeSet<&str> = lines.iter().map(|line| line["trace_id"].as_str().unwrap()).collect();
        assert_eq!(traces.len(), lines.len(), "each is another one");

        // The client, which hears it from the application, and the log agree on who served.
        let of_side = |of| lines.iter().filter(move |line| side(line) == Some(of));
        for of in Side::BOTH {
            let served = sent.iter().filter(|exchange| exchange.side == Some(of)).count();
            assert_eq!(of_side(of).count(), served, "side {of}");
            assert!(served > 0, "side {of} has served");
        }
        let epochs = |of| of_side(of).map(|line| line["epoch"].as_u64().unwrap()).collect::<BTreeSet<u64>>();
        assert_eq!((epochs(A), epochs(B)), (BTreeSet::from([first]), BTreeSet::from([handover.record.epoch.0])));
        assert!(lines.iter().all(|line| line["status"] == 200 && line["by"] == "side" && line["pair"] == PAIR));
        let posts = sent.iter().filter(|exchange| exchange.method == "POST").count();
        assert_eq!(lines.iter().filter(|line| line["method"] == "POST").count(), posts);
        let held = lines.iter().filter(|line| line["hold_ms"].as_f64().unwrap() > 0.0);
        let longest = held.clone().map(|line| line["hold_ms"].as_f64().unwrap()).fold(0.0, f64::max);
        let gap = handover.measures.gap_ms.expect("it was held");
        println!("{} held, the longest for {longest:.1} ms; hold to commit took {gap:.1} ms", held.clone().count());
        assert!(held.clone().all(|line| side(line) == Some(B)), "who was held was served by the new side");

        // And so do the metrics.
        let last = scrape();
        let pair = format!("pair=\"{PAIR}\"");
        for of in Side::BOTH {
            let answered = of_pair(&last, "lockstep_requests_total", &format!("class=\"2xx\",{pair},side=\"{of}\""));
            assert_eq!(answered, of_side(of).count() as u64, "side {of}");
            let counted = of_pair(&last, "lockstep_request_seconds_count", &format!("{pair},side=\"{of}\""));
            let first = of_pair(&last, "lockstep_first_byte_seconds_count", &format!("{pair},side=\"{of}\""));
            assert_eq!((counted, first), (answered, answered));
            let bytes = |line: &&Value| line["bytes_out"].as_u64().unwrap();
            let sent = of_pair(&last, "lockstep_body_bytes_total", &format!("direction=\"out\",{pair},side=\"{of}\""));
            assert_eq!(sent, of_side(of).map(|line| bytes(&line)).sum::<u64>());
        }
        assert_eq!(of_pair(&last, "lockstep_requests_taken_total", &pair), sent.len() as u64);
        assert_eq!(last.sum("lockstep_own_answers_total") as u64, 0);
        assert_eq!(of_pair(&last, "lockstep_holds_total", &pair), handover.measures.held);
        assert_eq!(
            of_pair(&last, "lockstep_holds_ended_total", &format!("how=\"released\",{pair}")),
            held.count() as u64
        );
        assert_eq!(of_pair(&last, "lockstep_handovers_total", &completed), handovers + 1);
        assert_eq!(of_pair(&last, "lockstep_pair_active", &format!("{pair},side=\"b\"")), 1);
        assert_eq!(of_pair(&last, "lockstep_pair_route", &format!("{pair},route=\"b\"")), 1);
        assert_eq!(last.sum("lockstep_pair_route") as u64, 1, "one route stands");
        assert_eq!(of_pair(&last, "lockstep_side_unfenced", &format!("{pair},side=\"a\"")), 0);
        assert_eq!(of_pair(&last, "lockstep_agent_connected", &format!("link=\"main\",{pair},side=\"a\"")), 1);
        assert_eq!(last.get("lockstep_access_log_lines_total"), Some(lines.len() as f64));
        assert_eq!(last.get("lockstep_access_log_lost_total"), Some(0.0));
        only_known_samples(&last);

        // The admin API has them too, for who has the token.
        let token = std::fs::read_to_string(dir.join("edge/admin.token")).unwrap();
        let asked = |fields: &[(&str, &str)]| get(ADMIN, "/metrics", fields).unwrap();
        assert_eq!(asked(&[]).status, 401);
        let with_token = asked(&[("authorization", &format!("Bearer {token}"))]);
        assert!(Scrape::read(&with_token.body).unwrap().get("lockstep_pair_epoch{pair=\"telisca\"}").is_some());
        assert_eq!(get(METRICS, "/v1/status", &[]).unwrap().status, 404);

        // So does a person.
        on_a_terminal(&bed);
        let top = lockstep().args(["top", "--once", "--config"]).arg(bed.edge_file()).output().unwrap();
        let top = String::from_utf8(top.stdout).unwrap();
        println!("{top}");
        let row: Vec<&str> = top.lines().find(|line| line.starts_with(PAIR)).unwrap().split_whitespace().collect();
        assert_eq!(row[1..3], ["b", "b"], "{top}");
    });
}

/// No sample that the page does not have, and no label by which a client could make them grow.
fn only_known_samples(scrape: &Scrape) {
    let known: BTreeMap<&str, BTreeSet<&str>> =
        families().map(|family| (family.name, family.labels.iter().copied().collect())).collect();
    for sample in scrape.samples().keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let of_histogram = families().find(|family| {
            let parts = ["_bucket", "_sum", "_count"];
            family.kind == Kind::Histogram && parts.iter().any(|part| name == format!("{}{part}", family.name))
        });
        let family = of_histogram.map_or(name, |family| family.name);
        let expected = known.get(family).unwrap_or_else(|| panic!("{sample} is on no page"));
        let found: BTreeSet<&str> =
            labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        let found: BTreeSet<&str> = found.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(found, *expected, "{sample}");
    }
    assert!(scrape.samples().len() < 400, "{} samples for one pair", scrape.samples().len());
}

/// Requests do not wait for a disk that is full; what is not written is counted; when there is room, lines come again.
#[test]
fn a_full_disk_loses_lines_and_no_request() {
    in_a_world_of_its_own(|dir| {
        let small = dir.join("small");
        std::fs::create_dir(&small).unwrap();
        mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        let log = small.join("access.log");
        let bed = bed(dir, &log);
        let client = bed.client(500);
        let counted = |what: &str| scrape().get(&format!("lockstep_access_log_{what}_total")).expect("there is a log");
        until("lines to be lost", || (counted("lost") > 0.0).then_some(()));
        client.let_flow(100);
        let full = counted("lines");
        mount(None::<&str>, &small, None::<&str>, MsFlags::MS_REMOUNT, Some("size=64m")).unwrap();
        until("lines to be written again", || (counted("lines") > full).then_some(()));
        client.let_flow(100);
        let seen = client.finish(&bed);
        seen.nothing_lost();
        let sent = seen.exchanges().len() as f64;
        until("all lines to be written or counted", || (counted("lines") + counted("lost") >= sent).then_some(()));
        assert_eq!(counted("lines") + counted("lost"), sent);
        let whole = lines(&log);
        println!("{} lines of {sent} written, {} lost", whole.len(), counted("lost"));
        assert_eq!(whole.len() as f64, counted("lines"), "what is counted as written is there, and whole");
        let (_, status) = bed.type_as("jo", &["status"]);
        assert!(status.contains("lines lost, the disk was too slow or full"), "{status}");
    });
}

/// `lockstep top` on a terminal: it leaves it as it was, whether its reader or somebody else ends it.
fn on_a_terminal(bed: &Bed) {
    let edge = bed.edge_file();
    let top = format!("{} top --config {}", lockstep_tests::lockstep().display(), edge.display());
    for (command, typed) in [(top.clone(), "q"), (format!("timeout --foreground -s TERM 3 {top}"), "x")] {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{command}; stty -a"), "/dev/null"]);
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut keys = script.stdin.take().unwrap();
        let mut output = script.stdout.take().unwrap();
        let (mut seen, mut part) = (Vec::new(), [0; 4096]);
        let shows = |seen: &[u8], what: &str| String::from_utf8_lossy(seen).contains(what);
        while let Ok(read @ 1..) = output.read(&mut part) {
            seen.extend_from_slice(&part[..read]);
            if shows(&seen, "AGENT B") && !shows(&seen, "\u{1b}[?1049l") {
                let _ = keys.write_all(typed.as_bytes());
            }
        }
        script.wait().unwrap();
        let text = String::from_utf8_lossy(&seen);
        for part in ["\u{1b}[?1049h", "\u{1b}[?1049l", " icanon", " echo "] {
            assert!(text.contains(part), "{command}: no {part:?} in {text:?}");
        }
        let (before, after) = text.split_once("\u{1b}[?1049l").expect("it is there");
        assert!(before.contains(PAIR) && after.contains("speed"), "{text:?}");
    }
}
