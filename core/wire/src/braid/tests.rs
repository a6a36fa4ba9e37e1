use super::*;
use tokio::net::TcpListener;

/// A stream whose two strands can be looked at, and its other end.
async fn both_ends() -> (Braid, Braid) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let braids = Braids::default();
    let accepted = tokio::spawn(async move {
        let mut stream = None;
        for _ in 0..STRANDS {
            let (connection, _) = listener.accept().await.unwrap();
            stream = braids.take(connection).await.unwrap().or(stream);
        }
        stream.unwrap()
    });
    let dialled = Braid::dial(address, |_| {}).await.unwrap();
    (dialled, accepted.await.unwrap())
}

/// Lets what has been begun become known to a stream: strands that wait to be admitted are.
async fn settle(braid: &mut Braid) {
    let admitted = async {
        while braid.strands.len() < STRANDS {
            std::future::poll_fn(|context| {
                braid.admit(context);
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), admitted).await.unwrap();
}

#[tokio::test]
async fn what_is_sent_arrives_once_and_in_order_both_ways() {
    let (mut edge, mut agent) = both_ends().await;
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let (there, back) = (sent.clone(), sent.clone());
    let echo = tokio::spawn(async move {
        let mut got = vec![0; there.len()];
        agent.read_exact(&mut got).await.unwrap();
        agent.write_all(&got).await.unwrap();
        agent.flush().await.unwrap();
        (got == there, agent)
    });
    edge.write_all(&sent).await.unwrap();
    let mut got = vec![0; back.len()];
    timeout(Duration::from_secs(20), edge.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == back);
    assert!(echo.await.unwrap().0);
    assert_eq!(edge.strands.len(), STRANDS, "and both strands have carried it");
}

/// The end of a strand at which nothing arrives: its bytes are kept for it, and the other's count.
#[tokio::test]
async fn a_strand_that_stands_still_holds_nothing_up() {
    for stalled in 0..STRANDS {
        let (mut edge, mut agent) = both_ends().await;
        settle(&mut edge).await;
        settle(&mut agent).await;
        // What waits in it is never read.
        let aside = agent.strands.remove(stalled);
        for n in 0..200u8 {
            // A task does so much at a time, and nobody here comes back to a strand that found its time over.
            tokio::task::yield_now().await;
            edge.write_all(&[n; 100]).await.unwrap();
            edge.flush().await.unwrap();
            let mut got = [0; 100];
            timeout(Duration::from_secs(10), agent.read_exact(&mut got)).await.unwrap().unwrap();
            assert_eq!(got, [n; 100], "strand {stalled} stands still");
        }
        // When it comes again, what it brings is known already.
        agent.strands.push(aside);
        edge.write_all(b"last").await.unwrap();
        edge.flush().await.unwrap();
        let mut got = [0; 4];
        timeout(Duration::from_secs(10), agent.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"last");
    }
}

#[tokio::test]
async fn the_end_of_one_strand_is_the_end() {
    let (mut edge, mut agent) = both_ends().await;
    settle(&mut edge).await;
    settle(&mut agent).await;
    drop(agent.strands.remove(1));
    let ended = timeout(Duration::from_secs(10), edge.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn who_knows_nothing_of_strands_gets_a_plain_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // As an HTTP/2 server of before: what begins otherwise is closed.
    let server = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut first = [0; 3];
            if connection.read_exact(&mut first).await.is_ok() && &first == b"PRI" {
                return connection;
            }
        }
    });
    let mut plain = Braid::dial(address, |_| {}).await.unwrap();
    plain.write_all(b"PRI").await.unwrap();
    plain.flush().await.unwrap();
    timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
    assert_eq!(plain.strands.len(), 1);
}

#[tokio::test]
async fn who_begins_without_a_preamble_is_taken_as_he_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    connection.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let braids = Braids::default();
    let mut taken = braids.take(listener.accept().await.unwrap().0).await.unwrap().unwrap();
    let mut got = [0; 14];
    taken.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"PRI * HTTP/2.0");
    // And one that begins like a strand and is none is closed.
    let mut garbage = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    garbage.write_all(&[MAGIC[0]; PREAMBLE]).await.unwrap();
    assert!(braids.take(listener.accept().await.unwrap().0).await.is_err());
    assert!(braids.lock().is_empty(), "nothing is left of either");
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = timeout(Duration::from_secs(10), Braid::dial(address, |_| {})).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
