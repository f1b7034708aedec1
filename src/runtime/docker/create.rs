//! A deployment as the engine wants to be told it. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount, MountType, MountVolumeOptions, NetworkingConfig, PortBinding as EnginePort,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::labels::{self, HEALTH, Names};
use super::observe::{limit, shares};
use super::probe::Check;
use crate::api::Protocol;
use crate::runtime::{Deployment, EnvVar, Health, MountSource, Probe, Restart, RuntimeError};

/// What a container's log may take on the disk: three files of ten megabytes.
const LOG_BOUNDS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];

/// The container's end in the namespace's network: with this address, and this alias if any.
pub fn endpoint(ip: Option<String>, mac: Option<String>, alias: Option<String>) -> EndpointSettings {
    EndpointSettings {
        ipam_config: ip.map(|ip| EndpointIpamConfig {
            ipv4_address: Some(ip),
            ..Default::default()
        }),
        mac_address: mac,
        aliases: alias.map(|alias| vec![alias]),
        ..Default::default()
    }
}

/// The whole container.
///
/// # Errors
/// An environment variable that is not text: the engine takes nothing else.
pub fn body(
    names: &Names,
    deployment: &Deployment,
    network: &str,
    end: EndpointSettings,
) -> Result<ContainerCreateBody, RuntimeError> {
    let mut labels = names.made(names.deployment_labels(deployment));
    if let Some(check) = Check::of(deployment) {
        labels.insert(HEALTH.to_owned(), check.to_label());
    }
    let confidential = deployment
        .spec
        .env
        .iter()
        .filter(|variable| variable.confidential);
    let confidential: Vec<_> = confidential.map(|variable| variable.name.as_str()).collect();
    labels.insert(labels::SECRET_ENV.to_owned(), confidential.join(","));
    if deployment.spec.has_confidential_files() {
        labels.insert(labels::SECRET_FILES.to_owned(), "true".to_owned());
    }
    let network = network.to_owned();
    Ok(ContainerCreateBody {
        image: Some(deployment.spec.image.clone()),
        env: Some(env(deployment)?),
        entrypoint: filled(&deployment.spec.command, "spec.command")?,
        cmd: filled(&deployment.spec.args, "spec.args")?,
        exposed_ports: Some(deployment.spec.ports.iter().map(port_key).collect()),
        labels: Some(labels),
        healthcheck: deployment.spec.health.as_ref().map(health),
        stop_timeout: Some(i64::try_from(deployment.spec.stop_grace.as_secs()).unwrap_or(i64::MAX)),
        host_config: Some(host(names, deployment, network.clone())),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, end)])),
        }),
        ..Default::default()
    })
}

fn host(names: &Names, deployment: &Deployment, network: String) -> HostConfig {
    let mut bindings: HashMap<String, Option<Vec<EnginePort>>> = HashMap::new();
    for port in &deployment.spec.ports {
        if let Some(host) = port.host {
            let binding = EnginePort {
                host_ip: port.host_ip.clone(),
                host_port: Some(host.to_string()),
            };
            bindings
                .entry(port_key(port))
                .or_default()
                .get_or_insert_default()
                .push(binding);
        }
    }
    HostConfig {
        nano_cpus: Some(limit(deployment.spec.resources.cpu)),
        cpu_shares: Some(limit(deployment.spec.resources.cpu_request.map(shares))),
        memory: Some(limit(deployment.spec.resources.memory)),
        // Equal to memory, so that swap does not extend the limit.
        memory_swap: deployment.spec.resources.memory.map(|bytes| limit(Some(bytes))),
        memory_reservation: Some(limit(deployment.spec.resources.memory_request)),
        restart_policy: Some(restart(deployment.spec.restart)),
        network_mode: Some(network),
        port_bindings: Some(bindings),
        mounts: Some(
            deployment
                .spec
                .mounts
                .iter()
                .map(|mount| mounted(names, deployment, mount))
                .collect(),
        ),
        // Reaps children and hands on signals, which few programs do as process 1.
        init: Some(true),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(bounded_log()),
        ..Default::default()
    }
}

/// The log of a container: it stays in the engine, and within [`LOG_BOUNDS`].
pub(super) fn bounded_log() -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(
            LOG_BOUNDS
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
    }
}

fn mounted(names: &Names, deployment: &Deployment, mount: &crate::runtime::Mount) -> Mount {
    let (source, read_only) = match &mount.source {
        MountSource::Volume => (
            names.volume(&deployment.identity.app.owner(), &mount.name),
            mount.read_only,
        ),
        MountSource::Files { .. } => (names.files(deployment, &mount.name), true),
    };
    Mount {
        target: Some(mount.path.clone()),
        source: Some(source),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions {
            // An empty volume is filled from the image, as with `docker run`; the files are never more than given.
            no_copy: Some(matches!(mount.source, MountSource::Files { .. })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What can be put right as a container runs.
pub fn update(deployment: &Deployment) -> ContainerUpdateBody {
    ContainerUpdateBody {
        nano_cpus: deployment.spec.resources.cpu.map(|it| limit(Some(it))),
        cpu_shares: deployment
            .spec
            .resources
            .cpu_request
            .map(|it| limit(Some(shares(it)))),
        memory: deployment.spec.resources.memory.map(|it| limit(Some(it))),
        memory_swap: deployment.spec.resources.memory.map(|it| limit(Some(it))),
        memory_reservation: deployment.spec.resources.memory_request.map(|it| limit(Some(it))),
        restart_policy: Some(restart(deployment.spec.restart)),
        ..Default::default()
    }
}

fn restart(wanted: Restart) -> RestartPolicy {
    let (name, most) = match wanted {
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, 0),
        Restart::OnFailure(most) => (RestartPolicyNameEnum::ON_FAILURE, most),
        Restart::Never => (RestartPolicyNameEnum::NO, 0),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: Some(i64::from(most)),
    }
}

/// The check that the engine makes. Where we make one of our own, the image's is switched off: two judges may disagree.
fn health(wanted: &Health) -> HealthConfig {
    let test = match &wanted.probe {
        Probe::Http { .. } | Probe::Tcp { .. } => vec!["NONE".to_owned()],
        Probe::Exec(command) => std::iter::once("CMD".to_owned())
            .chain(command.iter().cloned())
            .collect(),
    };
    let nanos = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: Some(test),
        interval: Some(nanos(wanted.interval)),
        timeout: Some(nanos(wanted.timeout)),
        retries: Some(i64::from(wanted.retries.max(1))),
        start_period: Some(nanos(wanted.start_period)),
        start_interval: None,
    }
}

fn env(deployment: &Deployment) -> Result<Vec<String>, RuntimeError> {
    let pair = |variable: &EnvVar| match variable.value.expose_str() {
        Some(value) => Ok(format!("{}={value}", variable.name)),
        None => Err(RuntimeError::Rejected {
            message: format!(
                "the value of environment variable {} is not UTF-8 text",
                variable.name
            ),
            fields: Some("spec.env and spec.envFrom"),
        }),
    };
    deployment.spec.env.iter().map(pair).collect()
}

fn filled(list: &[crate::redact::Secret], field: &'static str) -> Result<Option<Vec<String>>, RuntimeError> {
    let text = |value: &crate::redact::Secret| match value.expose_str() {
        Some(value) => Ok(value.to_owned()),
        None => Err(RuntimeError::Rejected {
            message: "the value of a variable in it is not UTF-8 text".to_owned(),
            fields: Some(field),
        }),
    };
    let list: Vec<String> = list.iter().map(text).collect::<Result<_, _>>()?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

fn port_key(port: &crate::runtime::Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.container)
}
