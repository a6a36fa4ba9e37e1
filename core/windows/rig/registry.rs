//! Windows services of this program.

use crate::Failure;
use std::ffi::OsString;
use windows_service::service::{
    ServiceAccess, ServiceDependency, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

/// What a service is made of.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Its name
    name: String,
    /// Windows starts it
    #[arg(long)]
    auto: bool,
    /// A service that it needs
    #[arg(long)]
    needs: Option<String>,
    /// What this program is told then
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Registers one.
pub fn register(options: &Options) -> Result<(), Failure> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access)?;
    let info = ServiceInfo {
        name: OsString::from(&options.name),
        display_name: OsString::from(&options.name),
        service_type: ServiceType::OWN_PROCESS,
        start_type: if options.auto { ServiceStartType::AutoStart } else { ServiceStartType::OnDemand },
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments: options.arguments.clone(),
        dependencies: options.needs.iter().map(|name| ServiceDependency::Service(name.into())).collect(),
        account_name: None,
        account_password: None,
    };
    manager.create_service(&info, ServiceAccess::QUERY_STATUS)?;
    Ok(())
}

/// Takes one away.
pub fn unregister(name: &str) -> Result<(), Failure> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
    manager.open_service(name, ServiceAccess::DELETE)?.delete()?;
    Ok(())
}

/// `STATE PID`.
pub fn state(name: &str) -> Result<(), Failure> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
    let status = manager.open_service(name, ServiceAccess::QUERY_STATUS)?.query_status()?;
    println!("{:?} {}", status.current_state, status.process_id.unwrap_or(0));
    Ok(())
}
