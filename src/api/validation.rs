//! What the schema of the CRD cannot express, checked on the types by `garde`: each rule stands here once.
//!
//! A message continues the path of its field: `spec.ports[1].hostIp "localhost" is not an IP address: …`.

use std::collections::BTreeSet;
use std::fmt;

use garde::Validate as _;

use super::{Amounts, ApplicationSpec, Port, PortRef, Protocol, Quantity, VolumeMount};

/// The longest name of a file or directory on Linux, in bytes.
const LONGEST_FILE_NAME: usize = 255;

/// A field whose value cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The path of the field, such as `spec.ports[1].hostIp`.
    pub path: String,
    /// What is wrong, and the solution.
    pub message: String,
}

impl InvalidField {
    /// Reports whether the field is an amount of cpu or memory.
    pub fn is_quantity(&self) -> bool {
        let name = self.path.rsplit('.').next();
        matches!(name, Some("cpu" | "memory" | "requests"))
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

impl ApplicationSpec {
    /// Checks the rules that the schema of the CRD cannot express.
    ///
    /// # Errors
    /// The first field whose value cannot work.
    pub fn check(&self) -> Result<(), InvalidField> {
        let Err(report) = self.validate() else {
            return Ok(());
        };
        let first = report.into_inner().into_iter().next();
        first.map_or(Ok(()), |(path, error)| {
            Err(InvalidField {
                path: field_path(&path.to_string()),
                message: error.message().to_owned(),
            })
        })
    }
}

/// Returns a path of Rust fields as the user writes it.
fn field_path(path: &str) -> String {
    let mut written = "spec".to_owned();
    for part in path.split('.') {
        written.push('.');
        match part {
            "git_ref" => written.push_str("ref"),
            "static_site" => written.push_str("static"),
            _ => {
                let mut upper = false;
                for letter in part.chars() {
                    match letter {
                        '_' => upper = true,
                        _ if upper => {
                            written.push(letter.to_ascii_uppercase());
                            upper = false;
                        }
                        _ => written.push(letter),
                    }
                }
            }
        }
    }
    written
}

fn invalid(message: impl fmt::Display) -> garde::Result {
    Err(garde::Error::new(message))
}

/// Checks an amount of cpu.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn cpu_amount(amount: &Option<Quantity>, (): &()) -> garde::Result {
    match amount {
        Some(amount) if amount.nano_cores().is_none() => invalid(format!(
            "{amount} is not an amount of cpu: write cores from 1m to 1000, as 250m, 1 or 1.5"
        )),
        _ => Ok(()),
    }
}

/// Checks an amount of memory.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn memory_amount(amount: &Option<Quantity>, (): &()) -> garde::Result {
    match amount {
        Some(amount) if amount.bytes().is_none() => invalid(format!(
            "{amount} is not an amount of memory: write bytes, as 128Mi or 1G"
        )),
        _ => Ok(()),
    }
}

/// Checks that no request is above its limit.
pub(super) fn at_most(limits: Option<&Amounts>) -> impl FnOnce(&Option<Amounts>, &()) -> garde::Result + '_ {
    move |requests, ()| {
        let (Some(requests), Some(limits)) = (requests, limits) else {
            return Ok(());
        };
        let cpu = |amounts: &Amounts| amounts.cpu.as_ref().and_then(Quantity::nano_cores);
        let memory = |amounts: &Amounts| amounts.memory.as_ref().and_then(Quantity::bytes);
        for (name, request, limit) in [
            ("cpu", cpu(requests), cpu(limits)),
            ("memory", memory(requests), memory(limits)),
        ] {
            if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
                return invalid(format!(
                    "has more {name} than limits.{name}: lower it, or raise the limit"
                ));
            }
        }
        Ok(())
    }
}

/// Checks that no two ports have one name.
pub(super) fn distinct_port_names(ports: &[Port], (): &()) -> garde::Result {
    let names = ports.iter().filter_map(|port| port.name.as_deref());
    match first_duplicate(names) {
        Some(name) => invalid(format!(
            "has the name {name:?} twice: give each port a name of its own"
        )),
        None => Ok(()),
    }
}

/// Checks an address of the machine.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn ip_address(address: &Option<String>, (): &()) -> garde::Result {
    match address {
        Some(address) if address.parse::<std::net::IpAddr>().is_err() => invalid(format!(
            "{address:?} is not an IP address: write it as 127.0.0.1 or ::1"
        )),
        _ => Ok(()),
    }
}

impl PortRef {
    /// Returns the number of the TCP port that a health check refers to.
    ///
    /// # Errors
    /// What is wrong with the reference, and the solution; the message continues the path of the field.
    pub fn number(&self, ports: &[Port]) -> Result<u16, String> {
        match self {
            Self::Number(number) => u16::try_from(*number)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("{number} is not a port: use a number from 1 to 65535")),
            Self::Name(name) => match ports.iter().find(|port| port.name.as_ref() == Some(name)) {
                Some(port) if port.protocol == Protocol::Udp => {
                    Err(format!("{name:?} is a UDP port: use the name of a TCP port"))
                }
                Some(port) => u16::try_from(port.container_port)
                    .map_err(|_| format!("{name:?} has no number from 1 to 65535: change its containerPort")),
                None => Err(format!(
                    "{name:?} is not a name in spec.ports: add it there, or use the number"
                )),
            },
        }
    }
}

/// Checks that the port of a health check exists.
#[expect(clippy::ptr_arg, reason = "garde passes the context by reference")]
pub(super) fn tcp_port(port: &PortRef, ports: &Vec<Port>) -> garde::Result {
    port.number(ports).map_or_else(invalid, |_| Ok(()))
}

/// Checks that no two volumes are mounted at one path.
pub(super) fn distinct_mount_paths(volumes: &[VolumeMount], (): &()) -> garde::Result {
    let paths = volumes
        .iter()
        .map(|volume| volume.mount_path.trim_end_matches('/'));
    match first_duplicate(paths) {
        Some(path) => invalid(format!(
            "has the mountPath {path:?} twice: give each volume a path of its own"
        )),
        None => Ok(()),
    }
}

/// Checks a directory that a volume is mounted at.
pub(super) fn mount_directory(path: &str, (): &()) -> garde::Result {
    if path.trim_end_matches('/').is_empty() || path.split('/').any(|name| name == "..") {
        return invalid(format!(
            "{path:?} cannot be mounted: use an absolute path other than /, without .."
        ));
    }
    file_path(path, &())
}

/// Checks a path of a file or directory.
pub(super) fn file_path(path: &str, (): &()) -> garde::Result {
    if path.contains('\0') {
        return invalid("contains a NUL character, which no path can: remove it");
    }
    match path.split('/').find(|name| name.len() > LONGEST_FILE_NAME) {
        Some(name) => invalid(format!(
            "contains a name of {} bytes, and Linux allows {LONGEST_FILE_NAME}: shorten it",
            name.len()
        )),
        None => Ok(()),
    }
}

/// Checks an optional path of a file or directory.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn optional_file_path(path: &Option<String>, (): &()) -> garde::Result {
    path.as_deref().map_or(Ok(()), |path| file_path(path, &()))
}

fn first_duplicate<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    values.find(|value| !seen.insert(*value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: serde_json::Value) -> String {
        let spec: ApplicationSpec = serde_json::from_value(spec).unwrap();
        spec.check()
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn field_that_cannot_work_is_reported_with_its_path_and_the_solution() {
        let long = "b".repeat(256);
        let in_path = "contains a name of 256 bytes, and Linux allows 255: shorten it";
        let check_of = |port: serde_json::Value| {
            json!({"healthCheck": {"tcp": {"port": port}},
                "ports": [{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]})
        };
        for (spec, message) in [
            (
                json!({"resources": {"limits": {"cpu": "0"}}}),
                "spec.resources.limits.cpu 0 is not an amount of cpu: write cores from 1m to 1000, as 250m, 1 or 1.5",
            ),
            (
                json!({"build": {"resources": {"requests": {"memory": "2Pi"}}}}),
                "spec.build.resources.requests.memory 2Pi is not an amount of memory: write bytes, as 128Mi or 1G",
            ),
            (
                json!({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}),
                "spec.resources.requests has more cpu than limits.cpu: lower it, or raise the limit",
            ),
            (
                json!({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}),
                "spec.resources.requests has more memory than limits.memory: lower it, or raise the limit",
            ),
            (
                json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 81, "hostIp": "localhost"}]}),
                "spec.ports[1].hostIp \"localhost\" is not an IP address: write it as 127.0.0.1 or ::1",
            ),
            (
                json!({"ports": [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}]}),
                "spec.ports has the name \"http\" twice: give each port a name of its own",
            ),
            (
                check_of(json!("dns")),
                "spec.healthCheck.tcp.port \"dns\" is a UDP port: use the name of a TCP port",
            ),
            (
                check_of(json!("nope")),
                "spec.healthCheck.tcp.port \"nope\" is not a name in spec.ports: add it there, or use the number",
            ),
            (
                check_of(json!(0)),
                "spec.healthCheck.tcp.port 0 is not a port: use a number from 1 to 65535",
            ),
            (
                json!({"healthCheck": {"http": {"port": 65536}}}),
                "spec.healthCheck.http.port 65536 is not a port: use a number from 1 to 65535",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/data", "volume": {}}, {"name": "b", "mountPath": "/data/", "volume": {}}]}),
                "spec.volumes has the mountPath \"/data\" twice: give each volume a path of its own",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "/a/../b", "volume": {}}]}),
                "spec.volumes[0].mountPath \"/a/../b\" cannot be mounted: use an absolute path other than /, without ..",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": "//", "volume": {}}]}),
                "spec.volumes[0].mountPath \"//\" cannot be mounted: use an absolute path other than /, without ..",
            ),
            (
                json!({"volumes": [{"name": "a", "mountPath": format!("/a/{long}"), "volume": {}}]}),
                &format!("spec.volumes[0].mountPath {in_path}"),
            ),
            (
                json!({"source": {"git": {"url": "https://h/a", "path": long}}}),
                &format!("spec.source.git.path {in_path}"),
            ),
            (
                json!({"source": {"gitlab": {"provider": {"name": "p"}, "project": "a/b", "path": long}}}),
                &format!("spec.source.gitlab.path {in_path}"),
            ),
            (
                json!({"build": {"dockerfile": {"context": "a\0"}}}),
                "spec.build.dockerfile.context contains a NUL character, which no path can: remove it",
            ),
            (
                json!({"build": {"static": {"publishDirectory": long}}}),
                &format!("spec.build.static.publishDirectory {in_path}"),
            ),
            (
                json!({"build": {"static": {"image": "a", "imagePath": format!("/{long}")}}}),
                &format!("spec.build.static.imagePath {in_path}"),
            ),
        ] {
            assert_eq!(check(spec), message);
        }
    }

    #[test]
    fn spec_with_usual_values_is_valid() {
        let spec = json!({
            "source": {"git": {"url": "https://h/a", "path": "/apps/web"}},
            "build": {"dockerfile": {"path": "docker/Dockerfile", "context": "."}},
            "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
            "ports": [
                {"name": "http", "containerPort": 80, "hostPort": 80, "hostIp": "::1"},
                {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
            "healthCheck": {"http": {"port": "http"}},
            "volumes": [
                {"name": "a", "mountPath": "/data", "volume": {}}, {"name": "b", "mountPath": "/data/b", "volume": {}},
                {"name": "c", "mountPath": format!("/{}", "c".repeat(255)), "volume": {}}],
        });
        assert_eq!(check(spec), "");
    }

    #[test]
    fn amount_of_cpu_or_memory_is_told_from_other_fields() {
        for (path, expected) in [
            ("spec.resources.limits.cpu", true),
            ("spec.resources.limits.memory", true),
            ("spec.resources.requests", true),
            ("spec.ports[0].hostIp", false),
        ] {
            let field = InvalidField {
                path: path.to_owned(),
                message: String::new(),
            };
            assert_eq!(field.is_quantity(), expected, "{path}");
        }
    }
}
