//! The trait `Builder` on the builder in memory and on the real Docker Engine: the same promises.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use davit::api::Reason;
use davit::builder::fake::FakeBuilder;
use davit::builder::{
    BuildRequest, Builder, BuilderDetails, BuilderOptions, BuiltImage, Daemon, DockerBuilder, Export, Found,
    Place, TlsFiles,
};
use davit::error::Explain as _;
use davit::image::{Deleted, RegistryAccess, RegistryLogins};
use davit::job_log::JobLog;
use davit::model::{AppId, RegistryLogin};
use davit::redact::Masker;
use tokio_util::sync::CancellationToken;

use crate::common::buildkitd::Buildkitd;
use crate::common::docker::DockerScope;
use crate::common::registry::Registry;
use crate::common::{unique, wait_for};
use crate::contract::SOCKET;

pub struct Harness {
    builder: Arc<dyn Builder>,
    source: tempfile::TempDir,
    log: PathBuf,
    namespace: String,
    _scope: Option<DockerScope>,
    /// A registry with TLS and a password; the fake has one of its own.
    registry: Option<Registry>,
    _buildkitd: Option<Buildkitd>,
}

impl Harness {
    fn new(builder: Arc<dyn Builder>, namespace: &str, scope: Option<DockerScope>) -> Self {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("root")).unwrap();
        Self {
            builder,
            log: source.path().join("log"),
            source,
            namespace: namespace.to_owned(),
            registry: scope.is_some().then(Registry::start_tls),
            _scope: scope,
            _buildkitd: None,
        }
    }

    pub fn fake(test: &str) -> Self {
        Self::new(Arc::new(FakeBuilder::default()), test, None)
    }

    pub fn docker(test: &str) -> Self {
        let scope = DockerScope::new(test);
        let options = BuilderOptions::new(SOCKET, unique("promises"));
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        let namespace = scope.namespace.clone();
        let builder = Arc::new(DockerBuilder::new(docker, options));
        Self::new(builder, &namespace, Some(scope))
    }

    /// A buildkitd over TCP with mutual TLS.
    pub fn buildkitd(test: &str) -> Self {
        let (scope, registry) = (DockerScope::new(test), Registry::start_tls());
        let buildkitd = Buildkitd::trusting(&[&registry]);
        let mut options = BuilderOptions::new(SOCKET, unique("promises"));
        options.buildkit = Daemon::Buildkitd {
            place: Place::Address(buildkitd.address.clone()),
            tls: Some(TlsFiles {
                ca: buildkitd.ca.clone(),
                certificate: buildkitd.certificate.clone(),
                key: buildkitd.key.clone(),
            }),
        };
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        let namespace = scope.namespace.clone();
        let builder = Arc::new(DockerBuilder::new(docker, options));
        Self {
            registry: Some(registry),
            _scope: Some(scope),
            _buildkitd: Some(buildkitd),
            ..Self::new(builder, &namespace, None)
        }
    }

    fn request(&self, lines: &str) -> BuildRequest {
        let root = self.source.path().join("root");
        std::fs::write(
            root.join("Dockerfile"),
            format!("FROM busybox:davit-test\n{lines}\n"),
        )
        .unwrap();
        BuildRequest {
            app: AppId::new(&self.namespace, "shop"),
            release: "shop-1".to_owned(),
            root,
            path: "/".to_owned(),
            build_type: None,
            tag: format!("davit-test/{}:{}", self.namespace, unique("t")),
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            labels: BTreeMap::new(),
            env_file: None,
            registries: RegistryLogins::default(),
            push: None,
            no_cache: false,
            cpu: None,
            memory: None,
            timeout: Duration::from_mins(5),
            found: Found::default(),
        }
    }

    /// A tag in the registry, and the access to it.
    fn in_registry(&self) -> (String, RegistryAccess) {
        let name = unique("acme/shop");
        let Some(registry) = &self.registry else {
            return (
                format!("registry.example.com/{name}:1"),
                RegistryAccess::default(),
            );
        };
        let (user, password) = registry.login.clone().unwrap();
        let login = RegistryLogin::basic(user, password.as_str());
        let access = RegistryAccess {
            logins: RegistryLogins::new([(registry.address.clone(), login)].into()),
            ca: registry.ca.clone().map(String::into_bytes),
        };
        (registry.image(&format!("{name}:1")), access)
    }

    fn log(&self) -> JobLog {
        JobLog::open(&self.log, Masker::new(&[])).unwrap()
    }
}

pub async fn image_after_its_build_is_found_listed_and_removed(harness: Harness) {
    let request = harness.request("RUN echo hello > /said");
    let none = CancellationToken::new();
    assert_eq!(harness.builder.find(&request.tag).await.unwrap(), None);
    let image = harness
        .builder
        .build(&request, &harness.log(), &none)
        .await
        .unwrap();
    // What the builder used is known to the build only.
    let image = BuiltImage {
        details: BuilderDetails::default(),
        ..image
    };
    assert!(
        image.id.starts_with("sha256:") && image.id.len() == 71,
        "{image:?}"
    );
    assert_eq!((&image.tag, image.builder.as_str()), (&request.tag, "dockerfile"));
    assert_eq!(
        harness.builder.find(&request.tag).await.unwrap().as_ref(),
        Some(&image)
    );
    assert_eq!(
        harness.builder.images(&request.app).await.unwrap(),
        std::slice::from_ref(&image)
    );
    let other = AppId::new(&harness.namespace, "other");
    assert_eq!(harness.builder.images(&other).await.unwrap(), []);
    let log = std::fs::read_to_string(&harness.log).unwrap();
    assert!(log.contains("RUN echo hello"), "{log}");
    for _ in 0..2 {
        harness.builder.remove(&request.tag).await.unwrap();
        assert_eq!(harness.builder.find(&request.tag).await.unwrap(), None);
    }
    assert_eq!(harness.builder.images(&request.app).await.unwrap(), []);
}

pub async fn failed_build_leaves_no_image(harness: Harness) {
    let request = harness.request("RUN false");
    let none = CancellationToken::new();
    let error = harness
        .builder
        .build(&request, &harness.log(), &none)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::BuildFailed);
    assert!(error.to_string().contains("RUN false"), "{error}");
    assert_eq!(harness.builder.images(&request.app).await.unwrap(), []);
}

pub async fn build_ends_when_cancelled_and_at_its_timeout(harness: Harness) {
    let early = CancellationToken::new();
    early.cancel();
    let request = harness.request("RUN sleep 3600");
    let refused = harness.builder.build(&request, &harness.log(), &early).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::Cancelled);

    let cancel = CancellationToken::new();
    let task = {
        let (builder, log, cancel) = (Arc::clone(&harness.builder), harness.log(), cancel.clone());
        let request = request.clone();
        tokio::spawn(async move { builder.build(&request, &log, &cancel).await })
    };
    let log = harness.log.clone();
    tokio::task::spawn_blocking(move || {
        wait_for("the step", Duration::from_mins(1), || {
            std::fs::read_to_string(&log)
                .unwrap()
                .contains("RUN sleep")
                .then_some(())
        });
    })
    .await
    .unwrap();
    assert!(!task.is_finished());
    cancel.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().reason(), Reason::Cancelled);

    let mut hasty = harness.request("RUN sleep 3601");
    hasty.timeout = Duration::from_secs(3);
    let none = CancellationToken::new();
    let late = harness.builder.build(&hasty, &harness.log(), &none).await;
    assert_eq!(late.unwrap_err().reason(), Reason::BuildTimeout);
    assert_eq!(harness.builder.images(&request.app).await.unwrap(), []);
}

pub async fn missing_dockerfile_is_reported(harness: Harness) {
    let mut request = harness.request("");
    let settings = davit::api::Dockerfile {
        path: "else/Dockerfile".to_owned(),
        ..davit::api::Dockerfile::default()
    };
    request.build_type = Some(davit::builder::BuildType::Dockerfile(settings));
    let none = CancellationToken::new();
    let error = harness
        .builder
        .build(&request, &harness.log(), &none)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::DockerfileNotFound);
    assert!(error.to_string().contains("else/Dockerfile"), "{error}");
}

pub async fn image_for_a_registry_is_pushed_found_and_deleted(harness: Harness) {
    let (tag, access) = harness.in_registry();
    let mut request = harness.request("RUN echo pushed > /said");
    request.tag = tag;
    request.push = Some(access.clone());
    let (builder, log, none) = (&harness.builder, harness.log(), CancellationToken::new());
    let find = async || {
        let found = builder.find_pushed(&request.tag, Export::Registry, &access, &log, &none);
        found.await.unwrap().map(|image| image.id)
    };
    assert_eq!(find().await, None);
    let image = builder.build(&request, &log, &none).await.unwrap();
    let image = builder
        .push(&image, Export::Registry, &access, &log, &none)
        .await
        .unwrap();
    assert!(
        image.id.starts_with(&format!("{}@sha256:", request.tag)),
        "{image:?}"
    );
    assert_eq!(find().await.as_ref(), Some(&image.id));
    // The registry has it, and only the registry.
    assert_eq!(builder.images(&request.app).await.unwrap(), []);
    let deleted = builder.delete_pushed(&image.id, &access).await.unwrap();
    assert_eq!((deleted, find().await), (Deleted::Done, None));
}

/// Makes each function of the contract a test on the builder that the expression `$harness` makes.
macro_rules! builder_contract {
    ($harness:expr) => {
        crate::contract::builder_contract::builder_contract! {
            $harness =>
            image_after_its_build_is_found_listed_and_removed
            failed_build_leaves_no_image
            build_ends_when_cancelled_and_at_its_timeout
            missing_dockerfile_is_reported
            image_for_a_registry_is_pushed_found_and_deleted
        }
    };
    ($harness:expr => $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            crate::contract::builder_contract::$name($harness).await;
        })*
    };
}
pub(crate) use builder_contract;
