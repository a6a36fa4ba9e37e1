//! An agent and a guard in one program: what the tests of this room run as real processes.

use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().and_then(|word| word.into_string().ok()).as_deref() {
        Some("guard") => lockstep_agent::guard::run(args),
        Some("agent") => match args.next().map(|path| agent(Path::new(&path))) {
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(error)) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
            None => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}

fn agent(config: &Path) -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = lockstep_agent::load(config)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        lockstep_agent::run(config, async move {
            terminate.recv().await;
        })
        .await?;
        Ok(())
    })
}
