//! A client that comes anew for each request, beside the one that stays: who is refused, reset or left without an answer is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// From one request to the next, beside what it takes.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than a request is held.
const PATIENCE: Duration = Duration::from_secs(30);

/// At work until it is told to end.
pub struct Knocks {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    work: Option<JoinHandle<Vec<String>>>,
}

impl Knocks {
    pub fn begin(at: SocketAddr) -> Knocks {
        let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&good));
        let work = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !told.load(Relaxed) {
                match knock(at) {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => drop(counted.fetch_add(1, Relaxed)),
                    Ok(answer) => failures.push(answer),
                    Err(error) => failures.push(error.to_string()),
                }
                std::thread::sleep(PAUSE);
            }
            failures
        });
        Knocks { stop, good, work: Some(work) }
    }

    /// Ends it: none of its requests has failed, and there were some.
    pub fn nothing_lost(mut self) {
        self.stop.store(true, Relaxed);
        let failures = self.work.take().unwrap().join().unwrap();
        let good = self.good.load(Relaxed);
        println!("{good} connections of one request each");
        assert!(failures.is_empty(), "{} of {good} and these failed: {failures:?}", failures.len());
        assert!(good > 20, "{good}");
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn knock(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /work HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// One connection on which requests follow each other; what is passed on is a stream, or is not.
pub struct Lasting(TcpStream);

impl Lasting {
    pub fn begin(at: SocketAddr) -> Lasting {
        let stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lasting = Lasting(stream);
        lasting.ask();
        lasting
    }

    /// A request on it, which is answered: its head.
    pub fn ask(&mut self) -> String {
        self.0.write_all(b"GET /work HTTP/1.1\r\nHost: vip\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut byte = [0; 1024];
        loop {
            let read = self.0.read(&mut byte).unwrap();
            assert!(read > 0, "it has ended: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&byte[..read]);
            let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_none_or(|length| body.len() >= length.parse().unwrap()) {
                assert!(head.starts_with("http/1.1 200 "), "{head}");
                return head.to_owned();
            }
        }
    }

    /// Waits for its end, whichever it is.
    pub fn wait_end(&mut self) {
        let mut rest = [0; 1024];
        loop {
            match self.0.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("it does not end: {error}"),
            }
        }
    }
}
