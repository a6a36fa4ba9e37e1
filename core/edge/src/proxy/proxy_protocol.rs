//! The PROXY protocol, versions 1 and 2: a balancer's connection begins with who its client is. Read strictly, written plainly.
//!
//! The rules are those of HAProxy's `doc/proxy-protocol.txt`: section 2.1 (version 1), 2.2 (version 2).

use crate::config::ProxyVersion;
use ipnet::IpNet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Section 2.1: the longest line, its end included.
const V1_MAX: usize = 107;
const V1_BEGIN: &[u8] = b"PROXY ";
const V2_BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Section 2.2: signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// What may follow: addresses and what a balancer adds to them. The format allows 64 KB, which nobody needs.
const V2_REST_MAX: usize = 4096;
const V2_MAX: usize = V2_FIXED + V2_REST_MAX;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The connection is the balancer's own, or it does not know whose: the connection's own addresses count.
    Local,
    /// Whose it is, and what was asked for.
    Proxied { client: SocketAddr, asked: SocketAddr },
}

/// Why a connection's first bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The header at the start of these bytes, and its length; `None` while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    if begins(bytes, V2_BEGIN) {
        return parse_v2(bytes);
    }
    if begins(bytes, V1_BEGIN) {
        return parse_v1(bytes);
    }
    Err(Malformed("it begins with no PROXY header"))
}

/// Whether `bytes`, as far as they are here, begin so.
fn begins(bytes: &[u8], so: &[u8]) -> bool {
    let here = bytes.len().min(so.len());
    bytes[..here] == so[..here]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let line = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX { Ok(None) } else { Err(Malformed("its line does not end")) };
    };
    let line = line[..end].strip_suffix(b"\r").ok_or(Malformed("its line ends without a carriage return"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("its line is no text"))?;
    let mut words = line[V1_BEGIN.len()..].split(' ');
    let said = match words.next() {
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(Some((Said::Local, end + 1))),
        Some("TCP4") => addresses::<Ipv4Addr>(&mut words),
        Some("TCP6") => addresses::<Ipv6Addr>(&mut words),
        _ => return Err(Malformed("its line is of no known family")),
    };
    match (said, words.next()) {
        (Some(said), None) => Ok(Some((said, end + 1))),
        _ => Err(Malformed("its line does not have two addresses and two ports")),
    }
}

fn addresses<'w, A: std::str::FromStr + Into<IpAddr>>(words: &mut impl Iterator<Item = &'w str>) -> Option<Said> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (client, asked) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_: &u16| plain)
    };
    let (from, to) = (port()?, port()?);
    Some(Said::Proxied { client: SocketAddr::new(client, from), asked: SocketAddr::new(asked, to) })
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let proxied = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(Malformed("it is of no known version or command")),
    };
    let Some(fixed) = bytes.get(..V2_FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > V2_REST_MAX {
        return Err(Malformed("it is longer than any balancer needs"));
    }
    let Some(rest) = bytes.get(V2_FIXED..V2_FIXED + length) else { return Ok(None) };
    let said = match (proxied, fixed[13]) {
        // Section 2.2: a local connection's addresses are to be skipped, whatever they are.
        (false, _) => Said::Local,
        (true, 0x11) => stream_addresses::<4>(rest)?,
        (true, 0x21) => stream_addresses::<16>(rest)?,
        // Sockets of the file system, and what is not specified: nothing that an address could be made of.
        (true, 0x00 | 0x31) => Said::Local,
        (true, 0x12 | 0x22 | 0x32) => return Err(Malformed("it is for datagrams")),
        (true, _) => return Err(Malformed("it is of no known family")),
    };
    Ok(Some((said, V2_FIXED + length)))
}

/// Two addresses of N bytes, two ports, and what a balancer adds, of which only the form is looked at.
fn stream_addresses<const N: usize>(rest: &[u8]) -> Result<Said, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let short = Malformed("it is too short for its addresses");
    let (client, rest) = rest.split_first_chunk::<N>().ok_or(short)?;
    let (asked, rest) = rest.split_first_chunk::<N>().ok_or(short)?;
    let ([from_high, from_low, to_high, to_low], mut more) = rest.split_first_chunk::<4>().ok_or(short)?;
    while !more.is_empty() {
        let broken = Malformed("what is added to its addresses does not fit");
        let ([_, high, low], value) = more.split_first_chunk::<3>().ok_or(broken)?;
        more = value.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(broken)?;
    }
    let address = |ip: &[u8; N], high, low| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes([high, low]));
    Ok(Said::Proxied { client: address(client, *from_high, *from_low), asked: address(asked, *to_high, *to_low) })
}

/// The header of a connection for a client, who asked for that address.
pub(super) fn header(version: ProxyVersion, client: SocketAddr, asked: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.port(), asked.port());
    let both = (client.ip().to_canonical(), asked.ip().to_canonical());
    match (version, both) {
        (ProxyVersion::V1, (IpAddr::V4(client), IpAddr::V4(asked))) => {
            format!("PROXY TCP4 {client} {asked} {from} {to}\r\n").into_bytes()
        }
        (ProxyVersion::V2, (IpAddr::V4(client), IpAddr::V4(asked))) => {
            v2(0x11, &client.octets(), &asked.octets(), from, to)
        }
        // One header has addresses of one family: an IPv4 address is written as IPv6 writes it.
        (version, (client, asked)) => {
            let (client, asked) = (as_v6(client), as_v6(asked));
            match version {
                ProxyVersion::V1 => format!("PROXY TCP6 {client} {asked} {from} {to}\r\n").into_bytes(),
                ProxyVersion::V2 => v2(0x21, &client.octets(), &asked.octets(), from, to),
            }
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn v2(family: u8, client: &[u8], asked: &[u8], from: u16, to: u16) -> Vec<u8> {
    // Two addresses of 16 bytes at most, and two ports.
    let length = u8::try_from(client.len() + asked.len() + 4).unwrap_or(u8::MAX);
    let fixed = [0x21, family, 0, length];
    [V2_BEGIN, &fixed, client, asked, &from.to_be_bytes(), &to.to_be_bytes()].concat()
}

/// Whether a connection from there begins with a header.
pub(super) fn is_due(balancers: &[IpNet], from: SocketAddr) -> bool {
    let from = from.ip().to_canonical();
    balancers.iter().any(|network| network.contains(&from))
}

/// Reads the header off a connection, and not one byte more: what follows may be anybody's.
pub(super) async fn read(socket: &mut TcpStream, within: Duration) -> io::Result<Said> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the PROXY header did not come in time");
    tokio::time::timeout(within, read_header(socket)).await.map_err(late)?
}

async fn read_header(socket: &mut TcpStream) -> io::Result<Said> {
    let mut bytes = Vec::with_capacity(V1_MAX);
    let mut ahead = [0; V2_MAX];
    loop {
        let here = socket.peek(&mut ahead[..V2_MAX - bytes.len()]).await?;
        if here == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = bytes.len();
        bytes.extend_from_slice(&ahead[..here]);
        let parsed = parse(&bytes).map_err(|Malformed(why)| io::Error::new(io::ErrorKind::InvalidData, why))?;
        // Until it is whole, all that has come is of the header.
        let taken = parsed.map_or(bytes.len(), |(_, length)| length) - before;
        socket.read_exact(&mut ahead[..taken]).await?;
        if let Some((said, _)) = parsed {
            return Ok(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxied(client: &str, asked: &str) -> Said {
        Said::Proxied { client: client.parse().unwrap(), asked: asked.parse().unwrap() }
    }

    fn v2_bytes(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_BEGIN, &[command, family], &length, rest].concat()
    }

    #[test]
    fn good_headers_are_understood_and_no_byte_behind_them_is_taken() {
        let v4 = [&[10, 0, 0, 7, 10, 0, 0, 100][..], &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
        let mut v6 = [[0xfe; 16], [0xfd; 16]].concat();
        v6.extend([0, 1, 0, 2]);
        let more = [&v4[..], &[0x04, 0, 3, 0, 0, 0, 0xe0, 0, 0]].concat();
        let longest = [&v4[..], &[0x04, 0x0f, 0xf1], &[0; 4081]].concat();
        let v4_said = proxied("10.0.0.7:50000", "10.0.0.100:443");
        let wide = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let v6_said = Said::Proxied {
            client: SocketAddr::new([0xfe; 16].into(), 1),
            asked: SocketAddr::new([0xfd; 16].into(), 2),
        };
        let good: Vec<(Vec<u8>, Said)> = vec![
            (b"PROXY TCP4 10.0.0.7 10.0.0.100 50000 443\r\n".into(), v4_said),
            (
                b"PROXY TCP6 2001:db8::7 2001:DB8::1 0 65535\r\n".into(),
                proxied("[2001:db8::7]:0", "[2001:db8::1]:65535"),
            ),
            (
                format!("PROXY TCP6 {wide} {wide} 65535 65535\r\n").into(),
                proxied(&format!("[{wide}]:65535"), &format!("[{wide}]:65535")),
            ),
            (b"PROXY UNKNOWN\r\n".into(), Said::Local),
            (format!("PROXY UNKNOWN {wide} {wide} 65535 65535\r\n").into(), Said::Local),
            (v2_bytes(0x21, 0x11, &v4), v4_said),
            (v2_bytes(0x21, 0x11, &more), v4_said),
            (v2_bytes(0x21, 0x11, &longest), v4_said),
            (v2_bytes(0x21, 0x21, &v6), v6_said),
            (v2_bytes(0x21, 0x31, &[0; 216]), Said::Local),
            (v2_bytes(0x21, 0x00, &[]), Said::Local),
            (v2_bytes(0x20, 0x00, &[]), Said::Local),
            (v2_bytes(0x20, 0x11, &v4), Said::Local),
            (v2_bytes(0x20, 0xff, b"anything"), Said::Local),
        ];
        for (header, said) in good {
            let with_more = [&header[..], b"PROXY TCP4 1.1.1.1 2.2.2.2 1 1\r\n"].concat();
            assert_eq!(parse(&with_more), Ok(Some((said, header.len()))), "{:?}", header.escape_ascii().to_string());
            for whole in 0..header.len() {
                assert_eq!(
                    parse(&header[..whole]),
                    Ok(None),
                    "{whole} bytes of {:?}",
                    header.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        let v4 = [10, 0, 0, 7, 10, 0, 0, 100, 1, 1, 1, 1];
        let bad: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\n".into(),
            b"\x16\x03\x01".into(),
            b"proxy TCP4 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY\tTCP4 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP5 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY UDP4 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY \r\n".into(),
            b"PROXY TCP4\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 1 \r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 1 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1  2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP4 1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP4 01.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP4 1.1.1.256 2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP4 ::1 ::2 1 1\r\n".into(),
            b"PROXY TCP6 1.1.1.1 2.2.2.2 1 1\r\n".into(),
            b"PROXY TCP6 ::1%lo ::2 1 1\r\n".into(),
            b"PROXY TCP6 [::1] [::2] 1 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 01 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2  1\r\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 1\n".into(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 1\r\r\n".into(),
            b"PROXY UNKNOWN\n".into(),
            b"PROXY UNKNOWN\xff\r\n".into(),
            [b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat(),
            v2_bytes(0x11, 0x11, &v4),
            v2_bytes(0x31, 0x11, &v4),
            v2_bytes(0x22, 0x11, &v4),
            v2_bytes(0x21, 0x12, &v4),
            v2_bytes(0x21, 0x22, &[0; 36]),
            v2_bytes(0x21, 0x32, &[0; 216]),
            v2_bytes(0x21, 0x10, &v4),
            v2_bytes(0x21, 0x41, &v4),
            v2_bytes(0x21, 0x11, &v4[..11]),
            v2_bytes(0x21, 0x11, &[]),
            v2_bytes(0x21, 0x21, &[0; 35]),
            v2_bytes(0x21, 0x11, &[&v4[..], &[4, 0]].concat()),
            v2_bytes(0x21, 0x11, &[&v4[..], &[4, 0, 2, 0]].concat()),
            v2_bytes(0x21, 0x11, &[0; V2_REST_MAX + 1]),
            [V2_BEGIN, &[0x21, 0x11, 0xff, 0xff]].concat(),
            b"\r\n\r\n\0\r\nQUIT\r".into(),
        ];
        for header in bad {
            assert!(parse(&header).is_err(), "{:?}: {:?}", header.escape_ascii().to_string(), parse(&header));
        }
    }

    #[test]
    fn an_ipv4_address_among_ipv6_is_written_as_ipv6_writes_it() {
        let (client, asked) = ("[2001:db8::7]:1".parse().unwrap(), "10.0.0.100:443".parse().unwrap());
        let line = header(ProxyVersion::V1, client, asked);
        assert_eq!(line, b"PROXY TCP6 2001:db8::7 ::ffff:10.0.0.100 1 443\r\n");
        let mapped = header(ProxyVersion::V1, "[::ffff:10.0.0.7]:1".parse().unwrap(), asked);
        assert_eq!(mapped, b"PROXY TCP4 10.0.0.7 10.0.0.100 1 443\r\n");
    }

    #[test]
    fn a_header_is_due_from_balancers_only_however_their_address_is_written() {
        let balancers = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let due = |from: &str| is_due(&balancers, from.parse().unwrap());
        assert!(due("10.1.2.3:4") && due("[::ffff:10.1.2.3]:4") && due("[fd00::1]:4"));
        assert!(!due("11.1.2.3:4") && !due("[fe80::1]:4") && !is_due(&[], "10.1.2.3:4".parse().unwrap()));
    }

    fn canonical(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from),];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(client in address(), asked in address(), two in any::<bool>(), more in any::<Vec<u8>>()) {
            let version = if two { ProxyVersion::V2 } else { ProxyVersion::V1 };
            let header = header(version, client, asked);
            let read = parse(&[&header[..], &more].concat()).unwrap();
            let Some((Said::Proxied { client: from, asked: to }, length)) = read else { panic!("{read:?}") };
            prop_assert_eq!(length, header.len());
            prop_assert_eq!((canonical(from), canonical(to)), (canonical(client), canonical(asked)));
        }

        #[test]
        fn no_bytes_do_harm(begin in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let begin: &[u8] = [&b""[..], V1_BEGIN, V2_BEGIN, b"PROXY TCP4 "][begin];
            let bytes = [begin, &bytes].concat();
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            for part in 0..bytes.len() {
                // What is not whole may become so; what is refused early stays refused.
                if parse(&bytes[..part]).is_err() {
                    prop_assert!(parse(&bytes).is_err());
                }
            }
        }
    }

    #[test]
    fn fuzz_proxy_header() {
        let (client, asked) = ("10.0.0.7:50000".parse().unwrap(), "10.0.0.100:443".parse().unwrap());
        let wide = ("[2001:db8::7]:1".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap());
        let seeds = [
            header(ProxyVersion::V1, client, asked),
            header(ProxyVersion::V2, client, asked),
            header(ProxyVersion::V1, wide.0, wide.1),
            header(ProxyVersion::V2, wide.0, wide.1),
            b"PROXY UNKNOWN\r\n".to_vec(),
            v2_bytes(0x21, 0x11, &[&[10, 0, 0, 7, 10, 0, 0, 100, 1, 1, 1, 1][..], &[4, 0, 1, 9]].concat()),
        ];
        let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
        lockstep_fuzz::run("proxy_header", &seeds, &[V1_BEGIN, V2_BEGIN, b"TCP4 ", b"\r\n"], |bytes| {
            match parse(bytes) {
                Ok(Some((said, length))) => {
                    assert!(length <= bytes.len() && parse(&bytes[..length]) == Ok(Some((said, length))));
                    assert_eq!(parse(&bytes[..length - 1]), Ok(None), "it was whole before");
                    if let Said::Proxied { client, asked } = said {
                        let again = parse(&header(ProxyVersion::V2, client, asked));
                        let Ok(Some((Said::Proxied { client: from, asked: to }, _))) = again else {
                            panic!("{again:?}")
                        };
                        assert_eq!((canonical(from), canonical(to)), (canonical(client), canonical(asked)));
                    }
                    lockstep_fuzz::became((length, matches!(said, Said::Local)))
                }
                Ok(None) => lockstep_fuzz::became(bytes.len().min(20)),
                Err(Malformed(why)) => lockstep_fuzz::became(why),
            }
        });
    }
}
