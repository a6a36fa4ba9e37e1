//! The version stamp: read from a plugin's file before any of its code runs.

use super::layout::Layout;
use super::{MAJOR, MINOR, kind};
use std::mem::{offset_of, size_of};

/// The ELF section that holds it.
pub const STAMP_SECTION: &str = ".lockstep.policy";

const MAGIC: [u8; 16] = *b"lockstep.policy\0";

/// A panic in the plugin does not end the process.
const UNWINDS: u32 = 1;

/// Constant bytes in the section [`STAMP_SECTION`] of a plugin's file; no address in it needs relocation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    magic: [u8; 16],
    size: u32,
    major: u32,
    minor: u32,
    flags: u32,
    needs: u64,
    knows: u64,
    state_version: u32,
    pad: u32,
    id: [u8; 32],
    version: [u8; 32],
}

/// The stamp's layout, for the comparison with the C header.
pub const LAYOUT: Layout = Layout {
    name: "ls_stamp",
    size: size_of::<Stamp>(),
    fields: &[
        ("magic", offset_of!(Stamp, magic)),
        ("size", offset_of!(Stamp, size)),
        ("major", offset_of!(Stamp, major)),
        ("minor", offset_of!(Stamp, minor)),
        ("flags", offset_of!(Stamp, flags)),
        ("needs", offset_of!(Stamp, needs)),
        ("knows", offset_of!(Stamp, knows)),
        ("state_version", offset_of!(Stamp, state_version)),
        ("pad", offset_of!(Stamp, pad)),
        ("id", offset_of!(Stamp, id)),
        ("version", offset_of!(Stamp, version)),
    ],
};

/// Why a section holds no stamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStamp {
    /// The magic, a size or a text is wrong.
    #[error("{0}")]
    Damaged(&'static str),
    /// A stamp of another major version. Only its first 24 bytes were looked at.
    #[error("it is of ABI {0}")]
    OtherMajor(u32),
}

impl Stamp {
    /// A stamp for a plugin made by the Rust SDK. Fails to compile when a text does not fit.
    #[must_use]
    pub const fn new(id: &str, version: &str, state_version: u32, needs: u64, unwinds: bool) -> Stamp {
        Stamp {
            magic: MAGIC,
            size: size_of::<Stamp>() as u32,
            major: MAJOR,
            minor: MINOR,
            flags: if unwinds { UNWINDS } else { 0 },
            needs: kind::bits(&kind::INDISPENSABLE) | needs,
            knows: kind::bits(&kind::EVENTS) | kind::bits(&kind::ACTIONS),
            state_version,
            pad: 0,
            id: text(id),
            version: text(version),
        }
    }

    /// Reads the section's bytes.
    pub fn read(section: &[u8]) -> Result<Stamp, BadStamp> {
        let rest = section.strip_prefix(&MAGIC).ok_or(BadStamp::Damaged("it does not begin with `lockstep.policy`"))?;
        let number = |at: usize| at.checked_sub(MAGIC.len()).and_then(|at| rest.get(at..at + 4)).map_or(0, le32);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        let major = number(offset_of!(Stamp, major));
        if major != MAJOR {
            return Err(BadStamp::OtherMajor(major));
        }
        let size = number(offset_of!(Stamp, size));
        if (size as usize) < size_of::<Stamp>() || section.len() < size_of::<Stamp>() {
            return Err(BadStamp::Damaged("it is shorter than a stamp"));
        }
        let stamp = Stamp {
            magic: MAGIC,
            size,
            major,
            minor: number(offset_of!(Stamp, minor)),
            flags: number(offset_of!(Stamp, flags)),
            needs: long(offset_of!(Stamp, needs)),
            knows: long(offset_of!(Stamp, knows)),
            state_version: number(offset_of!(Stamp, state_version)),
            pad: 0,
            id: field(section, offset_of!(Stamp, id))?,
            version: field(section, offset_of!(Stamp, version))?,
        };
        if stamp.id().is_none_or(str::is_empty) || stamp.version().is_none_or(str::is_empty) {
            return Err(BadStamp::Damaged("its id or its version is empty or not a text"));
        }
        Ok(stamp)
    }

    /// The policy's id, if it is a text.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        until_nul(&self.id)
    }

    /// The plugin's version, if it is a text.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        until_nul(&self.version)
    }

    /// The version of its snapshots' format.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        self.state_version
    }

    /// Whether a panic stays inside the plugin.
    #[must_use]
    pub fn unwinds(&self) -> bool {
        self.flags & UNWINDS != 0
    }

    /// The records without which the plugin cannot work, as bits of [`kind::bit`].
    #[must_use]
    pub fn needs(&self) -> u64 {
        self.needs
    }

    /// The records that the plugin understands or gives, as bits of [`kind::bit`].
    #[must_use]
    pub fn knows(&self) -> u64 {
        self.knows
    }
}

const fn text(text: &str) -> [u8; 32] {
    let bytes = text.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() < 32, "a policy's ID and VERSION have 1 to 31 bytes");
    let mut field = [0; 32];
    let mut next = 0;
    while next < bytes.len() {
        field[next] = bytes[next];
        next += 1;
    }
    field
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

fn field(section: &[u8], at: usize) -> Result<[u8; 32], BadStamp> {
    let bytes = section.get(at..at + 32).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(BadStamp::Damaged("it is shorter than a stamp"))
}

fn until_nul(field: &[u8; 32]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&field[..end]).ok()
}
