//! Tasks of a Swarm service as the replicas that Davit observes. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{EndpointPortConfigProtocolEnum, Service, Task, TaskState};
use jiff::Timestamp;

use crate::api::Protocol;
use crate::redact::Secret;
use crate::runtime::docker::labels;
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::rolling::in_steps;
use crate::runtime::{ExitStatus, Port, Replica, ReplicaState};

/// How long a task must run after a restart until its earlier failures no longer count.
const CALM_SECONDS: i64 = 10;

/// A task, as far as Davit needs it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The replica without its output.
    pub replica: Replica,
    /// The secrets that the task was given.
    pub given: GivenSecrets,
    /// The task whose log explains the state.
    pub failed: Option<String>,
}

/// Whether a task has a container, or will have one.
pub fn is_active(task: &Task) -> bool {
    matches!(
        state(task),
        TaskState::NEW
            | TaskState::ALLOCATED
            | TaskState::PENDING
            | TaskState::ASSIGNED
            | TaskState::ACCEPTED
            | TaskState::PREPARING
            | TaskState::READY
            | TaskState::STARTING
            | TaskState::RUNNING
    )
}

fn is_wanted(task: &Task) -> bool {
    matches!(
        task.desired_state,
        Some(TaskState::RUNNING | TaskState::READY | TaskState::COMPLETE)
    )
}

fn state(task: &Task) -> TaskState {
    task.status
        .as_ref()
        .and_then(|status| status.state)
        .unwrap_or(TaskState::NEW)
}

fn label(task: &Task, key: &str) -> String {
    let container = task.spec.as_ref().and_then(|spec| spec.container_spec.as_ref());
    let labels = container.and_then(|container| container.labels.as_ref());
    labels
        .and_then(|labels| labels.get(key))
        .cloned()
        .unwrap_or_default()
}

fn since(task: &Task) -> Option<Timestamp> {
    let at = task.status.as_ref()?.timestamp.as_ref()?;
    Timestamp::from_millisecond(at.timestamp_millis()).ok()
}

fn exit_code(task: &Task) -> i64 {
    let status = task.status.as_ref();
    let container = status.and_then(|status| status.container_status.as_ref());
    container
        .and_then(|container| container.exit_code)
        .unwrap_or_default()
}

fn error(task: &Task) -> String {
    let status = task.status.as_ref();
    status.and_then(|status| status.err.clone()).unwrap_or_default()
}

/// The replicas of a service: of each slot the newest task, and older ones that still run. Output is added by the caller.
pub fn replicas(service: &Service, tasks: &[Task], now: Timestamp) -> Vec<Seen> {
    let mut slots: BTreeMap<i64, Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        slots.entry(task.slot.unwrap_or_default()).or_default().push(task);
    }
    let name = service
        .spec
        .as_ref()
        .and_then(|spec| spec.name.clone())
        .unwrap_or_default();
    let mut seen = Vec::new();
    for (slot, mut tasks) in slots {
        tasks.sort_by_key(|task| {
            let at = task
                .created_at
                .as_ref()
                .map(bollard::models::BollardDate::timestamp_nanos_opt);
            std::cmp::Reverse(at)
        });
        // A newer task that failed leaves the slot to the one that still runs.
        let is_occupied = tasks.iter().any(|task| is_active(task) && is_wanted(task));
        for (index, task) in tasks.iter().enumerate() {
            let current = index == 0 && (is_wanted(task) || !is_active(task) && !is_occupied);
            if current || is_active(task) {
                let hash = label(task, labels::CONFIG);
                let failed: Vec<&&Task> = tasks
                    .iter()
                    .skip(index + 1)
                    .filter(|older| {
                        label(older, labels::CONFIG) == hash
                            && matches!(
                                state(older),
                                TaskState::FAILED | TaskState::REJECTED | TaskState::COMPLETE
                            )
                    })
                    .collect();
                seen.push(replica(service, &format!("{name}.{slot}"), task, &failed, now));
            }
        }
    }
    // The last task of a slot that the service no longer has is history.
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.mode.as_ref()?.replicated.as_ref()?.replicas)
        .unwrap_or_default();
    if wanted == 0 {
        seen.retain(|one| one.replica.draining);
    }
    seen
}

fn replica(service: &Service, name: &str, task: &Task, failed: &[&&Task], now: Timestamp) -> Seen {
    let restarts = i64::try_from(failed.len()).unwrap_or(i64::MAX);
    let calm = since(task).is_some_and(|at| now.duration_since(at).as_secs() >= CALM_SECONDS);
    let last = failed.first().map(|last| ExitStatus {
        code: exit_code(last),
        oom: false,
    });
    let keeps_ending = restarts > 0 && !(state(task) == TaskState::RUNNING && calm);
    let mut explained_by = None;
    let state = match state(task) {
        TaskState::RUNNING if !keeps_ending => ReplicaState::Healthy,
        TaskState::FAILED | TaskState::REJECTED | TaskState::COMPLETE | TaskState::SHUTDOWN
            if !keeps_ending || !is_wanted(task) =>
        {
            explained_by.clone_from(&task.id);
            ReplicaState::Exited {
                code: exit_code(task),
                oom: false,
                message: error(task),
            }
        }
        _ if keeps_ending => {
            explained_by = failed.first().and_then(|last| last.id.clone());
            ReplicaState::KeepsEnding {
                last,
                times: in_steps(restarts),
                message: failed.first().map(|last| error(last)).unwrap_or_default(),
            }
        }
        // The scheduler reports why a task waits: no suitable node, a port that another task has.
        TaskState::NEW | TaskState::ALLOCATED | TaskState::PENDING if !error(task).is_empty() => {
            ReplicaState::Unhealthy(error(task))
        }
        TaskState::STARTING => ReplicaState::Starting,
        _ => ReplicaState::Created,
    };
    let serving = matches!(self::state(task), TaskState::RUNNING);
    let container = task.spec.as_ref().and_then(|spec| spec.container_spec.clone());
    let container = container.unwrap_or_default();
    let given = GivenSecrets {
        env: given(
            &container.env.unwrap_or_default(),
            &container.labels.unwrap_or_default(),
        ),
        files: !label(task, labels::SECRET_FILES).is_empty(),
    };
    Seen {
        replica: Replica {
            id: task.id.clone().unwrap_or_default(),
            name: name.to_owned(),
            hash: label(task, labels::CONFIG),
            release: label(task, labels::RELEASE),
            image: container.image.unwrap_or_default(),
            healthy_since: since(task).filter(|_| state == ReplicaState::Healthy),
            state,
            serving,
            draining: !is_wanted(task) && is_active(task),
            leaving: false,
            restarts,
            // The client's model of a task has no addresses: the name of the service leads to the tasks that are healthy.
            address: serving.then(|| service_name(service)),
            endpoints: if serving { endpoints(service) } else { Vec::new() },
        },
        given,
        failed: explained_by,
    }
}

/// The values of the variables that the label names.
fn given(env: &[String], labels: &HashMap<String, String>) -> Vec<Secret> {
    let confidential = labels
        .get(labels::SECRET_ENV)
        .map(String::as_str)
        .unwrap_or_default();
    let pairs = env.iter().filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| !value.is_empty() && confidential.split(',').any(|one| one == *name))
        .map(|(_, value)| Secret::from(value))
        .collect()
}

fn service_name(service: &Service) -> String {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.name.clone()).unwrap_or_default()
}

fn endpoints(service: &Service) -> Vec<Port> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.endpoint_spec.as_ref()?.ports.clone());
    let mut ports: Vec<Port> = ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| {
            Some(Port {
                name: port.name,
                container: u16::try_from(port.target_port?).ok()?,
                host: Some(u16::try_from(port.published_port?).ok()?),
                host_ip: None,
                protocol: match port.protocol {
                    Some(EndpointPortConfigProtocolEnum::UDP) => Protocol::Udp,
                    _ => Protocol::Tcp,
                },
            })
        })
        .collect();
    ports.sort_by_key(|port| (port.host, port.protocol == Protocol::Udp));
    ports
}
