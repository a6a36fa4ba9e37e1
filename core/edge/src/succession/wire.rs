//! What two processes of an edge say to each other, over a pair of Unix sockets: a greeting with the sockets that the old one
//! listens on, then one JSON text on each line.

use crate::proxy::Word;
use lockstep_policy::Side;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Both must speak the same.
pub(super) const PROTOCOL: u32 = 1;

/// The longest greeting, and the longest line.
const MOST: u32 = 4 << 20;

/// Sockets of one edge.
const SOCKETS_MAX: usize = 20_000;

/// Lines that may wait. One that listens reads them at once.
const QUEUE: usize = 4096;

/// What the new one must know before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub protocol: u32,
    pub edge: String,
    pub state: PathBuf,
    pub pairs: Vec<String>,
    /// The addresses of the sockets that follow, as they are configured.
    pub sockets: Vec<SocketAddr>,
}

/// What the old one says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromOld {
    /// Drivers have left; journal and store are closed.
    Yours,
    /// Nothing is in flight any more: the answer to the drain of this number.
    Drained(u64),
}

/// What the new one says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromNew {
    /// All is done that can fail without the old one's word.
    Ready,
    /// It cannot, because.
    Refused(String),
    /// It is the edge from now on.
    TookOver,
    /// A pair's route.
    Told { pair: String, word: Word },
    /// Say when nothing is in flight at the side any more.
    Drain { number: u64, pair: String, side: Side },
}

/// Greets the new one. Waits for it to read.
pub(super) fn greet(mut stream: &UnixStream, greeting: &Greeting, sockets: &[Arc<TcpListener>]) -> io::Result<()> {
    let text = serde_json::to_vec(greeting)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&text)?;
    for socket in sockets {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fds = [socket.as_fd()];
        beside.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(stream, &[IoSlice::new(b"s")], &mut beside, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Hears the greeting. Waits for it.
pub(super) fn hear(mut stream: &UnixStream) -> io::Result<(Greeting, Vec<OwnedFd>)> {
    let wrong = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MOST {
        return Err(wrong("the greeting is too long"));
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text)?;
    let greeting: Greeting = serde_json::from_slice(&text)?;
    if greeting.sockets.len() > SOCKETS_MAX {
        return Err(wrong("there are too many sockets"));
    }
    let mut sockets = Vec::new();
    while sockets.len() < greeting.sockets.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let read = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let fds = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let before = sockets.len();
        sockets.extend(fds.flatten());
        if read.bytes == 0 || sockets.len() != before + 1 {
            return Err(wrong("a socket is missing"));
        }
    }
    Ok((greeting, sockets))
}

/// A conversation: lines of `Out` go, lines of `In` come. It is over when either of the channels is closed.
pub(super) struct Talk<Out, In> {
    pub say: mpsc::Sender<Out>,
    pub heard: mpsc::Receiver<In>,
    /// Ends when all is written that was said, and nothing more can be.
    pub writing: JoinHandle<()>,
}

/// Begins it. It needs a tokio runtime around the call.
pub(super) fn talk<Out, In>(stream: UnixStream) -> io::Result<Talk<Out, In>>
where
    Out: Serialize + Send + 'static,
    In: DeserializeOwned + Send + 'static,
{
    stream.set_nonblocking(true)?;
    let (reading, mut writing) = tokio::net::UnixStream::from_std(stream)?.into_split();
    let (say, mut said) = mpsc::channel::<Out>(QUEUE);
    let (tell, heard) = mpsc::channel::<In>(QUEUE);
    tokio::spawn(async move {
        let mut reading = BufReader::new(reading);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reading).take(u64::from(MOST)).read_until(b'\n', &mut line).await;
            let Ok(1..) = read else { return };
            let Ok(message) = serde_json::from_slice(&line) else {
                return tracing::error!("the other process of this edge says what is not understood");
            };
            if tell.send(message).await.is_err() {
                return;
            }
        }
    });
    let writing = tokio::spawn(async move {
        while let Some(message) = said.recv().await {
            // The types are ours, with string keys only: they always serialize.
            let mut line = serde_json::to_vec(&message).unwrap_or_default();
            line.push(b'\n');
            if writing.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    Ok(Talk { say, heard, writing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::Epoch;

    #[tokio::test]
    async fn sockets_and_words_reach_the_other_process() {
        let (old, new) = UnixStream::pair().unwrap();
        let sockets: Vec<Arc<TcpListener>> =
            (0..3).map(|_| Arc::new(TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let greeting = Greeting {
            protocol: PROTOCOL,
            edge: "edge".into(),
            state: "/var/lib/lockstep".into(),
            pairs: vec!["phones".into()],
            sockets: sockets.iter().map(|socket| socket.local_addr().unwrap()).collect(),
        };
        greet(&old, &greeting, &sockets).unwrap();
        let (heard, received) = hear(&new).unwrap();
        assert_eq!(heard, greeting);
        for (address, socket) in heard.sockets.iter().zip(received) {
            assert_eq!(TcpListener::from(socket).local_addr().unwrap(), *address);
        }
        let Talk { mut heard, say: _say, .. } = talk::<FromOld, FromNew>(old).unwrap();
        let Talk { say, writing, .. } = talk::<FromNew, FromOld>(new).unwrap();
        let word = FromNew::Told { pair: "phones".into(), word: Word::Cut(Side::A, Epoch(7)) };
        say.send(word.clone()).await.unwrap();
        assert_eq!(heard.recv().await, Some(word));
        drop(say);
        writing.await.unwrap();
    }

    #[test]
    fn a_greeting_that_is_cut_short_is_an_error() {
        let (old, new) = UnixStream::pair().unwrap();
        (&old).write_all(&[0, 0, 0, 9, b'{']).unwrap();
        drop(old);
        assert!(hear(&new).is_err());
    }
}
