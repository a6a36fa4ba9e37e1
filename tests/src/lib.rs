//! What the tests that cross rooms share: worlds of their own, the beds in them, and how stories are told and judged.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

pub mod bed;
pub mod compiled;
pub mod configuration;
pub mod exposition;
pub mod http;
pub mod network;
pub mod older;
pub mod processes;
pub mod replay;
pub mod stream;
pub mod witness;
pub mod world;

use std::path::{Path, PathBuf};

/// The policies of this workspace.
pub const PLUGINS: [&str; 4] = ["telisca", "finesse", "cic", "eservices"];

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

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

/// The binary, which `cargo build --workspace` (`make test`) puts into the directory above the tests' own, and beside the programs of this
/// crate.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn lockstep() -> PathBuf {
    program("lockstep")
}

/// The agent alone, from the same place.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn lockstep_agent() -> PathBuf {
    program("lockstep-agent")
}

fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let binary = built(&test).map(|folder| folder.join(name));
    match binary.filter(|binary| binary.exists()) {
        Some(binary) => binary,
        None => panic!("no `{name}` above or beside {}: say `cargo build --workspace` first", test.display()),
    }
}

/// Where Cargo lays what a profile has built; tests are in a directory of their own below it.
fn built(executable: &Path) -> Option<&Path> {
    let folder = executable.parent()?;
    if folder.ends_with("deps") { folder.parent() } else { Some(folder) }
}

/// Where failed stories leave what was written, and figures are collected: `target/tmp`.
#[must_use]
pub fn kept() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    built(&test).and_then(Path::parent).unwrap_or(Path::new("/")).join("tmp")
}
