//! The health check of a spec with all defaults.

use std::time::Duration;

use crate::api::{HealthCheck, Port, PortRef};
use crate::error::Problem;
use crate::runtime::{Health, Probe};

/// The check as a runtime carries it out.
///
/// # Errors
/// The port of the check does not exist.
pub fn health(check: &HealthCheck, ports: &[Port]) -> Result<Health, Problem> {
    let port = |wanted: &PortRef, field: &str| {
        let number = wanted.number(ports);
        number.map_err(|message| Problem::invalid(format!("spec.healthCheck.{field} {message}")))
    };
    let probe = if let Some(http) = &check.http {
        Probe::Http {
            path: http.path.clone(),
            port: port(&http.port, "http.port")?,
        }
    } else if let Some(tcp) = &check.tcp {
        Probe::Tcp {
            port: port(&tcp.port, "tcp.port")?,
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
    Ok(Health {
        probe,
        interval: or(&check.interval, 5),
        timeout: or(&check.timeout, 2),
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
