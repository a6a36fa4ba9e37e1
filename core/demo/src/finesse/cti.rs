//! The session with a CTI server: one at a time, the next host of the list when it is lost.

use super::Server;
use crate::ged188::{self, FAILURE_CONF, HEARTBEAT_CONF, HEARTBEAT_REQ, OPEN_CONF, OPEN_REQ, SYSTEM_EVENT};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

/// The vendor's: three consecutive heartbeats.
const MISSES: u32 = 3;
/// How long a CTI server may take to open a session.
const OPEN: Duration = Duration::from_secs(2);
/// From one attempt to the next.
const PAUSE: Duration = Duration::from_millis(100);
const VERSION: u32 = 24;
/// No end of an idle session.
const NEVER: u32 = u32::MAX;

/// Tries host after host, for as long as the server runs.
pub(super) async fn keep(server: Rc<Server>) {
    for number in (0..server.options.cti.len()).cycle() {
        let why = match session(&server, number).await {
            Ok(why) | Err(why) => why,
        };
        if server.connected.take().is_some() {
            server.heartbeat.set(false);
            println!("CTI server {} is lost: {why}", server.options.cti[number]);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How the session has ended; an error when there was none.
async fn session(server: &Server, number: usize) -> Result<String, String> {
    let host = server.options.cti[number];
    let connected = timeout(OPEN, TcpStream::connect(host)).await.map_err(|_| "it does not answer".to_owned())?;
    let (reader, mut writer) = split(connected.map_err(|error| error.to_string())?);
    // Reading is done by somebody who is never interrupted in the middle of a message.
    let (sender, mut messages) = mpsc::channel(16);
    tokio::task::spawn_local(read_all(reader, sender));
    open(&mut writer, &mut messages).await?;
    server.connected.set(Some((number, crate::now())));
    server.heartbeat.set(true);
    println!("CTI server {host} has a session for us");

    let mut beat = interval(server.options.cti_heartbeat);
    let (mut invoke, mut missed) = (1, 0);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                None => return Ok("the connection has ended".to_owned()),
                Some((HEARTBEAT_CONF, _)) => {
                    missed = 0;
                    server.heartbeat.set(true);
                }
                Some((SYSTEM_EVENT, _)) => {}
                Some((kind, _)) => return Ok(format!("it says {kind}")),
            },
            _ = beat.tick() => {
                if missed > 0 {
                    server.heartbeat.set(false);
                }
                if missed == MISSES {
                    return Ok(format!("{MISSES} heartbeats without an answer"));
                }
                missed += 1;
                invoke += 1;
                ged188::write(&mut writer, HEARTBEAT_REQ, &[invoke]).await?;
            }
        }
    }
}

async fn open(writer: &mut WriteHalf<TcpStream>, messages: &mut mpsc::Receiver<Message>) -> Result<(), String> {
    // Invoke id, version, idle timeout, peripheral, services, three masks, and what is reserved.
    let request = [1, VERSION, NEVER, u32::MAX, 0, 0, 0, 0, 0, 0, 0];
    ged188::write(writer, OPEN_REQ, &request).await?;
    match timeout(OPEN, messages.recv()).await {
        Ok(Some((OPEN_CONF, _))) => Ok(()),
        Ok(Some((FAILURE_CONF, body))) => Err(format!("it refuses the session: {body:?}")),
        Ok(Some((kind, _))) => Err(format!("message {kind} instead of a session")),
        Ok(None) => Err("it closes the connection".to_owned()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

type Message = (u32, Vec<u8>);

async fn read_all(mut reader: ReadHalf<TcpStream>, sender: mpsc::Sender<Message>) {
    loop {
        tokio::select! {
            // The session is over, whoever has ended it.
            () = sender.closed() => return,
            message = ged188::read(&mut reader) => {
                let Ok(message) = message else { return };
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}
