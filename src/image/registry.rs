//! Asks registries without an engine, over the API of OCI registries: which image a name means, and deletions.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect};
use serde::Deserialize;
use url::Url;

use super::engine::{Found, ImageError, ResolvedImage};
use super::login::registry_name;
use super::name::ImageName;
use super::push::{PushError, RegistryAccess, classify};
use crate::error::{chain, cut};
use crate::model::RegistryLogin;
use crate::redact::{Masker, Secret};

/// The longest that a registry or its token server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer of a token server, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;
/// Where Docker keeps the CAs of registries.
const DOCKER_CERTIFICATES: &str = "/etc/docker/certs.d";
/// The host that serves Docker Hub's API.
const HUB_API: &str = "registry-1.docker.io";

/// The kinds of manifests that a node can pull.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The image does not exist any more.
    Done,
    /// The registry deletes no images, or not with this credential.
    NotAllowed,
}

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// The registries that are reached over plain HTTP, as host or host:port.
    pub plain_http: Vec<String>,
}

/// Deletes `image` (`repository:tag@digest`) from its registry: the manifest with this digest and all tags of it.
///
/// # Errors
/// The registry cannot be reached, or its answer is not understood.
pub async fn delete(
    image: &str,
    access: &RegistryAccess,
    options: &RegistryOptions,
) -> Result<Deleted, PushError> {
    let failed = |said: String| PushError::Failed {
        image: image.to_owned(),
        said,
    };
    let name = ImageName::parse(image).map_err(|error| failed(error.to_string()))?;
    let Some(digest) = name.digest() else {
        return Err(failed("its digest is not known".to_owned()));
    };
    let host = registry_name(name.registry());
    let scheme = if options.plain_http.contains(&host) {
        "http"
    } else {
        "https"
    };
    let api = if host == "docker.io" { HUB_API } else { &host };
    let url = format!("{scheme}://{api}/v2/{}/manifests/{digest}", name.repository());
    let client = client(&host, access, scheme == "http").map_err(failed)?;
    let call = Call {
        image,
        client: &client,
        login: access.login(&name),
        secure: scheme == "https",
    };
    let mut answer = call.send(client.delete(&url)).await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        let challenge = answer.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let scope = format!("repository:{}:pull,delete", name.repository());
        let Some(request) = call.authorized(client.delete(&url), &challenge, &scope).await? else {
            return Ok(Deleted::NotAllowed);
        };
        answer = call.send(request).await?;
    }
    let status = answer.status();
    match status {
        StatusCode::NOT_FOUND => Ok(Deleted::Done),
        status if status.is_success() => Ok(Deleted::Done),
        StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::BAD_REQUEST
        | StatusCode::NOT_IMPLEMENTED => Ok(Deleted::NotAllowed),
        status => Err(classify(
            image,
            status.as_u16(),
            &format!("received unexpected HTTP status: {status}"),
        )),
    }
}

/// Finds out which image a name means now, for nodes that pull it themselves.
///
/// # Errors
/// The image does not exist, or the registry cannot be asked.
pub async fn resolve_at_registry(
    image: &str,
    login: Option<&RegistryLogin>,
    options: &RegistryOptions,
) -> Result<ResolvedImage, ImageError> {
    let failed = |said: String| ImageError::Failed {
        image: image.to_owned(),
        said,
    };
    let name = ImageName::parse(image).map_err(|error| ImageError::Invalid {
        image: cut(image, 200),
        why: error.to_string(),
    })?;
    let host = registry_name(name.registry());
    let resolved = |digest: &str, found: Found| ResolvedImage {
        reference: format!("{host}/{}@{digest}", name.repository()),
        digest: digest.to_owned(),
        found,
    };
    if let Some(digest) = name.digest() {
        return Ok(resolved(digest, Found::Pinned));
    }
    let plain = options.plain_http.contains(&host);
    let scheme = if plain { "http" } else { "https" };
    let api = if host == "docker.io" { HUB_API } else { &host };
    let tag = name.tag().unwrap_or("latest");
    let url = format!("{scheme}://{api}/v2/{}/manifests/{tag}", name.repository());
    let client = client(&host, &RegistryAccess::default(), plain).map_err(failed)?;
    let call = Call {
        image,
        client: &client,
        login,
        secure: !plain,
    };
    let request = || client.head(&url).header(ACCEPT, MANIFESTS);
    let unreachable = |error: PushError| ImageError::Unreachable {
        image: image.to_owned(),
        said: chain(&error),
    };
    let mut answer = call.send(request()).await.map_err(unreachable)?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        let challenge = answer.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let scope = format!("repository:{}:pull", name.repository());
        let authorized = call.authorized(request(), &challenge, &scope).await;
        if let Some(request) = authorized.map_err(unreachable)? {
            answer = call.send(request).await.map_err(unreachable)?;
        }
    }
    let said = format!("received HTTP status {}", answer.status());
    match answer.status() {
        status if status.is_success() => {
            let digest = answer.headers().get("docker-content-digest");
            let digest = digest.and_then(|digest| digest.to_str().ok());
            let digest = digest.ok_or_else(|| failed("the registry names no digest".to_owned()))?;
            Ok(resolved(digest, Found::Registry))
        }
        StatusCode::NOT_FOUND => Err(ImageError::NotFound {
            image: image.to_owned(),
            said,
        }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ImageError::Denied {
            image: image.to_owned(),
            said,
        }),
        _ => Err(failed(said)),
    }
}

struct Call<'a> {
    image: &'a str,
    client: &'a Client,
    login: Option<&'a RegistryLogin>,
    secure: bool,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Call<'_> {
    async fn send(&self, request: RequestBuilder) -> Result<Response, PushError> {
        request.send().await.map_err(|error| {
            let said = self.masked(&chain(&error.without_url()));
            if error_is_tls(&said) {
                classify(self.image, 0, &format!("certificate: {said}"))
            } else {
                PushError::Unreachable {
                    image: self.image.to_owned(),
                    said,
                }
            }
        })
    }

    fn masked(&self, text: &str) -> String {
        let secrets = self.login.map(RegistryLogin::secrets).unwrap_or_default();
        cut(&Masker::new(&secrets).mask(text), 400)
    }

    /// The request with what the registry's challenge asks for; `None` without a credential that fits.
    async fn authorized(
        &self,
        request: RequestBuilder,
        challenge: &str,
        scope: &str,
    ) -> Result<Option<RequestBuilder>, PushError> {
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(match self.login {
                Some(RegistryLogin::Basic { username, password }) => {
                    Some(request.basic_auth(username, password.expose_str()))
                }
                _ => None,
            });
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        if let Some(RegistryLogin::Bearer(token)) = self.login {
            return Ok(token.expose_str().map(|token| request.bearer_auth(token)));
        }
        let token = self.token(parameters, scope).await?;
        Ok(token.and_then(|token| Some(request.bearer_auth(token.expose_str()?))))
    }

    async fn token(&self, parameters: &str, scope: &str) -> Result<Option<Secret>, PushError> {
        let realm = parameter(parameters, "realm").and_then(|realm| Url::parse(&realm).ok());
        // The credential is not sent in clear, unless the registry itself is reached so.
        let Some(realm) = realm.filter(|realm| !self.secure || realm.scheme() == "https") else {
            return Ok(None);
        };
        let service = parameter(parameters, "service").unwrap_or_default();
        let request = match self.login {
            Some(RegistryLogin::Identity(token)) => {
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("refresh_token", token.expose_str().unwrap_or_default())
                    .append_pair("client_id", "davit")
                    .append_pair("service", &service)
                    .append_pair("scope", scope)
                    .finish();
                let kind = "application/x-www-form-urlencoded";
                self.client.post(realm).header("content-type", kind).body(form)
            }
            login => {
                let request = self
                    .client
                    .get(realm)
                    .query(&[("service", service.as_str()), ("scope", scope)]);
                match login {
                    Some(RegistryLogin::Basic { username, password }) => {
                        request.basic_auth(username, password.expose_str())
                    }
                    _ => request,
                }
            }
        };
        let answer = self.send(request).await?;
        if !answer.status().is_success() || answer.content_length().is_some_and(|size| size > LARGEST_ANSWER)
        {
            return Ok(None);
        }
        let Ok(body) = answer.bytes().await else {
            return Ok(None);
        };
        let token = serde_json::from_slice::<Token>(&body).ok();
        Ok(token
            .and_then(|token| token.token.or(token.access_token))
            .map(Secret::from))
    }
}

fn error_is_tls(said: &str) -> bool {
    let lower = said.to_ascii_lowercase();
    [
        "certificate",
        "unknownissuer",
        "tls",
        "invalidcontenttype",
        "corrupt message",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

fn client(host: &str, access: &RegistryAccess, plain: bool) -> Result<Client, String> {
    // reqwest is built without a provider of its own; one that the program has chosen already stays.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = Client::builder()
        .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
        .timeout(ANSWER)
        .https_only(!plain)
        .redirect(redirect::Policy::none());
    let docker = Path::new(DOCKER_CERTIFICATES).join(host).join("ca.crt");
    for ca in std::fs::read(docker).ok().iter().chain(&access.ca) {
        let certificates = Certificate::from_pem_bundle(ca).map_err(|error| format!("ca.crt: {error}"))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| chain(&error))
}

/// A parameter of a challenge: `realm="https://…",service="…"`.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if key.trim_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_challenge_are_read() {
        let challenge = r#"realm="https://auth.example/token",service="r.example", scope="a:b,c:d""#;
        for (name, value) in [
            ("realm", Some("https://auth.example/token")),
            ("service", Some("r.example")),
            ("scope", Some("a:b,c:d")),
            ("error", None),
        ] {
            assert_eq!(parameter(challenge, name).as_deref(), value);
        }
    }
}
