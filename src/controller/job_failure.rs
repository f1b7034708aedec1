//! Failures of jobs.

use jiff::Timestamp;

use crate::api::Reason;
use crate::error::{Class, Explain, Problem};
use crate::job_log::JobLog;
use crate::plan::Step;
use crate::plan::state::JobFailure;

/// Returns the failure of a step, with secrets masked.
pub(super) fn failed(
    step: Step,
    error: &(impl Explain + 'static),
    cancelled: bool,
    log: &JobLog,
) -> JobFailure {
    let problem = Problem::masked(error, |text| log.mask(text));
    ended(step, problem, cancelled, log)
}

/// Returns the failure of a step with the last lines of its log.
pub(super) fn ended(step: Step, problem: Problem, cancelled: bool, log: &JobLog) -> JobFailure {
    log.write(&format!("{step} failed: {}", problem.message));
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled,
        step,
        log_tail: log.tail(),
        commit: None,
        built_at: None,
        pushed_at: None,
        builder: None,
    }
}

/// Returns the failure of a job that was cancelled before it started.
pub(super) fn cancelled(step: Step) -> JobFailure {
    let problem = Problem::new(Class::Terminal, Reason::Cancelled, "it was cancelled");
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: true,
        step,
        log_tail: String::new(),
        commit: None,
        built_at: None,
        pushed_at: None,
        builder: None,
    }
}

/// Returns the failure of a job that panicked.
pub(super) fn panicked(error: &tokio::task::JoinError) -> JobFailure {
    tracing::error!(%error, "a job panicked");
    let problem = Problem::new(
        Class::Terminal,
        Reason::Internal,
        "a defect in Davit ended the job; see its log",
    );
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: false,
        step: Step::Building,
        log_tail: String::new(),
        commit: None,
        built_at: None,
        pushed_at: None,
        builder: None,
    }
}

/// Returns the failure of a job whose log cannot be opened.
pub(super) fn no_log(error: &std::io::Error) -> JobFailure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let reason = if full { Reason::DiskFull } else { Reason::Internal };
    let problem = Problem::new(
        Class::Transient,
        reason,
        format!("open the log of the release: {error}"),
    );
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: false,
        step: Step::Fetching,
        log_tail: String::new(),
        commit: None,
        built_at: None,
        pushed_at: None,
        builder: None,
    }
}
