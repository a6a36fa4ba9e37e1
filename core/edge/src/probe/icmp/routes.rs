//! The machine's default gateways, as the kernel's routing tables have them now.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A machine with the internet's whole table has more; its default routes are found all the same, in what is read.
const TABLE_MAX: u64 = 16 << 20;

/// Flags of a route: it is up, and goes by a gateway (`linux/route.h`).
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;

/// Gateways of default routes, IPv4 first, each once. Of a route over several gateways the kernel shows the first.
pub(super) fn gateways() -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    read("/proc/net/route", &mut found, |line| v4(line).map(SocketAddr::V4))?;
    read("/proc/net/ipv6_route", &mut found, |line| v6(line, interface).map(SocketAddr::V6))?;
    Ok(found)
}

fn read(table: &str, found: &mut Vec<SocketAddr>, gateway: impl Fn(&str) -> Option<SocketAddr>) -> io::Result<()> {
    let file = match File::open(table) {
        Ok(file) => file,
        // A kernel without IPv6, or with it switched off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file.take(TABLE_MAX)).lines() {
        if let Some(gateway) = gateway(&line?)
            && !found.contains(&gateway)
        {
            found.push(gateway);
        }
    }
    Ok(())
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT`, addresses as the machine has them in memory.
fn v4(line: &str) -> Option<SocketAddrV4> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |field: usize| u32::from_str_radix(fields.get(field)?, 16).ok();
    let is_default = number(1)? == 0 && number(7)? == 0 && number(3)? & (UP | GATEWAY) == UP | GATEWAY;
    let gateway = Ipv4Addr::from(number(2)?.to_ne_bytes());
    (is_default && !gateway.is_unspecified()).then(|| SocketAddrV4::new(gateway, 0))
}

/// `destination length source length gateway metric references use flags interface`.
fn v6(line: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddrV6> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |field: usize| u128::from_str_radix(fields.get(field)?, 16).ok();
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let is_default = address(0)? == 0 && *fields.get(1)? == "00" && flags & (UP | GATEWAY) == UP | GATEWAY;
    let gateway = Ipv6Addr::from(address(4)?);
    if !is_default || gateway.is_unspecified() {
        return None;
    }
    // Most gateways are known by an address that means nothing without its interface.
    let scope = if gateway.is_unicast_link_local() { interface(fields.get(9)?)? } else { 0 };
    Some(SocketAddrV6::new(gateway, 0, 0, scope))
}

fn interface(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_among_others() {
        let gateway = u32::from_ne_bytes([192, 0, 2, 1]);
        let line = format!("eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t100\t00000000\t0\t0\t0");
        assert_eq!(v4(&line), Some("192.0.2.1:0".parse().unwrap()));
        assert_eq!(v4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"), None);
        assert_eq!(v4("eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"), None);
        assert_eq!(v4("tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0"), None, "no gateway");
    }

    #[test]
    fn a_gateway_of_the_link_keeps_its_interface() {
        let zero = "0".repeat(32);
        let line = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0"
        );
        let found = v6(&line, |name| (name == "eth0").then_some(7)).unwrap();
        assert_eq!((found.to_string(), found.scope_id()), ("[fe80::1%7]:0".to_owned(), 7));
        let refusing = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo");
        assert_eq!(v6(&refusing, |_| Some(1)), None);
    }
}
