//! Connections that carry another protocol, such as WebSockets: bytes both ways, until the node stands down.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::sleep;

/// When nothing was said either way for so long, the other end is taken to have gone.
const SILENCE: Duration = Duration::from_secs(3600);
const BUFFER: usize = 16 * 1024;

/// Carries bytes until either end closes, both are silent, or the node stands down.
pub(super) async fn carry(client: OnUpgrade, application: OnUpgrade, mut cuts: watch::Receiver<()>) {
    let carried = async {
        let (client, application) = tokio::try_join!(client, application).map_err(io::Error::other)?;
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_application, to_application) = split(TokioIo::new(application));
        let heard = AtomicU64::new(clock::now().0);
        tokio::select! {
            carried = async {
                let there = copy(from_client, to_application, &heard);
                let back = copy(from_application, to_client, &heard);
                tokio::try_join!(there, back)
            } => carried.map(drop),
            () = silence(&heard) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    tokio::select! {
        biased;
        // An error is the agent's end.
        _ = cuts.changed() => {}
        carried = carried => {
            if let Err(error) = carried {
                tracing::debug!(%error, "an upgraded connection has ended");
            }
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        heard.store(clock::now().0, Relaxed);
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}

async fn silence(heard: &AtomicU64) {
    loop {
        let over = At(heard.load(Relaxed)) + SILENCE;
        let left = over.since(clock::now());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}
