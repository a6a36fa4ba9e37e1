//! `lockstep policy trust`, and the worker in which a trusted plugin runs.

use crate::arguments::EDGE_CONFIG;
use crate::exit::Failure;
use crate::verbs::print;
use lockstep_policy::host::{Trusted, worker};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `lockstep policy trust FILE…`.
pub fn trust(files: &[PathBuf], list: Option<&Path>, config: Option<&Path>) -> Result<(), Failure> {
    let list = match list {
        Some(list) => list.to_owned(),
        None => of_edge(config)?,
    };
    let trusted = lockstep_policy::host::trust(&list, files).map_err(Failure::from_error)?;
    for Trusted { path, name, version, fingerprint, already } in trusted {
        let done = if already { "was trusted already" } else { "is trusted now" };
        print(&format!("{fingerprint}  {name} {version}  {}: {done}, in {}\n", path.display(), list.display()))?;
    }
    Ok(())
}

/// The list that an edge's configuration names. One that is not there yet has its list beside it all the same.
fn of_edge(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let default = Path::new(EDGE_CONFIG);
    let edge = match config {
        Some(config) => Some(config),
        None => Some(default).filter(|default| default.exists()),
    };
    match edge {
        Some(edge) => Ok(lockstep_edge::config::load_edge(edge).map_err(Failure::from_error)?.policies.trust),
        None => Ok(lockstep_edge::config::trust_list_beside(default)),
    }
}

/// `lockstep policy-worker`: an edge starts it, and nobody else.
pub fn work() -> ExitCode {
    match worker::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockstep: {error}");
            ExitCode::FAILURE
        }
    }
}
