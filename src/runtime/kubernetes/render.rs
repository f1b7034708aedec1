//! A deployment as Kubernetes objects. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::configuration::Configuration;
use super::names::{self, CONTAINER};
use super::quantity;
use crate::api::{Protocol, Strategy};
use crate::image::registry_of;
use crate::model::RegistryLogin;
use crate::runtime::{Deployment, Health, MountSource, Port, Probe, Resources, Restart, RuntimeError};

/// How long a container that is removed still serves: until every node has learned that it left the Service.
const DRAIN: u64 = 5;
/// How long a container without any health check must run by default until it counts as ready, in seconds.
const MIN_READY_UNCHECKED: u64 = 1;
/// How many earlier configurations a Deployment keeps.
const HISTORY: u32 = 10;
/// The size of a volume whose Application states none, in bytes.
const VOLUME_SIZE: u64 = 1 << 30;
/// The number of retries that stands for no limit.
const NO_LIMIT: u32 = i32::MAX.unsigned_abs();

/// The objects of a deployment.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The Secret with environment and files.
    pub config: Option<Value>,
    /// The Secret with the credential of the registry.
    pub pull: Option<Value>,
    /// The PersistentVolumeClaims.
    pub claims: Vec<Claim>,
    /// The Service; a hook has none.
    pub service: Option<Value>,
    /// The Deployment or Job.
    pub workload: Workload,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The object, if it does not exist yet.
    pub object: Value,
    /// Its size, in bytes.
    pub size: u64,
}

/// What runs the containers.
#[derive(Clone, Debug)]
pub enum Workload {
    /// Containers that are always restarted.
    Deployment(Value),
    /// Containers that run to completion.
    Job(Value),
}

/// The objects of a deployment. `release` is the one that its containers are annotated with.
///
/// # Errors
/// A field that Kubernetes cannot honour.
pub fn objects(deployment: &Deployment, release: &str) -> Result<Objects, RuntimeError> {
    let configuration = Configuration::new(deployment)?;
    let template = template(deployment, &configuration, release);
    let workload = match deployment.spec.restart {
        Restart::Always => Workload::Deployment(workload(deployment, &template)),
        Restart::OnFailure(0) => Workload::Job(job(deployment, &template, NO_LIMIT)),
        Restart::OnFailure(most) => Workload::Job(job(deployment, &template, most)),
        Restart::Never => Workload::Job(job(deployment, &template, 0)),
    };
    Ok(Objects {
        config: configuration.secret(deployment),
        pull: deployment
            .registry
            .as_ref()
            .map(|login| pull_secret(deployment, login)),
        claims: claims(deployment),
        service: (!is_hook(deployment)).then(|| service(deployment)),
        workload,
    })
}

fn is_hook(deployment: &Deployment) -> bool {
    let app = &deployment.identity.app;
    app.owner() != *app
}

fn workload(deployment: &Deployment, template: &Value) -> Value {
    let identity = &deployment.identity;
    let default = if deployment.spec.health.is_some() {
        0
    } else {
        MIN_READY_UNCHECKED
    };
    let min_ready = deployment.policy.min_ready.map_or(default, whole_seconds);
    let deadline = whole_seconds(deployment.policy.progress_deadline).max(min_ready + 1);
    let strategy = match deployment.policy.strategy {
        Strategy::StartFirst => json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
        }),
        Strategy::StopFirst => json!({"type": "Recreate"}),
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names::owned(identity, &identity.app.name, &names::config_labels(identity)),
        "spec": {
            "replicas": deployment.policy.replicas,
            "selector": {"matchLabels": {names::APPLICATION: identity.app.name}},
            "strategy": strategy,
            "minReadySeconds": min_ready,
            "progressDeadlineSeconds": deadline,
            "revisionHistoryLimit": HISTORY,
            "template": template,
        },
    })
}

/// A Job creates another Pod after a failure, because a Pod that is restarted in place goes at the end, and its log with it.
fn job(deployment: &Deployment, template: &Value, retries: u32) -> Value {
    let identity = &deployment.identity;
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": names::owned(identity, &names::job(identity), &names::config_labels(identity)),
        "spec": {
            "parallelism": deployment.policy.replicas,
            "completions": deployment.policy.replicas,
            "backoffLimit": retries,
            "template": template,
        },
    })
}

fn template(deployment: &Deployment, configuration: &Configuration, release: &str) -> Value {
    let (identity, spec) = (&deployment.identity, &deployment.spec);
    let runs_on = spec.restart == Restart::Always;
    let mut container = json!({
        "name": CONTAINER,
        "image": spec.image,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": false},
    });
    let mut set = |key: &str, value: Value| {
        if let (Some(object), false) = (container.as_object_mut(), is_empty(&value)) {
            object.insert(key.to_owned(), value);
        }
    };
    set("command", json!(configuration.command));
    set("args", json!(configuration.args));
    set("env", json!(configuration.env));
    set("resources", resources(&spec.resources));
    set("ports", container_ports(&spec.ports));
    let claims = spec
        .mounts
        .iter()
        .filter(|mount| mount.source == MountSource::Volume);
    let claims: Vec<_> = claims.collect();
    let mounts = claims.iter().map(|mount| {
        json!({"name": format!("volume-{}", mount.name), "mountPath": mount.path, "readOnly": mount.read_only})
    });
    let mounts: Vec<Value> = mounts.chain(configuration.mounts.iter().cloned()).collect();
    set("volumeMounts", json!(mounts));
    if let Some(health) = &spec.health {
        set("readinessProbe", probe(health, health.retries.max(1)));
        if !health.start_period.is_zero() {
            let rounds = whole_seconds(health.start_period).div_ceil(period(health));
            let failures = u32::try_from(rounds)
                .unwrap_or(u32::MAX)
                .saturating_add(health.retries.max(1));
            set("startupProbe", probe(health, failures));
        }
    }
    let mut grace = whole_seconds(spec.stop_grace);
    if runs_on && !spec.ports.is_empty() {
        grace += DRAIN;
        set("lifecycle", json!({"preStop": {"sleep": {"seconds": DRAIN}}}));
    }
    let volumes = claims.iter().map(|mount| {
        json!({
            "name": format!("volume-{}", mount.name),
            "persistentVolumeClaim": {"claimName": names::claim(&identity.app, &mount.name)},
        })
    });
    let volumes: Vec<Value> = volumes.chain(configuration.volumes.iter().cloned()).collect();
    let mut pod = json!({
        "automountServiceAccountToken": false,
        // Variables such as SHOP_PORT of a Service would replace those of the Application.
        "enableServiceLinks": false,
        "restartPolicy": if runs_on { "Always" } else { "Never" },
        "terminationGracePeriodSeconds": grace,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    });
    if let Some(pod) = pod.as_object_mut() {
        if !volumes.is_empty() {
            pod.insert("volumes".to_owned(), json!(volumes));
        }
        if deployment.registry.is_some() {
            let name = names::pull_secret(&identity.app);
            pod.insert("imagePullSecrets".to_owned(), json!([{"name": name}]));
        }
    }
    json!({
        "metadata": {
            "labels": names::config_labels(identity),
            "annotations": {names::RELEASE: release},
        },
        "spec": pod,
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

fn resources(wanted: &Resources) -> Value {
    let amounts = |cpu: Option<u64>, memory: Option<u64>| {
        let mut amounts = Map::new();
        if let Some(cpu) = cpu {
            amounts.insert("cpu".to_owned(), json!(quantity::cpu(cpu)));
        }
        if let Some(memory) = memory {
            amounts.insert("memory".to_owned(), json!(quantity::memory(memory)));
        }
        amounts
    };
    let mut all = Map::new();
    for (name, amounts) in [
        ("limits", amounts(wanted.cpu, wanted.memory)),
        ("requests", amounts(wanted.cpu_request, wanted.memory_request)),
    ] {
        if !amounts.is_empty() {
            all.insert(name.to_owned(), Value::Object(amounts));
        }
    }
    Value::Object(all)
}

/// The ports, each once: an Application may publish one at several addresses of a machine.
fn distinct(ports: &[Port]) -> Vec<&Port> {
    let mut seen = BTreeSet::new();
    let new = |port: &&Port| seen.insert((port.container, port.protocol == Protocol::Udp));
    ports.iter().filter(new).collect()
}

fn protocol(port: &Port) -> &'static str {
    match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

fn container_ports(ports: &[Port]) -> Value {
    let ports = distinct(ports).into_iter();
    let ports = ports.map(|port| json!({"containerPort": port.container, "protocol": protocol(port)}));
    Value::Array(ports.collect())
}

/// The Service with the Application's name. Without ports it has no address of its own: the name resolves to the Pods.
fn service(deployment: &Deployment) -> Value {
    let identity = &deployment.identity;
    let ports = distinct(&deployment.spec.ports).into_iter();
    let ports: Vec<Value> = ports
        .map(|port| {
            let name = format!("{}-{}", protocol(port).to_lowercase(), port.container);
            json!({
                "name": port.name.clone().unwrap_or(name),
                "port": port.container,
                "targetPort": port.container,
                "protocol": protocol(port),
            })
        })
        .collect();
    let mut spec = json!({
        "type": "ClusterIP",
        "selector": {names::APPLICATION: identity.app.name},
    });
    if let Some(spec) = spec.as_object_mut() {
        if ports.is_empty() {
            spec.insert("clusterIP".to_owned(), json!("None"));
        } else {
            spec.insert("ports".to_owned(), Value::Array(ports));
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names::owned(identity, &identity.app.name, &names::labels(identity)),
        "spec": spec,
    })
}

/// Claims have no owner: `spec.deletionPolicy` decides whether they go with the Application.
fn claims(deployment: &Deployment) -> Vec<Claim> {
    let identity = &deployment.identity;
    let volumes = deployment.spec.mounts.iter();
    volumes
        .filter(|mount| mount.source == MountSource::Volume)
        .map(|mount| {
            let name = names::claim(&identity.app, &mount.name);
            let storage = deployment
                .spec
                .storage
                .get(&mount.name)
                .cloned()
                .unwrap_or_default();
            let size = storage.size.unwrap_or(VOLUME_SIZE);
            let mut claim = json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": name,
                    "namespace": identity.app.namespace,
                    "labels": names::claim_labels(identity),
                },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": size.to_string()}},
                },
            });
            if let (Some(class), Some(spec)) = (storage.class, claim.get_mut("spec")) {
                spec["storageClassName"] = json!(class);
            }
            Claim {
                name,
                object: claim,
                size,
            }
        })
        .collect()
}

fn pull_secret(deployment: &Deployment, login: &RegistryLogin) -> Value {
    let identity = &deployment.identity;
    let text = |secret: &crate::redact::Secret| secret.expose_str().unwrap_or_default().to_owned();
    let entry = match login {
        RegistryLogin::Basic { username, password } => {
            let pair = format!("{username}:{}", text(password));
            json!({"auth": STANDARD.encode(pair)})
        }
        RegistryLogin::Identity(token) => json!({"identitytoken": text(token)}),
        RegistryLogin::Bearer(token) => json!({"registrytoken": text(token)}),
    };
    let host = match registry_of(&deployment.spec.image) {
        hub if hub == "docker.io" => "https://index.docker.io/v1/".to_owned(),
        host => host,
    };
    let config = json!({"auths": {host: entry}}).to_string();
    let name = names::pull_secret(&identity.app);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names::owned(identity, &name, &names::labels(identity)),
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": STANDARD.encode(config)},
    })
}

fn probe(health: &Health, failures: u32) -> Value {
    let mut probe = json!({
        "periodSeconds": period(health),
        "timeoutSeconds": whole_seconds(health.timeout).max(1),
        "failureThreshold": failures,
    });
    let (kind, check) = match &health.probe {
        Probe::Http { path, port } => ("httpGet", json!({"path": path, "port": port, "scheme": "HTTP"})),
        Probe::Tcp { port } => ("tcpSocket", json!({"port": port})),
        Probe::Exec(command) => ("exec", json!({"command": command})),
    };
    if let Some(probe) = probe.as_object_mut() {
        probe.insert(kind.to_owned(), check);
    }
    probe
}

fn period(health: &Health) -> u64 {
    whole_seconds(health.interval).max(1)
}

/// Kubernetes counts in seconds; a part of one must not become none.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
