//! A service that somebody else runs, and that is told over HTTP. It writes down what it was told.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct State {
    pub running: bool,
    /// `start` and `stop`, in their order.
    pub told: Vec<String>,
    /// The status of its answer to `stop`; with another than 200 it goes on.
    pub stop: u16,
    /// The statuses of its next answers to `start`; 200 when there are none. With another than 200 it does not start.
    pub start: Vec<u16>,
    /// It does not say how it is.
    pub vague: bool,
}

/// As long as it lives, it answers.
#[derive(Clone)]
pub struct Remote {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Remote {
    pub fn start() -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { running: false, told: Vec::new(), stop: 200, start: Vec::new(), vague: false };
        let remote = Remote { address, state: Arc::new(Mutex::new(state)) };
        let answering = remote.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answering.answer(stream);
            }
        });
        remote
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    pub fn runs(&self) -> bool {
        self.with(|state| state.running)
    }

    pub fn told(&self) -> String {
        self.with(|state| state.told.join(" "))
    }

    /// A service of the driver `http` that is this, with more lines.
    pub fn service(&self, more: &str) -> String {
        let address = &self.address;
        format!(
            r#"
[[service]]
name = "cti"
driver = "http"
exclusive = true
start = {{ url = "http://{address}/start" }}
stop = {{ url = "http://{address}/stop", expect = 200 }}
{more}
"#
        )
    }

    /// The same with a status.
    pub fn service_with_status(&self, more: &str) -> String {
        let address = &self.address;
        self.service(&format!(
            "status = {{ url = \"http://{address}/status\", interval = \"50ms\", running = {{ contains = \"running\" }}, \
             stopped = {{ contains = \"stopped\" }} }}\n{more}"
        ))
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        let path = head.split_whitespace().nth(1).unwrap_or("").to_owned();
        let (status, body) = self.with(|state| match path.as_str() {
            "/start" => {
                state.told.push("start".to_owned());
                let status = if state.start.is_empty() { 200 } else { state.start.remove(0) };
                state.running |= status == 200;
                (status, "start")
            }
            "/stop" => {
                state.told.push("stop".to_owned());
                state.running &= state.stop != 200;
                (state.stop, "stop")
            }
            "/status" if state.vague => (500, "no idea"),
            "/status" if state.running => (200, "running"),
            "/status" => (200, "stopped"),
            _ => (404, "what"),
        });
        let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
}
