//! Fields that the runtime of this installation cannot honour.

use crate::api::{Amounts, ApplicationSpec, Quantity, Reason, RestartCondition};
use crate::builder::is_of_others;
use crate::error::{Class, Problem};
use crate::runtime::Capabilities;

/// Refuses the first field that the runtime cannot honour.
///
/// # Errors
/// `NotSupported` with the field and what to do instead.
pub(super) fn check(spec: &ApplicationSpec, runtime: &Capabilities) -> Result<(), Problem> {
    let refuse = |field: &str, instead: &str| {
        let name = runtime.name;
        Err(Problem::new(
            Class::Terminal,
            Reason::NotSupported,
            format!("{field} cannot be used with --runtime {name}: {instead}"),
        ))
    };
    if !runtime.host_ports && spec.ports.iter().any(|port| port.host_port.is_some()) {
        return refuse(
            "spec.ports.hostPort",
            "remove it, and reach the Application by its Service",
        );
    }
    if !runtime.host_ip && spec.ports.iter().any(|port| port.host_ip.is_some()) {
        return refuse(
            "spec.ports.hostIp",
            "remove it; the port is published at all addresses",
        );
    }
    memory(spec, runtime)?;
    let check = spec.health_check.as_ref();
    if !runtime.network_probes && check.is_some_and(|check| check.exec.is_none()) {
        return refuse(
            "spec.healthCheck.http and spec.healthCheck.tcp",
            "use spec.healthCheck.exec with a program of the image",
        );
    }
    let hook = spec.hooks.as_ref().and_then(|hooks| hooks.pre_deploy.as_ref());
    if !runtime.hooks && hook.is_some() {
        return refuse(
            "spec.hooks.preDeploy",
            "run the command when the container starts, or before you deploy",
        );
    }
    let volumes = spec.volumes.iter().filter_map(|mount| mount.volume.as_ref());
    for volume in volumes {
        if !runtime.storage && (volume.size.is_some() || volume.storage_class_name.is_some()) {
            return refuse(
                "spec.volumes.volume.size and spec.volumes.volume.storageClassName",
                "remove them; a volume has the disk of its machine",
            );
        }
        if let Some(size) = volume.size.as_ref().filter(|size| size.bytes().is_none()) {
            return Err(Problem::new(
                Class::Terminal,
                Reason::InvalidQuantity,
                format!(
                    "spec.volumes.volume.size {size} is not an amount of storage: write one such as 10Gi"
                ),
            ));
        }
    }
    let condition = spec.restart_policy.as_ref().map(|policy| policy.condition);
    if !runtime.run_to_completion && condition.is_some_and(|it| it != RestartCondition::Always) {
        return refuse("spec.restartPolicy", "set its condition to Always");
    }
    Ok(())
}

/// The refusal of an image that no registry has. `built`: Davit builds it.
pub(super) fn needs_registry(runtime: &Capabilities, built: bool) -> Problem {
    let name = runtime.name;
    let message = if built {
        format!(
            "spec.image is missing, and --runtime {name} runs only images of a registry: set spec.image.repository, or start \
             Davit with --registry"
        )
    } else {
        format!(
            "spec.source.docker.image is the ID of an image, and --runtime {name} runs only images of a registry: name the image \
             with its registry"
        )
    };
    Problem::new(Class::Terminal, Reason::NotSupported, message)
}

/// Refuses an image that the engine has for another namespace: `own` begins the names of those that it has for this one.
pub(super) fn image_of_others(image: &str, own: &str) -> Result<(), Problem> {
    if !is_of_others(own, image) {
        return Ok(());
    }
    Err(Problem::new(
        Class::Terminal,
        Reason::ImagePullDenied,
        format!(
            "spec.source.docker.image {image} belongs to another namespace or to another Davit: push it to a registry with \
             spec.image.repository of its Application, and name it there"
        ),
    ))
}

/// Refuses amounts of memory with which the runtime starts no container.
fn memory(spec: &ApplicationSpec, runtime: &Capabilities) -> Result<(), Problem> {
    let build = spec.build.as_ref().and_then(|build| build.resources.as_ref());
    let all = [
        ("spec.resources", spec.resources.as_ref()),
        ("spec.build.resources", build),
    ];
    let amounts = all.into_iter().flat_map(|(field, resources)| {
        let of = |name, amounts: Option<&Amounts>| {
            let memory = amounts.and_then(|amounts| amounts.memory.clone())?;
            Some((format!("{field}.{name}.memory"), memory))
        };
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        [of("limits", limits), of("requests", requests)]
    });
    for (field, amount) in amounts.flatten() {
        if Quantity::bytes(&amount).is_some_and(|bytes| bytes < runtime.min_memory) {
            let message = format!(
                "{field} {amount} is too little for --runtime {}: write at least {}Mi",
                runtime.name,
                runtime.min_memory >> 20
            );
            return Err(Problem::new(Class::Terminal, Reason::InvalidQuantity, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LEAST: Capabilities = Capabilities {
        name: "least",
        needs_registry: true,
        pulls_only: true,
        host_ports: false,
        host_ip: false,
        network_probes: false,
        run_to_completion: false,
        hooks: false,
        storage: false,
        min_memory: 8 << 20,
    };

    #[test]
    fn image_of_another_namespace_is_refused_with_the_way_out() {
        let refused = |image| image_of_others(image, "davit.local/test/ns/").err();
        for image in [
            "davit.local/test/ns/web:1",
            "registry.example/other/web:1",
            "nginx",
        ] {
            assert_eq!(refused(image).map(|problem| problem.message), None, "{image}");
        }
        let problem = refused("davit.local/test/other/web:1").unwrap();
        assert_eq!(problem.reason, Reason::ImagePullDenied);
        assert!(
            problem.message.contains("davit.local/test/other/web:1")
                && problem.message.contains("spec.image.repository"),
            "{}",
            problem.message
        );
    }

    #[test]
    fn memory_below_the_minimum_of_the_runtime_is_refused() {
        for (spec, message) in [
            (
                json!({"limits": {"memory": "8Mi"}, "requests": {"memory": "8Mi"}}),
                None,
            ),
            (
                json!({"limits": {"memory": "7Mi"}}),
                Some(
                    "spec.resources.limits.memory 7Mi is too little for --runtime least: write at least 8Mi",
                ),
            ),
            (
                json!({"limits": {"memory": "8Mi"}, "requests": {"memory": "1Mi"}}),
                Some(
                    "spec.resources.requests.memory 1Mi is too little for --runtime least: write at least 8Mi",
                ),
            ),
        ] {
            let spec = serde_json::from_value(json!({"resources": spec})).unwrap();
            let found = check(&spec, &LEAST).err();
            assert!(
                found
                    .iter()
                    .all(|problem| problem.reason == Reason::InvalidQuantity)
            );
            assert_eq!(found.map(|problem| problem.message).as_deref(), message);
        }
    }

    #[test]
    fn field_that_the_runtime_cannot_honour_is_refused_with_its_name() {
        let host_ip = Capabilities {
            host_ports: true,
            ..LEAST
        };
        for (field, spec, runtime) in [
            ("", json!({"ports": [{"containerPort": 80}]}), LEAST),
            ("", json!({"healthCheck": {"exec": {"command": ["true"]}}}), LEAST),
            ("", json!({"restartPolicy": {"condition": "Always"}}), LEAST),
            (
                "spec.ports.hostPort",
                json!({"ports": [{"containerPort": 80, "hostPort": 8080}]}),
                LEAST,
            ),
            (
                "spec.ports.hostIp",
                json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIp": "127.0.0.1"}]}),
                host_ip,
            ),
            (
                "spec.hooks.preDeploy",
                json!({"hooks": {"preDeploy": {"command": ["true"]}}}),
                LEAST,
            ),
            (
                "spec.healthCheck.http",
                json!({"healthCheck": {"tcp": {"port": 80}}}),
                LEAST,
            ),
            (
                "spec.volumes.volume.size",
                json!({"volumes": [{"name": "data", "mountPath": "/data", "volume": {"size": "10Gi"}}]}),
                LEAST,
            ),
            (
                "spec.restartPolicy",
                json!({"restartPolicy": {"condition": "Never"}}),
                LEAST,
            ),
        ] {
            let parsed: ApplicationSpec = serde_json::from_value(spec.clone()).unwrap();
            let all = Capabilities {
                storage: true,
                ..Capabilities::DOCKER
            };
            assert_eq!(check(&parsed, &all), Ok(()));
            match check(&parsed, &runtime) {
                Ok(()) => assert_eq!(field, "", "{spec}"),
                Err(problem) => {
                    assert_eq!(problem.reason, Reason::NotSupported);
                    assert!(
                        !field.is_empty() && problem.message.starts_with(field),
                        "{problem:?}"
                    );
                    assert!(problem.message.contains("--runtime least"), "{problem:?}");
                }
            }
        }
    }
}
