//! What a runtime needs to run a spec: all defaults decided, all quantities parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{ApplicationSpec, Quantity, RestartCondition, RestartPolicy, Strategy, VolumeMount};
use crate::error::Problem;
use crate::model::AppId;
use crate::redact::Secret;
use crate::runtime::{
    Deployment, EnvVar, History, Identity, Mount, MountSource, PodSpec, Resources, Restart, RolloutPolicy,
    Storage,
};

use super::health::health;
use super::limits;
use super::ports::bindings;
use super::quantities::share;
use super::value_origin::ValueOrigin;
use super::values::{Values, arguments};

/// The default mode of the files of ConfigMaps and Secrets: every user of the image can read them.
const FILE_MODE: u32 = 0o444;

/// What a runtime needs to run `spec` with `image`.
///
/// # Errors
/// A field that cannot work, by its name.
pub fn deployment(
    app: &AppId,
    release: &str,
    hash: &str,
    image: &str,
    spec: &ApplicationSpec,
    values: &Values,
) -> Result<Deployment, Problem> {
    let (command, args) = (
        arguments(&spec.command, "spec.command", values)?,
        arguments(&spec.args, "spec.args", values)?,
    );
    let start = limits::Start {
        env: &values.env,
        build_args: &values.args,
        origins: &values.origins,
        command: &command,
        args: &args,
    };
    limits::check(spec, &start)?;
    let share = share(spec.resources.as_ref());
    let ports = bindings(&spec.ports)?;
    let has_host_port = ports.iter().any(|port| port.host.is_some());
    let rollout = spec.rollout.clone().unwrap_or_default();
    Ok(Deployment {
        identity: Identity {
            app: app.clone(),
            uid: String::new(),
            release: release.to_owned(),
            hash: hash.to_owned(),
        },
        spec: PodSpec {
            image: image.to_owned(),
            env: environment(values),
            command,
            args,
            ports,
            resources: Resources {
                cpu: share.cpu,
                cpu_request: share.cpu_request,
                memory: share.memory,
                memory_request: share.memory_reservation,
            },
            health: spec
                .health_check
                .as_ref()
                .map(|check| health(check, &spec.ports))
                .transpose()?,
            restart: restart(spec.restart_policy.clone()),
            stop_grace: spec
                .stop_grace_period
                .as_ref()
                .map_or(Duration::from_secs(10), |wanted| whole_seconds(wanted.get())),
            mounts: mounts(spec, values),
            storage: storage(spec),
        },
        policy: RolloutPolicy {
            replicas: u32::try_from(spec.replicas).unwrap_or_default(),
            strategy: if has_host_port {
                Strategy::StopFirst
            } else {
                rollout.strategy.unwrap_or(Strategy::StartFirst)
            },
            min_ready: rollout.min_ready.as_ref().map(crate::api::Duration::get),
            progress_deadline: rollout
                .progress_deadline
                .as_ref()
                .map_or(Duration::from_mins(5), crate::api::Duration::get),
        },
        history: History::default(),
        registry: None,
    })
}

/// The environment. A variable is confidential if its value comes from a Secret, at least in part.
fn environment(values: &Values) -> Vec<EnvVar> {
    let variable = |(name, value): &(String, Secret)| {
        let origins = values.origins.get(&format!("run.env.{name}"));
        EnvVar {
            name: name.clone(),
            value: value.clone(),
            confidential: origins.is_some_and(|origins| origins.iter().any(ValueOrigin::is_secret)),
        }
    };
    values.env.iter().map(variable).collect()
}

/// What happens when a container ends by itself; without a policy it is started again, always.
pub fn restart(policy: Option<RestartPolicy>) -> Restart {
    let policy = policy.unwrap_or_default();
    match policy.condition {
        RestartCondition::Always => Restart::Always,
        RestartCondition::OnFailure => {
            Restart::OnFailure(u32::try_from(policy.max_retries.unwrap_or(0)).unwrap_or_default())
        }
        RestartCondition::Never => Restart::Never,
    }
}

fn mounts(spec: &ApplicationSpec, values: &Values) -> Vec<Mount> {
    let mount = |volume: &VolumeMount| {
        let source = if volume.volume.is_some() {
            MountSource::Volume
        } else {
            let given = volume.secret.as_ref().or(volume.config_map.as_ref());
            let mode = given.and_then(|files| files.default_mode);
            MountSource::Files {
                files: values.files.get(&volume.name).cloned().unwrap_or_default(),
                mode: mode
                    .and_then(|mode| u32::try_from(mode).ok())
                    .unwrap_or(FILE_MODE)
                    & 0o777,
                confidential: volume.secret.is_some(),
            }
        };
        Mount {
            name: volume.name.clone(),
            path: volume.mount_path.trim_end_matches('/').to_owned(),
            source,
            read_only: volume.read_only,
        }
    };
    spec.volumes.iter().map(mount).collect()
}

/// The storage of the volumes that state some.
fn storage(spec: &ApplicationSpec) -> BTreeMap<String, Storage> {
    let stated = spec.volumes.iter().filter_map(|mount| {
        let volume = mount.volume.as_ref()?;
        let storage = Storage {
            size: volume.size.as_ref().and_then(Quantity::bytes),
            class: volume.storage_class_name.clone(),
        };
        (storage != Storage::default()).then(|| (mount.name.clone(), storage))
    });
    stated.collect()
}

/// Engines count this time in whole seconds; a part of one must not become none at all.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_not_no_time_at_all() {
        for (wanted, given) in [("0s", 0), ("200ms", 1), ("1500ms", 2), ("90s", 90)] {
            let spec = ApplicationSpec {
                stop_grace_period: crate::api::Duration::parse(wanted).ok(),
                ..ApplicationSpec::default()
            };
            let app = AppId::new("ns", "shop");
            let deployment = deployment(&app, "", "", "", &spec, &Values::default()).unwrap();
            assert_eq!(deployment.spec.stop_grace, Duration::from_secs(given), "{wanted}");
        }
    }
}
