//! Each test runs in a world of its own: user, network, mount and process namespaces that end with it.
//!
//! The test starts itself again inside, as root of that world, whoever runs it. When it ends, in whatever way, the kernel ends every
//! process in it and takes down its network; nothing outside is touched.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// Runs a story in a world of its own, which has the directory that it is handed. To be called by a test, with a closure.
pub fn in_a_world_of_its_own<F: FnOnce(&Path)>(story: F) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        leave_with_the_test();
        return story(Path::new(&dir));
    }
    // Threads of one test program must not disturb each other's times; nextest's configuration does the same for processes.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    demand_tools();
    let dir = tempfile::Builder::new().prefix("lockstep-test-").tempdir().unwrap();
    let mut inside = Command::new("unshare")
        .args(way())
        .args(NAMESPACES)
        .args(FIRST)
        .arg(std::env::current_exe().unwrap())
        .args([test_name::<F>(), "--exact", "--nocapture"])
        .env("PATH", path())
        .env(INSIDE, dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Its input stays open for as long as this process lives.
    let held_open = inside.stdin.take();
    let status = inside.wait().unwrap();
    drop(held_open);
    assert!(status.success(), "{} failed in its world: see above", test_name::<F>());
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

fn demand_tools() {
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
    let mut refusals = String::new();
    for way in WAYS {
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
