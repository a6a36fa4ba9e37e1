//! What the service control manager is asked about one service. Each call may wait for as long as the manager does.

use crate::platform::process;
use std::io;
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceActionType, ServiceExitCode, ServiceStartType, ServiceState, ServiceStatus,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use winsafe::{HKEY, RegistryValue, co};

const ALREADY_RUNNING: i32 = 1056;
const DISABLED: i32 = 1058;
const NO_SUCH_SERVICE: i32 = 1060;
const NOT_ACTIVE: i32 = 1062;
const ACCESS_DENIED: i32 = 5;

/// Where the manager keeps its services.
const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";
/// Of a service's key: those that it needs to run.
const NEEDS: &str = "DependOnService";
/// No chain of services that need each other is followed further.
const DEPTH_MAX: u32 = 16;

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up {
        pid: u32,
    },
    /// It is being started or stopped, or pauses.
    Changing {
        pid: u32,
    },
    Stopped {
        /// For a person to read.
        how: String,
    },
    /// The manager does not say.
    Unknown,
}

/// One service, as the thread that has opened it may ask.
pub(crate) struct Control {
    name: String,
    service: Service,
}

impl Control {
    /// # Errors
    ///
    /// There is no such service, or this process may not start and stop it.
    pub(crate) fn open(name: &str) -> Result<Control, String> {
        open(name).map(|service| Control { name: name.to_owned(), service }).map_err(|error| in_words(name, &error))
    }

    /// What the manager says, but of a process that has ended: the manager may be late to hear of it, and Wine's never does.
    pub(crate) fn state(&self) -> State {
        match self.service.query_status().map_or(State::Unknown, |status| state(&status)) {
            State::Up { pid } | State::Changing { pid } if pid != 0 && process::has_ended(pid) => {
                State::Stopped { how: "its process has ended".to_owned() }
            }
            state => state,
        }
    }

    /// Orders its start. One that runs already is as good as started.
    pub(crate) fn start(&self) -> Result<(), String> {
        match self.service.start::<&str>(&[]) {
            Err(error) if code(&error) == Some(ALREADY_RUNNING) => Ok(()),
            result => result.map_err(|error| in_words(&self.name, &error)),
        }
    }

    /// Orders its stop, and before that the stop of those that need it. False: it has not taken the order.
    pub(crate) fn stop(&self) -> bool {
        stop_dependents(&self.name, 0);
        match self.service.stop() {
            Ok(_) => true,
            Err(error) => code(&error) == Some(NOT_ACTIVE),
        }
    }

    /// Whether it can be one that runs on the active side only: nobody else starts it, and it can be ended by force.
    pub(crate) fn may_be_exclusive(&self) -> Result<(), String> {
        let name = &self.name;
        let config = self.service.query_config().map_err(|error| in_words(name, &error))?;
        if config.start_type != ServiceStartType::OnDemand && config.start_type != ServiceStartType::Disabled {
            return Err(format!(
                "the service `{name}` is started by Windows itself, on whatever side: as an administrator, \
                 `sc.exe config \"{name}\" start= demand`"
            ));
        }
        if config.service_type.contains(ServiceType::SHARE_PROCESS) {
            return Err(format!(
                "the service `{name}` shares its process with others, with which it would be ended by force: as an \
                 administrator, `sc.exe config \"{name}\" type= own`"
            ));
        }
        // Wine does not know them.
        let actions = self.service.get_failure_actions().ok().and_then(|failure| failure.actions).unwrap_or_default();
        if actions.iter().any(|action| action.action_type == ServiceActionType::Restart) {
            return Err(format!(
                "the service `{name}` is started again by Windows when it fails, on whatever side: as an administrator, \
                 `sc.exe failure \"{name}\" reset= 0 actions= \"\"`"
            ));
        }
        Ok(())
    }
}

fn open(name: &str) -> windows_service::Result<Service> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG | ServiceAccess::START | ServiceAccess::STOP;
    manager.open_service(name, access)
}

fn state(status: &ServiceStatus) -> State {
    let pid = status.process_id.unwrap_or(0);
    match status.current_state {
        ServiceState::Running => State::Up { pid },
        ServiceState::Stopped => State::Stopped {
            how: match status.exit_code {
                ServiceExitCode::Win32(0) => "the service is stopped".to_owned(),
                ServiceExitCode::Win32(code) => {
                    let why = io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(i32::MAX));
                    format!("the service is stopped: {why}")
                }
                ServiceExitCode::ServiceSpecific(code) => format!("the service is stopped, with its own error {code}"),
            },
        },
        _ => State::Changing { pid },
    }
}

/// Orders those that need it to stop, the last ones first. They are stopped by name, whether they run or not: one that does
/// not run is no trouble, and one that does not obey is seen by the service itself not taking its order.
fn stop_dependents(name: &str, depth: u32) {
    if depth == DEPTH_MAX {
        return;
    }
    for dependent in dependents(name) {
        let Ok(service) = open(&dependent) else { continue };
        let runs = service.query_status().is_ok_and(|status| status.current_state != ServiceState::Stopped);
        if runs {
            stop_dependents(&dependent, depth + 1);
            let _ = service.stop();
        }
    }
}

/// The services that need this one to run.
fn dependents(name: &str) -> Vec<String> {
    let read = co::KEY::READ;
    let Ok(services) = HKEY::LOCAL_MACHINE.RegOpenKeyEx(Some(SERVICES), co::REG_OPTION::default(), read) else {
        return Vec::new();
    };
    let Ok(names) = services.RegEnumKeyEx() else { return Vec::new() };
    let needs = |candidate: &String| {
        let Ok(key) = services.RegOpenKeyEx(Some(candidate), co::REG_OPTION::default(), read) else { return false };
        match key.RegQueryValueEx(Some(NEEDS)) {
            Ok(RegistryValue::MultiSz(needed)) => needed.iter().any(|needed| needed.eq_ignore_ascii_case(name)),
            _ => false,
        }
    };
    names.filter_map(Result::ok).filter(needs).collect()
}

fn code(error: &Error) -> Option<i32> {
    match error {
        Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn in_words(name: &str, error: &Error) -> String {
    match (code(error), error) {
        (Some(NO_SUCH_SERVICE), _) => {
            format!(
                "there is no service `{name}`: `service` is its name as `sc.exe query` shows it, not its display name"
            )
        }
        (Some(DISABLED), _) => {
            format!("the service `{name}` is disabled: as an administrator, `sc.exe config \"{name}\" start= demand`")
        }
        (Some(ACCESS_DENIED), _) => {
            format!(
                "the agent may not start and stop the service `{name}`: run the agent as LocalSystem, which `lockstep agent install` does"
            )
        }
        (_, Error::Winapi(error)) => format!("the service `{name}`: {error}"),
        _ => format!("the service `{name}`: {error}"),
    }
}
