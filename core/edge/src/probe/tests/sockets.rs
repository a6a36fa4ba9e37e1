//! Probes of servers on sockets of the file system.

use super::*;
use crate::address::Address;
use lockstep_policy::action::{CtiProbe, Tls};
use tokio::net::UnixListener;

fn declared(kind: &ProbeKind, address: &Address) -> Result<Kind, String> {
    let watch = Watch { kind: kind.clone(), ..watch(1, 60_000, 0) };
    Kind::new(&watch, std::slice::from_ref(address), &Means::default(), &NoAgents)
}

async fn asked(kind: &ProbeKind, address: &Address) -> Finding {
    let (means, agents): (_, Arc<dyn AgentPing>) = (Means::default(), Arc::new(NoAgents));
    declared(kind, address).unwrap().probe(&means, &agents, (0, address), (PATIENT, false)).await
}

#[tokio::test]
async fn http_and_tcp_probes_ask_a_socket_and_find_what_they_find_at_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    for kind in [http("ACTIVE"), ProbeKind::Tcp { port: 0 }] {
        assert_eq!(asked(&kind, &address).await.verdict, Verdict::Refused, "nobody is there");
    }
    let listener = UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        let mut heads = Vec::new();
        while heads.len() < 2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            head.truncate(read);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nACTIVE").await;
            heads.extend((read > 0).then(|| String::from_utf8(head).unwrap()));
        }
        heads
    });
    assert_eq!(asked(&ProbeKind::Tcp { port: 0 }, &address).await.verdict, Verdict::Good);
    assert_eq!(asked(&http("ACTIVE"), &address).await.verdict, Verdict::Good);
    assert_eq!(asked(&http("STANDBY"), &address).await.verdict, Verdict::Wrong);
    let heads = serving.await.unwrap();
    assert!(heads.iter().all(|head| head.contains("\r\nhost: localhost\r\n")), "{heads:?}");
    assert_eq!(asked(&http("ACTIVE"), &address).await.verdict, Verdict::Refused, "it has gone, and its file is there");
}

#[test]
fn what_a_socket_cannot_be_asked_is_refused_with_its_name() {
    let address: Address = "unix:/run/app.sock".parse().unwrap();
    let elsewhere = HttpProbe { path: "/".into(), address: "127.0.0.1:80".into(), port: 8080, ..HttpProbe::default() };
    assert!(declared(&ProbeKind::Http(elsewhere), &address).is_ok());
    let other_port = HttpProbe { path: "/".into(), port: 8080, ..HttpProbe::default() };
    let cti = CtiProbe {
        port: 0,
        tls: Tls::Off,
        version: 14,
        peripheral: u32::MAX,
        services: 4,
        idle_timeout: Duration::from_secs(20),
        client: String::new(),
        secret: String::new(),
    };
    for kind in [ProbeKind::Http(other_port), ProbeKind::Tcp { port: 8080 }, ProbeKind::Cti(cti)] {
        let why = declared(&kind, &address).err().unwrap_or_default();
        assert!(why.ends_with("needs a server's address IP:PORT, and side a has one at unix:/run/app.sock"), "{why}");
    }
}
