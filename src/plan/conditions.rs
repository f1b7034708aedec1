//! What single things that were observed say of an Application: its image, its containers, where it can be reached.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::api::{Application, ConditionType, Protocol, Reason, ReleasePhase, ReleaseStatus, condition};
use crate::error::Problem;
use crate::runtime::port::specific;
use crate::runtime::{ExitStatus, Replica, ReplicaState, Running};

use super::count;
use super::progress_deadline::{has_ended_for_good, hash_of, replicas_of, restart_of};

/// A condition's status, reason and message.
pub(super) type Verdict = (Option<bool>, Reason, String);

/// The reason of `Deployed` while a Release is in this phase.
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

/// The reason and message that a Release ended with.
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

/// Whether the image of a Release is there.
pub(super) fn built(name: &str, release: &ReleaseStatus, lost: Option<&str>) -> Option<Verdict> {
    if lost == Some(name) {
        let message = format!("the image of release {name} is not in the engine any more");
        return Some((Some(false), Reason::ImageNotFound, message));
    }
    if release.image.is_some() {
        let reused = release.builder.as_ref().is_some_and(|builder| builder.reused);
        let (reason, how) = if reused {
            (Reason::ImageReused, "was there already")
        } else {
            (Reason::Built, "is there")
        };
        return Some((Some(true), reason, format!("the image of release {name} {how}")));
    }
    release.failure.as_ref().map(|failure| {
        (
            Some(false),
            failure.reason.parse().unwrap_or(Reason::BuildFailed),
            failure.message.clone(),
        )
    })
}

/// Whether every replica of what serves is healthy.
pub(super) fn healthy(
    app: &Application,
    running: &Result<Running, Problem>,
    serving: Option<&ReleaseStatus>,
    lost: Option<&str>,
) -> Verdict {
    let running = match running {
        Ok(running) => running,
        Err(problem) => return (None, problem.reason, problem.message.clone()),
    };
    if app.spec.stopped && (!app.spec.suspend || running.replicas.is_empty()) {
        let message = "nothing is to run: spec.stopped is true";
        return (Some(false), Reason::Stopped, message.to_owned());
    }
    let Some(hash) = serving.and_then(hash_of) else {
        return (
            Some(false),
            Reason::Pending,
            "nothing has been seen healthy yet".to_owned(),
        );
    };
    let wanted = serving.map_or(1, replicas_of);
    let mut kept = None;
    for replica in running.of(&hash) {
        match &replica.state {
            ReplicaState::Unhealthy(said) => {
                return (
                    Some(false),
                    Reason::Unhealthy,
                    format!("container {} is not healthy: {said}", replica.name),
                );
            }
            ReplicaState::KeepsEnding { last, times, message } => {
                let text = keeps_ending(&replica.name, *last, *times, message);
                return (Some(false), Reason::ContainerExited, text);
            }
            ReplicaState::Exited { code, oom, message } => {
                let text = exited(&replica.name, *code, *oom, message);
                return (Some(false), Reason::ContainerExited, text);
            }
            ReplicaState::Kept => kept = kept.or(Some(replica)),
            ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy => {}
        }
    }
    let (_, ready) = count(running, &hash);
    if i64::from(ready) >= wanted {
        (
            Some(true),
            Reason::Healthy,
            format!("{ready} of {wanted} replicas are healthy"),
        )
    } else if let Some(kept) = kept {
        let text = format!(
            "{ready} of {wanted} replicas are healthy; {}",
            made_room(running, kept)
        );
        (Some(false), Reason::ReplicasMissing, text)
    } else {
        let gone = lost.map_or(String::new(), |name| {
            let source = serving.and_then(|serving| serving.source.as_ref());
            let revision = source.map_or("its revision", |source| &source.revision);
            format!("; the image of release {name} is not in the engine any more: create a Release with the spec.revision {revision} to make it again")
        });
        (
            Some(false),
            Reason::ReplicasMissing,
            format!("{ready} of {wanted} replicas are healthy{gone}"),
        )
    }
}

/// What is said of a container that the engine started again so often or more.
pub(super) fn keeps_ending(name: &str, last: Option<ExitStatus>, times: i64, message: &str) -> String {
    let how = last.map_or(String::new(), |last| how(last.code, last.oom));
    let text = if times > 1 {
        let last = if how.is_empty() { "" } else { ", last" };
        format!("container {name} keeps ending{last}{how}; it was started again {times} times or more")
    } else {
        format!("container {name} ended{how} and is started again")
    };
    with_words(text, message)
}

/// What is said of a container that was stopped for others.
fn made_room(running: &Running, kept: &Replica) -> String {
    let mut others = running.replicas.iter().filter(|other| other.hash != kept.hash);
    let whom = others
        .find(|other| other.state != ReplicaState::Kept)
        .map_or_else(
            || "others".to_owned(),
            |other| format!("release {}", other.release),
        );
    format!(
        "container {} was stopped to make room for {whom} and has not been started again",
        kept.name
    )
}

/// What is said of a container that ended.
fn exited(name: &str, code: i64, oom: bool, message: &str) -> String {
    let how = how(code, oom);
    with_words(format!("container {name} ended{how}"), message)
}

/// How a container ended, with the way out where its limit ended it.
pub(super) fn how(code: i64, oom: bool) -> String {
    let why = if oom {
        ", killed for want of memory: raise spec.resources.limits.memory, or have it use less"
    } else {
        ""
    };
    format!(" with code {code}{why}")
}

/// A text with the last words of a container, if it said any.
pub(super) fn with_words(text: String, words: &str) -> String {
    if words.trim().is_empty() {
        text
    } else {
        format!("{text}; {words}")
    }
}

/// Why a Release that is under way is not there yet, where its containers have shown: what its health check answers, or
/// how they ended. Nothing where they only need their time.
pub(super) fn not_yet(running: &Running, release: &ReleaseStatus) -> Option<(&'static str, String)> {
    let hash = hash_of(release)?;
    running.of(&hash).find_map(|replica| match &replica.state {
        ReplicaState::Unhealthy(said) => Some((
            "not healthy yet",
            format!("container {} is not healthy yet: {said}", replica.name),
        )),
        ReplicaState::KeepsEnding { last, times, message } => {
            Some(("ended", keeps_ending(&replica.name, *last, *times, message)))
        }
        ReplicaState::Exited { code, oom, message } => {
            Some(("ended", exited(&replica.name, *code, *oom, message)))
        }
        ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy | ReplicaState::Kept => None,
    })
}

/// Why what serves is over until somebody does something: a container ended that by its policy is not started again.
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
    Some(with_words(text, words))
}

/// Where what serves can be reached on the machine, as it was observed: not where it should be, for there may be somebody
/// else.
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
    use crate::runtime::Port;

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
            restarts: 0,
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
