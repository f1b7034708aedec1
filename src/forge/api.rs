//! Requests to the API of one forge: one origin for the credential, bounded answers, one rate limit, conditional
//! requests, and errors by their cause.

use std::borrow::Cow;

use async_trait::async_trait;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION};
use http::{Method, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use url::Url;

use super::call::{Body, Call, at};
use super::conditional::{self, Conditional};
use super::http::{HttpOptions, base_url, beneath, safe};
use super::pagination::{Collected, Cursor, PAGE_SIZE, Page, Paging, next, total};
use super::places::Places;
use super::rate_limit::RateLimit;
use super::{ForgeError, refusal};
use crate::redact::{Masker, SafeUrl, Secret};

/// How many redirects one request follows.
const MAX_REDIRECTS: usize = 5;
/// The most entries of one page that are read.
const MOST_ENTRIES: usize = 1000;
/// The largest list that is kept, in bytes as it was answered: one object of a namespace must not use up the memory of all.
const LARGEST_LIST: usize = 64 << 20;

/// The header that signs a request in.
#[derive(Clone)]
pub(super) struct Authorization {
    name: HeaderName,
    value: HeaderValue,
    masker: Masker,
}

impl Authorization {
    /// `Authorization: SCHEME TOKEN`.
    pub fn scheme(scheme: &str, token: &Secret) -> Result<Self, ForgeError> {
        let token = non_empty(token)?;
        let prefix = Secret::from(format!("{scheme} "));
        let value = [prefix.expose(), token.expose()].concat();
        Self::new(AUTHORIZATION, &value, &[token])
    }

    /// `Authorization: Basic`.
    pub fn basic(user: &str, password: &Secret) -> Result<Self, ForgeError> {
        use base64::Engine as _;
        let password = non_empty(password)?;
        let pair = Secret::pair(user, &password);
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
        let value = format!("Basic {encoded}");
        Self::new(AUTHORIZATION, value.as_bytes(), &[password, pair])
    }

    /// GitLab's own header.
    pub fn private_token(token: &Secret) -> Result<Self, ForgeError> {
        let token = non_empty(token)?;
        let value = token.clone();
        Self::new(HeaderName::from_static("private-token"), value.expose(), &[token])
    }

    fn new(name: HeaderName, value: &[u8], secrets: &[Secret]) -> Result<Self, ForgeError> {
        let mut value = HeaderValue::from_bytes(value).map_err(|_| ForgeError::Secret {
            message: "the token holds characters that no token has".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Self {
            name,
            value,
            masker: Masker::new(secrets),
        })
    }

    fn mask(&self, text: &str) -> String {
        self.masker.mask(text).into_owned()
    }

    /// An answer without the credential: a server, or a proxy before it, may repeat what it was sent.
    fn masked(&self, body: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(body) {
            Ok(text) => match self.masker.mask(&text) {
                Cow::Borrowed(_) => text.into_bytes(),
                Cow::Owned(masked) => masked.into_bytes(),
            },
            Err(error) => error.into_bytes(),
        }
    }
}

/// What signs requests in. A list may take longer than a credential is valid, so each page is signed in anew.
#[async_trait]
pub(super) trait SignIn: Sync {
    /// The header for a request now.
    async fn auth(&self) -> Result<Authorization, ForgeError>;
}

#[async_trait]
impl SignIn for Authorization {
    async fn auth(&self) -> Result<Authorization, ForgeError> {
        Ok(self.clone())
    }
}

/// The token without the white space around it.
fn non_empty(token: &Secret) -> Result<Secret, ForgeError> {
    let token = token.trimmed();
    if token.is_empty() {
        return Err(ForgeError::Secret {
            message: "the token is empty".to_owned(),
        });
    }
    Ok(token)
}

/// A successful answer.
pub(super) struct Reply<T> {
    /// Its body.
    pub body: T,
    /// Its headers.
    pub headers: HeaderMap,
    /// The length of the body, in bytes.
    pub size: usize,
}

/// The API of one forge.
pub(super) struct Api {
    kind: &'static str,
    base: Url,
    shown: SafeUrl,
    headers: HeaderMap,
    paging: Paging,
    client: Client,
    options: HttpOptions,
    limit: RateLimit,
    kept: Conditional,
    places: Places,
}

impl Api {
    /// The API at `url`, which messages show as `shown`. Connects to nothing yet.
    pub fn new(
        kind: &'static str,
        url: &str,
        shown: &Url,
        ca: Option<&[u8]>,
        options: &HttpOptions,
    ) -> Result<Self, ForgeError> {
        Ok(Self {
            kind,
            base: base_url(url, options.allow_loopback_http)?,
            shown: safe(shown)?,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            paging: Paging::Links,
            client: options.client(ca)?,
            options: options.clone(),
            limit: RateLimit::default(),
            kept: Conditional::default(),
            places: Places::default(),
        })
    }

    /// Sends this header with every request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets how lists go on.
    pub fn paging(mut self, paging: Paging) -> Self {
        self.paging = paging;
        self
    }

    /// The forge's address, for messages.
    pub fn shown(&self) -> &SafeUrl {
        &self.shown
    }

    /// Sends a request and reads its answer as JSON.
    pub async fn send<T: DeserializeOwned>(
        &self,
        call: &Call,
        auth: Option<&Authorization>,
    ) -> Result<Reply<T>, ForgeError> {
        let reply = self.raw(call, auth).await?;
        match serde_json::from_slice(&reply.body) {
            Ok(body) => Ok(Reply {
                body,
                headers: reply.headers,
                size: reply.size,
            }),
            Err(_) if refusal::is_page(&reply.headers) => {
                Err(self.not_recognised("a web page answers where its API should"))
            }
            Err(error) if error.is_data() => {
                Err(self.not_recognised(&refusal::words(&format!("its answer cannot be read: {error}"))))
            }
            Err(error) => Err(self.invalid(call.doing, format!("the answer is not valid JSON: {error}"))),
        }
    }

    /// One page of a list. An answer of `null` is an empty page.
    pub async fn page<T: DeserializeOwned>(
        &self,
        call: &Call,
        cursor: &Cursor,
        auth: &Authorization,
    ) -> Result<Page<T>, ForgeError> {
        self.sized_page(call, cursor, auth).await.map(|(page, _)| page)
    }

    /// One page of a list, and the size of the answer.
    async fn sized_page<T: DeserializeOwned>(
        &self,
        call: &Call,
        cursor: &Cursor,
        auth: &Authorization,
    ) -> Result<(Page<T>, usize), ForgeError> {
        let reply: Reply<Option<Vec<T>>> = self.send(&at(call, cursor), Some(auth)).await?;
        let items = reply.body.unwrap_or_default();
        self.is_page(call, items.len())?;
        let page = Page {
            next: next(cursor, &reply.headers, items.len(), self.paging),
            total: total(&reply.headers),
            items,
        };
        Ok((page, reply.size))
    }

    /// Fails if a page has far more entries than were asked for.
    pub fn is_page(&self, call: &Call, entries: usize) -> Result<(), ForgeError> {
        if entries <= MOST_ENTRIES {
            return Ok(());
        }
        let message = format!("a page of the list has {entries} entries, and {PAGE_SIZE} were asked for");
        Err(self.other(call.doing, &message))
    }

    /// Adds the size of a page to that of a list. Fails if the list is larger than is kept.
    pub fn add_size(&self, call: &Call, sum: &mut usize, size: usize) -> Result<(), ForgeError> {
        *sum = sum.saturating_add(size);
        if *sum <= LARGEST_LIST {
            return Ok(());
        }
        Err(self.other(
            call.doing,
            &format!("the list is larger than {LARGEST_LIST} bytes"),
        ))
    }

    /// The pages of a list from `first` on, at most `most_pages` of them.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        call: &Call,
        first: &Cursor,
        most_pages: u32,
        identity: &dyn SignIn,
    ) -> Result<Collected<T>, ForgeError> {
        let (mut all, mut sum) = (Collected::new(most_pages), 0);
        while all.wants_more() {
            let auth = identity.auth().await?;
            let (page, size) = self
                .sized_page(call, all.cursor().unwrap_or(first), &auth)
                .await?;
            self.add_size(call, &mut sum, size)?;
            all.add(page);
        }
        Ok(all)
    }

    /// Sends a request for something that may not exist.
    pub async fn find<T: DeserializeOwned>(
        &self,
        call: &Call,
        auth: &Authorization,
    ) -> Result<Option<T>, ForgeError> {
        match self.send(call, Some(auth)).await {
            Ok(found) => Ok(Some(found.body)),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request; the answer is a success.
    pub async fn raw(&self, call: &Call, auth: Option<&Authorization>) -> Result<Reply<Vec<u8>>, ForgeError> {
        let (status, reply) = self.exchange(call, auth).await?;
        if status.is_success() {
            return Ok(reply);
        }
        let refused = refusal::Refused {
            call,
            url: &self.shown,
            status,
            headers: &reply.headers,
            body: &reply.body,
        };
        let mask = |text: &str| auth.map_or_else(|| text.to_owned(), |auth| auth.mask(text));
        Err(refused.error(mask, Timestamp::now()))
    }

    /// Sends a request to remove something. What does not exist is removed.
    pub async fn gone(&self, call: &Call, auth: &Authorization) -> Result<(), ForgeError> {
        match self.raw(call, Some(auth)).await {
            Ok(_) | Err(ForgeError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request; the answer may have any status but that of a rate limit.
    pub async fn exchange(
        &self,
        call: &Call,
        auth: Option<&Authorization>,
    ) -> Result<(StatusCode, Reply<Vec<u8>>), ForgeError> {
        if let Some(until) = self.limit.paused(Timestamp::now()) {
            return Err(self.limited(until));
        }
        let _place = self.places.take(&call.path).await;
        let mut url = beneath(&self.base, &call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let credential = auth.map(|auth| auth.value.as_bytes()).unwrap_or_default();
        let key = (call.method == Method::GET).then(|| conditional::key(&url, credential));
        let kept = key.as_ref().and_then(|key| self.kept.get(key));
        let mut response = self.follow(call, auth, url, kept.as_ref()).await?;
        let status = response.status();
        let body = self.body(call, &mut response).await?;
        let body = match auth {
            Some(auth) => auth.masked(body),
            None => body,
        };
        let headers = std::mem::take(response.headers_mut());
        // A request without the credential has a budget of its own.
        let anonymous = RateLimit::default();
        let limit = if auth.is_some() { &self.limit } else { &anonymous };
        if let Some(until) = limit.observe(status, &headers, &body, Timestamp::now()) {
            return Err(self.limited(until));
        }
        if let Some(kept) = kept.filter(|_| status == StatusCode::NOT_MODIFIED) {
            let reply = Reply {
                size: kept.body.len(),
                body: kept.body,
                headers: kept.headers,
            };
            return Ok((StatusCode::OK, reply));
        }
        if let Some(key) = key.filter(|_| status.is_success()) {
            self.kept.put(key, &headers, &body);
        }
        let size = body.len();
        Ok((status, Reply { body, headers, size }))
    }

    /// The response, after redirects within the origin. A method that changes something is not repeated elsewhere.
    async fn follow(
        &self,
        call: &Call,
        auth: Option<&Authorization>,
        mut url: Url,
        kept: Option<&conditional::Kept>,
    ) -> Result<Response, ForgeError> {
        let masked =
            |text: &str| refusal::words(&auth.map_or_else(|| text.to_owned(), |auth| auth.mask(text)));
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .client
                .request(call.method.clone(), url.clone())
                .headers(self.headers.clone());
            if let Some(auth) = auth {
                request = request.header(auth.name.clone(), auth.value.clone());
            }
            if let Some(kept) = kept {
                request = request.header(IF_NONE_MATCH, kept.etag.clone());
            }
            request = match &call.body {
                Some(Body::Json(body)) => request.json(body),
                Some(Body::Form(pairs)) => {
                    let body = url::form_urlencoded::Serializer::new(String::new())
                        .extend_pairs(pairs)
                        .finish();
                    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                    request.header(http::header::CONTENT_TYPE, form).body(body)
                }
                None => request,
            };
            let response = request.send().await.map_err(|error| self.failed(call, error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let target = location.and_then(|location| url.join(location).ok());
            let Some(target) = target else {
                return Err(self.not_recognised("it redirects to nowhere"));
            };
            if target.origin() != self.base.origin() {
                return Err(ForgeError::Redirected {
                    doing: call.doing,
                    url: self.shown.clone(),
                    target: masked(&target.origin().ascii_serialization()),
                });
            }
            if call.method != Method::GET {
                return Err(self.other(call.doing, "it redirects a request that changes something"));
            }
            url = target;
        }
        Err(self.other(call.doing, &format!("more than {MAX_REDIRECTS} redirects")))
    }

    async fn body(&self, call: &Call, response: &mut Response) -> Result<Vec<u8>, ForgeError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(call, error))? {
            if body.len() + chunk.len() > self.options.largest_answer {
                let limit = self.options.largest_answer;
                return Err(self.other(call.doing, &format!("the answer is larger than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, call: &Call, error: reqwest::Error) -> ForgeError {
        refusal::without_answer(self.kind, call.doing, &self.shown, self.options.timeout, error)
    }

    fn limited(&self, until: Timestamp) -> ForgeError {
        ForgeError::RateLimited {
            url: self.shown.clone(),
            until,
        }
    }

    /// The server is not a forge of this kind.
    pub fn not_recognised(&self, message: &str) -> ForgeError {
        ForgeError::NotRecognised {
            kind: self.kind,
            url: self.shown.clone(),
            message: message.to_owned(),
        }
    }

    /// A repository does not exist or is hidden.
    pub fn not_found(&self, what: impl Into<String>) -> ForgeError {
        ForgeError::NotFound {
            what: what.into(),
            url: self.shown.clone(),
        }
    }

    /// The credential lacks a scope.
    pub fn scope_missing(&self, doing: &'static str, scope: impl Into<String>) -> ForgeError {
        ForgeError::Scope {
            doing,
            url: self.shown.clone(),
            scope: scope.into(),
        }
    }

    fn invalid(&self, doing: &'static str, message: String) -> ForgeError {
        ForgeError::InvalidResponse {
            doing,
            url: self.shown.clone(),
            message,
        }
    }

    /// Any other error.
    pub fn other(&self, doing: &'static str, message: &str) -> ForgeError {
        ForgeError::Other {
            doing,
            url: self.shown.clone(),
            message: message.to_owned(),
        }
    }
}
