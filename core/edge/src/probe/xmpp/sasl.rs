//! Log-ins: SCRAM (RFC 5802, RFC 7677), which shows the server no password, and PLAIN (RFC 4616), which does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// A server that asks for more rounds asks for our processor.
const ROUNDS_MAX: u32 = 100_000;

/// How a user shows who he is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    ScramSha256,
    ScramSha1,
    Plain,
}

impl Mechanism {
    /// The best of those that a server offers. PLAIN hands the password over: only when nobody else can hear it.
    pub fn choose<'a>(offered: impl Iterator<Item = &'a str>, unheard: bool) -> Result<Mechanism, String> {
        let offered: Vec<&str> = offered.collect();
        let known = [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain];
        let usable = known.into_iter().filter(|known| unheard || *known != Mechanism::Plain);
        usable.into_iter().find(|known| offered.contains(&known.name())).ok_or_else(|| {
            let heard = if unheard { "" } else { " (PLAIN only where the connection is encrypted)" };
            format!("the server offers {}; known are SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN{heard}", offered.join(", "))
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }
}

pub(super) fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// One log-in by SCRAM, without channel binding.
pub(super) struct Scram {
    mechanism: Mechanism,
    nonce: String,
    /// The first message, without what precedes it for channel binding.
    bare: String,
}

/// The second message, and what the server must answer to it: that it knows the password as well.
pub(super) struct Proof {
    pub response: String,
    server: Vec<u8>,
}

impl Scram {
    /// The nonce is any text without commas that was never used.
    pub fn new(mechanism: Mechanism, user: &str, nonce: String) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram { mechanism, bare: format!("n={user},r={nonce}"), nonce }
    }

    pub fn first(&self) -> String {
        STANDARD.encode(format!("n,,{}", self.bare))
    }

    /// Answers the server's challenge; takes some milliseconds of work.
    pub fn answer(&self, challenge: &str, password: &str) -> Result<Proof, String> {
        let challenge = text(challenge)?;
        let nonce = field(&challenge, "r=").ok_or("its challenge has no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its challenge has another's nonce".to_owned());
        }
        let salt = field(&challenge, "s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or("its challenge has no salt")?;
        let rounds = field(&challenge, "i=").and_then(|rounds| rounds.parse::<u32>().ok()).and_then(NonZeroU32::new);
        let rounds = rounds.filter(|rounds| rounds.get() <= ROUNDS_MAX);
        let rounds = rounds.ok_or_else(|| format!("its challenge must ask for 1 to {ROUNDS_MAX} rounds"))?;
        let last = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{last}", self.bare);
        let kinds = self.kinds();
        let mut salted = vec![0; kinds.length];
        pbkdf2::derive(kinds.pbkdf2, rounds, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(kinds.hmac, key), text);
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(kinds.digest, client.as_ref());
        let signature = sign(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server = sign(sign(&salted, b"Server Key").as_ref(), signed.as_bytes());
        let response = STANDARD.encode(format!("{last},p={}", STANDARD.encode(proof)));
        Ok(Proof { response, server: server.as_ref().to_vec() })
    }

    fn kinds(&self) -> Kinds {
        match self.mechanism {
            Mechanism::ScramSha256 => Kinds {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
                hmac: hmac::HMAC_SHA256,
                digest: &digest::SHA256,
                length: digest::SHA256_OUTPUT_LEN,
            },
            Mechanism::ScramSha1 | Mechanism::Plain => Kinds {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA1,
                hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
                length: digest::SHA1_OUTPUT_LEN,
            },
        }
    }
}

/// The digests of a mechanism.
struct Kinds {
    pbkdf2: pbkdf2::Algorithm,
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
    length: usize,
}

impl Proof {
    /// Whether the server has shown that it knows the password.
    pub fn is_answered_by(&self, said: &str) -> bool {
        let said = text(said).ok();
        let signature = said.as_deref().and_then(|said| field(said, "v=")).and_then(|sign| STANDARD.decode(sign).ok());
        signature.is_some_and(|signature| signature == self.server)
    }
}

fn text(encoded: &str) -> Result<String, String> {
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| "what it says is not text in base64".to_owned())
}

fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|field| field.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5802, 5.
    #[test]
    fn sha_1_as_in_its_rfc() {
        let scram = Scram::new(Mechanism::ScramSha1, "user", "fyko+d2lbbFgONRv9qkxdawL".into());
        assert_eq!(text(&scram.first()).unwrap(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let proof = scram.answer(&STANDARD.encode(challenge), "pencil").unwrap();
        assert_eq!(
            text(&proof.response).unwrap(),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(proof.is_answered_by(&STANDARD.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")));
        assert!(!proof.is_answered_by(&STANDARD.encode("v=AAAApqV8S7suAoZWja4dJRkFsKQ=")));
    }

    /// The example of RFC 7677, 3.
    #[test]
    fn sha_256_as_in_its_rfc() {
        let scram = Scram::new(Mechanism::ScramSha256, "user", "rOprNGfwEbeRWgbNEkqO".into());
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.answer(&STANDARD.encode(challenge), "pencil").unwrap();
        assert!(text(&proof.response).unwrap().ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        assert!(proof.is_answered_by(&STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
    }

    #[test]
    fn a_server_cannot_have_us_work_for_ever_or_choose_our_nonce() {
        let scram = Scram::new(Mechanism::ScramSha1, "user", "abc".into());
        let asked = |challenge: &str| scram.answer(&STANDARD.encode(challenge), "x").map(|_| ()).unwrap_err();
        assert!(asked("r=abcd,s=QSXCR+Q6sek8bf92,i=100001").contains("rounds"));
        assert!(asked("r=abcd,s=QSXCR+Q6sek8bf92,i=0").contains("rounds"));
        assert!(asked("r=xyz,s=QSXCR+Q6sek8bf92,i=4096").contains("nonce"));
        assert!(asked("r=abc,s=QSXCR+Q6sek8bf92,i=4096").contains("nonce"));
        assert!(scram.answer("%%%", "x").is_err());
    }

    #[test]
    fn the_best_mechanism_is_chosen_and_no_password_is_sent_in_the_clear() {
        let choose = |offered: &[&str], unheard| Mechanism::choose(offered.iter().copied(), unheard);
        assert_eq!(choose(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"], true), Ok(Mechanism::ScramSha256));
        assert_eq!(choose(&["PLAIN", "SCRAM-SHA-1"], false), Ok(Mechanism::ScramSha1));
        assert_eq!(choose(&["PLAIN"], true), Ok(Mechanism::Plain));
        assert!(choose(&["PLAIN"], false).unwrap_err().contains("only where the connection is encrypted"));
        assert!(choose(&["DIGEST-MD5"], true).is_err());
    }
}
