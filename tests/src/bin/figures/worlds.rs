//! Worlds of their own for measurements, several at once, and what they have found.

use lockstep_tests::world;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread::JoinHandle;

/// Before what a world has found, in its output.
const FOUND: &str = "found: ";

/// Begins this program anew, with those words, in a world of its own. What it says besides is shown under that name.
pub fn begin(name: &str, words: &[&str]) -> JoinHandle<Option<Value>> {
    let (name, words) = (name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    std::thread::spawn(move || {
        let dir = tempfile::Builder::new().prefix("lockstep-figures-").tempdir().unwrap();
        let mut command = world::program(&words, dir.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let held_open = child.stdin.take();
        let mut found = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            match line.strip_prefix(FOUND) {
                Some(text) => found = serde_json::from_str(text).ok(),
                None => println!("{name}: {line}"),
            }
        }
        let status = child.wait().unwrap();
        drop(held_open);
        if !status.success() {
            println!("{name}: failed: {status}");
        }
        found.filter(|_| status.success())
    })
}

/// The same, and waits for it.
pub fn run(name: &str, words: &[&str]) -> Option<Value> {
    begin(name, words).join().ok().flatten()
}

/// Does the work of a world, inside.
pub fn within(work: impl FnOnce(&Path) -> Value) -> bool {
    let Some(dir) = world::enter() else {
        eprintln!("figures: this is a part of a measurement, which is begun in a world of its own");
        return false;
    };
    let found = work(&dir);
    println!("{FOUND}{found}");
    true
}
