//! What hinders a rollout that Kubernetes performs, and how far it is. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1::Pod;

use super::names;
use super::observe::{self, CALM};
use crate::runtime::{Deployment, Progress, Replica, ReplicaState, Restart, RuntimeError};

/// How often a rollout that waits for an event is looked at all the same.
const SAFETY_NET: Duration = Duration::from_secs(30);
/// How often a container is looked at whose health check fails: no watch reports that.
const CHECKED: Duration = Duration::from_secs(2);

/// A rollout that was just written.
pub fn written(what: &str) -> Progress {
    rolling(0, 0, SAFETY_NET, what.to_owned())
}

fn rolling(created: usize, ready: usize, check_in: Duration, waiting_for: String) -> Progress {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Progress::Rolling {
        created: number(created),
        ready: number(ready),
        check_in: Some(check_in),
        waiting_for,
    }
}

/// Why no Pod of this configuration starts, if one does not.
pub fn hindrance(hash: &str, workload: Option<&apps::Deployment>, pods: &[Pod]) -> Option<RuntimeError> {
    if let Some(message) = workload.and_then(refusal) {
        return Some(creation(&message));
    }
    let own = pods.iter().filter(|pod| {
        names::label(&pod.metadata, names::CONFIG) == hash && pod.metadata.deletion_timestamp.is_none()
    });
    let errors: Vec<RuntimeError> = own.filter_map(of_pod).collect();
    // One that only the user can solve comes first.
    let rank = |error: &RuntimeError| u8::from(!matches!(error, RuntimeError::Rejected { .. }));
    errors.into_iter().min_by_key(rank)
}

/// Why the Deployment cannot create Pods.
fn refusal(workload: &apps::Deployment) -> Option<String> {
    let status = workload.status.as_ref()?;
    if status.observed_generation < workload.metadata.generation {
        return None;
    }
    let mut all = status.conditions.iter().flatten();
    let failure = all.find(|condition| {
        let pair = (condition.type_.as_deref(), condition.status.as_deref());
        pair == (Some("ReplicaFailure"), Some("True"))
    })?;
    failure.message.clone()
}

/// The API server's answer to the creation of a Pod.
pub fn creation(message: &str) -> RuntimeError {
    // `pods "shop-7d4b9-abcde" is forbidden: …`: the name changes with every try.
    let why = match message.split_once("is forbidden: ") {
        Some((_, why)) => why,
        None => message,
    };
    let lower = why.to_ascii_lowercase();
    if lower.contains("exceeded quota") || lower.contains("failed quota") {
        return RuntimeError::QuotaExceeded(why.to_owned());
    }
    if lower.contains("podsecurity")
        || lower.contains("denied the request")
        || message.contains("is forbidden: ")
    {
        return RuntimeError::Rejected {
            message: why.to_owned(),
            fields: Some("the Pod Security level and the admission rules of the namespace"),
        };
    }
    if lower.contains("is invalid") {
        return RuntimeError::Rejected {
            message: why.to_owned(),
            fields: None,
        };
    }
    RuntimeError::Engine {
        doing: "create a Pod",
        message: why.to_owned(),
    }
}

fn of_pod(pod: &Pod) -> Option<RuntimeError> {
    if let Some(("False", "Unschedulable", message)) = observe::condition(pod, "PodScheduled") {
        return Some(RuntimeError::Unschedulable(
            message.trim_end_matches('.').to_owned(),
        ));
    }
    let status = observe::status(pod)?;
    if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
        return None;
    }
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    for ended in [ended, last].into_iter().flatten() {
        if let Some("StartError" | "ContainerCannotRun") = ended.reason.as_deref() {
            return Some(start(ended.message.as_deref().unwrap_or_default()));
        }
    }
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(pull(&status.image, message))
        }
        "ErrImageNeverPull" => Some(RuntimeError::ImageMissing(status.image.clone())),
        "InvalidImageName" => Some(rejected(message)),
        "RunContainerError" => Some(start(message)),
        // The kubelet may not have seen a Secret yet that was just created.
        "CreateContainerConfigError" if !message.contains("not found") => Some(rejected(message)),
        "CreateContainerConfigError" | "CreateContainerError" => Some(RuntimeError::Engine {
            doing: "create a container",
            message: message.to_owned(),
        }),
        _ => None,
    }
}

/// A container that could not be started: because of its program, or of the node.
fn start(message: &str) -> RuntimeError {
    // The names of the parts of the machine before the cause help no user.
    match message.rfind("exec: ").and_then(|at| message.get(at..)) {
        Some(cause) => rejected(cause),
        None => RuntimeError::Engine {
            doing: "start a container",
            message: message.to_owned(),
        },
    }
}

fn rejected(message: &str) -> RuntimeError {
    RuntimeError::Rejected {
        message: message.to_owned(),
        fields: None,
    }
}

fn pull(image: &str, message: &str) -> RuntimeError {
    // `Back-off pulling image "…": ErrImagePull: …`
    let why = match message.rsplit_once("ErrImagePull: ") {
        Some((_, why)) => why,
        None => message,
    };
    let lower = why.to_ascii_lowercase();
    let denied = [
        "unauthorized",
        "denied",
        "forbidden",
        "authentication required",
        "no basic auth",
    ]
    .iter()
    .any(|word| lower.contains(word));
    RuntimeError::ImagePull {
        image: image.to_owned(),
        message: why.to_owned(),
        denied,
    }
}

/// How far the rollout is whose objects are as wanted. `preserved` is a configuration whose Pods may stay.
pub fn progress(
    wanted: &Deployment,
    workload: Option<&apps::Deployment>,
    replicas: &[Replica],
    preserved: Option<&str>,
    now: Timestamp,
) -> Progress {
    let hash = &wanted.identity.hash;
    let (own, others): (Vec<&Replica>, Vec<&Replica>) = replicas
        .iter()
        .filter(|replica| Some(replica.hash.as_str()) != preserved)
        .partition(|replica| replica.hash == *hash && !replica.draining);
    let (mut ready, mut completed) = (0, 0);
    let mut waits = Vec::new();
    let mut check_in = SAFETY_NET;
    for replica in &own {
        if let ReplicaState::Exited { .. } = replica.state
            && wanted.history.completed.contains(&replica.id)
        {
            completed += 1;
            continue;
        }
        match waits_for(wanted, replica, now) {
            None => ready += 1,
            Some((why, soon)) => {
                check_in = check_in.min(soon);
                waits.push(why);
            }
        }
    }
    let gone = wanted
        .history
        .completed
        .iter()
        .filter(|id| !own.iter().any(|it| it.id == **id));
    completed += gone.count();
    if waits.is_empty() && !others.is_empty() {
        waits.push(format!("{} Pods to stop", others.len()));
    }
    let count = usize::try_from(wanted.policy.replicas).unwrap_or(usize::MAX);
    let settled = workload.is_none_or(|workload| is_settled(workload, count));
    if waits.is_empty() && ready + completed >= count && settled {
        return Progress::Complete;
    }
    let first = waits
        .into_iter()
        .next()
        .unwrap_or_else(|| "Pods to be created".to_owned());
    rolling(own.len(), ready, check_in, first)
}

/// Whether as many replicas as wanted are ready or have run to completion.
pub fn is_ready(wanted: &Deployment, replicas: &[Replica], now: Timestamp) -> bool {
    let own = replicas
        .iter()
        .filter(|it| it.hash == wanted.identity.hash && !it.draining);
    let ready = own.filter(|replica| {
        let completed = wanted.history.completed.contains(&replica.id);
        completed || waits_for(wanted, replica, now).is_none()
    });
    ready.count() >= usize::try_from(wanted.policy.replicas).unwrap_or(usize::MAX)
}

/// Whether the Deployment's controller has seen the last change, and finds all replicas updated and available.
fn is_settled(workload: &apps::Deployment, count: usize) -> bool {
    let Some(status) = &workload.status else {
        return false;
    };
    let number = |number: Option<i32>| usize::try_from(number.unwrap_or_default()).unwrap_or_default();
    status.observed_generation >= workload.metadata.generation
        && number(status.updated_replicas) == count
        && number(status.replicas) == count
        && number(status.available_replicas) == count
}

/// What a replica is waited for, and when that may have changed without an event; `None` if it is ready.
fn waits_for(wanted: &Deployment, replica: &Replica, now: Timestamp) -> Option<(String, Duration)> {
    let name = &replica.name;
    match &replica.state {
        ReplicaState::Healthy => {
            let since = replica.healthy_since?;
            let min_ready = min_ready(wanted);
            let passed = now.duration_since(since);
            let rest = min_ready
                .checked_sub(passed)
                .filter(SignedDuration::is_positive)?;
            let why = format!("{name} is healthy, but not for long enough yet");
            Some((why, Duration::try_from(rest).unwrap_or_default()))
        }
        ReplicaState::Unhealthy(why) => Some((format!("{name} is unhealthy: {why}"), CHECKED)),
        ReplicaState::KeepsEnding { .. } => {
            let why = format!("{name} ended {} times and is started again", replica.restarts);
            Some((why, Duration::try_from(CALM).unwrap_or(CHECKED)))
        }
        ReplicaState::Exited { code, .. } => {
            let why = format!("{name} ended with exit code {code} and is not started again");
            Some((why, SAFETY_NET))
        }
        ReplicaState::Created => Some((format!("{name} has not been seen healthy yet"), SAFETY_NET)),
        ReplicaState::Starting | ReplicaState::Kept => {
            Some((format!("{name} has not been seen healthy yet"), CHECKED))
        }
    }
}

/// A Deployment counts the time itself; a Job has no such field.
fn min_ready(wanted: &Deployment) -> SignedDuration {
    if wanted.spec.restart == Restart::Always {
        return SignedDuration::ZERO;
    }
    let default = if wanted.spec.health.is_some() {
        Duration::ZERO
    } else {
        Duration::from_secs(1)
    };
    SignedDuration::try_from(wanted.policy.min_ready.unwrap_or(default)).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
