//! How many files and connections the process may have open: each waiting request costs one, each served one up to three.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the most that the process may give itself. Many systems start programs with 1024, for the sake of
/// an old interface (`select`) that nothing here uses.
pub(crate) fn as_many_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(from = limit.current, to = limit.maximum, "limit of open files raised"),
        Err(error) => tracing::warn!(at = limit.current, %error, "the limit of open files cannot be raised"),
    }
}
