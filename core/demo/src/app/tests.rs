use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_log_line_is_read_as_it_is_written() {
    let entry =
        Misplaced { at: 7, side: Side::B, method: "GET".into(), path: "/x".into(), id: "12".into(), awaited: false };
    assert_eq!(entry.to_string().parse(), Ok(entry));
    assert!("7 b GET /x 12".parse::<Misplaced>().is_err());
}

/// One application on a free port, and the lock that its CTI would hold.
struct Bench {
    dir: tempfile::TempDir,
    address: SocketAddr,
    cti: ActiveLock,
}

impl Bench {
    fn start() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let options = Options {
            side: Side::A,
            name: Some("first".to_owned()),
            listen: address,
            lock: dir.path().join("cti.lock"),
            log: dir.path().join(file_name(Side::A)),
            done: Some(dir.path().join("done")),
            service_time: Duration::ZERO,
            start_time: Duration::ZERO,
            control: Some(dir.path().join("ipsws")),
        };
        let cti = ActiveLock::open(&options.lock).unwrap();
        tokio::task::spawn_local(async move { serve_on(&listener, options).await.unwrap() });
        Bench { dir, address, cti }
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: 5\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn misplaced(&self) -> Vec<Misplaced> {
        misplaced(&self.dir.path().join(file_name(Side::A))).unwrap()
    }
}

fn on_a_bench(test: impl AsyncFnOnce(Bench)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async { test(Bench::start()).await });
}

#[test]
fn the_monitor_answers_as_the_vendor_says() {
    on_a_bench(async |bench| {
        let monitor = |module: &str| format!("{MONITOR}?mod={module}");
        assert!(bench.get(&monitor("NONE")).await.ends_with("\r\n\r\nOK"));
        assert!(bench.get(&monitor("IPSWS")).await.ends_with("IPSWS=OK"));
        assert!(bench.get(&monitor("FT")).await.ends_with("STANDBY"));
        bench.cti.take().unwrap();
        assert!(bench.get(&monitor("FT")).await.ends_with("ACTIVE"));
        std::fs::write(bench.dir.path().join("ipsws"), "IPSWS=database gone").unwrap();
        assert!(bench.get(&monitor("IPSWS")).await.ends_with("IPSWS=database gone"));
        assert!(bench.get(&monitor("TEA")).await.starts_with("HTTP/1.1 400"));
        assert_eq!(bench.misplaced(), [], "the monitor is asked on either side");
    });
}

#[test]
fn work_served_without_an_active_cti_is_written_down() {
    on_a_bench(async |bench| {
        bench.cti.take().unwrap();
        let answer = bench.get("/work").await;
        assert!(answer.contains("x-cti: active") && answer.contains("x-server: first"), "{answer}");
        assert_eq!(bench.misplaced(), []);
        bench.cti.release().unwrap();
        assert!(bench.get("/work").await.ends_with("side a, CTI standby\n"));
        let log = bench.misplaced();
        assert_eq!(log.len(), 1);
        assert_eq!((log[0].path.as_str(), log[0].id.as_str(), log[0].awaited), ("/work", "5", true));
        assert_eq!(misplaced(&bench.dir.path().join("done")).unwrap().len(), 2, "both were done");
    });
}

#[test]
fn a_request_whose_connection_was_cut_is_told_from_one_that_is_awaited() {
    on_a_bench(async |bench| {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        drop(stream);
        // Where the end of the connection is seen first, nothing is served at all: that is no misplaced request either.
        bench.get("/work").await;
        let log = bench.misplaced();
        assert_eq!(log.iter().filter(|entry| entry.awaited).count(), 1, "{log:?}");
    });
}
