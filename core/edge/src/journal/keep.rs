//! What is kept: segments go when they are too old, or when all of them together are too large.

use crate::config::JournalConfig;
use lockstep_policy::journal;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

struct Kept {
    path: PathBuf,
    size: u64,
    open: bool,
    written: SystemTime,
}

/// Takes segments away, oldest first, until what is left is within the bounds. A pair that uses less than its share of
/// the space keeps all of it: the largest journal is shortened first. Segments that are open stay.
pub(super) fn trim(root: &Path, config: JournalConfig, open: &[&Path]) {
    let mut pairs = look(root, open);
    let now = SystemTime::now();
    let too_old = |kept: &Kept| now.duration_since(kept.written).is_ok_and(|age| age > config.max_age);
    for pair in &mut pairs {
        while pair.front().is_some_and(|oldest| !oldest.open && too_old(oldest)) {
            take_away(pair);
        }
    }
    let size = |pair: &VecDeque<Kept>| pair.iter().map(|kept| kept.size).sum::<u64>();
    while pairs.iter().map(size).sum::<u64>() > config.max_size {
        let removable = pairs.iter_mut().filter(|pair| pair.front().is_some_and(|oldest| !oldest.open));
        let Some(largest) = removable.max_by_key(|pair| size(pair)) else { break };
        take_away(largest);
    }
    for directory in directories(root) {
        // Only an empty one goes: that of a pair which is long gone.
        let _ = std::fs::remove_dir(directory);
    }
}

/// What cannot be taken away is counted as gone, so that the others of this pair are not taken away for it.
fn take_away(pair: &mut VecDeque<Kept>) {
    if let Some(oldest) = pair.pop_front()
        && let Err(error) = std::fs::remove_file(&oldest.path)
    {
        tracing::warn!(file = %oldest.path.display(), %error, "an old segment of the journal cannot be removed");
    }
}

fn look(root: &Path, open: &[&Path]) -> Vec<VecDeque<Kept>> {
    let kept = |path: PathBuf| {
        let file = path.metadata().ok()?;
        let written = file.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Kept { size: file.len(), open: open.contains(&path.as_path()), written, path })
    };
    let segments = |directory: PathBuf| journal::files(&directory).unwrap_or_default().into_iter().filter_map(kept);
    directories(root).into_iter().map(|directory| segments(directory).collect()).collect()
}

fn directories(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
