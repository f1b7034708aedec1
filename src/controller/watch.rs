//! Triggers of reconciles: watches, jobs and runtime events become references to Applications and GitProviders.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{
    ALLOWED_HOSTS, AllowedFrom, Application, CLEARED, GitProvider, PULL_REQUESTS_AT, REQUESTED_AT,
    RESTARTED_AT, RESUME, Release,
};
use crate::error::chain;
use crate::model::AppId;
use crate::runtime::RuntimeEvent;
use crate::shares::Shares;

use super::context::Context;
use super::problem::{Error, caught};
use super::provider_use::{Uses, used_by};
use super::references::references;
use super::{application, dangling_release, gc, git_provider};

/// How many objects are worked on at once.
const CONCURRENCY: u16 = 32;
/// How many GitProviders of one namespace are worked on at once: their forges may not answer.
const OF_ONE_NAMESPACE: usize = 8;
/// Events that come closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// The pause after a pass that could not be finished.
const RETRY: Duration = Duration::from_secs(2);

/// The caches that passes read.
pub struct Stores {
    /// All Applications.
    pub applications: Store<Application>,
    /// All GitProviders.
    pub providers: Store<GitProvider>,
    /// Cancelled when all Applications, and all GitProviders, are in the caches. A task must not wait for the caches
    /// themselves: only the last one that waits is woken, and the controllers wait too.
    pub listed: [CancellationToken; 2],
    /// Takes the GitProviders whose credential a server has refused: they are checked at once.
    pub suspect: mpsc::UnboundedSender<ObjectRef<GitProvider>>,
    suspects: mpsc::UnboundedReceiver<ObjectRef<GitProvider>>,
    /// What else follows the watch of Applications.
    observers: Vec<Observer>,
    writers: (
        reflector::store::Writer<Application>,
        reflector::store::Writer<GitProvider>,
    ),
}

impl Stores {
    /// Empty caches; [`run`] fills them.
    pub fn new() -> Self {
        let (applications, application_writer) = reflector::store();
        let (providers, provider_writer) = reflector::store();
        let (suspect, suspects) = mpsc::unbounded_channel();
        Self {
            applications,
            providers,
            listed: Default::default(),
            suspect,
            suspects,
            observers: Vec::new(),
            writers: (application_writer, provider_writer),
        }
    }
}

/// Is called with each event of the watch of Applications, after the cache has taken it over.
pub type Observer = Box<dyn FnMut(&watcher::Event<Application>) + Send>;

impl Stores {
    /// Adds what follows the watch of Applications.
    pub fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }
}

impl Default for Stores {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs both loops until `stop`: then passes end, jobs are stopped, and nothing of them runs any more.
pub async fn run(
    ctx: Arc<Context>,
    stores: Stores,
    woken: mpsc::UnboundedReceiver<AppId>,
    stop: CancellationToken,
) {
    let (application_writer, provider_writer) = stores.writers;
    let client = ctx.client.clone();
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);

    let [applications_listed, providers_listed] = stores.listed.clone();
    let (used, uses) = mpsc::unbounded_channel();
    let mut observers = stores.observers;
    let mut known = Uses::default();
    observers.push(Box::new(move |event| {
        for provider in known.observe(event) {
            // The loop of the GitProviders ends with the process.
            let _ = used.send(provider);
        }
    }));
    let applications = objects(
        Api::<Application>::all(client.clone()),
        application_writer,
        applications_listed,
        move |event| observers.iter_mut().for_each(|observer| observer(event)),
    );
    let releases = changes(Api::<Release>::all(client.clone()), changed).inspect_ok({
        let ctx = ctx.clone();
        move |release: &Release| {
            if let Some(release) = without_application(&ctx, release) {
                tokio::spawn(dangling_release::release(ctx.clone(), release));
            }
        }
    });
    let loop_of_applications = Controller::for_stream(applications, stores.applications.clone())
        .with_config(config)
        .watches_stream(releases, |release: Release| {
            let namespace = release.namespace().unwrap_or_default();
            [ObjectRef::<Application>::new(&release.spec.application).within(&namespace)]
        })
        .watches_stream(data::<Secret>(client.clone()), {
            let (applications, providers) = (stores.applications.clone(), stores.providers.clone());
            move |object| {
                let through = git_provider::with_credential(&providers, &object);
                let mut all = dependents(&applications, &object, true);
                if !through.is_empty() {
                    all.extend(those(&applications, |app| {
                        used_by(app).is_some_and(|provider| through.contains(&provider))
                    }));
                }
                all
            }
        })
        .watches_stream(data::<ConfigMap>(client.clone()), {
            let all = stores.applications.clone();
            move |object| dependents(&all, &object, false)
        })
        .watches_stream(providers_seen(client.clone()), {
            let all = stores.applications.clone();
            move |provider: GitProvider| users_of(&all, &provider)
        })
        .watches_stream(labels_of_namespaces(client.clone()), {
            let (applications, providers, ctx) =
                (stores.applications.clone(), stores.providers.clone(), ctx.clone());
            move |namespace| selected(&ctx, &applications, &providers, &namespace)
        })
        .reconcile_on(wakes(ctx.clone(), woken))
        .graceful_shutdown_on(stopped(stop.clone()))
        .run(
            |app, ctx| whole(application::reconcile(app, ctx)),
            |_, error, ctx| retry(&ctx, error),
            ctx.clone(),
        )
        .for_each(|result| async move { log(result) });

    let all = Api::<GitProvider>::all(client.clone());
    let providers = objects(all, provider_writer, providers_listed, |_| {});
    // A reconcile waits for its forge, so there is no bound on all together.
    let places = Shares::of(OF_ONE_NAMESPACE);
    let loop_of_providers = Controller::for_stream(providers, stores.providers.clone())
        .with_config(Config::default().debounce(DEBOUNCE))
        .watches_stream(data::<Secret>(client.clone()), {
            let providers = stores.providers.clone();
            move |object| git_provider::users_of_secret(&providers, &object)
        })
        .reconcile_on(futures::stream::select(received(uses), received(stores.suspects)))
        .graceful_shutdown_on(stopped(stop.clone()))
        .run(
            move |provider: Arc<GitProvider>, ctx| {
                let place = places.get(&provider.namespace().unwrap_or_default());
                whole(async move {
                    let _place = place.acquire().await.ok();
                    git_provider::reconcile(provider, ctx).await
                })
            },
            |_, error, ctx| retry(&ctx, error),
            ctx.clone(),
        )
        .for_each(|result| async move { log(result) });

    let loops = async {
        futures::join!(loop_of_applications, loop_of_providers);
    };
    tokio::select! {
        () = loops => {}
        () = stopped_early(&stores.listed, &stop) => {}
    }
    ctx.previews.shutdown();
    ctx.jobs.shutdown().await;
}

/// Returns if `stop` is requested before both caches are filled. A controller starts no reconcile before that, and after
/// the request it would wait forever for its cache, because the watch that fills the cache has ended.
async fn stopped_early(listed: &[CancellationToken; 2], stop: &CancellationToken) {
    let filled = async {
        futures::join!(listed[0].cancelled(), listed[1].cancelled());
    };
    tokio::select! {
        biased;
        () = filled => std::future::pending().await,
        () = stop.cancelled() => {}
    }
}

/// A reconcile to its end.
async fn whole(reconcile: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    caught(reconcile).await.unwrap_or(Err(Error::Panic))
}

async fn stopped(stop: CancellationToken) {
    stop.cancelled().await;
}

fn retry(ctx: &Context, error: &Error) -> Action {
    ctx.metrics.reconcile_error();
    tracing::warn!(error = %chain(error), "a pass could not be finished");
    Action::requeue(RETRY)
}

fn log<T, E: std::error::Error + 'static>(result: Result<T, E>) {
    if let Err(error) = result {
        tracing::debug!(error = %chain(&error), "the loop met an error");
    }
}

/// Returns the Release if no Application reconcile will handle it: it has not ended and its Application is not in the cache.
fn without_application(ctx: &Context, release: &Release) -> Option<Release> {
    let namespace = release.namespace().unwrap_or_default();
    let app = ObjectRef::<Application>::new(&release.spec.application).within(&namespace);
    let ended = release
        .status
        .as_ref()
        .is_some_and(|status| status.phase.has_ended());
    let alone = release.owner_references().is_empty() && release.meta().deletion_timestamp.is_none();
    (alone && !ended && ctx.applications.get(&app).is_none()).then(|| release.clone())
}

/// What a cache need not hold.
fn strip<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object
        .annotations_mut()
        .remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// The objects of a kind, kept in a store; only changes that matter come through, our own writes of status do not.
fn objects<K>(
    api: Api<K>,
    writer: reflector::store::Writer<K>,
    listed: CancellationToken,
    mut observe: impl FnMut(&watcher::Event<K>) + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .reflect(writer)
        .inspect_ok(move |event| {
            observe(event);
            if matches!(event, watcher::Event::InitDone) {
                listed.cancel();
            }
        })
        .applied_objects()
        .predicate_filter(|object: &K| Some(changed(object)), PredicateConfig::default())
}

/// The objects of a kind whose `mark` is another one than before, and those that are gone.
fn changes<K>(
    api: Api<K>,
    mark: impl Fn(&K) -> u64 + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let mut known: HashMap<ObjectRef<K>, u64> = HashMap::new();
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let told = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    let mark = mark(&object);
                    let new = known.insert(ObjectRef::from_obj(&object), mark) != Some(mark);
                    new.then_some(Ok(object))
                }
                Ok(watcher::Event::Delete(object)) => {
                    known.remove(&ObjectRef::from_obj(&object));
                    Some(Ok(object))
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                Err(error) => Some(Err(error)),
            };
            futures::future::ready(told)
        })
}

/// What must change for an object to be looked at: its spec, its deletion, a request to look.
fn changed<K: Resource>(object: &K) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    meta.uid.hash(&mut hasher);
    for key in REQUESTED_AT
        .into_iter()
        .chain([RESUME, RESTARTED_AT, CLEARED, PULL_REQUESTS_AT])
    {
        object.annotations().get(key).hash(&mut hasher);
    }
    hasher.finish()
}

/// Secrets or ConfigMaps, by their metadata only: what they hold is read when it is needed and kept nowhere.
fn data<K>(
    client: Client,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    watcher(
        Api::<PartialObjectMeta<K>>::all(client),
        watcher::Config::default(),
    )
    .default_backoff()
    .modify(strip)
    .touched_objects()
}

fn dependents<K>(
    applications: &Store<Application>,
    object: &PartialObjectMeta<K>,
    secret: bool,
) -> Vec<ObjectRef<Application>> {
    let (namespace, name) = (
        object.metadata.namespace.as_deref(),
        object.metadata.name.as_deref().unwrap_or_default(),
    );
    let refers = |app: &Application| {
        let (secrets, maps) = references(&app.spec);
        app.metadata.namespace.as_deref() == namespace && if secret { secrets } else { maps }.contains(&name)
    };
    those(applications, refers)
}

/// The Applications in the cache of which `wanted` is true.
fn those(
    applications: &Store<Application>,
    wanted: impl Fn(&Application) -> bool,
) -> Vec<ObjectRef<Application>> {
    applications
        .state()
        .iter()
        .filter(|app| wanted(app))
        .map(|app| ObjectRef::from_obj(app.as_ref()))
        .collect()
}

/// GitProviders, each time that they change, Ready too: an Application may wait for it.
fn providers_seen(
    client: Client,
) -> impl Stream<Item = Result<GitProvider, watcher::Error>> + Send + 'static {
    changes(Api::<GitProvider>::all(client), |provider: &GitProvider| {
        let mut hasher = DefaultHasher::new();
        changed(provider).hash(&mut hasher);
        let conditions = provider.status.iter().flat_map(|status| &status.conditions);
        for condition in conditions.filter(|condition| condition.type_ == "Ready") {
            (&condition.status, &condition.reason).hash(&mut hasher);
        }
        hasher.finish()
    })
}

/// Namespaces, by their metadata only, each time that their labels or allowed hosts change: a GitProvider may allow them by
/// the former.
fn labels_of_namespaces(
    client: Client,
) -> impl Stream<Item = Result<PartialObjectMeta<Namespace>, watcher::Error>> + Send + 'static {
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    changes(api, |namespace: &PartialObjectMeta<Namespace>| {
        let mut hasher = DefaultHasher::new();
        namespace.labels().hash(&mut hasher);
        namespace.annotations().get(ALLOWED_HOSTS).hash(&mut hasher);
        hasher.finish()
    })
}

/// Returns the Applications of a namespace that its labels and annotations concern: those with routes, and those whose
/// GitProvider belongs to another namespace and has a selector.
fn selected(
    ctx: &Context,
    applications: &Store<Application>,
    providers: &Store<GitProvider>,
    namespace: &PartialObjectMeta<Namespace>,
) -> Vec<ObjectRef<Application>> {
    if let Some(routes) = &ctx.routes {
        routes.namespace_changed(&namespace.name_any());
    }
    let selects = |provider: &ObjectRef<GitProvider>| {
        let provider = providers.get(provider);
        provider.is_some_and(|provider| provider.spec.allowed_namespaces.from == AllowedFrom::Selector)
    };
    let here = |app: &Application| app.metadata.namespace == namespace.metadata.name;
    those(applications, |app| {
        let selected = || used_by(app).is_some_and(|provider| selects(&provider));
        here(app) && (!app.spec.routes.is_empty() || selected())
    })
}

fn users_of(applications: &Store<Application>, provider: &GitProvider) -> Vec<ObjectRef<Application>> {
    let this = ObjectRef::from_obj(provider);
    those(applications, |app| used_by(app).as_ref() == Some(&this))
}

/// Jobs and containers that changed. When the engine is there (again), everything is looked at and what has no owner is
/// swept.
fn wakes(
    ctx: Arc<Context>,
    woken: mpsc::UnboundedReceiver<AppId>,
) -> impl Stream<Item = ObjectRef<Application>> + Send + 'static {
    let jobs = received(woken).map(|app| vec![app]);
    let engine = ctx.runtime.events();
    let containers = engine.then(move |event| {
        let ctx = ctx.clone();
        async move {
            match event {
                RuntimeEvent::Changed(app) => vec![app.owner()],
                RuntimeEvent::Connected => {
                    tokio::spawn({
                        let ctx = ctx.clone();
                        async move { gc::sweep(&ctx).await }
                    });
                    all(&ctx.applications)
                }
                RuntimeEvent::Disconnected => all(&ctx.applications),
            }
        }
    });
    futures::stream::select(jobs, containers)
        .flat_map(futures::stream::iter)
        .map(|app| ObjectRef::<Application>::new(&app.name).within(&app.namespace))
}

fn received<T>(mut receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}

fn all(applications: &Store<Application>) -> Vec<AppId> {
    applications
        .state()
        .iter()
        .map(|app| AppId::new(app.namespace().unwrap_or_default(), app.name_any()))
        .collect()
}
