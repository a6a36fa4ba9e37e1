//! Reading a journal: one entry after the other, of one file or of a pair's directory.

use super::block::{self, BlockError};
use super::record::Raw;
use super::{EXTENSION, Entry, entry};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// The rest of a file cannot be read. What was read before it is sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after {after} sound bytes: {why}")]
pub struct Torn {
    /// Bytes of sound blocks before it.
    pub after: u64,
    /// What is wrong.
    pub why: String,
    /// The file just ends too early, as after a power cut: nothing is damaged.
    pub cut_off: bool,
}

/// Reads one file, or several that were joined.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    block: Vec<u8>,
    /// Where the next record begins in the block.
    at: usize,
    /// Bytes of sound blocks that were read.
    sound: u64,
    ended: bool,
}

impl Reader<BufReader<File>> {
    /// Reads a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Reader::new(BufReader::new(File::open(path)?)))
    }
}

impl<R: Read> Reader<R> {
    /// Reads bytes.
    pub fn new(file: R) -> Reader<R> {
        Reader { file, block: Vec::new(), at: 0, sound: 0, ended: false }
    }

    /// Bytes of sound blocks that were read so far.
    #[must_use]
    pub fn sound(&self) -> u64 {
        self.sound
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Torn> {
        while self.at >= self.block.len() {
            self.at = 0;
            match block::next(&mut self.file, &mut self.block) {
                Ok(true) => self.sound += (block::HEAD + self.block.len()) as u64,
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.block.clear();
                    let cut_off = matches!(error, BlockError::CutOff);
                    return Err(Torn { after: self.sound, why: error.to_string(), cut_off });
                }
            }
        }
        let damaged = |why: String| Torn { after: self.sound, why, cut_off: false };
        let bytes = &self.block[self.at..];
        let (raw, mut rest) = Raw::split(bytes).ok_or_else(|| damaged("a block holds no record".to_owned()))?;
        let entry = entry::take(&raw, &mut rest).map_err(damaged)?;
        self.at = self.block.len() - rest.len();
        Ok(Some(entry))
    }
}

/// Ends with the file, or with the one error of a rest that cannot be read.
impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, Torn>;

    fn next(&mut self) -> Option<Result<Entry, Torn>> {
        if self.ended {
            return None;
        }
        let next = self.next_entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The files of a journal in their order: a file itself, or the segments of a pair's directory.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    // Their names are numbers of one length.
    files.sort();
    Ok(files)
}
