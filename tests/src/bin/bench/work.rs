//! What is asked of the contenders.

/// What is spoken with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// HTTP/1.1 in the clear.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    H2,
    /// Bytes that nobody looks into.
    Stream,
}

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name in tables.
    pub name: &'static str,
    pub way: Way,
    /// What is fetched.
    pub path: &'static str,
    /// Bytes that come with each request, as a POST; 0: it is a GET.
    pub body: usize,
    /// Each request on a connection of its own.
    pub fresh: bool,
    /// Requests a second, where a rate is given; 0: it is measured at saturation only.
    pub rate: u32,
    /// Clients at once, where they keep their connections.
    pub clients: u32,
    /// The promise: processor time per request at that rate, ÷ HAProxy's, at most.
    pub cost: Option<f64>,
    /// The promise: requests a second at saturation with one worker, ÷ HAProxy's, at least.
    pub throughput: Option<f64>,
}

pub const SMALL: &str = "/2";
pub const MIDDLE: &str = "/16k";
pub const LARGE: &str = "/1m";
/// For streams.
pub const HUGE: &str = "/16m";

const BASE: Work = Work {
    name: "",
    way: Way::Plain,
    path: SMALL,
    body: 0,
    fresh: false,
    rate: 0,
    clients: 50,
    cost: None,
    throughput: None,
};

/// All of it.
pub const WORKS: [Work; 12] = [
    Work { name: "2 B, keep-alive", rate: 3_000, cost: Some(1.3), throughput: Some(0.65), ..BASE },
    Work { name: "POST of 500 B, keep-alive", body: 500, rate: 3_000, ..BASE },
    Work { name: "16 KB, keep-alive", path: MIDDLE, rate: 2_000, ..BASE },
    Work { name: "1 MB, keep-alive", path: LARGE, rate: 150, clients: 30, cost: Some(0.9), ..BASE },
    Work { name: "2 B, new connection each", fresh: true, rate: 1_500, cost: Some(1.3), ..BASE },
    Work { name: "16 KB, new connection each", path: MIDDLE, fresh: true, rate: 1_000, ..BASE },
    Work { name: "1 MB, new connection each", path: LARGE, fresh: true, rate: 150, clients: 30, ..BASE },
    Work { name: "TLS, 2 B, keep-alive", way: Way::Tls, rate: 3_000, ..BASE },
    Work { name: "TLS, 16 KB, keep-alive", way: Way::Tls, path: MIDDLE, rate: 1_500, ..BASE },
    Work { name: "TLS, 2 B, new connection each", way: Way::Tls, fresh: true, rate: 300, cost: Some(0.6), ..BASE },
    Work { name: "HTTP/2 over TLS, 2 B", way: Way::H2, rate: 3_000, cost: Some(1.5), ..BASE },
    Work { name: "TCP stream, 16 MB each", way: Way::Stream, path: HUGE, clients: 4, cost: Some(1.0), ..BASE },
];

impl Work {
    /// What the clients say: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.way {
            Way::Plain | Way::Stream => "http",
            Way::Tls | Way::H2 => "https",
        }
    }
}
