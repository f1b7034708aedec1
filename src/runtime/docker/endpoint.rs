//! Puts containers into networks and takes them out.

use bollard::Docker;
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};

use super::errors;
use crate::runtime::RuntimeError;

/// Replaces a container's endpoint in `left` by one in `network`. The container is frozen meanwhile if `freeze` is set.
pub async fn replace(
    docker: &Docker,
    network: &str,
    id: &str,
    left: Option<&str>,
    freeze: bool,
    end: EndpointSettings,
) -> Result<(), RuntimeError> {
    // A container that does not run, or an engine that cannot freeze it, is no failure.
    let frozen = left.is_some() && freeze && docker.pause_container(id).await.is_ok();
    let result = exchange(docker, network, id, left, end).await;
    if frozen {
        let thawed = docker.unpause_container(id).await;
        errors::unless_gone("unpause a container", thawed)?;
    }
    result
}

/// Takes a container out of a network.
pub async fn leave(docker: &Docker, network: &str, id: &str) -> Result<(), RuntimeError> {
    let request = NetworkDisconnectRequest {
        container: id.to_owned(),
        force: None,
    };
    let left = docker.disconnect_network(network, request).await;
    errors::unless_gone("take a container from a network", left).map(drop)
}

async fn exchange(
    docker: &Docker,
    network: &str,
    id: &str,
    left: Option<&str>,
    end: EndpointSettings,
) -> Result<(), RuntimeError> {
    if let Some(left) = left {
        leave(docker, left, id).await?;
    }
    let request = NetworkConnectRequest {
        container: id.to_owned(),
        endpoint_config: Some(end),
    };
    docker
        .connect_network(network, request)
        .await
        .map_err(|refusal| errors::error("bring a container into its network", &refusal))
}
