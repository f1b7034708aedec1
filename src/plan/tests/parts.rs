//! The parts that states are made of.

use jiff::Timestamp;
use serde_json::json;

use crate::api::{Reason, ReleasePhase, ReleaseStatus, Source};
use crate::error::{Class, Problem};
use crate::model::Revision;
use crate::plan::desired::Install;
use crate::plan::state::{JobFailure, JobOutput, JobState};
use crate::plan::step::Step;
use crate::plan::{ReleaseOutcome, release_status};
use crate::redact::Secret;
use crate::runtime::{ExitStatus, Progress, ReplicaState};

/// The time of the reconcile.
pub const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

/// Returns the time so many seconds before the reconcile.
pub fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 - seconds).unwrap()
}

/// Returns commit N.
pub fn commit(number: u32) -> Revision {
    Revision::commit(&format!("{number:0>40}")).unwrap()
}

/// Returns a problem.
pub fn problem(class: Class, reason: Reason) -> Problem {
    Problem::new(class, reason, "it is so")
}

/// Returns the progress of a rollout with so many containers.
pub fn rolling(created: u32) -> Progress {
    Progress::Rolling {
        created,
        ready: 0,
        check_in: None,
        waiting_for: String::new(),
    }
}

/// Returns a source of this kind.
pub fn source(kind: &str) -> Source {
    let provider = json!({"name": "forge"});
    let owned = json!({"provider": provider, "owner": "acme", "repository": "shop", "path": "/web", "submodules": true});
    let source = match kind {
        "docker" => json!({"docker": {"image": "registry.example.com:5000/team/shop:1"}}),
        "gitlab" => json!({"gitlab": {"provider": provider, "project": "acme/shop"}}),
        "bitbucket" => {
            json!({"bitbucket": {"provider": provider, "workspace": "acme", "repository": "shop"}})
        }
        kind => json!({ kind: owned }),
    };
    serde_json::from_value(source).unwrap()
}

/// Returns what the installation of the rows is.
pub fn install() -> Install {
    Install {
        key: Secret::from("key"),
        capabilities: crate::runtime::Capabilities::DOCKER,
        image_prefix: "davit.local/test".to_owned(),
        image_mark: String::new(),
        webhooks: crate::plan::endpoint::Endpoint::default(),
        registry: None,
    }
}

/// Returns a time of deletion.
pub fn k8s_time() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    serde_json::from_value(json!("1970-01-12T13:46:40Z")).unwrap()
}

/// Returns the failure of a job.
pub fn failure(class: Class, cancelled: bool) -> JobFailure {
    let reason = if cancelled {
        Reason::Cancelled
    } else {
        Reason::BuildFailed
    };
    JobFailure {
        at: ago(1),
        problem: problem(class, reason),
        cancelled,
        step: Step::Building,
        log_tail: "error: it is so".to_owned(),
        commit: Some(("Sell shoes".to_owned(), "Jane".to_owned())),
        built_at: Some(ago(2)),
        pushed_at: None,
        builder: None,
    }
}

/// Returns the end of a Release whose Secret was deleted.
pub fn lacking() -> ReleaseOutcome {
    ReleaseOutcome::Failed {
        step: Step::Pending,
        problem: problem(Class::Terminal, Reason::SecretNotFound),
        log_tail: String::new(),
    }
}

/// Returns the state of a container, and how often it was restarted.
pub fn replica_state(state: &str) -> (ReplicaState, i64) {
    let exited = |code| ReplicaState::Exited {
        code,
        oom: false,
        message: "boom".to_owned(),
    };
    match state {
        "healthy" | "joining" => (ReplicaState::Healthy, 0),
        "starting" => (ReplicaState::Starting, 0),
        "unhealthy" => (ReplicaState::Unhealthy("no".to_owned()), 0),
        "exited" => (exited(1), 0),
        "oom" => {
            let state = ReplicaState::Exited {
                code: 137,
                oom: true,
                message: String::new(),
            };
            (state, 0)
        }
        "looping" => {
            let state = ReplicaState::KeepsEnding {
                last: Some(ExitStatus { code: 2, oom: false }),
                times: 4,
                message: "boom".to_owned(),
            };
            (state, 4)
        }
        "ending" => {
            let state = ReplicaState::KeepsEnding {
                last: None,
                times: 1,
                message: String::new(),
            };
            (state, 1)
        }
        "crashing" => (exited(1), 3),
        "kept" => (ReplicaState::Kept, 0),
        other => panic!("unknown state {other:?} of a container"),
    }
}

/// Brings the status of a Release into a phase.
pub fn advance(status: &mut ReleaseStatus, phase: &str, number: u32, at: Timestamp) {
    let phase: ReleasePhase = serde_json::from_value(json!(phase)).unwrap();
    let output = JobOutput {
        image: format!("image-{number}"),
        builder: Some("dockerfile".to_owned()),
        ..JobOutput::default()
    };
    let failed = |step| ReleaseOutcome::Failed {
        step,
        problem: problem(Class::Terminal, Reason::ContainerExited),
        log_tail: String::new(),
    };
    match phase {
        ReleasePhase::Pending | ReleasePhase::Pushing => {}
        ReleasePhase::Fetching => release_status::job(status, &JobState::Fetching { since: at }, at),
        ReleasePhase::Building => release_status::job(status, &JobState::Building { since: at }, at),
        ReleasePhase::Cancelled => release_status::end(status, &ReleaseOutcome::Cancelled, at),
        ReleasePhase::Superseded => release_status::end(status, &ReleaseOutcome::Superseded, at),
        ReleasePhase::Deploying
        | ReleasePhase::Verifying
        | ReleasePhase::Succeeded
        | ReleasePhase::Failed => {
            release_status::image(status, &output, false, at);
            release_status::progress(status, &rolling(0), 1, at);
            match phase {
                ReleasePhase::Verifying => release_status::progress(status, &rolling(1), 1, at),
                ReleasePhase::Succeeded => release_status::progress(status, &Progress::Complete, 1, at),
                ReleasePhase::Failed => release_status::end(status, &failed(Step::Verifying), at),
                _ => {}
            }
        }
    }
}
