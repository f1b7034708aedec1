//! The reverse proxy of this installation, from its flags.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kube::Client;
use kube::runtime::reflector::Store;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{Application, Protocol};
use crate::cli::RuntimeKind;
use crate::cli::proxy_args::{Place, Proxy, RouteObjects};
use crate::config::Config;
use crate::controller::routes::values::{Hashes, credential};
use crate::controller::routes::{
    AccessLines, ApiAddress, Cluster, Observed, ProxyHost, ProxyOptions, Routes,
};
use crate::error::Problem;
use crate::model::{AppId, hex};
use crate::proxy::{Frontend, Gateway, HostPolicy, Launch, Settings, launch, refusal, resolvers};
use crate::redact::Secret;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::docker::proxy::ProxyContainer;
use crate::runtime::{LogOptions, Port};

/// Where the container sees the directory of the configuration, and its volume.
const DIRECTORY: &str = "/etc/traefik/dynamic";
const DATA: &str = "/data";
/// Where Traefik puts the bodies that it holds for `maxBodySize`, beyond the first megabyte of each.
const BODIES: &str = "/tmp";
/// The ports in the container: HTTP, HTTPS, API.
const PORTS: [u16; 3] = [80, 443, 8099];
/// The entry point of the API.
const API: &str = "davit";

/// The reverse proxy, before the controller starts.
pub struct Routing {
    options: ProxyOptions,
    host: Option<Arc<dyn ProxyHost>>,
    cluster: Option<Cluster>,
}

/// Returns the reverse proxy, if the flags ask for one. `docker` runs it.
///
/// # Errors
/// The flags do not fit together, or the directory cannot be created.
pub fn routing(config: &Config, docker: Option<Arc<DockerRuntime>>) -> anyhow::Result<Option<Routing>> {
    let proxy = &config.proxy;
    let entry_points = &proxy.traefik_entrypoints;
    if proxy.routes.is_some() {
        anyhow::bail!("--routes needs --runtime kubernetes: remove it, or use --traefik or --traefik-config");
    }
    if !proxy.traefik && proxy.traefik_config.is_none() {
        return Ok(None);
    }
    if config.runtime == RuntimeKind::Swarm && proxy.traefik_config.is_some() {
        anyhow::bail!(
            "--traefik-config needs --runtime docker, because only containers reach the networks of a Swarm: use --traefik"
        );
    }
    let mut settings = Settings {
        instance: config.instance.clone(),
        http: entry_points.http.clone(),
        https: entry_points.https.clone(),
        // Of a Traefik of the user the flags name the port on this machine, which may be another one outside.
        http_port: proxy
            .traefik_http
            .filter(|place| proxy.traefik && place.port != 80)
            .map(|place| place.port),
        https_port: proxy
            .traefik_https
            .filter(|place| proxy.traefik && place.port != 443)
            .map(|place| place.port),
        api: None,
        resolvers: None,
        by_service: config.runtime == RuntimeKind::Swarm,
        policy: HostPolicy {
            allowed: proxy.allowed_hosts.clone(),
        },
    };
    let name = format!("davit-{}.yml", config.instance);
    if let Some(directory) = &proxy.traefik_config {
        return Ok(Some(of_the_user(proxy, settings, directory.join(name))));
    }
    let Some(docker) = docker else { return Ok(None) };
    let password = api_password(&config.key);
    settings.api = Hashes::default()
        .line(&config.key, API, &password)
        .map(|line| (API.to_owned(), line));
    let directory = config.data_dir.join("proxy");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    let arguments = launch(&Launch {
        directory: DIRECTORY.to_owned(),
        data: DATA.to_owned(),
        acme_email: proxy.acme_email.clone(),
        acme_server: proxy.acme_server.clone(),
        http_port: PORTS[0],
        https_port: PORTS[1],
        api_port: PORTS[2],
        entry_points: [
            entry_points.http.clone(),
            entry_points.https.clone(),
            API.to_owned(),
        ],
        access_log: proxy.access_log,
        arguments: proxy.traefik_arg.clone(),
    });
    settings.resolvers = Some(resolvers(&arguments));
    let options = ProxyOptions {
        file: directory.join(name),
        observed: Arc::new(Mutex::new(Observed {
            expected: true,
            ..Observed::default()
        })),
        settings,
    };
    let places = [
        proxy.traefik_http.unwrap_or_else(|| Place::of(80)),
        proxy.traefik_https.unwrap_or_else(|| Place::of(443)),
    ];
    let container = ProxyContainer {
        image: proxy.traefik_image.clone(),
        arguments,
        ports: places
            .into_iter()
            .zip(PORTS)
            .map(|(place, inside)| port(place, inside))
            .collect(),
        directory: (directory.to_string_lossy().into_owned(), DIRECTORY.to_owned()),
        data: DATA.to_owned(),
        bodies: BODIES.to_owned(),
    };
    let host = Managed {
        docker,
        container,
        credential: credential(API, &password),
        has_access_log: proxy.access_log,
    };
    Ok(Some(Routing {
        options,
        host: Some(Arc::new(host)),
        cluster: None,
    }))
}

/// A Traefik that the user runs and that reads this file.
fn of_the_user(proxy: &Proxy, settings: Settings, file: PathBuf) -> Routing {
    let api = proxy.traefik_api.as_ref().map(|api| ApiAddress {
        authority: api.authority.clone(),
        credential: api
            .login
            .as_ref()
            .map(|(user, password)| credential(user, password)),
    });
    let places = proxy.traefik_http.zip(proxy.traefik_https);
    let observed = Observed {
        api,
        entry_points: places.map(|(http, https)| [http.here(), https.here()]),
        problem: None,
        // It is in the network of this machine, as Davit is.
        process: None,
        expected: false,
    };
    Routing {
        options: ProxyOptions {
            settings,
            file,
            observed: Arc::new(Mutex::new(observed)),
        },
        host: None,
        cluster: None,
    }
}

/// Returns the objects that routes become in a cluster, if the flags ask for them.
///
/// # Errors
/// The flags do not fit together.
pub fn routing_in_cluster(config: &Config, client: &Client) -> anyhow::Result<Option<Routing>> {
    let proxy = &config.proxy;
    if proxy.traefik || proxy.traefik_config.is_some() {
        anyhow::bail!(
            "--traefik and --traefik-config need --runtime docker: use --routes ingress or --routes gateway with --runtime \
             kubernetes"
        );
    }
    let frontend = match (proxy.routes, &proxy.gateway, &proxy.ingress_class) {
        (None, ..) => return Ok(None),
        (Some(RouteObjects::Ingress), None, class) => Frontend::Ingress { class: class.clone() },
        (Some(RouteObjects::Gateway), Some((namespace, name)), None) => Frontend::Gateway(Gateway {
            namespace: namespace.clone(),
            name: name.clone(),
            http: proxy.gateway_listeners.http.clone(),
            https: proxy.gateway_listeners.https.clone(),
        }),
        (Some(RouteObjects::Ingress), Some(_), _) => {
            anyhow::bail!("--gateway is for --routes gateway: remove it")
        }
        (Some(RouteObjects::Gateway), None, _) => {
            anyhow::bail!(
                "--routes gateway needs --gateway NAMESPACE/NAME: name the Gateway that routes are attached to"
            )
        }
        (Some(RouteObjects::Gateway), Some(_), Some(_)) => {
            anyhow::bail!("--ingress-class is for --routes ingress: remove it")
        }
    };
    Ok(Some(Routing {
        options: ProxyOptions {
            settings: Settings {
                instance: config.instance.clone(),
                policy: HostPolicy {
                    allowed: proxy.allowed_hosts.clone(),
                },
                ..Settings::default()
            },
            file: PathBuf::new(),
            observed: Arc::default(),
        },
        host: None,
        cluster: Some(Cluster {
            client: client.clone(),
            frontend,
        }),
    }))
}

impl Routing {
    /// Starts the task that keeps the configuration.
    pub fn start(
        self,
        wake: &mpsc::UnboundedSender<AppId>,
        applications: &Store<Application>,
        listed: &CancellationToken,
        stop: &CancellationToken,
    ) -> Arc<Routes> {
        let routes = Arc::new(Routes::new(
            self.options,
            self.host,
            self.cluster,
            wake.clone(),
            applications.clone(),
        ));
        let run = Arc::clone(&routes).run(listed.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(run));
        routes
    }
}

fn port(place: Place, inside: u16) -> Port {
    Port {
        name: None,
        container: inside,
        host: Some(place.port),
        host_ip: place.address.map(|address| address.to_string()),
        protocol: Protocol::Tcp,
    }
}

/// The password of the API, which follows from the installation's key.
fn api_password(key: &Secret) -> Secret {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.expose());
    let tag = ring::hmac::sign(&key, b"the API of the reverse proxy");
    Secret::from(hex(tag.as_ref()))
}

/// A proxy in a container of Davit's own.
struct Managed {
    docker: Arc<DockerRuntime>,
    container: ProxyContainer,
    credential: Secret,
    has_access_log: bool,
}

#[async_trait]
impl ProxyHost for Managed {
    async fn ensure(&self, namespaces: &BTreeSet<String>) -> Result<Observed, String> {
        let running = self.docker.ensure_proxy(&self.container, namespaces).await;
        let running = running.map_err(|error| match error {
            taken @ crate::runtime::RuntimeError::PortTaken { .. } => format!(
                "Traefik does not start: {taken}: free the port, or start davit with another --traefik-http and --traefik-https"
            ),
            error => format!("Traefik does not start: {}", Problem::of(&error).message),
        })?;
        let address = running.address;
        Ok(Observed {
            api: Some(ApiAddress {
                authority: SocketAddr::new(address, PORTS[2]).to_string(),
                credential: Some(self.credential.clone()),
            }),
            entry_points: Some([
                SocketAddr::new(address, PORTS[0]),
                SocketAddr::new(address, PORTS[1]),
            ]),
            problem: None,
            process: running.process,
            expected: true,
        })
    }

    async fn access_log(&self, options: &LogOptions) -> Result<AccessLines, String> {
        if !self.has_access_log {
            return Err("Traefik writes no access log: start davit with --access-log".to_owned());
        }
        Ok(self.docker.proxy_lines(options))
    }

    async fn refusal(&self, host: &str) -> Option<String> {
        let log = self.docker.proxy_log().await.ok()?;
        refusal(&log, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_of_the_api_follows_from_the_key() {
        let of = |key: &str| api_password(&Secret::from(key));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a").expose().len(), 64);
    }
}
