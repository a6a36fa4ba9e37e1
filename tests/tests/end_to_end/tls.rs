//! Clients that nobody here wrote, over TLS and HTTP/2: `curl` and `openssl s_client`, while the active role moves and while
//! certificates do.

use crate::bed::{Bed, until};
use crate::configuration;
use crate::network::VIP;
use crate::processes::lockstep;
use crate::stream::judge_logs;
use crate::world::in_a_world_of_its_own;
use lockstep_policy::Side::{A, B};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// TLS with the certificates of two names; TLS with one, and of clients too; HTTP/2 without TLS.
const LISTENERS: [u16; 3] = [443, 8443, 8080];
const NAMES: [&str; 2] = ["pair.example", "other.example"];

/// Runs `openssl`; what it says.
fn openssl(dir: &Path, line: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(line.split_whitespace()).args(more).stdin(Stdio::null());
    let output = command.output().unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

/// An authority, `ca.pem`.
fn make_authority(dir: &Path) {
    let said = openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 60 -subj /CN=bed",
        &["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
    );
    assert!(dir.join("ca.pem").exists(), "{said}");
}

/// A certificate for a name and the pair's address, with its key, in `NAME.pem`.
fn issue(dir: &Path, name: &str, days: &str) -> PathBuf {
    let names = format!("subjectAltName=DNS:{name},IP:{VIP}");
    let asked = format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
    );
    let mut said = openssl(dir, &asked, &["-addext", &names]);
    let signed = format!(
        "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -copy_extensions copyall -days {days} -out {name}.crt"
    );
    said += &openssl(dir, &signed, &[]);
    let [certificate, key] = ["crt", "key"].map(|end| std::fs::read_to_string(dir.join(format!("{name}.{end}"))));
    let (certificate, key) = (certificate.unwrap_or_else(|_| panic!("{said}")), key.unwrap());
    let file = dir.join(format!("{name}.pem"));
    // As a person does it with `mv`: never half of it.
    let new = dir.join("new.pem");
    std::fs::write(&new, certificate + &key).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(new, &file).unwrap();
    file
}

/// A pair with listeners of TLS, and one of HTTP/2 without.
pub(crate) fn ready(dir: &Path) -> Bed {
    ready_with(dir, |edge| edge)
}

/// Configured otherwise as `change` says.
fn ready_with(dir: &Path, change: impl Fn(String) -> String) -> Bed {
    make_authority(dir);
    let [first, second] = NAMES.map(|name| issue(dir, name, "30"));
    issue(dir, "client", "30");
    let mut bed = Bed::new(dir);
    let [tls, judged, plain] = LISTENERS.map(|port| format!("listen = [\"{VIP}:{port}\"]"));
    let listeners = format!(
        r#"
[[pair.listener]]
{tls}
tls = {{ certificates = [{first:?}, {second:?}] }}
[[pair.listener]]
{judged}
tls = {{ certificates = [{first:?}], client_ca = {ca:?} }}
[[pair.listener]]
{plain}
h2c = true
"#,
        ca = dir.join("ca.pem"),
    );
    let text = change(configuration::edge(dir, "first_server_auto_restart_as_active = false"));
    bed.configure_edge(&(text + &listeners));
    bed.start();
    bed
}

/// A `curl` that asks for one page after the other, on one connection as long as that holds.
struct Curl {
    process: Child,
    got: Arc<Mutex<Vec<Vec<String>>>>,
}

fn trusted(dir: &Path, name: &str, port: u16) -> Vec<String> {
    let ca = dir.join("ca.pem").display().to_string();
    vec!["--cacert".to_owned(), ca, "--resolve".to_owned(), format!("{name}:{port}:{VIP}")]
}

impl Curl {
    fn begin(dir: &Path, options: &[&str], url: &str) -> Curl {
        let said = "%{stderr}%{http_code} %{http_version} %header{x-cti}\n";
        let mut process = Command::new("curl")
            .args(["--silent", "--no-buffer", "--output", "/dev/null", "--rate", "6000/m", "--write-out", said])
            .args(trusted(dir, NAMES[0], LISTENERS[0]))
            .args(options)
            .arg(format!("{url}/work?number=[1-1000000]"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let got = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let told = Arc::clone(&got);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.lock().unwrap().push(line.split(' ').map(str::to_owned).collect());
            }
        });
        Curl { process, got }
    }

    fn let_flow(&self, answers: usize) {
        let from = self.got.lock().unwrap().len();
        until("answers of a curl", || (self.got.lock().unwrap().len() >= from + answers).then_some(()));
    }

    /// How often it got what.
    fn end(mut self) -> BTreeMap<String, usize> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut counts = BTreeMap::new();
        for got in self.got.lock().unwrap().iter() {
            *counts.entry(got.join(" ")).or_default() += 1;
        }
        counts
    }
}

/// Curls over HTTP/1.1 and HTTP/2. (Without TLS, Debian's curl cannot ask twice on one connection of HTTP/2, whoever answers.)
fn curls(dir: &Path) -> [(Curl, &'static str); 2] {
    let url = format!("https://{}", NAMES[0]);
    [(Curl::begin(dir, &["--http1.1"], &url), "200 1.1 active"), (Curl::begin(dir, &["--http2"], &url), "200 2 active")]
}

/// All answers were good ones of an active side, and there were some.
fn nothing_lost(curls: [(Curl, &'static str); 2]) {
    for (curl, wanted) in curls {
        let got = curl.end();
        println!("curl: {got:?}");
        assert!(got.keys().all(|said| said == wanted) && got.len() == 1, "{wanted} is wanted: {got:?}");
    }
}

/// I6, I2 with TLS and HTTP/2.
#[test]
fn a_planned_switch_and_a_killed_application_lose_nothing() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let clients = curls(dir);
        let let_flow = || clients.iter().for_each(|(curl, _)| curl.let_flow(30));
        let_flow();
        for to in [B, A] {
            bed.switch(to);
            let_flow();
            bed.wait_well(to);
        }
        bed.signal(A, &["simulate", "app"], Signal::SIGKILL);
        bed.wait_served(B);
        let_flow();
        nothing_lost(clients);
        judge_logs(&bed, |_| false);
    });
}

/// Over HTTP/2 a client is told to come again by a GOAWAY, which comes before a request that it no longer takes.
#[test]
fn an_upgrade_loses_nothing_of_clients_by_tls_and_http2() {
    in_a_world_of_its_own(|dir| {
        let mut bed = ready_with(dir, |edge| configuration::calm(&edge));
        let (cti, epoch) = (bed.cti(A), bed.pair().unwrap().active.unwrap().epoch);
        let clients = curls(dir);
        let let_flow = || clients.iter().for_each(|(curl, _)| curl.let_flow(100));
        let_flow();
        for _ in 0..2 {
            let (code, said) = bed.type_as("eva", &["upgrade"]);
            assert_eq!(code, 0, "{said}");
            let_flow();
        }
        until("the first process to end", || bed.edge_has_ended().then_some(()));
        assert_eq!((bed.cti(A), bed.pair().unwrap().active.unwrap().epoch), (cti, epoch), "nobody has moved");
        nothing_lost(clients);
        judge_logs(&bed, |_| false);
    });
}

/// What one `curl` says.
fn curl(dir: &Path, name: &str, port: u16, options: &[&str]) -> String {
    let said = "%{http_code} %{http_version} %{ssl_verify_result}";
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", said, "--max-time", "20"]);
    let output =
        command.args(trusted(dir, name, port)).args(options).arg(format!("https://{name}:{port}/work")).output();
    let output = output.unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn clients_agree_with_it_on_versions_names_and_sessions() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let [tls, judged, plain] = LISTENERS;
        for (option, version) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
            let said = "%{http_code} %{http_version}";
            let url = format!("http://{VIP}:{plain}/work");
            let asked = Command::new("curl")
                .args([option, "--silent", "--output", "/dev/null", "--write-out", said, &url])
                .output();
            assert_eq!(String::from_utf8(asked.unwrap().stdout).unwrap(), format!("200 {version}"));
        }
        for name in NAMES {
            assert_eq!(curl(dir, name, tls, &["--http2"]), "200 2 0", "{name}");
        }
        assert_eq!(curl(dir, NAMES[0], tls, &["--http1.1"]), "200 1.1 0");
        let unknown = curl(dir, "nobody.example", tls, &[]);
        assert!(unknown.starts_with("000 ") && unknown.contains("certificate"), "{unknown}");

        let refused = curl(dir, NAMES[0], judged, &[]);
        assert!(refused.starts_with("000 "), "{refused}");
        let [cert, key] = ["client.crt", "client.key"].map(|file| dir.join(file).display().to_string());
        assert_eq!(curl(dir, NAMES[0], judged, &["--cert", &cert, "--key", &key]), "200 2 0");

        let s_client = |options: &str| {
            let line = format!("s_client -connect {VIP}:{tls} -servername {} -CAfile ca.pem {options}", NAMES[0]);
            openssl(dir, &line, &[])
        };
        for (version, works) in [("tls1_1", false), ("tls1_2", true), ("tls1_3", true)] {
            let said = s_client(&format!("-{version} -cipher DEFAULT@SECLEVEL=0"));
            let agreed = said.contains("Verify return code: 0 (ok)") && !said.contains("Cipher is (NONE)");
            assert_eq!(agreed, works, "{version}: {said}");
        }
        for weak in ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"] {
            let said = s_client(&format!("-tls1_2 -cipher {weak}@SECLEVEL=0"));
            assert!(said.contains("Cipher is (NONE)"), "{weak}: {said}");
        }
        assert!(s_client("-alpn h2,http/1.1").contains("ALPN protocol: h2"));
        assert!(s_client("-alpn http/1.1").contains("ALPN protocol: http/1.1"));
        let reused = s_client("-tls1_2 -reconnect");
        assert_eq!(reused.matches("\nReused, TLSv1.2").count(), 5, "{reused}");
        drop(bed);
    });
}

#[test]
fn certificates_change_under_load_whole_or_not_at_all() {
    in_a_world_of_its_own(|dir| {
        let bed = ready(dir);
        let clients = curls(dir);
        let let_flow = || clients.iter().for_each(|(curl, _)| curl.let_flow(20));
        let shown = || {
            let line = format!("s_client -connect {VIP}:{} -servername {} -CAfile ca.pem", LISTENERS[0], NAMES[0]);
            let said = openssl(dir, &line, &[]);
            let from = said.find("-----BEGIN CERTIFICATE").unwrap_or_else(|| panic!("{said}"));
            said[from..].split("-----END").next().unwrap().to_owned()
        };
        let reloaded = |wanted: &str| {
            bed.signal_edge(Signal::SIGHUP);
            until(wanted, || bed.log("edge").contains(wanted).then_some(()));
        };
        let_flow();
        let first = shown();
        issue(dir, NAMES[0], "30");
        assert_eq!(shown(), first, "nobody has said yet that it is to be read");
        reloaded("pair.listener.tls: other certificates are in force (2 listeners)");
        let second = shown();
        assert_ne!(second, first);
        let_flow();

        // One file is good, the other is not: neither is taken.
        issue(dir, NAMES[0], "30");
        std::fs::write(dir.join(format!("{}.pem", NAMES[1])), "nothing").unwrap();
        reloaded("stay as they were, all of them: ");
        assert!(bed.log("edge").contains("other.example.pem: contains no certificate"));
        assert_eq!(shown(), second);

        issue(dir, NAMES[1], "7");
        reloaded("pair.listener.tls: other certificates are in force (2 listeners)");
        until("the new one to be shown", || (shown() != second).then_some(()));
        let said = lockstep().args(["check", "--lint"]).arg(bed.edge_file()).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("other.example.pem: the certificate ends on "), "{said}");
        let_flow();
        nothing_lost(clients);
    });
}
