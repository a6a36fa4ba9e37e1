//! How many connections a simulated program may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the most that the process may give itself; a usual shell's 1024 is less than a held stream needs.
/// Where that is refused, the program goes on with what it has, and what it lacks is counted as a failure.
pub(crate) fn as_many_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
