//! The flags of the reverse proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::proxy::Patterns;

/// The image of a Traefik that Davit runs. The tests run with the same minor version.
const IMAGE: &str = "traefik:v3.6.25";

/// The reverse proxy that serves the routes of Applications.
#[derive(Clone, Debug, Args)]
pub struct Proxy {
    /// Run a Traefik as a container of the Docker Engine, and give it the routes of Applications. It goes on while Davit is
    /// stopped.
    #[arg(long, env = "DAVIT_TRAEFIK", conflicts_with = "traefik_config")]
    pub traefik: bool,
    /// The image of that Traefik, of version 3.
    #[arg(long, env = "DAVIT_TRAEFIK_IMAGE", value_name = "IMAGE", default_value = IMAGE)]
    pub traefik_image: String,
    /// A further argument of that Traefik, such as --accesslog=true; may be given several times.
    #[arg(
        long,
        env = "DAVIT_TRAEFIK_ARG",
        value_name = "ARGUMENT",
        requires = "traefik",
        allow_hyphen_values = true
    )]
    pub traefik_arg: Vec<String>,
    /// Let that Traefik write an access log, for davit logs --access.
    #[arg(long, env = "DAVIT_ACCESS_LOG", requires = "traefik")]
    pub access_log: bool,
    /// The e-mail address of the account at the certificate authority. With it that Traefik has the certificate resolver
    /// letsencrypt.
    #[arg(long, env = "DAVIT_ACME_EMAIL", value_name = "ADDRESS", requires = "traefik")]
    pub acme_email: Option<String>,
    /// The directory URL of another certificate authority than Let's Encrypt.
    #[arg(long, env = "DAVIT_ACME_SERVER", value_name = "URL", requires = "acme_email")]
    pub acme_server: Option<String>,
    /// Write the routes of Applications into this directory, which the file provider of a Traefik of yours watches. Traefik
    /// must reach the networks of the containers: run it on this machine, in its network.
    #[arg(long, env = "DAVIT_TRAEFIK_CONFIG", value_name = "DIRECTORY")]
    pub traefik_config: Option<PathBuf>,
    /// The API of that Traefik, where Davit observes that the routes are loaded: http://127.0.0.1:8080, or
    /// http://USER:PASSWORD@HOST:PORT.
    #[arg(
        long,
        env = "DAVIT_TRAEFIK_API",
        value_name = "URL",
        requires = "traefik_config",
        hide_env_values = true,
        value_parser = api
    )]
    pub traefik_api: Option<Api>,
    /// The names of its entry points for HTTP and for HTTPS.
    #[arg(
        long,
        env = "DAVIT_TRAEFIK_ENTRYPOINTS",
        value_name = "HTTP,HTTPS",
        default_value = "web,websecure",
        value_parser = entry_points
    )]
    pub traefik_entrypoints: EntryPoints,
    /// With --traefik: where HTTP is published, by default port 80 of all addresses. With --traefik-config: where the entry
    /// point for HTTP listens; Davit sends a request there to each new route, and shows those that answer in status.urls.
    #[arg(long, env = "DAVIT_TRAEFIK_HTTP", value_name = "[ADDRESS:]PORT", value_parser = place)]
    pub traefik_http: Option<Place>,
    /// The same for HTTPS, by default port 443.
    #[arg(long, env = "DAVIT_TRAEFIK_HTTPS", value_name = "[ADDRESS:]PORT", value_parser = place)]
    pub traefik_https: Option<Place>,
    /// With --runtime kubernetes: what the routes of Applications become there.
    #[arg(long, env = "DAVIT_ROUTES", value_name = "KIND")]
    pub routes: Option<RouteObjects>,
    /// The IngressClass of --routes ingress, by default that of the cluster.
    #[arg(long, env = "DAVIT_INGRESS_CLASS", value_name = "NAME", requires = "routes")]
    pub ingress_class: Option<String>,
    /// The Gateway of --routes gateway.
    #[arg(long, env = "DAVIT_GATEWAY", value_name = "NAMESPACE/NAME", requires = "routes", value_parser = gateway)]
    pub gateway: Option<(String, String)>,
    /// The names of its listeners for HTTP and for HTTPS.
    #[arg(
        long,
        env = "DAVIT_GATEWAY_LISTENERS",
        value_name = "HTTP,HTTPS",
        default_value = "http,https",
        value_parser = entry_points
    )]
    pub gateway_listeners: EntryPoints,
    /// The hosts that routes may have, separated by commas: shop.example.com, *.example.com for one level, **.example.com for
    /// all. The annotation davit.dev/allowed-hosts of a Namespace takes the place of this for its Applications. Default: all.
    #[arg(long, env = "DAVIT_ALLOWED_HOSTS", value_name = "HOSTS", value_parser = Patterns::parse)]
    pub allowed_hosts: Option<Patterns>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            traefik: false,
            traefik_image: IMAGE.to_owned(),
            traefik_arg: Vec::new(),
            access_log: false,
            acme_email: None,
            acme_server: None,
            traefik_config: None,
            traefik_api: None,
            traefik_entrypoints: EntryPoints::default(),
            traefik_http: None,
            traefik_https: None,
            routes: None,
            ingress_class: None,
            gateway: None,
            gateway_listeners: EntryPoints {
                http: "http".to_owned(),
                https: "https".to_owned(),
            },
            allowed_hosts: None,
        }
    }
}

/// What routes become in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RouteObjects {
    /// Ingresses.
    Ingress,
    /// HTTPRoutes of a Gateway.
    Gateway,
}

/// The names of the entry points for HTTP and for HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoints {
    /// HTTP.
    pub http: String,
    /// HTTPS.
    pub https: String,
}

impl Default for EntryPoints {
    fn default() -> Self {
        Self {
            http: "web".to_owned(),
            https: "websecure".to_owned(),
        }
    }
}

/// The API of a Traefik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Host and port.
    pub authority: String,
    /// User and password.
    pub login: Option<(String, crate::redact::Secret)>,
}

fn api(text: &str) -> Result<Api, String> {
    let wrong = || "write it as http://127.0.0.1:8080, or http://USER:PASSWORD@HOST:PORT".to_owned();
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let host = url
        .host_str()
        .filter(|_| url.scheme() == "http")
        .ok_or_else(wrong)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    let login = (!url.username().is_empty()).then(|| {
        let password = url.password().unwrap_or_default();
        (url.username().to_owned(), crate::redact::Secret::from(password))
    });
    Ok(Api {
        authority: format!("{host}:{port}"),
        login,
    })
}

fn gateway(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write it as NAMESPACE/NAME".to_owned()),
    }
}

fn entry_points(text: &str) -> Result<EntryPoints, String> {
    let good = |name: &str| {
        let letters = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        letters && !name.is_empty()
    };
    match text.split_once(',') {
        Some((http, https)) if good(http) && good(https) && http != https => Ok(EntryPoints {
            http: http.to_owned(),
            https: https.to_owned(),
        }),
        _ => Err("write two names: web,websecure".to_owned()),
    }
}

/// A port with an address, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Place {
    /// A port of all addresses.
    pub fn of(port: u16) -> Self {
        Self { address: None, port }
    }

    /// Where a client on this machine reaches it.
    pub fn here(self) -> SocketAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        SocketAddr::new(
            self.address.filter(|it| !it.is_unspecified()).unwrap_or(loopback),
            self.port,
        )
    }
}

fn place(text: &str) -> Result<Place, String> {
    let with_address = || {
        let place: SocketAddr = text.parse().ok()?;
        Some(Place {
            address: Some(place.ip()),
            port: place.port(),
        })
    };
    let place = text.parse().ok().map(Place::of).or_else(with_address);
    place
        .filter(|place| place.port > 0)
        .ok_or_else(|| "write a port, or ADDRESS:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_is_a_url_with_a_login_or_without() {
        assert_eq!(api("http://127.0.0.1:8080").unwrap().authority, "127.0.0.1:8080");
        let with = api("http://davit:secret@traefik:8080/").unwrap();
        assert_eq!(with.authority, "traefik:8080");
        assert!(
            with.login
                .is_some_and(|(user, password)| user == "davit" && password.expose() == b"secret")
        );
        for wrong in [
            "",
            "127.0.0.1:8080",
            "https://127.0.0.1",
            "http://h/api",
            "http://h?x=1",
        ] {
            assert!(api(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_and_entry_points_are_read() {
        for (text, here) in [
            ("80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(place(text).unwrap().here().to_string(), here);
        }
        assert_eq!(
            gateway("infra/public").unwrap(),
            ("infra".to_owned(), "public".to_owned())
        );
        assert!(
            ["", "public", "/public", "infra/", "a/b/c"]
                .into_iter()
                .all(|text| gateway(text).is_err())
        );
        assert!(place("0").is_err() && place("web").is_err());
        assert_eq!(entry_points("web,websecure").unwrap(), EntryPoints::default());
        for wrong in ["", "web", "web,", "web,web", "we b,x"] {
            assert!(entry_points(wrong).is_err(), "{wrong}");
        }
    }
}
