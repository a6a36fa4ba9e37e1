//! An XMPP stream over TCP (RFC 6120), encrypted from the start, on the way, or not.

use super::element::{Builder, Built, Element, element, escaped};
use super::wire::{Place, STREAMS, TLS, stream_error, wrong};
use crate::probe::connect::{self, Stream};
use crate::probe::judge::{self, Finding};
use crate::probe::session::Ended;
use lockstep_policy::action::Tls;
use lockstep_policy::event::Verdict;
use quick_xml::NsReader;
use quick_xml::events::Event;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, Take};

/// What is read for one stanza, at most.
const STANZA_MAX: u64 = 128 * 1024;

pub(super) struct Tcp {
    reader: NsReader<BufReader<Take<Stream>>>,
    builder: Builder,
    buffer: Vec<u8>,
    domain: String,
    address: SocketAddr,
    encrypted: bool,
}

impl Tcp {
    /// Opens a stream; gives the server's features.
    pub async fn open(place: &Place<'_>) -> Result<(Tcp, Element), Ended> {
        let stream = connect::open(place.trust, place.address, place.tls, &place.name).await.map_err(Ended::Gone)?;
        let (tcp, features) = Tcp::begin(stream, place, place.tls != Tls::Off).await?;
        match features.child("starttls", TLS) {
            Some(offer) if !tcp.encrypted && (place.log_in || offer.child("required", TLS).is_some()) => {
                tcp.encrypt(place).await
            }
            _ => Ok((tcp, features)),
        }
    }

    async fn begin(stream: Stream, place: &Place<'_>, encrypted: bool) -> Result<(Tcp, Element), Ended> {
        let mut tcp = Tcp {
            reader: NsReader::from_reader(BufReader::new(stream.take(STANZA_MAX))),
            builder: Builder::default(),
            buffer: Vec::new(),
            domain: place.domain.clone(),
            address: place.address,
            encrypted,
        };
        let features = tcp.greet().await?;
        Ok((tcp, features))
    }

    /// STARTTLS (RFC 6120, 5). Where the probe asks for no TLS, whoever answers is believed.
    async fn encrypt(mut self, place: &Place<'_>) -> Result<(Tcp, Element), Ended> {
        self.send(&format!("<starttls xmlns='{TLS}'/>")).await?;
        let answer = self.next().await?;
        if !answer.is("proceed", TLS) {
            return Err(wrong(format!("the server requires TLS and answers {}", answer.name)));
        }
        let buffered = self.reader.into_inner();
        if !buffered.buffer().is_empty() {
            return Err(wrong("the server goes on in the clear after it has agreed to TLS"));
        }
        let tls = if place.tls == Tls::Off { Tls::Unverified } else { place.tls };
        let stream = buffered.into_inner().into_inner();
        let stream = connect::secure(place.trust, stream, tls, &place.name).await.map_err(Ended::Gone)?;
        Tcp::begin(stream, place, true).await
    }

    /// A new stream on the same connection, after a log-in.
    pub async fn restart(self) -> Result<(Tcp, Element), Ended> {
        let reader = NsReader::from_reader(self.reader.into_inner());
        let mut tcp = Tcp { reader, builder: Builder::default(), ..self };
        let features = tcp.greet().await?;
        Ok((tcp, features))
    }

    async fn greet(&mut self) -> Result<Element, Ended> {
        let domain = escaped(&self.domain);
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en' \
             xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
        ))
        .await?;
        self.opened().await?;
        let features = self.next().await?;
        match &features {
            error if error.is("error", STREAMS) => Err(Ended::Answered(stream_error(error))),
            features if features.is("features", STREAMS) => Ok(features.clone()),
            other => Err(wrong(format!("not XMPP: {} instead of features", other.name))),
        }
    }

    /// Waits for the beginning of the server's stream.
    async fn opened(&mut self) -> Result<(), Ended> {
        self.reader.get_mut().get_mut().set_limit(STANZA_MAX);
        loop {
            self.buffer.clear();
            let (namespace, event) =
                self.reader.read_resolved_event_into_async(&mut self.buffer).await.map_err(|error| unread(&error))?;
            match event {
                Event::Decl(_) => {}
                Event::Text(text) if text.xml10_content().trim().is_empty() => {}
                Event::Start(start) => {
                    let stream = element(&namespace, &start).map_err(|why| wrong(format!("not XMPP: {why}")))?;
                    return match stream.is("stream", STREAMS) {
                        true => Ok(()),
                        false => Err(wrong(format!("not XMPP: it begins with {}", stream.name))),
                    };
                }
                Event::Eof => return Err(self.ended()),
                _ => return Err(wrong("not XMPP: no stream begins")),
            }
        }
    }

    pub async fn send(&mut self, text: &str) -> Result<(), Ended> {
        let gone = |error: std::io::Error| Ended::Gone(judge::broken(&error));
        let stream = self.reader.get_mut().get_mut().get_mut();
        stream.write_all(text.as_bytes()).await.map_err(gone)?;
        stream.flush().await.map_err(gone)
    }

    pub async fn next(&mut self) -> Result<Element, Ended> {
        self.reader.get_mut().get_mut().set_limit(STANZA_MAX);
        loop {
            self.buffer.clear();
            let (namespace, event) =
                self.reader.read_resolved_event_into_async(&mut self.buffer).await.map_err(|error| unread(&error))?;
            if matches!(event, Event::Eof) {
                return Err(self.ended());
            }
            match self.builder.take(&namespace, &event).map_err(|why| wrong(format!("not XMPP: {why}")))? {
                Built::More => {}
                Built::Whole(element) => return Ok(element),
                Built::End => {
                    let why = Finding::new(Verdict::Refused, 0, "the server has ended the stream");
                    return Err(Ended::Gone(why));
                }
            }
        }
    }

    /// Nothing more comes.
    fn ended(&self) -> Ended {
        if self.reader.get_ref().get_ref().limit() == 0 {
            return wrong(format!("a stanza of more than {STANZA_MAX} bytes"));
        }
        Ended::Gone(Finding::new(Verdict::Refused, 0, "the server has closed the connection"))
    }

    pub fn is_unheard(&self) -> bool {
        self.encrypted || self.address.ip().is_loopback()
    }

    pub async fn close(mut self) {
        if self.send("</stream:stream>").await.is_ok() {
            // It is over either way.
            let _ = self.reader.get_mut().get_mut().get_mut().shutdown().await;
        }
    }
}

fn unread(error: &quick_xml::Error) -> Ended {
    match error {
        quick_xml::Error::Io(error) => Ended::Gone(judge::broken(error)),
        error => wrong(format!("not XMPP: {error}")),
    }
}
