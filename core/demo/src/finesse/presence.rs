//! The user `finesse` at the server's own Notification Service: he is there for as long as the application is.
//!
//! A client of a few lines, for a server that is known: it looks for words in the stream, and bounds nothing.

use super::{Server, Word};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const USER: &str = "finesse";
/// How long each step of the log-in may take.
const STEP: Duration = Duration::from_secs(5);
/// From one attempt, or one look at the control file, to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Logs in, and again when the session has ended, for as long as the server runs.
pub(super) async fn keep(server: Rc<Server>) {
    let (Some(at), Some(password)) = (server.options.notification, server.options.password.as_deref()) else { return };
    loop {
        if server.word() != Word::Absent
            && let Ok(stream) = log_in(at, &server.options.domain, password).await
        {
            println!("{USER} is present at {at}");
            stay(stream, &server).await;
            println!("{USER} is not present at {at} any more");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn log_in(at: SocketAddr, domain: &str, password: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
    let open = format!(
        "<stream:stream to='{domain}' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    );
    let plain = STANDARD.encode(format!("\0{USER}\0{password}"));
    say(&mut stream, &open, "</stream:features>").await?;
    let log_in = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
    say(&mut stream, &log_in, "<success").await?;
    say(&mut stream, &open, "</stream:features>").await?;
    let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    say(&mut stream, bind, "</iq>").await?;
    stream.write_all(b"<presence/>").await.map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Sends something, and reads until the answer has that text.
async fn say(stream: &mut TcpStream, text: &str, wanted: &str) -> Result<(), String> {
    let asked = async {
        stream.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(wanted) {
            if stream.read_buf(&mut answer).await.map_err(|error| error.to_string())? == 0 {
                return Err("the stream has ended".to_owned());
            }
        }
        Ok(())
    };
    timeout(STEP, asked).await.unwrap_or_else(|_| Err(format!("no {wanted}")))
}

/// Until the server ends the session, or the word is to be absent.
async fn stay(mut stream: TcpStream, server: &Server) {
    let mut ignored = [0; 4096];
    loop {
        tokio::select! {
            read = stream.read(&mut ignored) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            () = tokio::time::sleep(PAUSE) => {
                if server.word() == Word::Absent {
                    let _ = stream.write_all(b"<presence type='unavailable'/></stream:stream>").await;
                    return;
                }
            }
        }
    }
}
