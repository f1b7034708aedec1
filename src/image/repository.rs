//! The API of OCI registries: one connection for one image, with the credential that the registry's challenge asks for.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, LOCATION, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect};
use serde::Deserialize;
use url::Url;

use super::login::registry_name;
use super::name::ImageName;
use super::push::{PushError, classify};
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

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// The registries that are reached over plain HTTP, as host or host:port.
    pub plain_http: Vec<String>,
}

/// The repository of an image at its registry.
pub struct Repository<'a> {
    /// The image, for messages.
    image: &'a str,
    /// The name of the image.
    pub name: ImageName,
    /// The host, as images are named by it.
    pub host: String,
    base: String,
    client: Client,
    login: Option<&'a RegistryLogin>,
    secure: bool,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Repository<'a> {
    /// Prepares requests; `ca` is trusted besides the authorities of the system.
    ///
    /// # Errors
    /// The CA is invalid: the sentence that says so.
    pub fn new(
        image: &'a str,
        name: ImageName,
        login: Option<&'a RegistryLogin>,
        ca: Option<&[u8]>,
        options: &RegistryOptions,
    ) -> Result<Self, String> {
        let host = registry_name(name.registry());
        let plain = options.plain_http.contains(&host);
        let scheme = if plain { "http" } else { "https" };
        let api = if host == "docker.io" { HUB_API } else { &host };
        Ok(Self {
            base: format!("{scheme}://{api}/v2/{}", name.repository()),
            client: client(&host, ca, plain)?,
            image,
            name,
            host,
            login,
            secure: !plain,
        })
    }

    /// Sends a request for `path` beneath the repository, with a credential if the registry asks for one. `actions` are those of
    /// the token, such as `pull`. The answer to a request without a fitting credential is that of the registry.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn send(
        &self,
        method: &Method,
        path: &str,
        accept: &str,
        actions: &str,
    ) -> Result<Response, PushError> {
        let url = format!("{}/{path}", self.base);
        let request = || {
            let request = self.client.request(method.clone(), &url);
            if accept.is_empty() {
                request
            } else {
                request.header(ACCEPT, accept)
            }
        };
        let answer = self.answer(request()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenge = answer.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let scope = format!("repository:{}:{actions}", self.name.repository());
        match self.authorized(request(), challenge, &scope).await? {
            Some(request) => self.answer(request).await,
            None => Ok(answer),
        }
    }

    /// Reads a manifest or a blob of at most `limit` bytes. A blob may be on another server, which gets no credential.
    ///
    /// # Errors
    /// The registry does not answer, refuses, or sends more.
    pub async fn read(&self, path: &str, accept: &str, limit: usize) -> Result<Vec<u8>, PushError> {
        let mut answer = self.send(&Method::GET, path, accept, "pull").await?;
        if answer.status().is_redirection() {
            let place = answer
                .headers()
                .get(LOCATION)
                .and_then(|place| place.to_str().ok());
            let place = place.and_then(|place| Url::parse(place).ok());
            let place =
                place.ok_or_else(|| self.refused(0, "the registry redirects to an invalid address"))?;
            answer = self.answer(self.client.get(place)).await?;
        }
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(status.as_u16(), &format!("received HTTP status {status}")));
        }
        let mut body = Vec::new();
        loop {
            let piece = answer.chunk().await;
            let Some(piece) = piece.map_err(|error| self.lost(error))? else {
                return Ok(body);
            };
            body.extend_from_slice(&piece);
            if body.len() > limit {
                return Err(self.refused(0, &format!("{path} is larger than {limit} bytes")));
            }
        }
    }

    /// The error of an answer.
    pub fn refused(&self, status: u16, said: &str) -> PushError {
        classify(self.image, status, said)
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, PushError> {
        request.send().await.map_err(|error| self.lost(error))
    }

    fn lost(&self, error: reqwest::Error) -> PushError {
        let said = self.masked(&chain(&error.without_url()));
        if error_is_tls(&said) {
            return classify(self.image, 0, &format!("certificate: {said}"));
        }
        PushError::Unreachable {
            image: self.image.to_owned(),
            said,
        }
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
        let answer = self.answer(request).await?;
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

fn client(host: &str, ca: Option<&[u8]>, plain: bool) -> Result<Client, String> {
    // reqwest is built without a provider of its own; one that the program has chosen already stays.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = Client::builder()
        .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
        .timeout(ANSWER)
        .https_only(!plain)
        .redirect(redirect::Policy::none());
    let docker = Path::new(DOCKER_CERTIFICATES).join(host).join("ca.crt");
    let docker = std::fs::read(docker).ok();
    for ca in docker.as_deref().into_iter().chain(ca) {
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
