//! What can be read from a frame: whom it is for, and whether the edge gives a request with it.

use crate::schedule::Host;
use lockstep_demo::app::ID_HEADER;
use lockstep_policy::Side;
use lockstep_tests::network::{VIP, address};
use std::net::IpAddr;

/// The edge gave a request to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// When its frame left the edge, on `CLOCK_BOOTTIME`, in nanoseconds. A frame that is sent again counts again: the first one is it.
    pub at: u64,
    /// The request's number.
    pub id: u64,
    /// To whom.
    pub side: Side,
    /// On which connection, as the edge's port.
    pub port: u16,
    /// Where in the connection: the same for each time that it is sent again.
    pub place: u32,
}

/// Whether a frame is for a host: by its hardware address, or to everybody, and then not about somebody else.
pub fn is_for(frame: &[u8], mac: [u8; 6], host: Host) -> bool {
    let to = &frame[..6];
    if to == mac {
        return true;
    }
    let everybody = to[0] & 1 == 1;
    // Who has an address is asked of everybody, and answered by one: the question takes that one's path only.
    let asked = (frame[12..14] == [8, 6] && frame.len() >= 42).then(|| &frame[38..42]);
    everybody && asked.is_none_or(|asked| asked == octets(host))
}

fn octets(host: Host) -> [u8; 4] {
    let address = match host {
        Host::Edge => VIP,
        Host::Node(side) => address(side),
    };
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

/// The request that the edge gives with this frame, if it does: its head is small and comes in one piece.
pub fn given(frame: &[u8], at: u64) -> Option<Given> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let head = usize::from(ip.first()? & 15) * 4;
    let to: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
    let side = Side::BOTH.into_iter().find(|side| octets(Host::Node(*side)) == to)?;
    let tcp = ip.get(head..usize::from(u16::from_be_bytes([ip[2], ip[3]]))).filter(|_| ip[9] == 6)?;
    let port = u16::from_be_bytes([*tcp.first()?, *tcp.get(1)?]);
    let place = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let text = std::str::from_utf8(tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?).ok()?;
    if !text.starts_with("GET /work") && !text.starts_with("POST /work") {
        return None;
    }
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut ids = fields.filter(|(name, _)| name.eq_ignore_ascii_case(ID_HEADER));
    let id = ids.next()?.1.trim().parse().ok()?;
    Some(Given { at, id, side, port, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame from the edge to side B, with this text in a TCP segment.
    fn frame(text: &str) -> Vec<u8> {
        let length = u16::try_from(40 + text.len()).unwrap().to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0x64, 8, 0];
        frame.extend([0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 6, 0, 0, 10, 77, 0, 100, 10, 77, 0, 2]);
        frame.extend([0x12, 0x34, 0, 80, 0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        frame.extend(text.as_bytes());
        frame
    }

    #[test]
    fn a_request_is_read_from_its_frame() {
        let request = frame("POST /work HTTP/1.1\r\nHost: x\r\nX-Request-Id: 41\r\n\r\nrequest 41");
        assert_eq!(given(&request, 7), Some(Given { at: 7, id: 41, side: Side::B, port: 0x1234, place: 256 }));
        assert_eq!(given(&frame("GET /IPSCFG HTTP/1.1\r\n\r\n"), 7), None);
        assert_eq!(given(&request[..40], 7), None);
    }

    #[test]
    fn who_is_asked_for_its_address_is_told_and_nobody_else() {
        let mut question = vec![255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0x64, 8, 6];
        question.extend([0; 24]);
        question.extend([10, 77, 0, 1]);
        let mac = |last| [2, 0, 0, 0, 0, last];
        assert!(is_for(&question, mac(1), Host::Node(Side::A)));
        assert!(!is_for(&question, mac(2), Host::Node(Side::B)));
        assert!(is_for(&frame(""), mac(2), Host::Node(Side::B)));
        assert!(!is_for(&frame(""), mac(1), Host::Node(Side::A)));
    }
}
