//! Against Prosody, as Debian has it: a child of the test, on an address of loopback that only this test uses.

use super::*;
use crate::config::{ProbeConfig, SecretFiles};
use lockstep_policy::action::Tls;
use lockstep_policy::event::Fact;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

/// Long enough for any answer that comes at all on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);

const STARTTLS: u16 = 15222;
const DIRECT: u16 = 15223;
const HTTP: u16 = 15280;
const HTTPS: u16 = 15281;

struct Prosody {
    dir: TempDir,
    ip: IpAddr,
    child: Child,
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Prosody {
    /// Knows the users `edge`, who has `finesse` in his roster, `finesse`, and `stranger`, all with the password `pw`.
    async fn start(settings: &str) -> Prosody {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = IpAddr::from(Ipv4Addr::new(127, 100 + NEXT.fetch_add(1, Ordering::Relaxed), high, low));
        let dir = tempfile::Builder::new().prefix("lockstep-xmpp-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        certificates(&dir);
        for (user, contact, subscription) in
            [("edge", "finesse", "to"), ("finesse", "edge", "from"), ("stranger", "nobody", "none")]
        {
            let store = |kind: &str, text: String| {
                let folder = at(&format!("data/localhost/{kind}"));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(format!("{user}.dat")), text).unwrap();
            };
            store("accounts", "return { [\"password\"] = \"pw\" };".into());
            let item = format!("{{ [\"subscription\"] = \"{subscription}\"; [\"groups\"] = {{}} }}");
            store("roster", format!("return {{ [\"{contact}@localhost\"] = {item} }};"));
        }
        for (name, text) in [("pw", "pw\n"), ("wrong", "guessed\n")] {
            std::fs::write(at(name), text).unwrap();
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(0o600)).unwrap();
        }
        let place = dir.path().display();
        let config = format!(
            r#"run_as_root = true
            pidfile = "{place}/pid"
            data_path = "{place}/data"
            log = {{ {{ levels = {{ min = "debug" }}, to = "file", filename = "{place}/log" }} }}
            interfaces = {{ "{ip}" }}
            local_interfaces = {{ "{ip}" }}
            http_interfaces = {{ "{ip}" }}
            https_interfaces = {{ "{ip}" }}
            c2s_ports = {{ {STARTTLS} }}
            c2s_direct_tls_ports = {{ {DIRECT} }}
            http_ports = {{ {HTTP} }}
            https_ports = {{ {HTTPS} }}
            modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "bosh" }}
            modules_disabled = {{ "s2s", "offline" }}
            authentication = "internal_plain"
            consider_bosh_secure = true
            ssl = {{ key = "{place}/key.pem", certificate = "{place}/cert.pem" }}
            https_ssl = {{ key = "{place}/key.pem", certificate = "{place}/cert.pem" }}
            c2s_direct_tls_ssl = {{ key = "{place}/key.pem", certificate = "{place}/cert.pem" }}
            http_host = "localhost"
            {settings}
            VirtualHost "localhost"
            "#
        );
        std::fs::write(at("config.lua"), config).unwrap();
        let child = Prosody::spawn(&dir);
        let mut prosody = Prosody { dir, ip, child };
        prosody.listens().await;
        prosody
    }

    fn spawn(dir: &TempDir) -> Child {
        let mut command = Command::new("prosody");
        command.arg("--config").arg(dir.path().join("config.lua")).arg("-F");
        let output = std::fs::File::create(dir.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        command.spawn().expect("prosody is missing: apt-get install -y --no-install-recommends prosody")
    }

    async fn listens(&mut self) {
        let began = Instant::now();
        let open = |port: &u16| TcpStream::connect((self.ip, *port)).is_ok();
        while ![STARTTLS, DIRECT, HTTP, HTTPS].iter().all(open) {
            assert!(began.elapsed() < PATIENT, "prosody does not listen: {}{}", self.read("output"), self.read("log"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn restart(&mut self) {
        self.kill();
        self.child = Prosody::spawn(&self.dir);
        self.listens().await;
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// How often the log says something.
    fn logged(&self, text: &str) -> usize {
        self.read("log").matches(text).count()
    }

    fn server(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 1)
    }

    /// An edge that knows the secrets, and trusts the server's certificate.
    fn means(&self) -> Means {
        let file = |name: &str| (name.to_owned(), self.dir.path().join(name));
        let secrets = SecretFiles::from(BTreeMap::from([file("pw"), file("wrong")]));
        let roots = Some(self.dir.path().join("ca.pem"));
        Means::new(secrets, &ProbeConfig { roots, ..ProbeConfig::default() })
    }
}

fn certificates(dir: &TempDir) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signed = ca.self_signed(&ca_key).unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    for (name, text) in [("ca.pem", signed.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
}

fn probe(transport: XmppTransport, port: u16, tls: Tls) -> XmppProbe {
    XmppProbe {
        transport,
        port,
        tls,
        path: "/http-bind".into(),
        domain: "localhost".into(),
        user: String::new(),
        secret: String::new(),
        presence: String::new(),
    }
}

fn by(user: &str, secret: &str, probe: XmppProbe) -> XmppProbe {
    XmppProbe { user: user.into(), secret: secret.into(), ..probe }
}

fn watching(probe: XmppProbe) -> XmppProbe {
    XmppProbe { presence: "finesse@localhost".into(), ..by("edge", "pw", probe) }
}

fn tcp() -> XmppProbe {
    probe(XmppTransport::Tcp, STARTTLS, Tls::Off)
}

fn https() -> XmppProbe {
    probe(XmppTransport::Bosh, HTTPS, Tls::Verified)
}

fn declared(probe: &XmppProbe, means: &Means) -> Xmpp {
    Xmpp::new(probe, Duration::from_millis(1), 1, means).unwrap()
}

async fn found(xmpp: &Xmpp, means: &Means, prosody: &Prosody, timeout: Duration) -> Finding {
    let silent = Finding::new(Verdict::Silent, 0, "in time");
    let asked = xmpp.probe(means, 0, prosody.server(), timeout);
    tokio::time::timeout(timeout, asked).await.unwrap_or(silent)
}

async fn once(probe: &XmppProbe, means: &Means, prosody: &Prosody) -> (Verdict, String) {
    let finding = found(&declared(probe, means), means, prosody, PATIENT).await;
    (finding.verdict, finding.detail)
}

fn presence(finding: &Finding) -> Option<&str> {
    finding.facts.iter().find(|Fact { name, .. }| name == "presence").map(|fact| fact.value.as_str())
}

#[tokio::test]
async fn a_stream_is_opened_in_every_way_without_a_log_in() {
    let prosody = Prosody::start("c2s_require_encryption = true").await;
    let means = prosody.means();
    for probe in [
        tcp(),
        probe(XmppTransport::Tcp, DIRECT, Tls::Verified),
        probe(XmppTransport::Tcp, DIRECT, Tls::Unverified),
        probe(XmppTransport::Bosh, HTTP, Tls::Off),
        https(),
    ] {
        assert_eq!(once(&probe, &means, &prosody).await, (Verdict::Good, String::new()), "{probe:?}");
    }
    let strangers = Means::default();
    let (verdict, why) = once(&https(), &strangers, &prosody).await;
    assert_eq!(verdict, Verdict::Wrong);
    assert!(why.contains("certificate"), "{why}");
    let other = XmppProbe { domain: "example.org".into(), ..tcp() };
    let (verdict, why) = once(&other, &means, &prosody).await;
    assert_eq!((verdict, why.as_str()), (Verdict::Wrong, "the server ends the stream: host-unknown"));
    let (verdict, why) = once(&probe(XmppTransport::Bosh, STARTTLS, Tls::Off), &means, &prosody).await;
    assert_eq!(verdict, Verdict::Wrong, "{why}");
    let lost = XmppProbe { path: "/elsewhere".into(), ..https() };
    assert_eq!(once(&lost, &means, &prosody).await, (Verdict::Wrong, "status 404".into()));
}

#[tokio::test]
async fn presence_comes_and_goes_over_one_log_in() {
    let prosody = Prosody::start("").await;
    let means = prosody.means();
    for probe in [tcp(), https()] {
        let before = prosody.logged("Authenticated as edge@localhost");
        let watcher = declared(&watching(probe.clone()), &means);
        let finding = found(&watcher, &means, &prosody, PATIENT).await;
        assert_eq!((finding.verdict, presence(&finding)), (Verdict::Good, Some("unavailable")), "{}", finding.detail);
        // Whoever is watched has to be present himself: he looks at somebody.
        let himself = XmppProbe { presence: "edge@localhost".into(), ..by("finesse", "pw", probe.clone()) };
        let himself = declared(&himself, &means);
        assert_eq!(found(&himself, &means, &prosody, PATIENT).await.verdict, Verdict::Good);
        let until = async |wanted: &str| {
            let began = Instant::now();
            loop {
                let finding = found(&watcher, &means, &prosody, PATIENT).await;
                assert_eq!(finding.verdict, Verdict::Good, "{}", finding.detail);
                if presence(&finding) == Some(wanted) {
                    return;
                }
                assert!(began.elapsed() < PATIENT, "never {wanted}");
            }
        };
        until("available").await;
        himself.close().await;
        until("unavailable").await;
        watcher.close().await;
        assert_eq!(prosody.logged("Authenticated as edge@localhost") - before, 1, "{probe:?}");
    }
}

#[tokio::test]
async fn who_is_there_already_is_seen_by_the_first_probe() {
    let prosody = Prosody::start("").await;
    let means = prosody.means();
    let himself = XmppProbe { presence: "edge@localhost".into(), ..by("finesse", "pw", tcp()) };
    let himself = declared(&himself, &means);
    found(&himself, &means, &prosody, PATIENT).await;
    for probe in [tcp(), https()] {
        let watcher = declared(&watching(probe), &means);
        assert_eq!(presence(&found(&watcher, &means, &prosody, PATIENT).await), Some("available"));
    }
    let stranger = XmppProbe { user: "stranger".into(), ..watching(tcp()) };
    let finding = found(&declared(&stranger, &means), &means, &prosody, PATIENT).await;
    assert_eq!((finding.verdict, presence(&finding)), (Verdict::Good, None));
    assert!(finding.detail.contains("may not see the presence of finesse@localhost"), "{}", finding.detail);
}

#[tokio::test]
async fn plain_is_spoken_where_nothing_else_is() {
    let prosody = Prosody::start("disable_sasl_mechanisms = { 'SCRAM-SHA-1', 'SCRAM-SHA-256' }").await;
    let means = prosody.means();
    let user = by("edge", "pw", tcp());
    assert_eq!(once(&user, &means, &prosody).await, (Verdict::Good, String::new()));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let prosody = Prosody::start("").await;
    let means = prosody.means();
    for probe in [tcp(), https()] {
        let user = by("edge", "wrong", probe);
        let (verdict, why) = once(&user, &means, &prosody).await;
        assert_eq!(verdict, Verdict::Wrong);
        assert!(why.contains("refuses the log-in: not-authorized"), "{why}");
        // Another declaration of it is the same account, and so is the right password now: it may be locked already.
        for again in [user.clone(), XmppProbe { secret: "pw".into(), ..user }] {
            let (verdict, why) = once(&again, &means, &prosody).await;
            assert_eq!(verdict, Verdict::Wrong);
            assert!(why.contains("it is tried again in "), "{why}");
        }
    }
    assert_eq!(prosody.logged("Authenticated as edge@localhost"), 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_silent_and_one_that_is_gone_refuses() {
    let mut prosody = Prosody::start("").await;
    let means = prosody.means();
    for probe in [tcp(), https()] {
        let (plain, user) = (declared(&probe, &means), declared(&watching(probe), &means));
        for xmpp in [&plain, &user] {
            assert_eq!(found(xmpp, &means, &prosody, PATIENT).await.verdict, Verdict::Good);
        }
        prosody.signal(Signal::SIGSTOP);
        for xmpp in [&plain, &user] {
            let silent = found(xmpp, &means, &prosody, Duration::from_millis(500)).await;
            assert_eq!(silent.verdict, Verdict::Silent, "{}", silent.detail);
        }
        prosody.signal(Signal::SIGCONT);
        for xmpp in [&plain, &user] {
            let good = found(xmpp, &means, &prosody, PATIENT).await;
            assert_eq!(good.verdict, Verdict::Good, "{}", good.detail);
        }
        prosody.kill();
        for xmpp in [&plain, &user] {
            assert_eq!(found(xmpp, &means, &prosody, PATIENT).await.verdict, Verdict::Refused);
        }
        prosody.restart().await;
        for xmpp in [&plain, &user] {
            let good = found(xmpp, &means, &prosody, PATIENT).await;
            assert_eq!(good.verdict, Verdict::Good, "{}", good.detail);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let means = Means::default();
    let refused = |probe: XmppProbe| Xmpp::new(&probe, PATIENT, 1, &means).map(|_| ()).unwrap_err();
    assert!(refused(by("edge", "", tcp())).contains("needs a secret"));
    assert!(refused(by("edge", "pw", tcp())).contains("no secret has the name \"pw\""));
    assert!(refused(XmppProbe { presence: "a@b".into(), ..tcp() }).contains("who is logged in"));
    assert!(refused(XmppProbe { domain: "a b".into(), ..tcp() }).contains("domain: \"a b\" is no name"));
    assert!(refused(XmppProbe { path: "bind".into(), ..https() }).contains("does not begin with /"));
}
