//! Plugins in C, compiled for a story into its world's directory, where the replay at its end finds them.

use crate::configuration::trust_file;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a source of this repository as the plugin of that id, and does not trust it.
///
/// # Panics
/// When it is not compiled.
#[must_use]
pub fn compiled(dir: &Path, source: &str, id: &str, macros: &[&str]) -> PathBuf {
    let folder = dir.join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    let file = file(dir, id);
    let compiled = Command::new("cc")
        .args(["-std=c11", "-O1", "-D_DEFAULT_SOURCE", "-shared", "-fPIC", "-I"])
        .arg(crate::root().join("core/policy/include"))
        .args(macros)
        .arg("-o")
        .args([&file, &crate::root().join(source)])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    file
}

/// A policy that misbehaves at an operator's order in this way, trusted; its id is that of the sort: `hang-in-create`.
///
/// # Panics
/// When it is not compiled.
#[must_use]
pub fn hostile(dir: &Path, sort: &str) -> PathBuf {
    let id = sort.to_lowercase().replace('_', "-");
    let macros = [format!("-DHOSTILE={sort}"), format!("-DID=\"{id}\"")];
    let file = compiled(dir, "core/policy/tests/fixtures/hostile.c", &id, &macros.each_ref().map(String::as_str));
    trust_file(dir, &file);
    file
}

/// Where the plugin of that id is, if it was compiled for a story.
pub(crate) fn file(dir: &Path, id: &str) -> PathBuf {
    dir.join("plugins").join(format!("liblockstep_{}.so", id.replace('-', "_")))
}
