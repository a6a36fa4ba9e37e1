//! TCP clients through a planned switch, a `kill -9` and a cable that is pulled: each listener's word, and none left on the old side.

use crate::bed::{Bed, until};
use crate::configuration::{self, PAIR};
use crate::network::{VIP, address};
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{self, A, B};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Where the nodes' servers for streams listen, and nobody else connects.
const LINES: u16 = 2011;
/// The VIP's ports, by the word of their listeners.
const CLOSE: u16 = 2011;
const RESET: u16 = 2012;
const FINISH: u16 = 2013;
const WORDS: [u16; 3] = [CLOSE, RESET, FINISH];
const CLIENTS: usize = 50;
/// How long a stream may be finished. A switch takes less by far.
const FINISH_WITHIN: Duration = Duration::from_secs(6);
/// Far longer than an end takes to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn are_treated_as_configured_and_none_stays_on_the_old_side() {
    in_a_world_of_its_own(|dir| {
        let mut bed = bed(dir);
        bed.start();
        let client = bed.client(50);
        let mut lines: Vec<Line> = (0..CLIENTS).map(|number| Line::begin(WORDS[number % 3], A)).collect();
        assert!(bed.at(A) >= CLIENTS, "and a probe's, for a moment");

        bed.switch(B);
        for line in &mut lines {
            match line.port {
                CLOSE => assert_eq!(line.end(), End::Fin),
                RESET => assert_eq!(line.end(), End::Reset),
                _ => assert!(line.is_open(), "one that may be finished has ended"),
            }
        }
        let mut leave: Vec<Line> = lines.into_iter().filter(|line| line.port == FINISH).collect();
        let stay = leave.split_off(leave.len() / 2);
        leave.into_iter().for_each(|line| assert_eq!(line.leave(), End::Fin));
        stay.into_iter().for_each(|mut line| assert_eq!(line.end(), End::Fin, "its time was over"));
        bed.none_left(A);

        // Who comes again comes to the new side; its end is a failover.
        let lines: Vec<Line> = (0..CLIENTS).map(|number| Line::begin(WORDS[number % 3], B)).collect();
        bed.wait_well(B);
        bed.kill_agent(B);
        for mut line in lines {
            // A server that dies ends it, and a cut follows: the first of the two is seen.
            line.end();
        }
        bed.none_left(B);
        bed.wait_served(A);
        bed.start_agent(B);
        bed.wait_well(A);

        // Nobody says that this node has gone: it is the cut that ends what was on it.
        let lines: Vec<Line> = (0..CLIENTS).map(|number| Line::begin(WORDS[number % 3], A)).collect();
        bed.unplug(A);
        for mut line in lines {
            let end = if line.port == RESET { End::Reset } else { End::Fin };
            assert_eq!(line.end(), end, "the word of port {}", line.port);
        }
        bed.none_left(A);
        bed.wait_served(B);
        (0..3).for_each(|number| drop(Line::begin(WORDS[number], B)));
        bed.plug(A);
        bed.wait_well(B);
        client.finish(&bed);
    });
}

/// The bed's pair, with servers for streams beside its own, and listeners of each word.
fn bed(dir: &Path) -> Lined {
    let bed = Bed::with_policy(dir, "first_server_auto_restart_as_active = false");
    let listener = |port: u16, word: &str| {
        format!("[[pair.listener]]\nlisten = [\"{VIP}:{port}\"]\nprotocol = \"tcp\"\npool = \"lines\"\n{word}\n")
    };
    let finish = format!("on_switch = \"finish\"\nfinish_within = \"{}s\"", FINISH_WITHIN.as_secs());
    let words = [(CLOSE, "on_switch = \"close\""), (RESET, "on_switch = \"reset\""), (FINISH, &finish)];
    let listeners = words.map(|(port, word)| listener(port, word)).concat();
    let edge = configuration::edge(dir, "first_server_auto_restart_as_active = false");
    let edge =
        edge.replace("[pair.policy]", &format!("{listeners}[pair.handover]\nleftover = \"finish\"\n[pair.policy]"));
    let pools = [A, B].map(|side| format!("[pair.{side}.pools]\nlines = [\"{}:{LINES}\"]\n", address(side))).concat();
    bed.configure_edge(&format!("{edge}\n{pools}"));
    for side in Side::BOTH {
        let (node, log, lock) =
            (address(side), dir.join(format!("lines-{side}.jsonl")), dir.join(format!("cti-{side}.lock")));
        let lines = format!(
            "\n[[service]]\nname = \"lines\"\ndriver = \"exec\"\ncommand = [{:?}, \"simulate\", \"app\", \"--side\", \
             \"{side}\", \"--listen\", \"{node}:{LINES}\", \"--lock\", {lock:?}, \"--log\", {log:?}]\n",
            lockstep_tests::lockstep(),
        );
        bed.configure_agent(side, &(configuration::agent(dir, side, PAIR) + &lines));
    }
    Lined(bed)
}

struct Lined(Bed);

impl std::ops::Deref for Lined {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        &self.0
    }
}

impl std::ops::DerefMut for Lined {
    fn deref_mut(&mut self) -> &mut Bed {
        &mut self.0
    }
}

impl Lined {
    /// Connections of the edge to a side's server for streams, by the kernel's own list.
    fn at(&self, side: Side) -> usize {
        let IpAddr::V4(node) = address(side) else { panic!("the bed is of IPv4") };
        let remote = format!("{:08X}:{LINES:04X}", u32::from_le_bytes(node.octets()));
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        // 02 is a probe's, which knocks at a node that is out of reach; 06 is nothing but the memory of one that has ended.
        let is_open = |state: &&str| !["02", "06"].contains(state);
        lines.filter(|fields| fields.get(2) == Some(&remote.as_str()) && fields.get(3).is_some_and(is_open)).count()
    }

    fn none_left(&self, side: Side) {
        until(&format!("no stream to be left at side {side}"), || (self.at(side) == 0).then_some(()));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// A client's stream.
struct Line {
    socket: TcpStream,
    port: u16,
}

impl Line {
    /// One that a side has answered, whose CTI was active. It may have waited for that.
    fn begin(port: u16, side: Side) -> Line {
        let mut socket = TcpStream::connect(SocketAddr::new(VIP, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"GET /line HTTP/1.1\r\nHost: lines\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        while !is_whole(&answer) {
            let read = socket.read(&mut bytes).unwrap();
            assert!(read > 0, "the stream has ended without an answer");
            answer.extend_from_slice(&bytes[..read]);
        }
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let says = |field: &str| answer.contains(&field.to_ascii_lowercase());
        assert!(says(&format!("x-side: {side}\r\n")) && says("x-cti: active\r\n"), "I2: {answer}");
        Line { socket, port }
    }

    fn is_open(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// How it ends, whatever is said before.
    fn end(&mut self) -> End {
        match self.socket.read_to_end(&mut Vec::new()) {
            Ok(_) => End::Fin,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("it does not end: {error}"),
        }
    }

    /// It says that it has said all.
    fn leave(mut self) -> End {
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
        self.end()
    }
}

/// Whether an answer is here with its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}
