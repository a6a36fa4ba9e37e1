//! What the tests that cross rooms share.
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// The file of a policy plugin of this workspace. The plugins are dependencies of this crate, so Cargo has built their
/// dynamic libraries beside the test's own executable.
///
/// # Panics
/// When the file is not there.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let beside = test.parent().map(|folder| folder.join(format!("liblockstep_{name}.so")));
    match beside.filter(|file| file.exists()) {
        Some(file) => file,
        None => panic!("liblockstep_{name}.so is not beside {}: run the tests through Cargo", test.display()),
    }
}
