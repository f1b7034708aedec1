//! Forges as test servers: they answer as the forges do, refuse what those refuse, and check each request by the forge's
//! published description.

pub mod bitbucket;
pub mod gitea;
pub mod github;
pub mod gitlab;
pub mod hooks;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use serde_json::{Value, json};

pub use crate::forge_contract::{COMMIT, MANY, branches, repositories};
use crate::forges::openapi::Description;

/// One request, with its path in decoded segments.
pub struct Asked {
    pub method: String,
    pub segments: Vec<String>,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body as a form.
    pub form: Vec<(String, String)>,
    /// The server's base URL.
    pub base: String,
}

impl Asked {
    pub fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    pub fn query(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    pub fn form(&self, key: &str) -> Option<&str> {
        let found = self.form.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    pub fn number(&self, key: &str, default: usize) -> usize {
        self.query(key).map_or(default, |value| value.parse().unwrap())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The user and password of `Authorization: Basic`.
    pub fn basic(&self) -> Option<(String, String)> {
        use base64::Engine as _;
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        let pair = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        let pair = String::from_utf8(pair).unwrap();
        let (user, password) = pair.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The entries of a page, and the number of the next one.
    pub fn page<T: Clone>(&self, all: &[T], size_key: &str, largest: usize) -> (Vec<T>, Option<usize>) {
        let size = self.number(size_key, 30).min(largest);
        let page = self.number("page", 1);
        let items: Vec<T> = all.iter().skip((page - 1) * size).take(size).cloned().collect();
        (items, (page * size < all.len()).then_some(page + 1))
    }

    /// `Link` to the next and the last page. The host in it is wrong, as behind a proxy.
    pub fn link(&self, next: Option<usize>, length: usize, size: usize) -> String {
        let url = |page: usize| {
            let mut pairs = self.query.clone();
            pairs.retain(|(key, _)| key != "page");
            pairs.push(("page".to_owned(), page.to_string()));
            let query = pairs.iter().map(|(key, value)| format!("{key}={value}"));
            format!("<http://wrong.invalid/x?{}>", query.collect::<Vec<_>>().join("&"))
        };
        let last = length.div_ceil(size).max(1);
        let mut links = vec![format!("{}; rel=\"last\"", url(last))];
        if let Some(next) = next {
            links.insert(0, format!("{}; rel=\"next\"", url(next)));
        }
        links.join(", ")
    }
}

/// One answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

impl Answer {
    pub fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    pub fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How a forge answers.
pub trait Service: Send + Sync + 'static {
    fn answer(&self, asked: &Asked) -> Answer;

    /// The request that another server answers: its URL, and the user and password for it.
    fn forward(&self, asked: &Asked) -> Option<(String, String, String)> {
        let _ = asked;
        None
    }
}

/// A request as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// Without those that a client sets by itself.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A running server; it ends with the test's runtime.
pub struct Server<S> {
    pub url: String,
    pub service: Arc<S>,
    requests: Arc<Mutex<Vec<String>>>,
    raw: Arc<Mutex<Vec<Raw>>>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl<S> Server<S> {
    /// `METHOD /path?query` of every request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Every request as it was sent.
    pub fn raw(&self) -> Vec<Raw> {
        self.raw.lock().unwrap().clone()
    }

    /// Every request was legal by the forge's description.
    pub fn assert_legal(&self) {
        let violations = self.violations.lock().unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

pub async fn serve<S: Service>(service: S, description: Option<Description>) -> Server<S> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server {
        url: url.clone(),
        service: Arc::new(service),
        requests: Arc::default(),
        raw: Arc::default(),
        violations: Arc::default(),
    };
    let (service, requests, raw, violations) = (
        Arc::clone(&server.service),
        Arc::clone(&server.requests),
        Arc::clone(&server.raw),
        Arc::clone(&server.violations),
    );
    let description = Arc::new(description);
    let router = Router::new().fallback(move |request: Request<Body>| {
        let (service, requests, raw, violations, description, base) = (
            Arc::clone(&service),
            Arc::clone(&requests),
            Arc::clone(&raw),
            Arc::clone(&violations),
            Arc::clone(&description),
            url.clone(),
        );
        async move {
            let (parts, body) = request.into_parts();
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            let path = parts.uri.path().to_owned();
            requests
                .lock()
                .unwrap()
                .push(format!("{} {}", parts.method, parts.uri));
            let sent = parts
                .headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length"))
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
            raw.lock().unwrap().push(Raw {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                headers: sent.collect(),
                body: bytes.to_vec(),
            });
            let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
            let segments = path.split('/').skip(1).map(|segment| {
                let segment = segment.replace('+', "%2B");
                let decoded = url::form_urlencoded::parse(segment.as_bytes()).next();
                decoded.map_or_else(String::new, |(text, _)| text.into_owned())
            });
            let asked = Asked {
                method: parts.method.to_string(),
                segments: segments.collect(),
                query: query.into_owned().collect(),
                headers: parts.headers,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                form: url::form_urlencoded::parse(&bytes).into_owned().collect(),
                base,
            };
            if let Some((url, user, password)) = service.forward(&asked) {
                return forwarded(&asked, &url, &user, &password, bytes.to_vec()).await;
            }
            if let Some(description) = description.as_ref() {
                let found = description.violations(&asked.method, &path, &asked.query, &asked.body);
                violations.lock().unwrap().extend(found);
            }
            let answer = service.answer(&asked);
            let body = match description.as_ref() {
                Some(description) => description.complete(&asked.method, &path, answer.status, answer.body),
                None => answer.body,
            };
            let mut response = Response::builder()
                .status(answer.status)
                .header("content-type", "application/json");
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body.to_string())).unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    server
}

/// The answer of another server.
async fn forwarded(asked: &Asked, url: &str, user: &str, password: &str, body: Vec<u8>) -> Response<Body> {
    let mut request = reqwest::Client::new()
        .request(asked.method.parse().unwrap(), url)
        .query(&asked.query)
        .basic_auth(user, Some(password))
        .body(body);
    for name in ["accept", "content-type", "content-encoding", "git-protocol"] {
        if let Some(value) = asked.header(name) {
            request = request.header(name, value);
        }
    }
    let found = request.send().await.unwrap();
    let mut response = Response::builder().status(found.status());
    for name in ["content-type", "www-authenticate"] {
        if let Some(value) = found.headers().get(name) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(found.bytes().await.unwrap())).unwrap()
}

/// The statuses that were reported of [`COMMIT`], by their context: the state as the forge has it.
#[derive(Default)]
pub struct Reported(Mutex<Vec<(String, String)>>);

impl Reported {
    /// Takes a status; a later one of the same context takes the place of the earlier.
    pub fn set(&self, context: &Value, state: &Value) {
        let (context, state) = (context.as_str().unwrap(), state.as_str().unwrap());
        let mut all = self.0.lock().unwrap();
        all.retain(|(known, _)| known != context);
        all.push((context.to_owned(), state.to_owned()));
    }

    /// All of them, after those of other programs.
    pub fn with(&self, others: &[(&str, &str)]) -> Vec<(String, String)> {
        let others = others
            .iter()
            .map(|(name, state)| ((*name).to_owned(), (*state).to_owned()));
        others.chain(self.0.lock().unwrap().iter().cloned()).collect()
    }
}

/// The answer to an unknown path.
pub fn not_found() -> Answer {
    Answer::new(404, json!({"message": "Not Found"}))
}
