//! Trust between edges and agents: who is refused and named, what is renewed and revoked while requests go on, and what a replayed
//! message changes: nothing.

mod replay;

use crate::bed::{Bed, until};
use crate::configuration::{self, AGENT_PORT, PAIR, agent_of, ca, certificate, edge_1};
use crate::network::address;
use crate::processes::lockstep;
use crate::world::in_a_world_of_its_own;
use lockstep_edge::admin::api::{CertificateStatus, Status};
use lockstep_policy::Side::{self, A, B};
use lockstep_wire::LinkError;
use lockstep_wire::trust::{Authority, Directory, Identity, LASTING, TlsFiles, Trust};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

fn status(bed: &Bed) -> Status {
    bed.ask(async |operator| operator.status().await).unwrap()
}

/// Of the connection to a side's agent.
fn agents_certificate(bed: &Bed, side: Side) -> Option<CertificateStatus> {
    bed.pair()?.sides[side].certificate.clone()
}

fn trouble(bed: &Bed, side: Side) -> String {
    bed.pair().map(|pair| pair.sides[side].trouble.clone()).unwrap_or_default()
}

/// Puts a file in the place of another, as one.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// A certificate of the bed's CA, with its key.
fn issued(dir: &Path, identity: &Identity) -> String {
    ca(dir).authority().unwrap().issue(identity, LASTING).unwrap().1
}

fn issued_at(authority: &Authority, identity: &Identity, lasting: Duration, at: SystemTime) -> String {
    authority.issue_at(identity, lasting, at).unwrap()
}

/// What nobody has any business with: files of another CA.
fn elsewhere(dir: &Path) -> Directory {
    Directory::init(&dir.join("elsewhere"), "another").unwrap()
}

/// The certificates of the CAs of both, in one file: for who is to be made to believe in what is wrong.
fn both_cas(dir: &Path, other: &Directory) -> PathBuf {
    let file = dir.join("both.pem");
    let read = |file: PathBuf| std::fs::read_to_string(file).unwrap();
    std::fs::write(&file, [read(ca(dir).ca()), read(other.ca())].concat()).unwrap();
    file
}

/// The operator's first steps, as they stand in the book.
#[test]
fn five_commands_make_a_pairs_certificates_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let say = |words: &[&str]| {
        let output = lockstep().arg("pki").args(words).env("LOCKSTEP_CA", &ca).current_dir(&dir).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        println!("$ lockstep pki {}\n{said}", words.join(" "));
        (output.status.code(), said)
    };
    let (code, said) = say(&["init", "ca", "--name", "Site"]);
    assert!(code == Some(0) && said.contains("keep it here, off the network"), "{said}");
    for (words, file) in [
        (&["issue", "edge", "edge-1"][..], "edge-edge-1.pem"),
        (&["issue", "agent", "telisca", "a", "--days", "90"], "agent-telisca-a.pem"),
        (&["issue", "agent", "telisca", "b"], "agent-telisca-b.pem"),
    ] {
        let (code, said) = say(words);
        assert!(code == Some(0) && said.contains("copy it to") && said.contains("certificate = \"/var/lib/"), "{said}");
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
        let (code, said) = say(words);
        assert!(code == Some(1) && said.contains("is there already"), "{said}");
    }
    assert_eq!(std::fs::metadata(ca.join("ca.key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let (code, said) = say(&["init", "ca"]);
    assert!(code == Some(1) && said.contains("is there already"), "{said}");

    let (_, said) = say(&["show", "agent-telisca-a.pem"]);
    assert!(said.contains("the agent of side a of pair \"telisca\""), "{said}");
    let (code, said) = say(&["renew", "agent-telisca-a.pem"]);
    assert!(code == Some(0) && said.contains("It has a new key"), "{said}");
    let (code, said) = say(&["revoke", "lockstep:agent:telisca:a"]);
    assert!(code == Some(0) && said.contains("Copy"), "{said}");
    let (_, said) = say(&["show"]);
    assert_eq!(said.matches("REVOKED").count(), 2, "both of agent a, and nobody else's: {said}");
    let (code, said) = say(&["revoke", "lockstep:agent:mail:a"]);
    assert!(code == Some(1) && said.contains("no certificate of"), "{said}");
}

/// Neither starts without saying whom it trusts; what is said explicitly is shown.
#[test]
fn nothing_starts_in_the_open_unless_that_is_said() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        let without = |text: &str| -> String {
            text.lines().filter(|line| !line.starts_with("tls = ")).map(|line| format!("{line}\n")).collect()
        };
        let insecure = |text: &str, table: &str| {
            without(text).replace(&format!("[{table}]\n"), &format!("[{table}]\ntls = {{ insecure = true }}\n"))
        };
        let (edge, agents) = (configuration::edge(dir, ""), [A, B].map(|side| configuration::agent(dir, side, PAIR)));
        let run = |verb: &str, file: &str| {
            let output = lockstep().args([verb, "--config"]).arg(dir.join(file)).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
            println!("{said}");
            said
        };
        bed.configure_edge(&without(&edge));
        let said = run("edge", "edge.toml");
        assert!(said.contains("edge.tls: is missing") && said.contains("lockstep pki issue edge NAME"), "{said}");
        bed.configure_agent(A, &without(&agents[0]));
        let said = run("agent", "agent-a.toml");
        assert!(said.contains("`[agent.tls]` is missing") && said.contains("lockstep pki issue agent"), "{said}");

        bed.configure_edge(&edge);
        bed.configure_agent(A, &agents[0]);
        for (verb, file, key) in [
            ("edge", "edge.toml", certificate(dir, &edge_1())),
            ("agent", "agent-a.toml", certificate(dir, &agent_of(PAIR, A))),
        ] {
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o604)).unwrap();
            let said = run(verb, file);
            assert!(said.contains("is open to others (mode 0604)") && said.contains("chmod 0600"), "{said}");
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        }

        bed.configure_edge(&insecure(&edge, "edge"));
        for (side, text) in [A, B].into_iter().zip(&agents) {
            bed.configure_agent(side, &insecure(text, "agent"));
        }
        bed.start();
        assert!(bed.log("edge").contains("INSECURE") && bed.log("agent-a").contains("INSECURE"));
        let (_, said) = bed.type_as("eva", &["status"]);
        assert!(said.contains("trust: INSECURE"), "{said}");
        assert_eq!(agents_certificate(&bed, A), None);
    });
}

/// Each wrong certificate of an agent is refused by the edge, and named in its log and in its status; the pair's other side goes on.
#[test]
fn an_edge_refuses_each_wrong_agent_and_names_it() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::ready(dir);
        let client = bed.client(200);
        let (authority, other) = (ca(dir).authority().unwrap(), elsewhere(dir));
        let (file, now) = (certificate(dir, &agent_of(PAIR, B)), SystemTime::now());
        let good = std::fs::read_to_string(&file).unwrap();
        let text = configuration::agent(dir, B, PAIR);
        let as_a = text.replace("side = \"b\"", "side = \"a\"").replace("agent-telisca-b.pem", "agent-telisca-a.pem");
        let foreign = text.replace(&format!("ca = {:?}", ca(dir).ca()), &format!("ca = {:?}", both_cas(dir, &other)));
        let of_b = agent_of(PAIR, B);
        let cases = [
            ("expired", issued_at(&authority, &of_b, DAY, now - 2 * DAY), &text, "it has expired on"),
            ("early", issued_at(&authority, &of_b, DAY, now + 2 * DAY), &text, "it is not valid before"),
            (
                "foreign",
                other.authority().unwrap().issue(&of_b, LASTING).unwrap().1,
                &foreign,
                "it was not signed by a CA of ours",
            ),
            (
                "of the other side",
                good.clone(),
                &as_a,
                "it is for the agent of side a of pair \"telisca\", and wanted is",
            ),
        ];
        for (what, bundle, text, why) in cases {
            bed.kill_agent(B);
            let _ = std::fs::remove_dir_all(dir.join("agent-b"));
            put(&file, &bundle);
            bed.configure_agent(B, text);
            bed.start_agent(B);
            until(&format!("the refusal of one that is {what}"), || trouble(&bed, B).contains(why).then_some(()));
            let (told, log) = (trouble(&bed, B), bed.log("edge"));
            println!("{what}: {told}");
            assert!(told.contains("serial ") && log.contains("an agent is not trusted") && log.contains(why), "{told}");
        }
        bed.kill_agent(B);
        std::fs::remove_dir_all(dir.join("agent-b")).unwrap();
        put(&file, &good);
        bed.configure_agent(B, &text);
        bed.start_agent(B);
        bed.wait_well(A);
        client.let_flow(50);
        client.finish(&bed).nothing_lost();
        // The agent says whose word that was.
        assert!(bed.log("agent-b").contains("it refuses our certificate"), "{}", bed.log("agent-b"));
    });
}

/// A certificate in a file of its own, as some client of the agent's uses it.
fn client_of(dir: &Path, name: &str, identity: &Identity, bundle: &str, ca: PathBuf) -> Trust {
    let file = dir.join(format!("{name}.pem"));
    put(&file, bundle);
    let files = TlsFiles { ca, certificate: file.clone(), key: file, revoked: None, ca_key: None };
    Trust::load(files, identity.clone()).unwrap()
}

/// Says hello to side A's agent with that certificate.
fn call(trust: &Trust, name: &str) -> Result<(), LinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { replay::connect(trust, A, name).await.map(drop) })
}

/// Each wrong certificate of an edge is refused by the agent, and named in its log; what it does for its own edge goes on.
#[test]
fn an_agent_refuses_each_wrong_edge_and_names_it() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        let text = configuration::agent(dir, A, PAIR);
        bed.configure_agent(A, &text.replace("tls = {", "tls = { edges = [\"edge-1\", \"edge-2\"],"));
        bed.start();
        let client = bed.client(200);
        let (authority, other, now) = (ca(dir).authority().unwrap(), elsewhere(dir), SystemTime::now());
        let (one, b) = (edge_1(), agent_of(PAIR, B));
        let unlisted = Identity::edge("edge-9").unwrap();
        let cases = [
            ("expired", &one, issued_at(&authority, &one, DAY, now - 2 * DAY), "it has expired on"),
            ("early", &one, issued_at(&authority, &one, DAY, now + 2 * DAY), "it is not valid before"),
            (
                "foreign",
                &one,
                other.authority().unwrap().issue(&one, LASTING).unwrap().1,
                "it was not signed by a CA of ours",
            ),
            ("an agent's", &b, issued(dir, &b), "it is for the agent of side b of pair"),
            ("unlisted", &unlisted, issued(dir, &unlisted), "lists edge-1, edge-2, and not"),
        ];
        for (number, (what, identity, bundle, why)) in cases.into_iter().enumerate() {
            let trust = client_of(dir, &format!("wrong-{number}"), identity, &bundle, both_cas(dir, &other));
            let error = call(&trust, "edge-1").unwrap_err();
            assert!(matches!(error, LinkError::Untrusted { .. }), "{what}: {error}");
            let log = || bed.log("agent-a");
            until(&format!("the refusal of one that is {what}"), || log().contains(why).then_some(()));
            assert!(log().contains("somebody who connects is not trusted"));
            assert!(log().contains(&trust.own().serial), "it is named by its serial number");
        }
        // One that is trusted, and calls itself something else.
        let two = Identity::edge("edge-2").unwrap();
        let trust = client_of(dir, "two", &two, &issued(dir, &two), ca(dir).ca());
        let error = call(&trust, "edge-1").unwrap_err();
        assert!(error.to_string().contains("calls itself edge `edge-1`, and its certificate"), "{error}");
        let error = call(&trust, "edge-2").unwrap_err();
        assert!(error.to_string().contains("is connected to this agent"), "trusted, and one edge too many: {error}");
        // No certificate at all.
        let plain = std::net::TcpStream::connect((address(A), AGENT_PORT)).unwrap();
        std::io::Write::write_all(&mut &plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        until("the refusal of one without TLS", || {
            bed.log("agent-a").contains("it does not speak TLS 1.3").then_some(())
        });
        assert_eq!(bed.active(), Some(A));
        client.finish(&bed).nothing_lost();
    });
}

/// A standby that is revoked is cut and named while requests go on; with another certificate it is back, and nothing was restarted.
#[test]
fn a_revoked_agent_is_cut_and_comes_back_with_another_certificate() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        client.let_flow(50);
        let (file, agent) = (certificate(dir, &agent_of(PAIR, B)), bed.process(B, &["agent"]).unwrap().pid);
        let before = agents_certificate(&bed, B).unwrap().serial;
        ca(dir).revoke(file.to_str().unwrap()).unwrap();
        bed.signal_edge(Signal::SIGHUP);
        until("the refusal", || trouble(&bed, B).contains("it was revoked").then_some(()));
        assert!(trouble(&bed, B).contains(&before), "{}", trouble(&bed, B));
        // Operators are alerted when it is refused anew, a moment after it was cut.
        bed.wait("the alert", |pair| pair.alerts.iter().any(|alert| alert.text.contains("it was revoked")));
        put(&file, &issued(dir, &agent_of(PAIR, B)));
        bed.wait_well(A);
        assert_ne!(agents_certificate(&bed, B).unwrap().serial, before);
        assert_eq!(bed.process(B, &["agent"]).unwrap().pid, agent, "nothing was restarted");
        client.let_flow(50);
        client.finish(&bed).nothing_lost();
    });
}

/// The active side and the edge get other certificates, and the old ones are revoked: connections are made anew within the
/// lease, and the role does not move.
#[test]
fn the_active_side_and_the_edge_change_certificates_and_the_role_stays() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let epoch = bed.pair().unwrap().epoch;
        let (cti, client) = (bed.cti(A).unwrap().pid, bed.client(200));
        client.let_flow(50);
        for side in [A, B] {
            let (identity, before) = (agent_of(PAIR, side), agents_certificate(&bed, side).unwrap().serial);
            put(&certificate(dir, &identity), &issued(dir, &identity));
            until("the connection to be made anew", || {
                agents_certificate(&bed, side).filter(|now| now.serial != before)
            });
            ca(dir).revoke(&before).unwrap();
        }
        let before = status(&bed).trust.certificate.unwrap().serial;
        put(&certificate(dir, &edge_1()), &issued(dir, &edge_1()));
        bed.signal_edge(Signal::SIGHUP);
        until("the edge to use its new one", || {
            (status(&bed).trust.certificate.unwrap().serial != before).then_some(())
        });
        // Its connections are made anew within seconds; who has one with the old certificate is cut by this.
        let anew = || bed.log("edge").matches("made anew with renewed certificates").count();
        until("both connections to be made anew again", || (anew() >= 4).then_some(()));
        let heard = |side: &str| bed.log(side).matches("other certificates are in force").count();
        let heard_before = [heard("agent-a"), heard("agent-b")];
        ca(dir).revoke(&before).unwrap();
        for (side, before) in ["agent-a", "agent-b"].into_iter().zip(heard_before) {
            until("the agents to know of it", || (heard(side) > before).then_some(()));
        }
        client.let_flow(200);
        bed.wait_well(A);
        let pair = bed.pair().unwrap();
        assert_eq!((pair.epoch, bed.active(), bed.cti(A).unwrap().pid), (epoch, Some(A), cti));
        client.finish(&bed).nothing_lost();
    });
}

/// A file that is no good is named, and changes nothing; the good one after it is taken over.
#[test]
fn a_bad_file_keeps_what_was_before() {
    in_a_world_of_its_own(|dir| {
        let bed = Bed::ready(dir);
        let client = bed.client(200);
        let before = status(&bed).trust.certificate.unwrap().serial;
        put(&certificate(dir, &edge_1()), "this is no certificate\n");
        bed.signal_edge(Signal::SIGHUP);
        until("the edge to say so", || {
            let said = status(&bed).reload.join("\n");
            (said.contains("the certificates of before stay in force") && said.contains("edge-edge-1.pem"))
                .then_some(())
        });
        // Side B's is another agent's: it notices by itself.
        let file = certificate(dir, &agent_of(PAIR, B));
        put(&file, &issued(dir, &agent_of("mail", B)));
        until("the agent to say so", || {
            bed.log("agent-b").contains("is for the agent of side b of pair \"mail\"").then_some(())
        });
        client.let_flow(50);
        bed.wait_well(A);
        assert_eq!(status(&bed).trust.certificate.unwrap().serial, before);
        put(&certificate(dir, &edge_1()), &issued(dir, &edge_1()));
        until("the good one", || (status(&bed).trust.certificate.unwrap().serial != before).then_some(()));
        bed.wait_well(A);
        client.finish(&bed).nothing_lost();
    });
}

/// Short-lived certificates renew themselves, the agents' and the edge's own, twice, while requests go on.
#[test]
fn certificates_are_renewed_by_themselves_and_nobody_notices() {
    const LIFE: Duration = Duration::from_secs(12);
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        let text = configuration::edge(dir, "first_server_auto_restart_as_active = false");
        let key = format!("tls = {{ ca_key = {:?},", ca(dir).key());
        bed.configure_edge(&text.replace("tls = {", &key));
        let everybody = [edge_1(), agent_of(PAIR, A), agent_of(PAIR, B)];
        let authority = ca(dir).authority().unwrap();
        for identity in &everybody {
            put(&certificate(dir, identity), &authority.issue(identity, LIFE).unwrap().1);
        }
        let bundle = |identity: &Identity| std::fs::read_to_string(certificate(dir, identity)).unwrap();
        let first = everybody.each_ref().map(bundle);
        bed.start();
        let (epoch, cti) = (bed.pair().unwrap().epoch, bed.cti(A).unwrap().pid);
        let client = bed.client(200);
        let begin = std::time::Instant::now();
        for identity in &everybody {
            // The bed's own, of thirty days, is on record too.
            until(&format!("two renewals of {identity}"), || {
                let issued = ca(dir).issued().unwrap();
                (issued.iter().filter(|record| record.identity == *identity).count() >= 3).then_some(())
            });
        }
        assert_eq!(bed.pair().unwrap().epoch, epoch);
        bed.wait_well(A);
        for (identity, before) in everybody.iter().zip(&first) {
            let now = bundle(identity);
            let key = |text: &str| text.split("-----END").next().unwrap().to_owned();
            assert!(key(&now).contains("PRIVATE KEY") && key(&now) != key(before), "{identity} has a new key");
            assert_eq!(std::fs::metadata(certificate(dir, identity)).unwrap().permissions().mode() & 0o7777, 0o600);
        }
        // Who is connected is so by certificates of now: the first ones have ended.
        until("the first lives to be over", || (begin.elapsed() > LIFE).then_some(()));
        bed.wait_well(A);
        assert_eq!((bed.pair().unwrap().epoch, bed.cti(A).unwrap().pid), (epoch, cti), "the role has stayed");
        assert!(status(&bed).trust.certificate.unwrap().text.is_empty());
        client.finish(&bed).nothing_lost();
    });
}

/// Without `ca_key` nobody renews: the log and the status say so before it is too late, and then who has expired is refused.
#[test]
fn a_certificate_that_nobody_renews_is_worried_about() {
    in_a_world_of_its_own(|dir| {
        let mut bed = Bed::new(dir);
        let authority = ca(dir).authority().unwrap();
        put(
            &certificate(dir, &agent_of(PAIR, B)),
            &authority.issue(&agent_of(PAIR, B), Duration::from_secs(12)).unwrap().1,
        );
        put(&certificate(dir, &edge_1()), &authority.issue(&edge_1(), Duration::from_secs(18)).unwrap().1);
        bed.start();
        let client = bed.client(100);
        until("the agent to be told that nobody renews it", || {
            bed.log("agent-b").contains("this edge has no `ca_key` in [edge.tls]").then_some(())
        });
        until("the agent's log to worry", || bed.log("agent-b").contains("and is not renewed").then_some(()));
        until("the status to worry", || {
            let text = agents_certificate(&bed, B).map(|certificate| certificate.text).unwrap_or_default();
            text.contains("its certificate ends on").then_some(())
        });
        until("it to be refused", || trouble(&bed, B).contains("it has expired on").then_some(()));
        until("the edge's own to be worried about", || {
            let own = status(&bed).trust.certificate.unwrap().text;
            own.contains("is not renewed: `lockstep pki renew`").then_some(())
        });
        let (_, said) = bed.type_as("eva", &["status"]);
        assert!(said.contains("  trust: the certificate ends on"), "{said}");
        client.finish(&bed).nothing_lost();
    });
}
