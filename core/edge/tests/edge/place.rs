//! A directory with a configuration, and an edge that runs with it.

use crate::workers;
use lockstep_edge::admin::client::Client;
use lockstep_edge::run;
use lockstep_policy::host::trust;
use lockstep_policy::{Side, Sides};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// What is not there by then never comes; far beyond what a busy machine needs.
pub const PATIENT: Duration = Duration::from_secs(30);

/// A directory with a configuration whose addresses nobody else uses.
pub struct Place {
    pub directory: TempDir,
    pub vip: SocketAddr,
    pub admin: SocketAddr,
}

impl Place {
    /// With the telisca policy, and nobody at the addresses of its sides.
    pub fn new() -> Place {
        Place::with("plugin = \"telisca\"\nfast = true", Sides::from_fn(|_| free()), Sides::from_fn(|_| free()))
    }

    /// With a policy, servers and agents.
    pub fn with(policy: &str, servers: Sides<SocketAddr>, agents: Sides<SocketAddr>) -> Place {
        Place::on_terms("", policy, servers, agents)
    }

    /// The same with lines of `[edge.policies]`.
    pub fn on_terms(terms: &str, policy: &str, servers: Sides<SocketAddr>, agents: Sides<SocketAddr>) -> Place {
        let place = Place { directory: TempDir::new().unwrap(), vip: free(), admin: free() };
        let Place { vip, admin, .. } = &place;
        let terms = if terms.is_empty() { String::new() } else { format!("[edge.policies]\n{terms}\n") };
        let side =
            |side: Side| format!("[pair.{side}]\nservers = [\"{}\"]\nagent = \"{}\"\n", servers[side], agents[side]);
        let text = format!(
            "[edge]\nstate = \"state\"\nadmin = \"{admin}\"\ntls = {{ insecure = true }}\n{terms}[[pair]]\nname = \"phones\"\nlisten = [\"{vip}\"]\n\
             [pair.policy]\n{policy}\n[pair.lease]\nttl = \"10s\"\nrenew = \"100ms\"\nstop_max = \"250ms\"\n\
             [pair.handover]\nrecover = \"500ms\"\n[pair.hold]\nmax_wait = \"100ms\"\n{}{}",
            side(Side::A),
            side(Side::B)
        );
        std::fs::write(place.config(), text).unwrap();
        workers::are_this_program();
        place.trust(&workers::plugin("telisca"));
        place
    }

    /// Has a plugin trusted.
    pub fn trust(&self, plugin: &Path) {
        trust(&self.directory.path().join("policies.trust"), &[plugin.to_owned()]).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("edge.toml")
    }

    pub fn client(&self) -> Client {
        Client::from_config(&self.config()).unwrap()
    }

    /// A running edge that answers, and whose policies work.
    pub async fn start(&self) -> Edge {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = self.config();
        let task = tokio::spawn(async move {
            run(&config, async {
                let _ = stopped.await;
            })
            .await
        });
        let deadline = Instant::now() + PATIENT;
        loop {
            assert!(!task.is_finished(), "the edge has ended: {:?}", task.await);
            if let Ok(client) = Client::from_config(&self.config())
                && client.status().await.is_ok_and(|status| status.pairs.iter().all(|pair| pair.policy.working))
            {
                return Edge { stop, task };
            }
            assert!(Instant::now() < deadline, "the edge does not answer");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

pub struct Edge {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), lockstep_edge::EdgeError>>,
}

impl Edge {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENT, self.task).await.expect("it must stop").unwrap().unwrap();
    }
}

/// An address that nobody else uses: each test process has one of loopback's own, and counts its ports.
pub fn free() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | high & 63, middle, low);
    SocketAddr::from((address, PORT.fetch_add(1, Ordering::Relaxed)))
}
