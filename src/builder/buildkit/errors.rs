//! Maps BuildKit's messages to errors: the class and the reason of a failed build. Pure.

use super::progress::Failure;
use super::source_policy::refused;
use crate::builder::error::BuildError;
use crate::error::chain;
use crate::image::UNTRUSTED;
use bollard::errors::Error;

/// The exit code of a process that SIGKILL ended: 128 and the signal's number.
const KILLED: u32 = 137;
/// The longest step name in a message, in bytes.
const LONGEST_STEP: usize = 200;

/// The error of a build that ended with `message`, of which `failure` is the step that failed, if it was a step.
pub fn classify(message: &str, failure: Option<&Failure>) -> BuildError {
    let message = strip(message);
    if let Some(failure) = failure {
        let said = strip(&failure.error);
        // First, because the error of a command repeats the command, whose text may be anything.
        let code = exit_code(said).or_else(|| exit_code(message));
        if code == Some(KILLED) || (code.is_none() && said.ends_with(": cannot allocate memory")) {
            return BuildError::OutOfMemory {
                step: short(&failure.step),
                limited: false,
            };
        }
        if let Some(code) = code {
            return BuildError::Exit {
                step: short(&failure.step),
                code,
            };
        }
        if is_full(said) {
            return BuildError::DiskFull;
        }
        if is_base_image(&failure.step) {
            return base_image(&failure.step, said);
        }
        if !is_interrupted(said) {
            return BuildError::Failed(format!("{}: {said}", short(&failure.step)));
        }
    }
    let step = failure
        .map(|failure| strip(&failure.error))
        .filter(|said| is_interrupted(said));
    if is_full(message) {
        BuildError::DiskFull
    } else if let Some(said) = step.or_else(|| is_interrupted(message).then_some(message)) {
        BuildError::Engine(said.to_owned())
    } else if let Some(code) = exit_code(message) {
        BuildError::Failed(format!("a step ended with exit code {code}"))
    } else if message.contains("parse error") && message.contains("unknown instruction: ") {
        BuildError::UnknownInstruction(message.to_owned())
    } else {
        // What is left speaks of the Dockerfile: its syntax, a stage or a file that is not there.
        BuildError::Failed(message.to_owned())
    }
}

/// Without the layers that the error went through.
fn strip(message: &str) -> &str {
    let mut message = message.trim();
    for prefix in [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve with frontend gateway.v0: ",
        "failed to solve: ",
        "rpc error: code = Unknown desc = ",
        "failed to create LLB definition: ",
        "failed to build LLB: ",
    ] {
        message = message.strip_prefix(prefix).unwrap_or(message);
    }
    message
}

/// The number at the end of `… exit code: 7`.
fn exit_code(message: &str) -> Option<u32> {
    message.rsplit_once("exit code: ")?.1.trim().parse().ok()
}

fn is_full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

fn is_interrupted(message: &str) -> bool {
    [
        "context canceled",
        "context deadline exceeded",
        "no active session",
        "no active sessions",
        "transport is closing",
        "error reading from server",
        "code = Unavailable",
        // The engine's own network, while it starts or stops: the step's command was never run.
        "failed to update store for object type *libnetwork",
        "network bridge not found",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The steps in which BuildKit speaks to registries.
fn is_base_image(step: &str) -> bool {
    step.starts_with("[internal] load metadata for ")
        || step.starts_with("resolve image config for ")
        || step.starts_with("docker-image://")
        || step.starts_with("FROM ")
        || (step.starts_with('[')
            && step
                .split_once("] ")
                .is_some_and(|(_, what)| what.starts_with("FROM ")))
}

fn base_image(step: &str, said: &str) -> BuildError {
    let image = step
        .trim_start_matches("[internal] load metadata for ")
        .trim_start_matches("resolve image config for ")
        .trim_start_matches("docker-image://");
    let image = image.split_once("FROM ").map_or(image, |(_, image)| image);
    let message = if said.contains(image) {
        said.to_owned()
    } else {
        format!("{image}: {said}")
    };
    if refused(said) {
        return BuildError::ImageOfOthers(image.to_owned());
    }
    let lower = said.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if any(UNTRUSTED) || any(&["invalidcontenttype", "wrong version number"]) {
        BuildError::BaseImageTls {
            image: image.to_owned(),
            said: said.to_owned(),
        }
    } else if any(&[
        "denied",
        "unauthorized",
        "authorization failed",
        "authentication required",
        "no basic auth",
        "403 forbidden",
    ]) {
        BuildError::BaseImageDenied(message)
    } else if any(&[
        "not found",
        "manifest unknown",
        "no match for platform",
        "invalid reference",
        "does not exist",
    ]) && !any(&["no such host", "dial tcp"])
    {
        BuildError::BaseImage(message)
    } else if any(&[
        "encountered unknown type",
        "unexpected media type",
        "unsupported media type",
        "invalid character '<'",
        "text/html",
        "unexpected status code 5",
        "unexpected status: 5",
        "internal server error",
        "bad gateway",
    ]) {
        BuildError::BaseImageAnswer(message)
    } else {
        // The registry or the way to it; also 429, "toomanyrequests".
        BuildError::RegistryUnreachable(message)
    }
}

fn short(step: &str) -> String {
    crate::error::cut(step, LONGEST_STEP)
}

/// The error of a call to the engine.
pub fn engine(error: &Error) -> BuildError {
    match error {
        Error::DockerResponseServerError { message, .. } if message.contains("no space left on device") => {
            BuildError::DiskFull
        }
        Error::DockerResponseServerError { .. } => BuildError::Engine(chain(error)),
        _ => BuildError::EngineUnavailable(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::error::{Class, Explain as _};

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_one_who_must_act_is_named() {
        let load = "[internal] load metadata for docker.io/library/nothing:1";
        for (step, error, message, reason, class, words) in [
            (
                "[2/2] RUN exit 7",
                "executor failed running [/bin/sh -c exit 7]: exit code: 7",
                "",
                Reason::BuildFailed,
                Class::Terminal,
                "[2/2] RUN exit 7 ended with exit code 7",
            ),
            (
                "[2/2] RUN echo no space left on device; false",
                "process \"/bin/sh -c echo no space left on device; false\" did not complete successfully: exit code: 1",
                "",
                Reason::BuildFailed,
                Class::Terminal,
                "exit code 1",
            ),
            (
                "[2/2] COPY a b",
                "write /x: no space left on device",
                "",
                Reason::DiskFull,
                Class::Transient,
                "disk",
            ),
            (
                load,
                "docker.io/library/nothing:1: not found",
                "",
                Reason::ImagePullFailed,
                Class::Terminal,
                "nothing:1: not found",
            ),
            (
                load,
                "pull access denied, repository does not exist or may require authorization",
                "",
                Reason::ImagePullDenied,
                Class::Terminal,
                "docker.io/library/nothing:1",
            ),
            (
                load,
                "failed to do request: Head \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                "",
                Reason::RegistryUnreachable,
                Class::Transient,
                "no such host",
            ),
            (
                "FROM docker.io/library/missing:latest",
                "dial tcp: lookup registry-1.docker.io: no such host",
                "",
                Reason::RegistryUnreachable,
                Class::Transient,
                "base image cannot be reached: docker.io/library/missing:latest: dial",
            ),
            (
                "[1/2] FROM 127.0.0.1:5000/a",
                "unexpected status: 401 Unauthorized",
                "",
                Reason::ImagePullDenied,
                Class::Terminal,
                "127.0.0.1:5000/a",
            ),
            (
                "",
                "",
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 1: unknown instruction: FORM",
                Reason::BuildFailed,
                Class::Terminal,
                "the build failed: dockerfile parse error line 1",
            ),
            (
                "",
                "",
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 3: unknown instruction: ECHO",
                Reason::BuildFailed,
                Class::Terminal,
                "unknown instruction: ECHO",
            ),
            (
                "[internal] load metadata for r.example:5000/base:1",
                "failed to do request: Head \"https://r.example:5000/v2/base/manifests/1\": x509: cannot validate certificate for r.example",
                "",
                Reason::RegistryTlsFailed,
                Class::Transient,
                "x509",
            ),
            (
                "[internal] load metadata for r.example:5000/base:1",
                "failed to do request: Head \"https://r.example:5000/v2/base/manifests/1\": http: server gave HTTP response to HTTPS client",
                "",
                Reason::RegistryTlsFailed,
                Class::Transient,
                "base image r.example:5000/base:1 cannot be trusted",
            ),
            (
                "[internal] load metadata for r.example:5000/base:1",
                "encountered unknown type text/html; children may not be fetched",
                "",
                Reason::ImagePullFailed,
                Class::Transient,
                "r.example:5000/base:1: encountered unknown type",
            ),
            (
                "[internal] load metadata for r.example:5000/base:1",
                "unexpected status code [manifests 1]: 500 Internal Server Error",
                "",
                Reason::ImagePullFailed,
                Class::Transient,
                "500",
            ),
            (
                "[2/3] RUN sleep 3",
                "executor failed running [/bin/sh -c sleep 3]: failed to update store for object type *libnetwork.endpoint: open : no such file or directory",
                "",
                Reason::EngineFailed,
                Class::Transient,
                "libnetwork",
            ),
            (
                "",
                "",
                "no active session for abc: context deadline exceeded",
                Reason::EngineFailed,
                Class::Transient,
                "",
            ),
        ] {
            let failure = (!step.is_empty()).then(|| Failure {
                step: step.to_owned(),
                error: error.to_owned(),
            });
            let error = classify(message, failure.as_ref());
            assert_eq!((error.reason(), error.class()), (reason, class), "{error}");
            assert!(error.to_string().contains(words), "{error}");
            let told = crate::error::Problem::of(&error).message;
            if reason == Reason::RegistryTlsFailed {
                assert!(
                    told.contains("/etc/docker/certs.d/r.example:5000/ca.crt"),
                    "{told}"
                );
                assert!(told.contains("--insecure-registry"), "{told}");
            }
            if words.contains("ECHO") {
                assert!(told.contains("`# syntax=docker/dockerfile:1`"), "{told}");
            }
        }
    }
}
