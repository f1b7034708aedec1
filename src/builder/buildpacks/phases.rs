//! The phases of the lifecycle: their names in logs, and the meaning of their exit codes. Pure.

use crate::builder::error::BuildError;

/// Each phase with the mark in its step and its name.
const PHASES: [(&str, &str); 5] = [
    (": phase analyze;", "analyze"),
    (": phase detect;", "detect"),
    (": phase restore;", "restore"),
    (": phase build;", "build"),
    (": phase export;", "export"),
];

/// The beginning of the name of a step.
const PREFIX: &str = "[buildpacks] ";

/// The mark in the step of a phase.
pub fn mark(phase: &str) -> &'static str {
    PHASES
        .iter()
        .find(|(_, name)| *name == phase)
        .map_or("", |(mark, _)| mark)
}

/// The names of the steps, by the mark in each. The text of a step has the id of the cache, which no log may show.
pub fn names() -> Vec<(&'static str, String)> {
    PHASES
        .iter()
        .map(|(mark, name)| (*mark, format!("{PREFIX}{name}")))
        .collect()
}

/// The error of a phase that ended with an exit code, in words (`platform/exit.go` of the lifecycle). `tail` is what it said last:
/// the lifecycle has one code for all failures of a buildpack, also for one that the kernel killed.
pub fn explain(error: BuildError, field: &'static str, limited: bool, tail: &str) -> BuildError {
    let BuildError::Exit { step, code } = error else {
        return error;
    };
    let Some(phase) = step.strip_prefix(PREFIX) else {
        return BuildError::Exit { step, code };
    };
    let failed = |why: &str| BuildError::Failed(format!("{phase}: {why} (exit code {code})"));
    match code {
        11 | 12 => BuildError::NotSupported {
            field,
            why: format!("the lifecycle of the builder and Davit have no common API (exit code {code})"),
        },
        20 => BuildError::NoBuildpack {
            field,
            why: "no buildpack of the builder fits the source".to_owned(),
        },
        21 => BuildError::NoBuildpack {
            field,
            why: "no buildpack of the builder fits the source, and one of them failed".to_owned(),
        },
        22 | 51 if was_killed(tail) => BuildError::OutOfMemory {
            step: step.clone(),
            limited,
        },
        22 => failed("a buildpack could not examine the source"),
        51 => failed("a buildpack failed"),
        52 => failed("the lifecycle could not run the buildpacks"),
        32 | 42 | 62 => BuildError::Temporary(format!(
            "build the image: the lifecycle could not {phase} (exit code {code})"
        )),
        _ => failed("the lifecycle failed"),
    }
}

/// How many of the last lines tell why a phase failed.
const LAST_LINES: usize = 20;

/// Reports whether the lifecycle said at last that SIGKILL ended a buildpack.
fn was_killed(tail: &str) -> bool {
    let mut last = tail.lines().rev().take(LAST_LINES);
    last.any(|line| line.contains("signal: killed") || line.trim_end().ends_with("exit status 137"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::error::{Class, Explain as _};

    #[test]
    fn exit_code_of_each_phase_has_its_reason() {
        for (phase, code, reason, class, words) in [
            (
                "analyze",
                11,
                Reason::NotSupported,
                Class::Terminal,
                "no common API",
            ),
            (
                "analyze",
                32,
                Reason::BuildFailed,
                Class::Transient,
                "could not analyze",
            ),
            (
                "detect",
                20,
                Reason::BuildTypeNotDetected,
                Class::Terminal,
                "no buildpack of the builder fits",
            ),
            (
                "detect",
                21,
                Reason::BuildTypeNotDetected,
                Class::Terminal,
                "one of them failed",
            ),
            (
                "detect",
                22,
                Reason::BuildFailed,
                Class::Terminal,
                "examine the source",
            ),
            (
                "restore",
                42,
                Reason::BuildFailed,
                Class::Transient,
                "could not restore",
            ),
            (
                "build",
                51,
                Reason::BuildFailed,
                Class::Terminal,
                "build: a buildpack failed (exit code 51)",
            ),
            (
                "build",
                52,
                Reason::BuildFailed,
                Class::Terminal,
                "could not run the buildpacks",
            ),
            (
                "export",
                62,
                Reason::BuildFailed,
                Class::Transient,
                "could not export",
            ),
            ("export", 1, Reason::BuildFailed, Class::Terminal, "exit code 1"),
        ] {
            let step = format!("{PREFIX}{phase}");
            let error = explain(
                BuildError::Exit { step, code },
                "spec.build.paketoBuildpacks",
                false,
                "",
            );
            assert_eq!((error.reason(), error.class()), (reason, class), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let other = BuildError::Exit {
            step: "[2/2] RUN x".to_owned(),
            code: 20,
        };
        assert_eq!(explain(other, "x", false, "").reason(), Reason::BuildFailed);
        let killed = "npm install\nERROR: failed to build: signal: killed\n\n";
        for (code, tail, reason) in [
            (51, killed, Reason::BuildOutOfMemory),
            (51, "ERROR: failed to build: exit status 1", Reason::BuildFailed),
            (20, killed, Reason::BuildTypeNotDetected),
        ] {
            let step = format!("{PREFIX}build");
            let error = explain(BuildError::Exit { step, code }, "x", true, tail);
            assert_eq!(error.reason(), reason, "{code} {tail}");
        }
    }
}
