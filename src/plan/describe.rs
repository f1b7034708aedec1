//! Descriptions of containers for conditions.

use crate::api::ProgressReason;
use crate::runtime::{ExitStatus, Replica, ReplicaState, Running};

/// Describes a container that the engine restarted at least `times` times.
pub(super) fn keeps_ending(name: &str, last: Option<ExitStatus>, times: i64, message: &str) -> String {
    let how = last.map_or(String::new(), |last| how(last.code, last.oom));
    let text = if times > 1 {
        let last = if how.is_empty() { "" } else { ", last" };
        format!("container {name} keeps ending{last}{how}; it was started again {times} times or more")
    } else {
        format!("container {name} ended{how} and is started again")
    };
    with_output(text, message)
}

/// Describes a container that was stopped for newer ones.
pub(super) fn made_room(running: &Running, kept: &Replica) -> String {
    let mut others = running.replicas.iter().filter(|other| other.hash != kept.hash);
    let newer = others
        .find(|other| other.state != ReplicaState::Kept)
        .map_or_else(
            || "others".to_owned(),
            |other| format!("release {}", other.release),
        );
    format!(
        "container {} was stopped to make room for {newer} and has not been started again",
        kept.name
    )
}

/// Describes a container that ended.
pub(super) fn exited(name: &str, code: i64, oom: bool, message: &str) -> String {
    let how = how(code, oom);
    with_output(format!("container {name} ended{how}"), message)
}

/// Describes the exit of a container, and the solution if it ran out of memory.
pub(super) fn how(code: i64, oom: bool) -> String {
    let why = if oom {
        ", killed for want of memory: raise spec.resources.limits.memory, or have it use less"
    } else {
        ""
    };
    format!(" with code {code}{why}")
}

/// Appends the last output of a container, if any.
pub(super) fn with_output(text: String, output: &str) -> String {
    if output.trim().is_empty() {
        text
    } else {
        format!("{text}; {output}")
    }
}

/// Returns what keeps the containers of a Release from being healthy, or `None` if they are still starting.
pub(super) fn unhealthy(running: &Running, hash: &str) -> Option<(ProgressReason, String)> {
    running.of(hash).find_map(|replica| match &replica.state {
        ReplicaState::Unhealthy(said) => Some((
            ProgressReason::NotHealthyYet,
            format!("container {} is not healthy yet: {said}", replica.name),
        )),
        ReplicaState::KeepsEnding { last, times, message } => Some((
            ProgressReason::ContainerEnded,
            keeps_ending(&replica.name, *last, *times, message),
        )),
        ReplicaState::Exited { code, oom, message } => Some((
            ProgressReason::ContainerEnded,
            exited(&replica.name, *code, *oom, message),
        )),
        ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy | ReplicaState::Kept => None,
    })
}
