//! The HTTP client of all forges: certificates, proxies, limits, and base URLs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Certificate, Client, NoProxy, Proxy, redirect};
use url::{Host, Url};

use super::ForgeError;
use crate::error::chain;
use crate::redact::SafeUrl;

/// How forges are reached. Clones share their connections and the certificates of the system, so make one.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The longest that connecting may take. Default 10 s.
    pub connect_timeout: Duration,
    /// The longest that one request may take, its answer included. Default 30 s.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes. Default 8 MiB.
    pub largest_answer: usize,
    /// The most pages of one list that are read. Default 1000.
    pub most_pages: u32,
    /// Whether a forge on this machine may be reached over http, for development. Default false.
    pub allow_loopback_http: bool,
    /// The proxy for https. Default none.
    pub proxy: Option<HttpsProxy>,
    /// The API of Bitbucket Cloud; tests have their own. Default `https://api.bitbucket.org`.
    pub bitbucket_api: String,
    /// Repositories and OAuth of Bitbucket Cloud; tests have their own. Default `https://bitbucket.org`.
    pub bitbucket_web: String,
    /// By the certificates that are trusted in addition to the system's.
    clients: Arc<Mutex<HashMap<Vec<u8>, Client>>>,
}

/// `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsProxy {
    /// The proxy's URL.
    pub url: crate::redact::Secret,
    /// Hosts that are reached without it, in the form of `NO_PROXY`.
    pub except: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            largest_answer: 8 << 20,
            most_pages: 1000,
            allow_loopback_http: false,
            proxy: None,
            bitbucket_api: "https://api.bitbucket.org".to_owned(),
            bitbucket_web: "https://bitbucket.org".to_owned(),
            clients: Arc::default(),
        }
    }
}

/// Clients with a CA of their own that are kept; each holds a copy of the system's certificates too.
const MOST_CLIENTS: usize = 16;

impl HttpOptions {
    /// The client that trusts the system's certificates and `ca`, made when it is first needed: loading the system's
    /// certificates costs 12 MB, which a Davit without forges need not pay.
    pub(super) fn client(&self, ca: Option<&[u8]>) -> Result<Client, ForgeError> {
        let mut clients = self.clients.lock();
        let key = ca.unwrap_or_default();
        if let Some(client) = clients.get(key) {
            return Ok(client.clone());
        }
        let secret = |message: String| ForgeError::Secret { message };
        // reqwest is built without a provider of its own; where the program has chosen one already, that one stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = Client::builder()
            .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            // Redirects are followed by `Api`, which knows the method and the origin.
            .redirect(redirect::Policy::none())
            // The environment is read by the configuration, not here.
            .no_proxy();
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(https_proxy(proxy)?);
        }
        if let Some(ca) = ca {
            let certificates = Certificate::from_pem_bundle(ca).map_err(|error| {
                secret(format!(
                    "the CA is not a certificate in PEM form: {}",
                    chain(&error)
                ))
            })?;
            if certificates.is_empty() {
                return Err(secret("the CA holds no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder
            .build()
            .map_err(|error| secret(format!("the certificates cannot be used: {}", chain(&error))))?;
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.insert(key.to_vec(), client.clone());
        Ok(client)
    }
}

fn https_proxy(proxy: &HttpsProxy) -> Result<Proxy, ForgeError> {
    let url = proxy.url.expose_str().unwrap_or_default();
    let made = Proxy::https(url).map_err(|_| ForgeError::Spec {
        message: "HTTPS_PROXY is not a URL: set it to http://host:port".to_owned(),
    })?;
    Ok(made.no_proxy(NoProxy::from_string(&proxy.except)))
}

/// Parses the base URL of a forge: https, or http on loopback where `allow_loopback_http`; no credential. Query and
/// fragment are dropped.
pub(super) fn base_url(text: &str, allow_loopback_http: bool) -> Result<Url, ForgeError> {
    let spec = |message: &str| ForgeError::Spec {
        message: message.to_owned(),
    };
    let mut url = Url::parse(text.trim()).map_err(|error| spec(&format!("url cannot be read: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(spec(
            "url must not contain a credential: put the token into the Secret",
        ));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) && allow_loopback_http => {}
        "http" if is_loopback(&url) => {
            return Err(spec(
                "url must begin with https://, because http to this machine is for development: start davit with \
                 --allow-local-sources",
            ));
        }
        "http" => {
            return Err(spec(
                "url must begin with https://, because over http the token can be read on the way",
            ));
        }
        other => return Err(spec(&format!("url must begin with https://, not with {other}:"))),
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `base` with the segments behind its own path, each percent-encoded.
pub(super) fn beneath<S: AsRef<str>>(base: &Url, segments: &[S]) -> Url {
    let mut url = base.clone();
    // Only a URL without a host has no segments, and `base_url` lets none through.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// A URL for messages.
pub(super) fn safe(url: &Url) -> Result<SafeUrl, ForgeError> {
    SafeUrl::parse(url.as_str()).map_err(|error| ForgeError::Spec {
        message: format!("url cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_url_is_https_or_loopback_without_credentials() {
        for (given, base) in [
            ("https://git.example.com", "https://git.example.com/"),
            (
                " https://git.example.com/gitea/ ",
                "https://git.example.com/gitea",
            ),
            (
                "https://git.example.com:8443/?a=b#c",
                "https://git.example.com:8443/",
            ),
            ("http://localhost:3000/", "http://localhost:3000/"),
            ("http://127.0.0.2:3000", "http://127.0.0.2:3000/"),
            ("http://[::1]:3000", "http://[::1]:3000/"),
        ] {
            assert_eq!(base_url(given, true).unwrap().as_str(), base, "{given}");
        }
        for (given, why) in [
            (
                "http://git.example.com",
                "over http the token can be read on the way",
            ),
            (
                "http://localhost.example.com",
                "over http the token can be read on the way",
            ),
            (
                "http://127.0.0.1.example.com",
                "over http the token can be read on the way",
            ),
            ("https://tok@git.example.com", "must not contain a credential"),
            ("ftp://git.example.com", "must begin with https://, not with ftp:"),
            ("git.example.com", "cannot be read"),
        ] {
            for allow_loopback_http in [false, true] {
                let error = base_url(given, allow_loopback_http).unwrap_err().to_string();
                assert!(error.contains(why) && !error.contains("tok@"), "{given}: {error}");
            }
        }
        let error = base_url("http://localhost:3000/", false).unwrap_err().to_string();
        assert!(error.contains("--allow-local-sources"), "{error}");
    }

    #[test]
    fn segments_are_encoded_and_stay_behind_the_base() {
        let base = base_url("https://git.example.com/a%20b/", false).unwrap();
        for (segments, url) in [
            (
                &["acme", "shop.git"][..],
                "https://git.example.com/a%20b/acme/shop.git",
            ),
            (
                &["a/b", "c?d#e%2f"],
                "https://git.example.com/a%20b/a%2Fb/c%3Fd%23e%252f",
            ),
        ] {
            assert_eq!(beneath(&base, segments).as_str(), url);
        }
    }
}
