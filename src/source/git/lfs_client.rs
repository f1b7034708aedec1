//! A client of the Git LFS batch API: which objects a server has, and their content, verified.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Proxy, Response, redirect};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::error::SourceError;
use super::lfs_pointer::Pointer;
use super::options::GitOptions;
use super::remote::GitRemote;
use super::url::is_loopback;
use crate::error::{chain, cut};
use crate::model::hex;

/// The media type of the batch API.
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// How many objects one request asks for.
const BATCH: usize = 100;
/// How many objects are downloaded at a time.
const AT_ONCE: usize = 4;
/// The longest answer of the batch API, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;

/// Where the objects of a repository are, and the credential for that place.
pub(super) struct Endpoint {
    /// The address that `/objects/batch` is appended to.
    pub(super) url: Url,
    /// Sent to the origin of `url` and nowhere else.
    pub(super) headers: HeaderMap,
}

/// A client for one remote.
pub(super) struct Lfs<'a> {
    remote: &'a GitRemote,
    endpoint: Endpoint,
    client: Client,
    allow_http: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    objects: Vec<Object>,
    #[serde(default)]
    transfer: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Download>,
}

#[derive(Deserialize)]
struct Download {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ObjectError {
    code: u16,
    #[serde(default)]
    message: String,
}

impl<'a> Lfs<'a> {
    /// A client for the objects at `endpoint`.
    ///
    /// # Errors
    /// The CA of the remote or the proxy of `options` cannot be used.
    pub(super) fn new(
        remote: &'a GitRemote,
        endpoint: Endpoint,
        options: &GitOptions,
    ) -> Result<Self, SourceError> {
        // reqwest is built without a provider of its own; one that the program has chosen already stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let allow_http = options.allow_file;
        let mut builder = Client::builder()
            .user_agent(concat!("git-lfs/3 (davit ", env!("CARGO_PKG_VERSION"), ")"))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_mins(1))
            .redirect(secure_redirects(allow_http))
            .no_proxy();
        let unusable = |why: String| SourceError::Lfs {
            url: remote.url.clone(),
            why,
        };
        if let Some(ca) = &remote.ca {
            let certificates =
                Certificate::from_pem_bundle(ca).map_err(|error| unusable(format!("invalid CA: {error}")))?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(proxy) = proxy(options) {
            let proxy = Proxy::all(proxy).map_err(|error| unusable(format!("invalid proxy: {error}")))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| unusable(chain(&error)))?;
        Ok(Self {
            remote,
            endpoint,
            client,
            allow_http,
        })
    }

    /// Downloads objects into the directory `store`, each as a file named by its id. `paths` names, for messages, a
    /// file of the repository for each object.
    ///
    /// # Errors
    /// An object is missing, is not what its pointer describes, or cannot be downloaded.
    pub(super) async fn download(
        &self,
        paths: &BTreeMap<Pointer, String>,
        store: &Path,
    ) -> Result<(), SourceError> {
        let all: Vec<_> = paths.iter().collect();
        for batch in all.chunks(BATCH) {
            let answer = self.batch(batch).await?;
            let mut by_oid: BTreeMap<_, _> = answer
                .objects
                .into_iter()
                .map(|object| (object.oid.clone(), object))
                .collect();
            let mut downloads = Vec::new();
            for (pointer, path) in batch {
                let download = self.action(by_oid.remove(&pointer.oid), path)?;
                downloads.push(self.object(pointer, path, download, store).boxed());
            }
            stream::iter(downloads)
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    async fn batch(&self, objects: &[(&Pointer, &String)]) -> Result<Answer, SourceError> {
        let url = format!(
            "{}/objects/batch",
            self.endpoint.url.as_str().trim_end_matches('/')
        );
        let objects: Vec<_> = objects
            .iter()
            .map(|(pointer, _)| serde_json::json!({"oid": pointer.oid, "size": pointer.size}))
            .collect();
        let body = serde_json::json!({
            "operation": "download", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256",
        });
        let request = self
            .client
            .post(url)
            .headers(self.endpoint.headers.clone())
            .header(ACCEPT, MEDIA_TYPE)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(body.to_string());
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let mut response = self.accepted(response, "the server has no Git LFS")?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + piece.len() > LARGEST_ANSWER {
                return Err(self.failed("the answer of the batch API is too long"));
            }
            bytes.extend_from_slice(&piece);
        }
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| {
            self.failed(format!("the answer is not one of the Git LFS batch API: {error}"))
        })?;
        match answer.transfer.as_deref() {
            None | Some("basic") => Ok(answer),
            Some(other) => Err(self.failed(format!("the server insists on the transfer {other:?}"))),
        }
    }

    /// Where to download an object from.
    fn action(&self, object: Option<Object>, path: &str) -> Result<Download, SourceError> {
        let object = object.ok_or_else(|| self.failed(format!("the server's answer leaves out {path}")))?;
        if let Some(ObjectError { code, message }) = object.error {
            let message = cut(message.trim(), 200);
            return Err(match code {
                404 | 410 => self.failed(format!(
                    "the content of {path} is not on the server ({code} {message})"
                )),
                401 | 403 => self.refused(&format!("{code} {message}")),
                429 | 500.. => self.temporary(&format!("{path}: {code} {message}")),
                _ => self.failed(format!("{path}: {code} {message}")),
            });
        }
        object
            .actions
            .and_then(|actions| actions.download)
            .ok_or_else(|| self.failed(format!("the server names no address for the content of {path}")))
    }

    async fn object(
        &self,
        pointer: &Pointer,
        path: &str,
        download: Download,
        store: &Path,
    ) -> Result<(), SourceError> {
        let url = Url::parse(&download.href)
            .ok()
            .filter(|url| is_secure(url, self.allow_http))
            .ok_or_else(|| self.failed(format!("the address for the content of {path} is not https")))?;
        let mut headers = HeaderMap::new();
        if url.origin() == self.endpoint.url.origin() {
            headers.extend(self.endpoint.headers.clone());
        }
        for (name, value) in &download.header {
            if let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let response = self.client.get(url).headers(headers).send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let missing = format!("the content of {path} is not on the server");
        let mut response = self.accepted(response, &missing)?;
        let io = |error| SourceError::io("store a Git LFS object", error);
        let mut file = tempfile::Builder::new()
            .prefix("tmp_")
            .tempfile_in(store)
            .map_err(io)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            size += piece.len() as u64;
            if size > pointer.size {
                break;
            }
            hash.update(&piece);
            file.write_all(&piece).map_err(io)?;
        }
        let hash = hex(&hash.finalize());
        if size != pointer.size || hash != pointer.oid {
            return Err(self.failed(format!(
                "the server's content of {path} is not what its pointer describes"
            )));
        }
        file.persist(store.join(&pointer.oid))
            .map_err(|error| io(error.error))?;
        Ok(())
    }

    /// The response, if it is a success; `missing` is what a 404 means.
    fn accepted(&self, response: Response, missing: &str) -> Result<Response, SourceError> {
        let status = response.status();
        Err(match status {
            _ if status.is_success() => return Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.refused(status.as_str()),
            StatusCode::NOT_FOUND | StatusCode::GONE => self.failed(format!("{missing} ({status})")),
            StatusCode::TOO_MANY_REQUESTS => self.temporary(status.as_str()),
            _ if status.is_server_error() => self.temporary(status.as_str()),
            _ => self.failed(format!("the Git LFS server answered {status}")),
        })
    }

    fn failed(&self, why: impl Into<String>) -> SourceError {
        SourceError::Lfs {
            url: self.remote.url.clone(),
            why: why.into(),
        }
    }

    fn refused(&self, said: &str) -> SourceError {
        SourceError::AuthFailed {
            field: self.remote.fields.credential,
            url: self.remote.url.clone(),
            said: format!("the Git LFS server answered {said}"),
        }
    }

    fn temporary(&self, said: &str) -> SourceError {
        SourceError::Unreachable {
            field: self.remote.fields.url,
            url: self.remote.url.clone(),
            said: format!("Git LFS: {said}"),
        }
    }

    /// The address is left out: it may be signed.
    fn unreachable(&self, error: &reqwest::Error) -> SourceError {
        let mut said = String::new();
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(cause) = source {
            said = cause.to_string();
            source = cause.source();
        }
        self.temporary(&cut(&said, 200))
    }
}

/// Whether content may be downloaded from there: over https, or in development over http from this machine.
pub(super) fn is_secure(url: &Url, allow_http: bool) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => allow_http && is_loopback(url),
        _ => false,
    }
}

/// Follows up to 5 redirects to secure places. reqwest removes credentials at the border of an origin.
fn secure_redirects(allow_http: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > 5 {
            attempt.error("more than 5 redirects")
        } else if is_secure(attempt.url(), allow_http) {
            attempt.follow()
        } else {
            attempt.error("a redirect to a place that is not https")
        }
    })
}

fn proxy(options: &GitOptions) -> Option<String> {
    let of = |name: &str| {
        let variable = options
            .environment
            .iter()
            .find(|(variable, _)| variable.eq_ignore_ascii_case(name));
        variable.and_then(|(_, value)| value.to_str()).map(str::to_owned)
    };
    of("HTTPS_PROXY").or_else(|| of("ALL_PROXY"))
}

/// The value of a header that must not be logged.
pub(super) fn authorization(value: &str) -> Option<HeaderMap> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}
