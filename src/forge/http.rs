//! What every forge client needs of HTTP: one shared client, a token that reaches one origin only, bounded answers,
//! all pages of a list, and errors told apart by who can mend them.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION};
use parking_lot::Mutex;
use reqwest::{Certificate, Client, Response, redirect};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::ForgeError;
use super::headers::{is_page, next_page, pause, required_scope, total};
use crate::error::{chain, cut};
use crate::redact::{Masker, SafeUrl, Secret};

/// How forges are spoken to. Clones share their connections and the certificates of the system, so make one.
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
    /// By the certificates that are trusted in addition to the system's.
    clients: Arc<Mutex<HashMap<Vec<u8>, Client>>>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            largest_answer: 8 << 20,
            most_pages: 1000,
            allow_loopback_http: false,
            clients: Arc::default(),
        }
    }
}

/// Clients with a CA of their own that are kept; each holds a copy of the system's certificates too.
const MOST_CLIENTS: usize = 16;

impl HttpOptions {
    /// The client that trusts the system's certificates and `ca`, made when it is first asked for: loading the
    /// system's certificates costs 12 MB, which a Davit without forges need not pay.
    fn client(&self, ca: Option<&[u8]>) -> Result<Client, ForgeError> {
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
            .redirect(within_the_origin())
            // A proxy would come from the environment, which is not read here.
            .no_proxy();
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

/// Follows a redirect within the origin only, so that the token never reaches another host, port or scheme.
fn within_the_origin() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if attempt.previous().len() > 5 {
            attempt.error("more than 5 redirects")
        } else if first == Some(attempt.url().origin()) {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
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
            "url must not hold a credential: put the token into the Secret",
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
                "url must begin with https://, because over http anybody on the way could read the token",
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
pub(super) fn beneath(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only a URL without a host has no segments, and `base_url` lets none through.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// One question to a forge.
pub(super) struct Ask<'a> {
    /// What it is for, as the beginning of an error message.
    pub doing: &'static str,
    /// The path behind the base URL.
    pub path: &'a [&'a str],
    /// The scope that the token needs for it; nothing where none is needed.
    pub scope: &'static str,
    /// What is not there where the answer is 404.
    pub what: &'a str,
}

/// An answer that was read.
pub(super) struct Answer<T> {
    /// Its body.
    pub body: T,
    /// Its headers.
    pub headers: HeaderMap,
}

/// A forge's API with one credential.
pub(super) struct Api {
    kind: &'static str,
    base: Url,
    shown: SafeUrl,
    authorization: HeaderValue,
    masker: Masker,
    client: Client,
    options: HttpOptions,
}

impl Api {
    /// Connects to nothing yet. `scheme` is the word before the token in `Authorization`.
    pub fn new(
        kind: &'static str,
        url: &str,
        (scheme, token): (&str, &Secret),
        ca: Option<&[u8]>,
        options: &HttpOptions,
    ) -> Result<Self, ForgeError> {
        let secret = |message: &str| ForgeError::Secret {
            message: message.to_owned(),
        };
        let base = base_url(url, options.allow_loopback_http)?;
        let token = token.trimmed();
        if token.is_empty() {
            return Err(secret("the token is empty"));
        }
        let mut value = scheme.as_bytes().to_vec();
        value.push(b' ');
        value.extend_from_slice(token.expose());
        let mut authorization = HeaderValue::from_bytes(&value)
            .map_err(|_| secret("the token holds characters that no token has"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            kind,
            shown: SafeUrl::parse(base.as_str()).map_err(|error| ForgeError::Spec {
                message: format!("url cannot be read: {error}"),
            })?,
            base,
            authorization,
            masker: Masker::new([&token]),
            client: options.client(ca)?,
            options: options.clone(),
        })
    }

    /// The base URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The base URL, for messages.
    pub fn shown(&self) -> &SafeUrl {
        &self.shown
    }

    /// Asks once, with the token.
    pub async fn get<T: DeserializeOwned>(
        &self,
        ask: &Ask<'_>,
        query: &[(&str, &str)],
    ) -> Result<Answer<T>, ForgeError> {
        self.read(ask, query, true).await
    }

    /// Asks once, as nobody.
    pub async fn get_anonymously<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<Answer<T>, ForgeError> {
        self.read(ask, &[], false).await
    }

    /// All pages of a list. Servers cap the size of a page, so a short page does not mean the last one: the list ends
    /// where `Link` no longer names a next page, where `X-Total-Count` says so, or at an empty page.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        ask: &Ask<'_>,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, ForgeError> {
        let mut all = Vec::new();
        let mut linked: Option<Vec<(String, String)>> = None;
        for number in 1..=self.options.most_pages {
            let number = number.to_string();
            let query: Vec<(&str, &str)> = match &linked {
                // Only the query of the link counts: behind a proxy its host is often wrong, and the token stays here.
                Some(pairs) => pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect(),
                None => query.iter().copied().chain([("page", number.as_str())]).collect(),
            };
            let page: Answer<Option<Vec<T>>> = self.get(ask, &query).await?;
            let items = page.body.unwrap_or_default();
            let empty = items.is_empty();
            all.extend(items);
            let next = next_page(&page.headers);
            let has_links = page.headers.contains_key(LINK);
            let complete = total(&page.headers).is_some_and(|total| all.len() as u64 >= total);
            if empty || complete || (has_links && next.is_none()) {
                return Ok(all);
            }
            linked = next;
        }
        Err(self.other(
            ask,
            &format!("the list has more than {} pages", self.options.most_pages),
        ))
    }

    async fn read<T: DeserializeOwned>(
        &self,
        ask: &Ask<'_>,
        query: &[(&str, &str)],
        signed: bool,
    ) -> Result<Answer<T>, ForgeError> {
        let mut request = self
            .client
            .get(beneath(&self.base, ask.path))
            .query(query)
            .header(ACCEPT, "application/json");
        if signed {
            request = request.header(AUTHORIZATION, self.authorization.clone());
        }
        let mut response = request.send().await.map_err(|error| self.failed(ask, error))?;
        let body = self.body(ask, &mut response).await?;
        let headers = std::mem::take(response.headers_mut());
        if !response.status().is_success() {
            return Err(self.refused(ask, response.status(), &headers, &body));
        }
        match serde_json::from_slice(&body) {
            Ok(body) => Ok(Answer { body, headers }),
            Err(_) if is_page(&headers) => {
                Err(self.not_recognised("a web page answers where its API should"))
            }
            Err(error) => Err(self.not_recognised(&format!("its answer cannot be read: {error}"))),
        }
    }

    async fn body(&self, ask: &Ask<'_>, response: &mut Response) -> Result<Vec<u8>, ForgeError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(ask, error))? {
            if body.len() + chunk.len() > self.options.largest_answer {
                let limit = self.options.largest_answer;
                return Err(self.other(ask, &format!("the answer is larger than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What an answer that is no success means.
    fn refused(&self, ask: &Ask<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ForgeError {
        let url = self.shown.clone();
        let said = self.said(status, body);
        let spent = headers
            .get("x-ratelimit-remaining")
            .is_some_and(|left| left == "0");
        match status.as_u16() {
            429 => ForgeError::RateLimited {
                url,
                seconds: pause(headers, jiff::Timestamp::now()),
            },
            403 if spent => ForgeError::RateLimited {
                url,
                seconds: pause(headers, jiff::Timestamp::now()),
            },
            401 => ForgeError::Auth { url },
            403 if said.contains("scope") => ForgeError::Scope {
                doing: ask.doing,
                url,
                scope: required_scope(&said).unwrap_or(ask.scope).to_owned(),
            },
            403 => ForgeError::Forbidden {
                doing: ask.doing,
                url,
                message: said,
            },
            404 => ForgeError::NotFound {
                what: ask.what.to_owned(),
                url,
            },
            300..=399 => {
                let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
                let target = target
                    .and_then(|text| self.base.join(text).ok())
                    .map(|url| url.origin().ascii_serialization());
                self.not_recognised(&format!(
                    "it redirects to {}",
                    target.as_deref().unwrap_or("nowhere")
                ))
            }
            _ => self.other(ask, &said),
        }
    }

    /// The forge's own words where it has any, else the status.
    fn said(&self, status: StatusCode, body: &[u8]) -> String {
        let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let words = answer.as_ref().and_then(|answer| {
            ["/message", "/error/message", "/error_description", "/error"]
                .iter()
                .find_map(|pointer| answer.pointer(pointer)?.as_str().filter(|text| !text.is_empty()))
        });
        match words {
            Some(words) => format!("{status}: {}", cut(&self.masker.mask(words), 300)),
            None => status.to_string(),
        }
    }

    /// What a request without an answer means.
    fn failed(&self, ask: &Ask<'_>, error: reqwest::Error) -> ForgeError {
        let error = error.without_url();
        let url = self.shown.clone();
        match tls_error(&error) {
            // Something answers there, and it is no web server with TLS.
            Some(rustls::Error::InvalidMessage(_)) => return self.not_recognised("it does not speak TLS"),
            Some(tls) => {
                return ForgeError::Tls {
                    url,
                    message: tls.to_string(),
                };
            }
            None => {}
        }
        if error.is_redirect() || error.is_body() || error.is_decode() {
            return self.other(ask, &chain(&error));
        }
        let message = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            chain(&error)
        };
        ForgeError::Unreachable { url, message }
    }

    pub(super) fn not_recognised(&self, message: &str) -> ForgeError {
        ForgeError::NotRecognised {
            kind: self.kind,
            url: self.shown.clone(),
            message: message.to_owned(),
        }
    }

    fn other(&self, ask: &Ask<'_>, message: &str) -> ForgeError {
        ForgeError::Other {
            doing: ask.doing,
            url: self.shown.clone(),
            message: message.to_owned(),
        }
    }
}

/// The TLS error beneath an error, if that is what it is.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(tls) = source.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // `source()` of an I/O error is that of the error it wraps, so the wrapped one itself would be skipped.
        let wrapped = source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => source.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_https_or_loopback_and_holds_nothing_else() {
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
                "over http anybody on the way could read the token",
            ),
            (
                "http://localhost.example.com",
                "over http anybody on the way could read the token",
            ),
            (
                "http://127.0.0.1.example.com",
                "over http anybody on the way could read the token",
            ),
            ("https://tok@git.example.com", "must not hold a credential"),
            ("ftp://git.example.com", "must begin with https://, not with ftp:"),
            ("git.example.com", "cannot be read"),
        ] {
            for allow_loopback_http in [true, false] {
                let error = base_url(given, allow_loopback_http).unwrap_err().to_string();
                assert!(error.contains(why) && !error.contains("tok@"), "{given}: {error}");
            }
        }
        let error = base_url("http://localhost:3000/", false).unwrap_err().to_string();
        assert!(
            error.contains("start davit with --allow-local-sources"),
            "{error}"
        );
    }

    #[test]
    fn names_are_encoded_and_stay_behind_the_base() {
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
