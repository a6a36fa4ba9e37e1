//! Whether a unit ends when the agent does: said at the agent's start, with what to write.

use super::bus::Unit;
use crate::config::{Bus, Driver, Service};
use std::time::Duration;

/// A unit that may take longer to stop than this is not surely gone when the edge activates the other side.
const STOP: Duration = Duration::from_secs(5);
const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// Looks at each exclusive unit and warns of what is missing.
pub(crate) async fn inspect(bus: Bus, services: Vec<Service>) {
    let units = services.iter().filter(|service| service.exclusive).filter_map(|service| match &service.driver {
        Driver::Systemd { unit } => Some(unit.as_str()),
        Driver::Exec { .. } | Driver::WindowsService { .. } | Driver::Gate | Driver::Run { .. } | Driver::Http(_) => {
            None
        }
    });
    let mut own = None;
    for unit in units {
        if own.is_none() {
            own = Some(Unit::own(bus).await.ok().filter(|own| own.ends_with(".service")));
        }
        match faults(bus, unit, own.as_ref().and_then(Option::as_deref)).await {
            Ok(faults) if faults.is_empty() => {}
            Ok(faults) => {
                let agent = own.as_ref().and_then(Option::as_deref).unwrap_or("lockstep-agent.service");
                tracing::warn!(unit, "{}", advice(unit, agent, &faults));
            }
            Err(error) => tracing::warn!(unit, %error, "systemd does not say how the unit is configured"),
        }
    }
}

async fn faults(bus: Bus, name: &str, own: Option<&str>) -> zbus::Result<Vec<String>> {
    let unit = Unit::open(bus, name).await?;
    let mut faults = Vec::new();
    match own {
        None => faults.push("the agent itself is no service of this systemd, so nothing can be bound to it".to_owned()),
        Some(own) if !unit.texts(UNIT, "BindsTo").await?.iter().any(|bound| bound == own) => {
            faults.push(format!("it is not bound to {own}, and would outlive it"));
        }
        Some(_) => {}
    }
    let stop = unit.stop_timeout().await?;
    if stop > STOP {
        faults.push(format!("it may take {stop:?} to stop"));
    }
    if unit.restarts_itself().await? {
        faults.push("systemd starts it again by itself, which is the policy's decision".to_owned());
    }
    Ok(faults)
}

fn advice(unit: &str, agent: &str, faults: &[String]) -> String {
    format!(
        "the exclusive unit {unit} is not safe: {}. Write /etc/systemd/system/{unit}.d/lockstep.conf with\n\
         [Unit]\nBindsTo={agent}\nAfter={agent}\n[Service]\nRestart=no\nTimeoutStopSec=1\n\
         and run `systemctl daemon-reload`",
        faults.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_a_whole_drop_in() {
        let text = advice("cti.service", "lockstep-agent.service", &["it is not bound".to_owned()]);
        for line in
            ["/etc/systemd/system/cti.service.d/lockstep.conf", "\nBindsTo=lockstep-agent.service\n", "\nRestart=no\n"]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}
