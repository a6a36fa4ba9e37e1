//! A pair whose side B is a Windows node.

use lockstep_demo::activity::{self, Mark};
use lockstep_demo::{app, now};
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::bed::{Bed, until};
use lockstep_tests::configuration::{self, PAIR};
use lockstep_tests::network::address;
use lockstep_tests::processes::Life;
use lockstep_tests::{kept, lockstep, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The pair's lease.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long its services may take to stop.
pub const STOP_MAX: Duration = Duration::from_secs(2);
/// A generous margin for Wine, and for a busy machine.
pub const WINE: Duration = Duration::from_secs(3);

/// What an agent says when it has begun.
const RUNS: &str = "the agent runs";

/// Where the target folder is.
fn target() -> PathBuf {
    kept().parent().unwrap().to_owned()
}

/// A program for Windows that `.ci/windows` has built.
pub fn exe(name: &str) -> PathBuf {
    target().join("x86_64-pc-windows-gnu/debug").join(name)
}

/// Tells a story, where there is what it needs.
pub fn story<F: FnOnce(&Path)>(story: F) {
    if exe("lockstep.exe").exists() && target().join("wine/system.reg").exists() {
        return world::in_a_world_of_its_own(story);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI this must run: `.ci/windows` builds what it needs");
    eprintln!("left out: there is no agent for Windows, or no Wine to run it: `.ci/windows` makes them");
}

/// As Windows sees it.
pub fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

/// Where a story has its Wine.
fn prefix(dir: &Path) -> PathBuf {
    dir.join("wine")
}

/// Makes a Windows of the story's own: the files that `.ci/windows` has made, and a copy of their registry. No other story's services are
/// in it.
fn install_windows(dir: &Path) {
    let (made, own) = (target().join("wine"), prefix(dir));
    std::fs::create_dir_all(own.join("dosdevices")).unwrap();
    for file in ["system.reg", "user.reg", "userdef.reg", ".update-timestamp"] {
        std::fs::copy(made.join(file), own.join(file)).unwrap();
    }
    symlink(made.join("drive_c"), own.join("drive_c")).unwrap();
    symlink("../drive_c", own.join("dosdevices/c:")).unwrap();
    symlink("/", own.join("dosdevices/z:")).unwrap();
}

/// The bed, and what it does not know of: node B's Windows, agent and application.
pub struct Site {
    pub bed: Bed,
    dir: PathBuf,
    agent: Option<Life>,
    _app: Life,
}

impl Site {
    /// Starts everything, and waits until side A serves and side B could. `cti` is the CTI service in B's configuration.
    pub fn ready(dir: &Path, cti: &str) -> Site {
        let mut site = Site::without_agent(dir, cti);
        site.start_agent();
        site.begin("agent-b");
        site
    }

    /// Nobody has started B's agent, nor the edge.
    pub fn without_agent(dir: &Path, cti: &str) -> Site {
        let mut bed = Bed::new(dir);
        // Wine takes its time to start a process: the stories are of what is done, by leases of the default length.
        let edge = configuration::edge(dir, "first_server_auto_restart_as_active = false");
        bed.configure_edge(&edge.replace(
            "profile = \"lan\"",
            &format!("ttl = \"{LEASE:?}\"\nrenew = \"1s\"\nstop_max = \"{STOP_MAX:?}\""),
        ));
        bed.configure_agent(B, &configuration(dir, cti));
        let mut app = bed.network().command_on(B, lockstep());
        app.args(["simulate", "app", "--side", "b", "--listen", &format!("{}:80", address(B))]);
        app.arg("--lock").arg(lock(dir)).arg("--log").arg(dir.join(app::file_name(B)));
        let app = Life::begin(app, &dir.join("app-b.log"), None);
        bed.start_agent(A);
        install_windows(dir);
        let site = Site { bed, dir: dir.to_owned(), agent: None, _app: app };
        site.switch_windows_on();
        site
    }

    /// Wine shuts down, and ends what are services, when the last program that is none has ended. A Windows is left on.
    fn switch_windows_on(&self) {
        let mut server = self.on_windows("wineserver");
        server.arg("-p");
        let mut first = self.program("lockstep.exe");
        first.arg("--version");
        // What belongs to Windows itself is started with the first program, and keeps its output open.
        for mut command in [server, first] {
            let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(ended.success(), "{command:?}: {ended}");
        }
    }

    /// Starts the edge when B's agent says in its log that it runs, and waits until side A serves and side B could.
    pub fn begin(&mut self, log: &str) {
        until("B's agent to run", || self.bed.log(log).contains(RUNS).then_some(()));
        self.bed.start_edge();
        self.bed.wait_well(A);
    }

    /// In a console.
    pub fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "side b has an agent already");
        let mut command = self.program("lockstep.exe");
        command.arg("agent").arg("--config").arg(windows_path(&self.dir.join("agent-b.toml")));
        self.agent = Some(Life::begin(command, &self.dir.join("agent-b.log"), None));
    }

    /// A program of Wine's own, for node B's Windows.
    fn on_windows(&self, program: &str) -> Command {
        let mut command = self.bed.network().command_on(B, program);
        command.env("WINEPREFIX", prefix(&self.dir)).env("TMPDIR", &self.dir).env("WINEDEBUG", "-all");
        command
    }

    /// A program for Windows, on node B.
    fn program(&self, name: &str) -> Command {
        let mut command = self.on_windows("wine");
        command.arg(exe(name));
        command
    }

    pub fn kill_agent(&mut self) {
        self.agent.take().expect("it has an agent").kill();
    }

    pub fn signal_agent(&self, signal: Signal) {
        self.agent.as_ref().expect("it has an agent").signal(signal);
    }

    /// Sends a signal to the guard of B's CTI.
    pub fn signal_guard(&self, signal: Signal) {
        let guard = processes("lockstep.exe guard cti");
        assert_eq!(guard.len(), 1, "guards of one service: {guard:?}");
        kill(guard[0], signal).unwrap();
    }

    /// Runs a program for Windows on node B to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.program(program).args(arguments).output().unwrap()
    }

    /// The same, which must be good; what it has said.
    pub fn do_run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        said
    }

    /// How often B's CTI was started.
    pub fn starts(&self) -> usize {
        self.marks(Mark::Start)
    }

    /// How often B's CTI has come to its own end.
    pub fn orderly_ends(&self) -> usize {
        self.marks(Mark::End)
    }

    fn marks(&self, mark: Mark) -> usize {
        activity::read(&log(&self.dir)).unwrap().iter().filter(|instant| instant.mark == mark).count()
    }

    /// Waits until B's CTI runs no more, and says when it was last seen.
    pub fn cti_ended(&self) -> u64 {
        self.silent(&log(&self.dir))
    }

    /// Waits until who writes into a file of activity has done nothing for some ticks, and says when it was last seen.
    pub fn silent(&self, log: &Path) -> u64 {
        until("the end of a CTI service on Windows", || {
            let last = activity::read(log).unwrap().last().map_or(0, |instant| instant.at);
            (now() > last + 20 * u64::try_from(activity::TICK.as_nanos()).unwrap()).then_some(last)
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["agent-b", "installed"] {
                eprintln!("\n--- what the agent on Windows has said: {log}.log\n{}", self.bed.log(log));
            }
        }
    }
}

/// The world's processes whose command lines have these words.
fn processes(words: &str) -> Vec<Pid> {
    let numbers =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let has_words = |number: &i32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    };
    numbers.filter(has_words).map(Pid::from_raw).collect()
}

/// What the rig is told to play B's CTI, with more words.
pub fn cti(dir: &Path, more: &[&str]) -> Vec<String> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let ahead = i128::from(now()) - i128::try_from(since_1970).unwrap();
    let mut words: Vec<String> = ["cti", "--log", &windows_path(&log(dir)), "--lock", &windows_path(&lock(dir))]
        .map(str::to_owned)
        .into_iter()
        .collect();
    words.extend(["--listen".to_owned(), format!("{}:2011", address(B)), format!("--ahead={ahead}")]);
    words.extend(more.iter().map(ToString::to_string));
    words
}

/// Where B's CTI writes down that it runs.
pub fn log(dir: &Path) -> PathBuf {
    dir.join(activity::file_name(B))
}

fn lock(dir: &Path) -> PathBuf {
    dir.join("cti-b.lock")
}

/// The bed's own configuration of side B, but for its services.
fn configuration(dir: &Path, cti: &str) -> String {
    let bed = configuration::agent(dir, Side::B, PAIR);
    let (head, _) = bed.split_once("[[service]]").expect("it has services");
    let ready = format!("ready = {{ tcp = \"{}:2011\" }}", address(B));
    format!("{head}[[service]]\nname = \"cti\"\n{cti}\nexclusive = true\n{ready}\n")
}
