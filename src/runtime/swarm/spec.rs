//! A deployment as a Swarm service. Pure.

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, EndpointSpec,
    EndpointSpecModeEnum, HealthConfig, Limit, Mount as EngineMount, MountType, MountVolumeOptions,
    NetworkAttachmentConfig, ResourceObject, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
    ServiceSpecUpdateConfig, ServiceSpecUpdateConfigFailureActionEnum, ServiceSpecUpdateConfigOrderEnum,
    TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile,
    TaskSpecContainerSpecFile1, TaskSpecContainerSpecSecrets, TaskSpecResources, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum,
};

use super::files::Attached;
use crate::api::{Protocol, Strategy};
use crate::redact::Secret;
use crate::runtime::docker::labels::{self, Names};
use crate::runtime::{Deployment, MountSource, Port, Probe, Restart, RuntimeError};

/// Time before Swarm starts a task again, in nanoseconds.
const RESTART_DELAY: i64 = 1_000_000_000;

/// The service of a deployment in the network with this id. `files` are the configs and secrets of its mounts.
///
/// # Errors
/// A value that is not text, and a check that the engine cannot make.
pub fn service(
    names: &Names,
    deployment: &Deployment,
    network: &str,
    files: &[Attached],
) -> Result<ServiceSpec, RuntimeError> {
    let stop_first = deployment.policy.strategy == Strategy::StopFirst;
    Ok(ServiceSpec {
        name: Some(names.service(&deployment.identity.app)),
        labels: Some(names.made(names.deployment_labels(deployment))),
        task_template: Some(task(names, deployment, network, files)?),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated {
                replicas: Some(i64::from(deployment.policy.replicas)),
            }),
            ..Default::default()
        }),
        update_config: Some(ServiceSpecUpdateConfig {
            // All tasks at once.
            parallelism: Some(0),
            // Davit observes the tasks and returns to the earlier service itself, as on every runtime.
            failure_action: Some(ServiceSpecUpdateConfigFailureActionEnum::PAUSE),
            order: Some(if stop_first {
                ServiceSpecUpdateConfigOrderEnum::STOP_FIRST
            } else {
                ServiceSpecUpdateConfigOrderEnum::START_FIRST
            }),
            ..Default::default()
        }),
        endpoint_spec: Some(EndpointSpec {
            // The name resolves to the tasks, as on a Docker Engine: a virtual address would need IPVS, which forgets idle
            // connections.
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: Some(deployment.spec.ports.iter().filter_map(published).collect()),
        }),
        ..Default::default()
    })
}

fn task(
    names: &Names,
    deployment: &Deployment,
    network: &str,
    files: &[Attached],
) -> Result<TaskSpec, RuntimeError> {
    let spec = &deployment.spec;
    let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let (condition, attempts) = match spec.restart {
        Restart::Always => (TaskSpecRestartPolicyConditionEnum::ANY, None),
        Restart::OnFailure(most) => (
            TaskSpecRestartPolicyConditionEnum::ON_FAILURE,
            Some(i64::from(most)).filter(|most| *most > 0),
        ),
        Restart::Never => (TaskSpecRestartPolicyConditionEnum::NONE, None),
    };
    let secrets = files.iter().filter(|file| file.confidential);
    let configs = files.iter().filter(|file| !file.confidential);
    let mut labels = names.made(names.deployment_labels(deployment));
    let confidential = spec.env.iter().filter(|variable| variable.confidential);
    let confidential: Vec<_> = confidential.map(|variable| variable.name.as_str()).collect();
    labels.insert(labels::SECRET_ENV.to_owned(), confidential.join(","));
    if spec.has_confidential_files() {
        labels.insert(labels::SECRET_FILES.to_owned(), "true".to_owned());
    }
    Ok(TaskSpec {
        container_spec: Some(TaskSpecContainerSpec {
            image: Some(spec.image.clone()),
            labels: Some(labels),
            command: texts(&spec.command, "spec.command")?,
            args: texts(&spec.args, "spec.args")?,
            env: Some(environment(deployment)?).filter(|env| !env.is_empty()),
            mounts: Some(volumes(names, deployment)).filter(|mounts| !mounts.is_empty()),
            stop_grace_period: i64::try_from(spec.stop_grace.as_nanos()).ok(),
            health_check: health(deployment)?,
            secrets: Some(secrets.map(secret).collect::<Vec<_>>()).filter(|all| !all.is_empty()),
            configs: Some(configs.map(config).collect::<Vec<_>>()).filter(|all| !all.is_empty()),
            init: Some(true),
            ..Default::default()
        }),
        resources: Some(TaskSpecResources {
            limits: Some(Limit {
                nano_cpus: number(spec.resources.cpu),
                memory_bytes: number(spec.resources.memory),
                ..Default::default()
            }),
            reservations: Some(ResourceObject {
                nano_cpus: number(spec.resources.cpu_request),
                memory_bytes: number(spec.resources.memory_request),
                ..Default::default()
            }),
            ..Default::default()
        }),
        restart_policy: Some(TaskSpecRestartPolicy {
            condition: Some(condition),
            delay: Some(RESTART_DELAY),
            max_attempts: attempts,
            ..Default::default()
        }),
        networks: Some(vec![NetworkAttachmentConfig {
            target: Some(network.to_owned()),
            aliases: Some(vec![deployment.identity.app.name.clone()]),
            ..Default::default()
        }]),
        ..Default::default()
    })
}

/// A port of the machine that a task has for itself. Swarm's routing mesh would hide the address of clients.
fn published(port: &Port) -> Option<EndpointPortConfig> {
    Some(EndpointPortConfig {
        name: port.name.clone(),
        protocol: Some(match port.protocol {
            Protocol::Tcp => EndpointPortConfigProtocolEnum::TCP,
            Protocol::Udp => EndpointPortConfigProtocolEnum::UDP,
        }),
        target_port: Some(i64::from(port.container)),
        published_port: Some(i64::from(port.host?)),
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
    })
}

fn health(deployment: &Deployment) -> Result<Option<HealthConfig>, RuntimeError> {
    let Some(health) = &deployment.spec.health else {
        return Ok(None);
    };
    let Probe::Exec(command) = &health.probe else {
        return Err(RuntimeError::Rejected {
            message: "Swarm checks health only by a command in the container".to_owned(),
            fields: Some("spec.healthCheck: use exec"),
        });
    };
    let nanos = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let test = std::iter::once("CMD".to_owned()).chain(command.iter().cloned());
    Ok(Some(HealthConfig {
        test: Some(test.collect()),
        interval: Some(nanos(health.interval)),
        timeout: Some(nanos(health.timeout)),
        retries: Some(i64::from(health.retries.max(1))),
        start_period: Some(nanos(health.start_period)),
        start_interval: None,
    }))
}

fn environment(deployment: &Deployment) -> Result<Vec<String>, RuntimeError> {
    let variables = deployment.spec.env.iter();
    variables
        .map(|variable| match variable.value.expose_str() {
            Some(value) => Ok(format!("{}={value}", variable.name)),
            None => Err(RuntimeError::Rejected {
                message: format!(
                    "the value of environment variable {} is not UTF-8 text",
                    variable.name
                ),
                fields: Some("spec.env and spec.envFrom"),
            }),
        })
        .collect()
}

fn texts(list: &[Secret], field: &'static str) -> Result<Option<Vec<String>>, RuntimeError> {
    let text = |value: &Secret| {
        value
            .expose_str()
            .map(str::to_owned)
            .ok_or_else(|| RuntimeError::Rejected {
                message: "the value of a variable in it is not UTF-8 text".to_owned(),
                fields: Some(field),
            })
    };
    let texts: Vec<String> = list.iter().map(text).collect::<Result<_, _>>()?;
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}

fn volumes(names: &Names, deployment: &Deployment) -> Vec<EngineMount> {
    let app = &deployment.identity.app;
    let mut labels = names.made(names.app_labels(app));
    labels.insert(labels::UID.to_owned(), deployment.identity.uid.clone());
    labels.insert(labels::ROLE.to_owned(), labels::ROLE_VOLUME.to_owned());
    let volumes = deployment.spec.mounts.iter();
    volumes
        .filter(|mount| mount.source == MountSource::Volume)
        .map(|mount| EngineMount {
            target: Some(mount.path.clone()),
            source: Some(names.volume(app, &mount.name)),
            typ: Some(MountType::VOLUME),
            read_only: Some(mount.read_only),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels.clone()),
                ..Default::default()
            }),
            ..Default::default()
        })
        .collect()
}

fn secret(file: &Attached) -> TaskSpecContainerSpecSecrets {
    TaskSpecContainerSpecSecrets {
        file: Some(TaskSpecContainerSpecFile {
            name: Some(file.path.clone()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(file.mode),
        }),
        secret_id: Some(file.id.clone()),
        secret_name: Some(file.name.clone()),
    }
}

fn config(file: &Attached) -> TaskSpecContainerSpecConfigs {
    TaskSpecContainerSpecConfigs {
        file: Some(TaskSpecContainerSpecFile1 {
            name: Some(file.path.clone()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(file.mode),
        }),
        config_id: Some(file.id.clone()),
        config_name: Some(file.name.clone()),
        ..Default::default()
    }
}
