//! What is written to a client for pingora, and what pingora asks about its connection.

use super::Client;
use super::open::Open;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncWrite, AsyncWriteExt};

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(end) = &mut this.upgrade {
            let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
            return end.poll_write(cx, socket, bytes);
        }
        let Poll::Ready(written) = Pin::new(this.socket()).poll_write(cx, bytes) else {
            return this.poll_untaken(cx).map(Err);
        };
        let written = written?;
        this.taking.came(written, usize::MAX);
        if let Some(frames) = &mut this.frames {
            frames.went(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(this.socket()).poll_flush(cx) {
            Poll::Ready(flushed) => {
                this.taking.came(0, usize::MAX);
                Poll::Ready(flushed)
            }
            Poll::Pending => this.poll_untaken(cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let socket = this.socket.as_mut().expect("the socket is taken out in drop only");
        match &mut this.upgrade {
            Some(end) => end.poll_shutdown(cx, socket),
            None => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl Client {
    /// The client has no room for more. Ready when it takes its answer too slowly: nothing can be said to it then.
    pub(super) fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if matches!(self.open, Open::All) {
            return Poll::Pending;
        }
        self.taking
            .poll_late(cx)
            .map(|()| io::Error::new(io::ErrorKind::TimedOut, "the client takes its answer too slowly"))
    }
}

#[async_trait]
impl Shutdown for Client {
    async fn shutdown(&mut self) {
        // What cannot be shut down is closed already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Client {
    fn id(&self) -> i32 {
        self.socket.as_ref().map_or(-1, |socket| socket.get_ref().tcp().as_raw_fd())
    }
}

impl Ssl for Client {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.encryption.clone()
    }
}

impl Peek for Client {}

impl GetTimingDigest for Client {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Client {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.upgrade.as_ref().and_then(|end| end.digest()).or_else(|| self.presence.clone())
    }
}

impl GetSocketDigest for Client {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
