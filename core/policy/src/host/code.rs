//! A plugin's code in this process: loaded from the very bytes that were judged, and never unloaded.
#![allow(unsafe_code, reason = "loads foreign code: the host's side of the C boundary")]

use super::sink::Collector;
use super::{LoadError, PluginFile};
use crate::abi::{self, Bytes, Stamp, TABLE_SYMBOL, Table};
use std::ffi::CString;
use std::os::fd::AsRawFd;

/// A loaded plugin. Cheap to clone; its code stays for the life of the process.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub table: &'static Table,
    pub file: PluginFile,
}

impl Code {
    /// Loads a file that was judged.
    pub fn load(file: &PluginFile) -> Result<Code, LoadError> {
        let table = map(file)?;
        check_table(table, file.stamp()).map_err(|why| LoadError::Unsound { path: file.path().to_owned(), why })?;
        Ok(Code { table, file: file.clone() })
    }

    /// Asks the plugin to describe itself; its refusal is the error.
    pub fn describe(&self, topic: &str, config: &[u8]) -> Result<String, String> {
        let function = self.table.describe.ok_or("its table has no `describe`")?;
        let topic = CString::new(topic).map_err(|_| "a topic has no NUL in it")?;
        let mut answer = Collector::new();
        let config = Bytes { ptr: config.as_ptr(), len: config.len() };
        // SAFETY: the function is the library's `describe`, which is loaded for good; topic, config and sink live longer
        // than the call.
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
}

fn map(file: &PluginFile) -> Result<&'static Table, LoadError> {
    let failed = |why: String| LoadError::Load { path: file.path().to_owned(), why };
    let memory = file.memory().try_clone().map_err(|error| failed(error.to_string()))?;
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL | libc::RTLD_NODELETE;
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
