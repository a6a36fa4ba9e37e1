//! What is valid, and odd or not there: said by `lockstep check`, and at the agent's start.

use super::{Config, Driver, Service, load};
use crate::service::http::{read_login, trusted};
use crate::watchdog::Watchdog;
use std::path::Path;

/// What there is to say of a configuration, for a person: that it is valid, and what is odd in it, unasked, because it is little and may
/// be dangerous.
///
/// # Errors
///
/// It is not valid: the sentence says why. What is wrong with an agent's configuration is one thing at a time.
pub fn check(file: &Path) -> Result<String, String> {
    let config = load(file).map_err(|error| format!("{} is not valid, 1 error:\n{error}", file.display()))?;
    let lints: String = config.lints().iter().map(|lint| format!("warning: {lint}\n")).collect();
    Ok(format!("{}: valid\n{lints}", file.display()))
}

impl Service {
    /// Whether nothing on the node ends it when the agent hangs or dies, although it may run on the active side only.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        self.exclusive && matches!(&self.driver, Driver::Http(remote) if remote.kill.is_none())
    }
}

impl Config {
    /// A sentence for each.
    #[must_use]
    pub fn lints(&self) -> Vec<String> {
        let mut lints = Vec::new();
        for service in &self.services {
            let Driver::Http(remote) = &service.driver else { continue };
            let name = &service.name;
            if service.is_unbound() {
                lints.push(format!(
                    "service `{name}` is unbound: it is exclusive and has no `kill`, so nothing on this node ends it when the \
                     agent hangs or dies, or when its stop is not confirmed. Name a program by `kill` that surely ends it, \
                     or see that it ends by itself when it is not asked for longer than a lease"
                ));
            }
            if remote.status.is_none() {
                lints.push(format!(
                    "service `{name}` has no `status`: that it has ended is not seen, and its stop is believed by the answer \
                     of the call alone"
                ));
            }
            let files = [
                remote.login.as_deref().and_then(|file| read_login(file).err()),
                remote.ca.as_deref().and_then(|file| trusted(file).err()),
            ];
            lints.extend(files.into_iter().flatten().map(|why| format!("service `{name}`: {why}")));
        }
        if let Some(why) = self.watchdog.as_ref().and_then(|watchdog| Watchdog::new(watchdog).err()) {
            lints.push(format!("[watchdog]: {why}"));
        }
        lints
    }
}
