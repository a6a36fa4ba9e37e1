//! The demo's edge, agents and client: their configurations, processes and addresses.

use super::Options;
use super::processes::{DEMO, NODE, Process, of_node};
use crate::{activity, app};
use anyhow::Context;
use lockstep_edge::admin::api::PairStatus;
use lockstep_edge::admin::client::Client;
use lockstep_edge::config::installed_plugin;
use lockstep_policy::event::Verdict;
use lockstep_policy::{Side, Sides};
use lockstep_wire::trust::{Directory, Identity, LASTING};
use std::fs::{OpenOptions, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The demo's one pair.
pub const PAIR: &str = "telisca";
/// How many seconds' requests may wait at once.
const SECONDS_OF_ROOM: u32 = 10;
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that the demo has started. Dropping it ends the keeper's input, and the keeper everything else.
#[derive(Debug)]
pub struct Stage {
    /// What the demo was told.
    pub options: Options,
    actors: Actors,
    temporary: Option<tempfile::TempDir>,
    addresses: Addresses,
    keeper: Child,
    edge: Child,
    agents: Sides<Option<Child>>,
    client: Option<Child>,
}

/// Loopback has sixteen million addresses: the demo takes a block of them, so that ports may be the usual ones.
#[derive(Debug)]
struct Addresses {
    block: u8,
    /// Kept for as long as the block is used.
    _claim: TcpListener,
}

impl Addresses {
    fn claim() -> anyhow::Result<Addresses> {
        let claimed = (80..=250).find_map(|block| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, 0, block, 254), 7479)).ok()?;
            Some(Addresses { block, _claim: claim })
        });
        claimed.context("no free loopback addresses: is 127.0.0.0/8 on the interface lo, and are other demos running?")
    }

    fn at(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, self.block, host)), port)
    }

    fn vip(&self) -> SocketAddr {
        self.at(100, 8080)
    }

    fn admin(&self) -> SocketAddr {
        self.at(100, 7480)
    }

    fn server(&self, side: Side) -> SocketAddr {
        self.at(host(side), 8080)
    }

    fn agent(&self, side: Side) -> SocketAddr {
        self.at(host(side), 7401)
    }
}

fn host(side: Side) -> u8 {
    match side {
        Side::A => 1,
        Side::B => 2,
    }
}

impl Stage {
    /// Writes the configurations and starts everything but the client.
    pub fn set(options: Options) -> anyhow::Result<Stage> {
        anyhow::ensure!(
            !options.unfenced_on_purpose || cfg!(debug_assertions),
            "--unfenced-on-purpose: this build cannot: its agents always fence"
        );
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
                anyhow::ensure!(
                    dir.read_dir()?.next().is_none(),
                    "{}: is not empty: name a new directory",
                    dir.display()
                );
                (dir.canonicalize()?, None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("lockstep-demo-").tempdir()?;
                (temporary.path().canonicalize()?, Some(temporary))
            }
        };
        let binary = std::env::current_exe().context("the demo starts its own binary again, and cannot find it")?;
        let addresses = Addresses::claim()?;
        write_configurations(&options, &dir, &binary, &addresses)?;
        let keeper = Command::new(&binary)
            .args(["simulate", "keeper", "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            // Ctrl-C is for the demo: its keeper outlives it.
            .process_group(0)
            .spawn()
            .context("cannot start the keeper")?;
        let actors = Actors { binary, dir, unfenced: options.unfenced_on_purpose };
        let edge = actors.start(None)?;
        let agents = Sides { a: Some(actors.start(Some(Side::A))?), b: Some(actors.start(Some(Side::B))?) };
        Ok(Stage { options, actors, temporary, addresses, keeper, edge, agents, client: None })
    }

    /// Starts the stream of requests.
    pub fn start_client(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.actors.binary);
        command.args([
            "simulate",
            "client",
            "--post-every",
            "10",
            "--timeout",
            "30s",
            "--url",
            &format!("http://{}/work", self.addresses.vip()),
        ]);
        command.args(["--rate", &self.options.rate.to_string(), "--log"]).arg(self.client_log());
        command.env(DEMO, &self.actors.dir).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        self.client = Some(command.spawn().context("cannot start the client")?);
        Ok(())
    }

    /// Ends the stream of requests, and waits for those under way.
    pub async fn stop_client(&mut self) -> anyhow::Result<()> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(client.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = until("the client's end", async || Ok(client.try_wait()?)).await?;
        anyhow::ensure!(status.success(), "the client failed: {status}");
        Ok(())
    }

    /// Where the client writes each exchange down.
    pub fn client_log(&self) -> PathBuf {
        self.actors.dir.join("client.jsonl")
    }

    /// Where a side's CTI writes down that it runs.
    pub fn activity(&self, side: Side) -> PathBuf {
        self.actors.dir.join(activity::file_name(side))
    }

    /// Where a side's application writes down what it should not have been asked.
    pub fn misplaced(&self, side: Side) -> PathBuf {
        self.actors.dir.join(app::file_name(side))
    }

    /// The processes of a node: its agent, and all that stems from it.
    pub fn node(&self, side: Side) -> anyhow::Result<Vec<Process>> {
        Ok(of_node(&self.actors.dir, side)?)
    }

    /// Starts a side's agent again after its death.
    pub fn restart_agent(&mut self, side: Side) -> anyhow::Result<()> {
        if let Some(mut dead) = self.agents[side].take() {
            dead.wait()?;
        }
        self.agents[side] = Some(self.actors.start(Some(side))?);
        Ok(())
    }

    /// Speaks to the edge.
    pub fn operator(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.addresses.admin(), &self.actors.dir.join("edge/admin.token"))?)
    }

    /// How the pair stands; none while the edge does not answer.
    pub async fn pair(&mut self) -> anyhow::Result<Option<PairStatus>> {
        if let Some(status) = self.edge.try_wait()? {
            anyhow::bail!("the edge has ended, {status}: see {}", self.actors.dir.join("edge.log").display());
        }
        let Ok(operator) = self.operator() else { return Ok(None) };
        let Ok(status) = operator.status().await else { return Ok(None) };
        Ok(status.pairs.into_iter().find(|pair| pair.name == PAIR))
    }

    /// Waits until a side serves.
    pub async fn serving(&mut self, side: Option<Side>) -> anyhow::Result<Side> {
        let what = side.map_or_else(|| "a side to serve".to_owned(), |side| format!("side {side} to serve"));
        until(&what, async || {
            let active = self.pair().await?.filter(|pair| pair.handover.is_none()).and_then(|pair| pair.active);
            Ok(active.map(|active| active.side).filter(|active| side.is_none_or(|side| side == *active)))
        })
        .await
    }

    /// Waits until both sides are well: one serves, and the other could.
    pub async fn healthy(&mut self) -> anyhow::Result<Side> {
        until("both sides to be well", async || Ok(self.pair().await?.filter(is_healthy).and_then(|pair| pair.active)))
            .await
            .map(|active| active.side)
    }

    /// What to do with a demo that stays.
    pub fn invitation(&self) -> String {
        let (vip, binary, dir) = (self.addresses.vip(), self.actors.binary.display(), self.actors.dir.display());
        format!(
            "It goes on. In another terminal, for example:\n\n  \
             curl http://{vip}/work\n  \
             export LOCKSTEP_ADMIN={} LOCKSTEP_TOKEN_FILE={dir}/edge/admin.token\n  \
             {binary} status\n  \
             {binary} switch {PAIR} --to b\n  \
             {binary} why {PAIR}\n  \
             {binary} simulate client --url http://{vip}/work --seconds 10\n  \
             pkill -9 -f 'simulate app --side a'\n\n\
             Configurations, states and logs are in {dir}. Ctrl-C stops all of it.\n",
            self.addresses.admin()
        )
    }

    /// Stops everything. What was written is kept when the demo was told where, or when something is to be found out.
    pub fn clear(mut self, well: bool) -> anyhow::Result<()> {
        drop(self.keeper.stdin.take());
        let status = self.keeper.wait()?;
        for child in [Some(&mut self.edge), self.agents.a.as_mut(), self.agents.b.as_mut(), self.client.as_mut()]
            .into_iter()
            .flatten()
        {
            child.wait()?;
        }
        if let Some(temporary) = self.temporary.take().filter(|_| !well) {
            eprintln!("Configurations, states and logs are kept in {}.", temporary.keep().display());
        }
        anyhow::ensure!(status.success(), "the demo's processes could not all be stopped");
        Ok(())
    }
}

fn is_healthy(pair: &PairStatus) -> bool {
    let Some(active) = pair.active else { return false };
    let side_is_well = |side: Side| {
        let status = &pair.sides[side];
        let probed = !status.probes.is_empty()
            && status.probes.iter().all(|probe| probe.last.as_ref().is_some_and(|last| last.verdict == Verdict::Good));
        let says_so =
            status.report.as_ref().is_some_and(|report| report.fit && report.serving == (side == active.side));
        status.main && status.auxiliary && probed && says_so
    };
    !pair.recovering && pair.handover.is_none() && Side::BOTH.into_iter().all(side_is_well)
}

/// Asks every few milliseconds until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a long-running process of the demo is started from.
#[derive(Debug)]
struct Actors {
    binary: PathBuf,
    dir: PathBuf,
    unfenced: bool,
}

impl Actors {
    /// Starts the edge, or a side's agent. Its log is beside its configuration.
    fn start(&self, agent_of: Option<Side>) -> anyhow::Result<Child> {
        let (verb, name) =
            agent_of.map_or_else(|| ("edge", "edge".to_owned()), |side| ("agent", format!("agent-{side}")));
        let log = OpenOptions::new().append(true).create(true).open(self.dir.join(format!("{name}.log")))?;
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg("--config").arg(self.dir.join(format!("{name}.toml")));
        // Ctrl-C is for the demo, which stops the others in its own way.
        command.env(DEMO, &self.dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        if let Some(side) = agent_of {
            command.env(NODE, side.to_string());
            if self.unfenced {
                command.env("LOCKSTEP_TEST_UNFENCED", "1");
            }
        }
        command.spawn().with_context(|| format!("cannot start the {verb}"))
    }
}

fn write_configurations(options: &Options, dir: &Path, binary: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    trust_plugin(dir, binary)?;
    let ca = Directory::init(&dir.join("ca"), "lockstep demo")?;
    let tls = trust(&ca, dir, &Identity::edge("demo").map_err(anyhow::Error::msg)?)?;
    std::fs::write(dir.join("edge.toml"), edge_configuration(options, dir, addresses, &tls))?;
    for side in Side::BOTH {
        let tls = trust(&ca, dir, &Identity::agent(PAIR, side).map_err(anyhow::Error::msg)?)?;
        let text = agent_configuration(options, dir, binary, addresses, side)?.replacen(
            "[[service]]",
            &format!("{tls}\n[[service]]"),
            1,
        );
        std::fs::write(dir.join(format!("agent-{side}.toml")), text)?;
    }
    Ok(())
}

/// Trusts the plugin as an operator would: a copy of it that nobody else can write to, and `lockstep policy trust`.
fn trust_plugin(dir: &Path, binary: &Path) -> anyhow::Result<()> {
    let built = installed_plugin("telisca").map_err(anyhow::Error::msg)?;
    let plugins = dir.join("plugins");
    std::fs::create_dir(&plugins)?;
    let plugin = plugins.join(built.file_name().context("a plugin's file has a name")?);
    std::fs::copy(&built, &plugin).with_context(|| format!("{}: cannot be copied", built.display()))?;
    std::fs::set_permissions(&plugin, Permissions::from_mode(0o644))?;
    let trusted = Command::new(binary)
        .args(["policy", "trust"])
        .arg(&plugin)
        .arg("--trust-file")
        .arg(dir.join("policies.trust"))
        .stdout(Stdio::null())
        .status()
        .context("cannot start `lockstep policy trust`")?;
    anyhow::ensure!(trusted.success(), "{}: could not be trusted", plugin.display());
    Ok(())
}

/// The line by which an edge or an agent has a certificate of the demo's own CA, as by `lockstep pki`.
fn trust(ca: &Directory, dir: &Path, identity: &Identity) -> anyhow::Result<String> {
    let file = dir.join(format!("{}.pem", identity.file_stem()));
    ca.issue(identity, LASTING, &file)?;
    Ok(format!("tls = {{ ca = {:?}, certificate = {file:?}, revoked = {:?} }}\n", ca.ca(), ca.list()))
}

fn edge_configuration(options: &Options, dir: &Path, addresses: &Addresses, tls: &str) -> String {
    let side = |side| {
        format!("\n[pair.{side}]\nservers = [\"{}\"]\nagent = \"{}\"\n", addresses.server(side), addresses.agent(side))
    };
    format!(
        "[edge]\nname = \"demo\"\nstate = {:?}\nadmin = \"{}\"\nplugins = \"plugins\"\n{tls}\n\
         [[pair]]\nname = \"{PAIR}\"\nlisten = [\"{}\"]\n\n\
         [pair.policy]\nplugin = \"telisca\"\nfast = true\n\
         # Each step of the play is to end where it left the pair.\n\
         first_server_auto_restart_as_active = false\n\n\
         [pair.lease]\nprofile = \"lan\"\n\n\
         # Room for seconds: what a busy machine delays is late, not lost.\n\
         [pair.hold]\nmax_requests = {}\n{}{}",
        dir.join("edge"),
        addresses.admin(),
        addresses.vip(),
        (options.rate * SECONDS_OF_ROOM).max(1_000),
        side(Side::A),
        side(Side::B)
    )
}

fn agent_configuration(
    options: &Options,
    dir: &Path,
    binary: &Path,
    addresses: &Addresses,
    side: Side,
) -> anyhow::Result<String> {
    let (server, lock) = (addresses.server(side), dir.join(format!("cti-{side}.lock")));
    let text = |words: Vec<String>| serde_json::to_string(&words);
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let program = |name: &str| vec![path(binary), "simulate".into(), name.into(), "--side".into(), side.to_string()];
    let mut framework = program("app");
    framework.extend(["--listen".into(), server.to_string(), "--lock".into(), path(&lock)]);
    framework.extend(["--log".into(), path(&dir.join(app::file_name(side)))]);
    let mut cti = program("cti");
    cti.extend(["--start-time".into(), humantime::format_duration(options.cti_start).to_string().replace(' ', "")]);
    cti.extend(["--stop-time".into(), humantime::format_duration(options.cti_stop).to_string().replace(' ', "")]);
    cti.extend(["--lock".into(), path(&lock), "--log".into(), path(&dir.join(activity::file_name(side)))]);
    Ok(format!(
        "[agent]\npair = \"{PAIR}\"\nside = \"{side}\"\nlisten = \"{}\"\nstate = {:?}\n\n\
         [[service]]\nname = \"framework\"\ndriver = \"exec\"\ncommand = {}\nflush = true\n\
         ready = {{ http = \"http://{server}{}?mod=NONE\" }}\n\n\
         [[service]]\nname = \"cti\"\ndriver = \"exec\"\ncommand = {}\nexclusive = true\nready = {{ notify = true }}\n",
        addresses.agent(side),
        dir.join(format!("agent-{side}")),
        text(framework)?,
        app::MONITOR,
        text(cti)?
    ))
}
