//! One bridge network a namespace, and how a container comes to the Application's name and leaves it.
//!
//! The engine can neither give an alias to an endpoint that exists nor take one away, and `disconnect` removes the
//! interface at once, with whatever was under way. What works, seen on Docker Engine 20.10 with a client that resolves
//! the name for each request:
//!
//! - The network has a subnet that we named (one that the engine had picked), because only then may a container ask for
//!   an address. Addresses that we ask for come from the upper half, those that the engine hands out from the lower, so
//!   that nobody is given the address while its owner is away.
//! - To change a container's aliases it is frozen, disconnected, connected with the same address and the new aliases,
//!   and thawed: some 150 ms. The engine derives the hardware address from the IP address (newer ones are told it), so
//!   nobody's neighbour table is wrong. What others send meanwhile is lost and sent again by TCP after at most a second;
//!   what the container itself would have sent meanwhile (with "network is unreachable" as the answer) it cannot,
//!   because it is frozen. A container whose health the engine itself checks is not frozen: the engine would call it
//!   unhealthy until its next check, and others than Davit look at that.
//! - New containers join before old ones leave, and an old one goes on serving for some seconds after it has left: a
//!   client that had just resolved the name still reaches it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;

use bollard::Docker;
use bollard::models::{
    EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, NetworkInspect,
};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};
use rand::Rng as _;

use super::errors;
use super::labels::{self, Names};
use crate::runtime::RuntimeError;

/// How often another free subnet is asked for when somebody else took the one that the engine had just picked.
const PICKS: usize = 5;
/// How much of a network's id is in the name of its bridge.
const BRIDGE_ID: usize = 12;

/// A subnet of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet {
    base: u32,
    bits: u32,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits) = (base.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        (8..=29).contains(&bits).then(|| Self {
            base: base.to_bits(),
            bits,
        })
    }

    fn half(self) -> u32 {
        1 << (31 - self.bits)
    }

    /// What the engine hands out by itself.
    fn lower(self) -> String {
        format!("{}/{}", Ipv4Addr::from_bits(self.base), self.bits + 1)
    }

    /// An address of the upper half that is not taken: any, so that one that was just given back is not soon another's.
    fn free(self, taken: &HashSet<String>) -> Option<String> {
        // Without the broadcast address at the end.
        let size = self.half() - 1;
        let start = rand::rng().random_range(0..size);
        (0..size)
            .map(|offset| Ipv4Addr::from_bits(self.base + self.half() + (start + offset) % size).to_string())
            .find(|ip| !taken.contains(ip))
    }
}

/// A free address in the namespace's network; the network is made if it is not there.
pub async fn reserve(docker: &Docker, names: &Names, namespace: &str) -> Result<String, RuntimeError> {
    let network = ensure(docker, names, namespace).await?;
    let ipam = network.ipam.unwrap_or_default().config.unwrap_or_default();
    let subnet = ipam
        .iter()
        .find_map(|config| Subnet::parse(config.subnet.as_deref()?));
    let subnet = subnet.ok_or_else(|| RuntimeError::Engine {
        doing: "choose an address in the namespace's network",
        message: format!("network {} has no usable IPv4 subnet", names.network(namespace)),
    })?;
    let attached = network.containers.unwrap_or_default().into_values();
    let mut taken: HashSet<String> = attached
        .filter_map(|end| Some(end.ipv4_address?.split('/').next()?.to_owned()))
        .collect();
    // Those that do not run hold no address, but ask for theirs when they start.
    let ours = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&Names::query(&names.namespace_labels(namespace)))
        .build();
    let ours = docker.list_containers(Some(ours)).await;
    for container in ours.map_err(|refusal| errors::error("list containers", &refusal))? {
        let ends = container.network_settings.and_then(|settings| settings.networks);
        let asked = ends
            .unwrap_or_default()
            .into_values()
            .filter_map(|end| end.ipam_config?.ipv4_address);
        taken.extend(asked);
    }
    subnet.free(&taken).ok_or_else(|| RuntimeError::Engine {
        doing: "choose an address in the namespace's network",
        message: format!("network {} has no address left", names.network(namespace)),
    })
}

/// Whether Davit has the same addresses as the engine's machine, which it has not where it talks with another machine's
/// engine or itself runs in a container. The bridge of the namespace's network says so: its name is of a random id, and it is
/// an interface of the engine's machine alone. False where there is no such network.
pub async fn is_here(docker: &Docker, names: &Names, namespace: &str) -> Result<bool, RuntimeError> {
    let name = names.network(namespace);
    let there = docker.inspect_network(&name, None::<InspectNetworkOptions>).await;
    let id = errors::unless_gone("inspect a network", there)?.and_then(|network| network.id);
    let bridge = id.as_deref().and_then(|id| id.get(..BRIDGE_ID));
    Ok(bridge.is_some_and(|id| Path::new(&format!("/sys/class/net/br-{id}")).exists()))
}

async fn ensure(docker: &Docker, names: &Names, namespace: &str) -> Result<NetworkInspect, RuntimeError> {
    let name = names.network(namespace);
    let mut refused = None;
    for _ in 0..PICKS {
        let there = docker.inspect_network(&name, None::<InspectNetworkOptions>).await;
        if let Some(network) = errors::unless_gone("inspect a network", there)? {
            let labels = network.labels.clone().unwrap_or_default();
            if names.ours(&labels) {
                return Ok(network);
            }
            take_over(docker, names, namespace, &network).await?;
        }
        let subnet = pick(docker, names, namespace).await?;
        let ipam = IpamConfig {
            ip_range: Subnet::parse(&subnet).map(Subnet::lower),
            subnet: Some(subnet),
            ..Default::default()
        };
        if let Err(refusal) = create(docker, names, namespace, name.clone(), vec![ipam]).await {
            refused = Some(refusal);
        }
    }
    Err(refused.map_or_else(
        || RuntimeError::Engine {
            doing: "make the namespace's network",
            message: "it does not stay".to_owned(),
        },
        |refusal| errors::error("make the namespace's network", &refusal),
    ))
}

/// Removes the network that an installation of our name that is no more has left; an error where it is somebody else's, or
/// may be used.
async fn take_over(
    docker: &Docker,
    names: &Names,
    namespace: &str,
    network: &NetworkInspect,
) -> Result<(), RuntimeError> {
    let doing = "make the namespace's network";
    let name = names.network(namespace);
    let nothing = HashMap::new();
    let Some(other) = names.of_another(network.labels.as_ref().unwrap_or(&nothing)) else {
        let message = format!("there is a network {name} that is not ours");
        return Err(RuntimeError::Engine { doing, message });
    };
    // Those of the namespace that do not run just now will want it again.
    let made_there = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&Names::query(&names.namespace_labels(namespace)))
        .build();
    let made_there = docker.list_containers(Some(made_there)).await;
    let made_there = made_there.map_err(|refusal| errors::error("list containers", &refusal))?;
    let theirs = made_there
        .iter()
        .filter_map(|container| container.labels.as_ref())
        .any(|labels| names.of_another(labels).is_some());
    let inside = network
        .containers
        .as_ref()
        .is_some_and(|inside| !inside.is_empty());
    if theirs || inside {
        return Err(RuntimeError::Engine {
            doing,
            message: format!("the network {name} is in use by {}", labels::another(other)),
        });
    }
    errors::unless_gone(doing, docker.remove_network(&name).await).map(drop)
}

/// A subnet that the engine holds for free by its own rules (its address pools, the machine's routes).
async fn pick(docker: &Docker, names: &Names, namespace: &str) -> Result<String, RuntimeError> {
    let doing = "find a free subnet";
    let name = format!("{}-pick", names.network(namespace));
    errors::unless_gone(doing, docker.remove_network(&name).await)?;
    create(docker, names, namespace, name.clone(), Vec::new())
        .await
        .map_err(|refusal| errors::error(doing, &refusal))?;
    let picked = docker.inspect_network(&name, None::<InspectNetworkOptions>).await;
    errors::unless_gone(doing, docker.remove_network(&name).await)?;
    let picked = picked.map_err(|refusal| errors::error(doing, &refusal))?;
    let configs = picked.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    configs
        .into_iter()
        .filter_map(|config| config.subnet)
        .find(|subnet| Subnet::parse(subnet).is_some())
        .ok_or_else(|| RuntimeError::Engine {
            doing,
            message: "the engine picked none for IPv4".to_owned(),
        })
}

async fn create(
    docker: &Docker,
    names: &Names,
    namespace: &str,
    name: String,
    config: Vec<IpamConfig>,
) -> Result<(), bollard::errors::Error> {
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".to_owned()),
        labels: Some(names.made(names.namespace_labels(namespace))),
        ipam: (!config.is_empty()).then(|| Ipam {
            config: Some(config),
            ..Default::default()
        }),
        ..Default::default()
    };
    docker.create_network(request).await.map(drop)
}

/// Puts a container into the network with this endpoint, in place of the one it has, without its noticing.
pub async fn replace(
    docker: &Docker,
    network: &str,
    id: &str,
    attached: bool,
    freeze: bool,
    end: EndpointSettings,
) -> Result<(), RuntimeError> {
    // Where it cannot be frozen (not running, or an engine that cannot) it goes without.
    let frozen = attached && freeze && docker.pause_container(id).await.is_ok();
    let result = exchange(docker, network, id, attached, end).await;
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
    attached: bool,
    end: EndpointSettings,
) -> Result<(), RuntimeError> {
    if attached {
        leave(docker, network, id).await?;
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

/// Removes the namespace's network. False where something holds it: containers that are not ours, or endpoints of
/// containers that are gone already, which an engine under load forgets late and now and then never.
pub async fn remove(docker: &Docker, names: &Names, namespace: &str) -> Result<bool, RuntimeError> {
    let name = names.network(namespace);
    let doing = "remove the namespace's network";
    let there = docker.inspect_network(&name, None::<InspectNetworkOptions>).await;
    let Some(there) = errors::unless_gone(doing, there)? else {
        return Ok(true);
    };
    if !names.ours(&there.labels.unwrap_or_default()) {
        return Ok(true);
    }
    if there.containers.is_some_and(|containers| !containers.is_empty()) {
        return Ok(false);
    }
    match docker.remove_network(&name).await {
        Err(refusal) if is_held(&refusal) => Ok(false),
        other => errors::unless_gone(doing, other).map(|_| true),
    }
}

/// True where the engine says that endpoints are left in a network.
fn is_held(refusal: &bollard::errors::Error) -> bool {
    matches!(
        refusal,
        bollard::errors::Error::DockerResponseServerError { status_code: 403 | 409, message }
            if message.contains("active endpoints")
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

    /// An engine that shows an empty network and answers its removal with this.
    fn engine_that_says(status: &'static str, message: &'static str) -> Docker {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let (status, body) = if head.first().is_some_and(|line| line.starts_with("DELETE")) {
                    (status, format!(r#"{{"message": "{message}"}}"#))
                } else {
                    let labels = format!(r#"{{"{}": ""}}"#, labels::INSTANCE);
                    ("200 OK", format!(r#"{{"Labels": {labels}, "Containers": {{}}}}"#))
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        Docker::connect_with_http(&url, 10, bollard::API_DEFAULT_VERSION).unwrap()
    }

    #[tokio::test]
    async fn a_network_that_the_engine_holds_is_no_failure_and_everything_else_is() {
        let held = "error while removing network: network davit-shop id 1 has active endpoints";
        for (status, message, expected) in [
            ("403 Forbidden", held, Some(false)),
            ("409 Conflict", held, Some(false)),
            ("404 Not Found", "network davit-shop not found", Some(true)),
            ("403 Forbidden", "operation not permitted", None),
            ("500 Internal Server Error", "something else", None),
        ] {
            let docker = engine_that_says(status, message);
            let removed = remove(&docker, &Names::new("", ""), "shop").await;
            assert_eq!(removed.as_ref().ok(), expected.as_ref(), "{message}: {removed:?}");
        }
    }

    #[test]
    fn addresses_come_from_the_upper_half_until_it_is_full() {
        let subnet = Subnet::parse("172.18.0.0/16").unwrap();
        assert_eq!(subnet.lower(), "172.18.0.0/17");
        let subnet = Subnet::parse("10.0.0.8/29").unwrap();
        assert_eq!(subnet.lower(), "10.0.0.8/30");
        let mut taken = HashSet::new();
        while let Some(ip) = subnet.free(&taken) {
            assert!(taken.insert(ip));
        }
        let all = ["10.0.0.12", "10.0.0.13", "10.0.0.14"].map(str::to_owned);
        assert_eq!(taken, all.into());
        assert_eq!(Subnet::parse("fd00::/64"), None);
        assert_eq!(Subnet::parse("10.0.0.0/30"), None);
    }
}
