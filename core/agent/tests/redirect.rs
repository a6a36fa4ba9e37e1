//! Requests that come to a node directly: passed on while its agent is active under a lease that runs, and never else.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod world;

use http::Request;
use http_body_util::BodyExt;
use lockstep_pair::protocol::{Answer as Said, ToNode};
use lockstep_policy::Epoch;
use lockstep_policy::action::Urgency;
use lockstep_policy::event::Role;
use rustix::process::Signal;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::agent::{Agent, Node};
use world::edge::{Edge, TERMS, pid};
use world::http::{Application, Client, get};
use world::process::{lives, send, stop};

const CTI: &str = r#"
[[service]]
name = "cti"
driver = "exec"
command = ["sleep", "1000"]
exclusive = true
"#;

/// A node whose listener passes requests to an application in this process.
struct Bed {
    node: Node,
    agent: Agent,
    application: Application,
    /// Where clients come to.
    address: String,
}

impl Bed {
    async fn new(more: &str) -> Bed {
        let application = Application::start().await;
        let keys = format!("listen = \"HOST:8080\"\napplication = \"{}\"\nvip = \"http://vip\"\n", application.address);
        let node = Node::new(&format!("{CTI}[[redirect]]\n{keys}{more}"));
        let agent = node.start();
        let address = node.address.replace(":7401", ":8080");
        Bed { node, agent, application, address }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address).await
    }

    async fn active(&self) -> Edge {
        let mut edge = Edge::connect(&self.node.address).await;
        edge.activate(Epoch(1)).await;
        edge
    }
}

fn stand_down(edge: &mut Edge, epoch: u64) {
    edge.renews = None;
    edge.say(ToNode::StandDown { epoch: Epoch(epoch), urgency: Urgency::Planned });
}

#[tokio::test]
async fn a_standby_redirects_whatever_it_is_asked() {
    let bed = Bed::new("exempt = [\"/monitor.aspx\"]\n").await;
    let mut client = bed.client().await;
    for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "PUT"] {
        let answer = client.ask(Request::builder().method(method).uri("/a/b.aspx?c=d&e"), "text").await;
        assert_eq!((answer.status, answer.location()), (307, "http://vip/a/b.aspx?c=d&e"), "{method}");
        assert_eq!(answer.fields["cache-control"], "no-store");
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method}");
    }
    assert!(bed.application.seen().is_empty());

    // Probes of the node itself reach it.
    let probed = client.get("/Monitor.aspx?mod=FT").await;
    assert_eq!((probed.status, probed.body.as_str()), (200, "GET"));
    assert_eq!(bed.application.seen()[0].target, "/Monitor.aspx?mod=FT");
    assert_eq!(client.ask(Request::post("/monitor.aspx"), "").await.status, 307, "a probe only looks");
    assert_eq!(client.get("/monitor.aspx/more").await.status, 307);
    assert_eq!(client.get("/%6donitor.aspx").await.status, 307);
    assert_eq!(bed.application.seen().len(), 1);

    // Who comes by the pair's address is not sent there again.
    let mut client = Client::over(TcpStream::connect(&bed.address).await.unwrap(), "vip").await;
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.location()), (503, ""));
    assert!(answer.body.contains("the edge's `servers`"), "{}", answer.body);
}

#[tokio::test]
async fn the_active_side_passes_on_and_the_same_connection_is_redirected_after_it() {
    let bed = Bed::new("").await;
    let mut client = bed.client().await;
    assert_eq!(client.get("/").await.status, 307);
    let mut edge = bed.active().await;
    let request = Request::post("/echo?q").header("x-forwarded-for", "192.0.2.1").header("connection", "x-hop");
    let answer = client.ask(request.header("x-hop", "1").header("cookie", "c=1"), "a body").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "a body"));
    let answer = client.get("/b").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "GET"));
    assert!(answer.fields.get("x-private").is_none() && answer.fields.contains_key("set-cookie"));
    let answer = client.ask(Request::head("/b"), "").await;
    assert_eq!((answer.status, &answer.fields["content-length"]), (200, &"4".parse().unwrap()));
    let seen = bed.application.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("POST", "/echo?q"));
    assert_eq!(seen[0].fields["x-forwarded-for"], "192.0.2.1, 127.0.0.1");
    assert_eq!(
        (&seen[0].fields["host"], &seen[0].fields["cookie"]),
        (&bed.address.parse().unwrap(), &"c=1".parse().unwrap())
    );
    assert!(seen[0].fields.get("x-hop").is_none());
    assert!(seen.iter().all(|seen| seen.connection == 0), "one client, one connection: {seen:?}");

    stand_down(&mut edge, 2);
    assert_eq!(edge.answer().await, Said::StoodDown { epoch: Epoch(2) });
    assert_eq!(client.get("/b").await.status, 307);
    assert_eq!(bed.application.seen().len(), 3);

    // In its next turn no connection of this one is used again.
    edge.activate(Epoch(3)).await;
    assert_eq!(client.get("/b").await.status, 200);
    assert_eq!(bed.application.seen()[3].connection, 1);
}

/// What is passed on as the node stands down is answered by a node whose exclusive services run.
#[tokio::test]
async fn a_planned_stop_waits_for_what_was_passed_on() {
    let bed = Bed::new("drain = \"1h\"\n").await;
    let mut edge = bed.active().await;
    let cti = pid(edge.last.as_ref().unwrap(), "cti");
    let mut client = bed.client().await;
    let slow = tokio::spawn(async move { client.get("/slow").await });
    bed.application.asked(1).await;
    stand_down(&mut edge, 2);
    edge.report("standing down", |report| report.role == Role::StandingDown).await;
    // New ones are sent elsewhere meanwhile.
    assert_eq!(get(&bed.address, "/b").await.status, 307);
    assert!(lives(cti), "what answers is stopped before it has answered");
    bed.application.let_go();
    let slow = slow.await.unwrap();
    assert_eq!((slow.status, slow.body.as_str()), (200, "slow"));
    assert_eq!(edge.answer().await, Said::StoodDown { epoch: Epoch(2) });
    assert!(!lives(cti));
}

#[tokio::test]
async fn a_planned_stop_does_not_wait_for_ever() {
    let bed = Bed::new("drain = \"1h\"\n").await;
    let mut edge = bed.active().await;
    let mut client = bed.client().await;
    let slow = tokio::spawn(async move { client.get("/slow").await });
    bed.application.asked(1).await;
    let begun = std::time::Instant::now();
    stand_down(&mut edge, 2);
    assert_eq!(edge.answer().await, Said::StoodDown { epoch: Epoch(2) });
    // A quarter of `stop_max`, and the stop itself has the rest.
    assert!(begun.elapsed() >= TERMS.stop_max / 4 - Duration::from_millis(5), "{:?}", begun.elapsed());
    let slow = slow.await.unwrap();
    assert_eq!((slow.status, slow.location()), (307, "http://vip/slow"));
}

/// At the end of a lease nothing waits: what has no answer yet is sent elsewhere if it may be sent twice.
#[tokio::test]
async fn a_lease_that_runs_out_cuts_what_was_passed_on() {
    let bed = Bed::new("").await;
    let mut edge = bed.active().await;
    let mut clients = [bed.client().await, bed.client().await, bed.client().await, bed.client().await];
    let [get, post, long, up] = &mut clients;
    let asked = bed.application.seen().len();
    let long = long.begin(Request::get("/long"), "").await.unwrap();
    let up = up.begin(Request::get("/up").header("connection", "upgrade").header("upgrade", "echo"), "").await.unwrap();
    assert_eq!((long.status().as_u16(), up.status().as_u16()), (200, 101));
    let mut up = hyper_util::rt::TokioIo::new(hyper::upgrade::on(up).await.unwrap());
    up.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    up.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    let slow = async { tokio::join!(get.ask(Request::get("/slow"), ""), post.ask(Request::post("/slow"), "order")) };
    let ending = async {
        bed.application.asked(asked + 4).await;
        edge.renews = None;
        edge.report("standby", |report| report.role == Role::Standby).await;
    };
    let ((get, post), ()) = tokio::join!(slow, ending);
    assert_eq!((get.status, get.location()), (307, "http://vip/slow"));
    assert_eq!(post.status, 502);
    assert!(post.body.contains("may have been carried out"), "{}", post.body);
    assert!(long.into_body().collect().await.is_err(), "an answer that was begun ends in the midst");
    assert_eq!(up.read(&mut heard).await.unwrap_or(0), 0, "and so does another protocol");
}

/// Lesson 6: while it sleeps it says nothing, and on waking it does not act on its old role.
#[tokio::test]
async fn an_agent_that_slept_past_its_lease_passes_nothing_on_that_has_waited() {
    let bed = Bed::new("").await;
    let mut edge = bed.active().await;
    let mut kept = bed.client().await;
    assert_eq!(kept.get("/before").await.status, 200);
    let asked = bed.application.seen().len();
    stop(bed.agent.pid());
    edge.renews = None;
    // One comes by a connection that there is, and many by new ones.
    let mut waiting = vec![tokio::spawn(async move { kept.get("/kept").await })];
    for number in 0..20 {
        let mut client = bed.client().await;
        waiting.push(tokio::spawn(async move { client.get(&format!("/new/{number}")).await }));
    }
    tokio::time::sleep(TERMS.ttl * 2).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "who sleeps does not answer");
    send(bed.agent.pid(), Signal::CONT);
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 307, "{answer:?}");
    }
    assert_eq!(bed.application.seen().len(), asked, "{:?}", bed.application.seen());
}

#[tokio::test]
async fn an_application_that_breaks_off_is_looked_for_elsewhere_if_that_is_safe() {
    let bed = Bed::new("").await;
    let _edge = bed.active().await;
    let mut client = bed.client().await;
    let answer = client.get("/break").await;
    assert_eq!((answer.status, answer.location()), (307, "http://vip/break"));
    let answer = client.ask(Request::post("/break"), "order").await;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("may have been carried out"), "{}", answer.body);
    let posts = bed.application.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 1, "what may not be sent twice is sent once");
}

#[tokio::test]
async fn an_application_that_is_not_there_is_looked_for_elsewhere() {
    let node = Node::new(&format!(
        "{CTI}[[redirect]]\nlisten = \"HOST:8080\"\napplication = \"HOST:8081\"\nvip = \"https://vip:8443\"\nexempt = [\"/monitor\"]\n"
    ));
    let _agent = node.start();
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    let mut client = Client::connect(&node.address.replace(":7401", ":8080")).await;
    let answer = client.ask(Request::post("/order?1"), "body").await;
    assert_eq!((answer.status, answer.location()), (307, "https://vip:8443/order?1"));
    let probed = client.get("/monitor").await;
    assert_eq!(
        (probed.status, probed.location()),
        (503, ""),
        "the other side's answer would hide that this one is dead"
    );
}

#[tokio::test]
async fn nobody_is_sent_to_the_other_side_unless_that_serves() {
    let application = Application::start().await;
    let other = Node::new(&format!(
        "{CTI}[[redirect]]\nlisten = \"HOST:8080\"\napplication = \"{}\"\nvip = \"http://vip\"\n",
        application.address
    ));
    let name = other.address.replace(":7401", "");
    let listener = |port, more: &str| {
        format!(
            "[[redirect]]\nlisten = \"HOST:{port}\"\napplication = \"{}\"\nto = \"active\"\nactive = \"http://{name}:8080\"\n{more}",
            application.address
        )
    };
    let node =
        Node::new(&format!("{CTI}{}{}", listener(8080, "vip = \"http://vip\"\nstatus = 302\n"), listener(8081, "")));
    let _agent = node.start();
    let [with, without] = [8080, 8081].map(|port| node.address.replace("7401", &port.to_string()));

    // Nobody answers there at all.
    let answer = get(&with, "/a").await;
    assert_eq!((answer.status, answer.location()), (302, "http://vip/a"));
    let answer = get(&without, "/a").await;
    assert_eq!((answer.status, answer.fields["retry-after"].to_str().unwrap()), (503, "2"));
    // Both are standby.
    let _other_agent = other.start();
    assert_eq!(get(&with, "/a").await.location(), "http://vip/a");
    assert_eq!(get(&without, "/a").await.status, 503);
    let mut edge = Edge::connect(&other.address).await;
    edge.activate(Epoch(1)).await;
    let until = std::time::Instant::now() + world::PATIENCE;
    let renewing = tokio::spawn(async move {
        loop {
            edge.hear().await.unwrap();
        }
    });
    while get(&without, "/a").await.status == 503 {
        assert!(std::time::Instant::now() < until, "the other side serves, and nobody hears of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = get(&without, "/a?b").await;
    assert_eq!((answer.status, answer.location()), (307, format!("http://{name}:8080/a?b").as_str()));
    let followed = get(&format!("{name}:8080"), "/a?b").await;
    assert_eq!(followed.status, 200);
    renewing.abort();
}

#[tokio::test]
async fn nobody_takes_more_than_his_part() {
    let bed = Bed::new("connections = 2\nidle = \"300ms\"\n").await;
    let mut edge = bed.active().await;
    let answers = async {
        let say = async |text: String| {
            let mut stream = TcpStream::connect(&bed.address).await.unwrap();
            let _ = stream.write_all(text.as_bytes()).await;
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer.lines().next().unwrap_or("").to_owned()
        };
        // Two programs that find two ends in it would see two different requests behind it.
        let head =
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\ntransfer-encoding: chunked";
        assert!(say(format!("{head}\r\n\r\n0\r\n\r\n")).await.contains(" 200 "));
        assert!(bed.application.seen()[0].fields.get("content-length").is_none());
        assert!(say("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()).await.contains(" 405 "));
        let fields: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
        assert!(say(format!("GET / HTTP/1.1\r\n{fields}\r\n")).await.contains(" 431 "));
        // Its answer may be lost with what is left of it.
        assert!(!say(format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000))).await.contains(" 200 "));
        // Who says nothing, or not all of it, is given up; meanwhile others wait for his seat.
        let silent = TcpStream::connect(&bed.address).await.unwrap();
        let mut begun = TcpStream::connect(&bed.address).await.unwrap();
        begun.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
        assert_eq!(get(&bed.address, "/b").await.status, 200);
        let mut answer = String::new();
        let _ = begun.read_to_string(&mut answer).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        drop(silent);
    };
    let renewing = async {
        loop {
            edge.hear().await.unwrap();
        }
    };
    tokio::select! {
        () = answers => {}
        () = renewing => {}
    }
    assert!(bed.application.seen().iter().all(|seen| seen.target == "/b" || seen.target == "/echo"));
}

/// Writes a self-signed certificate and its key; the certificate, for who is to trust it.
fn certify(node: &Node) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
    std::fs::write(node.path("node.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(node.path("node.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// A client that trusts this certificate only.
async fn over_tls(address: &str, trusted: &rustls::pki_types::CertificateDer<'static>) -> std::io::Result<Client> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect("node".try_into().unwrap(), stream).await?;
    Ok(Client::over(stream, "node").await)
}

#[tokio::test]
async fn a_listener_speaks_tls_and_takes_a_new_certificate_without_a_restart() {
    let application = Application::start().await;
    let node = Node::new(&format!(
        "{CTI}[[redirect]]\nlisten = \"HOST:8443\"\napplication = \"{}\"\nvip = \"https://vip\"\n\
         certificate = \"DIR/node.pem\"\nkey = \"DIR/node.key\"\n",
        application.address
    ));
    let first = certify(&node);
    let _agent = node.start();
    let address = node.address.replace(":7401", ":8443");
    let mut client = over_tls(&address, &first).await.unwrap();
    assert_eq!(client.get("/a").await.location(), "https://vip/a");
    let mut edge = Edge::connect(&node.address).await;
    edge.activate(Epoch(1)).await;
    assert_eq!(client.get("/a").await.status, 200);
    assert_eq!(application.seen()[0].fields["x-forwarded-proto"], "https");

    let second = certify(&node);
    let until = std::time::Instant::now() + world::PATIENCE;
    while over_tls(&address, &second).await.is_err() {
        assert!(std::time::Instant::now() < until, "the new certificate is not taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(over_tls(&address, &first).await.is_err());
}

#[tokio::test]
async fn a_listener_that_cannot_be_is_named() {
    let node =
        Node::new("[[redirect]]\nlisten = \"192.0.2.1:80\"\napplication = \"127.0.0.1:8080\"\nvip = \"http://vip\"\n");
    let text = node.start_refused();
    assert!(text.contains("cannot listen on 192.0.2.1:80") && text.contains("under [[redirect]]"), "{text}");
    let node = Node::new(
        "[[redirect]]\nlisten = \"HOST:8080\"\napplication = \"127.0.0.1:8080\"\nvip = \"http://vip\"\n\
         certificate = \"/no/such.pem\"\nkey = \"/no/such.key\"\n",
    );
    let text = node.start_refused();
    assert!(text.contains("cannot use its `certificate`") && text.contains("/no/such.pem"), "{text}");
}
