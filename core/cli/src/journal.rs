//! `lockstep journal …` and `lockstep policy replay`: what was, and what would have been.

use crate::arguments::Reach;
use crate::exit::Failure;
use crate::verbs::{client, print};
use lockstep_edge::config::Change;
use lockstep_policy::host::replay::{self, Difference, Summary};
use lockstep_policy::host::{Library, LifeRecord};
use lockstep_policy::journal::{Reader, files, transcript};
use lockstep_policy::{At, Setup};
use std::fs::File;
use std::io::{BufWriter, Read, Write, stdout};
use std::path::{Path, PathBuf};

/// Where plugins lie that are not beside the binary.
const INSTALLED: &str = "/usr/lib/lockstep/policies";

/// Events that are told one by one.
const TOLD: usize = 20;

/// `lockstep journal export PAIR FILE`.
pub async fn export(reach: &Reach, pair: &str, since: Option<&str>, file: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", file.display()));
    let client = client(reach)?;
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    let bytes = client.export(pair, since, &mut out).await?;
    out.flush().map_err(failed)?;
    if bytes == 0 {
        return Err(Failure::failed(format!("the journal of pair \"{pair}\" holds nothing yet")));
    }
    print(&format!("{}: {bytes} bytes of pair {pair}'s journal\n  lockstep journal show {0}\n", file.display()))
}

/// `lockstep journal show FILE|PAIR`.
pub async fn show(reach: &Reach, what: &str, since: Option<&str>) -> Result<(), Failure> {
    let path = Path::new(what);
    if path.exists() {
        return show_files(path);
    }
    let mut bytes = Vec::new();
    client(reach)?.export(what, since, &mut bytes).await?;
    show_bytes(&bytes[..], &mut transcript())
}

fn show_files(path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    let mut lines = transcript();
    for file in files(path).map_err(failed)? {
        show_bytes(File::open(&file).map(std::io::BufReader::new).map_err(failed)?, &mut lines)?;
    }
    Ok(())
}

/// A reader that has gone away (`| head`) is no failure.
fn show_bytes(bytes: impl Read, lines: &mut lockstep_policy::journal::Transcript) -> Result<(), Failure> {
    let mut out = BufWriter::new(stdout().lock());
    for entry in Reader::new(bytes) {
        let text = match &entry {
            Ok(entry) => lines.lines(entry),
            Err(torn) if torn.cut_off => format!("{:14}! cut off here\n", ""),
            Err(torn) => return Err(Failure::failed(format!("what follows cannot be read: {torn}"))),
        };
        match out.write_all(text.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(Failure::from_error)?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::from_error(error)),
        _ => Ok(()),
    }
}

/// `lockstep policy replay JOURNAL [--policy FILE] [--set KEY=VALUE …]`.
pub fn replay(journal: &Path, policy: Option<&Path>, set: &[String]) -> Result<(), Failure> {
    let changes = set.iter().map(|text| Change::parse(text)).collect::<Result<Vec<_>, _>>().map_err(Failure::failed)?;
    let lives = replay::lives(journal).map_err(Failure::from_error)?;
    let Some(last) = lives.last() else {
        return Err(Failure::failed(format!("{}: holds no life of a policy", journal.display())));
    };
    let library = match policy {
        Some(file) => Library::open(file).map_err(Failure::from_error)?,
        None => installed(last)?,
    };
    let same = changes.is_empty() && library.fingerprint() == last.fingerprint;
    if same { exactly(journal, &library) } else { otherwise(journal, &library, &changes) }
}

/// The installed plugin that the journal was recorded with.
fn installed(life: &LifeRecord) -> Result<Library, Failure> {
    let beside = std::env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_owned));
    let file = format!("liblockstep_{}.so", life.plugin.replace('-', "_"));
    let candidates: Vec<PathBuf> =
        beside.into_iter().chain([PathBuf::from(INSTALLED)]).map(|directory| directory.join(&file)).collect();
    let mut others = String::new();
    for file in candidates.iter().filter(|file| file.exists()) {
        match Library::open(file) {
            Ok(library) if library.fingerprint() == life.fingerprint => return Ok(library),
            Ok(library) => others = format!("; {} is {} {}", file.display(), library.version(), library.fingerprint()),
            Err(error) => others = format!("; {error}"),
        }
    }
    Err(Failure::failed(format!(
        "the journal was recorded with policy `{}` {} ({}), which is not installed{others}: name a plugin with --policy",
        life.plugin, life.version, life.fingerprint
    )))
}

/// The same plugin, the same parameters: any difference is a fault.
fn exactly(journal: &Path, library: &Library) -> Result<(), Failure> {
    let summary = replay::verify(journal, library).map_err(Failure::from_error)?;
    let mut text = gaps(&summary);
    text += &format!(
        "{} events, {} actions in {} lives of policy {} {}: no difference{}\n",
        summary.events,
        summary.actions,
        summary.lives,
        library.id(),
        library.version(),
        passed_over(&summary)
    );
    print(&text)
}

/// Another plugin or other parameters: where it would have decided otherwise.
fn otherwise(journal: &Path, library: &Library, changes: &[Change]) -> Result<(), Failure> {
    let change = |setup: &Setup| {
        let mut setup = setup.clone();
        changes.iter().for_each(|change| change.apply(&mut setup));
        setup
    };
    let (mut decisions, mut routine) = (Vec::new(), Vec::new());
    let (mut decided, mut more) = (0_u64, 0_u64);
    let mut tell = |difference: Difference| {
        let (list, count) =
            if difference.is_decision() { (&mut decisions, &mut decided) } else { (&mut routine, &mut more) };
        *count += 1;
        if list.len() < TOLD {
            list.push(difference);
        }
    };
    let summary = replay::compare(journal, library, &change, &mut tell).map_err(Failure::from_error)?;
    let mut text = String::from(
        "Events are those of the journal, handovers and results of actions too: a candidate is not told of what it would have done.\n\
         - in the journal, + of the candidate\n",
    );
    text += &told("decided otherwise", &decisions, decided);
    text += &told("watched otherwise", &routine, more);
    text += &gaps(&summary);
    text += &format!(
        "{decided} of {} events decided otherwise{}{}\n",
        summary.events,
        switches(&summary),
        passed_over(&summary)
    );
    print(&text)
}

fn told(what: &str, differences: &[Difference], count: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let mut text = format!("\n{what} ({count}):\n");
    for difference in differences {
        text += &format!("{difference}\n");
    }
    if count > differences.len() as u64 {
        text += &format!("… and at {} more\n", count - differences.len() as u64);
    }
    text
}

fn switches(summary: &Summary) -> String {
    let at =
        |switch: Option<(u64, At)>| switch.map_or_else(|| "never".to_owned(), |(seq, at)| format!("at {at} (#{seq})"));
    if summary.switched == summary.would_switch {
        return String::new();
    }
    let (recorded, candidate) = (at(summary.switched), at(summary.would_switch));
    format!("; the first switch that differs: {candidate} instead of {recorded}")
}

fn gaps(summary: &Summary) -> String {
    summary.gaps.iter().map(|gap| format!("missing, and begun again after it: {gap}\n")).collect()
}

fn passed_over(summary: &Summary) -> String {
    if summary.passed_over == 0 { String::new() } else { format!(" ({} events not compared)", summary.passed_over) }
}
