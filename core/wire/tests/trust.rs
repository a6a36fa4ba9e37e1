//! Handshakes on real sockets: who is let in, who is not, and what is said of it on both sides.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use lockstep_policy::Side;
use lockstep_wire::trust::{
    Authority, Directory, HandshakeError, Identity, LASTING, Life, Peer, Reason, Refusal, Request, Stream, TlsFiles,
    Trust, Wanted, renew,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

fn edge() -> Identity {
    Identity::edge("edge-1").unwrap()
}

fn agent(side: Side) -> Identity {
    Identity::agent("telisca", side).unwrap()
}

fn wanted(side: Side) -> Wanted {
    Wanted::Agent { pair: "telisca".to_owned(), side }
}

/// A CA, and who it has issued certificates for.
struct Bed {
    dir: tempfile::TempDir,
    ca: Directory,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let ca = Directory::init(&dir.path().join("ca"), "test").unwrap();
        Bed { dir, ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn files(&self, name: &str) -> TlsFiles {
        let own = self.path(name);
        TlsFiles { ca: self.ca.ca(), certificate: own.clone(), key: own, revoked: Some(self.ca.list()), ca_key: None }
    }

    fn issue(&self, name: &str, identity: &Identity) -> Trust {
        self.ca.issue(identity, LASTING, &self.path(name)).unwrap();
        Trust::load(self.files(name), identity.clone()).unwrap()
    }

    /// One whose life is elsewhere in time.
    fn issue_at(&self, name: &str, identity: &Identity, lasting: Duration, at: SystemTime) -> Trust {
        write(&self.path(name), &self.ca.authority().unwrap().issue_at(identity, lasting, at).unwrap());
        Trust::load(self.files(name), identity.clone()).unwrap()
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// What both ends come to. The edge's end is used once, because it learns only then what the agent thinks of it.
async fn meet(edge: &Trust, agent: &Trust, wanted: Wanted, names: &[&str]) -> [Result<Stream, HandshakeError>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (agent, names) = (agent.clone(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let accepts = tokio::spawn(async move {
        let (stream, from) = listener.accept().await.unwrap();
        agent.accept(stream, from, &names).await
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = edge.connect(stream, address, wanted).await;
    [connected, timeout(PATIENCE, accepts).await.unwrap().unwrap()]
}

fn refusal(outcome: &Result<Stream, HandshakeError>) -> Refusal {
    match outcome {
        Err(HandshakeError::Refused(refusal)) => (**refusal).clone(),
        other => panic!("no refusal: {other:?}"),
    }
}

async fn agent_refuses(edge: &Trust, agent: &Trust, names: &[&str]) -> Reason {
    let [at_edge, at_agent] = meet(edge, agent, wanted(Side::A), names).await;
    let refusal = refusal(&at_agent);
    assert!(!refusal.serial.is_empty() && !refusal.subject.is_empty(), "it is named: {refusal}");
    // The edge is told why in a word.
    let mut stream = at_edge.unwrap();
    let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
    refusal.reason
}

async fn edge_refuses(edge: &Trust, agent: &Trust) -> Reason {
    let [at_edge, at_agent] = meet(edge, agent, wanted(Side::A), &[]).await;
    let told = refusal(&at_agent);
    assert!(matches!(told.reason, Reason::RefusesUs(_)), "the agent hears of it: {told}");
    let refusal = refusal(&at_edge);
    assert!(!refusal.serial.is_empty() && !refusal.subject.is_empty(), "it is named: {refusal}");
    refusal.reason
}

#[tokio::test]
async fn an_edge_and_the_agent_that_it_wants_meet_and_know_each_other() {
    let bed = Bed::new();
    let (one, other) = (bed.issue("edge.pem", &edge()), bed.issue("a.pem", &agent(Side::A)));
    for names in [&[][..], &["edge-9", "edge-1"]] {
        let [at_edge, at_agent] = meet(&one, &other, wanted(Side::A), names).await;
        let (mut at_edge, mut at_agent) = (at_edge.unwrap(), at_agent.unwrap());
        assert_eq!(at_edge.peer().unwrap().identity, agent(Side::A));
        assert_eq!(at_agent.peer().unwrap().identity, edge());
        at_edge.write_all(b"to").await.unwrap();
        let mut said = [0; 2];
        at_agent.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"to");
    }
}

#[tokio::test]
async fn roles_are_pinned() {
    let bed = Bed::new();
    let (one, a) = (bed.issue("edge.pem", &edge()), bed.issue("a.pem", &agent(Side::A)));
    let b = bed.issue("b.pem", &agent(Side::B));
    let mail = bed.issue("mail.pem", &Identity::agent("mail", Side::A).unwrap());
    for other in [&b, &mail] {
        let reason = edge_refuses(&one, other).await;
        assert!(matches!(&reason, Reason::WrongRole(why) if why.contains("wanted is the agent of side a")), "{reason}");
    }
    // One that acts as the other kind.
    let reason = edge_refuses(&one, &one).await;
    assert!(matches!(&reason, Reason::WrongRole(why) if why.contains("it is for edge \"edge-1\"")), "{reason}");
    let reason = agent_refuses(&b, &a, &[]).await;
    assert!(matches!(&reason, Reason::WrongRole(why) if why.contains("and wanted is an edge")), "{reason}");
    // Not one of those that the agent lists.
    let reason = agent_refuses(&one, &a, &["edge-2"]).await;
    assert!(matches!(&reason, Reason::WrongRole(why) if why.contains("lists edge-2, and not \"edge-1\"")), "{reason}");
}

#[tokio::test]
async fn expired_early_foreign_and_revoked_ones_are_refused_on_both_sides() {
    let (bed, elsewhere) = (Bed::new(), Bed::new());
    let now = SystemTime::now();
    let (one, a) = (bed.issue("edge.pem", &edge()), bed.issue("a.pem", &agent(Side::A)));

    let old = bed.issue_at("old.pem", &agent(Side::A), DAY, now - 2 * DAY);
    assert!(matches!(edge_refuses(&one, &old).await, Reason::Expired(_)));
    let old = bed.issue_at("old-edge.pem", &edge(), DAY, now - 2 * DAY);
    assert!(matches!(agent_refuses(&old, &a, &[]).await, Reason::Expired(_)));
    assert_eq!(old.standing().life, Life::Over, "who has it says so too");

    let early = bed.issue_at("early.pem", &agent(Side::A), DAY, now + 2 * DAY);
    assert!(matches!(edge_refuses(&one, &early).await, Reason::NotYet(_)));
    let early = bed.issue_at("early-edge.pem", &edge(), DAY, now + 2 * DAY);
    assert!(matches!(agent_refuses(&early, &a, &[]).await, Reason::NotYet(_)));

    let foreign = elsewhere.issue("a.pem", &agent(Side::A));
    assert_eq!(edge_refuses(&one, &foreign).await, Reason::Foreign);
    let foreign = elsewhere.issue("edge.pem", &edge());
    // It would not take the agent's either: it is made to.
    let mut careless = bed.files("careless.pem");
    std::fs::copy(elsewhere.path("edge.pem"), &careless.certificate).unwrap();
    let both = [std::fs::read_to_string(elsewhere.ca.ca()).unwrap(), std::fs::read_to_string(bed.ca.ca()).unwrap()];
    careless.ca = bed.path("both.pem");
    std::fs::write(&careless.ca, both.concat()).unwrap();
    let careless = Trust::load(careless, edge()).unwrap();
    assert_eq!(agent_refuses(&careless, &a, &[]).await, Reason::Foreign);
    drop(foreign);

    let gone = bed.issue("gone.pem", &agent(Side::A));
    bed.ca.revoke(bed.path("gone.pem").to_str().unwrap()).unwrap();
    assert!(one.reload().unwrap());
    assert_eq!(edge_refuses(&one, &gone).await, Reason::Revoked);
    let [at_edge, _] = meet(&one, &a, wanted(Side::A), &[]).await;
    at_edge.expect("the other certificate of the same agent is not revoked");
    bed.ca.revoke(&one.own().serial).unwrap();
    assert!(a.reload().unwrap());
    assert_eq!(agent_refuses(&one, &a, &[]).await, Reason::Revoked);
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_apart() {
    let bed = Bed::new();
    let (one, a) = (bed.issue("edge.pem", &edge()), bed.issue("a.pem", &agent(Side::A)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let (stream, from) = listener.accept().await.unwrap();
    let outcome = a.accept(stream, from, &[]).await;
    assert!(refusal(&outcome).to_string().contains("is `insecure = true` said in its [edge.tls]?"));
    // The other way round.
    let answers = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0\0\x12\x04\0\0\0\0\0\0\0\0\0\0\0\0").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let outcome = one.connect(TcpStream::connect(address).await.unwrap(), address, wanted(Side::A)).await;
    assert!(refusal(&outcome).to_string().contains("is `insecure = true` said in its [agent.tls]?"));
    answers.await.unwrap();
}

#[tokio::test]
async fn a_connected_peer_is_cut_when_it_is_revoked_or_expires() {
    let bed = Bed::new();
    let (one, a) = (bed.issue("edge.pem", &edge()), bed.issue("a.pem", &agent(Side::A)));
    let [at_edge, at_agent] = meet(&one, &a, wanted(Side::A), &[]).await;
    let (mut at_edge, _at_agent) = (at_edge.unwrap(), at_agent.unwrap());
    bed.ca.revoke("lockstep:agent:telisca:a").unwrap();
    assert!(timeout(Duration::from_millis(50), at_edge.read_u8()).await.is_err(), "nothing has been read again yet");
    assert!(one.reload().unwrap());
    let error = timeout(PATIENCE, at_edge.read_u8()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("it was revoked"), "{error}");

    let brief = bed.issue_at("brief.pem", &agent(Side::B), Duration::from_secs(3), SystemTime::now());
    let [at_edge, at_agent] = meet(&one, &brief, wanted(Side::B), &[]).await;
    let (mut at_edge, _at_agent) = (at_edge.unwrap(), at_agent.unwrap());
    let error = timeout(PATIENCE, at_edge.read_u8()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("it has expired on"), "{error}");
}

#[tokio::test]
async fn an_agent_gets_a_new_certificate_for_a_new_key_and_for_nobody_else() {
    let bed = Bed::new();
    let brief = bed.issue_at("a.pem", &agent(Side::A), Duration::from_secs(100), SystemTime::now());
    let authority = Authority::open(&bed.ca.ca(), &bed.ca.key()).unwrap();
    let request = Request::new().unwrap();
    let key_before = std::fs::read_to_string(bed.path("a.pem")).unwrap();

    let for_another = authority.answer(&agent(Side::B), request.der(), LASTING).unwrap();
    assert!(request.complete(&brief, &for_another.certificate).unwrap_err().to_string().contains("is for"));
    let of_another_key = authority.answer(&agent(Side::A), Request::new().unwrap().der(), LASTING).unwrap();
    assert!(request.complete(&brief, &of_another_key.certificate).unwrap_err().to_string().contains("another key"));
    let shorter = authority.answer(&agent(Side::A), request.der(), Duration::from_secs(50)).unwrap();
    assert!(request.complete(&brief, &shorter.certificate).unwrap_err().to_string().contains("no later"));
    let stranger = Bed::new().ca.authority().unwrap().answer(&agent(Side::A), request.der(), LASTING).unwrap();
    assert!(request.complete(&brief, &stranger.certificate).unwrap_err().to_string().contains("not signed by a CA"));
    assert_eq!(std::fs::read_to_string(bed.path("a.pem")).unwrap(), key_before, "nothing has changed");
    let mut torn = request.der().to_vec();
    *torn.last_mut().unwrap() ^= 1;
    assert!(authority.answer(&agent(Side::A), &torn, LASTING).is_err(), "no proof that the key is there");

    let mut changes = brief.changes();
    let issued = authority.answer(&agent(Side::A), request.der(), LASTING).unwrap();
    let facts = request.complete(&brief, &issued.certificate).unwrap();
    assert_eq!(brief.own(), facts);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let one = bed.issue("edge.pem", &edge());
    let [at_edge, _] = meet(&one, &brief, wanted(Side::A), &[]).await;
    let peer: Peer = (**at_edge.unwrap().peer().unwrap()).clone();
    assert_eq!(peer.facts.serial, facts.serial);
}

#[tokio::test]
async fn changed_files_are_taken_over_and_bad_ones_are_not() {
    let bed = Bed::new();
    let a = bed.issue("a.pem", &agent(Side::A));
    let before = a.own();
    let reading = tokio::spawn(a.clone().keep_reading());
    let good = std::fs::read_to_string(bed.path("a.pem")).unwrap();
    for bad in ["", "no certificate", &good[..good.len() / 2]] {
        write(&bed.path("a.pem"), bad);
        assert!(a.reload().is_err());
        assert_eq!(a.own(), before);
    }
    bed.ca.issue(&agent(Side::B), LASTING, &bed.path("b.pem")).unwrap();
    std::fs::copy(bed.path("b.pem"), bed.path("a.pem")).unwrap();
    assert!(a.reload().unwrap_err().to_string().contains("issue one with `lockstep pki issue agent telisca a`"));
    write(&bed.path("a.pem"), &good);
    let authority = bed.ca.authority().unwrap();
    let renewed = renew(&authority, &bed.ca.key(), &bed.path("a.pem")).unwrap();
    let mut changes = a.changes();
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(a.own().serial, renewed.serial);
    assert_ne!(a.own().serial, before.serial);
    assert!(a.own().not_after >= before.not_after && a.own().lasting() <= before.lasting() + Duration::from_secs(2));
    reading.abort();
    // All of them are on record, by identity.
    bed.ca.revoke("lockstep:agent:telisca:a").unwrap();
    let revoked: Vec<bool> = bed.ca.issued().unwrap().iter().map(|record| record.revoked.is_some()).collect();
    assert_eq!(revoked, [true, false, true]);
}

#[tokio::test]
async fn files_that_have_lain_still_are_read_again_when_they_change() {
    let bed = Bed::new();
    let a = bed.issue("a.pem", &agent(Side::A));
    let before = a.own();
    let reading = tokio::spawn(a.clone().keep_reading());
    // They are looked at once a second, and read until they have been the same twice.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let authority = bed.ca.authority().unwrap();
    let mut changes = a.changes();
    let renewed = renew(&authority, &bed.ca.key(), &bed.path("a.pem")).unwrap();
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(a.own().serial, renewed.serial);
    assert_ne!(a.own().serial, before.serial);
    reading.abort();
}

#[test]
fn a_ca_is_made_once_and_nothing_is_overwritten() {
    let bed = Bed::new();
    assert!(Directory::init(&bed.dir.path().join("ca"), "again").unwrap_err().to_string().contains("is there already"));
    bed.ca.issue(&edge(), LASTING, &bed.path("edge.pem")).unwrap();
    let again = bed.ca.issue(&edge(), LASTING, &bed.path("edge.pem")).unwrap_err();
    assert!(again.to_string().contains("`lockstep pki renew` renews it"));
    assert!(bed.ca.revoke("abc").unwrap_err().to_string().contains("is no file, no serial number and no identity"));
    assert!(bed.ca.revoke("lockstep:edge:other").is_err());
    let of_another = Bed::new();
    of_another.ca.issue(&edge(), LASTING, &of_another.path("edge.pem")).unwrap();
    let file = of_another.path("edge.pem");
    assert!(bed.ca.revoke(file.to_str().unwrap()).unwrap_err().to_string().contains("was not signed by the CA"));
    let authority = bed.ca.authority().unwrap();
    assert!(renew(&authority, &bed.ca.key(), &file).unwrap_err().to_string().contains("was not signed by the CA"));
    let list = of_another.ca.list();
    let files = TlsFiles { revoked: Some(list), ..bed.files("edge.pem") };
    assert!(Trust::load(files, edge()).unwrap_err().to_string().contains("and not by a CA of `ca`"));
    let stolen = TlsFiles { key: file, ..bed.files("edge.pem") };
    assert!(Trust::load(stolen, edge()).unwrap_err().to_string().contains("is not the key of the certificate"));
}
