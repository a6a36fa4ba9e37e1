//! The wire between edge and nodes: a switch in this process, which all frames from one host to another have to pass.
//!
//! The kernels of test machines seldom have `netem`. So the cables' ends are not put on the bridge but are read and written here, frame by
//! frame, by packet sockets, and each of the six directions between the three hosts has a weather of its own. The switch also sees
//! when the edge gave which request to which side: the one witness of I2 that nobody under test can fool.

use crate::schedule::{Host, Path, Weather};
use crate::sighting::{self, Given};
use fastrand::Rng;
use lockstep_demo::now;
use lockstep_policy::Side;
use lockstep_tests::bed::Bed;
use nix::cmsg_space;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{bind, recv, recvmsg, send, setsockopt, socket};
use nix::sys::time::{TimeSpec, TimeValLike};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// The cable's ends at the switch, in the order of [`Host::ALL`].
const ENDS: [&str; 3] = ["edge-end", "port-a", "port-b"];
/// Frames on their way; one more is lost, as in any switch.
const UNDER_WAY: usize = 20_000;
/// Frames that are read from one cable before the others have their turn.
const BATCH: usize = 64;
/// So long, in nanoseconds, the switch waits at most before it looks whether it is over.
const LOOK: u64 = 20_000_000;
/// The longest frame of an Ethernet.
const FRAME: usize = 2_048;

type Mac = [u8; 6];

/// A host's hardware address; the edge's is what the bed gives its bridge.
fn mac(host: Host) -> Mac {
    [2, 0, 0, 0, 0, [0x64, 1, 2][host.index()]]
}

/// What is asked of the switch, and what it has seen.
#[derive(Debug, Default)]
struct Shared {
    weathers: Mutex<Vec<(usize, Path, Weather)>>,
    given: Mutex<Vec<Given>>,
    over: AtomicBool,
}

/// The switch, at work until it is dropped.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Takes the nodes' cables off the bed's bridge and puts a switch of that seed between the three.
    pub fn lay(bed: &Bed, seed: u64) -> Wire {
        run("ip link add edge-end type veth peer name edge-port");
        run("ip link set edge-port master bridge up");
        run("ip link set edge-end up");
        // With this second port the bridge stands, and takes what the edge sends, when the edge's cable is pulled.
        run("ip link add bridge-end type veth peer name bridge-port");
        run("ip link set bridge-port master bridge up");
        run("ip link set bridge-end up");
        // Checksums and segments that a network card would make are made before a frame is here.
        run("ethtool -K edge-port tx off");
        run("nft add table netdev switch");
        for (end, host) in ENDS.into_iter().zip(Host::ALL) {
            if let Host::Node(side) = host {
                run(&format!("ip link set {end} nomaster"));
                on(bed, side, "ethtool -K eth0 tx off");
                on(bed, side, &format!("ip link set eth0 address {}", text(mac(host))));
            }
            // The packet sockets have had a frame before it comes to this rule: the kernel must not answer it as well.
            run(&format!(
                "nft add chain netdev switch {end} {{ type filter hook ingress device {end} priority 0 ; policy drop ; }}"
            ));
        }
        let (ends, ear) = (ENDS.map(packet_socket), packet_socket("bridge"));
        setsockopt(&ear, ReceiveTimestampns, &true).unwrap();
        let shared = Arc::<Shared>::default();
        let switch = Switch {
            shared: Arc::clone(&shared),
            ends,
            ear,
            rng: Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            frames: 0,
        };
        let thread = std::thread::Builder::new().name("wire".to_owned()).spawn(move || switch.run()).unwrap();
        Wire { shared, thread: Some(thread) }
    }

    /// From now on a path has that weather as well, under that number.
    pub fn begin(&self, number: usize, path: Path, weather: Weather) {
        self.weathers().push((number, path, weather));
    }

    /// That weather is over.
    pub fn end(&self, number: usize) {
        self.weathers().retain(|(of, _, _)| *of != number);
    }

    /// Which requests the edge has given to which side, as far as they were seen.
    pub fn given(&self) -> Vec<Given> {
        self.shared.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn weathers(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Path, Weather)>> {
        self.shared.weathers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When it is due, its number (equals keep their order), the cable that it goes to, and the frame.
type Delivery = Reverse<(u64, u64, usize, Vec<u8>)>;

struct Switch {
    shared: Arc<Shared>,
    ends: [OwnedFd; 3],
    /// Hears what the edge sends, also what never comes to the switch.
    ear: OwnedFd,
    rng: Rng,
    queue: BinaryHeap<Delivery>,
    frames: u64,
}

impl Switch {
    fn run(mut self) {
        while !self.shared.over.load(Ordering::Relaxed) {
            self.wait();
            self.listen();
            for host in Host::ALL {
                self.take_from(host);
            }
            self.deliver();
        }
    }

    /// Until a frame comes or one is due; for a while at most.
    fn wait(&self) {
        let due = self.queue.peek().map_or(LOOK, |Reverse((due, ..))| due.saturating_sub(now()).min(LOOK));
        let timeout = Timespec { tv_sec: 0, tv_nsec: due.try_into().unwrap_or(0) };
        let [edge, a, b] = self.ends.each_ref();
        let mut ends = [edge, a, b, &self.ear].map(|end| PollFd::new(end, PollFlags::IN));
        match poll(&mut ends, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the wire cannot be watched: {error}"),
        }
    }

    fn listen(&mut self) {
        let mut buffer = [0u8; FRAME];
        while let Some((length, at)) = heard(&self.ear, &mut buffer) {
            let frame = &buffer[..length];
            if length >= 14 && frame[6..12] == mac(Host::Edge) {
                let given = sighting::given(frame, at);
                self.shared.given.lock().unwrap_or_else(PoisonError::into_inner).extend(given);
            }
        }
    }

    fn take_from(&mut self, from: Host) {
        let mut buffer = [0u8; FRAME];
        for _ in 0..BATCH {
            // A cable that was pulled says so once; then it is silent.
            let Ok(length) = recv(self.ends[from.index()].as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) else {
                return;
            };
            let at = now();
            let frame = &buffer[..length];
            // A packet socket also hears what is sent by the cable's end itself.
            if length < 14 || frame[6..12] != mac(from) {
                continue;
            }
            for to in Host::ALL.into_iter().filter(|to| *to != from && sighting::is_for(frame, mac(*to), *to)) {
                self.forward(at, from, to, frame);
            }
        }
    }

    fn forward(&mut self, at: u64, from: Host, to: Host, frame: &[u8]) {
        let weathers = self.shared.weathers.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut due, mut copies) = (at, 1);
        for (_, _, weather) in weathers.iter().filter(|(_, path, _)| path.covers(from, to)) {
            if self.rng.u32(0..100) < weather.lost {
                return;
            }
            copies += u32::from(self.rng.u32(0..100) < weather.twice);
            let jitter = u64::try_from(weather.jitter.as_nanos()).unwrap_or(0);
            due += u64::try_from(weather.delay.as_nanos()).unwrap_or(0) + self.rng.u64(0..=jitter);
        }
        drop(weathers);
        for _ in 0..copies {
            if self.queue.len() < UNDER_WAY {
                self.frames += 1;
                self.queue.push(Reverse((due, self.frames, to.index(), frame.to_vec())));
            }
        }
    }

    fn deliver(&mut self) {
        let now = now();
        while self.queue.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, to, frame))) = self.queue.pop() else { return };
            // On a cable that is pulled, a frame is lost.
            let _ = send(self.ends[to].as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT);
        }
    }
}

/// The next frame that an ear has heard: its length, and when the kernel let it pass, however late it is read.
fn heard(ear: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, u64)> {
    let mut pieces = [IoSliceMut::new(buffer)];
    let mut control = cmsg_space!(TimeSpec);
    let message = recvmsg::<LinkAddr>(ear.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::MSG_DONTWAIT).ok()?;
    // The kernel's stamps are of the wall clock, which nobody sets meanwhile: worlds set their own.
    let age = message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(TimeSpec::from(clock_gettime_wall()) - stamp),
        _ => None,
    })?;
    let age = u64::try_from(age.num_nanoseconds()).unwrap_or(0);
    Some((message.bytes, now() - age))
}

fn clock_gettime_wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn packet_socket(interface: &str) -> OwnedFd {
    let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    let is_it = |address: &LinkAddr| address.ifindex() == index(interface);
    let addresses = getifaddrs().unwrap().filter_map(|interface| interface.address?.as_link_addr().copied());
    let address = addresses.into_iter().find(is_it).expect("it was made a moment ago");
    bind(raw.as_raw_fd(), &address).unwrap();
    raw
}

fn index(interface: &str) -> usize {
    usize::try_from(nix::net::if_::if_nametoindex(interface).unwrap()).unwrap_or(0)
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Runs a tool in the edge's place.
pub fn run(line: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    finish(command, line);
}

/// Runs a tool on a node.
pub fn on(bed: &Bed, side: Side, line: &str) {
    let mut words = line.split_whitespace();
    let mut command = bed.network().command_on(side, words.next().unwrap());
    command.args(words);
    finish(command, line);
}

fn finish(mut command: Command, line: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "`{line}` says: {}", String::from_utf8_lossy(&output.stderr));
}
