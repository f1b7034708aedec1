//! What the engine says when it refuses, in our words.

use std::sync::LazyLock;

use bollard::errors::Error;
use regex::Regex;

use crate::error::{chain, cut};
use crate::runtime::port::specific;
use crate::runtime::{PortBinding, RuntimeError, Workload};

/// The longest text of the engine that is repeated, in bytes.
const LONGEST: usize = 512;

/// An error of the engine while we were `doing` something that has nothing to do with a workload's configuration.
pub fn error(doing: &'static str, error: &Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { message, .. } if message.contains("no space left on device") => {
            RuntimeError::DiskFull
        }
        // By default an engine has room for some thirty networks, and each namespace needs one.
        Error::DockerResponseServerError { message, .. }
            if message.contains("non-overlapping") || message.contains("fully subnetted") =>
        {
            RuntimeError::Engine {
                doing,
                message: format!(
                    "{}: the engine has room for no more networks; give it more with default-address-pools in \
                     /etc/docker/daemon.json, or remove those that nobody uses (docker network prune)",
                    told(message)
                ),
            }
        }
        Error::DockerResponseServerError { message, .. } => RuntimeError::Engine {
            doing,
            message: told(message),
        },
        // Everything that is no answer: refused, reset, ended in the middle, timed out.
        _ if unreachable(error) => RuntimeError::EngineUnavailable(cut(&chain(error), LONGEST)),
        _ => RuntimeError::Engine {
            doing,
            message: cut(&chain(error), LONGEST),
        },
    }
}

/// The engine's message as it is repeated: the same for the same trouble. An endpoint has a new id with each try, which would
/// make news of each; of other ids the part that `docker` shows too is left.
pub fn told(message: &str) -> String {
    static IDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"\s?\([0-9a-f]{64}\)|(?P<digest>sha256:[0-9a-f]{64})|\b(?P<short>[0-9a-f]{12})[0-9a-f]{52}\b",
        )
        .ok()
    });
    match IDS.as_ref() {
        Some(ids) => cut(&ids.replace_all(message, "${digest}${short}"), LONGEST),
        None => cut(message, LONGEST),
    }
}

/// The status that the engine answered with.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The same, where "it is not there" is as good as success.
pub fn unless_gone<T>(doing: &'static str, result: Result<T, Error>) -> Result<Option<T>, RuntimeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(refusal) if status(&refusal) == Some(404) => Ok(None),
        Err(refusal) => Err(error(doing, &refusal)),
    }
}

fn unreachable(error: &Error) -> bool {
    matches!(
        error,
        Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// What a refused start means.
#[derive(Debug)]
pub enum Refusal {
    /// The container cannot be started as it is any more (its network or its address is gone): make it anew.
    Anew,
    /// A host port is taken; by whom must be found out.
    Port(PortBinding),
    /// As it is.
    Error(RuntimeError),
}

/// Reads why a container was not made.
pub fn creation(workload: &Workload, refusal: &Error) -> RuntimeError {
    match refusal {
        Error::DockerResponseServerError {
            status_code: 404,
            message,
        } if message.contains("o such image") => RuntimeError::ImageMissing(workload.image.clone()),
        Error::DockerResponseServerError {
            status_code: 400,
            message,
        } => RuntimeError::ConfigInvalid(mend(message)),
        other => error("create a container", other),
    }
}

/// Reads why a container was not started.
pub fn start(workload: &Workload, refusal: &Error) -> Refusal {
    let Error::DockerResponseServerError { message, .. } = refusal else {
        return Refusal::Error(error("start a container", refusal));
    };
    let no_address = message.contains("cannot assign requested address");
    let at_address = |port: &PortBinding| port.host_ip.as_deref().and_then(specific).is_some();
    if no_address && let Some(port) = named_port(workload, message).filter(at_address) {
        return Refusal::Error(RuntimeError::AddressMissing(port));
    }
    let port = [
        "port is already allocated",
        "address already in use",
        "failed to bind",
    ];
    if port.iter().any(|words| message.contains(words))
        && let Some(port) = named_port(workload, message)
    {
        return Refusal::Port(port);
    }
    if message.contains("Address already in use")
        || (message.contains("network") && message.contains("not found"))
    {
        return Refusal::Anew;
    }
    let entry = [
        "executable file not found",
        "permission denied",
        "no such file or directory",
        "exec format error",
        "is a directory",
        "not a directory",
    ];
    let runtime = message.contains("OCI runtime") || message.contains("runc") || message.contains("exec");
    if runtime && entry.iter().any(|words| message.contains(words)) {
        return Refusal::Error(RuntimeError::ConfigInvalid(mend(message)));
    }
    Refusal::Error(error("start a container", refusal))
}

/// What a container's last words mean where the engine's init could not run its command.
pub fn init(last_words: &str) -> Option<RuntimeError> {
    let line = last_words
        .lines()
        .rev()
        .find(|line| line.starts_with("[FATAL tini"))?;
    let (_, why) = line.split_once("] ")?;
    why.starts_with("exec ")
        .then(|| RuntimeError::ConfigInvalid(mend(why)))
}

/// The workload's host port that the message speaks of, with its address where several have that port.
fn named_port(workload: &Workload, message: &str) -> Option<PortBinding> {
    let says = |needle: &str| {
        message.match_indices(needle).any(|(at, found)| {
            let before = message.get(..at).and_then(|text| text.chars().next_back());
            let after = message
                .get(at + found.len()..)
                .and_then(|text| text.chars().next());
            let goes_on = |next: Option<char>| next.is_some_and(|next| next.is_ascii_alphanumeric());
            !after.is_some_and(|next| next.is_ascii_digit()) && (needle.starts_with(':') || !goes_on(before))
        })
    };
    let ports = || workload.ports.iter().filter(|port| port.host.is_some());
    let number = |port: &PortBinding| port.host.unwrap_or_default();
    let at_address = |port: &&PortBinding| {
        let ip = port.host_ip.as_deref().and_then(specific);
        ip.is_some_and(|ip| {
            says(&format!("{ip}:{}", number(port))) || says(&format!("[{ip}]:{}", number(port)))
        })
    };
    let of_number = |port: &&PortBinding| says(&format!(":{}", number(port)));
    let named = ports().find(at_address).or_else(|| ports().find(of_number));
    named.or_else(|| ports().next()).cloned()
}

/// The engine's message without what only its authors understand, with the field that mends it where that is known.
fn mend(message: &str) -> String {
    let core = message
        .rsplit("starting container process caused: ")
        .next()
        .unwrap_or(message);
    let core = told(core.trim_end_matches(": unknown").trim());
    let field = if core.contains("No command specified") || core.contains("no command specified") {
        "; the image names no command: set spec.command"
    } else if core.contains("exec") {
        "; see spec.command and the image's entrypoint"
    } else if core.contains("mount") {
        "; see spec.volumes"
    } else if core.contains("emory") || core.contains("CPU") || core.contains("cpu") {
        "; see spec.resources"
    } else {
        ""
    };
    format!("{core}{field}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Protocol;
    use crate::runtime::fake::workload;

    fn refused(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_refused_start_is_told_in_our_words() {
        let mut given = workload("shop", "web", "h1");
        given.ports = [
            (80, None),
            (8080, Some("127.0.0.1")),
            (8080, Some("127.0.0.2")),
            (8080, Some("::1")),
        ]
        .map(|(port, ip)| PortBinding {
            container: 80,
            host: Some(port),
            host_ip: ip.map(str::to_owned),
            protocol: Protocol::Tcp,
        })
        .into();
        for (message, expected) in [
            (
                "driver failed programming external connectivity on endpoint x (12): Bind for 127.0.0.1:8080 failed: port is already allocated",
                "Port 127.0.0.1:8080",
            ),
            (
                "driver failed programming external connectivity on endpoint x (12): Bind for 127.0.0.2:8080 failed: port is already allocated",
                "Port 127.0.0.2:8080",
            ),
            (
                "driver failed: Error starting userland proxy: listen tcp6 [::1]:8080: bind: address already in use",
                "Port [::1]:8080",
            ),
            (
                "driver failed: Bind for 0.0.0.0:8080 failed: port is already allocated",
                "Port 127.0.0.1:8080",
            ),
            (
                "driver failed: Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
                "Port 80",
            ),
            (
                "driver failed: Error starting userland proxy: listen tcp4 127.0.0.2:8080: bind: cannot assign requested address",
                "spec.ports.hostIp 127.0.0.2 is not an address of the engine's machine",
            ),
            (
                "driver failed: failed to bind host port for [::1]:8080:172.17.0.2:80/tcp: cannot assign requested address",
                "spec.ports.hostIp ::1 is not an address of the engine's machine",
            ),
            (
                "driver failed: listen tcp6 [::]:80: bind: cannot assign requested address",
                "start a container: driver failed",
            ),
            ("network davit-x not found", "Anew"),
            ("Address already in use", "Anew"),
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown",
                "spec.command",
            ),
            ("write /var/lib/x: no space left on device", "no space left"),
            ("something else", "start a container: something else"),
        ] {
            let said = match start(&given, &refused(500, message)) {
                Refusal::Port(port) => format!("Port {}", port.place()),
                Refusal::Error(error) => error.to_string(),
                Refusal::Anew => "Anew".to_owned(),
            };
            assert!(said.contains(expected), "{message}: {said}");
        }
        let words = "hello\n[FATAL tini (7)] exec /nope failed: No such file or directory";
        let said = init(words).unwrap().to_string();
        assert!(
            said.contains("exec /nope failed") && said.contains("spec.command"),
            "{said}"
        );
        assert!(init("exec failed").is_none());
        for message in [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            let said = error("find a free subnet", &refused(500, message)).to_string();
            assert!(said.contains("default-address-pools"), "{said}");
        }
        let missing = creation(&given, &refused(404, "No such image: sha256:1"));
        assert!(matches!(missing, RuntimeError::ImageMissing(_)), "{missing:?}");
        let none = creation(&given, &refused(400, "No command specified"));
        assert!(none.to_string().contains("spec.command"), "{none}");
    }

    #[test]
    fn the_same_trouble_is_told_in_the_same_words_each_time() {
        let id = |digit: &str| digit.repeat(64);
        for (message, expected) in [
            (
                format!(
                    "programming external connectivity on endpoint davit-x-0 ({}): no",
                    id("4")
                ),
                "programming external connectivity on endpoint davit-x-0: no".to_owned(),
            ),
            (
                format!("No such container: {}", id("a")),
                format!("No such container: {}", "a".repeat(12)),
            ),
            (
                format!("mount /overlay2/{}/merged: no", id("b")),
                format!("mount /overlay2/{}/merged: no", "b".repeat(12)),
            ),
            (
                format!("no image web@sha256:{}", id("c")),
                format!("no image web@sha256:{}", id("c")),
            ),
            ("deadbeef (12)".to_owned(), "deadbeef (12)".to_owned()),
        ] {
            let said = error("x", &refused(500, &message)).to_string();
            assert_eq!(said, format!("x: {expected}"));
        }
    }
}
