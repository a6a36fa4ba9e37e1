//! A plugin's file, read once, judged before any of its code runs, and loaded from the very bytes that were judged.
#![allow(unsafe_code, reason = "loads foreign code: the host's side of the C boundary")]

use super::elf::{self, Section};
use super::parameters::Checker;
use super::sink::Collector;
use super::{DescribeError, Instance, InstanceError, LoadError, ParameterError};
use crate::abi::{self, BadStamp, Bytes, MAJOR, STAMP_SECTION, Stamp, TABLE_SYMBOL, Table, kind};
use crate::{Lint, Rule, Setup};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most bytes of a plugin's file.
const MAX_FILE: u64 = 128 * 1024 * 1024;

/// SHA-256 of a plugin's file, shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A loaded plugin. Cheap to clone; its code stays for the life of the process.
#[derive(Clone, Debug)]
pub struct Library {
    loaded: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    table: &'static Table,
    id: String,
    version: String,
    state_version: u32,
    fingerprint: Fingerprint,
    rules: Vec<Rule>,
    checker: Checker,
}

/// What is loaded already: the same bytes are loaded once.
static LOADED: Mutex<BTreeMap<Fingerprint, Library>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Reads the file once, refuses what is no policy for this host before any of its code runs, and loads it.
    pub fn open(path: &Path) -> Result<Library, LoadError> {
        let file = read(path)?;
        let stamp = judge(path, &file)?;
        let fingerprint = Fingerprint(Sha256::digest(&file).into());
        // A panic while the lock was held left the map as it was: it is changed by one insertion.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(&fingerprint) {
            return Ok(library.clone());
        }
        let library = load(path, &file, &stamp, fingerprint)?;
        loaded.insert(fingerprint, library.clone());
        Ok(library)
    }

    /// The policy's name: `telisca`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.loaded.id
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.loaded.version
    }

    /// The version of its snapshots' format.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        self.loaded.state_version
    }

    /// Of the bytes that were loaded.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.loaded.fingerprint
    }

    /// JSON schema of the parameters.
    #[must_use]
    pub fn schema(&self) -> &serde_json::Value {
        self.loaded.checker.schema()
    }

    /// The policy's rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.loaded.rules
    }

    /// Checks `[pair.policy]` against the plugin's own schema; all errors at once.
    pub fn check_parameters(
        &self,
        parameters: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), Vec<ParameterError>> {
        self.loaded.checker.check(parameters)
    }

    /// The rules with the parameters in force, and the expected switch delay, as text.
    pub fn explain(&self, setup: &Setup) -> Result<String, DescribeError> {
        self.describe("explain", "explain its rules", setup)
    }

    /// What the policy finds odd in a valid configuration.
    pub fn lint(&self, setup: &Setup) -> Result<Vec<Lint>, DescribeError> {
        let topic = "check its configuration";
        let found = self.describe("lint", topic, setup)?;
        serde_json::from_str(&found).map_err(|error| self.mute(topic, error.to_string()))
    }

    /// From a fault to the new side's service, at worst, by the vendor's formula.
    pub fn expected_delay(&self, setup: &Setup) -> Result<Duration, DescribeError> {
        #[derive(Deserialize)]
        struct Delay {
            expected_ns: u64,
        }
        let topic = "tell its expected delay";
        let told = self.describe("delay", topic, setup)?;
        let delay: Delay = serde_json::from_str(&told).map_err(|error| self.mute(topic, error.to_string()))?;
        Ok(Duration::from_nanos(delay.expected_ns))
    }

    /// A new instance for a pair, its parameters checked. The same setup, seed and events give the same actions.
    pub fn instance(&self, setup: &Setup, seed: u64) -> Result<Instance, InstanceError> {
        self.check_parameters(&setup.parameters).map_err(InstanceError::Parameters)?;
        Instance::create(self.clone(), setup, seed)
    }

    pub(super) fn table(&self) -> &'static Table {
        self.loaded.table
    }

    fn describe(&self, topic: &str, what: &'static str, setup: &Setup) -> Result<String, DescribeError> {
        let setup = serde_json::to_vec(setup).map_err(|error| self.mute(what, error.to_string()))?;
        describe(self.loaded.table, topic, &setup).map_err(|why| self.mute(what, why))
    }

    fn mute(&self, topic: &'static str, why: String) -> DescribeError {
        DescribeError { policy: self.id().to_owned(), topic, why }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let mut file = Vec::new();
    File::open(path).and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut file)).map_err(failed)?;
    if file.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(file)
}

/// Everything that can be told from the file's bytes.
fn judge(path: &Path, file: &[u8]) -> Result<Stamp, LoadError> {
    let path = || path.to_owned();
    let section = match elf::section(file, STAMP_SECTION) {
        Ok(Section::Found(section)) => section,
        Ok(Section::Absent) => return Err(LoadError::NoStamp { path: path() }),
        Err(why) => return Err(LoadError::NotALibrary { path: path(), why }),
    };
    let stamp = match Stamp::read(section) {
        Ok(stamp) => stamp,
        Err(BadStamp::OtherMajor(found)) => return Err(LoadError::OtherMajor { path: path(), found, known: MAJOR }),
        Err(BadStamp::Damaged(why)) => return Err(LoadError::BadStamp { path: path(), why: why.to_owned() }),
    };
    if !stamp.unwinds() {
        return Err(LoadError::Aborts { path: path() });
    }
    let ours = kind::bits(&kind::EVENTS) | kind::bits(&kind::ACTIONS);
    let unknown_to_us = stamp.needs() & !ours;
    if unknown_to_us != 0 {
        let why = format!("it needs records that this lockstep does not know (bits {unknown_to_us:#x})");
        return Err(LoadError::Records { path: path(), why });
    }
    let unknown_to_it = kind::bits(&kind::INDISPENSABLE) & !stamp.knows();
    if unknown_to_it != 0 {
        let why = format!("it does not know records that every policy must know (bits {unknown_to_it:#x})");
        return Err(LoadError::Records { path: path(), why });
    }
    Ok(stamp)
}

fn load(path: &Path, file: &[u8], stamp: &Stamp, fingerprint: Fingerprint) -> Result<Library, LoadError> {
    let unsound = |why: String| LoadError::Unsound { path: path.to_owned(), why };
    let table = map(path, file)?;
    check_table(table, stamp).map_err(unsound)?;
    let schema = describe(table, "schema", &[]).map_err(|why| unsound(format!("it gives no schema: {why}")))?;
    let schema = serde_json::from_str(&schema).map_err(|error| unsound(format!("its schema is no JSON: {error}")))?;
    let rules = describe(table, "rules", &[]).map_err(|why| unsound(format!("it gives no rules: {why}")))?;
    let rules =
        serde_json::from_str(&rules).map_err(|error| unsound(format!("its rules are not as expected: {error}")))?;
    let id = stamp.id().unwrap_or_default().to_owned();
    let loaded = Loaded {
        table,
        version: stamp.version().unwrap_or_default().to_owned(),
        state_version: stamp.state_version(),
        fingerprint,
        rules,
        checker: Checker::new(&id, schema).map_err(unsound)?,
        id,
    };
    Ok(Library { loaded: Arc::new(loaded) })
}

/// Loads the bytes from sealed memory: between judging and loading nobody can have changed them.
fn map(path: &Path, file: &[u8]) -> Result<&'static Table, LoadError> {
    let failed = |why: String| LoadError::Load { path: path.to_owned(), why };
    let memory = sealed(file).map_err(|error| failed(format!("no sealed memory for it: {error}")))?;
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL | libc_nodelete();
    // SAFETY: runs the library's constructors. Its stamp says that it is a policy for this ABI; that its author's code
    // keeps to it is what trusting a plugin means, and cannot be checked here.
    let library = unsafe { libloading::os::unix::Library::open(Some(&name), flags) };
    let library = library.map_err(|error| failed(error.to_string()))?;
    // SAFETY: the symbol of this name is a `Table` by the ABI, constant and as long-lived as the library. Its size is
    // checked before any field after the size is read.
    let table = unsafe { library.get::<*const Table>(TABLE_SYMBOL) };
    let table = table.map(|symbol| *symbol).map_err(|_| failed(format!("it exports no `{TABLE_SYMBOL}`")))?;
    // The library is never unloaded, and the loader tells libraries apart by this file's name as long as it is open.
    std::mem::forget(library);
    std::mem::forget(memory);
    let aligned = !table.is_null() && table.is_aligned();
    // SAFETY: as above, and neither null nor out of alignment; the first field is there in every version.
    if !aligned || (unsafe { (&raw const (*table).size).read() } as usize) < size_of::<Table>() {
        return Err(failed(format!("its `{TABLE_SYMBOL}` is too small to be a table")));
    }
    // SAFETY: as above, and at least as large as a `Table`; never changed, never freed.
    Ok(unsafe { &*table })
}

/// `RTLD_NODELETE`, which libloading does not name: the same number in every C library for Linux.
fn libc_nodelete() -> i32 {
    0x1000
}

fn sealed(file: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that executable memory must be asked for.
    let memory = memfd_create("lockstep-policy", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("lockstep-policy", flags))?;
    let mut memory = File::from(memory);
    memory.write_all(file)?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

fn check_table(table: &Table, stamp: &Stamp) -> Result<(), String> {
    let Table { describe, create, step, save, restore, destroy, extension, .. } = table;
    let missing = [
        ("describe", describe.is_none()),
        ("create", create.is_none()),
        ("step", step.is_none()),
        ("save", save.is_none()),
        ("restore", restore.is_none()),
        ("destroy", destroy.is_none()),
        ("extension", extension.is_none()),
    ];
    if let Some((name, _)) = missing.iter().find(|(_, missing)| *missing) {
        return Err(format!("its table has no `{name}`"));
    }
    if table.stamp.is_null() || !table.stamp.is_aligned() {
        return Err("its table has no stamp".to_owned());
    }
    // SAFETY: not null and aligned; by the ABI a constant `Stamp` in the library.
    if unsafe { table.stamp.read() } != *stamp {
        return Err("its table's stamp is not the one in its file".to_owned());
    }
    Ok(())
}

/// Asks a plugin to describe itself; its refusal is the error.
fn describe(table: &Table, topic: &str, config: &[u8]) -> Result<String, String> {
    let function = table.describe.ok_or("its table has no `describe`")?;
    let topic = CString::new(topic).map_err(|_| "a topic has no NUL in it")?;
    let mut answer = Collector::new();
    let config = Bytes { ptr: config.as_ptr(), len: config.len() };
    // SAFETY: the function is the library's `describe`, which is loaded for good; topic, config and sink live longer than the call.
    let code = unsafe { function(topic.as_ptr(), config, answer.as_sink()) };
    if let Some(bound) = answer.refused() {
        return Err(format!("its answer has {bound}"));
    }
    match code {
        abi::OK => Ok(answer.text()),
        abi::PANICKED => Err(format!("it panicked: {}", answer.text())),
        code if answer.bytes().is_empty() => Err(format!("it returned {code}")),
        _ => Err(answer.text()),
    }
}
