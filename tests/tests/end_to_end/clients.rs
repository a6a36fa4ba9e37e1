//! More clients that nobody here wrote: a browser, a WebSocket library, `curl`'s own change of protocol, `wrk`, `h2load`, and
//! `testssl.sh`, which judges the TLS listener. Most of them see the active role move.

use crate::bed::{Bed, until};
use crate::configuration::vip;
use crate::network::VIP;
use crate::stream::judge_logs;
use crate::tls;
use crate::world::in_a_world_of_its_own;
use lockstep_demo::app::{PAGE, SOCKET};
use lockstep_policy::Side::{A, B};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// For how many seconds the makers of load run: a switch is over long before.
const SECONDS: &str = "4";

/// A program at work, and the lines that it says.
struct Told {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Told {
    /// Of its standard output, or of its error output.
    fn begin(mut command: Command, by_error: bool) -> Told {
        let (own, other) = (Stdio::piped(), Stdio::null());
        let (out, error) = if by_error { (other, own) } else { (own, other) };
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(error).spawn().expect("it is installed");
        let said: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (None, error) => Box::new(error.unwrap()),
        };
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
                told.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Told { child, lines }
    }

    /// Waits for a line that has this in it.
    fn hear(&self, text: &str) {
        until(&format!("\"{text}\" in {:?}", self.lines.lock().unwrap()), || self.has(text).then_some(()));
    }

    fn has(&self, text: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("it said: {:#?}", self.lines.lock().unwrap());
        }
    }
}

/// The page comes by HTTP/2; its WebSocket is closed by a switch with 1012, and connects again to the other side.
#[test]
fn a_browser_is_told_of_a_switch_and_comes_back() {
    in_a_world_of_its_own(|dir| {
        let bed = tls::ready(dir);
        let browser = browse(dir, &format!("https://{VIP}{PAGE}"));
        browser.hear("page: by h2");
        browser.hear("page: hears side a, CTI active");
        browser.hear("page: hears word of a page");
        bed.switch(B);
        browser.hear("page: closed 1012 service restart clean");
        browser.hear("page: hears side b, CTI active");
        // What the browser itself gives up in between (ERR_NETWORK_CHANGED, in a world whose network is new) it asks for again.
        judge_logs(&bed, |_| false);
    });
}

/// Debian's Chromium without a window. It believes the bed's certificate by its key; its log has what pages say on their consoles.
fn browse(dir: &Path, url: &str) -> Told {
    let key = "openssl x509 -in pair.example.crt -pubkey -noout | openssl pkey -pubin -outform der \
               | openssl dgst -sha256 -binary | openssl enc -base64";
    let key = Command::new("sh").args(["-c", key]).current_dir(dir).output().unwrap();
    let key = String::from_utf8(key.stdout).unwrap();
    assert_eq!(key.trim().len(), 44, "a digest of the key: {key}");
    let mut command = Command::new("chromium-headless-shell");
    command
        .arg(format!("--user-data-dir={}", dir.join("browser").display()))
        .arg(format!("--ignore-certificate-errors-spki-list={}", key.trim()))
        .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--remote-debugging-port=0", url])
        .env("HOME", dir);
    Told::begin(command, true)
}

/// Messages in parts, long ones, pings; then it says how its connection has ended, and who answers the next.
const LIBRARY: &str = r#"
import asyncio, sys, websockets
async def talk(url):
    async with websockets.connect(url, max_size=None) as ws:
        print(await ws.recv(), flush=True)
        await ws.send(["one, ", "in ", "three parts"])
        assert await ws.recv() == "one, in three parts"
        for size in (125, 126, 65535, 65536, 3000000):
            await ws.send(b"x" * size)
            assert await ws.recv() == b"x" * size, size
        await (await ws.ping(b"there?"))
        print("all was repeated", flush=True)
        try:
            print("heard", await ws.recv(), flush=True)
        except websockets.ConnectionClosed as end:
            print("closed", end.rcvd.code, end.rcvd.reason, end.rcvd_then_sent, flush=True)
async def main():
    await talk(sys.argv[1])
    await talk(sys.argv[1])
asyncio.run(main())
"#;

#[test]
fn a_websocket_library_is_told_of_a_switch_and_comes_back() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", LIBRARY, &format!("ws://{}{SOCKET}", vip())]);
        let library = Told::begin(command, false);
        library.hear("side a, CTI active");
        library.hear("all was repeated");
        bed.switch(B);
        library.hear("closed 1012 service restart True");
        library.hear("side b, CTI active");

        // `curl` knows no WebSockets; it asks for the change by its fields, and shows what comes.
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--include", "--max-time", "60"]);
        for field in [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            command.args(["--header", field]);
        }
        let mut curl = Told::begin(
            {
                command.arg(format!("http://{}{SOCKET}", vip()));
                command
            },
            false,
        );
        curl.hear("HTTP/1.1 101 Switching Protocols");
        curl.hear("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        bed.wait_well(B);
        bed.switch(A);
        until("the end of curl", || curl.child.try_wait().unwrap());
        until("its last words", || curl.has("service restart").then_some(()));
        judge_logs(&bed, |_| false);
    });
}

/// What a program says until it ends, which must be a good end.
fn ran(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it is installed");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn makers_of_load_see_no_failure_at_a_switch() {
    in_a_world_of_its_own(|dir| {
        let bed = tls::ready(dir);
        let wrk = std::thread::spawn(|| {
            let url = format!("http://{}/work", vip());
            ran(Command::new("wrk")
                .args(["--threads", "1", "--connections", "20", "--timeout", "20s", "--duration"])
                .args([&format!("{SECONDS}s"), &url]))
        });
        let h2load = std::thread::spawn(|| {
            let url = format!("https://{VIP}/work");
            ran(Command::new("h2load")
                .args(["--clients", "4", "--max-concurrent-streams", "10", "--duration", SECONDS])
                .arg(url))
        });
        let client = bed.client(100);
        client.let_flow(100);
        bed.switch(B);
        let (wrk, h2load) = (wrk.join().unwrap(), h2load.join().unwrap());
        println!("{wrk}\n{h2load}");
        assert!(wrk.contains("requests in") && !wrk.contains("Socket errors") && !wrk.contains("Non-2xx"), "{wrk}");
        assert!(
            h2load.contains("Application protocol: h2") && h2load.contains(" 0 failed, 0 errored, 0 timeout"),
            "{h2load}"
        );
        client.finish(&bed).nothing_lost();
    });
}

/// What it finds of the bed's certificate, which is self-made and for 30 days.
const OF_THE_BED: [&str; 3] = ["cert_expirationStatus", "cert_notAfter", "cert_revocation"];
/// All ciphers are strong, and a client knows best which of them its processor is good at: docs/operating.md.
const BY_CHOICE: &str = "cipher_order";

#[test]
fn testssl_finds_nothing_severe() {
    in_a_world_of_its_own(|dir| {
        let _bed = tls::ready(dir);
        let findings = dir.join("findings.json");
        let mut command = Command::new("testssl");
        command
            .args(["--quiet", "--warnings", "off", "--color", "0", "--protocols", "--std", "--server-preference"])
            .args(["--server-defaults", "--heartbleed", "--renegotiation"])
            .arg("--add-ca")
            .arg(dir.join("ca.pem"))
            .arg("--jsonfile")
            .arg(&findings)
            .arg(format!("{VIP}:443"))
            .env("HOME", dir);
        // How it ends counts its findings, of whatever severity.
        let output = command.stdin(Stdio::null()).output().expect("it is installed");
        println!("{}", String::from_utf8_lossy(&output.stdout));
        let findings: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(findings).unwrap()).unwrap();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let finding = |id: &str| findings.iter().find(|finding| text(finding, "id") == id);
        for (id, what) in
            [("TLS1", "not offered"), ("TLS1_1", "not offered"), ("TLS1_2", "offered"), ("TLS1_3", "offered")]
        {
            let said = finding(id).map(|finding| text(finding, "finding")).unwrap_or_default();
            assert!(said.starts_with(what), "{id}: {said}");
        }
        let severe = |finding: &&Value| ["HIGH", "CRITICAL", "FATAL"].contains(&text(finding, "severity").as_str());
        let mut severe: Vec<_> = findings.iter().filter(severe).collect();
        severe.retain(|finding| ![&OF_THE_BED[..], &[BY_CHOICE]].concat().contains(&text(finding, "id").as_str()));
        assert!(severe.is_empty(), "{severe:#?}");
    });
}
