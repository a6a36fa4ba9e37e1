//! An application that writes down what it is asked, and a client that asks.

use super::PATIENCE;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// What an application was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub fields: HeaderMap,
    /// Which of its connections it came by.
    pub connection: u64,
}

/// An application. `/slow` answers, and `/long` ends its answer, when it is let; `/echo` repeats the body; `/up` becomes an
/// echo of another protocol; `/break` breaks off; all else is answered with the method.
#[derive(Clone)]
pub struct Application {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    let_go: watch::Sender<bool>,
}

impl Application {
    pub async fn start() -> Application {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let application = Application { address, seen: Arc::default(), let_go: watch::Sender::new(false) };
        let serving = application.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let application = serving.clone();
                let service = service_fn(move |request| {
                    let application = application.clone();
                    async move {
                        application
                            .answer(request, connection)
                            .await
                            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
                    }
                });
                let serve = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serve.with_upgrades());
            }
        });
        application
    }

    /// What it was asked until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub async fn asked(&self, times: usize) {
        eventually("the application to be asked", || self.seen().len() >= times).await;
    }

    /// Lets what waits be answered.
    pub fn let_go(&self) {
        self.let_go.send_replace(true);
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        connection: u64,
    ) -> Option<Response<UnsyncBoxBody<Bytes, Infallible>>> {
        let (method, target) = (request.method().clone(), request.uri().to_string());
        let seen = Seen { method: method.clone(), target, fields: request.headers().clone(), connection };
        self.seen.lock().unwrap().push(seen);
        let mut let_go = self.let_go.subscribe();
        let answer = match request.uri().path() {
            "/break" => return None,
            "/slow" => {
                let _ = let_go.wait_for(|go| *go).await;
                whole("slow")
            }
            "/long" => {
                let parts = two_parts(let_go);
                Response::new(StreamBody::new(parts).boxed_unsync())
            }
            "/echo" => {
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                whole(body)
            }
            "/up" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut stream = TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..length]).await.unwrap();
                    }
                });
                let mut answer = whole("");
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
                answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
                answer
            }
            _ => {
                let mut answer = whole(method.to_string());
                answer.headers_mut().insert("connection", "x-private".parse().unwrap());
                answer.headers_mut().insert("x-private", "1".parse().unwrap());
                answer.headers_mut().insert("set-cookie", "a=1".parse().unwrap());
                answer
            }
        };
        Some(answer)
    }
}

fn whole(text: impl Into<Bytes>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// A first part at once, a second one when it is let.
fn two_parts(
    mut let_go: watch::Receiver<bool>,
) -> impl tokio_stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let _ = parts.send(Ok(Frame::data(Bytes::from_static(b"first")))).await;
        let _ = let_go.wait_for(|go| *go).await;
        let _ = parts.send(Ok(Frame::data(Bytes::from_static(b"second")))).await;
    });
    tokio_stream::wrappers::ReceiverStream::new(stream)
}

/// A client with one connection.
pub struct Client {
    requests: SendRequest<Full<Bytes>>,
    host: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: String,
}

impl Answer {
    /// Where it leads.
    pub fn location(&self) -> &str {
        self.fields.get("location").map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap();
        Client::over(stream, address).await
    }

    pub async fn over<S>(stream: S, host: &str) -> Client
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client { requests, host: host.to_owned() }
    }

    /// Asks; the answer's body may be still under way.
    pub async fn begin(&mut self, request: http::request::Builder, body: &str) -> hyper::Result<Response<Incoming>> {
        self.requests.ready().await?;
        let request = request.header("host", &self.host).body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        timeout(PATIENCE, self.requests.send_request(request)).await.expect("there is an answer, or an end")
    }

    pub async fn ask(&mut self, request: http::request::Builder, body: &str) -> Answer {
        let (head, body) = self.begin(request, body).await.unwrap().into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        Answer { status: head.status.as_u16(), fields: head.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask(Request::get(target), "").await
    }
}

/// One request on a connection of its own.
pub async fn get(address: &str, target: &str) -> Answer {
    Client::connect(address).await.get(target).await
}

/// Waits, without keeping others from their work, until something is so.
pub async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
