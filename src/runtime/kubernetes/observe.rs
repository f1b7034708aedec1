//! Pods as the replicas that Davit observes. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};

use super::names::{self, CONTAINER};
use crate::runtime::rolling::in_steps;
use crate::runtime::{ExitStatus, Replica, ReplicaState};

/// How long a container must run after a restart until its earlier failures no longer count.
pub const CALM: SignedDuration = SignedDuration::from_secs(10);

/// The failures of a Pod's health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckFailures {
    /// How many there were.
    pub count: i64,
    /// What the last one said.
    pub message: String,
}

/// The Pods of an Application as replicas. `jobs` are the Jobs of the Application, `failures` those of health checks by the
/// name of the Pod.
pub fn replicas(
    jobs: &[Job],
    pods: &[Pod],
    failures: &BTreeMap<String, CheckFailures>,
    now: Timestamp,
) -> Vec<Replica> {
    let (of_jobs, others): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| job_of(pod).is_some());
    let mut replicas: Vec<Replica> = others
        .into_iter()
        // A Pod that was evicted stays as an object; its place is taken by another one.
        .filter(|pod| phase(pod) != "Failed" && phase(pod) != "Succeeded")
        .map(|pod| {
            let failures = failures.get(name(pod));
            let restarts = status(pod).map_or(0, |status| status.restart_count.into());
            replica(pod, state(pod, failures, now), restarts)
        })
        .collect();
    let mut by_job: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in of_jobs {
        by_job
            .entry(job_of(pod).unwrap_or_default())
            .or_default()
            .push(pod);
    }
    for (name, pods) in by_job {
        let job = jobs.iter().find(|job| job.metadata.name.as_deref() == Some(name));
        replicas.extend(of_job(job, pods, failures, now));
    }
    replicas.sort_by(|one, two| one.name.cmp(&two.name));
    replicas
}

/// The replicas of a Job: a Pod that failed and was replaced is a restart of the one that replaced it.
fn of_job(
    job: Option<&Job>,
    mut pods: Vec<&Pod>,
    failures: &BTreeMap<String, CheckFailures>,
    now: Timestamp,
) -> Vec<Replica> {
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let wanted = job
        .and_then(|job| job.spec.as_ref()?.completions)
        .and_then(|wanted| usize::try_from(wanted).ok())
        .unwrap_or(1);
    let (failed, mut current): (Vec<&Pod>, Vec<&Pod>) =
        pods.into_iter().partition(|pod| phase(pod) == "Failed");
    let open = wanted.saturating_sub(current.len());
    let replaced = failed.len().saturating_sub(open);
    let restarts = i64::try_from(replaced).unwrap_or(i64::MAX);
    let last = failed.iter().rev().skip(open.min(failed.len())).copied().next();
    let ended = job.is_some_and(has_ended);
    current.extend(failed.iter().skip(replaced));
    current
        .into_iter()
        .map(|pod| {
            let own = state(pod, failures.get(name(pod)), now);
            let own = match own {
                // Another Pod follows, after a pause.
                ReplicaState::Exited { code, oom, message } if phase(pod) == "Failed" && !ended => {
                    ReplicaState::KeepsEnding {
                        last: Some(ExitStatus { code, oom }),
                        times: in_steps(restarts + 1),
                        message,
                    }
                }
                ReplicaState::Created | ReplicaState::Starting if last.is_some() => {
                    let last = last.and_then(terminated);
                    ReplicaState::KeepsEnding {
                        last: last.map(exit),
                        times: in_steps(restarts),
                        message: last.map(message).unwrap_or_default(),
                    }
                }
                own => own,
            };
            replica(pod, own, restarts)
        })
        .collect()
}

/// Whether a Job creates no Pod any more.
pub fn has_ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed" | "FailureTarget")
            && condition.status == "True"
    })
}

fn replica(pod: &Pod, state: ReplicaState, restarts: i64) -> Replica {
    let meta = &pod.metadata;
    let draining = meta.deletion_timestamp.is_some();
    let annotations = meta.annotations.as_ref();
    let ready = is_ready(pod);
    Replica {
        id: name(pod).to_owned(),
        name: name(pod).to_owned(),
        hash: names::label(meta, names::CONFIG).to_owned(),
        release: annotations
            .and_then(|all| all.get(names::RELEASE))
            .cloned()
            .unwrap_or_default(),
        image: container(pod)
            .and_then(|container| container.image.clone())
            .unwrap_or_default(),
        healthy_since: ready_since(pod).filter(|_| state == ReplicaState::Healthy),
        state,
        serving: ready && !draining,
        draining,
        leaving: false,
        restarts,
        address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
        endpoints: Vec::new(),
    }
}

/// The state of the Application's container in a Pod, without what keeps it from starting: that is an error of the rollout.
fn state(pod: &Pod, failures: Option<&CheckFailures>, now: Timestamp) -> ReplicaState {
    let Some(status) = status(pod) else {
        return ReplicaState::Created;
    };
    let Some(now_is) = &status.state else {
        return ReplicaState::Created;
    };
    let crashed = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let crashed = crashed.filter(|_| status.restart_count > 0);
    if let Some(ended) = &now_is.terminated {
        if restarts_in_place(pod) {
            return keeps_ending(ended, status.restart_count.max(1));
        }
        return ReplicaState::Exited {
            code: ended.exit_code.into(),
            oom: is_out_of_memory(ended),
            message: message(ended),
        };
    }
    let Some(running) = &now_is.running else {
        return match crashed {
            Some(ended) => keeps_ending(ended, status.restart_count),
            None => ReplicaState::Created,
        };
    };
    let calm = running
        .started_at
        .as_ref()
        .is_none_or(|started| now.duration_since(started.0) >= CALM);
    match (crashed, failures) {
        (Some(ended), _) if !calm => keeps_ending(ended, status.restart_count),
        _ if status.ready => ReplicaState::Healthy,
        _ if status.started == Some(false) => ReplicaState::Starting,
        (_, Some(failures)) if failures.count >= threshold(pod) => {
            ReplicaState::Unhealthy(failures.message.clone())
        }
        _ => ReplicaState::Starting,
    }
}

fn keeps_ending(ended: &ContainerStateTerminated, times: i32) -> ReplicaState {
    ReplicaState::KeepsEnding {
        last: Some(exit(ended)),
        times: in_steps(times.into()),
        message: message(ended),
    }
}

fn exit(ended: &ContainerStateTerminated) -> ExitStatus {
    ExitStatus {
        code: ended.exit_code.into(),
        oom: is_out_of_memory(ended),
    }
}

fn message(ended: &ContainerStateTerminated) -> String {
    ended.message.as_deref().unwrap_or_default().trim().to_owned()
}

fn is_out_of_memory(ended: &ContainerStateTerminated) -> bool {
    ended.reason.as_deref() == Some("OOMKilled")
}

fn restarts_in_place(pod: &Pod) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    policy.is_none_or(|policy| policy == "Always")
}

fn threshold(pod: &Pod) -> i64 {
    let probe = container(pod).and_then(|container| container.readiness_probe.as_ref());
    probe
        .and_then(|probe| probe.failure_threshold)
        .unwrap_or(1)
        .into()
}

/// How a Pod's container ended, if it has ended.
fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    status(pod)?.state.as_ref()?.terminated.as_ref()
}

/// The name of a Pod.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The phase of a Pod.
pub fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The status of the Application's container.
pub fn status(pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.as_ref()?;
    all.iter().find(|status| status.name == CONTAINER)
}

fn container(pod: &Pod) -> Option<&Container> {
    let all = &pod.spec.as_ref()?.containers;
    all.iter().find(|container| container.name == CONTAINER)
}

/// Whether a Pod has an environment or files from the Secret of its configuration.
pub fn has_configuration(pod: &Pod) -> bool {
    let variables = container(pod).and_then(|container| container.env.as_ref());
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    variables.is_some_and(|all| !all.is_empty())
        || volumes.is_some_and(|all| all.iter().any(|volume| volume.secret.is_some()))
}

/// The Job that a Pod belongs to.
pub fn job_of(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.kind == "Job")?;
    Some(&owner.name)
}

/// A condition of a Pod: its status, reason and message.
pub fn condition<'p>(pod: &'p Pod, kind: &str) -> Option<(&'p str, &'p str, &'p str)> {
    let all = pod.status.as_ref()?.conditions.as_ref()?;
    let found = all.iter().find(|condition| condition.type_ == kind)?;
    let text = |text: &'p Option<String>| text.as_deref().unwrap_or_default();
    Some((&found.status, text(&found.reason), text(&found.message)))
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, ..)| status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let all = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = all.iter().find(|it| it.type_ == "Ready" && it.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a Pod's container runs and is not ready: its health check may say why.
pub fn is_not_ready(pod: &Pod) -> bool {
    let runs = status(pod)
        .and_then(|status| status.state.as_ref()?.running.as_ref())
        .is_some();
    runs && !is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
#[path = "observe/tests.rs"]
mod tests;
