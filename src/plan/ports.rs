//! The ports of a spec as those of a container. `ApplicationSpec::check` has refused invalid names and addresses.

use crate::api;
use crate::error::Problem;
use crate::runtime::Port;

/// Returns the ports of the container.
///
/// # Errors
/// Two ports are bound to the same host address.
pub(super) fn bindings(ports: &[api::Port]) -> Result<Vec<Port>, Problem> {
    let mut all: Vec<Port> = Vec::new();
    for port in ports {
        let number = |value: i32| u16::try_from(value).unwrap_or_default();
        let wanted = Port {
            name: port.name.clone(),
            container: number(port.container_port),
            host: port.host_port.map(number),
            host_ip: port.host_ip.clone(),
            protocol: port.protocol,
        };
        if let Some(before) = all.iter().find(|before| before.excludes(&wanted)) {
            return Err(Problem::invalid(format!(
                "spec.ports has hostPort {} twice at one address of the machine: for containerPort {} ({}) and for \
                     containerPort {} ({}); set another hostPort, or give each a hostIp of its own",
                wanted.host.unwrap_or_default(),
                before.container,
                address(before),
                wanted.container,
                address(&wanted),
            )));
        }
        all.push(wanted);
    }
    Ok(all)
}

fn address(port: &Port) -> String {
    port.host_ip.as_deref().map_or_else(
        || "no hostIp, which is all addresses".to_owned(),
        |ip| format!("hostIp {ip}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Protocol, Reason};

    fn port(container_port: i32, host_port: i32, host_ip: Option<&str>, protocol: Protocol) -> api::Port {
        api::Port {
            name: None,
            container_port,
            host_port: Some(host_port),
            host_ip: host_ip.map(str::to_owned),
            protocol,
        }
    }

    #[test]
    fn one_host_port_is_had_once_at_each_address() {
        use Protocol::{Tcp, Udp};
        for (one, other, protocol, refused) in [
            (Some("127.0.0.1"), Some("127.0.0.2"), Tcp, None),
            (Some("127.0.0.1"), Some("::1"), Tcp, None),
            (None, None, Udp, None),
            (
                Some("127.0.0.1"),
                Some("127.0.0.1"),
                Tcp,
                Some("(hostIp 127.0.0.1) and for containerPort 81 (hostIp 127.0.0.1)"),
            ),
            (
                Some("127.0.0.1"),
                Some("0.0.0.0"),
                Tcp,
                Some("(hostIp 127.0.0.1) and for containerPort 81 (hostIp 0.0.0.0)"),
            ),
            (Some("::"), Some("127.0.0.1"), Tcp, Some("(hostIp ::) and")),
            (
                None,
                Some("127.0.0.1"),
                Tcp,
                Some("(no hostIp, which is all addresses) and"),
            ),
        ] {
            let wanted = [port(80, 8080, one, Tcp), port(81, 8080, other, protocol)];
            match (bindings(&wanted), refused) {
                (Ok(all), None) => assert_eq!(all.len(), 2),
                (Err(problem), Some(said)) => {
                    assert_eq!(problem.reason, Reason::InvalidSpec);
                    let message = problem.message;
                    assert!(
                        message.contains("hostPort 8080 twice") && message.contains(said),
                        "{message}"
                    );
                }
                (other, _) => panic!("{wanted:?}: {other:?}"),
            }
        }
    }
}
