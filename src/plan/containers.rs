//! The containers of a Release among those that were observed.

use crate::api::{ConcurrencyPolicy, EndedContainer, ReleaseStatus};
use crate::runtime::{Replica, ReplicaState, Restart, Running};

use super::deployment::restart;
use super::desired::container_hash;
use super::state::{ReleaseView, active, target};

/// Returns the hash of a Release's containers, once it has an image.
pub fn hash_of(release: &ReleaseStatus) -> Option<String> {
    let image = release.image.as_ref()?;
    Some(container_hash(&release.inputs, image))
}

/// Returns the number of replicas of a Release.
pub(super) fn replicas_of(release: &ReleaseStatus) -> i64 {
    release
        .config
        .as_ref()
        .and_then(|config| config.0.get("replicas"))
        .and_then(serde_json::Value::as_i64)
        .unwrap_or(1)
}

/// Reports whether all replicas of a Release are healthy and serve, even if older containers are left.
pub fn is_fully_rolled_out(release: &ReleaseStatus, running: &Running) -> bool {
    hash_of(release).is_some_and(|hash| {
        let (_, ready) = count(running, &hash);
        ready > 0 && i64::from(ready) >= replicas_of(release)
    })
}

/// Returns how many replicas with this hash exist, and how many of them are healthy and serve.
pub fn count(running: &Running, hash: &str) -> (i32, i32) {
    let own = running.of(hash);
    let all = own.clone().count();
    let ready = own
        .filter(|replica| replica.state == ReplicaState::Healthy && replica.serving)
        .count();
    (
        i32::try_from(all).unwrap_or(i32::MAX),
        i32::try_from(ready).unwrap_or(i32::MAX),
    )
}
/// Reports whether the containers of a Release are being created: from the moment that its image exists.
pub(super) fn in_rollout(release: &ReleaseView) -> bool {
    !release.has_ended() && release.status.image.is_some()
}

/// Returns the restart policy that a Release recorded.
pub(super) fn restart_of(release: &ReleaseStatus) -> Restart {
    let recorded = release
        .config
        .as_ref()
        .and_then(|config| config.0.get("restartPolicy"));
    match recorded
        .map(|policy| serde_json::from_value(policy.clone()))
        .transpose()
    {
        Ok(policy) => restart(policy),
        // A container whose policy is unknown must not run twice.
        Err(_) => Restart::Never,
    }
}

/// Reports whether a container has ended and the policy does not restart it.
pub(super) fn has_ended_for_good(replica: &Replica, restart: Restart) -> bool {
    matches!(replica.state, ReplicaState::Exited { code, .. } if !restart.starts_again(code, replica.restarts))
}

/// Returns how many containers of a Release ran to their end and were removed; they are not created again.
pub(super) fn gone_for_good(release: &ReleaseStatus, running: &Running) -> i64 {
    let there = |ended: &&EndedContainer| running.replicas.iter().any(|replica| replica.id == ended.id);
    let gone = release.ended.iter().filter(|ended| !there(ended)).count();
    i64::try_from(gone).unwrap_or(i64::MAX)
}

/// Returns the Release that needs containers: the one in its rollout, or else the serving one.
pub fn needs_containers<'r>(
    releases: &'r [ReleaseView],
    policy: ConcurrencyPolicy,
    running: &Running,
) -> Option<&'r ReleaseView> {
    let misses = |release: &&ReleaseView| {
        let there =
            |hash: String| i64::from(count(running, &hash).0) + gone_for_good(&release.status, running);
        hash_of(&release.status).is_some_and(|hash| there(hash) < replicas_of(&release.status))
    };
    let current = target(releases, policy).filter(|release| in_rollout(release) && !release.spec.cancel);
    current.or_else(|| active(releases)).filter(misses)
}
