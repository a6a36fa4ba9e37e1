//! The directory of a CA: its key, what it has issued, and what is revoked. `lockstep pki` works on it.
//!
//! ```text
//! ca.pem       its certificate: to every edge and every agent
//! ca.key       its key: 0600, stays here (or lies at an edge that renews certificates)
//! revoked.pem  the signed list of revoked certificates: to every edge and every agent
//! issued       one line for each certificate: serial, until, for whom
//! revoked      one line for each revoked one: serial, when
//! ```

use super::authority::{self, Authority, Issued};
use super::facts::{Facts, written};
use super::files::{self, TrustError};
use super::identity::Identity;
use super::material::certificates;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A CA's directory.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its serial number.
    pub serial: String,
    /// Until when it is valid.
    pub until: SystemTime,
    /// For whom.
    pub identity: Identity,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The serial numbers.
    pub serials: Vec<String>,
    /// The new list.
    pub list: PathBuf,
}

/// A certificate that has taken another one's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// For whom.
    pub identity: Identity,
    /// Its serial number.
    pub serial: String,
    /// Until when.
    pub until: SystemTime,
}

impl Directory {
    /// Makes a new CA.
    ///
    /// # Errors
    /// One is there already, or the directory cannot be written.
    pub fn init(path: &Path, name: &str) -> Result<Directory, TrustError> {
        let directory = Directory { path: path.to_owned() };
        for file in [directory.key(), directory.ca()] {
            if file.exists() {
                return Err(TrustError::new(
                    &file,
                    "is there already: every certificate would have to be issued anew; name another directory",
                ));
            }
        }
        make(path).map_err(|error| TrustError::new(path, format!("cannot be made: {error}")))?;
        let wrong = |what: String| TrustError::new(path, what);
        let authority = Authority::new(name).map_err(wrong)?;
        files::write_private(&directory.key(), authority.key_pem())?;
        files::write_public(&directory.list(), &authority.revoke(&[], 1).map_err(wrong)?)?;
        files::write_public(&directory.ca(), authority.certificate_pem())?;
        Ok(directory)
    }

    /// One that is there.
    ///
    /// # Errors
    /// It is not.
    pub fn open(path: &Path) -> Result<Directory, TrustError> {
        let directory = Directory { path: path.to_owned() };
        match directory.key().exists() {
            true => Ok(directory),
            false => Err(TrustError::new(
                &directory.key(),
                "is not there: `lockstep pki init DIR` makes a CA, and --ca names its directory",
            )),
        }
    }

    /// ca.pem.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    /// ca.key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.path.join("ca.key")
    }

    /// revoked.pem.
    #[must_use]
    pub fn list(&self) -> PathBuf {
        self.path.join("revoked.pem")
    }

    /// The CA.
    ///
    /// # Errors
    /// Its files cannot be used.
    pub fn authority(&self) -> Result<Authority, TrustError> {
        Authority::open(&self.ca(), &self.key())
    }

    /// Issues a certificate with its key into one file, which must not be there.
    ///
    /// # Errors
    /// It is there, or cannot be written.
    pub fn issue(&self, identity: &Identity, lasting: Duration, file: &Path) -> Result<Issued, TrustError> {
        if file.exists() {
            let what = "is there already: `lockstep pki renew` renews it; move it away to have another one";
            return Err(TrustError::new(file, what));
        }
        make(files::directory(file)).map_err(|error| TrustError::new(file, format!("cannot be made: {error}")))?;
        let (issued, text) = self.authority()?.issue(identity, lasting).map_err(|what| self.wrong(what))?;
        record(&self.key(), &issued.facts, identity)?;
        files::write_private(file, &text)?;
        Ok(issued)
    }

    /// All that was issued, the latest last.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn issued(&self) -> Result<Vec<Record>, TrustError> {
        let revoked = self.revoked()?;
        let file = self.path.join("issued");
        let lines = lines(&file)?;
        let read = lines.iter().map(|line| {
            let [serial, until, identity] = words(line).ok_or_else(|| damaged(&file, line))?;
            let until = humantime::parse_rfc3339(until).map_err(|_| damaged(&file, line))?;
            let identity = Identity::from_uri(identity).ok_or_else(|| damaged(&file, line))?;
            let revoked = revoked.iter().find(|(gone, _)| gone == serial).map(|(_, at)| *at);
            Ok(Record { serial: serial.to_owned(), until, identity, revoked })
        });
        read.collect()
    }

    /// Revokes what is named: a certificate's file, a serial number, or an identity (`lockstep:agent:PAIR:a`), which means all
    /// that were issued for it and have not ended.
    ///
    /// # Errors
    /// Nothing is known by that name, or the list cannot be written.
    pub fn revoke(&self, what: &str) -> Result<Revoked, TrustError> {
        let serials = self.named(what)?;
        let mut revoked = self.revoked()?;
        let now = SystemTime::now();
        let new: Vec<_> = serials.iter().filter(|serial| !revoked.iter().any(|(gone, _)| gone == *serial)).collect();
        for serial in new {
            append(&self.path.join("revoked"), &format!("{serial} {}", written(now)))?;
            revoked.push((serial.clone(), now));
        }
        let number = u64::try_from(revoked.len()).unwrap_or(u64::MAX).saturating_add(1);
        let list = self.authority()?.revoke(&revoked, number).map_err(|what| self.wrong(what))?;
        files::write_public(&self.list(), &list)?;
        Ok(Revoked { serials, list: self.list() })
    }

    fn named(&self, what: &str) -> Result<Vec<String>, TrustError> {
        if let Some(identity) = Identity::from_uri(what) {
            let now = SystemTime::now();
            let issued = self.issued()?;
            let of = issued.into_iter().filter(|record| record.identity == identity && record.until >= now);
            let serials: Vec<_> = of.map(|record| record.serial).collect();
            return match serials.is_empty() {
                true => Err(self.wrong(format!("no certificate of {identity} that is valid was issued here"))),
                false => Ok(serials),
            };
        }
        let file = Path::new(what);
        if file.is_file() {
            let certificate = certificates(file, &files::read(file)?)?.remove(0);
            if !self.authority()?.has_signed(&certificate) {
                return Err(TrustError::new(file, format!("was not signed by the CA in {}", self.path.display())));
            }
            return Ok(vec![Facts::read(&certificate).map_err(|what| TrustError::new(file, what))?.serial]);
        }
        let bytes = authority::bytes(what).map_err(|_| {
            self.wrong(format!(
                "\"{what}\" is no file, no serial number and no identity: `lockstep pki show` lists them"
            ))
        })?;
        Ok(vec![super::facts::hexadecimal(&bytes)])
    }

    fn revoked(&self) -> Result<Vec<(String, SystemTime)>, TrustError> {
        let file = self.path.join("revoked");
        let read = lines(&file)?.into_iter().map(|line| {
            let [serial, at] = words(&line).ok_or_else(|| damaged(&file, &line))?;
            Ok((serial.to_owned(), humantime::parse_rfc3339(at).map_err(|_| damaged(&file, &line))?))
        });
        read.collect()
    }

    fn wrong(&self, what: String) -> TrustError {
        TrustError::new(&self.path, what)
    }
}

/// Issues a certificate and its key anew, for the same identity and as long a life, in the file of the present one.
///
/// # Errors
/// The file is none of ours, or cannot be written.
pub fn renew(authority: &Authority, ca_key: &Path, file: &Path) -> Result<Renewed, TrustError> {
    let wrong = |what: String| TrustError::new(file, what);
    let present = certificates(file, &files::read_private(file)?)?.remove(0);
    if !authority.has_signed(&present) {
        return Err(wrong(format!("was not signed by the CA {}", authority.facts.subject)));
    }
    let facts = Facts::read(&present).map_err(wrong)?;
    let identity = facts.identity.clone().map_err(wrong)?;
    let (issued, text) = authority.issue(&identity, authority::lasting_again(facts.lasting())).map_err(wrong)?;
    record(ca_key, &issued.facts, &identity)?;
    files::write_private(file, &text)?;
    Ok(Renewed { identity, serial: issued.facts.serial, until: issued.facts.not_after })
}

/// Writes down beside a CA's key what was issued with it, so that it can be revoked by name.
pub(super) fn record(ca_key: &Path, facts: &Facts, identity: &Identity) -> Result<(), TrustError> {
    let line = format!("{} {} {}", facts.serial, written(facts.not_after), identity.uri());
    append(&files::directory(ca_key).join("issued"), &line)
}

impl Authority {
    /// Writes down beside the CA's key what was issued with it, so that it can be revoked by name.
    ///
    /// # Errors
    /// The file `issued` cannot be written.
    pub fn record(&self, ca_key: &Path, issued: &Issued) -> Result<(), TrustError> {
        match &issued.facts.identity {
            Ok(identity) => record(ca_key, &issued.facts, identity),
            Err(_) => Ok(()),
        }
    }
}

fn append(file: &Path, line: &str) -> Result<(), TrustError> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|error| TrustError::new(file, format!("cannot be written: {error}")))
}

fn lines(file: &Path) -> Result<Vec<String>, TrustError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&files::read(file)?).into_owned();
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

fn words<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split_whitespace().collect::<Vec<_>>().try_into().ok()
}

fn damaged(file: &Path, line: &str) -> TrustError {
    TrustError::new(file, format!("is damaged: \"{line}\"; take that line away"))
}

/// A directory for secrets.
fn make(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}
