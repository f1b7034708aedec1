//! The progress of a rollout that Swarm performs. Pure but for the clock.

use std::time::Duration;

use bollard::models::{Service, Task};
use jiff::Timestamp;

use super::tasks;
use crate::runtime::{Deployment, Progress, ReplicaState};

/// How often a rollout is looked at.
const ROLLING: Duration = Duration::from_secs(1);
/// How long a task without any health check must run by default until it counts as ready.
const MIN_READY_UNCHECKED: Duration = Duration::from_secs(1);

/// A rollout that Davit looks at again soon.
pub fn rolling(created: u32, ready: u32, waiting_for: String) -> Progress {
    Progress::Rolling {
        created,
        ready,
        check_in: Some(ROLLING),
        waiting_for,
    }
}

/// How far Swarm is with a service whose specification is the wanted one.
pub fn progress(deployment: &Deployment, service: &Service, tasks: &[Task]) -> Progress {
    let now = Timestamp::now();
    let default = if deployment.spec.health.is_some() {
        Duration::ZERO
    } else {
        MIN_READY_UNCHECKED
    };
    let min_ready = deployment.policy.min_ready.unwrap_or(default);
    let seen = tasks::replicas(service, tasks, now);
    let (own, others): (Vec<_>, Vec<_>) = seen
        .iter()
        .map(|seen| &seen.replica)
        .partition(|replica| replica.hash == deployment.identity.hash && !replica.draining);
    let mut waits = Vec::new();
    let (mut ready, mut completed) = (0, 0);
    for replica in &own {
        let healthy = replica.healthy_since.map(|since| now.duration_since(since));
        let healthy = healthy.and_then(|since| Duration::try_from(since).ok());
        match (&replica.state, healthy) {
            (_, Some(healthy)) if healthy >= min_ready => ready += 1,
            (ReplicaState::Exited { code, .. }, _) => {
                if deployment.history.completed.contains(&replica.id) {
                    completed += 1;
                } else if !deployment.spec.restart.starts_again(*code, replica.restarts) {
                    let name = &replica.name;
                    waits.push(format!(
                        "{name} ended with exit code {code} and is not started again"
                    ));
                }
            }
            (ReplicaState::Unhealthy(why), _) => waits.push(format!("{} is unhealthy: {why}", replica.name)),
            _ => waits.push(format!("{} has not been seen healthy yet", replica.name)),
        }
    }
    if !others.is_empty() {
        waits.push(format!("{} tasks to stop", others.len()));
    }
    let wanted = deployment.policy.replicas;
    if ready + completed >= wanted && others.is_empty() && waits.is_empty() {
        return Progress::Complete;
    }
    let created = u32::try_from(own.len()).unwrap_or(u32::MAX);
    rolling(
        created,
        ready,
        waits
            .into_iter()
            .next()
            .unwrap_or_else(|| "tasks to be created".to_owned()),
    )
}
