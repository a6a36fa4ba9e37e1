//! `lockstep policy new|check|explain|run`: what the author of a policy works with.

use crate::exit::Failure;
use crate::verbs::print;
use lockstep_edge::config::Change;
use lockstep_policy::author::conformance::{Bench, CHECKS};
use lockstep_policy::author::page::page;
use lockstep_policy::author::project::{Language, create};
use lockstep_policy::host::Library;
use lockstep_policy::scenario::{self, Scenario};
use lockstep_policy::setup::{Detect, SideSetup};
use lockstep_policy::{Setup, Sides};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No check takes longer: a plugin that does hangs.
const LONGEST_CHECK: Duration = Duration::from_secs(60);

/// `lockstep policy new NAME`.
pub fn new(name: &str, language: &str, sdk: Option<&Path>) -> Result<(), Failure> {
    let (language, next) = match language {
        "c" => (Language::C, "make && make check"),
        _ => (Language::Rust, "make check"),
    };
    let here = std::env::current_dir().map_err(Failure::from_error)?;
    let project = create(&here, name, language, sdk).map_err(Failure::from_error)?;
    print(&format!(
        "{}: a policy that watches both sides and moves off one that fails.\n  cd {name} && {next}\n\
         Then change what it decides, and say what it should do in scenarios/*.txt: `lockstep policy run --bless` writes \
         down what it does.\n",
        project.display()
    ))
}

/// Where the setup of a plugin that is judged comes from.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// A scenario, whose pair it is then.
    pub scenario: Option<&'a Path>,
    /// Parameters, as `KEY=VALUE`.
    pub set: &'a [String],
}

impl From<'_> {
    fn setup(self) -> Result<Setup, Failure> {
        let mut setup = match self.scenario {
            Some(file) => Scenario::read(file).map_err(Failure::from_error)?.setup().clone(),
            None => plain(),
        };
        for text in self.set {
            Change::parse(text).map_err(Failure::failed)?.apply(&mut setup);
        }
        Ok(setup)
    }
}

/// A pair with defaults everywhere.
fn plain() -> Setup {
    let side = |server: &str| SideSetup { servers: vec![server.to_owned()], pools: Vec::new(), agent: true };
    Setup {
        pair: "phones".to_owned(),
        parameters: serde_json::Map::new(),
        detect: Detect { interval_ms: 100, timeout_ms: 200, failures: 3 },
        sides: Sides { a: side("192.0.2.1:80"), b: side("192.0.2.2:80") },
    }
}

/// `lockstep policy check FILE`: the checks run in a process of their own, which the plugin may take along.
pub fn check(file: &Path, from: From<'_>) -> Result<(), Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(Failure::from_error)?);
    command.args(["policy", "check", "--here"]).arg(file);
    if let Some(scenario) = from.scenario {
        command.arg("--scenario").arg(scenario);
    }
    for set in from.set {
        command.args(["--set", set]);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(Failure::from_error)?;
    // A process that was just spawned with a pipe has one.
    let Some(output) = child.stdout.take() else { return Err(Failure::failed("the checks have no output")) };
    let (lines, heard) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).all(|line| lines.send(line).is_ok());
    });
    let mut under_way = "loading".to_owned();
    loop {
        match heard.recv_timeout(LONGEST_CHECK) {
            Ok(line) => match line.strip_prefix("… ") {
                Some(name) => under_way = name.to_owned(),
                None => print(&format!("{line}\n"))?,
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                let why = format!("it has not come back in {LONGEST_CHECK:?}");
                return Err(Failure::failed(format!("{}: {under_way}: {why}", file.display())));
            }
        }
    }
    let status = child.wait().map_err(Failure::from_error)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => Err(Failure::failed("")),
        None => {
            let why = format!("the plugin ended the process ({status})");
            Err(Failure::failed(format!("{}: {under_way}: {why}", file.display())))
        }
    }
}

/// The checks themselves.
pub fn check_here(file: &Path, from: From<'_>) -> Result<(), Failure> {
    let library = Library::open(file).map_err(Failure::from_error)?;
    let setup = from.setup()?;
    let bench = Bench { library: &library, setup: &setup };
    println!("{} {}, SHA-256 {}", library.id(), library.version(), library.fingerprint());
    let mut failed = 0;
    for check in &CHECKS {
        println!("… {}", check.name);
        match bench.make(check) {
            Ok(()) => println!("ok      {}: {}", check.name, check.demand),
            Err(broken) => {
                failed += 1;
                println!("BROKEN  {}: {}\n        {broken}", check.name, check.demand);
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{}: {failed} of {} checks failed", file.display(), CHECKS.len()))),
    }
}

/// `lockstep policy explain FILE`.
pub fn explain(file: &Path, from: From<'_>, markdown: bool) -> Result<(), Failure> {
    let library = Library::open(file).map_err(Failure::from_error)?;
    let setup = from.setup()?;
    library
        .check_parameters(&setup.parameters)
        .map_err(|errors| Failure::failed(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let text = if markdown { page(&library, &setup) } else { library.explain(&setup) };
    print(&text.map_err(Failure::from_error)?)
}

/// `lockstep policy run SCENARIO…`.
pub fn run(scenarios: &[PathBuf], policy: Option<&Path>, bless: bool) -> Result<(), Failure> {
    let mut failed = 0;
    for file in scenarios {
        let library = match policy {
            Some(policy) => Library::open(policy).map_err(Failure::from_error)?,
            None => beside(&Scenario::read(file).map_err(Failure::from_error)?)?,
        };
        match scenario::check(file, &library, bless) {
            Ok(()) => print(&format!("{}: as written\n", file.display()))?,
            Err(error) => {
                failed += 1;
                print(&format!("{error}\n"))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{failed} of {} scenarios: the policy does otherwise", scenarios.len()))),
    }
}

/// The plugin that a scenario names, where plugins are installed.
fn beside(scenario: &Scenario) -> Result<Library, Failure> {
    let name = format!("liblockstep_{}.so", scenario.plugin().replace('-', "_"));
    let binary = std::env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_owned));
    let places = binary.into_iter().chain([PathBuf::from("/usr/lib/lockstep/policies")]);
    let file = places.map(|place| place.join(&name)).find(|file| file.exists());
    let file =
        file.ok_or_else(|| Failure::failed(format!("{name} is not installed: name the plugin with --policy FILE")))?;
    Library::open(&file).map_err(Failure::from_error)
}
