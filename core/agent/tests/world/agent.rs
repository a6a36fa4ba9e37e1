//! An agent as a process of its own.

use super::{RIG, wait_for, wait_until};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU8, Ordering};

/// A node: a directory, and an address of its own on the loopback network, so that no two tests meet.
pub struct Node {
    directory: tempfile::TempDir,
    pub address: String,
    services: String,
}

impl Node {
    /// `services` is what stands in the configuration after `[agent]`; `DIR` in it becomes the node's directory, and
    /// `HOST` its address without the port.
    pub fn new(services: &str) -> Node {
        static NODES: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let node = NODES.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let host = format!("127.{}.{low}.{node}", 1 + high % 250);
        let services = services.replace("DIR", directory.path().to_str().unwrap()).replace("HOST", &host);
        Node { directory, address: format!("{host}:7401"), services }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn config(&self) -> PathBuf {
        self.config_of("\"7.2\"")
    }

    fn config_of(&self, release: &str) -> PathBuf {
        let path = self.path("agent.toml");
        let text = format!(
            "[agent]\npair = \"telisca\"\nside = \"a\"\nlisten = \"{}\"\nstate = \"{}\"\nrelease = {release}\ntls = {{ insecure = true }}\n{}",
            self.address,
            self.state().display(),
            self.services
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts an agent and waits until edges can connect.
    pub fn start(&self) -> Agent {
        self.start_with(&[])
    }

    /// With another `release`.
    pub fn start_as(&self, release: &str) -> Agent {
        let agent = self.spawn(&self.config_of(release), &[]);
        wait_until("the agent's port", || TcpStream::connect(&self.address).is_ok());
        agent
    }

    pub fn start_with(&self, environment: &[(&str, &str)]) -> Agent {
        let agent = self.spawn(&self.config(), environment);
        wait_until("the agent's port", || TcpStream::connect(&self.address).is_ok());
        agent
    }

    /// Starts an agent that is expected to refuse to.
    pub fn start_refused(&self) -> String {
        let output = Command::new(RIG).arg("agent").arg(self.config()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn spawn(&self, config: &Path, environment: &[(&str, &str)]) -> Agent {
        let process = Command::new(RIG).arg("agent").arg(config).envs(environment.iter().copied()).spawn().unwrap();
        Agent { process }
    }
}

/// A running agent; killed with all that it runs when dropped.
pub struct Agent {
    pub process: Child,
}

impl Agent {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for an end that it comes to by itself.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the agent's end", || self.process.try_wait().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
