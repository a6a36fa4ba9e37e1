//! As much of ELF as it takes to read one section of a file before any of its code runs.
//!
//! Written here rather than taken from a crate: it is a page, every access is checked, and it also refuses a file whose
//! segments are cut off, which the system's loader would map and then die on.

/// What a file is, as far as a plugin is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Section<'a> {
    /// A dynamic library with this section.
    Found(&'a [u8]),
    /// A dynamic library without it.
    Absent,
}

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SHARED_OBJECT: u16 = 3;
const LOADABLE: u32 = 1;
const NO_BITS: u32 = 8;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(target_arch = "riscv64")]
const MACHINE: u16 = 243;

/// Finds a section of a 64-bit little-endian dynamic library for this machine, or says what the file is instead.
pub(super) fn section<'a>(file: &'a [u8], name: &str) -> Result<Section<'a>, String> {
    if !file.starts_with(b"\x7fELF") {
        return Err("it is not an ELF file".to_owned());
    }
    if file.len() < HEADER {
        return Err("it is cut off inside its header".to_owned());
    }
    if file[4] != 2 || file[5] != 1 {
        return Err("it is not a 64-bit little-endian file".to_owned());
    }
    let (kind, machine) = (u16_at(file, 16), u16_at(file, 18));
    if kind != Some(SHARED_OBJECT) {
        return Err("it is an ELF file of another type (an object or a program?)".to_owned());
    }
    if machine != Some(MACHINE) {
        return Err(format!("it is built for another processor (ELF machine {})", machine.unwrap_or(0)));
    }
    segments_are_whole(file)?;
    find(file, name).ok_or_else(|| "it is cut off, or its section table is damaged".to_owned())
}

fn segments_are_whole(file: &[u8]) -> Result<(), String> {
    let damaged = || "it is cut off, or its program headers are damaged".to_owned();
    let table = at_u64(file, 32).ok_or_else(damaged)?;
    let (size, count) = (u16_at(file, 54).ok_or_else(damaged)?, u16_at(file, 56).ok_or_else(damaged)?);
    if count == 0 || usize::from(size) != PROGRAM_HEADER {
        return Err(damaged());
    }
    for index in 0..usize::from(count) {
        let header = slice(file, table.saturating_add(index * PROGRAM_HEADER), PROGRAM_HEADER).ok_or_else(damaged)?;
        if u32_at(header, 0) == Some(LOADABLE) {
            let (at, length) = (at_u64(header, 8).ok_or_else(damaged)?, at_u64(header, 32).ok_or_else(damaged)?);
            slice(file, at, length).ok_or_else(damaged)?;
        }
    }
    Ok(())
}

/// `None`: the table is damaged.
fn find<'a>(file: &'a [u8], name: &str) -> Option<Section<'a>> {
    let table = at_u64(file, 40)?;
    let (size, count, names) = (u16_at(file, 58)?, u16_at(file, 60)?, u16_at(file, 62)?);
    if table == 0 || count == 0 {
        return Some(Section::Absent);
    }
    if usize::from(size) != SECTION_HEADER {
        return None;
    }
    let header = |index: usize| slice(file, table.checked_add(index * SECTION_HEADER)?, SECTION_HEADER);
    let names = contents(file, header(names.into())?)?;
    for index in 0..usize::from(count) {
        let header = header(index)?;
        let its_name = names.get(u32_at(header, 0)? as usize..)?;
        let end = its_name.iter().position(|byte| *byte == 0)?;
        if &its_name[..end] == name.as_bytes() && u32_at(header, 4)? != NO_BITS {
            return contents(file, header).map(Section::Found);
        }
    }
    Some(Section::Absent)
}

fn contents<'a>(file: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    slice(file, at_u64(header, 24)?, at_u64(header, 32)?)
}

fn slice(file: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    file.get(at..at.checked_add(length)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    slice(bytes, at, 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    slice(bytes, at, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn at_u64(bytes: &[u8], at: usize) -> Option<usize> {
    let value = slice(bytes, at, 8)?.try_into().ok().map(u64::from_le_bytes)?;
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Stamp;
    use proptest::prelude::*;

    proptest! {
        /// Behind a sound beginning come any offsets, sizes and counts.
        #[test]
        fn any_file_is_answered(
            small in prop::collection::vec(0_u16..80, 0..400), at in any::<prop::sample::Index>(), wild in any::<u64>(),
        ) {
            let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
            file.extend(SHARED_OBJECT.to_le_bytes());
            file.extend(MACHINE.to_le_bytes());
            file.extend(small.iter().flat_map(|number| u64::from(*number).to_le_bytes()));
            if file.len() >= HEADER {
                file[54..56].copy_from_slice(&(PROGRAM_HEADER as u16).to_le_bytes());
                file[58..60].copy_from_slice(&(SECTION_HEADER as u16).to_le_bytes());
            }
            let _ = section(&file, ".lockstep.policy");
            let at = at.index(file.len() - 7);
            file[at..at + 8].copy_from_slice(&wild.to_le_bytes());
            let _ = section(&file, ".lockstep.policy");
        }

        #[test]
        fn any_stamp_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            let bytes = if magic { [b"lockstep.policy\0".as_slice(), &bytes].concat() } else { bytes };
            let _ = Stamp::read(&bytes);
        }
    }
}
