//! Each test runs in a world of its own: user, network, mount and process namespaces that end with it.
//!
//! The test starts itself again inside, as root of that world, whoever runs it. When it ends, in whatever way, the kernel ends every
//! process in it and takes down its network; nothing outside is touched.

use crate::configuration::LEASE;
use crate::replay;
use crate::witness::{STANDSTILL, Witness};
use nix::mount::{MsFlags, mount};
use std::any::Any;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

/// In the environment of a test that is inside: its world's directory.
const INSIDE: &str = "LOCKSTEP_TEST_WORLD";
/// The tools that a world is made with, and the Debian packages that they are in.
const TOOLS: [(&str, &str); 4] =
    [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")];
/// Where tools are that a user's PATH need not lead to.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin";
/// User namespaces make root of anybody. Where they are switched off, only root itself can do without.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user"], &[]];
const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// The first process of a world inherits its orphans. A shell, unlike a test, waits for those that it does not know.
const FIRST: [&str; 4] = ["sh", "-c", "\"$@\"; exit $?", "sh"];

/// How a story ends that the machine has spoilt.
const SPOILT: u8 = 75;
/// How often such a story is told.
const TELLINGS: usize = 3;

/// Runs a story in a world of its own, which has the directory that it is handed. To be called by a test, with a closure.
///
/// A story in which the machine stood still for a good part of a lease is told again when it has not gone as it should: nodes lose leases
/// by that, rightly. What must hold at any time, I1 and I2, is never excused.
pub fn in_a_world_of_its_own<F: FnOnce(&Path)>(story: F) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return inside(story, Path::new(&dir));
    }
    // Threads of one test program must not disturb each other's times; nextest's configuration does the same for processes.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    demand_tools();
    for telling in 1..=TELLINGS {
        let (status, told) = tell(test_name::<F>());
        assert!(told || !status.success(), "{} is not the name of the test that tells this story", test_name::<F>());
        let spoilt = status.code() == Some(i32::from(SPOILT));
        assert!(status.success() || spoilt && telling < TELLINGS, "{} failed: see above", test_name::<F>());
        if status.success() {
            return;
        }
    }
}

/// The command by which a test of this program is run in a world of its own, which has that directory. Its input must stay open for as
/// long as the world shall last. For who tells many stories at once, and judges them as they are told; the others leave it to
/// [`in_a_world_of_its_own`].
pub fn command(test: &str, dir: &Path) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(way()).args(NAMESPACES).args(FIRST);
    inside.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    inside.env("PATH", path()).env(INSIDE, dir).stdin(Stdio::piped());
    inside
}

/// The same for a program with a main of its own, which is given those words. Root stays root in it, and not of a user namespace: there,
/// nobody is given real-time priority.
pub fn program(words: &[String], dir: &Path) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(way_among(WAYS.into_iter().rev())).args(NAMESPACES).args(FIRST);
    inside.arg(std::env::current_exe().unwrap()).args(words);
    inside.env("PATH", path()).env(INSIDE, dir).stdin(Stdio::piped());
    inside
}

/// In a test that was begun by [`command`], or a program by [`program`]: the world's directory, which is in memory. None outside of a world.
pub fn enter() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(INSIDE)?);
    settle(&dir);
    Some(dir)
}

/// How it ended, and whether it was told at all.
fn tell(test: &str) -> (ExitStatus, bool) {
    let dir = tempfile::Builder::new().prefix("lockstep-test-").tempdir().unwrap();
    let mut inside = command(test, dir.path()).spawn().unwrap();
    // Its input stays open for as long as this process lives.
    let held_open = inside.stdin.take();
    let status = inside.wait().unwrap();
    drop(held_open);
    (status, std::fs::remove_file(told(dir.path())).is_ok())
}

/// What says that a story was begun: beside the world's directory, which nobody outside sees.
fn told(dir: &Path) -> PathBuf {
    dir.with_extension("told")
}

fn inside<F: FnOnce(&Path)>(story: F, dir: &Path) {
    std::fs::write(told(dir), "").unwrap();
    settle(dir);
    let witness = Witness::begin();
    let Err(failure) = catch_unwind(AssertUnwindSafe(|| story(dir))) else {
        // No machine is so slow that a policy may do otherwise for it.
        return replay::plays_again(dir);
    };
    let stood = witness.longest_standstill();
    if stood > STANDSTILL && !is_never_excused(&*failure) {
        eprintln!("\nThe machine stood still for {stood:?}, and leases last {LEASE:?}: the story is told again.\n");
        std::process::exit(i32::from(SPOILT));
    }
    resume_unwind(failure);
}

fn settle(dir: &Path) {
    leave_with_the_test();
    // In memory: no other program's writes to a disk hold up a node, and all is gone with the world.
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// The judge's sentences name the invariant that was violated.
fn is_never_excused(failure: &(dyn Any + Send)) -> bool {
    let text = failure.downcast_ref::<String>().map(String::as_str).or(failure.downcast_ref::<&str>().copied());
    text.is_some_and(|text| text.contains("I1: ") || text.contains("I2: "))
}

/// `end_to_end::planned::both_ways::{{closure}}` is what the compiler calls the closure of the test `planned::both_ways`.
fn test_name<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    let test = name.strip_suffix("::{{closure}}").expect("a story is the closure of its test");
    test.split_once("::").expect("it begins with the program's name").1
}

/// When the process outside has gone, nobody waits for this one any more.
fn leave_with_the_test() {
    std::thread::spawn(|| {
        let mut ignored = [0u8; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        std::process::exit(1);
    });
}

/// Stops where a tool is missing that worlds are made with.
pub fn demand_tools() {
    let places: Vec<PathBuf> = std::env::split_paths(&path()).collect();
    let is_there = |tool: &str| places.iter().any(|place| place.join(tool).exists());
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).collect();
    let packages: std::collections::BTreeSet<_> = missing.iter().map(|(_, package)| *package).collect();
    assert!(
        missing.is_empty(),
        "missing: {}. As root: apt-get install -y --no-install-recommends {}",
        missing.iter().map(|(tool, _)| *tool).collect::<Vec<_>>().join(", "),
        packages.into_iter().collect::<Vec<_>>().join(" ")
    );
}

fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(std::ffi::OsStr::from_bytes(SYSTEM_PATH.as_bytes()));
    path
}

/// The first way into a world that works on this machine.
fn way() -> &'static [&'static str] {
    way_among(WAYS.into_iter())
}

fn way_among(ways: impl Iterator<Item = &'static [&'static str]>) -> &'static [&'static str] {
    let mut refusals = String::new();
    for way in ways {
        let attempt =
            Command::new("unshare").args(way).args(NAMESPACES).arg("true").env("PATH", path()).output().unwrap();
        if attempt.status.success() {
            return way;
        }
        refusals.push_str(&String::from_utf8_lossy(&attempt.stderr));
    }
    panic!(
        "this machine lets nobody make namespaces: run the tests as root, or allow them \
         (sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0). It says:\n{refusals}"
    );
}
