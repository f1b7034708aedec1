//! A controller on an API server, an engine and a builder in memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use davit::api::{Application, Release};
use davit::app::Monitoring;
use davit::builder::fake::FakeBuilder;
use davit::config::Config;
use davit::controller::tools::Tools;
use davit::forge::fake::FakeForge;
use davit::forge::{Forges, HttpOptions};
use davit::http::webhook::Door;
use davit::metrics::Metrics;
use davit::model::AppId;
use davit::redact::Secret;
use davit::runtime::fake::FakeRuntime;
use davit::source::archive::Limits;
use davit::source::uploads::Uploads;
use davit::source::{Git, GitOptions};
use davit::subresources::{self, Subresources};
use davit_apiserver::{ApiServer, Identity, Options};
use futures::future::BoxFuture;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::common::git_repo::GitRepo;
use crate::common::{sorted_by_number, unique};

/// The namespace of all objects.
pub const NAMESPACE: &str = "default";

/// A Dockerfile whose containers are healthy unless a test scripts otherwise.
pub const GOOD: &str = "FROM scratch\n";

/// A Dockerfile of the commit after.
pub const NEXT: &str = "FROM scratch\nENV NEXT=1\n";

/// The deadline of every wait in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A controller that runs, and everything around it.
pub struct Harness {
    pub client: Client,
    pub runtime: FakeRuntime,
    pub builder: FakeBuilder,
    pub metrics: Metrics,
    subresources: Subresources,
    /// The receiver of webhooks of the controller that runs.
    pub webhooks: Door,
    config: Config,
    /// What every GitProvider connects to, if not to the server of its spec.
    forge: Option<FakeForge>,
    server: ApiServer,
    _dir: tempfile::TempDir,
    runs: Option<Running>,
}

/// A controller that runs, in a Tokio runtime of its own so that [`Harness::kill`] ends all of its tasks.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
    connection: Connection,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runtime.take().expect("it runs").shutdown_background();
    }
}

impl Harness {
    /// Starts one that builds two things at once.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts one whose GitProviders all connect to this forge.
    pub async fn with_forge(forge: &FakeForge) -> Self {
        Self::start_with(Some(forge.clone())).await
    }

    async fn start_with(forge: Option<FakeForge>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::open(Options::default()).await.unwrap();
        let definitions: Vec<Value> = davit::api::crds()
            .into_iter()
            .map(|crd| serde_json::to_value(crd).unwrap())
            .collect();
        server.install_crds(&definitions).await.unwrap();
        let subresources = Subresources::default();
        server
            .mount(subresources::GROUP, subresources::VERSION, subresources.router())
            .await
            .unwrap();
        let client = Client::new(server.router_as(Identity::trusted("system:davit")), "default");
        let mut started = Self {
            subresources,
            client,
            runtime: FakeRuntime::default(),
            builder: FakeBuilder::default(),
            metrics: Metrics::default(),
            webhooks: Door::default(),
            config: Config {
                data_dir: dir.path().to_owned(),
                listen: None,
                health_listen: None,
                webhook_listen: Some(([127, 0, 0, 1], 0).into()),
                public_url: Some("https://davit.example.com".to_owned()),
                instance: "loop".to_owned(),
                key: Secret::from("the key of all digests"),
                docker_host: None,
                runtime: davit::cli::RuntimeKind::Docker,
                max_builds: 2,
                max_previews: 20,
                git_cache: 1 << 30,
                max_uploads: 1 << 30,
                registry: None,
                registry_config: None,
                insecure_registries: Vec::new(),
                build_cache: None,
                buildkit_host: None,
                buildkit_tls: None,
                proxy: davit::cli::proxy_args::Proxy::default(),
                railpack: None,
                nixpacks: None,
                allow_local_sources: true,
                metrics_per_application: false,
                https_proxy: None,
                no_proxy: String::new(),
            },
            forge,
            server,
            _dir: dir,
            runs: None,
        };
        started.start_controller();
        started
    }

    /// Starts one that writes routes for a reverse proxy.
    pub async fn start_with_routes() -> Self {
        Self::start_with_traefik(None).await
    }

    /// Starts one whose proxy has an API at this address.
    pub async fn start_with_traefik(api: Option<String>) -> Self {
        let mut davit = Self::start().await;
        davit.config.proxy.traefik_api = api.map(|authority| davit::cli::proxy_args::Api {
            authority,
            login: None,
        });
        davit.stop_controller().await;
        let directory = davit.routes_directory();
        std::fs::create_dir(&directory).unwrap();
        davit.config.proxy.traefik_config = Some(directory);
        davit.start_controller();
        davit
    }

    /// The directory of the routes.
    pub fn routes_directory(&self) -> std::path::PathBuf {
        self.config.data_dir.join("routes")
    }

    /// Starts one whose Application `shop` is done, built from the repository.
    pub async fn with_shop() -> (Self, GitRepo) {
        let (davit, repo) = (Self::start().await, repo(GOOD));
        davit.apply("shop", json!({"source": source(&repo)})).await;
        davit.wait_until_done("shop").await;
        (davit, repo)
    }

    /// Commits the next Dockerfile of `shop`, and waits until it is being built; that goes on when the builder may.
    pub async fn build_next(&self, repo: &GitRepo) {
        self.builder.hold();
        repo.commit("Next", &[("Dockerfile", NEXT)]);
        self.request_reconcile("shop").await;
        self.wait_for_phase("shop-2", "Building").await;
    }

    /// Asks for what `shop` runs once more, as the Release `again`, and cancels it as it is being built.
    pub async fn cancel_redeploy(&self) {
        self.builder.hold();
        self.create_release("again", json!({"application": "shop", "type": "Redeploy"}))
            .await;
        self.wait_for_phase("again", "Building").await;
        self.cancel_release("again").await;
        self.wait_for_phase("again", "Cancelled").await;
        self.builder.go_on();
    }

    /// Starts the controller (again).
    pub fn start_controller(&mut self) {
        let options = GitOptions {
            allow_file: true,
            ..GitOptions::new(self.config.data_dir.join("git"), env!("CARGO_BIN_EXE_davit"))
        };
        let work_dir = self.config.data_dir.join("work");
        std::fs::create_dir_all(&work_dir).unwrap();
        let uploads = self.config.data_dir.join("uploads");
        let mut http = HttpOptions::default();
        http.allow_loopback_http = true;
        let tools = Tools {
            uploads: Uploads::new(uploads, Limits::default()),
            forges: self
                .forge
                .clone()
                .map_or_else(|| Forges::new(http), Forges::with_fake),
            git: Arc::new(Git::new(options).unwrap()),
            builder: Arc::new(self.builder.clone()),
            cache: davit::controller::build_cache::BuildCache::new(
                self.config.build_cache,
                self.metrics.clone(),
            ),
            docker: None,
            registries: None,
            work_dir,
        };
        let stop = CancellationToken::new();
        let config = self.config.clone();
        let mut monitoring = Monitoring::from(self.metrics.clone());
        monitoring.subresources = self.subresources.clone();
        self.webhooks = monitoring.webhooks.clone();
        let (containers, told) = (Arc::new(self.runtime.clone()), stop.clone());
        let connection = Connection::new(self.server.router_as(Identity::trusted("system:davit")));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let task = runtime.spawn({
            let connection = connection.clone();
            async move {
                let client = Client::new(connection, "default");
                let routing = davit::app::routing(&config, None).unwrap();
                davit::app::controller_loop(
                    &config, "", client, told, monitoring, containers, tools, routing,
                )
                .await;
            }
        });
        self.runs = Some(Running {
            stop,
            task,
            connection,
            runtime: Some(runtime),
        });
    }

    /// The API as this user sees it.
    pub fn router_as(&self, identity: Identity) -> axum::Router {
        self.server.router_as(identity)
    }

    /// Lets the controller write `writes` times from now on; then none of its requests is answered any more.
    pub fn cut_off_after(&self, writes: i64) {
        let running = self.runs.as_ref().expect("it runs");
        running.connection.left.store(writes, Ordering::SeqCst);
    }

    /// Whether the writes given to [`Harness::cut_off_after`] are used up.
    pub fn is_cut_off(&self) -> bool {
        let running = self.runs.as_ref().expect("it runs");
        running.connection.left.load(Ordering::SeqCst) <= 0
    }

    /// Ends the controller at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.runs.take().expect("it runs");
    }

    /// Stops the controller, as SIGTERM does, and waits for its end.
    pub async fn stop_controller(&mut self) {
        let mut running = self.runs.take().expect("it runs");
        running.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut running.task)
            .await
            .expect("the controller stops")
            .unwrap();
    }

    /// Objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates an object.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates an Application.
    pub async fn apply(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": name}, "spec": spec});
        self.create::<Application>(object).await;
    }

    /// Creates a Release, as a user does.
    pub async fn create_release(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": name}, "spec": spec});
        self.create::<Release>(object).await;
    }

    /// Changes an Application by a merge patch.
    pub async fn patch(&self, name: &str, patch: Value) {
        self.api::<Application>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Makes the Secret `db` say this `url`, whether it is there or not.
    pub async fn set_database_secret(&self, url: &str) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"url": url}});
        let params = PatchParams::apply("tests").force();
        self.api::<k8s_openapi::api::core::v1::Secret>()
            .patch("db", &params, &Patch::Apply(secret))
            .await
            .unwrap();
    }

    /// Cancels a Release.
    pub async fn cancel_release(&self, release: &str) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        self.api::<Release>()
            .patch(release, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Requests a reconcile, by the annotation `davit.dev/requestedAt`.
    pub async fn request_reconcile(&self, name: &str) {
        let patch = json!({"metadata": {"annotations": {"davit.dev/requestedAt": unique("now")}}});
        self.patch(name, patch).await;
    }

    /// Deletes an Application.
    pub async fn delete(&self, name: &str) {
        let params = DeleteParams::default();
        self.api::<Application>().delete(name, &params).await.unwrap();
    }

    /// The Application; null if it does not exist.
    pub async fn application(&self, name: &str) -> Value {
        let found = self.api::<Application>().get_opt(name).await.unwrap();
        found.map_or(Value::Null, |app| serde_json::to_value(app).unwrap())
    }

    /// Its Releases in order.
    pub async fn releases(&self, name: &str) -> Vec<Value> {
        let own = ListParams::default().fields(&format!("spec.application={name}"));
        let list = self.api::<Release>().list(&own).await.unwrap();
        sorted_by_number(list.items)
    }

    /// `name: phase` of its Releases in order.
    pub async fn release_phases(&self, name: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.releases(name).await;
        all.iter()
            .map(|release| {
                format!(
                    "{}: {}",
                    text(&release["metadata"]["name"]),
                    text(&release["status"]["phase"])
                )
            })
            .collect()
    }

    /// Waits until `wanted` holds for the Application. It polls, because `wanted` may also read the fakes, which no watch reports.
    pub async fn wait_until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let app = self.application(name).await;
            if wanted(&app) {
                return app;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {name} to be {what}: {:#}\nreleases: {:#?}",
                app["status"],
                self.releases(name).await
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "waited in vain to be {what}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits until the newest generation is done.
    pub async fn wait_until_done(&self, name: &str) -> Value {
        self.wait_until(name, "done", |app| {
            app["status"]["phase"] == "done"
                && app["status"]["observedGeneration"] == app["metadata"]["generation"]
        })
        .await
    }

    /// Waits until `wanted` holds for the Release.
    pub async fn wait_for_release(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.api::<Release>().get_opt(name).await.unwrap();
            let release = found.map_or(Value::Null, |release| serde_json::to_value(release).unwrap());
            if wanted(&release) {
                return release;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {name} to be {what}: {:#}",
                release["status"]
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits until a Release is in this phase.
    pub async fn wait_for_phase(&self, release: &str, phase: &str) -> Value {
        self.wait_for_release(release, phase, |release| release["status"]["phase"] == phase)
            .await
    }

    /// Waits until no reconcile has run for 300 ms.
    pub async fn wait_until_idle(&self) {
        let end = Instant::now() + PATIENCE;
        let mut seen = (self.reconciles(), Instant::now());
        while seen.1.elapsed() < Duration::from_millis(300) {
            assert!(Instant::now() < end, "it goes on and on");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let passes = self.reconciles();
            if passes != seen.0 || self.metrics.running("Application") > 0 {
                seen = (passes, Instant::now());
            }
        }
    }

    /// The images of its containers, sorted.
    pub fn images(&self, name: &str) -> Vec<String> {
        let all = self.runtime.containers(&id(name)).into_iter();
        let mut all: Vec<String> = all.map(|one| one.deployment.spec.image).collect();
        all.sort();
        all
    }

    /// Whether anything is left of the logs of the namespace.
    pub fn has_logs(&self) -> bool {
        self.config.data_dir.join("logs").join(NAMESPACE).exists()
    }

    /// What the log of a Release holds.
    pub fn log(&self, release: &str) -> String {
        let namespaces = self.config.data_dir.join("logs").join(NAMESPACE);
        let apps = std::fs::read_dir(namespaces).unwrap();
        let mut found = apps.map(|app| app.unwrap().path().join(format!("{release}.log")));
        let log = found.find(|path| path.exists()).expect("it has a log");
        std::fs::read_to_string(log).unwrap()
    }

    /// The number of reconciles of Applications so far.
    pub fn reconciles(&self) -> u64 {
        self.metrics.passes("Application")
    }

    /// The number of status writes so far.
    pub fn status_writes(&self) -> u64 {
        self.metrics.writes("Application") + self.metrics.writes("Release")
    }
}

/// The controller's way to the API server, which a test can cut off after a number of writes.
#[derive(Clone)]
struct Connection {
    server: axum::Router,
    left: Arc<AtomicI64>,
}

impl Connection {
    fn new(server: axum::Router) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MAX));
        Self { server, left }
    }
}

impl Service<http::Request<kube::client::Body>> for Connection {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        let (mut server, left) = (self.server.clone(), self.left.clone());
        // Events are no part of the state that a restart goes on from.
        let counts = request.method() != http::Method::GET && !request.uri().path().ends_with("/events");
        Box::pin(async move {
            if left.load(Ordering::SeqCst) <= 0 {
                return std::future::pending().await;
            }
            let response = server.call(request.map(axum::body::Body::new)).await;
            if counts && left.fetch_sub(1, Ordering::SeqCst) <= 1 {
                return std::future::pending().await;
            }
            response
        })
    }
}

/// An Application's id.
pub fn id(name: &str) -> AppId {
    AppId::new(NAMESPACE, name)
}

/// A repository with this Dockerfile.
pub fn repo(dockerfile: &str) -> GitRepo {
    GitRepo::with(&[("Dockerfile", dockerfile)])
}

/// The source of an Application.
pub fn source(repo: &GitRepo) -> Value {
    json!({"git": {"url": repo.url(), "ref": {"branch": "main"}}})
}

/// An environment that has the `url` of the Secret `db`.
pub fn url_of_db() -> Value {
    json!([{"name": "URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}])
}

/// A condition of an object; null if it is missing.
pub fn condition(object: &Value, kind: &str) -> Value {
    crate::common::davit::condition(object, kind)
}
