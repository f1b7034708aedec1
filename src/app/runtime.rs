//! The runtime of this installation, and what its routes become, from its flags.

use std::sync::Arc;

use bollard::Docker;
use kube::Client;

use super::routing::{Routing, routing, routing_in_cluster};
use crate::cli::RuntimeKind;
use crate::config::Config;
use crate::runtime::Runtime;
use crate::runtime::docker::{DockerOptions, DockerRuntime};
use crate::runtime::kubernetes::KubernetesRuntime;
use crate::runtime::swarm::SwarmRuntime;

/// Returns both.
///
/// # Errors
/// The flags of the routes do not fit together.
pub fn runtime(
    config: &Config,
    docker: &Docker,
    client: &Client,
    installation: &str,
) -> anyhow::Result<(Arc<dyn Runtime>, Option<Routing>)> {
    Ok(match config.runtime {
        RuntimeKind::Docker => {
            let runtime = on_engine(config, docker, installation);
            let routing = routing(config, Some(Arc::clone(&runtime)))?;
            (runtime, routing)
        }
        RuntimeKind::Swarm => {
            let runtime = SwarmRuntime::new(docker.clone(), &config.instance, installation);
            // The reverse proxy is a container of the manager.
            let beside = config
                .proxy
                .traefik
                .then(|| on_engine(config, docker, installation));
            (Arc::new(runtime), routing(config, beside)?)
        }
        RuntimeKind::Kubernetes => {
            let runtime = KubernetesRuntime::new(client.clone());
            (Arc::new(runtime), routing_in_cluster(config, client)?)
        }
    })
}

fn on_engine(config: &Config, docker: &Docker, installation: &str) -> Arc<DockerRuntime> {
    let options = DockerOptions {
        instance: config.instance.clone(),
        installation: installation.to_owned(),
        ..DockerOptions::default()
    };
    Arc::new(DockerRuntime::new(docker.clone(), options))
}
