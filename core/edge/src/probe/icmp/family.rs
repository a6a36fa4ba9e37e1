//! One raw socket for all pings of one version of IP, and the thread that hears the answers.
//!
//! A raw socket is handed every ICMP message that reaches the machine. An answer is ours when identifier, sequence
//! number, sender and the request's own random content all fit; everything else belongs to other processes.

use pnet_packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet_packet::icmp::{self, IcmpPacket, IcmpTypes, echo_reply::EchoReplyPacket};
use pnet_packet::icmpv6::{Icmpv6Types, MutableIcmpv6Packet, echo_reply as echo_reply6};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::{Packet, icmp::IcmpCode};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Pings that may wait for their answers at once.
const WAITING: usize = 4096;

/// The header of an echo request, and its content.
const HEADER: usize = 8;
const CONTENT: usize = 8;

/// More than any answer of ours; what is longer is cut, and is not ours.
const LONGEST: usize = 1500;

/// How often the thread looks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    pub fn of(address: &SocketAddr) -> Version {
        if address.is_ipv4() { Version::V4 } else { Version::V6 }
    }
}

/// Somebody has answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub from: IpAddr,
}

/// Why a ping has not left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsent {
    /// The kernel says no.
    Kernel(Errno),
    /// As many as may wait do.
    TooMany,
}

impl Unsent {
    /// It says something of this machine, and nothing of the other end.
    pub fn is_our_own_want(self) -> bool {
        match self {
            Unsent::Kernel(error) => [Errno::NOBUFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE].contains(&error),
            Unsent::TooMany => true,
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsent::Kernel(error) => write!(f, "{error}"),
            Unsent::TooMany => write!(f, "{WAITING} pings wait for their answers already"),
        }
    }
}

/// All pings of one version of IP.
pub(super) struct Family {
    version: Version,
    /// Its code point is set for each packet: whoever sends has it locked.
    socket: Mutex<OwnedFd>,
    identifier: u16,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u16,
    by_sequence: HashMap<u16, Expected>,
}

struct Expected {
    from: IpAddr,
    content: [u8; CONTENT],
    answers: UnboundedSender<Answer>,
}

/// A ping that waits for its answer until this is dropped.
pub(super) struct Request {
    family: Arc<Family>,
    sequence: u16,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.family.waiting().by_sequence.remove(&self.sequence);
    }
}

impl Family {
    /// Needs `CAP_NET_RAW`.
    pub fn open(version: Version) -> Result<Arc<Family>, Errno> {
        let (family, protocol) = match version {
            Version::V4 => (AddressFamily::INET, ipproto::ICMP),
            Version::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(LOOK_UP))?;
        let ear = rustix::io::fcntl_dupfd_cloexec(&socket, 0)?;
        let family = Arc::new(Family {
            version,
            socket: Mutex::new(socket),
            identifier: fastrand::u16(..),
            waiting: Mutex::default(),
        });
        let weak = Arc::downgrade(&family);
        let thread = std::thread::Builder::new().name("pings".to_owned());
        thread
            .spawn(move || listen(&ear, &weak))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(family)
    }

    /// Sends an echo request; its answer is told to `answers`.
    pub fn send(
        self: Arc<Family>,
        to: SocketAddr,
        dscp: u8,
        answers: UnboundedSender<Answer>,
    ) -> Result<Request, Unsent> {
        let content = fastrand::u64(..).to_be_bytes();
        let expected = Expected { from: to.ip(), content, answers };
        let sequence = self.waiting().enter(expected).ok_or(Unsent::TooMany)?;
        // From here on it is taken out again however this ends.
        let request = Request { sequence, family: Arc::clone(&self) };
        let packet = self.packet(sequence, content);
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match self.version {
            Version::V4 => sockopt::set_ip_tos(&*socket, dscp << 2),
            Version::V6 => sockopt::set_ipv6_tclass(&*socket, u32::from(dscp) << 2),
        }
        .map_err(Unsent::Kernel)?;
        sendto(&*socket, &packet, SendFlags::DONTWAIT, &to).map_err(Unsent::Kernel)?;
        drop(socket);
        Ok(request)
    }

    fn packet(&self, sequence: u16, content: [u8; CONTENT]) -> [u8; HEADER + CONTENT] {
        let mut bytes = [0; HEADER + CONTENT];
        // Identifier and sequence number stand at the same places in both versions.
        let mut packet = MutableEchoRequestPacket::new(&mut bytes).expect("it is as long as an echo request");
        packet.set_identifier(self.identifier);
        packet.set_sequence_number(sequence);
        packet.set_payload(&content);
        match self.version {
            Version::V4 => {
                packet.set_icmp_type(IcmpTypes::EchoRequest);
                packet.set_icmp_code(IcmpCode(0));
                let sum = icmp::checksum(&IcmpPacket::new(&bytes).expect("it is longer than a header"));
                let mut packet = MutableEchoRequestPacket::new(&mut bytes).expect("as above");
                packet.set_checksum(sum);
            }
            // The kernel adds the checksum, which is over addresses that only it knows (RFC 3542, 3.1).
            Version::V6 => {
                let mut packet = MutableIcmpv6Packet::new(&mut bytes).expect("it is longer than a header");
                packet.set_icmpv6_type(Icmpv6Types::EchoRequest);
            }
        }
        bytes
    }

    fn hear(&self, from: IpAddr, bytes: &[u8]) {
        let heard = match self.version {
            Version::V4 => reply_v4(bytes),
            Version::V6 => reply_v6(bytes),
        };
        let Some((identifier, sequence, content)) = heard else { return };
        if identifier != self.identifier {
            return;
        }
        let waiting = self.waiting();
        if let Some(expected) = waiting.by_sequence.get(&sequence)
            && expected.from == from
            && expected.content == *content
        {
            // Nobody waits any more: fine.
            let _ = expected.answers.send(Answer { from });
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The sequence number that it gets; none when there is no room.
    fn enter(&mut self, expected: Expected) -> Option<u16> {
        if self.by_sequence.len() >= WAITING {
            return None;
        }
        while self.by_sequence.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.by_sequence.insert(sequence, expected);
        Some(sequence)
    }
}

fn listen(socket: &OwnedFd, family: &Weak<Family>) {
    let mut bytes = [0; LONGEST];
    loop {
        let heard = recvfrom(socket, &mut bytes, RecvFlags::empty());
        let Some(family) = family.upgrade() else { return };
        match heard {
            Ok((_, length, Some(from))) => {
                if let Ok(from) = SocketAddr::try_from(from) {
                    family.hear(from.ip(), &bytes[..length.min(LONGEST)]);
                }
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            // An error that a former packet has met; it must not become a busy loop.
            Err(error) => {
                tracing::debug!(%error, "hearing answers to pings");
                drop(family);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Identifier, sequence number and content of an echo reply, with the IP header before it.
fn reply_v4(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let header = usize::from(Ipv4Packet::new(bytes)?.get_header_length()) * 4;
    let message = bytes.get(header..)?;
    let packet = IcmpPacket::new(message)?;
    // A raw socket hears messages before the kernel has looked at their checksum.
    if packet.get_icmp_type() != IcmpTypes::EchoReply || packet.get_checksum() != icmp::checksum(&packet) {
        return None;
    }
    let reply = EchoReplyPacket::new(message)?;
    Some((reply.get_identifier(), reply.get_sequence_number(), message.get(HEADER..)?))
}

/// The same without a header before it.
fn reply_v6(message: &[u8]) -> Option<(u16, u16, &[u8])> {
    let reply = echo_reply6::EchoReplyPacket::new(message)?;
    if reply.get_icmpv6_type() != Icmpv6Types::EchoReply {
        return None;
    }
    let content = reply.packet().get(HEADER..).map(|content| content.len())?;
    Some((reply.get_identifier(), reply.get_sequence_number(), &message[message.len() - content..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header that says so much of itself, and an ICMP message with a right checksum.
    fn packet(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut message = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 7], content].concat();
        let sum = icmp::checksum(&IcmpPacket::new(&message).unwrap());
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut header = [0; 20];
        header[0] = 0x45;
        [&header[..], &message].concat()
    }

    #[test]
    fn only_a_whole_reply_with_a_right_checksum_is_heard() {
        assert_eq!(reply_v4(&packet(0, b"12345678")), Some((0x1234, 7, &b"12345678"[..])));
        assert_eq!(reply_v4(&packet(8, b"12345678")), None, "a request");
        let mut damaged = packet(0, b"12345678");
        damaged[25] ^= 1;
        assert_eq!(reply_v4(&damaged), None);
        for length in 0..28 {
            assert_eq!(reply_v4(&packet(0, b"12345678")[..length]), None, "{length} bytes");
        }
        let mut lying = packet(0, b"12345678");
        lying[0] = 0x4f;
        assert_eq!(reply_v4(&lying), None, "a header that ends behind the packet");
        assert_eq!(reply_v6(&[129, 0, 0, 0, 0x12, 0x34, 0, 7, 1]), Some((0x1234, 7, &[1][..])));
        assert_eq!(reply_v6(&[128, 0, 0, 0, 0x12, 0x34, 0, 7, 1]), None);
        assert_eq!(reply_v6(&[129, 0, 0]), None);
    }

    #[test]
    fn no_more_pings_wait_than_there_is_room_for() {
        let (answers, _heard) = tokio::sync::mpsc::unbounded_channel();
        let mut waiting = Waiting { next: u16::MAX - 10, ..Waiting::default() };
        let expected =
            || Expected { from: IpAddr::from([192, 0, 2, 1]), content: [0; CONTENT], answers: answers.clone() };
        let given: std::collections::HashSet<u16> = (0..WAITING).map(|_| waiting.enter(expected()).unwrap()).collect();
        assert_eq!(given.len(), WAITING, "each has a number of its own, across the end of the numbers");
        assert_eq!(waiting.enter(expected()), None);
    }
}
