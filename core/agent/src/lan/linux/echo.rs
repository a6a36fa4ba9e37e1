//! ICMP echo (RFC 792, RFC 4443): whether any of some addresses answers.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Of each kind of packet, where its answers are told from others' (the payload comes back as it was sent).
const PAYLOAD: &[u8; 16] = b"lockstep on LAN?";

/// Whether the kernel lets this process ask, by the addresses' families.
pub(crate) fn permitted(v4: bool, v6: bool) -> io::Result<()> {
    let families = [(v4, false), (v6, true)];
    families.into_iter().filter(|(wanted, _)| *wanted).try_for_each(|(_, v6)| Asker::open(v6).map(drop))
}

/// Asks all of them at once: the first answer counts. The error says what became of each.
pub(super) fn any_answers(addresses: &[SocketAddr], patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    let mut asked = Vec::new();
    let mut faults = Vec::new();
    for address in addresses {
        match Asker::open(address.is_ipv6()).and_then(|asker| asker.ask(*address).map(|()| asker)) {
            Ok(asker) => asked.push((asker, *address)),
            Err(error) => faults.push(format!("{} cannot be asked: {error}", address.ip())),
        }
    }
    while !asked.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut ready: Vec<PollFd<'_>> =
            asked.iter().map(|(asker, _)| PollFd::new(&asker.socket, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("answers cannot be waited for: {error}")),
        }
        let mut index = 0;
        while let Some((asker, address)) = asked.get(index) {
            match asker.answered(*address) {
                Ok(true) => return Ok(()),
                Ok(false) => index += 1,
                Err(error) => {
                    faults.push(format!("{} cannot be reached: {error}", address.ip()));
                    asked.remove(index);
                }
            }
        }
    }
    faults.extend(asked.iter().map(|(_, address)| format!("{} does not answer", address.ip())));
    Err(faults.join("; "))
}

/// A socket for one question.
#[derive(Debug)]
struct Asker {
    socket: UdpSocket,
    v6: bool,
    /// Everything that the host receives comes, with its IP header where it is IPv4.
    raw: bool,
    number: u16,
}

impl Asker {
    fn open(v6: bool) -> io::Result<Asker> {
        static NUMBERS: AtomicU16 = AtomicU16::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let asker = |socket: OwnedFd, raw| Asker { socket: socket.into(), v6, raw, number };
        match socket(v6, SocketType::DGRAM) {
            Ok(socket) => Ok(asker(socket, false)),
            Err(_) => Ok(asker(socket(v6, SocketType::RAW)?, true)),
        }
    }

    /// What a ping socket writes itself: the identifier, and IPv4's checksum. A raw one leaves both to us.
    fn ask(&self, address: SocketAddr) -> io::Result<()> {
        let mut packet = vec![if self.v6 { 128 } else { 8 }, 0, 0, 0];
        packet.extend(identifier().to_be_bytes());
        packet.extend(self.number.to_be_bytes());
        packet.extend(PAYLOAD);
        if !self.v6 {
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        self.socket.send_to(&packet, address).map(drop)
    }

    /// Takes in what has come. An error: the host itself knows that the address cannot be reached.
    fn answered(&self, address: SocketAddr) -> io::Result<bool> {
        let mut packet = [0; 256];
        loop {
            match self.socket.recv_from(&mut packet) {
                Ok((count, from)) if from.ip() == address.ip() && self.is_answer(&packet[..count]) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_answer(&self, packet: &[u8]) -> bool {
        let header =
            if self.raw && !self.v6 { packet.first().map_or(0, |first| usize::from(first & 0xf) * 4) } else { 0 };
        let Some(packet) = packet.get(header..) else { return false };
        let [kind, 0, _, _, high, low, first, second, payload @ ..] = packet else { return false };
        let own = !self.raw || u16::from_be_bytes([*high, *low]) == identifier();
        let number = u16::from_be_bytes([*first, *second]) == self.number;
        own && number && *kind == if self.v6 { 129 } else { 0 } && payload == PAYLOAD
    }
}

fn socket(v6: bool, kind: SocketType) -> io::Result<OwnedFd> {
    let (family, protocol) =
        if v6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))?)
}

/// This process's, for raw sockets.
fn identifier() -> u16 {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// RFC 1071, of an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let sum: u32 = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_the_sum_zero() {
        let mut packet = vec![8, 0, 0, 0, 0x12, 0x34, 0, 7, 0xff, 0xff];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn loopback_answers_where_asking_is_permitted() {
        if permitted(true, false).is_err() {
            return;
        }
        let patience = Duration::from_secs(10);
        assert_eq!(any_answers(&["127.0.0.1:0".parse().unwrap()], patience), Ok(()));
        // One of several is enough, and one that cannot be reached takes nobody's time.
        let addresses = ["127.0.0.1:0", "[::1]:0"].map(|text| text.parse().unwrap());
        assert_eq!(any_answers(&addresses, patience), Ok(()));
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        if permitted(true, false).is_err() {
            return;
        }
        let why = any_answers(&["255.255.255.255:0".parse().unwrap()], Duration::from_secs(10)).unwrap_err();
        assert!(why.starts_with("255.255.255.255 cannot be asked: "), "{why}");
    }
}
