//! The Notification Service of a node: an XMPP server as Debian has it, with BOSH over HTTPS, on the vendor's ports.

use super::certificates;
use lockstep_policy::Side;
use lockstep_tests::network::{Network, address};
use lockstep_tests::processes::{Life, until};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// XMPP over TCP.
pub const XMPP: u16 = 5222;
const BOSH: u16 = 7443;
/// Whom the edge logs in as.
pub const WATCHER: &str = "watcher";
/// The password of everybody.
pub const PASSWORD: &str = "pw";
const CONNECT: Duration = Duration::from_millis(200);

/// The domain of a node.
pub fn domain(side: Side) -> String {
    format!("finesse-{side}.example")
}

/// Writes its configuration and its users: `finesse`, and a watcher who may see his presence.
pub fn furnish(dir: &Path, side: Side) {
    let (node, domain) = (address(side), domain(side));
    let place = place(dir, side);
    for (user, contact, subscription) in [(WATCHER, "finesse", "to"), ("finesse", WATCHER, "from")] {
        let store = |kind: &str, text: String| {
            let folder = place.join("data").join(encoded(&domain)).join(kind);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{user}.dat")), text).unwrap();
        };
        store("accounts", format!("return {{ [\"password\"] = \"{PASSWORD}\" }};"));
        let item = format!("{{ [\"subscription\"] = \"{subscription}\"; [\"groups\"] = {{}} }}");
        store("roster", format!("return {{ [\"{contact}@{domain}\"] = {item} }};"));
    }
    let (certificate, key) = certificates::of(dir, side);
    let config = format!(
        r#"run_as_root = true
        pidfile = "{place}/pid"
        data_path = "{place}/data"
        log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
        interfaces = {{ "{node}" }}
        https_interfaces = {{ "{node}" }}
        c2s_ports = {{ {XMPP} }}
        c2s_direct_tls_ports = {{ }}
        http_ports = {{ }}
        https_ports = {{ {BOSH} }}
        modules_enabled = {{ "roster", "saslauth", "disco", "ping", "bosh" }}
        modules_disabled = {{ "s2s", "tls", "offline" }}
        authentication = "internal_plain"
        c2s_require_encryption = false
        allow_unencrypted_plain_auth = true
        consider_bosh_secure = true
        https_ssl = {{ key = "{key}", certificate = "{certificate}" }}
        ssl = {{ key = "{key}", certificate = "{certificate}" }}
        VirtualHost "{domain}"
        "#,
        place = place.display(),
        key = key.display(),
        certificate = certificate.display(),
    );
    std::fs::write(place.join("config.lua"), config).unwrap();
}

/// Starts it on its node.
pub fn start(network: &Network, dir: &Path, side: Side) -> Life {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|place| place.join("prosody").exists());
    assert!(is_there, "missing: prosody. As root: apt-get install -y --no-install-recommends prosody");
    let mut command = network.command_on(side, "prosody");
    command.arg("--config").arg(place(dir, side).join("config.lua")).arg("-F");
    Life::begin(command, &dir.join(format!("prosody-{side}.log")), None)
}

/// Waits until it listens.
pub fn wait(side: Side) {
    until(&format!("the Notification Service of {side} to listen"), || {
        let open = |port| TcpStream::connect_timeout(&SocketAddr::new(address(side), port), CONNECT).is_ok();
        (open(XMPP) && open(BOSH)).then_some(())
    });
}

/// Where XMPP clients of a node go.
pub fn xmpp(node: IpAddr) -> SocketAddr {
    SocketAddr::new(node, XMPP)
}

fn place(dir: &Path, side: Side) -> PathBuf {
    dir.join(format!("prosody-{side}"))
}

/// How it names the folder of a domain.
fn encoded(domain: &str) -> String {
    domain.chars().fold(String::new(), |mut text, letter| {
        match letter.is_ascii_alphanumeric() {
            true => text.push(letter),
            // Writing to a string cannot fail.
            false => drop(write!(text, "%{:02x}", u32::from(letter))),
        }
        text
    })
}
