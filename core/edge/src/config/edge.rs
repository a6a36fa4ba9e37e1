//! `[edge]`: all of it has a default.

use super::pair::HOUR;
use super::table::Table;
use super::{EdgeConfig, JournalConfig, SeenConfig, journal, policies, seen, tls, users};
use super::{ProbeConfig, probe};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const STATE: &str = "/var/lib/lockstep";
const ADMIN_PORT: u16 = 7480;

/// `[edge]`, and the plugins' directory when one is given. Relative paths start at the configuration's directory.
pub(super) fn read(table: Option<Table<'_, '_>>, file: &Path) -> (EdgeConfig, Option<PathBuf>) {
    let mut edge = EdgeConfig {
        name: "edge".to_owned(),
        state: PathBuf::from(STATE),
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)),
        journal: JournalConfig::default(),
        probe: ProbeConfig::default(),
        policies: policies::defaults(file),
        users: Vec::new(),
        security: None,
        seen: SeenConfig::default(),
        drain: HOUR,
    };
    let Some(mut table) = table else { return (edge, None) };
    if let Some(name) = table.text("name") {
        edge.name = name.value;
    }
    if let Some(state) = table.text("state") {
        edge.state = beside(file).join(state.value);
    }
    if let Some(admin) = table.parsed("admin", "an address \"IP:PORT\", such as \"127.0.0.1:7480\"") {
        edge.admin = admin.value;
    }
    edge.journal = journal::read(table.table("journal", "edge.journal"));
    edge.probe = probe::read(table.table("probe", "edge.probe"), file);
    edge.policies = policies::read(table.table("policies", "edge.policies"), file);
    edge.users = users::read(table.tables("users", "edge.users"));
    edge.security = tls::read(table.table("tls", "edge.tls"), file);
    edge.seen = seen::read(&mut table, file);
    edge.drain = table.duration("drain", HOUR, Duration::from_secs(1)..=168 * HOUR).value;
    let plugins = table.text("plugins").and_then(|directory| {
        let path = beside(file).join(directory.value);
        if !path.is_dir() {
            let what = format!("{} is not a directory", path.display());
            table.refuse(directory.at, "plugins", what, "the directory of the policies' plugins");
            return None;
        }
        Some(path)
    });
    table.finish();
    (edge, plugins)
}

/// The directory of the configuration.
pub(super) fn beside(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}
