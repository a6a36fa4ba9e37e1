//! Another process goes on as the edge while clients are served: nobody is refused, leases and roles stay, and what the process before
//! still has obeys the roles.

use crate::bed::{Bed, until};
use crate::configuration;
use crate::knocks::{Knocks, Lasting};
use crate::network::VIP;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::path::Path;

const STAYS: &str = "first_server_auto_restart_as_active = false";
/// The VIP's port for streams, which end when their side loses the role.
const STREAMS: u16 = 2011;

/// A bed with a listener for streams.
fn bed(dir: &Path, edge: &str) -> Bed {
    let bed = Bed::new(dir);
    let text = configuration::calm(&configuration::edge(dir, STAYS));
    let listener = format!("[[pair.listener]]\nlisten = [\"{VIP}:{STREAMS}\"]\nprotocol = \"tcp\"\n[pair.policy]");
    // Who is idle leaves the old process by then; its client has connections that it hardly needs.
    let listener = format!("[pair.limits]\nidle_timeout = \"8s\"\n{listener}");
    let text = text.replacen("\n[[pair]]", &format!("\n{edge}\n[[pair]]"), 1).replacen("[pair.policy]", &listener, 1);
    bed.configure_edge(&text);
    bed
}

fn started(bed: &Bed) -> Option<String> {
    bed.ask(async |operator| operator.status().await).ok().map(|status| status.started)
}

/// Has another process go on, by an operator's word: its number.
fn upgrade(bed: &Bed) -> i32 {
    let (code, said) = bed.type_as("eva", &["upgrade"]);
    assert_eq!(code, 0, "{said}");
    said.trim().rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn three_in_a_row_lose_nothing_and_the_old_ones_obey_the_roles() {
    in_a_world_of_its_own(|dir| {
        let mut bed = bed(dir, "");
        bed.start();
        let (cti, epoch) = (bed.cti(A), bed.pair().unwrap().active.unwrap().epoch);
        let client = bed.client(300);
        let knocks = Knocks::begin(configuration::vip());
        client.let_flow(100);
        let mut streams = vec![Lasting::begin(SocketAddr::new(VIP, STREAMS))];
        let mut kept = Lasting::begin(configuration::vip());

        let before = started(&bed);
        bed.signal_edge(Signal::SIGUSR2);
        until("another process", || started(&bed).filter(|now| Some(now) != before.as_ref()));
        client.let_flow(100);
        assert!(kept.ask().contains("connection: close"), "it is told to come again");
        kept.wait_end();
        let mut processes = Vec::new();
        for _ in 0..2 {
            streams.push(Lasting::begin(SocketAddr::new(VIP, STREAMS)));
            processes.push(upgrade(&bed));
            client.let_flow(100);
            for stream in &mut streams {
                stream.ask();
            }
        }
        bed.wait_well(A);
        assert_eq!((bed.cti(A), bed.pair().unwrap().active.unwrap().epoch), (cti, epoch), "nobody has moved");
        assert!(!bed.edge_has_ended() && processes.iter().all(|pid| is_alive(*pid)), "each has a stream");
        bed.log("edge")
            .lines()
            .filter(|line| line.contains("another process goes on"))
            .for_each(|line| println!("{line}"));

        // Two generations of processes have streams to A, and the present one serves.
        bed.switch(B);
        for stream in &mut streams {
            stream.wait_end();
        }
        until("the first process to end", || bed.edge_has_ended().then_some(()));
        until("the second one to end", || (!is_alive(processes[0])).then_some(()));
        client.let_flow(50);
        knocks.nothing_lost();
        client.finish(&bed).nothing_lost();
        assert!(is_alive(processes[1]));
    });
}

#[test]
fn to_a_broken_program_it_changes_nothing() {
    in_a_world_of_its_own(|dir| {
        let mut bed = bed(dir, "");
        // Whoever takes over dies as soon as it is the edge.
        bed.set_edge_environment(vec![("LOCKSTEP_CRASH_AT".to_owned(), "succession".to_owned())]);
        bed.start();
        let (cti, epoch) = (bed.cti(A), bed.pair().unwrap().active.unwrap().epoch);
        let client = bed.client(300);
        let knocks = Knocks::begin(configuration::vip());
        client.let_flow(50);
        let before = started(&bed);
        let mut stream = Lasting::begin(SocketAddr::new(VIP, STREAMS));
        for (program, why) in [
            (&["--program", "/nowhere/lockstep"][..], "cannot be started"),
            (&["--program", "/bin/false"], "has ended"),
            (&[], "has ended before it has taken over"),
        ] {
            let (code, said) = bed.type_as("eva", &[&["upgrade"], program].concat());
            assert!(code == 1 && said.contains(why), "{code}: {said}");
            client.let_flow(50);
            stream.ask();
        }
        let good = std::fs::read_to_string(bed.edge_file()).unwrap();
        let (broken, renamed) = (good.replace("fast = true", "fest = true"), good.replace("edge-1", "edge-2"));
        for (text, why) in [(broken, "fest"), (renamed, "edge-2")] {
            bed.configure_edge(&text);
            let (code, said) = bed.type_as("eva", &["upgrade"]);
            assert!(code == 1 && said.contains(why), "{code}: {said}");
        }
        bed.configure_edge(&good);
        client.let_flow(50);
        bed.wait_well(A);
        assert_eq!(started(&bed), before, "it is the same edge");
        assert_eq!((bed.cti(A), bed.pair().unwrap().active.unwrap().epoch), (cti, epoch), "nobody has moved");
        knocks.nothing_lost();
        client.finish(&bed).nothing_lost();
        bed.switch(B);
        stream.wait_end();
    });
}

/// Who leaves at last has not left a client that has not had its time, and not kept one for longer.
#[test]
fn what_outstays_its_time_is_let_go_and_what_loses_its_successor_is_cut() {
    in_a_world_of_its_own(|dir| {
        let mut bed = bed(dir, "drain = \"2s\"");
        bed.start();
        let mut first = Lasting::begin(SocketAddr::new(VIP, STREAMS));
        let before = std::time::Instant::now();
        let second = upgrade(&bed);
        first.ask();
        first.wait_end();
        assert!(before.elapsed() >= std::time::Duration::from_secs(2));
        until("the first process to end", || bed.edge_has_ended().then_some(()));

        let text = std::fs::read_to_string(bed.edge_file()).unwrap().replace("drain = \"2s\"", "drain = \"1h\"");
        bed.configure_edge(&text);
        assert_eq!(bed.type_as("eva", &["reload"]).0, 0);
        let mut stream = Lasting::begin(SocketAddr::new(VIP, STREAMS));
        let third = upgrade(&bed);
        stream.ask();
        kill(Pid::from_raw(third), Signal::SIGKILL).unwrap();
        stream.wait_end();
        until("the second process to end", || (!is_alive(second)).then_some(()));
    });
}
