//! Receives deliveries of webhooks at `/webhooks/gitproviders/NAMESPACE/NAME` and `/webhooks/applications/NAMESPACE/NAME`:
//! verifies each over its raw body, and records it on the Applications that it concerns. A delivery only shortens the wait for
//! the next poll, so one that is lost, repeated or out of order leads to the same Release.

mod body;
mod index;
mod matching;
mod namespaces;
mod outcome;
mod recorder;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use self::body::Bodies;
pub use self::index::Index;
use self::index::Used;
use self::namespaces::Namespaces;
use self::outcome::{Journal, Outcome, Rejection};
use self::recorder::Recorder;
use self::secrets::{LIFETIME, RECHECK, Secrets};
use super::Limits;
use crate::api::{Application, Delivery, GitProvider, WebhookSecretRef};
use crate::forge::RepositoryPath;
use crate::forge::webhook::{self, Event, Refusal, Sender};
use crate::metrics::Metrics;
use crate::model::AppId;
use crate::redact::Secret;

/// How long a delivery waits for the caches after a start.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// The limits of the listener. Forges wait for ten seconds at most.
pub fn limits() -> Limits {
    Limits {
        connections: 512,
        // The receiver itself bounds bodies, so that it can count those that are too large.
        body_bytes: usize::MAX,
        request_time: Duration::from_secs(20),
        ..Limits::default()
    }
}

/// What the receiver reads.
#[derive(Clone)]
pub struct Sources {
    /// The API server.
    pub client: Client,
    /// All Applications.
    pub applications: Store<Application>,
    /// All GitProviders.
    pub providers: Store<GitProvider>,
    /// Cancelled when both caches are filled.
    pub listed: [CancellationToken; 2],
    /// The Applications by repository.
    pub index: Index,
}

struct Receiver {
    sources: Sources,
    secrets: Secrets,
    namespaces: Namespaces,
    recorder: Recorder,
    bodies: Bodies,
    journal: Journal,
}

/// The receiver, whose listener is open before there is anything to record deliveries with. Clones share it.
#[derive(Clone, Default)]
pub struct Door(Arc<OnceLock<Receiver>>);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

impl Door {
    /// Receives deliveries from now on.
    pub fn open(&self, sources: Sources, metrics: Metrics) {
        self.0.get_or_init(|| Receiver {
            secrets: Secrets::new(sources.client.clone()),
            namespaces: Namespaces::new(sources.client.clone()),
            recorder: Recorder::new(sources.client.clone()),
            bodies: Bodies::default(),
            journal: Journal::new(metrics),
            sources,
        });
    }

    /// Returns the router of the receiver.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/webhooks/gitproviders/{namespace}/{name}", post(to_provider))
            .route("/webhooks/applications/{namespace}/{name}", post(to_application))
            .with_state(self.clone())
    }
}

type Name = Path<(String, String)>;

async fn to_provider(
    State(door): State<Door>,
    Path((namespace, name)): Name,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(receiver) = door.0.get() else {
        return outcome::starting();
    };
    let result = receiver.provider(&namespace, &name, &headers, body).await;
    let about = || format!("GitProvider {namespace}/{name}");
    receiver.journal.answer(Sender::of(&headers), about, result)
}

async fn to_application(
    State(door): State<Door>,
    Path((namespace, name)): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(receiver) = door.0.get() else {
        return outcome::starting();
    };
    let result = receiver
        .application(&namespace, &name, query.as_deref(), &headers, body)
        .await;
    let about = || format!("Application {namespace}/{name}");
    receiver.journal.answer(Sender::of(&headers), about, result)
}

impl Receiver {
    async fn provider(
        &self,
        namespace: &str,
        name: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Outcome, Rejection> {
        self.caches().await?;
        let reference = ObjectRef::<GitProvider>::new(name).within(namespace);
        let provider = self.sources.providers.get(&reference).ok_or(Rejection::Unknown)?;
        let (Some(kind), Some(hook)) = (provider.spec.kind(), provider.spec.webhook.as_ref()) else {
            return Err(Rejection::Unknown);
        };
        let sender = Sender::of(headers);
        if !sender.belongs_to(kind) {
            return Err(Rejection::Foreign);
        }
        let body = self
            .verified(namespace, &hook.secret_ref, None, headers, body)
            .await?;
        if sender.is_ping(headers) {
            return Ok(Outcome::Pinged);
        }
        let id = sender.delivery_id(headers);
        let (mut concerned, mut repeated) = (BTreeMap::new(), false);
        let mut previewed = BTreeSet::new();
        for event in webhook::parse(sender, headers, &body)? {
            if let Event::PullRequest { repository, id } = &event {
                let users = self.users(&provider, repository, id.as_deref()).await?;
                previewed.extend(users.into_iter().filter(|user| self.has_previews(user)));
            }
            let Event::Push(push) = event else { continue };
            for user in self
                .users(&provider, &push.repository, push.id.as_deref())
                .await?
            {
                let app = ObjectRef::<Application>::new(&user.name).within(&user.namespace);
                let app = self.sources.applications.get(&app);
                let Some(app) = app else { continue };
                match matching::push_to_provider(&app, &push, id.as_deref()) {
                    Some(delivery) if matching::is_repeated(&app, &delivery) => repeated = true,
                    Some(delivery) => drop(concerned.insert(user, delivery)),
                    None => {}
                }
            }
        }
        if !previewed.is_empty() {
            let writes = previewed.iter().map(|app| self.recorder.record_pull_request(app));
            for result in futures::future::join_all(writes).await {
                result.map_err(Rejection::Unavailable)?;
            }
            return Ok(Outcome::Recorded(previewed.len()));
        }
        self.record(concerned, repeated).await
    }

    fn has_previews(&self, app: &AppId) -> bool {
        let app = ObjectRef::<Application>::new(&app.name).within(&app.namespace);
        let app = self.sources.applications.get(&app);
        app.is_some_and(|app| {
            app.spec
                .previews
                .as_ref()
                .is_some_and(|previews| previews.enabled)
        })
    }

    async fn application(
        &self,
        namespace: &str,
        name: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Outcome, Rejection> {
        self.caches().await?;
        let reference = ObjectRef::<Application>::new(name).within(namespace);
        let app = self
            .sources
            .applications
            .get(&reference)
            .ok_or(Rejection::Unknown)?;
        let trigger = app.spec.trigger.as_ref();
        let hook = trigger.and_then(|trigger| trigger.webhook.as_ref());
        let secret = &hook.ok_or(Rejection::Unknown)?.secret_ref;
        let sender = Sender::of(headers);
        let token = query.filter(|_| sender == Sender::Other).and_then(token);
        let body = self.verified(namespace, secret, token, headers, body).await?;
        if sender.is_ping(headers) {
            return Ok(Outcome::Pinged);
        }
        let id = sender.delivery_id(headers);
        let events = webhook::parse(sender, headers, &body)?;
        let found = events
            .iter()
            .filter_map(|event| matching::own(&app, event, id.as_deref()));
        let (repeated, new): (Vec<_>, Vec<_>) =
            found.partition(|delivery| matching::is_repeated(&app, delivery));
        let id = AppId::new(namespace, name);
        let new = new.into_iter().map(|delivery| (id.clone(), delivery));
        self.record(new.collect(), !repeated.is_empty()).await
    }

    /// Waits until the caches are filled.
    async fn caches(&self) -> Result<(), Rejection> {
        let [applications, providers] = &self.sources.listed;
        let filled = async {
            tokio::join!(applications.cancelled(), providers.cancelled());
        };
        let filled = tokio::time::timeout(START_PATIENCE, filled).await;
        filled.map_err(|_| Rejection::Starting)
    }

    /// Reads the body, and checks its signature or the token. A value that does not fit is read again from the API server: it may
    /// have been changed.
    async fn verified(
        &self,
        namespace: &str,
        reference: &WebhookSecretRef,
        token: Option<Secret>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes, Rejection> {
        let sender = Sender::of(headers);
        if token.is_none() && !webhook::is_signed(sender, headers) {
            return Err(Refusal::Unsigned.into());
        }
        let body = self
            .bodies
            .read(headers.get(header::CONTENT_LENGTH), body)
            .await?;
        let mut result = Err(Refusal::NoSecret);
        for age in [LIFETIME, RECHECK] {
            let secret = self.secrets.get(namespace, reference, age).await;
            let secret = secret.map_err(|error| Rejection::Unavailable(crate::error::chain(&error)))?;
            let secrets: Vec<_> = secret.into_iter().collect();
            result = match token.as_ref().and_then(Secret::expose_str) {
                Some(token) => webhook::verify_token(token, &secrets),
                None => webhook::verify(sender, headers, &body.bytes, &secrets, Timestamp::now()),
            };
            if !matches!(result, Err(Refusal::NoSecret | Refusal::WrongSignature)) {
                break;
            }
        }
        result?;
        Ok(body.bytes)
    }

    /// The Applications that use a repository, by its path or its number, in the namespaces that the GitProvider allows.
    async fn users(
        &self,
        provider: &GitProvider,
        repository: &RepositoryPath,
        id: Option<&str>,
    ) -> Result<Vec<AppId>, Rejection> {
        let (namespace, name) = (provider.namespace().unwrap_or_default(), provider.name_any());
        let used = |repository: &str| Used::new(&namespace, &name, repository);
        let by_name = self.sources.index.users(&used(&repository.to_string()));
        let by_id = id.map(|id| {
            self.sources
                .index
                .users_by_id(&used(id), &used(&repository.to_string()))
        });
        let found = by_name.into_iter().chain(by_id.into_iter().flatten());
        let found: BTreeSet<AppId> = found.collect();
        let mut allowed = Vec::new();
        for user in found {
            let is_allowed = self.namespaces.allows(provider, &user.namespace).await;
            if is_allowed.map_err(|error| Rejection::Unavailable(crate::error::chain(&error)))? {
                allowed.push(user);
            }
        }
        Ok(allowed)
    }

    /// Records what concerns Applications, all at once. `repeated` is true if something was left out that is recorded already.
    async fn record(
        &self,
        concerned: BTreeMap<AppId, Delivery>,
        repeated: bool,
    ) -> Result<Outcome, Rejection> {
        let number = concerned.len();
        let writes = concerned
            .into_iter()
            .map(|(app, delivery)| async move { self.recorder.record(&app, delivery).await });
        for result in futures::future::join_all(writes).await {
            result.map_err(Rejection::Unavailable)?;
        }
        Ok(match number {
            0 if repeated => Outcome::Repeated,
            0 => Outcome::Ignored,
            number => Outcome::Recorded(number),
        })
    }
}

/// The value of `token` in a query.
fn token(query: &str) -> Option<Secret> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, value) = pairs.find(|(key, _)| key == "token")?;
    Some(Secret::from(value.into_owned()))
}
