//! How soon a strand sends again what was lost.

use std::io;
use tokio::net::TcpStream;

/// Linux waits for 200 ms at the least, then twice that, and so on: three losses in a row outlast a lease of 600 ms. With this it has tried five times
/// by then. Where the way is longer, the kernel goes by what it measures, as ever. An answer that waits to be sent along with something waits for no longer.
#[cfg(target_os = "linux")]
const SOONEST_US: i32 = 20_000;

/// `TCP_RTO_MIN_US`, of Linux 6.15 and later.
#[cfg(target_os = "linux")]
const TCP_RTO_MIN_US: i32 = 45;

/// A lease waits neither for a segment to be full nor, where the kernel can be told so, long for one that was lost.
pub(super) fn hasten(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        // A kernel that does not know it goes on as it did: there are two strands.
        let _ = uapi::setsockopt(stream.as_raw_fd(), uapi::c::IPPROTO_TCP, TCP_RTO_MIN_US, &SOONEST_US);
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[tokio::test]
    async fn a_kernel_that_can_sends_again_after_20_ms() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let asked = || {
            let mut value = 0;
            uapi::getsockopt(stream.as_raw_fd(), uapi::c::IPPROTO_TCP, TCP_RTO_MIN_US, &mut value).map(|_| value)
        };
        let before = asked();
        hasten(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        match before {
            Ok(usual) => assert!(usual > SOONEST_US && asked() == Ok(SOONEST_US), "{usual}, {:?}", asked()),
            Err(unknown) => assert_eq!(unknown, uapi::Errno(uapi::c::ENOPROTOOPT)),
        }
    }
}
