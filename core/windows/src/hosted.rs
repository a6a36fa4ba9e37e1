//! The agent as a service of the service control manager.

use crate::{Failure, log};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::service_dispatcher;

/// The agent's own bound for its end, and a little more.
const ENDING_MAX: Duration = Duration::from_secs(25);

/// What the manager has been told to start the agent with.
#[derive(Debug)]
pub struct Given {
    /// The service's name.
    pub name: String,
    /// The agent's configuration.
    pub config: PathBuf,
    /// Where it writes.
    pub log: PathBuf,
}

/// Handed from the process's start to the thread that the manager begins.
static GIVEN: OnceLock<Given> = OnceLock::new();

/// Serves the manager until the service has stopped.
pub fn run(given: Given) -> Result<(), Failure> {
    let given = GIVEN.get_or_init(|| given);
    service_dispatcher::start(&given.name, begin).map_err(|error| {
        let what = "the service control manager starts this; in a console, say `lockstep agent --config FILE`";
        format!("{what} ({error})").into()
    })
}

/// What the manager calls. Its arguments are those of a start by hand, which an agent does not have.
extern "system" fn begin(_: u32, _: *mut *mut u16) {
    let Some(given) = GIVEN.get() else { return };
    let logged = log::to_file(&given.log);
    if let Err(error) = serve(given) {
        tracing::error!("the agent has ended: {error}");
    }
    drop(logged);
}

fn serve(given: &Given) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let handle = service_control_handler::register(&given.name, move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            stop.send_replace(true);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })?;
    let say = move |state, exit_code| {
        let controls_accepted = match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            _ => ServiceControlAccept::empty(),
        };
        let wait_hint = if state == ServiceState::StopPending { ENDING_MAX } else { Duration::ZERO };
        let service_type = ServiceType::OWN_PROCESS;
        let current_state = state;
        let status = ServiceStatus {
            service_type,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint,
            process_id: None,
        };
        handle.set_service_status(status)
    };
    say(ServiceState::Running, ServiceExitCode::NO_ERROR)?;
    let ended = agent(&given.config, stopped, || {
        let _ = say(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
    });
    // What has failed is started again by the manager, as the installation has told it.
    say(
        ServiceState::Stopped,
        if ended.is_ok() { ServiceExitCode::NO_ERROR } else { ServiceExitCode::ServiceSpecific(1) },
    )?;
    ended
}

fn agent(config: &Path, mut stopped: watch::Receiver<bool>, ending: impl Fn()) -> Result<(), Failure> {
    let config = lockstep_agent::load(config)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let shutdown = async {
            // The sender is the handler's, which lives as long as the process.
            let _ = stopped.wait_for(|stop| *stop).await;
            ending();
        };
        lockstep_agent::run(config, shutdown).await?;
        Ok(())
    })
}
