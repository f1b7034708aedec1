//! How the engine is reached: by what `--docker-host` says. Nothing is asked of it yet, so an engine that is not there, or
//! whose socket is not (as while the machine starts), is one that does not answer and may come at any moment.

use std::path::PathBuf;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures::TryFutureExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;

use crate::model::hex;

/// Where the engine listens where nothing is said.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine at an address listens where no port is said, as for `docker`.
const DEFAULT_PORT: u16 = 2375;

/// The longest that the engine may take to begin its answer, in seconds.
const TIMEOUT: u64 = 120;

/// Where an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Behind a socket file.
    Socket(PathBuf),
    /// At an address and port.
    Address(String),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Address(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// An unusable address of an engine.
#[derive(Debug, thiserror::Error)]
#[error("use --docker-host (or DOCKER_HOST) {0:?}: write unix:///path or tcp://host:port")]
pub struct BadHost(String);

impl Host {
    /// Reads `--docker-host`; nothing and an empty text mean the default, as they do for `docker`.
    ///
    /// # Errors
    /// Another scheme than `unix` and `tcp`, a path that is not absolute, an invalid address.
    pub fn parse(host: Option<&str>) -> Result<Self, BadHost> {
        let host = host.unwrap_or_default();
        let bad = || BadHost(host.to_owned());
        if host.is_empty() {
            return Ok(Self::Socket(DEFAULT_SOCKET.into()));
        }
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Socket(path.into())),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                let read: http::uri::Authority = address.parse().map_err(|_| bad())?;
                if read.host().is_empty() || address.contains('@') {
                    return Err(bad());
                }
                Ok(Self::Address(match read.port() {
                    Some(_) => address.to_owned(),
                    None => format!("{address}:{DEFAULT_PORT}"),
                }))
            }
            _ => Err(bad()),
        }
    }

    /// A client, which connects anew with each call.
    ///
    /// # Errors
    /// None in practice: nothing is connected yet.
    pub fn client(&self) -> Result<Docker, bollard::errors::Error> {
        let path = match self {
            Self::Address(address) => {
                return Docker::connect_with_http(address, TIMEOUT, API_DEFAULT_VERSION);
            }
            Self::Socket(path) => path,
        };
        // As bollard's own client of a socket, which however refuses to be made while there is no socket.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(UnixConnector);
        let name = hex(path.to_string_lossy().as_bytes());
        Docker::connect_with_custom_transport(
            move |request: BollardRequest| client.request(request).map_err(Into::into),
            Some(format!("unix://{name}")),
            TIMEOUT,
            API_DEFAULT_VERSION,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_refused_by_name() {
        for (host, expected) in [
            (None, Host::Socket(DEFAULT_SOCKET.into())),
            (Some(""), Host::Socket(DEFAULT_SOCKET.into())),
            (Some("unix:///run/x.sock"), Host::Socket("/run/x.sock".into())),
            (Some("tcp://[::1]:2375"), Host::Address("[::1]:2375".into())),
            (Some("tcp://engine:2376/"), Host::Address("engine:2376".into())),
            (Some("tcp://engine"), Host::Address("engine:2375".into())),
            (Some("tcp://[::1]"), Host::Address("[::1]:2375".into())),
        ] {
            assert_eq!(Host::parse(host).unwrap(), expected);
        }
        for host in [
            "bogus",
            "ssh://engine",
            "unix://",
            "unix://run/x.sock",
            "tcp://",
            "tcp://a b",
            "/run/x.sock",
        ] {
            let said = Host::parse(Some(host)).unwrap_err().to_string();
            assert!(said.contains("--docker-host") && said.contains(host), "{said}");
        }
    }

    #[tokio::test]
    async fn a_socket_may_come_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let docker = Host::Socket(path.clone()).client().unwrap();
        let refused = docker.ping().await.unwrap_err();
        let class = super::super::errors::error("ask", &refused);
        assert!(
            matches!(class, crate::runtime::RuntimeError::EngineUnavailable(_)),
            "{class:?}"
        );
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = async {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).await.unwrap();
            assert!(String::from_utf8_lossy(&asked[..length]).starts_with("GET /_ping"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
                .await
                .unwrap();
        };
        let (answer, ()) = tokio::join!(docker.ping(), server);
        assert_eq!(answer.unwrap(), "OK");
    }
}
