//! Looks at containers: what the engine says of each, and how far it is from what a deployment wants.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HealthStatusEnum,
    HealthcheckResult, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use jiff::Timestamp;

use super::healthy_since::Since;
use super::labels::{self, Names};
use super::log_tail;
use super::probe::Check;
use crate::api::Protocol;
use crate::redact::Secret;
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::rolling::{ContainerView, Drift, Health, InProgress, Phase, in_steps};
use crate::runtime::{Deployment, ExitStatus, Port, Replica, ReplicaState, Restart};

/// What the alias of a container that has left the name begins and ends with; between stands when, in milliseconds.
const LEFT: (&str, &str) = ("left-", ".davit");

/// The alias that says when a container left the name: with the container, it outlives us.
pub fn left_alias(now: Timestamp) -> String {
    format!("{}{}{}", LEFT.0, now.as_millisecond(), LEFT.1)
}

fn left_at(alias: &str) -> Option<Timestamp> {
    let millis = alias.strip_prefix(LEFT.0)?.strip_suffix(LEFT.1)?.parse().ok()?;
    Timestamp::from_millisecond(millis).ok()
}

/// A container's end in the namespace's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The address it asked for, else the one it got.
    pub ip: Option<String>,
    /// Its hardware address while it runs.
    pub mac: Option<String>,
    /// It bears the Application's name.
    pub named: bool,
    /// When it left the name.
    pub left: Option<Timestamp>,
}

/// What the engine says of one container, as far as it matters.
#[derive(Clone, Debug)]
pub struct ContainerInfo {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// The image it runs.
    pub image: String,
    /// How it is.
    pub phase: Phase,
    /// The code it last ended with.
    pub code: i64,
    /// Killed for want of memory.
    pub oom: bool,
    /// What the engine said of its last start.
    pub error: String,
    /// When it was last started: an id of this start.
    pub started: String,
    /// How often the engine started it again.
    pub restarts: i64,
    /// Its health by what the engine knows; our own probes know better where it has one.
    pub health: Health,
    /// It ends by itself again and again.
    pub keeps_ending: bool,
    /// How it last ended, where that was seen.
    pub last: Option<ExitStatus>,
    /// Its end in the namespace's network.
    pub endpoint: Option<Endpoint>,
    /// Limits: nano-cores, shares of cpu, bytes, bytes; 0 for none.
    pub limits: [i64; 4],
    /// Its restart policy; `None` if Davit never sets such a policy.
    pub restart: Option<Restart>,
    /// Networks that it is in beside its namespace's.
    pub other_networks: Vec<String>,
    /// Its places on the machine as they are.
    pub endpoints: Vec<Port>,
    /// The secrets that it was given.
    pub given: GivenSecrets,
    /// It has a check, its image's or one of its own, that the engine makes.
    pub checked: bool,
    /// That check.
    pub check: Option<Check>,
}

/// The values of those variables that the labels name; of all where a container is older than that label.
fn given(env: &[String], labels: &HashMap<String, String>) -> Vec<Secret> {
    let secret = |name: &str| match labels.get(labels::SECRET_ENV) {
        Some(names) => names.split(',').any(|one| one == name),
        None => true,
    };
    let pairs = env.iter().filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| secret(name) && !value.is_empty())
        .map(|(_, value)| Secret::from(value))
        .collect()
}

/// Reads the engine's answer.
pub fn read(answer: ContainerInspectResponse, names: &Names, since: &Since, now: Timestamp) -> ContainerInfo {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let settings = answer.network_settings.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let id = answer.id.unwrap_or_default();
    let started = state.started_at.unwrap_or_default();
    let restarts = answer.restart_count.unwrap_or_default();
    let code = state.exit_code.unwrap_or_default();
    let phase = read_phase(state.status, code);
    let given = GivenSecrets {
        env: given(config.env.as_deref().unwrap_or_default(), &labels),
        files: labels.contains_key(labels::SECRET_FILES),
    };
    let check = state.health.filter(|health| {
        !matches!(
            health.status,
            None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)
        )
    });
    let checked = check.is_some();
    let health = match check {
        // That it runs.
        None => Health::Healthy(started.parse().unwrap_or(now)),
        Some(check) => {
            let log = check.log.unwrap_or_default();
            match check.status {
                Some(HealthStatusEnum::HEALTHY) => {
                    let good = log.iter().rev().take_while(|result| result.exit_code == Some(0));
                    let first = good
                        .last()
                        .and_then(|result| result.end.as_ref().or(result.start.as_ref()))
                        .and_then(|at| Timestamp::from_millisecond(at.timestamp_millis()).ok());
                    Health::Healthy(since.earliest(&id, &started, first.unwrap_or(now)))
                }
                // Nothing failed: the engine says so of what was frozen, until its next check.
                Some(HealthStatusEnum::UNHEALTHY) if check.failing_streak.unwrap_or_default() == 0 => {
                    Health::Starting(None)
                }
                Some(HealthStatusEnum::UNHEALTHY) => {
                    since.forget(&id);
                    Health::Unhealthy {
                        why: why_not(log.last()),
                        until: None,
                    }
                }
                _ => Health::Starting(None),
            }
        }
    };
    let namespace = labels.get(labels::NAMESPACE);
    let application = labels
        .get(labels::APPLICATION)
        .map(String::as_str)
        .unwrap_or_default();
    let networks = settings.networks.unwrap_or_default();
    let (own, other_networks): (Vec<_>, Vec<_>) = networks
        .keys()
        .partition(|name| namespace.is_some_and(|namespace| names.is_network(namespace, name)));
    let endpoint = own
        .first()
        .and_then(|name| Some(read_endpoint(name, networks.get(*name)?, application)));
    let other_networks = other_networks.into_iter().cloned().collect();
    let endpoints = read_ports(settings.ports.unwrap_or_default());
    ContainerInfo {
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: answer.image.unwrap_or_default(),
        phase,
        code,
        oom: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        restarts,
        health,
        keeps_ending: false,
        given,
        last: None,
        endpoint,
        limits: [
            host.nano_cpus,
            host.cpu_shares,
            host.memory,
            host.memory_reservation,
        ]
        .map(Option::unwrap_or_default),
        restart: read_restart(host.restart_policy.as_ref()),
        other_networks,
        endpoints,
        checked,
        check: config.healthcheck.as_ref().and_then(Check::of_engine),
        labels,
        started,
        id,
    }
}

/// What the engine's last check says of why a container is not healthy: what it printed, or what the engine itself said of
/// one that it could not run or had to end, and without either how it ended.
fn why_not(last: Option<&HealthcheckResult>) -> String {
    let said = last.and_then(|last| last.output.as_deref()).unwrap_or_default();
    match last.and_then(|last| last.exit_code) {
        _ if !said.trim().is_empty() => log_tail::of_check(said),
        // Below zero are the engine's own, of a check that did not end by itself.
        Some(code @ 0..) => format!("the check ended with code {code} and said nothing"),
        Some(_) => "the check did not end by itself and said nothing".to_owned(),
        None => "the engine does not say how the check ended".to_owned(),
    }
}

fn read_phase(status: Option<ContainerStateStatusEnum>, code: i64) -> Phase {
    match status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => Phase::Running,
        Some(ContainerStateStatusEnum::PAUSED) => Phase::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => Phase::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => Phase::Removing,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => Phase::Created,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Phase::Exited(code),
    }
}

fn read_ports(bindings: PortMap) -> Vec<Port> {
    let mut ports = Vec::new();
    for (inside, places) in bindings {
        let (number, protocol) = match inside.split_once('/') {
            None | Some((_, "tcp")) => (inside.split('/').next(), Protocol::Tcp),
            Some((number, "udp")) => (Some(number), Protocol::Udp),
            // We ask for no other.
            Some(_) => continue,
        };
        let Some(container) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        ports.extend(places.into_iter().flatten().filter_map(|place| {
            Some(Port {
                name: None,
                container,
                host: Some(place.host_port?.parse().ok()?),
                host_ip: place.host_ip.filter(|ip| !ip.is_empty()),
                protocol,
            })
        }));
    }
    ports.sort_by(|one, two| {
        let key = |port: &Port| (port.host, port.host_ip.clone(), port.protocol == Protocol::Udp);
        key(one).cmp(&key(two))
    });
    ports
}

fn read_endpoint(network: &str, endpoint: &EndpointSettings, application: &str) -> Endpoint {
    let filled = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let asked = endpoint
        .ipam_config
        .as_ref()
        .and_then(|ipam| filled(ipam.ipv4_address.as_ref()));
    let aliases = endpoint.aliases.as_deref().unwrap_or_default();
    Endpoint {
        network: network.to_owned(),
        ip: asked.or_else(|| filled(endpoint.ip_address.as_ref())),
        mac: filled(endpoint.mac_address.as_ref()),
        named: aliases.iter().any(|alias| alias == application),
        left: aliases.iter().find_map(|alias| left_at(alias)),
    }
}

fn read_restart(policy: Option<&RestartPolicy>) -> Option<Restart> {
    let most = policy
        .and_then(|policy| policy.maximum_retry_count)
        .unwrap_or_default();
    match policy.and_then(|policy| policy.name) {
        Some(RestartPolicyNameEnum::ALWAYS) => Some(Restart::Always),
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => None,
        Some(RestartPolicyNameEnum::ON_FAILURE) => {
            Some(Restart::OnFailure(u32::try_from(most).unwrap_or_default()))
        }
        Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY) | None => Some(Restart::Never),
    }
}

/// A limit as the engine has it.
pub fn limit(bytes: Option<u64>) -> i64 {
    i64::try_from(bytes.unwrap_or_default()).unwrap_or(i64::MAX)
}

/// The weight that Kubernetes gives a request for so many nano-cores, within what the kernel takes.
pub fn shares(nano_cores: u64) -> u64 {
    (nano_cores / 1_000_000 * 1024 / 1000).clamp(2, 262_144)
}

impl ContainerInfo {
    /// True where it is a replica, and not one of our helpers.
    pub fn is_replica(&self) -> bool {
        !self.labels.contains_key(labels::ROLE)
    }

    fn label(&self, key: &str) -> String {
        self.labels.get(key).cloned().unwrap_or_default()
    }

    /// The hash of the deployment that it was made for.
    pub fn config(&self) -> String {
        self.label(labels::CONFIG)
    }

    /// How the rollout of `deployment` sees it.
    pub fn seen(&self, deployment: &Deployment, names: &Names, busy: Option<InProgress>) -> ContainerView {
        let made_for_it = self.labels.get(labels::CONFIG) == Some(&deployment.identity.hash)
            && self.labels.get(labels::UID) == Some(&deployment.identity.uid);
        let index = names.index(deployment, &self.name);
        let kept = index.is_some() && self.name.ends_with(labels::KEPT);
        let wanted = [
            deployment.spec.resources.cpu,
            deployment.spec.resources.cpu_request.map(shares),
            deployment.spec.resources.memory,
            deployment.spec.resources.memory_request,
        ]
        .map(limit);
        let real = self.limits;
        // The engine cannot take a limit away from a container, only change it: such a one must be made anew.
        let unmendable = wanted
            .iter()
            .zip(real)
            .any(|(wanted, real)| *wanted == 0 && real != 0);
        let endpoint = self.endpoint.as_ref();
        ContainerView {
            id: self.id.clone(),
            name: self.name.clone(),
            index,
            current: made_for_it && !unmendable && !self.is_spent(deployment),
            abandoned: self
                .labels
                .get(labels::CONFIG)
                .is_some_and(|hash| deployment.history.abandoned.contains(hash)),
            over: matches!(self.phase, Phase::Exited(_)) && deployment.history.completed.contains(&self.id),
            phase: self.phase,
            health: self.health.clone(),
            attached: endpoint.is_some(),
            named: endpoint.is_some_and(|endpoint| endpoint.named),
            left: endpoint.and_then(|endpoint| endpoint.left),
            kept,
            drift: Drift {
                name: !kept && index.is_none_or(|index| names.container(deployment, index) != self.name),
                limits: wanted != real || self.restart != Some(deployment.spec.restart),
                networks: !self.other_networks.is_empty(),
            },
            busy,
            routed: deployment
                .history
                .routed
                .may_reach(endpoint.and_then(|endpoint| endpoint.ip.as_deref())),
            restarts: self.restarts,
        }
    }

    /// Whether it ended for good under an earlier Release of the same containers: a new one runs what it deploys.
    fn is_spent(&self, deployment: &Deployment) -> bool {
        matches!(self.phase, Phase::Exited(code) if !deployment.spec.restart.starts_again(code, self.restarts))
            && !self.name.ends_with(labels::KEPT)
            && self.labels.get(labels::RELEASE) != Some(&deployment.identity.release)
    }

    /// How the loop sees it; `message`: its last words, where it has ended.
    pub fn replica(self, busy: bool, message: String) -> Replica {
        let endpoint = self.endpoint.clone().unwrap_or_default();
        let running = matches!(self.phase, Phase::Running | Phase::Paused);
        let kept = matches!(self.phase, Phase::Exited(_)) && self.name.ends_with(labels::KEPT);
        let (state, healthy_since) = match (self.phase, self.health.clone()) {
            _ if kept => (ReplicaState::Kept, None),
            _ if self.keeps_ending => {
                let times = in_steps(self.restarts);
                let last = self.last;
                (ReplicaState::KeepsEnding { last, times, message }, None)
            }
            (Phase::Created, _) => (ReplicaState::Created, None),
            (Phase::Running, Health::Healthy(since)) => (ReplicaState::Healthy, Some(since)),
            (Phase::Running, Health::Starting(_)) => (ReplicaState::Starting, None),
            (Phase::Running, Health::Unhealthy { why, .. }) => (ReplicaState::Unhealthy(why), None),
            (Phase::Paused, _) => (ReplicaState::Unhealthy("it is paused".to_owned()), None),
            (Phase::Exited(_) | Phase::Restarting | Phase::Removing, _) => {
                let code = self.code;
                let oom = self.oom || self.last.is_some_and(|last| last.oom);
                (ReplicaState::Exited { code, oom, message }, None)
            }
        };
        Replica {
            hash: self.config(),
            release: self.label(labels::RELEASE),
            id: self.id,
            name: self.name,
            image: self.image,
            state,
            healthy_since,
            serving: running && endpoint.named,
            draining: busy || endpoint.left.is_some(),
            leaving: false,
            restarts: self.restarts,
            address: endpoint.ip.filter(|_| running),
            endpoints: self.endpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerState, Health as EngineHealth};

    use super::*;

    fn why(log: Vec<HealthcheckResult>) -> String {
        let health = EngineHealth {
            status: Some(HealthStatusEnum::UNHEALTHY),
            failing_streak: Some(3),
            log: Some(log),
        };
        let answer = ContainerInspectResponse {
            state: Some(ContainerState {
                health: Some(health),
                ..Default::default()
            }),
            ..Default::default()
        };
        let looked = read(
            answer,
            &Names::new("", ""),
            &Since::default(),
            Timestamp::UNIX_EPOCH,
        );
        match looked.health {
            Health::Unhealthy { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_check_is_told_by_its_words_or_else_by_its_end() {
        let long = "x".repeat(4096);
        for (code, output, expected) in [
            (Some(1), Some("  no database\n"), "no database"),
            (Some(1), Some(""), "the check ended with code 1 and said nothing"),
            (
                Some(127),
                Some(" \n"),
                "the check ended with code 127 and said nothing",
            ),
            (Some(3), None, "the check ended with code 3 and said nothing"),
            (
                Some(-1),
                Some("Health check exceeded timeout (2s)"),
                "Health check exceeded timeout (2s)",
            ),
            (
                Some(-1),
                Some(""),
                "the check did not end by itself and said nothing",
            ),
            (None, None, "the engine does not say how the check ended"),
            (Some(1), Some(&format!("{long}...")), &format!("{long}…")),
        ] {
            let result = HealthcheckResult {
                exit_code: code,
                output: output.map(str::to_owned),
                ..Default::default()
            };
            let earlier = HealthcheckResult {
                exit_code: Some(9),
                output: Some("earlier".to_owned()),
                ..Default::default()
            };
            assert_eq!(why(vec![earlier, result]), expected, "{code:?} {output:?}");
        }
        assert_eq!(why(Vec::new()), "the engine does not say how the check ended");
    }
}
