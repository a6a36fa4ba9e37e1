//! A guard driven by hand: the orders and events are the lines of its pipes.

use super::RIG;
use lockstep_policy::At;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub struct Guard {
    pub process: Child,
    orders: Option<ChildStdin>,
    events: mpsc::Receiver<String>,
}

/// How a guard begins.
#[derive(Clone, Copy)]
pub struct Begin<'a> {
    pub lock: &'a Path,
    pub command: &'a [&'a str],
    pub notify: Option<&'a Path>,
    /// Kill and end, on the node's clock.
    pub reach: Option<(At, At)>,
    pub stop_max: Duration,
}

impl Guard {
    pub fn begin(begin: Begin<'_>) -> Guard {
        Guard::begin_with(begin, None)
    }

    /// A step, or with an empty command nothing: `last` takes it back.
    pub fn begin_step(begin: Begin<'_>, last: &[&str]) -> Guard {
        Guard::begin_all(begin, None, serde_json::json!({"expected": [0, 3], "last": last}))
    }

    /// With a reach that comes together with the first order, as if the guard had taken long to be loaded.
    pub fn begin_with(begin: Begin<'_>, extended: Option<(At, At)>) -> Guard {
        Guard::begin_all(begin, extended, serde_json::json!({}))
    }

    fn begin_all(begin: Begin<'_>, extended: Option<(At, At)>, more: serde_json::Value) -> Guard {
        let mut process = Command::new(RIG)
            .args(["guard", "test"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (line, events) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        let mut guard = Guard { orders: process.stdin.take(), process, events };
        let reach = begin.reach.map(|(kill, end)| serde_json::json!({"kill": kill.0, "end": end.0}));
        let mut begin = serde_json::json!({"begin": {
            "lock": begin.lock,
            "command": begin.command,
            "notify": begin.notify,
            "exclusive": begin.reach.is_some(),
            "reach": reach,
            "stop_max": {"secs": begin.stop_max.as_secs(), "nanos": begin.stop_max.subsec_nanos()},
        }});
        begin["begin"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let extend = extended.map(|(kill, end)| serde_json::json!({"extend": {"kill": kill.0, "end": end.0}}));
        let lines: String = std::iter::once(begin).chain(extend).map(|order| format!("{order}\n")).collect();
        guard.orders.as_mut().expect("the pipe was asked for").write_all(lines.as_bytes()).unwrap();
        guard
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn extend(&mut self, kill: At, end: At) {
        self.say(&serde_json::json!({"extend": {"kill": kill.0, "end": end.0}}));
    }

    pub fn release(&mut self) {
        self.say(&serde_json::json!("release"));
    }

    pub fn dismiss(&mut self) {
        self.say(&serde_json::json!("dismiss"));
    }

    pub fn stop(&mut self, kill_at: At) {
        self.say(&serde_json::json!({"stop": {"kill_at": kill_at.0}}));
    }

    /// Waits until all that was said has been read and acted on.
    pub fn listened(&self) {
        super::wait_until("a guard that has read its orders", || {
            rustix::io::ioctl_fionread(self.orders.as_ref().unwrap()).unwrap() == 0
                && super::process::sleeps(self.pid())
        });
    }

    /// What an agent's death looks like to its guard.
    pub fn leave(&mut self) {
        self.orders = None;
    }

    /// The next event, which must come.
    pub fn hear(&mut self) -> serde_json::Value {
        let line = self.events.recv_timeout(super::PATIENCE).expect("the guard says something");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for `started` and gives the service's process.
    pub fn started(&mut self) -> u32 {
        let event = self.hear();
        let pid = event["started"]["pid"].as_u64().unwrap_or_else(|| panic!("{event} is not `started`"));
        u32::try_from(pid).unwrap()
    }

    fn say(&mut self, order: &serde_json::Value) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
