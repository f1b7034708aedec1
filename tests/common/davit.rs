//! The harness for `davit up`: the program with its own data directory and instance name, and kube's client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use davit::api::{Application, GitProvider, Release};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use davit_test_support::docker::docker;
use davit_test_support::engine::Engine;
use davit_test_support::{run, try_run, unique, wait_for};

/// The field manager of the tests.
const MANAGER: &str = "test";

/// The label by which everything that this Davit made in the engine can be found.
const INSTANCE_LABEL: &str = "dev.davit.instance";

/// Among the flags, the absence of `--allow-local-sources`.
const REMOTE_SOURCES_ONLY: &str = "(without --allow-local-sources)";

/// A running `davit up` with a namespace for the test.
pub struct Davit {
    /// Its instance name.
    pub instance: String,
    /// The namespace of the test's objects.
    pub namespace: String,
    dir: TempDir,
    data: PathBuf,
    child: Option<Child>,
    flags: Vec<String>,
    /// Where it listens when it is started again; a free port if `None`.
    address: Option<String>,
    engine: Option<String>,
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
}

impl Davit {
    /// Starts Davit and waits until it is ready.
    pub fn up(test: &str) -> Self {
        Self::with_flags(test, &[])
    }

    /// Starts Davit without `--allow-local-sources`.
    pub fn without_local_sources(test: &str) -> Self {
        Self::with_flags(test, &[REMOTE_SOURCES_ONLY])
    }

    /// Starts Davit with further flags.
    pub fn with_flags(test: &str, flags: &[&str]) -> Self {
        Self::new(test, flags, None, None)
    }

    /// Starts Davit with this engine in place of the machine's.
    pub fn on_engine(test: &str, engine: &Engine) -> Self {
        Self::new(
            test,
            &["--docker-host", &engine.host()],
            Some(engine.host()),
            None,
        )
    }

    /// Starts Davit with this data directory.
    pub fn in_dir(test: &str, data: &Path, flags: &[&str]) -> Self {
        Self::new(test, flags, None, Some(data.to_owned()))
    }

    fn new(test: &str, flags: &[&str], engine: Option<String>, data: Option<PathBuf>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        davit_test_support::docker::base_image();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let instance: String = unique("t").chars().filter(char::is_ascii_alphanumeric).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut davit = Self {
            namespace: test.to_owned(),
            instance,
            data: data.unwrap_or_else(|| dir.path().join("data")),
            dir,
            engine,
            child: None,
            address: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            runtime,
            client: None,
        };
        davit.start();
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(test.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        davit
            .block_on(Api::<Namespace>::all(davit.client()).create(&PostParams::default(), &namespace))
            .unwrap();
        davit
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// `docker` for the engine that it uses.
    pub fn docker(&self) -> Command {
        let mut command = docker();
        command.envs(self.engine.iter().map(|host| ("DOCKER_HOST", host)));
        command
    }

    /// The kubeconfig that it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// Starts it again at the same address from now on, so that clients find it.
    pub fn keep_address(&mut self) {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let cluster = kubeconfig
            .clusters
            .into_iter()
            .find_map(|cluster| cluster.cluster)
            .unwrap();
        let url = cluster.server.unwrap();
        self.address = url
            .strip_prefix("https://")
            .map(|address| address.trim_end_matches('/').to_owned());
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The address of `--health-listen`, as its log names it.
    pub fn health_address(&self) -> Option<String> {
        served_at(&self.log())
    }

    /// Waits until its log has not grown for two seconds; returns false if that takes more than a minute.
    pub fn wait_until_log_idle(&self) -> bool {
        let end = std::time::Instant::now() + Duration::from_mins(1);
        let mut seen = (self.log().len(), std::time::Instant::now());
        while seen.1.elapsed() < Duration::from_secs(2) {
            if std::time::Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
            let length = self.log().len();
            if length != seen.0 {
                seen = (length, std::time::Instant::now());
            }
        }
        true
    }

    /// Starts it (again) and waits until it reports that it is ready.
    pub fn start(&mut self) {
        let out = self.dir.path().join("out");
        let stdout = std::fs::File::create(&out).unwrap();
        let stderr = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        // A restrictive umask must not change what Davit builds.
        let child = Command::new("sh")
            .args([
                "-c",
                "umask 077 && exec \"$0\" \"$@\"",
                env!("CARGO_BIN_EXE_davit"),
            ])
            .args([
                "up",
                "--listen",
                self.address.as_deref().unwrap_or("127.0.0.1:0"),
                "--instance",
                &self.instance,
                "--data-dir",
            ])
            .arg(self.data_dir())
            .args(self.flags.iter().filter(|flag| *flag != REMOTE_SOURCES_ONLY))
            .args(
                (!self.flags.iter().any(|flag| flag == REMOTE_SOURCES_ONLY))
                    .then_some("--allow-local-sources"),
            )
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("davit to be ready", Duration::from_secs(20), || {
            std::fs::read_to_string(&out)
                .unwrap()
                .contains("davit is ready")
                .then_some(())
        });
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = self.runtime.block_on(Config::from_custom_kubeconfig(
            kubeconfig,
            &kube::config::KubeConfigOptions::default(),
        ));
        let _guard = self.runtime.enter();
        self.client = Some(Client::try_from(config.unwrap()).unwrap());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends SIGTERM and waits for the end; returns whether it succeeded.
    pub fn stop(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().success()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// kube's client, as the administrator.
    pub fn client(&self) -> Client {
        self.client.clone().expect("it runs")
    }

    /// Waits for a future.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Runs a future beside the test.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Applications of the test's namespace.
    pub fn applications(&self) -> Api<Application> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Releases of the test's namespace.
    pub fn releases(&self) -> Api<Release> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// GitProviders of the test's namespace.
    pub fn providers(&self) -> Api<GitProvider> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Creates an Application, or replaces its spec.
    pub fn apply(&self, name: &str, spec: impl Into<Value>) {
        let body = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec.into()});
        let api = self.applications();
        self.block_on(async {
            match api.get_opt(name).await.unwrap() {
                None => {
                    let app: Application = serde_json::from_value(body).unwrap();
                    api.create(
                        &PostParams {
                            field_manager: Some(MANAGER.into()),
                            ..PostParams::default()
                        },
                        &app,
                    )
                    .await
                    .unwrap();
                }
                Some(there) => {
                    let mut wanted: Application = serde_json::from_value(body).unwrap();
                    wanted.metadata = there.metadata;
                    api.replace(name, &PostParams::default(), &wanted).await.unwrap();
                }
            }
        });
    }

    /// Changes an Application by a merge patch.
    pub fn patch(&self, name: &str, patch: Value) {
        self.block_on(
            self.applications()
                .patch(name, &PatchParams::default(), &Patch::Merge(patch)),
        )
        .unwrap();
    }

    /// Requests a reconcile, by the annotation `davit.dev/requestedAt`.
    pub fn request_reconcile(&self, name: &str) {
        self.patch(
            name,
            json!({"metadata": {"annotations": {"davit.dev/requestedAt": unique("now")}}}),
        );
    }

    /// Creates a Secret in the test's namespace, or replaces it.
    pub fn create_secret(&self, name: &str, data: &[(&str, &str)]) {
        self.replace(&Secret {
            metadata: named(name),
            string_data: Some(entries(data)),
            ..Secret::default()
        });
    }

    /// Creates a ConfigMap in the test's namespace, or replaces it.
    pub fn create_config_map(&self, name: &str, data: &[(&str, &str)]) {
        self.replace(&ConfigMap {
            metadata: named(name),
            data: Some(entries(data)),
            ..ConfigMap::default()
        });
    }

    fn replace<K>(&self, object: &K)
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client(), &self.namespace);
        let _ = self.block_on(api.delete(&object.name_any(), &DeleteParams::default()));
        self.block_on(api.create(&PostParams::default(), object)).unwrap();
    }

    /// The Application as JSON; null if it does not exist.
    pub fn application(&self, name: &str) -> Value {
        let found = self.block_on(self.applications().get_opt(name)).unwrap();
        found.map_or(Value::Null, |app| serde_json::to_value(app).unwrap())
    }

    /// The Releases of an Application in order, as JSON.
    pub fn releases_of(&self, name: &str) -> Vec<Value> {
        let selector = ListParams::default().fields(&format!("spec.application={name}"));
        let list = self.block_on(self.releases().list(&selector)).unwrap();
        super::sorted_by_number(list.items)
    }

    /// Waits until `wanted` holds for the Application; panics with its status and the end of the log after `seconds`.
    pub fn wait_until(&self, name: &str, seconds: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + Duration::from_secs(seconds);
        loop {
            let app = self.application(name);
            if wanted(&app) {
                return app;
            }
            if std::time::Instant::now() > end {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                panic!(
                    "waited {seconds} s in vain for {name} to be {what}:\n{}\nreleases: {:#?}\nlog, newest first: {tail:#?}",
                    serde_json::to_string_pretty(&app["status"]).unwrap(),
                    self.releases_of(name)
                        .iter()
                        .map(|release| release["status"].clone())
                        .collect::<Vec<_>>()
                );
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Waits until the newest generation has the phase done.
    pub fn wait_until_done(&self, name: &str) -> Value {
        self.wait_until(name, 90, "done", |app| {
            app["status"]["phase"] == "done"
                && app["status"]["observedGeneration"] == app["metadata"]["generation"]
        })
    }

    /// Waits until the phase is error with this reason, and returns the message of Ready.
    pub fn wait_for_error(&self, name: &str, reason: &str) -> String {
        let app = self.wait_until(name, 60, reason, |app| {
            app["status"]["phase"] == "error" && condition(app, "Ready")["reason"] == reason
        });
        condition(&app, "Ready")["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Deletes the Application and waits until it is removed.
    pub fn delete_and_wait(&self, name: &str) {
        let params = DeleteParams::default();
        let _ = self.block_on(self.applications().delete(name, &params));
        wait_for("the application to be gone", Duration::from_mins(1), || {
            self.application(name).is_null().then_some(())
        });
    }

    /// The ids of its `containers`, `networks`, `volumes` or `images` on the engine.
    pub fn list_in_engine(&self, kind: &str) -> Vec<String> {
        let list: &[&str] = match kind {
            "containers" => &["ps", "--all", "--quiet", "--no-trunc"],
            "networks" => &["network", "ls", "--quiet", "--no-trunc"],
            "volumes" => &["volume", "ls", "--quiet"],
            "images" => &["image", "ls", "--quiet", "--no-trunc"],
            other => panic!("{other} is no kind"),
        };
        let filter = format!("label={INSTANCE_LABEL}={}", self.instance);
        let mut ids: Vec<String> = run(self.docker().args(list).args(["--filter", &filter]))
            .lines()
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Containers of an Application.
    pub fn containers(&self, name: &str) -> Vec<String> {
        let instance = format!("label={INSTANCE_LABEL}={}", self.instance);
        let application = format!("label=dev.davit.application={name}");
        run(self.docker().args([
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &instance,
            "--filter",
            &application,
        ]))
        .lines()
        .map(str::to_owned)
        .collect()
    }

    /// kubectl, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", self.kubeconfig())
            .args(["--namespace", &self.namespace]);
        command
    }

    /// A command that runs `davit up` with the same instance name and this data directory.
    pub fn command_of_same_instance(&self, data: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
        command
            .args([
                "up",
                "--listen",
                "127.0.0.1:0",
                "--instance",
                &self.instance,
                "--data-dir",
            ])
            .arg(data);
        command
    }

    /// The directory of this test's files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn entries(data: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    data.iter().map(owned).collect()
}

/// A condition of an object; null if it is missing.
pub fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or(Value::Null)
}

/// The response of `http://HOST/` (or `http://HOST/PATH`) to a client container in the namespace's network.
pub fn fetch_from_network(davit: &Davit, namespace: &str, host: &str) -> Result<String, String> {
    let networks = run(davit.docker().args([
        "network",
        "ls",
        "--format",
        "{{.Name}}",
        "--filter",
        &format!("label={INSTANCE_LABEL}={}", davit.instance),
        "--filter",
        &format!("label=dev.davit.namespace={namespace}"),
    ]));
    let network = networks
        .lines()
        .next()
        .ok_or("the namespace has no network")?
        .to_owned();
    let (ok, out, err) = try_run(davit.docker().args([
        "run",
        "--rm",
        "--network",
        &network,
        davit_test_support::docker::BASE_IMAGE, // Its wget crashes with -T.
        "timeout",
        "5",
        "wget",
        "-q",
        "-O",
        "-",
        &format!("http://{host}{}", if host.contains('/') { "" } else { "/" }),
    ]));
    if ok { Ok(out.trim().to_owned()) } else { Err(err) }
}

impl Drop for Davit {
    fn drop(&mut self) {
        self.kill();
        if self.engine.is_some() {
            return; // It goes as a whole, and may be away just now.
        }
        for (kind, remove) in [
            ("containers", &["rm", "--force", "--volumes"][..]),
            ("networks", &["network", "rm"][..]),
            ("volumes", &["volume", "rm", "--force"][..]),
            ("images", &["rmi", "--force"][..]),
        ] {
            let ids = self.list_in_engine(kind);
            if !ids.is_empty() {
                try_run(self.docker().args(remove).args(ids));
            }
        }
        // What it pulled bears no label, but a name.
        let named = format!("reference=davit.local/{}/*/*", self.instance);
        let list = [
            "image",
            "ls",
            "--filter",
            &named,
            "--format",
            "{{.Repository}}:{{.Tag}}",
        ];
        for tag in try_run(self.docker().args(list)).1.lines() {
            try_run(self.docker().args(["rmi", tag]));
        }
    }
}

/// Returns the address of health checks and metrics that a log names.
pub fn served_at(log: &str) -> Option<String> {
    let (_, entry) = log.split_once("serving health checks and metrics")?;
    let (_, address) = entry.split_once("address=")?;
    address.split_whitespace().next().map(str::to_owned)
}
