//! The default route, as `/proc/net` shows it.

use nix::net::if_::if_nametoindex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: String,
    /// With the interface's number, where the address alone does not say which link it is on.
    pub(super) gateway: SocketAddr,
}

/// The default route of the least metric; an IPv6 one when there is no other.
pub(super) fn default() -> Option<Route> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let (interface, gateway) = v4(&read("/proc/net/route")).or_else(|| v6(&read("/proc/net/ipv6_route")))?;
    let gateway = match gateway {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, 0, 0, if_nametoindex(interface.as_str()).ok()?).into()
        }
        address => SocketAddr::new(address, 0),
    };
    Some(Route { interface, gateway })
}

fn v4(table: &str) -> Option<(String, IpAddr)> {
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let is_default = destination == "00000000" && mask == "00000000";
        let flags = u32::from_str_radix(flags, 16).ok()?;
        // As it lies in memory.
        let gateway = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
        let counts = is_default && flags & (UP | GATEWAY) == UP | GATEWAY;
        counts.then_some((metric.parse::<u32>().ok()?, interface.to_owned(), IpAddr::from(gateway)))
    });
    rows.min().map(|(_, interface, gateway)| (interface, gateway))
}

fn v6(table: &str) -> Option<(String, IpAddr)> {
    let rows = table.lines().filter_map(|row| {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let [destination, length, _, _, gateway, metric, _, _, flags, interface] = fields[..] else { return None };
        let is_default = length == "00" && destination.bytes().all(|byte| byte == b'0');
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let gateway = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
        let counts = is_default && flags & (UP | GATEWAY) == UP | GATEWAY;
        counts.then_some((u32::from_str_radix(metric, 16).ok()?, interface.to_owned(), IpAddr::from(gateway)))
    });
    rows.min().map(|(_, interface, gateway)| (interface, gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_of_the_least_metric_is_found() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\tFE00000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(v4(table), Some(("eth0".to_owned(), "10.0.0.254".parse().unwrap())));
        assert_eq!(v4("Iface\n"), None);
    }

    #[test]
    fn an_ipv6_default_route_is_found() {
        let zero = "00000000000000000000000000000000";
        let table = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(v6(&table), Some(("eth0".to_owned(), "fe80::1".parse().unwrap())));
    }
}
