//! A simulated CTI server that speaks GED-188, one of two of which one is active.
//!
//! It is strict: a field too few, a length that lies, a tag that it does not know, a heartbeat before the session is
//! open, each ends the connection, and its log says why. The standby refuses sessions with status 92, as the vendor's
//! does; when an active one becomes the standby, its sessions are told so and ended. Its code shares nothing with that
//! of the probe that it is for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

/// What `simulate ged188` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where it listens; vendors' use port 42027 and 43027
    #[arg(long)]
    pub listen: SocketAddr,
    /// What it is at its start; SIGUSR1 makes it the other
    #[arg(long, value_enum, default_value = "active")]
    pub role: CtiRole,
    /// A file with the word `active` or `standby`: what it is from now on, whenever that changes
    #[arg(long)]
    pub role_file: Option<PathBuf>,
    /// The client id that a session must have; any when left out
    #[arg(long)]
    pub client: Option<String>,
    /// The password that goes with it
    #[arg(long, requires = "client")]
    pub password: Option<String>,
}

/// Which of the two CTI servers it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CtiRole {
    /// Sessions are opened.
    Active,
    /// Sessions are refused with status 92.
    Standby,
}

/// Sessions at once.
const SESSIONS: usize = 256;

/// How often the role's file is read.
const LOOK: Duration = Duration::from_millis(20);

/// The longest message (GED-188, MAX_MSG).
const BODY_MAX: usize = 4096;

pub(crate) const FAILURE_CONF: u32 = 1;
const FAILURE_EVENT: u32 = 2;
pub(crate) const OPEN_REQ: u32 = 3;
pub(crate) const OPEN_CONF: u32 = 4;
pub(crate) const HEARTBEAT_REQ: u32 = 5;
pub(crate) const HEARTBEAT_CONF: u32 = 6;
const CLOSE_REQ: u32 = 7;
const CLOSE_CONF: u32 = 8;
pub(crate) const SYSTEM_EVENT: u32 = 31;

/// Statuses of refusals.
const INVALID_VERSION: u32 = 1;
const UNSPECIFIED_FAILURE: u32 = 17;
const NOT_MASTER: u32 = 92;

/// The least idle timeout that a server takes, in seconds; `u32::MAX` is none at all.
const IDLE_LEAST: u32 = 20;

/// Runs until the process is told to stop.
///
/// # Errors
/// It cannot listen.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(live(options))
}

async fn live(options: &Options) -> anyhow::Result<()> {
    let (mut stop, mut swap) = (signal(SignalKind::terminate())?, signal(SignalKind::user_defined1())?);
    let listener = TcpListener::bind(options.listen).await?;
    let (role, _) = watch::channel(options.role);
    let places = Arc::new(Semaphore::new(SESSIONS));
    let options = Arc::new(options.clone());
    let mut look = tokio::time::interval(LOOK);
    let mut read = None;
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            _ = swap.recv() => role.send_modify(|role| *role = role.other()),
            _ = look.tick() => {
                let said = options.role_file.as_deref().and_then(role_in);
                if said.is_some() && said != read {
                    read = said;
                    role.send_if_modified(|role| said.is_some_and(|said| std::mem::replace(role, said) != said));
                }
            }
            accepted = listener.accept() => {
                let Ok((stream, from)) = accepted else { continue };
                // One more is closed at once.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (options, role) = (Arc::clone(&options), role.subscribe());
                tokio::spawn(async move {
                    if let Err(why) = serve(stream, &options, role).await {
                        println!("{from}: {why}");
                    }
                    drop(place);
                });
            }
        }
    }
}

impl CtiRole {
    fn other(self) -> CtiRole {
        match self {
            CtiRole::Active => CtiRole::Standby,
            CtiRole::Standby => CtiRole::Active,
        }
    }
}

fn role_in(file: &Path) -> Option<CtiRole> {
    match std::fs::read_to_string(file).ok()?.trim() {
        "active" => Some(CtiRole::Active),
        "standby" => Some(CtiRole::Standby),
        _ => None,
    }
}

/// One connection. `Ok`: it was ended as the protocol has it.
async fn serve(mut stream: TcpStream, options: &Options, mut role: watch::Receiver<CtiRole>) -> Result<(), String> {
    let (kind, body) = read(&mut stream).await?;
    if kind != OPEN_REQ {
        return Err(format!("message {kind} before OPEN_REQ"));
    }
    let open = Open::read(&body)?;
    let refusal = match *role.borrow_and_update() {
        CtiRole::Standby => Some(NOT_MASTER),
        CtiRole::Active => open.refusal(options),
    };
    if let Some(status) = refusal {
        return write(&mut stream, FAILURE_CONF, &[open.invoke, status]).await;
    }
    // Services granted, monitor, state of the peripheral gateway, time; then three numbers of two bytes: the peripheral
    // is online, of the type of an agent, and nobody is logged in.
    write(&mut stream, OPEN_CONF, &[open.invoke, open.services, 0, 0, now(), 0x0001_0011, 0]).await?;
    system_event(&mut stream).await?;
    let idle = if open.idle == u32::MAX { Duration::MAX } else { Duration::from_secs(open.idle.into()) };
    loop {
        let (kind, body) = tokio::select! {
            message = tokio::time::timeout(idle, read(&mut stream)) => match message {
                Ok(message) => message?,
                Err(_) => return write(&mut stream, CLOSE_REQ, &[0, UNSPECIFIED_FAILURE]).await,
            },
            () = is_standby(&mut role) => {
                return write(&mut stream, FAILURE_EVENT, &[NOT_MASTER]).await;
            }
        };
        match (kind, numbers(&body)?.as_slice()) {
            (HEARTBEAT_REQ, [invoke]) => {
                // Something else is said first, now and then: a client must not take it for its answer.
                system_event(&mut stream).await?;
                write(&mut stream, HEARTBEAT_CONF, &[*invoke]).await?;
            }
            (CLOSE_REQ, [invoke, _status]) => return write(&mut stream, CLOSE_CONF, &[*invoke]).await,
            (kind, fields) => return Err(format!("message {kind} with {} fields in a session", fields.len())),
        }
    }
}

/// Waits until the server is the standby.
async fn is_standby(role: &mut watch::Receiver<CtiRole>) {
    // An error: the process is about to end, and its connections with it.
    drop(role.wait_for(|role| *role == CtiRole::Standby).await);
}

/// `OPEN_REQ`.
#[derive(Debug, PartialEq, Eq)]
struct Open {
    invoke: u32,
    version: u32,
    idle: u32,
    services: u32,
    client: Option<String>,
    password: Option<String>,
}

impl Open {
    fn read(body: &[u8]) -> Result<Open, String> {
        let (fixed, mut tagged) = body.split_at_checked(44).ok_or("OPEN_REQ is too short")?;
        let [invoke, version, idle, _peripheral, services, _, _, _, reserved @ ..] = &numbers(fixed)?[..] else {
            return Err("OPEN_REQ has too few numbers".to_owned());
        };
        if reserved != [0, 0, 0] {
            return Err("what is reserved in OPEN_REQ is not zero".to_owned());
        }
        let mut open =
            Open { invoke: *invoke, version: *version, idle: *idle, services: *services, client: None, password: None };
        let wide = *version >= 18;
        while !tagged.is_empty() {
            let tag = number(&mut tagged, wide)?;
            let length = usize::from(number(&mut tagged, wide)?);
            let (text, rest) = tagged.split_at_checked(length).ok_or("a field is longer than its message")?;
            tagged = rest;
            let text = text.strip_suffix(b"\0").ok_or("a text does not end with zero")?;
            let text = String::from_utf8(text.to_vec()).map_err(|_| "a text is none")?;
            let place = match tag {
                1 => &mut open.client,
                2 => &mut open.password,
                tag => return Err(format!("the tag {tag} in OPEN_REQ")),
            };
            if text.len() > 63 || place.replace(text).is_some() {
                return Err(format!("the field {tag} is too long, or there twice"));
            }
        }
        Ok(open)
    }

    fn refusal(&self, options: &Options) -> Option<u32> {
        if !(10..=24).contains(&self.version) {
            return Some(INVALID_VERSION);
        }
        let unknown = options.client.is_some() && (self.client != options.client || self.password != options.password);
        (unknown || self.idle < IDLE_LEAST).then_some(UNSPECIFIED_FAILURE)
    }
}

/// A tag or a length, of one byte or of two.
fn number(from: &mut &[u8], wide: bool) -> Result<u16, String> {
    let (bytes, rest) = from.split_at_checked(if wide { 2 } else { 1 }).ok_or("a field is cut")?;
    *from = rest;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
}

fn numbers(body: &[u8]) -> Result<Vec<u32>, String> {
    let (numbers, rest) = body.as_chunks::<4>();
    if rest.is_empty() {
        Ok(numbers.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect())
    } else {
        Err(format!("{} bytes are no row of numbers", body.len()))
    }
}

/// One message: what it is, and its body.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(u32, Vec<u8>), String> {
    let (length, kind) = async { std::io::Result::Ok((stream.read_u32().await?, stream.read_u32().await?)) }
        .await
        .map_err(|error| error.to_string())?;
    let length = usize::try_from(length).ok().filter(|length| *length <= BODY_MAX);
    let mut body = vec![0; length.ok_or("a message that is too long")?];
    stream.read_exact(&mut body).await.map_err(|error| error.to_string())?;
    Ok((kind, body))
}

pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), kind: u32, numbers: &[u32]) -> Result<(), String> {
    // OPEN_CONF ends with a number of two bytes.
    let end = if kind == OPEN_CONF { numbers.len() * 4 - 2 } else { numbers.len() * 4 };
    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).take(end).collect();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let message = [&length.to_be_bytes()[..], &kind.to_be_bytes(), &body].concat();
    stream.write_all(&message).await.map_err(|error| error.to_string())
}

/// State of the peripheral gateway, time, which event, its three arguments, and what it belongs to.
async fn system_event(stream: &mut TcpStream) -> Result<(), String> {
    write(stream, SYSTEM_EVENT, &[0, now(), 1, 0, 0, 0, 0]).await
}

/// Seconds since 1970; the protocol gives them 32 bits.
fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the edge's probe sends, byte by byte: its own tests have the same.
    fn request(version: u8, tagged: &[u8]) -> Vec<u8> {
        let head = [0, 0, 0, 7, 0, 0, 0, version, 0, 0, 0, 21, 255, 255, 255, 255, 0, 0, 0, 4];
        [&head[..], &[0; 24], tagged].concat()
    }

    #[test]
    fn a_request_is_understood_in_old_and_new_versions() {
        let old = Open::read(&request(14, b"\x01\x05edge\0\x02\x03pw\0")).unwrap();
        let new = Open::read(&request(18, b"\0\x01\0\x05edge\0\0\x02\0\x03pw\0")).unwrap();
        let expected = Open {
            invoke: 7,
            version: 14,
            idle: 21,
            services: 4,
            client: Some("edge".into()),
            password: Some("pw".into()),
        };
        assert_eq!(old, expected);
        assert_eq!(new, Open { version: 18, ..expected });
    }

    #[test]
    fn it_is_strict() {
        for tagged in [&b"\x01\x09edge\0"[..], b"\x01\x04edge", b"\x01", b"\x07\x01\0", b"\x01\x02a\0\x01\x02a\0"] {
            assert!(Open::read(&request(14, tagged)).is_err(), "{tagged:?}");
        }
        assert!(Open::read(&[0; 43]).is_err());
        let mut reserved = request(14, b"");
        reserved[43] = 1;
        assert!(Open::read(&reserved).is_err());
    }

    #[test]
    fn short_timeouts_wrong_versions_and_strangers_are_refused() {
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            role: CtiRole::Active,
            role_file: None,
            client: Some("edge".into()),
            password: Some("pw".into()),
        };
        let read = |version, tagged: &[u8]| Open::read(&request(version, tagged)).unwrap();
        assert_eq!(read(14, b"\x01\x05edge\0\x02\x03pw\0").refusal(&options), None);
        assert_eq!(read(14, b"\x01\x05edge\0\x02\x03no\0").refusal(&options), Some(17));
        assert_eq!(read(9, b"").refusal(&options), Some(1));
        let open = Options { client: None, password: None, ..options };
        assert_eq!(Open { idle: 19, ..read(14, b"") }.refusal(&open), Some(17));
        assert_eq!(Open { idle: u32::MAX, ..read(14, b"") }.refusal(&open), None);
    }
}
