//! Whom a TLS client wants to reach: the server name of its ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), read
//! from the first bytes of a connection that nobody here decrypts.

use std::collections::HashSet;

/// What a client may send before its ClientHello is whole, record headers included.
pub(super) const BYTES_MAX: usize = 32 * 1024;
/// The longest ClientHello.
const MESSAGE_MAX: usize = 16 * 1024;
/// RFC 8446 section 5.1: the longest record.
const RECORD_MAX: usize = 1 << 14;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// A fatal alert (RFC 8446 section 6): the name is not known here.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// A fatal alert: what came is no ClientHello.
pub(super) const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// What came is no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A ClientHello while it comes, in however many pieces and records.
#[derive(Debug, Default)]
pub(super) struct Hello {
    /// All that has come.
    bytes: Vec<u8>,
    /// What of it has been looked at: whole records.
    read: usize,
    /// The handshake message, out of its records.
    message: Vec<u8>,
}

impl Hello {
    /// Takes more bytes. The name that the client asks for, in lower case, or that it asks for none; `None`: the message is not whole.
    pub(super) fn feed(&mut self, more: &[u8]) -> Result<Option<Option<String>>, Malformed> {
        self.bytes.extend_from_slice(more);
        loop {
            if let Some(length) = self.length()?
                && let Some(body) = self.message.get(4..4 + length)
            {
                return server_name(body).map(Some);
            }
            if !self.next_record()? {
                return if self.bytes.len() < BYTES_MAX { Ok(None) } else { Err(Malformed("it is too long")) };
            }
        }
    }

    /// All bytes that have come, which the server is to have.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The message's length, once its first bytes are here.
    fn length(&self) -> Result<Option<usize>, Malformed> {
        match self.message.first() {
            None => return Ok(None),
            Some(&CLIENT_HELLO) => {}
            Some(_) => return Err(Malformed("its first message is no ClientHello")),
        }
        let Some(&[_, high, middle, low]) = self.message.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if length > MESSAGE_MAX { Err(Malformed("its ClientHello is too long")) } else { Ok(Some(length)) }
    }

    /// Takes a record's content, if it is here.
    fn next_record(&mut self) -> Result<bool, Malformed> {
        let rest = &self.bytes[self.read..];
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE_RECORD)
            || rest.get(1).is_some_and(|version| *version != 3)
        {
            return Err(Malformed("it is no TLS"));
        }
        let Some(&[_, _, _, high, low]) = rest.first_chunk() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_MAX {
            return Err(Malformed("a record has an impossible length"));
        }
        let Some(content) = rest.get(5..5 + length) else { return Ok(false) };
        self.message.extend_from_slice(content);
        self.read += 5 + length;
        Ok(true)
    }
}

/// Bytes from which fields are taken.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("its ClientHello is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Malformed> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What has its length before it, in so many bytes.
    fn sized(&mut self, bytes: usize) -> Result<Fields<'b>, Malformed> {
        let length = self.number(bytes)?;
        Ok(Fields(self.take(length)?))
    }
}

fn server_name(body: &[u8]) -> Result<Option<String>, Malformed> {
    let mut fields = Fields(body);
    fields.take(2 + 32)?;
    let session = fields.sized(1)?;
    let suites = fields.sized(2)?;
    let compressions = fields.sized(1)?;
    if session.0.len() > 32 || suites.0.is_empty() || suites.0.len() % 2 != 0 || compressions.0.is_empty() {
        return Err(Malformed("its ClientHello has a field of an impossible length"));
    }
    // Before TLS 1.2 there need be no extensions.
    if fields.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = fields.sized(2)?;
    if !fields.0.is_empty() {
        return Err(Malformed("its ClientHello does not end where it should"));
    }
    let (mut seen, mut name) = (HashSet::new(), None);
    while !extensions.0.is_empty() {
        let kind = u16::from_be_bytes([extensions.take(1)?[0], extensions.take(1)?[0]]);
        let content = extensions.sized(2)?;
        if !seen.insert(kind) {
            return Err(Malformed("its ClientHello has an extension twice"));
        }
        if kind == SERVER_NAME {
            name = Some(host_name(content)?);
        }
    }
    Ok(name)
}

/// RFC 6066 section 3: one name, of the one kind that there is.
fn host_name(mut extension: Fields<'_>) -> Result<String, Malformed> {
    let mut list = extension.sized(2)?;
    let kind = list.number(1)?;
    let name = list.sized(2)?.0;
    if !extension.0.is_empty() || !list.0.is_empty() || kind != usize::from(HOST_NAME) {
        return Err(Malformed("it does not name one host"));
    }
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    if name.is_empty() || name.len() > 255 || !name.iter().all(letters) {
        return Err(Malformed("what it names is no host"));
    }
    Ok(String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// The names that a listener takes.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Host names, and `*.domain` for all names that are one label longer than the domain, as in certificates.
    pub(super) fn new(names: &[String]) -> Names {
        Names(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the name, in lower case, is one of them.
    pub(super) fn take(&self, name: &str) -> bool {
        let of_domain = || {
            name.split_once('.')
                .is_some_and(|(label, domain)| !label.is_empty() && self.0.contains(&format!("*.{domain}")))
        };
        self.0.contains(name) || of_domain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// The first flight of a client that nobody here wrote.
    fn flight(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn message(bytes: &[u8]) -> Vec<u8> {
        bytes[5..].to_vec()
    }

    /// The same message in records of so many bytes.
    fn in_records(message: &[u8], size: usize) -> Vec<u8> {
        let record =
            |content: &[u8]| [&[22, 3, 1], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn whole(bytes: &[u8]) -> Result<Option<Option<String>>, Malformed> {
        Hello::default().feed(bytes)
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let length = |more: usize| u16::try_from(name.len() + more).unwrap().to_be_bytes();
        extension(0, &[&length(3)[..], &[0], &length(0), name].concat())
    }

    /// A record with a ClientHello that ends so.
    fn hello(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
        if let Some(extensions) = extensions {
            body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
            body.extend(extensions);
        }
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        in_records(&[&[1], &length[1..], &body[..]].concat(), RECORD_MAX)
    }

    fn named(name: &str) -> Result<Option<Option<String>>, Malformed> {
        Ok(Some(Some(name.to_owned())))
    }

    #[test]
    fn a_name_is_found_however_the_bytes_come() {
        let bytes = flight("Agents.example");
        assert_eq!(whole(&bytes), named("agents.example"));
        assert_eq!(whole(&[&bytes[..], b"more"].concat()), named("agents.example"));
        for size in [1, 2, 3, 5, 64, 300] {
            let records = in_records(&message(&bytes), size);
            let mut hello = Hello::default();
            let (last, rest) = records.split_last().unwrap();
            for byte in rest {
                assert_eq!(hello.feed(&[*byte]), Ok(None));
            }
            assert_eq!(hello.feed(&[*last]), named("agents.example"), "records of {size}");
            assert_eq!(hello.into_bytes(), records);
        }
    }

    #[test]
    fn a_client_may_name_nobody() {
        assert_eq!(whole(&flight("10.0.0.1")), Ok(Some(None)), "an address is no name");
        assert_eq!(whole(&hello(None)), Ok(Some(None)));
        assert_eq!(whole(&hello(Some(&[]))), Ok(Some(None)));
        assert_eq!(whole(&hello(Some(&[extension(0x0a0a, b""), sni(b"x.y")].concat()))), named("x.y"));
    }

    #[test]
    fn what_is_no_client_hello_is_refused() {
        let twice = [sni(b"a.b"), sni(b"a.b")].concat();
        let two_names = extension(0, &[0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b']);
        let long = [&[22, 3, 1, 0, 4, 1], &u32::try_from(MESSAGE_MAX + 1).unwrap().to_be_bytes()[1..]].concat();
        let bad: Vec<(&str, Vec<u8>)> = vec![
            ("HTTP", b"GET / HTTP/1.1\r\n".into()),
            ("SSL 2", vec![0x80, 0x2e, 1]),
            ("an alert", vec![21, 3, 3, 0, 2, 2, 40]),
            ("a version that is none", vec![22, 2]),
            ("an empty record", vec![22, 3, 1, 0, 0]),
            ("a record beyond the limit", vec![22, 3, 1, 0x40, 1]),
            ("another message", vec![22, 3, 1, 0, 4, 2, 0, 0, 0]),
            ("a message beyond the limit", long),
            ("an empty message", vec![22, 3, 1, 0, 4, 1, 0, 0, 0]),
            ("an extension twice", hello(Some(&twice))),
            ("two names", hello(Some(&two_names))),
            ("an empty name", hello(Some(&sni(b"")))),
            ("a name with a zero", hello(Some(&sni(b"a\0b")))),
            ("a name beyond ASCII", hello(Some(&sni("ä.example".as_bytes())))),
            ("a name too long", hello(Some(&sni(&[b'a'; 256])))),
            ("a name of another kind", hello(Some(&extension(0, &[0, 4, 1, 0, 1, b'a'])))),
            ("an empty list", hello(Some(&extension(0, &[0, 0])))),
            ("no list", hello(Some(&extension(0, &[])))),
            ("more behind the list", hello(Some(&extension(0, &[0, 4, 0, 0, 1, b'a', 9])))),
            ("half an extension", hello(Some(&[0, 0, 0]))),
        ];
        for (what, bytes) in bad {
            assert!(whole(&bytes).is_err(), "{what}: {:?}", whole(&bytes));
        }
        let mut more = message(&hello(Some(&[])));
        more.push(9);
        more[3] += 1;
        assert!(whole(&in_records(&more, 100)).is_err(), "bytes behind the extensions");
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut hello = Hello::default();
        assert_eq!(hello.feed(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xff]), Ok(None));
        let drop = [22, 3, 1, 0, 1, 0];
        let taken = (0..BYTES_MAX).take_while(|_| hello.feed(&drop).is_ok()).count();
        assert!(taken * drop.len() < BYTES_MAX + drop.len(), "{taken}");
    }

    #[test]
    fn names_are_taken_as_certificates_take_them() {
        let names = Names::new(&["one.example".into(), "*.Two.example".into()]);
        let taken = ["one.example", "a.two.example"];
        let others =
            ["two.example", "a.b.two.example", "x.one.example", ".two.example", "*.one.example", "example", ""];
        assert!(taken.iter().all(|name| names.take(name)));
        assert!(!others.iter().any(|name| names.take(name)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(mut at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), cut in any::<prop::sample::Index>()) {
            let mut bytes = hello(Some(&[sni(b"a.example"), extension(43, &[2, 3, 4])].concat()));
            for (index, byte) in at.drain(..) {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let _ = whole(&bytes[..cut.index(bytes.len())]);
            let _ = whole(&bytes);
        }
    }

    #[test]
    fn fuzz_client_hello() {
        let split = [in_records(&message(&flight("agents.example")), 3), in_records(&message(&flight("a.b")), 100)];
        let seeds = [
            flight("agents.example"),
            hello(Some(&[sni(b"x.y"), extension(43, &[2, 3, 4])].concat())),
            hello(None),
            split.concat(),
        ];
        let seeds: Vec<&[u8]> = seeds.iter().chain(&split).map(Vec::as_slice).collect();
        lockstep_fuzz::run("client_hello", &seeds, &[&[22, 3, 1], &sni(b"a.b"), &[0, 0]], |bytes| {
            // However the bytes come, the same is read in them.
            let mut hello = Hello::default();
            let mut at = 0;
            let in_parts = bytes.chunks(7).find_map(|part| {
                at += part.len();
                hello.feed(part).transpose()
            });
            let at_once = whole(&bytes[..at]).transpose();
            assert_eq!(
                at_once.as_ref().map(Result::is_ok),
                in_parts.as_ref().map(Result::is_ok),
                "{at_once:?} {in_parts:?}"
            );
            if let (Some(Ok(one)), Some(Ok(other))) = (&at_once, &in_parts) {
                assert_eq!(one, other);
            }
            match in_parts {
                None => lockstep_fuzz::became("more"),
                Some(Ok(name)) => lockstep_fuzz::became(name.map(|name| name.len())),
                Some(Err(Malformed(why))) => lockstep_fuzz::became(why),
            }
        });
    }
}
