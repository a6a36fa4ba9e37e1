//! What the edge has written down plays again: after every story.

use crate::compiled;
use lockstep_policy::host::replay::{lives, verify};
use lockstep_policy::host::{Library, LifeRecord};
use std::collections::BTreeSet;
use std::path::Path;

/// Plays again what the edge of a world has written, whatever the story was: the same plugin must give the same actions,
/// byte for byte. An edge that was killed may have left the end of a write.
pub fn plays_again(dir: &Path) {
    let Ok(pairs) = std::fs::read_dir(dir.join("edge/journal")) else { return };
    for pair in pairs {
        let journal = pair.unwrap().path();
        let of = |life: LifeRecord| (life.plugin, life.fingerprint);
        let plugins: BTreeSet<_> = lives(&journal).unwrap().into_iter().map(of).collect();
        for (plugin, fingerprint) in plugins {
            let compiled = Some(compiled::file(dir, &plugin)).filter(|file| file.exists());
            let library = Library::open(&compiled.unwrap_or_else(|| crate::plugin(&plugin))).unwrap();
            assert_eq!(library.fingerprint(), fingerprint, "plugin {plugin} was built anew while the story was told");
            match verify(&journal, &library) {
                Ok(summary) => {
                    println!(
                        "{}: {} events, {} actions play again",
                        journal.display(),
                        summary.events,
                        summary.actions
                    );
                    let damaged = summary.gaps.iter().find(|gap| !gap.contains("cut off"));
                    assert_eq!(damaged, None, "something is missing");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
