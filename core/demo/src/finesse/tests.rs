use super::*;
use crate::ged188;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn options(dir: &std::path::Path, cti: Vec<SocketAddr>) -> Options {
    let nowhere: SocketAddr = ([127, 0, 0, 1], 8445).into();
    Options {
        side: Side::A,
        api: nowhere,
        certificate: PathBuf::new(),
        key: PathBuf::new(),
        desktop: nowhere,
        cti,
        cti_heartbeat: Duration::from_millis(20),
        notification: None,
        domain: "finesse-a.example".to_owned(),
        password: None,
        control: Some(dir.join("control")),
        log: dir.join("log"),
    }
}

async fn get(listener: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(listener).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.0.0.7\r\nx-request-id: 3\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn in_a_server<F: Future<Output = ()>>(cti: Vec<SocketAddr>, story: impl FnOnce(Rc<Server>, SocketAddr, PathBuf) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let server = Rc::new(Server::new(options(dir.path(), cti)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::task::spawn_local({
            let server = server.clone();
            async move {
                loop {
                    let stream = accepted(&listener).await;
                    tokio::task::spawn_local(connection(server.clone(), stream));
                }
            }
        });
        story(server, at, dir.path().to_owned()).await;
    });
}

#[test]
fn it_says_what_it_was_told_and_writes_down_who_asked() {
    in_a_server(Vec::new(), async |_, at, dir| {
        let say = |word: &str| std::fs::write(dir.join("control"), word).unwrap();
        let info = get(at, SYSTEM_INFO).await;
        assert!(
            info.contains("<status>IN_SERVICE</status>") && info.contains("<xmppDomain>finesse-a.example<"),
            "{info}"
        );
        assert!(info.contains("<lastCTIHeartbeatStatus>success<"), "{info}");
        assert!(get(at, "/desktop").await.ends_with("side a\n"));
        say("out-of-service");
        assert!(get(at, SYSTEM_INFO).await.contains("<status>OUT_OF_SERVICE</status>"));
        let refused = get(at, "/desktop").await;
        assert!(
            refused.starts_with("HTTP/1.1 503") && refused.contains("<ErrorType>Service Unavailable<"),
            "{refused}"
        );
        say("unavailable");
        assert!(get(at, SYSTEM_INFO).await.starts_with("HTTP/1.1 503"));
        say("falter 1");
        assert!(get(at, SYSTEM_INFO).await.starts_with("HTTP/1.1 503"));
        assert!(get(at, SYSTEM_INFO).await.contains("<status>IN_SERVICE</status>"));
        let seen: Vec<_> = read(&dir.join("log")).unwrap().iter().map(|seen| (seen.kind, seen.in_service)).collect();
        let (poll, desktop) = (Kind::Poll, Kind::Desktop);
        assert_eq!(
            seen,
            [
                (poll, true),
                (desktop, true),
                (poll, false),
                (desktop, false),
                (poll, false),
                (poll, false),
                (poll, true)
            ]
        );
        let asked = &read(&dir.join("log")).unwrap()[1];
        assert_eq!((asked.client, asked.id), (Some([10, 0, 0, 7].into()), Some(3)));
    });
}

#[test]
fn it_needs_a_cti_server_and_takes_the_next_one() {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    in_a_server(hosts, async |server, _, _| {
        let [lost, other] = listeners.map(|listener| {
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        });
        assert!(!server.in_service());
        tokio::task::spawn_local(cti::keep(server.clone()));
        // It is let in, and answered no heartbeat.
        let (mut first, _) = lost.accept().await.unwrap();
        let (kind, body) = ged188::read(&mut first).await.unwrap();
        assert_eq!((kind, body.len()), (ged188::OPEN_REQ, 44));
        ged188::write(&mut first, ged188::OPEN_CONF, &[1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        assert_eq!(ged188::read(&mut first).await.unwrap().0, ged188::HEARTBEAT_REQ);
        assert!(server.in_service());
        let (mut second, _) = other.accept().await.unwrap();
        assert!(!server.in_service() && !server.heartbeat.get());
        ged188::read(&mut second).await.unwrap();
        ged188::write(&mut second, ged188::OPEN_CONF, &[1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        ged188::read(&mut second).await.unwrap();
        assert!(server.in_service() && server.connected.get().is_some_and(|(number, _)| number == 1));
    });
}
