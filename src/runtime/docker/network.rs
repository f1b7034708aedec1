//! One bridge network a namespace, and how a container comes to the Application's name and leaves it.
//!
//! The engine can neither give an alias to an endpoint that exists nor take one away, and `disconnect` removes the
//! interface at once, with whatever was under way. What works, seen on Docker Engine 20.10 with a client that resolves
//! the name for each request:
//!
//! - The network has a subnet that we named (one that the engine had picked), because only then may a container ask for
//!   an address. Addresses that we ask for come from the upper half, those that the engine hands out from the lower, so
//!   that no other container gets the address while its owner is disconnected.
//! - To change a container's aliases it is frozen, disconnected, connected with the same address and the new aliases,
//!   and thawed: some 150 ms. The engine derives the hardware address from the IP address (newer ones are told it), so
//!   no neighbour table becomes wrong. What others send meanwhile is lost and sent again by TCP after at most a second;
//!   what the container itself would have sent meanwhile (with "network is unreachable" as the answer) it cannot,
//!   because it is frozen. A container whose health the engine itself checks is not frozen: the engine would call it
//!   unhealthy until its next check, and others than Davit look at that.
//! - New containers join before old ones leave, and an old one goes on serving for some seconds after it has left: a
//!   client that had just resolved the name still reaches it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bollard::Docker;
use bollard::models::{
    ContainerSummary, Ipam, IpamConfig, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect,
};
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};

use super::errors;
use super::labels::{self, Names};
use super::subnet::Subnet;
use crate::runtime::RuntimeError;

/// The number of attempts with another free subnet if the one that the engine picked is taken meanwhile.
const PICKS: usize = 5;
/// How many names are tried for a network while the engine does not remove those that have them.
const OTHER_NAMES: u32 = 8;
/// How much of a network's id is in the name of its bridge.
const BRIDGE_ID: usize = 12;

/// The subnet of the next network, chosen in advance: the engine takes longer to choose than to create the network.
#[derive(Debug, Default)]
pub struct Subnets {
    next: Option<String>,
}

impl Subnets {
    /// Chooses the subnet of the next network, if none is chosen yet.
    pub async fn prepare(&mut self, docker: &Docker, names: &Names) -> Result<(), RuntimeError> {
        if self.next.is_none() {
            self.next = Some(pick(docker, names).await?);
        }
        Ok(())
    }

    /// Whether the next namespace would have to wait for a choice.
    pub fn is_empty(&self) -> bool {
        self.next.is_none()
    }
}

/// An address in the namespace's network.
pub struct Reserved {
    /// The network's name.
    pub network: String,
    /// A free address in it.
    pub ip: String,
}

/// Reserves a free address in the namespace's network. Creates the network if it is missing.
pub async fn reserve(
    docker: &Docker,
    names: &Names,
    namespace: &str,
    subnets: &mut Subnets,
) -> Result<Reserved, RuntimeError> {
    let doing = "choose an address in the namespace's network";
    let network = ensure(docker, names, namespace, subnets).await?;
    let name = network.name.unwrap_or_default();
    let ipam = network.ipam.unwrap_or_default().config.unwrap_or_default();
    let subnet = ipam
        .iter()
        .find_map(|config| Subnet::parse(config.subnet.as_deref()?));
    let subnet = subnet.ok_or_else(|| RuntimeError::Engine {
        doing,
        message: format!(
            "network {name} has no usable IPv4 subnet: remove it (docker network rm {name}), and it is created again"
        ),
    })?;
    let attached = network.containers.unwrap_or_default().into_values();
    let mut taken: HashSet<String> = attached
        .filter_map(|end| Some(end.ipv4_address?.split('/').next()?.to_owned()))
        .collect();
    // Stopped containers hold no address, but ask for theirs when they start.
    for container in containers(docker, names, namespace).await? {
        let ends = container.network_settings.and_then(|settings| settings.networks);
        let asked = ends
            .unwrap_or_default()
            .into_values()
            .filter_map(|end| end.ipam_config?.ipv4_address);
        taken.extend(asked);
    }
    match subnet.free(&taken) {
        Some(ip) => Ok(Reserved { network: name, ip }),
        None => Err(RuntimeError::Engine {
            doing,
            message: format!("network {name} has no address left: stop Applications of the namespace"),
        }),
    }
}

/// The containers of a namespace, also those that another installation made.
async fn containers(
    docker: &Docker,
    names: &Names,
    namespace: &str,
) -> Result<Vec<ContainerSummary>, RuntimeError> {
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&Names::query(&names.namespace_labels(namespace)))
        .build();
    let listed = docker.list_containers(Some(options)).await;
    listed.map_err(|refusal| errors::error("list containers", &refusal))
}

/// Whether Davit has the same addresses as the engine's machine: false if the engine is on another machine, or Davit runs in
/// a container. The bridge of the namespace's network shows that, because its name contains a random id and it is an interface
/// of the engine's machine only. False if the namespace has no network.
pub async fn is_here(docker: &Docker, names: &Names, namespace: &str) -> Result<bool, RuntimeError> {
    let id = find(docker, names, namespace)
        .await?
        .and_then(|network| network.id);
    let bridge = id.as_deref().and_then(|id| id.get(..BRIDGE_ID));
    Ok(bridge.is_some_and(|id| Path::new(&format!("/sys/class/net/br-{id}")).exists()))
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<NetworkInspect>, RuntimeError> {
    let there = docker.inspect_network(name, None::<InspectNetworkOptions>).await;
    errors::unless_gone("inspect a network", there)
}

/// The namespace's network, if there is one. It usually has the first of its names.
async fn find(
    docker: &Docker,
    names: &Names,
    namespace: &str,
) -> Result<Option<NetworkInspect>, RuntimeError> {
    let usual = inspect(docker, &names.network(namespace)).await?;
    let ours = |network: &NetworkInspect| names.ours(&network.labels.clone().unwrap_or_default());
    match usual {
        Some(network) if ours(&network) => return Ok(Some(network)),
        None => return Ok(None),
        Some(_) => {}
    }
    match all_of(docker, names, namespace).await?.into_iter().next() {
        Some(name) => Ok(inspect(docker, &name).await?.filter(ours)),
        None => Ok(None),
    }
}

/// Creates a network that belongs to no namespace, unless it exists.
pub async fn ensure_named(
    docker: &Docker,
    name: &str,
    labels: HashMap<String, String>,
) -> Result<(), RuntimeError> {
    if inspect(docker, name).await?.is_some() {
        return Ok(());
    }
    let made = create(docker, labels, name.to_owned(), Vec::new()).await;
    made.map_err(|refusal| errors::error("create the network of the reverse proxy", &refusal))
}

/// The names of all networks of a namespace that this installation made, in order.
async fn all_of(docker: &Docker, names: &Names, namespace: &str) -> Result<Vec<String>, RuntimeError> {
    let filters = Names::query(&names.namespace_labels(namespace));
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listed = docker.list_networks(Some(options)).await;
    let listed = listed.map_err(|refusal| errors::error("list networks", &refusal))?;
    let ours = listed.into_iter().filter_map(|network| {
        let labels = network.labels.unwrap_or_default();
        network
            .name
            .filter(|name| names.ours(&labels) && names.is_network(namespace, name))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    Ok(ours)
}

async fn ensure(
    docker: &Docker,
    names: &Names,
    namespace: &str,
    subnets: &mut Subnets,
) -> Result<NetworkInspect, RuntimeError> {
    let doing = "make the namespace's network";
    let mut refused = None;
    for _ in 0..PICKS {
        if let Some(network) = find(docker, names, namespace).await? {
            return Ok(network);
        }
        let name = free_name(docker, names, namespace).await?;
        // Another program may have taken it meanwhile. Then the engine refuses it, and the next one is free.
        subnets.prepare(docker, names).await?;
        let subnet = subnets.next.take().unwrap_or_default();
        let ipam = IpamConfig {
            ip_range: Subnet::parse(&subnet).map(Subnet::lower),
            subnet: Some(subnet),
            ..Default::default()
        };
        if let Err(refusal) = create(
            docker,
            names.made(names.namespace_labels(namespace)),
            name,
            vec![ipam],
        )
        .await
        {
            refused = Some(refusal);
        }
    }
    Err(refused.map_or_else(
        || RuntimeError::Engine {
            doing,
            message: "it does not stay".to_owned(),
        },
        |refusal| errors::error(doing, &refusal),
    ))
}

/// The first name of the namespace's network that no other network has. A network that an earlier installation left is
/// removed; one that the engine does not remove, or that is not Davit's, keeps its name.
async fn free_name(docker: &Docker, names: &Names, namespace: &str) -> Result<String, RuntimeError> {
    for number in 0..OTHER_NAMES {
        let name = names.network_numbered(namespace, number);
        let Some(network) = inspect(docker, &name).await? else {
            return Ok(name);
        };
        if take_over(docker, names, namespace, &name, &network).await? {
            return Ok(name);
        }
        tracing::warn!(
            network = name,
            "it cannot be removed, so the namespace gets a network of another name"
        );
    }
    Err(RuntimeError::Engine {
        doing: "make the namespace's network",
        message: format!(
            "all its names from {} on belong to networks that the engine does not remove: restart the engine, then remove \
             them with docker network rm",
            names.network(namespace)
        ),
    })
}

/// Removes the network that an earlier installation of the same name left. False if the engine holds it, or it is not
/// Davit's. An error if the other installation may use it.
async fn take_over(
    docker: &Docker,
    names: &Names,
    namespace: &str,
    name: &str,
    network: &NetworkInspect,
) -> Result<bool, RuntimeError> {
    let doing = "make the namespace's network";
    let nothing = HashMap::new();
    let Some(other) = names.of_another(network.labels.as_ref().unwrap_or(&nothing)) else {
        return Ok(false);
    };
    // Its stopped containers will need the network again.
    let made_there = containers(docker, names, namespace).await?;
    let theirs = made_there
        .iter()
        .filter_map(|container| container.labels.as_ref())
        .any(|labels| names.of_another(labels).is_some());
    if theirs {
        return Err(RuntimeError::Engine {
            doing,
            message: format!("the network {name} is in use by {}", labels::another(other)),
        });
    }
    release(docker, name, network).await
}

/// Removes a network, and first the endpoints in it of containers that do not exist any more. False if the engine holds it.
async fn release(docker: &Docker, name: &str, network: &NetworkInspect) -> Result<bool, RuntimeError> {
    let doing = "remove the namespace's network";
    for (id, end) in network.containers.iter().flatten() {
        let container = docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let container = errors::unless_gone("inspect a container", container)?;
        let labels = container
            .and_then(|found| found.config)
            .map(|config| config.labels);
        // The reverse proxy does not need a network without containers.
        let is_proxy = |labels: HashMap<String, String>| {
            labels.get(labels::ROLE).map(String::as_str) == Some(labels::ROLE_PROXY)
        };
        if labels.is_some_and(|labels| !labels.is_some_and(is_proxy)) {
            return Ok(false);
        }
        let request = NetworkDisconnectRequest {
            container: end.name.clone().unwrap_or_else(|| id.clone()),
            force: Some(true),
        };
        if let Err(refusal) = docker.disconnect_network(name, request).await {
            tracing::info!(network = name, error = %refusal, "an endpoint of a container that is gone stays");
        }
    }
    match docker.remove_network(name).await {
        Err(refusal) if is_held(&refusal) => Ok(false),
        other => errors::unless_gone(doing, other).map(|_| true),
    }
}

/// A subnet that is free by the engine's own rules (its address pools, the machine's routes).
async fn pick(docker: &Docker, names: &Names) -> Result<String, RuntimeError> {
    let doing = "find a free subnet";
    for number in 0..OTHER_NAMES {
        let name = names.subnet_probe(number);
        let remove = async || match docker.remove_network(&name).await {
            Err(refusal) if is_held(&refusal) || is_ambiguous(&refusal) => Ok(false),
            other => errors::unless_gone(doing, other).map(|_| true),
        };
        if !remove().await? {
            continue;
        }
        create(
            docker,
            names.made(names.instance_labels()),
            name.clone(),
            Vec::new(),
        )
        .await
        .map_err(|refusal| errors::error(doing, &refusal))?;
        let picked = docker.inspect_network(&name, None::<InspectNetworkOptions>).await;
        if !remove().await? {
            continue;
        }
        let picked = picked.map_err(|refusal| errors::error(doing, &refusal))?;
        let configs = picked.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let subnet = configs
            .into_iter()
            .filter_map(|config| config.subnet)
            .find(|subnet| Subnet::parse(subnet).is_some());
        return subnet.ok_or_else(|| RuntimeError::Engine {
            doing,
            message: "the engine picked none for IPv4".to_owned(),
        });
    }
    Err(RuntimeError::Engine {
        doing,
        message: format!(
            "the engine does not remove networks like {}: restart it",
            names.subnet_probe(0)
        ),
    })
}

async fn create(
    docker: &Docker,
    labels: HashMap<String, String>,
    name: String,
    config: Vec<IpamConfig>,
) -> Result<(), bollard::errors::Error> {
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".to_owned()),
        labels: Some(labels),
        ipam: (!config.is_empty()).then(|| Ipam {
            config: Some(config),
            ..Default::default()
        }),
        ..Default::default()
    };
    docker.create_network(request).await.map(drop)
}

/// Removes the namespace's networks. False if one is held: by containers that are not Davit's, or by endpoints that an engine
/// under load forgets late or never.
pub async fn remove(docker: &Docker, names: &Names, namespace: &str) -> Result<bool, RuntimeError> {
    let mut removed = true;
    for name in all_of(docker, names, namespace).await? {
        if let Some(network) = inspect(docker, &name).await? {
            removed &= release(docker, &name, &network).await?;
        }
    }
    Ok(removed)
}

/// True where the engine says that endpoints are left in a network.
fn is_held(refusal: &bollard::errors::Error) -> bool {
    matches!(
        refusal,
        bollard::errors::Error::DockerResponseServerError { status_code: 403 | 409, message }
            if message.contains("active endpoints")
    )
}

/// Whether several networks have the name, which the engine does not prevent.
fn is_ambiguous(refusal: &bollard::errors::Error) -> bool {
    matches!(
        refusal,
        bollard::errors::Error::DockerResponseServerError { message, .. } if message.contains("is ambiguous")
    )
}

/// The namespaces that have a network of ours.
pub async fn namespaces(docker: &Docker, names: &Names) -> Result<Vec<String>, RuntimeError> {
    let filters = HashMap::from([("label".to_owned(), vec![names.instance_label()])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listed = docker.list_networks(Some(options)).await;
    let listed = listed.map_err(|refusal| errors::error("list networks", &refusal))?;
    let labels = listed.into_iter().filter_map(|network| network.labels);
    Ok(labels
        .filter(|labels| names.ours(labels))
        .filter_map(|mut labels| labels.remove(labels::NAMESPACE))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    /// An engine with one network of ours in which these endpoints are, and no containers. It answers the removal of the
    /// network with this, and returns each request line.
    fn engine(
        endpoints: &'static str,
        status: &'static str,
        message: &'static str,
    ) -> (Docker, std::sync::mpsc::Receiver<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                let request = head.first().cloned().unwrap_or_default();
                let labels = format!(r#"{{"{}": ""}}"#, labels::INSTANCE);
                let network =
                    format!(r#"{{"Name": "davit-shop", "Labels": {labels}, "Containers": {{{endpoints}}}}}"#);
                let (status, body) = if request.starts_with("DELETE") {
                    (status, format!(r#"{{"message": "{message}"}}"#))
                } else if request.contains("/containers/") {
                    ("404 Not Found", r#"{"message": "no such container"}"#.to_owned())
                } else if request.contains("/networks?") {
                    ("200 OK", format!("[{network}]"))
                } else {
                    ("200 OK", network)
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).ok();
                sender.send(request).ok();
            }
        });
        let docker = Docker::connect_with_http(&url, 10, bollard::API_DEFAULT_VERSION).unwrap();
        (docker, requests)
    }

    #[tokio::test]
    async fn network_that_the_engine_holds_is_no_failure_and_everything_else_is() {
        let held = "error while removing network: network davit-shop id 1 has active endpoints";
        for (status, message, expected) in [
            ("403 Forbidden", held, Some(false)),
            ("409 Conflict", held, Some(false)),
            ("404 Not Found", "network davit-shop not found", Some(true)),
            ("403 Forbidden", "operation not permitted", None),
            ("500 Internal Server Error", "something else", None),
        ] {
            let (docker, _requests) = engine("", status, message);
            let removed = remove(&docker, &Names::new("", ""), "shop").await;
            assert_eq!(removed.as_ref().ok(), expected.as_ref(), "{message}: {removed:?}");
        }
    }

    #[tokio::test]
    async fn endpoint_of_a_removed_container_is_removed_with_its_network() {
        let endpoint = r#""4f3c": {"Name": "davit-shop-web-1-0", "IPv4Address": "172.18.0.2/16"}"#;
        let (docker, requests) = engine(endpoint, "204 No Content", "");
        let removed = remove(&docker, &Names::new("", ""), "shop").await;
        assert!(removed.unwrap());
        let requests: Vec<_> = requests.try_iter().collect();
        let position = |part: &str| requests.iter().position(|line| line.contains(part));
        let disconnected = position("/networks/davit-shop/disconnect");
        assert!(
            disconnected.is_some() && disconnected < position("DELETE"),
            "{requests:?}"
        );
    }
}
