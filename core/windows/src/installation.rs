//! Puts the agent among the services of Windows, and takes it away.

use crate::Failure;
use crate::arguments::Place;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

const ACCESS_DENIED: i32 = 5;
const ALREADY_RUNNING: i32 = 1056;
const NO_SUCH_SERVICE: i32 = 1060;
const NOT_ACTIVE: i32 = 1062;
const EXISTS: i32 = 1073;

/// An agent that has failed is started again so soon: its node has no lease, and cannot be given one.
const AGAIN: Duration = Duration::from_secs(1);
/// Starting and stopping take no longer: an agent's end is bounded by 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// The system, and its administrators, by their well-known identifiers.
const SYSTEM: &str = "*S-1-5-18:(OI)(CI)F";
const ADMINISTRATORS: &str = "*S-1-5-32-544:(OI)(CI)F";

/// `lockstep agent install`.
pub fn install(place: &Place, config: &Path, log: &Path) -> Result<(), Failure> {
    let name = &place.name;
    let (config, state) = (config.canonicalize()?, lockstep_agent::load(config)?.state);
    private(&state)?;
    let log = std::path::absolute(log)?;
    let arguments = ["agent", "hosted", "--name", name, "--config"].map(OsString::from);
    let info = ServiceInfo {
        name: name.into(),
        display_name: format!("Lockstep agent ({name})").into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments: arguments.into_iter().chain([config.into(), "--log".into(), log.into()]).collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let create = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let service = ServiceManager::local_computer(None::<&str>, create)
        .and_then(|manager| manager.create_service(&info, ServiceAccess::CHANGE_CONFIG | ServiceAccess::START))
        .map_err(|error| in_words(name, &error))?;
    service.set_description("Runs this node's services under a lease, as the edge of its pair orders")?;
    let again = ServiceAction { action_type: ServiceActionType::Restart, delay: AGAIN };
    let failed = service
        .update_failure_actions(ServiceFailureActions {
            reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(60)),
            reboot_msg: None,
            command: None,
            actions: Some(vec![again; 3]),
        })
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true));
    if let Err(error) = failed {
        eprintln!("lockstep: Windows will not start the agent again when it fails: {error}");
    }
    println!("{name}: installed; `lockstep agent start --name {name}` starts it now, Windows at its next start");
    Ok(())
}

/// Makes a directory that only the system and its administrators may look into.
fn private(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)?;
    let mut command = Command::new("icacls.exe");
    command.arg(directory).args(["/inheritance:r", "/grant:r", SYSTEM, "/grant:r", ADMINISTRATORS, "/Q"]);
    let ended = command.stdin(Stdio::null()).output()?;
    if !ended.status.success() {
        let why = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let what = format!("{} could not be closed to others: icacls.exe: {why}", directory.display());
        return Err(what.into());
    }
    Ok(())
}

/// `lockstep agent uninstall`.
pub fn uninstall(place: &Place) -> Result<(), Failure> {
    let service = open(place, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE)?;
    stop_and_wait(place, &service)?;
    service.delete().map_err(|error| in_words(&place.name, &error))?;
    println!("{}: no service any more; its configuration, state and log are where they were", place.name);
    Ok(())
}

/// `lockstep agent start`.
pub fn start(place: &Place) -> Result<(), Failure> {
    let service = open(place, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    match service.start::<&str>(&[]) {
        Err(error) if code(&error) == Some(ALREADY_RUNNING) => {}
        result => result.map_err(|error| in_words(&place.name, &error))?,
    }
    wait_until(place, &service, ServiceState::Running)?;
    println!("{}: runs", place.name);
    Ok(())
}

/// `lockstep agent stop`.
pub fn stop(place: &Place) -> Result<(), Failure> {
    let service = open(place, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    stop_and_wait(place, &service)?;
    println!("{}: stopped", place.name);
    Ok(())
}

fn open(place: &Place, access: ServiceAccess) -> Result<Service, Failure> {
    ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(&place.name, access))
        .map_err(|error| in_words(&place.name, &error).into())
}

fn stop_and_wait(place: &Place, service: &Service) -> Result<(), Failure> {
    match service.stop() {
        Err(error) if code(&error) != Some(NOT_ACTIVE) => return Err(in_words(&place.name, &error).into()),
        _ => {}
    }
    wait_until(place, service, ServiceState::Stopped)
}

fn wait_until(place: &Place, service: &Service, wanted: ServiceState) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let state = service.query_status().map_err(|error| in_words(&place.name, &error))?.current_state;
        if state == wanted {
            return Ok(());
        }
        if Instant::now() > until || (wanted == ServiceState::Running && state == ServiceState::Stopped) {
            return Err(format!("{}: it is {state:?}; its log says why", place.name).into());
        }
        sleep(LOOK);
    }
}

fn code(error: &Error) -> Option<i32> {
    match error {
        Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn in_words(name: &str, error: &Error) -> String {
    match (code(error), error) {
        (Some(ACCESS_DENIED), _) => format!("{name}: Windows refuses: say it again in an administrator's console"),
        (Some(NO_SUCH_SERVICE), _) => format!("there is no service `{name}`: `lockstep agent install` makes it"),
        (Some(EXISTS), _) => {
            format!("there is a service `{name}` already: `lockstep agent uninstall` first, or another `--name`")
        }
        (_, Error::Winapi(error)) => format!("{name}: {error}"),
        _ => format!("{name}: {error}"),
    }
}
