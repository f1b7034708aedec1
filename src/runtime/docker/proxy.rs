//! A reverse proxy that Davit runs on the engine, beside the containers of Applications.
//!
//! Its own network is the one whose name comes first, because the engine takes the gateway, and with it the published ports,
//! from that one: to join or leave the network of a namespace then interrupts no connection.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HostConfig,
    Mount, MountType, NetworkConnectRequest, PortBinding, RestartPolicy, RestartPolicyNameEnum,
    VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions,
    ListNetworksOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptions,
};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use super::create::bounded_log;
use super::labels;
use super::{DockerRuntime, Inner, container_log, endpoint, errors, network};
use crate::api::Protocol;
use crate::model::hex;
use crate::redact::{Masker, Secret};
use crate::runtime::{LogLine, LogOptions, Port, RuntimeError};

/// How much of its log is read for a reason.
const LOG_LINES: &str = "1000";
const LONGEST_LOG: usize = 1024 * 1024;

/// A reverse proxy as Davit starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyContainer {
    /// The image, pulled if it is missing.
    pub image: String,
    /// The arguments of its entrypoint.
    pub arguments: Vec<String>,
    /// The published ports.
    pub ports: Vec<Port>,
    /// A directory of the engine's machine, and where the container sees it, read-only.
    pub directory: (String, String),
    /// Where the container sees a volume that outlives it.
    pub data: String,
    /// Where the container puts the bodies that it holds, in a volume that is removed with it: they may be larger than the
    /// memory.
    pub bodies: String,
}

/// A proxy that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningProxy {
    /// Its address in its own network.
    pub address: IpAddr,
    /// Its process on the engine's machine.
    pub process: Option<u32>,
}

impl ProxyContainer {
    /// Everything that decides the container, in a word.
    fn hash(&self) -> String {
        let digest = Sha256::digest(format!("{self:?}").as_bytes());
        hex(&digest[..8])
    }
}

impl DockerRuntime {
    /// Starts the proxy if it does not run, connects it to the networks of these namespaces and to no others, and returns where
    /// it runs.
    ///
    /// # Errors
    /// The engine does not answer, the image cannot be pulled, or a port is taken.
    pub async fn ensure_proxy(
        &self,
        proxy: &ProxyContainer,
        namespaces: &BTreeSet<String>,
    ) -> Result<RunningProxy, RuntimeError> {
        let inner = &self.inner;
        let name = inner.names.proxy();
        let mut found = inner.proxy(&name).await?;
        if let Some(old) = &found
            && !is_current(old, proxy)
        {
            tracing::info!(
                container = name,
                "the reverse proxy is replaced, because its settings changed"
            );
            inner.remove_proxy(&name).await?;
            found = None;
        }
        if found.is_none() {
            inner.create_proxy(&name, proxy).await?;
            found = inner.proxy(&name).await?;
        }
        let mut there = found.ok_or_else(|| gone(&name))?;
        if !runs(&there) {
            let started = inner
                .docker
                .start_container(&name, None::<StartContainerOptions>)
                .await;
            if let Err(refusal) = started {
                return Err(inner.not_started(&name, proxy, &refusal).await);
            }
            there = inner.proxy(&name).await?.ok_or_else(|| gone(&name))?;
        }
        inner.connect_proxy(&name, &there, namespaces).await?;
        let address = address(&there, &name).ok_or_else(|| RuntimeError::Engine {
            doing: "start the reverse proxy",
            message: format!("container {name} has no address; docker logs {name} says why it ends"),
        })?;
        let process = there.state.as_ref().and_then(|state| state.pid);
        Ok(RunningProxy {
            address,
            process: process
                .and_then(|process| u32::try_from(process).ok())
                .filter(|process| *process > 0),
        })
    }
}

impl DockerRuntime {
    /// Returns the lines of the proxy's log. It has no values of Secrets.
    pub fn proxy_lines(&self, options: &LogOptions) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
        let inner = &self.inner;
        let request = container_log::request(options);
        let entries = inner.docker.logs(&inner.names.proxy(), Some(request));
        let nothing: [Secret; 0] = [];
        container_log::lines(entries, None, Some(Masker::new(&nothing)), options, None)
    }

    /// Returns the end of the log of the proxy; empty if it does not exist.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn proxy_log(&self) -> Result<String, RuntimeError> {
        let inner = &self.inner;
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(LOG_LINES)
            .build();
        let mut stream = inner.docker.logs(&inner.names.proxy(), Some(options));
        let mut log = String::new();
        while let Some(part) = stream.next().await {
            match errors::unless_gone("read the log of the reverse proxy", part)? {
                Some(part) if log.len() < LONGEST_LOG => {
                    log.push_str(&String::from_utf8_lossy(&part.into_bytes()));
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(log)
    }
}

impl Inner {
    async fn proxy(&self, name: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        let found = self
            .docker
            .inspect_container(name, None::<InspectContainerOptions>)
            .await;
        errors::unless_gone("inspect the reverse proxy", found)
    }

    async fn create_proxy(&self, name: &str, proxy: &ProxyContainer) -> Result<(), RuntimeError> {
        const DOING: &str = "create the reverse proxy";
        self.pull_proxy(&proxy.image).await?;
        let mut own = self.names.instance_labels();
        own.insert(labels::ROLE.to_owned(), labels::ROLE_PROXY.to_owned());
        let own = self.names.made(own);
        network::ensure_named(&self.docker, name, own.clone()).await?;
        let volume = format!("{name}-data");
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(own.clone()),
            ..Default::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map_err(|refusal| errors::error(DOING, &refusal))?;
        let mut labels = own;
        labels.insert(labels::CONFIG.to_owned(), proxy.hash());
        let body = body(name, proxy, labels, volume);
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        match self.docker.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(errors::error(DOING, &refusal)),
        }
    }

    /// Pulls the image, unless the engine has it.
    async fn pull_proxy(&self, image: &str) -> Result<(), RuntimeError> {
        let found = self.docker.inspect_image(image).await;
        if errors::unless_gone("inspect an image", found)?.is_some() {
            return Ok(());
        }
        tracing::info!(image, "pulling the image of the reverse proxy");
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let pulled = self
            .docker
            .create_image(Some(options), None, None)
            .try_for_each(|_| async { Ok(()) });
        pulled.await.map_err(|refusal| RuntimeError::Engine {
            doing: "pull the image of the reverse proxy",
            message: format!("{image}: {refusal}: name another one with --traefik-image"),
        })
    }

    async fn remove_proxy(&self, name: &str) -> Result<(), RuntimeError> {
        const DOING: &str = "remove the reverse proxy";
        let stopped = self
            .docker
            .stop_container(name, None::<StopContainerOptions>)
            .await;
        errors::unless_gone(DOING, stopped)?;
        // `v` removes the volume without a name only.
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.docker.remove_container(name, Some(options)).await;
        errors::unless_gone(DOING, removed).map(drop)
    }

    /// Connects the proxy to the networks of these namespaces, as far as they exist, and takes it out of the others.
    async fn connect_proxy(
        &self,
        name: &str,
        there: &ContainerInspectResponse,
        namespaces: &BTreeSet<String>,
    ) -> Result<(), RuntimeError> {
        let networks = there
            .network_settings
            .as_ref()
            .and_then(|settings| settings.networks.as_ref());
        let mut connected: BTreeSet<&str> = networks
            .into_iter()
            .flat_map(HashMap::keys)
            .map(String::as_str)
            .collect();
        connected.remove(name);
        let filters = HashMap::from([("label".to_owned(), vec![self.names.instance_label()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_networks(Some(options)).await;
        let listed = listed.map_err(|refusal| errors::error("list networks", &refusal))?;
        let wanted: BTreeSet<String> = listed
            .into_iter()
            .filter(|network| {
                let labels = network.labels.as_ref();
                let ours = labels.is_some_and(|labels| self.names.ours(labels));
                let namespace = labels.and_then(|labels| labels.get(labels::NAMESPACE));
                ours && namespace.is_some_and(|namespace| namespaces.contains(namespace))
            })
            .filter_map(|network| network.name)
            .collect();
        for network in wanted
            .iter()
            .filter(|network| !connected.contains(network.as_str()))
        {
            let request = NetworkConnectRequest {
                container: name.to_owned(),
                endpoint_config: Some(EndpointSettings::default()),
            };
            let joined = self.docker.connect_network(network, request).await;
            // Another call may have connected it meanwhile.
            if let Err(refusal) = joined
                && !refusal.to_string().contains("already exists in network")
            {
                return Err(errors::error("bring the reverse proxy into a network", &refusal));
            }
        }
        for network in connected.into_iter().filter(|network| !wanted.contains(*network)) {
            endpoint::leave(&self.docker, network, name).await?;
        }
        Ok(())
    }

    /// Says why the proxy does not start; a taken port with its owner.
    async fn not_started(
        &self,
        name: &str,
        proxy: &ProxyContainer,
        refusal: &bollard::errors::Error,
    ) -> RuntimeError {
        let text = refusal.to_string();
        let taken = [
            "port is already allocated",
            "address already in use",
            "failed to bind",
        ];
        let port = proxy.ports.iter().find(|port| {
            let place = format!(":{}", port.host.unwrap_or_default());
            text.match_indices(&place)
                .any(|(at, found)| !text[at + found.len()..].starts_with(|next: char| next.is_ascii_digit()))
        });
        // The next attempt makes it anew: its ports may be other ones by then.
        if let Err(error) = self.remove_proxy(name).await {
            tracing::debug!(%error, "the reverse proxy that does not start stays");
        }
        match port.filter(|_| taken.iter().any(|words| text.contains(words))) {
            Some(port) => RuntimeError::PortTaken {
                by: self.port_holder(port, name).await,
                port: port.clone(),
            },
            None => errors::error("start the reverse proxy", refusal),
        }
    }
}

fn gone(name: &str) -> RuntimeError {
    RuntimeError::Engine {
        doing: "start the reverse proxy",
        message: format!("container {name} was removed meanwhile"),
    }
}

fn is_current(there: &ContainerInspectResponse, proxy: &ProxyContainer) -> bool {
    let labels = there.config.as_ref().and_then(|config| config.labels.as_ref());
    labels.and_then(|labels| labels.get(labels::CONFIG)) == Some(&proxy.hash())
}

fn runs(there: &ContainerInspectResponse) -> bool {
    let status = there.state.as_ref().and_then(|state| state.status);
    matches!(
        status,
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::RESTARTING)
    )
}

fn address(there: &ContainerInspectResponse, network: &str) -> Option<IpAddr> {
    let networks = there.network_settings.as_ref()?.networks.as_ref()?;
    networks.get(network)?.ip_address.as_ref()?.parse().ok()
}

fn body(
    name: &str,
    proxy: &ProxyContainer,
    labels: HashMap<String, String>,
    volume: String,
) -> ContainerCreateBody {
    let key = |port: &Port| {
        let protocol = if port.protocol == Protocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        format!("{}/{protocol}", port.container)
    };
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &proxy.ports {
        let binding = PortBinding {
            host_ip: port.host_ip.clone(),
            host_port: port.host.map(|port| port.to_string()),
        };
        bindings
            .entry(key(port))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    let (source, target) = proxy.directory.clone();
    ContainerCreateBody {
        image: Some(proxy.image.clone()),
        cmd: Some(proxy.arguments.clone()),
        exposed_ports: Some(proxy.ports.iter().map(key).collect()),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some(name.to_owned()),
            port_bindings: Some(bindings),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::ALWAYS),
                maximum_retry_count: None,
            }),
            mounts: Some(vec![
                Mount {
                    typ: Some(MountType::BIND),
                    source: Some(source),
                    target: Some(target),
                    read_only: Some(true),
                    ..Default::default()
                },
                Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(volume),
                    target: Some(proxy.data.clone()),
                    ..Default::default()
                },
                Mount {
                    typ: Some(MountType::VOLUME),
                    target: Some(proxy.bodies.clone()),
                    ..Default::default()
                },
            ]),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // Ports below 1024, and a file that belongs to the user that runs Davit.
            cap_add: Some(vec!["NET_BIND_SERVICE".to_owned(), "DAC_OVERRIDE".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(bounded_log()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_in_a_volume_without_a_name_and_changed_places_are_another_container() {
        let proxy = ProxyContainer {
            image: "traefik:v3".to_owned(),
            arguments: Vec::new(),
            ports: Vec::new(),
            directory: (
                "/var/lib/davit/proxy".to_owned(),
                "/etc/traefik/dynamic".to_owned(),
            ),
            data: "/data".to_owned(),
            bodies: "/tmp".to_owned(),
        };
        let made = body(
            "davit--proxy",
            &proxy,
            HashMap::new(),
            "davit--proxy-data".to_owned(),
        );
        let host = made.host_config.unwrap();
        assert_eq!(host.readonly_rootfs, Some(true));
        let mounts = host.mounts.unwrap();
        let bodies = mounts
            .iter()
            .find(|mount| mount.target.as_deref() == Some("/tmp"))
            .unwrap();
        assert_eq!(
            (bodies.typ, bodies.source.as_ref()),
            (Some(MountType::VOLUME), None)
        );
        let other = ProxyContainer {
            bodies: "/other".to_owned(),
            ..proxy.clone()
        };
        assert_ne!(proxy.hash(), other.hash());
    }
}
