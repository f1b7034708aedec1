//! The health check of a spec, decided to the last detail.

use std::time::Duration;

use crate::api::{HealthCheck, Port, PortRef, Protocol};
use crate::error::Problem;
use crate::runtime::{Health, Probe};

/// The check as a runtime carries it out.
///
/// # Errors
/// A port that cannot be asked, a time of nothing.
pub fn health(check: &HealthCheck, ports: &[Port]) -> Result<Health, Problem> {
    let port = |wanted: &PortRef, field: &str| match wanted {
        PortRef::Number(number) => u16::try_from(*number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| Problem::invalid(format!("{field} is {number}: use a port from 1 to 65535"))),
        PortRef::Name(name) => {
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name));
            let number = named.and_then(|port| u16::try_from(port.container_port).ok());
            match (named, number) {
                (Some(port), _) if port.protocol == Protocol::Udp => Err(Problem::invalid(format!(
                    "{field} is {name:?}, which is a UDP port: name a TCP port"
                ))),
                (_, Some(number)) => Ok(number),
                (_, None) => Err(Problem::invalid(format!(
                    "{field} is {name:?}, which is not a name in spec.ports: add it there, or write the number"
                ))),
            }
        }
    };
    let probe = if let Some(http) = &check.http {
        Probe::Http {
            path: http.path.clone(),
            port: port(&http.port, "spec.healthCheck.http.port")?,
        }
    } else if let Some(tcp) = &check.tcp {
        Probe::Tcp {
            port: port(&tcp.port, "spec.healthCheck.tcp.port")?,
        }
    } else if let Some(exec) = &check.exec {
        Probe::Exec(exec.command.clone())
    } else {
        return Err(Problem::invalid("spec.healthCheck needs one of http, tcp, exec"));
    };
    let or = |value: &Option<crate::api::Duration>, default: u64| {
        value
            .as_ref()
            .map_or(Duration::from_secs(default), crate::api::Duration::get)
    };
    let interval = or(&check.interval, 5);
    let timeout = or(&check.timeout, 2);
    if interval.is_zero() || timeout.is_zero() {
        return Err(Problem::invalid(
            "spec.healthCheck.interval and timeout must be longer than 0s",
        ));
    }
    Ok(Health {
        probe,
        interval,
        timeout,
        retries: u32::try_from(check.retries.unwrap_or(3)).unwrap_or(3),
        start_period: or(&check.start_period, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_by_name_is_one_that_can_be_asked() {
        let ports: Vec<Port> = serde_json::from_value(serde_json::json!([
            {"name": "web", "containerPort": 80},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"}]))
        .unwrap();
        for (port, asked) in [
            (serde_json::json!("web"), Ok(80)),
            (serde_json::json!(8080), Ok(8080)),
            (serde_json::json!("dns"), Err("a UDP port")),
            (serde_json::json!("nope"), Err("not a name in spec.ports")),
            (serde_json::json!(0), Err("from 1 to 65535")),
        ] {
            let check: HealthCheck =
                serde_json::from_value(serde_json::json!({"tcp": {"port": port}})).unwrap();
            let found = health(&check, &ports);
            match asked {
                Ok(port) => assert_eq!(found.unwrap().probe, Probe::Tcp { port }),
                Err(words) => {
                    let message = found.unwrap_err().message;
                    assert!(message.contains(words), "{message}");
                    assert!(message.contains("spec.healthCheck.tcp.port"), "{message}");
                }
            }
        }
    }
}
