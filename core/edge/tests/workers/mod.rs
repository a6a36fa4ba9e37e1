//! A test's edge starts the test itself as its policies' worker.

use lockstep_policy::host::{Program, worker};
use std::path::PathBuf;

/// Not a test: with nobody to serve it ends at once.
#[test]
fn policy_worker() {
    let _ = worker::serve();
}

/// Has edges of this process start this program, with the test above alone, where `lockstep` would be started.
pub fn are_this_program() {
    let this = module_path!().split_once("::").map_or("", |(_, path)| path);
    let arguments = [format!("{this}::policy_worker"), "--exact".to_owned(), "--nocapture".to_owned()];
    Program { file: std::env::current_exe().unwrap(), arguments: arguments.map(Into::into).to_vec() }.stand_in();
}

/// A plugin that cargo has built beside this program.
pub fn plugin(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(format!("liblockstep_{name}.so"))
}
