//! What the engine says when it refuses, in our words.

use std::sync::LazyLock;

use bollard::errors::Error;
use regex::Regex;

use crate::error::{chain, cut};
use crate::runtime::port::specific;
use crate::runtime::{Deployment, Port, RuntimeError};

/// The longest text of the engine that is repeated, in bytes.
const LONGEST: usize = 512;

/// An error of the engine while we were `doing` something that has nothing to do with a deployment's configuration.
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
    /// A host port is taken; its owner is looked up separately.
    Port(Port),
    /// As it is.
    Error(RuntimeError),
}

/// Reads why a container was not made.
pub fn creation(deployment: &Deployment, refusal: &Error) -> RuntimeError {
    match refusal {
        Error::DockerResponseServerError {
            status_code: 404,
            message,
        } if message.contains("o such image") => RuntimeError::ImageMissing(deployment.spec.image.clone()),
        Error::DockerResponseServerError {
            status_code: 400,
            message,
        } => rejected(message),
        Error::DockerResponseServerError { message, .. } if limit(message).is_some() => rejected(message),
        other => error("create a container", other),
    }
}

/// Reads why a container was not started.
pub fn start(deployment: &Deployment, refusal: &Error) -> Refusal {
    let Error::DockerResponseServerError { message, .. } = refusal else {
        return Refusal::Error(error("start a container", refusal));
    };
    let no_address = message.contains("cannot assign requested address");
    let at_address = |port: &Port| port.host_ip.as_deref().and_then(specific).is_some();
    if no_address && let Some(port) = named_port(deployment, message).filter(at_address) {
        return Refusal::Error(RuntimeError::AddressMissing(port));
    }
    let port = [
        "port is already allocated",
        "address already in use",
        "failed to bind",
    ];
    if port.iter().any(|words| message.contains(words))
        && let Some(port) = named_port(deployment, message)
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
        return Refusal::Error(rejected(message));
    }
    if limit(message).is_some() {
        return Refusal::Error(rejected(message));
    }
    Refusal::Error(error("start a container", refusal))
}

/// Reads the last output of a container whose program could not be executed: the engine's init or its runtime reports that
/// there, after the engine has reported that the container was started.
pub fn not_executed(output: &str) -> Option<RuntimeError> {
    let line = output.lines().rev().find(|line| !line.trim().is_empty())?;
    let reported = match line.strip_prefix("[FATAL tini") {
        Some(rest) => rest.split_once("] ")?.1,
        // The runtime itself ends its line with the kernel's error.
        None if EXEC_ERRORS
            .iter()
            .any(|error| line.to_ascii_lowercase().ends_with(error)) =>
        {
            line
        }
        None => return None,
    };
    reported.starts_with("exec ").then(|| rejected(reported))
}

/// The kernel's reasons not to execute a program.
const EXEC_ERRORS: [&str; 7] = [
    "exec format error",
    "argument list too long",
    "no such file or directory",
    "permission denied",
    "is a directory",
    "not a directory",
    "file name too long",
];

/// The deployment's host port that the message speaks of, with its address where several have that port.
fn named_port(deployment: &Deployment, message: &str) -> Option<Port> {
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
    let ports = || deployment.spec.ports.iter().filter(|port| port.host.is_some());
    let number = |port: &Port| port.host.unwrap_or_default();
    let at_address = |port: &&Port| {
        let ip = port.host_ip.as_deref().and_then(specific);
        ip.is_some_and(|ip| {
            says(&format!("{ip}:{}", number(port))) || says(&format!("[{ip}]:{}", number(port)))
        })
    };
    let of_number = |port: &&Port| says(&format!(":{}", number(port)));
    let named = ports().find(at_address).or_else(|| ports().find(of_number));
    named.or_else(|| ports().next()).cloned()
}

/// Limits of the kernel and the engine that validation cannot check, because they depend on the image or the machine: a part
/// of the message, the fields of the spec, and what to do.
const LIMITS: [(&str, &str, &str); 9] = [
    (
        "rgument list too long",
        "spec.env, spec.envFrom, spec.command and spec.args",
        "; all variables and arguments together may have a quarter of the stack limit, 2 MiB by default: pass large values as \
         files of spec.volumes",
    ),
    ("Range of CPUs is", "spec.resources.limits.cpu", ""),
    ("emory limit", "spec.resources.limits.memory", ""),
    ("OOM-killed", "spec.resources.limits.memory", ""),
    ("cannot be mounted because", "spec.volumes", ""),
    (
        "is not directory",
        "spec.volumes",
        "; the image has a file at that path, and a volume is a directory",
    ),
    ("Duplicate mount point", "spec.volumes", ""),
    (
        "ile name too long",
        "spec.volumes, spec.command and spec.args",
        "",
    ),
    ("unable to find user", "the USER of the image", ""),
];

fn limit(message: &str) -> Option<(&'static str, &'static str)> {
    let found = LIMITS.iter().find(|(part, ..)| message.contains(part))?;
    Some((found.1, found.2))
}

/// The engine's refusal of a configuration, without the parts that concern only the engine's authors.
fn rejected(message: &str) -> RuntimeError {
    let core = message
        .rsplit("starting container process caused: ")
        .next()
        .unwrap_or(message);
    let core = told(core.trim_end_matches(": unknown").trim());
    let (fields, advice) = match limit(&core) {
        Some((fields, advice)) => (Some(fields), advice),
        None if core.contains("o command specified") => (Some("spec.command"), "; the image has no command"),
        None if core.contains("exec") => (Some("spec.command and the image's entrypoint"), ""),
        None if core.contains("mount") => (Some("spec.volumes"), ""),
        None if core.contains("emory") || core.contains("CPU") || core.contains("cpu") => {
            (Some("spec.resources"), "")
        }
        None => (None, ""),
    };
    RuntimeError::Rejected {
        message: format!("{core}{advice}"),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Protocol;
    use crate::error::Problem;
    use crate::runtime::fake::deployment;

    fn refused(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_refused_start_is_told_in_our_words() {
        let mut given = deployment("shop", "web", "h1");
        given.spec.ports = [
            (80, None),
            (8080, Some("127.0.0.1")),
            (8080, Some("127.0.0.2")),
            (8080, Some("::1")),
        ]
        .map(|(port, ip)| Port {
            name: None,
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
                "127.0.0.2:8080 cannot be bound: the engine's machine does not have that address",
            ),
            (
                "driver failed: failed to bind host port for [::1]:8080:172.17.0.2:80/tcp: cannot assign requested address",
                "[::1]:8080 cannot be bound: the engine's machine does not have that address",
            ),
            (
                "driver failed: listen tcp6 [::]:80: bind: cannot assign requested address",
                "cannot start a container: driver failed",
            ),
            ("network davit-x not found", "Anew"),
            ("Address already in use", "Anew"),
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown",
                "spec.command",
            ),
            (
                "exec /sbin/docker-init: argument list too long",
                "spec.env, spec.envFrom, spec.command and spec.args",
            ),
            (
                "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
                "spec.resources.limits.cpu",
            ),
            (
                "source /var/lib/docker/overlay2/x/merged/etc/passwd is not directory",
                "spec.volumes",
            ),
            (
                "unable to find user app: no matching entries in passwd file",
                "the USER of the image",
            ),
            ("write /var/lib/x: no space left on device", "no space left"),
            ("something else", "cannot start a container: something else"),
        ] {
            let said = match start(&given, &refused(500, message)) {
                Refusal::Port(port) => format!("Port {}", port.place()),
                Refusal::Error(error) => Problem::of(&error).message,
                Refusal::Anew => "Anew".to_owned(),
            };
            assert!(said.contains(expected), "{message}: {said}");
        }
    }

    #[test]
    fn output_of_a_program_that_was_not_executed_is_explained() {
        for (output, expected) in [
            (
                "hello\n[FATAL tini (7)] exec /nope failed: No such file or directory",
                "exec /nope failed",
            ),
            ("exec /app: exec format error\n", "exec /app: exec format error"),
            ("exec /sbin/docker-init: argument list too long", "spec.envFrom"),
        ] {
            let problem = Problem::of(&not_executed(output).unwrap());
            assert!(
                problem.message.contains(expected) && problem.message.contains("spec.command"),
                "{problem:?}"
            );
        }
        for output in [
            "exec failed",
            "",
            "sh: /x: not found",
            "exec /app: permission denied\nthen more",
        ] {
            assert!(not_executed(output).is_none(), "{output}");
        }
        for message in [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            let said = error("find a free subnet", &refused(500, message)).to_string();
            assert!(said.contains("default-address-pools"), "{said}");
        }
        let given = deployment("shop", "web", "h1");
        let missing = creation(&given, &refused(404, "No such image: sha256:1"));
        assert!(matches!(missing, RuntimeError::ImageMissing(_)), "{missing:?}");
        let none = creation(&given, &refused(400, "No command specified"));
        assert!(Problem::of(&none).message.contains("spec.command"), "{none}");
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
            assert_eq!(said, format!("cannot x: {expected}"));
        }
    }
}
