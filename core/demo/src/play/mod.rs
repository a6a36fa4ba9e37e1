//! `lockstep demo`: a pair on this machine, broken in every way, and what a client felt.
//!
//! All processes are real and separate: the edge, two agents with their services, and the client. [`stage`] sets them
//! up, [`steps`] breaks them one after the other, [`report`] judges by their logs, and [`processes`] sees to it that
//! none outlives the demo.

pub mod processes;
pub mod report;
mod stage;
mod steps;

use report::Report;
use stage::Stage;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What `demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Leave everything running after the play, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// Requests in a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub rate: u32,
    /// How long a side's CTI takes to start
    #[arg(long, default_value = "300ms", value_parser = humantime::parse_duration)]
    pub cti_start: Duration,
    /// How long a side's CTI takes to stop
    #[arg(long, default_value = "30ms", value_parser = humantime::parse_duration)]
    pub cti_stop: Duration,
    /// Write the report here too, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where configurations, states and logs go, and stay; a temporary directory when left out
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Let agents claim to have stopped what they have not, to prove that the demo would notice (builds with debug
    /// assertions only)
    #[arg(long, hide = true)]
    pub unfenced_on_purpose: bool,
}

/// Plays, prints, and stops everything that it has started.
///
/// # Errors
/// A request was lost in a planned switch, one was served by a standby, or both CTI services ran at once; or the play
/// could not be played to its end.
pub fn run(options: Options) -> anyhow::Result<()> {
    // One thread: the processes that it starts are bound to it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(options)?;
        let ended = tokio::select! {
            ended = play(&mut stage) => ended,
            () = stopped() => Err(anyhow::anyhow!("stopped before the end")),
        };
        let cleared = stage.clear(ended.as_ref().is_ok_and(Report::is_correct));
        let report = ended?;
        cleared?;
        anyhow::ensure!(report.is_correct(), "{}", report.broken().join("; "));
        Ok(())
    })
}

async fn play(stage: &mut Stage) -> anyhow::Result<Report> {
    let mut seen = Vec::new();
    let played = steps::play(stage, &mut seen).await;
    let ended = played.and(stage.stop_client().await);
    let report = report::judge(stage, seen, ended.err())?;
    print!("{report}");
    if let Some(file) = &stage.options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    if stage.options.stay {
        print!("{}", stage.invitation());
        stopped().await;
    }
    Ok(report)
}

/// Until SIGINT or SIGTERM.
async fn stopped() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        },
        _ => std::future::pending().await,
    }
}
