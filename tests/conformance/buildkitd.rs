//! A real buildkitd over TCP with mutual TLS: the contract of `Builder`, and what the engine gets of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bollard::Docker;
use davit::api::Reason;
use davit::builder::{
    BuildError, BuildRequest, BuildType, Builder as _, BuilderOptions, BuiltImage, Daemon, DockerBuilder,
    Found, Place, TlsFiles,
};
use davit::error::Explain as _;
use davit::image::RegistryLogins;
use davit::job_log::JobLog;
use davit::model::AppId;
use davit::redact::{Masker, Secret};
use tokio_util::sync::CancellationToken;

use crate::common::buildkitd::Buildkitd;
use crate::common::docker::{DockerScope, docker};
use crate::common::registry::Registry;
use crate::common::{run, unique};
use crate::contract::SOCKET;

mod limits;
mod nixpacks;
mod railpack;
mod registry;

mod contract {
    crate::contract::builder_contract::builder_contract!(
        crate::contract::builder_contract::Harness::buildkitd("buildkitd")
    );
}

/// A builder on a buildkitd of its own, with a source to build from.
struct Harness {
    buildkitd: Buildkitd,
    builder: DockerBuilder,
    options: BuilderOptions,
    scope: DockerScope,
    dir: tempfile::TempDir,
}

impl Harness {
    fn new(test: &str) -> Self {
        Self::with(test, |_| {})
    }

    fn with(test: &str, change: impl FnOnce(&mut BuilderOptions)) -> Self {
        let mut harness = Self::without_engine(test, &[], change);
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        harness.builder = DockerBuilder::new(docker, harness.options.clone());
        harness
    }

    /// A buildkitd that pushes to these registries, and no engine.
    fn without_engine(
        test: &str,
        registries: &[&Registry],
        change: impl FnOnce(&mut BuilderOptions),
    ) -> Self {
        let (buildkitd, scope) = (Buildkitd::trusting(registries), DockerScope::new(test));
        let mut options = BuilderOptions::new(SOCKET, unique("buildkitd"));
        options.buildkit = daemon(&buildkitd);
        change(&mut options);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self {
            builder: DockerBuilder::without_engine(options.clone()),
            options,
            buildkitd,
            scope,
            dir,
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join("root").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn request(&self) -> BuildRequest {
        BuildRequest {
            app: AppId::new(&self.scope.namespace, "shop"),
            release: "shop-1".to_owned(),
            root: self.dir.path().join("root"),
            path: "/".to_owned(),
            build_type: None,
            tag: format!("davit-test/{}:1", self.scope.namespace),
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            labels: BTreeMap::new(),
            env_file: None,
            registries: RegistryLogins::default(),
            push: None,
            no_cache: false,
            cpu: None,
            memory: None,
            timeout: Duration::from_mins(3),
            found: Found::default(),
        }
    }

    fn log(&self) -> (JobLog, PathBuf) {
        let path = self.dir.path().join("log");
        (JobLog::open(&path, Masker::new(&[])).unwrap(), path)
    }

    async fn build(&self, request: &BuildRequest) -> Result<BuiltImage, BuildError> {
        let none = CancellationToken::new();
        self.builder.build(request, &self.log().0, &none).await
    }
}

fn daemon(buildkitd: &Buildkitd) -> Daemon {
    Daemon::Buildkitd {
        place: Place::Address(buildkitd.address.clone()),
        tls: Some(TlsFiles {
            ca: buildkitd.ca.clone(),
            certificate: buildkitd.certificate.clone(),
            key: buildkitd.key.clone(),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkitd_builds_an_image_that_the_engine_runs() {
    let harness = Harness::new("bkimage");
    harness.write("main.txt", "source");
    // A here-document: this BuildKit is newer than that of the engine.
    harness.write(
        "Dockerfile",
        "FROM busybox:davit-test\nARG WORD\nCOPY main.txt /\nRUN --mount=type=secret,id=TOKEN sha256sum < /run/secrets/TOKEN > /token\n\
         RUN <<END\nprintf '%s' \"$WORD\" | sha256sum > /word\nEND\nCMD [\"cat\", \"/main.txt\", \"/token\", \"/word\"]\n",
    );
    let odd = format!(
        "a \"b\" 'c' $HOME `id` \\ #d \u{fc}\n\tnext\n\n{}",
        "x".repeat(100 * 1024)
    );
    let mut request = harness.request();
    request.args = [("WORD".to_owned(), Secret::from(odd.as_str()))].into();
    request.secrets = [("TOKEN".to_owned(), Secret::from(odd.as_str()))].into();
    request.labels = [("org.example.label".to_owned(), "a b".to_owned())].into();
    let image = harness.build(&request).await.unwrap();
    let said = run(docker().args(["run", "--rm", "--network", "none", &image.tag]));
    let value = harness.dir.path().join("value");
    std::fs::write(&value, &odd).unwrap();
    let sum = run(Command::new("sha256sum").arg(&value));
    let sum = sum.split(' ').next().unwrap();
    assert!(
        said.starts_with("source") && said.matches(sum).count() == 2,
        "{said}"
    );
    let format = "{{index .Config.Labels \"org.example.label\"}}";
    let label = run(docker().args(["image", "inspect", "--format", format, &image.tag]));
    assert_eq!(label, "a b");
    // An unchanged source is not built again.
    let (_, log) = harness.log();
    harness.build(&request).await.unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("CACHED"), "{text}");
    // The size of its cache is known, and a bound empties it.
    let before = harness.builder.trim_cache(None).await.unwrap();
    let after = harness.builder.trim_cache(Some(1)).await.unwrap();
    assert!(before > 0 && after < before, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkitd_that_does_not_know_the_client_is_unavailable() {
    let mut stranger = None;
    let harness = Harness::new("bkstranger");
    harness.write("Dockerfile", "FROM busybox:davit-test\n");
    let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
    let (certificate, key) = harness.buildkitd.stranger();
    let place = Place::Address(harness.buildkitd.address.clone());
    let with = |place: &Place, tls: Option<TlsFiles>| {
        let mut options = BuilderOptions::new(SOCKET, unique("stranger"));
        options.buildkit = Daemon::Buildkitd {
            place: place.clone(),
            tls,
        };
        DockerBuilder::new(docker.clone(), options)
    };
    let ca = harness.buildkitd.ca.clone();
    let away = Place::Address("127.0.0.1:1".to_owned());
    for (place, tls) in [
        (
            &place,
            Some(TlsFiles {
                ca: ca.clone(),
                certificate,
                key,
            }),
        ),
        (&place, None),
        (&away, None),
    ] {
        let none = CancellationToken::new();
        let error = with(place, tls)
            .build(&harness.request(), &harness.log().0, &none)
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.reason(), Reason::BuildkitUnavailable, "{error}");
        assert!(error.hint().unwrap().contains("--buildkit-host"));
        stranger = Some(error);
    }
    assert!(stranger.is_some());
}
