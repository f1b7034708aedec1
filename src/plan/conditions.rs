//! Conditions of an Application: its image, its containers and its URLs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::api::{Application, ConditionType, Protocol, Reason, ReleasePhase, ReleaseStatus, condition};
use crate::error::Problem;
use crate::runtime::port::specific;
use crate::runtime::{ReplicaState, Running};

use super::containers::{count, has_ended_for_good, hash_of, replicas_of, restart_of};
use super::describe::{exited, keeps_ending, made_room, with_output};

/// The status, reason and message of a condition.
#[derive(Clone, Debug)]
pub(super) struct ConditionValue {
    /// True, False, or Unknown if `None`.
    pub status: Option<bool>,
    pub reason: Reason,
    pub message: String,
}

impl ConditionValue {
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(Some(true), reason, message.into())
    }

    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(Some(false), reason, message.into())
    }

    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self::of(None, reason, message.into())
    }

    fn of(status: Option<bool>, reason: Reason, message: String) -> Self {
        Self {
            status,
            reason,
            message,
        }
    }

    pub fn is_true(&self) -> bool {
        self.status == Some(true)
    }
}

/// Returns the reason of `Deployed` while a Release is in this phase.
pub(super) fn phase_reason(phase: ReleasePhase) -> Reason {
    match phase {
        ReleasePhase::Fetching | ReleasePhase::Building | ReleasePhase::Pushing => Reason::Progressing,
        ReleasePhase::Deploying | ReleasePhase::Verifying => Reason::Deploying,
        ReleasePhase::Succeeded => Reason::Deployed,
        ReleasePhase::Pending | ReleasePhase::Failed | ReleasePhase::Cancelled | ReleasePhase::Superseded => {
            Reason::Pending
        }
    }
}

/// Returns the reason and message that a Release ended with.
pub(super) fn last_word(release: &ReleaseStatus) -> (Reason, String) {
    condition::find(&release.conditions, ConditionType::Succeeded).map_or(
        (Reason::Pending, String::new()),
        |last| {
            (
                last.reason.parse().unwrap_or(Reason::Internal),
                last.message.clone(),
            )
        },
    )
}

/// Returns whether the image of a Release exists.
pub(super) fn built(name: &str, release: &ReleaseStatus, lost: Option<&str>) -> Option<ConditionValue> {
    if lost == Some(name) {
        let message = format!("the image of release {name} is not in the engine any more");
        return Some(ConditionValue::no(Reason::ImageNotFound, message));
    }
    if release.image.is_some() {
        let reused = release.builder.as_ref().is_some_and(|builder| builder.reused);
        let (reason, how) = if reused {
            (Reason::ImageReused, "was there already")
        } else {
            (Reason::Built, "is there")
        };
        let message = format!("the image of release {name} {how}");
        return Some(ConditionValue::yes(reason, message));
    }
    release.failure.as_ref().map(|failure| {
        let reason = failure.reason.parse().unwrap_or(Reason::BuildFailed);
        ConditionValue::no(reason, &failure.message)
    })
}

/// Returns whether every replica of the serving Release is healthy.
pub(super) fn healthy(
    app: &Application,
    running: &Result<Running, Problem>,
    serving: Option<&ReleaseStatus>,
    lost: Option<&str>,
) -> ConditionValue {
    let running = match running {
        Ok(running) => running,
        Err(problem) => return ConditionValue::unknown(problem.reason, &problem.message),
    };
    if app.spec.stopped && (!app.spec.suspend || running.replicas.is_empty()) {
        return ConditionValue::no(Reason::Stopped, "no container runs, because spec.stopped is true");
    }
    let Some(hash) = serving.and_then(hash_of) else {
        return ConditionValue::no(Reason::Pending, "no replica has been healthy yet");
    };
    let wanted = serving.map_or(1, replicas_of);
    let mut kept = None;
    for replica in running.of(&hash) {
        match &replica.state {
            ReplicaState::Unhealthy(output) => {
                let text = format!("container {} is not healthy: {output}", replica.name);
                return ConditionValue::no(Reason::Unhealthy, text);
            }
            ReplicaState::KeepsEnding { last, times, message } => {
                let text = keeps_ending(&replica.name, *last, *times, message);
                return ConditionValue::no(Reason::ContainerExited, text);
            }
            ReplicaState::Exited { code, oom, message } => {
                let text = exited(&replica.name, *code, *oom, message);
                return ConditionValue::no(Reason::ContainerExited, text);
            }
            ReplicaState::Kept => kept = kept.or(Some(replica)),
            ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy => {}
        }
    }
    let (_, ready) = count(running, &hash);
    if i64::from(ready) >= wanted {
        ConditionValue::yes(
            Reason::Healthy,
            format!("{ready} of {wanted} replicas are healthy"),
        )
    } else if let Some(kept) = kept {
        let text = format!(
            "{ready} of {wanted} replicas are healthy; {}",
            made_room(running, kept)
        );
        ConditionValue::no(Reason::ReplicasMissing, text)
    } else {
        let gone = lost.map_or(String::new(), |name| {
            let source = serving.and_then(|serving| serving.source.as_ref());
            let revision = source.map_or("its revision", |source| &source.revision);
            format!("; the image of release {name} is not in the engine any more: to build or pull it again, create a Release with spec.revision {revision}")
        });
        ConditionValue::no(
            Reason::ReplicasMissing,
            format!("{ready} of {wanted} replicas are healthy{gone}"),
        )
    }
}

/// Returns why the serving Release needs the user: a container ended that `restartPolicy` does not restart.
pub(super) fn ended_for_good(running: &Running, serving: &ReleaseStatus) -> Option<String> {
    let (hash, restart) = (hash_of(serving)?, restart_of(serving));
    let ended = running
        .of(&hash)
        .find(|replica| has_ended_for_good(replica, restart));
    let (name, code, words) = match ended.map(|replica| (&replica.name, &replica.state)) {
        Some((name, ReplicaState::Exited { code, message, .. })) => (name, *code, message.as_str()),
        _ => serving
            .ended
            .first()
            .map(|ended| (&ended.name, ended.exit_code, ""))?,
    };
    let text = format!(
        "container {name} ended with code {code} and is not started again by spec.restartPolicy: create a Release to run it \
         again"
    );
    Some(with_output(text, words))
}

/// Returns the URLs of the serving containers on this machine, as observed: another program may have the wanted port.
pub(super) fn urls(running: &Running, hash: &str) -> Vec<String> {
    let serving = running.of(hash).filter(|replica| replica.serving);
    let ports = serving.flat_map(|replica| &replica.endpoints);
    let places: BTreeSet<(u16, Option<IpAddr>)> = ports
        .filter(|port| port.protocol == Protocol::Tcp)
        .filter_map(|port| Some((port.host?, port.host_ip.as_deref().and_then(specific))))
        .collect();
    places.into_iter().map(|(port, ip)| url(ip, port)).collect()
}

fn url(address: Option<IpAddr>, port: u16) -> String {
    match address {
        None => format!("http://localhost:{port}"),
        Some(address) => format!("http://{}", SocketAddr::new(address, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Port, Replica};

    #[test]
    fn each_place_where_something_of_it_listens_is_an_url() {
        use Protocol::{Tcp, Udp};
        let replica = |places: &[(u16, Option<&str>, Protocol)]| Replica {
            id: "1".to_owned(),
            name: "web-0".to_owned(),
            hash: "h".to_owned(),
            release: "web-1".to_owned(),
            image: "web:1".to_owned(),
            state: ReplicaState::Healthy,
            healthy_since: None,
            serving: true,
            draining: false,
            leaving: false,
            restarts: 0,
            address: None,
            endpoints: places
                .iter()
                .map(|(port, ip, protocol)| Port {
                    name: None,
                    container: 80,
                    host: Some(*port),
                    host_ip: ip.map(str::to_owned),
                    protocol: *protocol,
                })
                .collect(),
        };
        let mut running = Running::default();
        assert_eq!(urls(&running, "h"), [""; 0]);
        running.replicas.push(replica(&[
            (9090, Some("0.0.0.0"), Tcp),
            (9090, Some("::"), Tcp),
            (8080, Some("127.0.0.1"), Tcp),
            (8080, Some("127.0.0.3"), Tcp),
            (8080, Some("0:0:0:0:0:0:0:1"), Tcp),
            (9091, None, Udp),
            (9092, None, Tcp),
        ]));
        // Of those neither the one that is not in the name yet nor the one of another Release serves.
        running.replicas.push(Replica {
            serving: false,
            ..replica(&[(8080, Some("127.0.0.4"), Tcp)])
        });
        running.replicas.push(Replica {
            hash: "newer".to_owned(),
            ..replica(&[(8080, Some("127.0.0.5"), Tcp)])
        });
        let expected = [
            "http://127.0.0.1:8080",
            "http://127.0.0.3:8080",
            "http://[::1]:8080",
            "http://localhost:9090",
            "http://localhost:9092",
        ];
        assert_eq!(urls(&running, "h"), expected);
    }
}
