//! `Builder` on a real Docker Engine. What is claimed of the engine is asked of `docker` and of `/proc`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::duration_suboptimal_units,
    reason = "helpers of tests fail by panicking, and a test is one story"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bollard::Docker;
use davit::api::{Dockerfile, Reason, StaticSite};
use davit::builder::{
    BuildError, BuildRequest, BuildType, Builder as _, BuilderOptions, BuiltImage, DockerBuilder, Found,
    INSTANCE,
};
use davit::error::{Explain as _, Problem};
use davit::image::RegistryLogins;
use davit::job_log::JobLog;
use davit::model::{AppId, RegistryLogin};
use davit::redact::{Masker, Secret};
use tokio_util::sync::CancellationToken;

use crate::common::docker::{DockerScope, NAMESPACE_LABEL, docker};
use crate::common::registry::Registry;
use crate::common::{http, in_own_process, run, try_run, unique, wait_for};
use crate::contract::SOCKET;

mod arguments;
mod buildpacks;
mod limits;
mod nixpacks;
mod owners;
mod planner;
mod private;
mod published;
mod railpack;
mod registry;
mod values;

use arguments::Arguments;
use planner::Tool;

/// What no image, log or command line may ever show.
const HIDDEN: &str = "s3cret-build-token-9d41";

/// A builder of one test's own, with a source to build from.
struct Harness {
    builder: DockerBuilder,
    instance: String,
    scope: DockerScope,
    source: tempfile::TempDir,
    log: JobLog,
}

impl Harness {
    fn new(test: &str) -> Self {
        let scope = DockerScope::new(test);
        let source = tempfile::tempdir().unwrap();
        let log = JobLog::open(&source.path().join("log"), Masker::new(&[Secret::from(HIDDEN)])).unwrap();
        std::fs::create_dir(source.path().join("root")).unwrap();
        let instance = unique("builder-test");
        let options = BuilderOptions::new(SOCKET, &instance);
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        Self {
            builder: DockerBuilder::new(docker, options),
            instance,
            scope,
            source,
            log,
        }
    }

    fn root(&self) -> std::path::PathBuf {
        self.source.path().join("root")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A Dockerfile at the root: its lines after the base image.
    fn dockerfile(&self, lines: &[&str]) {
        self.write(
            "Dockerfile",
            &format!("FROM busybox:davit-test\n{}\n", lines.join("\n")),
        );
    }

    fn request(&self) -> BuildRequest {
        BuildRequest {
            app: AppId::new(&self.scope.namespace, "shop"),
            release: "shop-1".to_owned(),
            root: self.root(),
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
            timeout: Duration::from_secs(120),
            found: Found::default(),
        }
    }

    async fn build(&self, request: &BuildRequest) -> Result<BuiltImage, BuildError> {
        self.builder
            .build(request, &self.log, &CancellationToken::new())
            .await
    }

    async fn built(&self, request: &BuildRequest) -> BuiltImage {
        match self.build(request).await {
            Ok(image) => image,
            Err(error) => panic!("{error}\n{}", self.text()),
        }
    }

    /// How many of the steps of its own, not of its base image, came from the cache so far.
    fn cached(&self) -> usize {
        let text = self.text();
        let mut count = 0;
        let mut names = BTreeMap::new();
        for line in text.lines() {
            let (number, rest) = line.split_once(' ').unwrap_or_default();
            if rest == "CACHED" {
                let step: &str = names.get(number).copied().unwrap_or_default();
                count += usize::from(!step.contains("FROM"));
            } else if rest.starts_with('[') {
                names.insert(number, rest);
            }
        }
        count
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let filter = format!("label={INSTANCE}={}", self.instance);
        let (_, ids, _) = try_run(docker().args(["image", "ls", "--all", "--quiet", "--filter", &filter]));
        let ids: Vec<_> = ids.lines().collect();
        if !ids.is_empty() {
            try_run(docker().args(["rmi", "--force"]).args(ids));
        }
    }
}

/// What a command in a container of the image prints.
fn prints(image: &str, command: &[&str]) -> String {
    run(docker()
        .args(["run", "--rm", "--network", "none", image])
        .args(command))
}

/// Whether the bytes of `words` are anywhere in the file, which may be too large for the memory.
fn holds(file: &Path, words: &str) -> bool {
    try_run(
        Command::new("grep")
            .args(["--quiet", "--text", "--fixed-strings", "--", words])
            .arg(file),
    )
    .0
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::from(*value)))
        .collect()
}

/// Whether a process whose command line holds `marker` runs on this machine.
fn runs(marker: &str) -> bool {
    arguments::holder(marker).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn image_after_its_build_is_found_listed_and_removed() {
    let harness = Harness::new("build");
    harness.write("app/Dockerfile", "FROM busybox:davit-test AS one\nARG NAME=default\nRUN echo hello $NAME > /said\nFROM one AS two\nRUN false\n");
    let mut request = harness.request();
    request.path = "/app".to_owned();
    request.build_type = Some(BuildType::Dockerfile(Dockerfile {
        target: Some("one".to_owned()),
        ..Dockerfile::default()
    }));
    request.args = secrets(&[("NAME", "world & = ? \"quoted\"")]);
    request
        .labels
        .insert("org.example".to_owned(), "a=b&c".to_owned());

    assert_eq!(harness.builder.find(&request.tag).await.unwrap(), None);
    let image = harness.built(&request).await;
    assert_eq!(
        (image.tag.as_str(), image.builder.as_str()),
        (request.tag.as_str(), "dockerfile")
    );
    assert_eq!(
        image.id,
        run(docker().args(["image", "inspect", "--format", "{{.Id}}", &request.tag]))
    );
    assert_eq!(
        prints(&image.id, &["cat", "/said"]),
        "hello world & = ? \"quoted\""
    );
    let labels = run(docker().args([
        "image",
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &image.id,
    ]));
    let labels: BTreeMap<String, String> = serde_json::from_str(&labels).unwrap();
    for (name, value) in [
        ("dev.davit.namespace", harness.scope.namespace.as_str()),
        ("dev.davit.application", "shop"),
        ("dev.davit.instance", &harness.instance),
        ("dev.davit.builder", "dockerfile"),
        ("org.example", "a=b&c"),
    ] {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{labels:?}");
    }

    assert_eq!(
        harness.builder.find(&request.tag).await.unwrap(),
        Some(image.clone())
    );
    assert_eq!(
        harness.builder.images(&request.app).await.unwrap(),
        std::slice::from_ref(&image)
    );
    let other = AppId::new(&harness.scope.namespace, "other");
    assert_eq!(harness.builder.images(&other).await.unwrap(), []);
    // What bears none of our labels is neither seen nor removed.
    let foreign = format!("davit-test/{}:foreign", harness.scope.namespace);
    run(docker().args(["tag", "busybox:davit-test", &foreign]));
    assert_eq!(harness.builder.find(&foreign).await.unwrap(), None);
    harness.builder.remove(&foreign).await.unwrap();
    run(docker().args(["rmi", &foreign]));

    // A container that runs keeps its image.
    let container = run(docker().args([
        "run",
        "--detach",
        "--network",
        "none",
        &request.tag,
        "sleep",
        "600",
    ]));
    harness.builder.remove(&request.tag).await.unwrap();
    let kept = harness.builder.images(&request.app).await.unwrap();
    run(docker().args(["rm", "--force", &container]));
    assert_eq!(kept, [image]);
    harness.builder.remove(&request.tag).await.unwrap();
    harness.builder.remove(&request.tag).await.unwrap();
    assert_eq!(harness.builder.images(&request.app).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn build_secret_reaches_only_its_step() {
    let harness = Harness::new("secret");
    harness.dockerfile(&[
        "RUN --mount=type=secret,id=TOKEN,required=true cat /run/secrets/TOKEN && wc -c < /run/secrets/TOKEN > /length",
        "RUN test ! -s /run/secrets/TOKEN",
    ]);
    let mut request = harness.request();
    let marker = unique("secret");
    let token = format!("{HIDDEN}{marker}");
    request.secrets = secrets(&[("TOKEN", &token)]);
    request.no_cache = true;
    let arguments = Arguments::watch(&marker);
    let image = harness.built(&request).await;
    arguments.assert_free();
    Tool::assert_not_in_cache(&marker);
    assert_eq!(prints(&image.id, &["cat", "/length"]), token.len().to_string());
    assert!(
        harness.text().contains("***"),
        "the step printed it: {}",
        harness.text()
    );
    let saved = harness.source.path().join("saved.tar");
    run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
    for (place, content) in [
        (
            "history",
            run(docker().args(["history", "--no-trunc", &image.id])),
        ),
        ("inspect", run(docker().args(["image", "inspect", &image.id]))),
        ("log", harness.text()),
    ] {
        assert!(!content.contains(HIDDEN), "in the {place}");
    }
    assert!(holds(&saved, "cat /run/secrets/TOKEN") && !holds(&saved, HIDDEN));
    // The same value comes from the cache; another one runs the step again, and no step before it.
    request.no_cache = false;
    harness.dockerfile(&[
        "RUN date > /before",
        "RUN --mount=type=secret,id=TOKEN,required=true sha256sum < /run/secrets/TOKEN > /sum",
    ]);
    let sums = async |token: &str| {
        let mut request = request.clone();
        request.secrets = secrets(&[("TOKEN", token)]);
        let cached = harness.cached();
        let image = harness.built(&request).await;
        (prints(&image.id, &["cat", "/sum"]), harness.cached() - cached)
    };
    let (first, _) = sums("one").await;
    assert_eq!(sums("one").await, (first.clone(), 2));
    let (second, cached) = sums("two").await;
    assert!(first != second && cached == 1, "{first} {second} {cached}");
    assert!(!harness.text().contains("davit-input"), "{}", harness.text());
    request.secrets.clear();
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildFailed);
    assert!(error.to_string().contains("TOKEN"), "{error}");
}

/// Starts a build whose step would take an hour and waits until the step runs; then what `stop` does must end it.
async fn stopped(
    test: &str,
    stop: impl AsyncFnOnce(tokio::task::JoinHandle<Result<BuiltImage, BuildError>>, CancellationToken),
    timeout: Duration,
) {
    let harness = std::sync::Arc::new(Harness::new(test));
    let marker = format!("MARK={}", unique("mark"));
    harness.dockerfile(&[&format!("RUN {marker}; sleep 3600; echo $MARK")]);
    let mut request = harness.request();
    request.timeout = timeout;
    let cancel = CancellationToken::new();
    let task = {
        let (harness, cancel) = (std::sync::Arc::clone(&harness), cancel.clone());
        tokio::spawn(async move { harness.builder.build(&request, &harness.log, &cancel).await })
    };
    let running = marker.clone();
    tokio::task::spawn_blocking(move || {
        wait_for("the step", Duration::from_secs(60), || {
            runs(&running).then_some(())
        });
    })
    .await
    .unwrap();
    stop(task, cancel).await;
    // The contract is that it has ended when the call returns; a dropped future cannot wait, so it gets a moment.
    let limit = if test == "drop" {
        Duration::from_secs(10)
    } else {
        Duration::ZERO
    };
    let ended = tokio::task::spawn_blocking(move || {
        let end = std::time::Instant::now() + limit;
        while runs(&marker) {
            if std::time::Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    });
    assert!(ended.await.unwrap(), "the step still runs\n{}", harness.text());
    assert_eq!(
        harness
            .builder
            .images(&AppId::new(&harness.scope.namespace, "shop"))
            .await
            .unwrap(),
        []
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_build_returns_after_its_step_has_ended() {
    stopped(
        "cancel",
        async |task, cancel| {
            cancel.cancel();
            assert!(matches!(task.await.unwrap(), Err(BuildError::Cancelled)));
        },
        Duration::from_secs(300),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_build_ends_in_the_engine() {
    stopped(
        "drop",
        async |task, _| {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        },
        Duration::from_secs(300),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn build_after_its_timeout_ends_in_the_engine() {
    let limit = Duration::from_secs(6);
    stopped(
        "timeout",
        async |task, _| {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Reason::BuildTimeout, "{error}");
        },
        limit,
    )
    .await;
}

#[tokio::test]
async fn build_cancelled_before_its_start_has_no_effect() {
    let harness = Harness::new("early");
    harness.dockerfile(&["RUN sleep 60"]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let begun = std::time::Instant::now();
    let error = harness
        .builder
        .build(&harness.request(), &harness.log, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn second_build_uses_the_cache_unless_no_cache() {
    let harness = Harness::new("cache");
    let text = unique("content");
    harness.dockerfile(&["COPY . /files", "RUN cp /files/a /copied"]);
    harness.write("a", &text);
    harness.write("b/c", &text);
    let first = harness.built(&harness.request()).await;
    assert_eq!(harness.cached(), 0, "{}", harness.text());

    // The same files, written again and later, in another directory.
    let mut request = harness.request();
    request.root = harness.source.path().join("again");
    std::fs::create_dir_all(request.root.join("b")).unwrap();
    for file in ["b/c", "a", "Dockerfile"] {
        std::fs::write(
            request.root.join(file),
            std::fs::read(harness.root().join(file)).unwrap(),
        )
        .unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(request.root.join(file))
            .unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
            .unwrap();
    }
    let second = harness.built(&request).await;
    assert_eq!(harness.cached(), 2, "{}", harness.text());
    assert_eq!(first.id, second.id);

    // Same length and same time, another content: what is transferred must not be mistaken for what was.
    let changed = text.replace("content", "CONTENT");
    std::fs::write(request.root.join("a"), &changed).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(request.root.join("a"))
        .unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    let third = harness.built(&request).await;
    assert_eq!(prints(&third.id, &["cat", "/copied"]), changed);
    // The one that lost its tag is still listed, by its id, so that it can be removed.
    let mut listed: Vec<_> = harness
        .builder
        .images(&request.app)
        .await
        .unwrap()
        .into_iter()
        .map(|image| image.tag)
        .collect();
    listed.sort();
    let mut expected = [request.tag.clone(), first.id.clone()];
    expected.sort();
    assert_eq!(listed, expected);
    harness.builder.remove(&first.id).await.unwrap();
    let listed = harness.builder.images(&request.app).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|image| (&image.id, &image.tag)).collect();
    assert_eq!(listed, [(&third.id, &third.tag)]);

    harness.built(&request).await;
    assert_eq!(harness.cached(), 4, "{}", harness.text());
    request.no_cache = true;
    harness.built(&request).await;
    assert_eq!(harness.cached(), 4, "{}", harness.text());
}

#[tokio::test]
async fn file_changed_with_equal_length_is_built_again() {
    let harness = Harness::new("length");
    let text = unique("x");
    harness.write("index.html", &text);
    for (ignored, kept) in [("a", "b"), ("b", "a"), ("a", "b")] {
        harness.write(ignored, &text);
        harness.write(kept, &text);
        harness.write(".dockerignore", &format!("{ignored}\n"));
        harness.dockerfile(&["COPY . /files", &format!("RUN echo {kept} > /kept")]);
        let image = harness.built(&harness.request()).await;
        assert_eq!(prints(&image.id, &["cat", "/kept"]), kept);
        let files = prints(&image.id, &["ls", "/files"]);
        assert!(
            files.contains(kept) && !files.lines().any(|name| name == ignored),
            "{files}"
        );
    }
    // A site's instructions are made by us, and a switch of the image changes them alone.
    let mut request = harness.request();
    for path in ["/srv/a", "/srv/b", "/srv/a"] {
        request.build_type = Some(BuildType::Static(StaticSite {
            image: Some("busybox:davit-test".to_owned()),
            image_path: Some(path.to_owned()),
            ..StaticSite::default()
        }));
        let image = harness.built(&request).await;
        assert_eq!(prints(&image.id, &["cat", &format!("{path}/index.html")]), text);
    }
}

#[tokio::test]
async fn dockerignore_excludes_the_same_files_as_docker() {
    let harness = Harness::new("ignore");
    for file in [
        "a.md",
        "README.md",
        "README-secret.md",
        "src/main.rs",
        "src/a.md",
        "src/deep/b.md",
        "src/deep/x.log",
        "x.log",
        "node_modules/m/i.js",
        "src/node_modules/j.js",
        "temp",
        "tempa",
        "src/tempb",
        ".git/config",
        ".env",
        "a+b",
        "[x]",
        "dir/keep/1",
        "dir/drop/2",
        "dir/3",
        "sp ace/f",
    ] {
        harness.write(file, file);
    }
    std::os::unix::fs::symlink("src", harness.root().join("linked")).unwrap();
    harness.dockerfile(&[
        "COPY . /files",
        "RUN cd /files && find . ! -type d | sort | sed 's/^/file=/'",
    ]);
    let client = format!("davit-test/{}:client", harness.scope.namespace);
    for patterns in [
        "",
        "*.md\n!README.md\n",
        "*.md\n!README*.md\nREADME-secret.md\n",
        "**/*.md\n# comment\n\n!src/deep\n",
        "node_modules\n",
        "**/node_modules\n.git\n.env\n",
        "*/temp*\ntemp?\n",
        "Dockerfile\n.dockerignore\n",
        "/src/\n",
        "dir\n!dir/keep\n",
        "  x.log  \n./a.md\nsrc/../temp\n",
        "**/*.log\n[a-c].md\na+b\n",
        "src/**/*.md\n",
        "**\n!src\n!Dockerfile\n",
        "sp ace\nlinked\n\\[x\\]\n",
    ] {
        harness.write(".dockerignore", patterns);
        let build = docker()
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--no-cache", "--force-rm", "--tag", &client, "--label"])
            .arg(format!("{NAMESPACE_LABEL}={}", harness.scope.namespace))
            .arg(harness.root())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&build.stdout).into_owned();
        let theirs = files(&printed);
        assert!(build.status.success() && !theirs.is_empty(), "{build:?}");
        std::fs::write(harness.log.path(), "").unwrap();
        let mut request = harness.request();
        request.no_cache = true;
        harness.built(&request).await;
        assert_eq!(files(&harness.text()), theirs, "{patterns:?}");
    }
}

#[tokio::test]
async fn dockerignore_names_any_file_and_may_be_a_link_within_the_repository() {
    let harness = Harness::new("ignored");
    harness.write("gr\u{fc}n.key", HIDDEN);
    harness.write(
        "config/ignore",
        "\u{feff}*.pem\ngr\u{fc}n*\n!gr\u{fc}n-kept\n# *\n",
    );
    harness.write("gr\u{fc}n-kept", "1");
    harness.write("other.pem", HIDDEN);
    harness.dockerfile(&["COPY . /files"]);
    // A link out of the context is followed too, as long as it stays in the repository.
    for path in ["", "app"] {
        let mut request = harness.request();
        request.path = path.to_owned();
        let dir = harness.root().join(path);
        if path == "app" {
            std::fs::create_dir(&dir).unwrap();
            for file in ["gr\u{fc}n.key", "gr\u{fc}n-kept", "other.pem", "Dockerfile"] {
                std::fs::copy(harness.root().join(file), dir.join(file)).unwrap();
            }
        }
        let target = if path == "app" {
            "../config/ignore"
        } else {
            "config/ignore"
        };
        std::os::unix::fs::symlink(target, dir.join(".dockerignore")).unwrap();
        let image = harness.built(&request).await;
        let files = prints(&image.id, &["ls", "/files"]);
        let kept = files.contains("-kept") && !files.contains(".key") && !files.contains(".pem");
        assert!(kept, "{path}: {files}");
    }
}

#[tokio::test]
async fn dockerignore_that_cannot_be_read_fails_the_build() {
    let harness = Harness::new("unreadable");
    harness.dockerfile(&["COPY . /files"]);
    harness.write("secret.key", HIDDEN);
    let ignore = harness.root().join(".dockerignore");
    let outside = harness.source.path().join("ignore");
    std::fs::write(&outside, "*.key").unwrap();
    for (name, make) in [
        ("line 2 is not UTF-8", &|| {
            std::fs::write(&ignore, b"a\ngr\xfcn\n") as std::io::Result<()>
        }),
        ("line 1: invalid pattern \"[a\"", &|| {
            std::fs::write(&ignore, "[a\n")
        }),
        ("leads out of the repository", &|| {
            std::os::unix::fs::symlink(&outside, &ignore)
        }),
        ("neither a file nor", &|| {
            std::os::unix::fs::symlink("nothing", &ignore)
        }),
        ("neither a file nor", &|| std::fs::create_dir(&ignore)),
    ] as [(&str, &dyn Fn() -> std::io::Result<()>); 5]
    {
        make().unwrap();
        let error = harness.build(&harness.request()).await.unwrap_err();
        let told = error.to_string();
        assert!(
            matches!(error, BuildError::ControlFile { .. })
                && told.contains(".dockerignore")
                && told.contains(name),
            "{name}: {told}"
        );
        if ignore.is_dir() {
            std::fs::remove_dir(&ignore).unwrap();
        } else {
            std::fs::remove_file(&ignore).unwrap();
        }
    }
}

/// The lines that begin with `file=`, wherever a client writes them.
fn files(text: &str) -> Vec<&str> {
    let names = text
        .lines()
        .filter_map(|line| line.split_once("file=./").map(|(_, name)| name));
    names.filter(|name| !name.contains("/'")).collect()
}

#[tokio::test]
async fn dockerfile_outside_of_the_context_is_built() {
    let harness = Harness::new("outside");
    harness.write(
        "docker/web.Dockerfile",
        "FROM busybox:davit-test\nCOPY . /files\n",
    );
    harness.write("docker/web.Dockerfile.dockerignore", "b\n");
    harness.write("apps/web/.dockerignore", "a\n");
    harness.write("apps/web/a", "1");
    harness.write("apps/web/b", "2");
    let mut request = harness.request();
    request.path = "apps".to_owned();
    request.build_type = Some(BuildType::Dockerfile(Dockerfile {
        path: "../docker/web.Dockerfile".to_owned(),
        context: "web".to_owned(),
        target: None,
    }));
    let image = harness.built(&request).await;
    // The one beside the Dockerfile counts, and the Dockerfile is not in the context.
    assert_eq!(prints(&image.id, &["ls", "-A", "/files"]), ".dockerignore\na");
}

#[tokio::test]
async fn symbolic_link_out_of_the_context_is_not_followed() {
    let harness = Harness::new("links");
    let outside = harness.source.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("Dockerfile"), "FROM scratch").unwrap();
    for (target, link) in [
        ("../outside", "out"),
        ("/etc/passwd", "passwd"),
        ("real", "linked"),
        ("missing", "dangling"),
    ] {
        std::os::unix::fs::symlink(target, harness.root().join(link)).unwrap();
    }
    harness.write("real/x", "x");
    harness.dockerfile(&["COPY . /files", "COPY linked/x /followed"]);
    let image = harness.built(&harness.request()).await;
    for (link, target) in [
        ("out", "../outside"),
        ("passwd", "/etc/passwd"),
        ("linked", "real"),
        ("dangling", "missing"),
    ] {
        assert_eq!(
            prints(&image.id, &["readlink", &format!("/files/{link}")]),
            target
        );
    }
    assert_eq!(prints(&image.id, &["cat", "/followed"]), "x");

    let dockerfile = |path: &str, context: &str| {
        Some(BuildType::Dockerfile(Dockerfile {
            path: path.to_owned(),
            context: context.to_owned(),
            target: None,
        }))
    };
    let site = |publish: &str| {
        Some(BuildType::Static(StaticSite {
            publish_directory: publish.to_owned(),
            ..StaticSite::default()
        }))
    };
    for (path, build_type, reason, words) in [
        (
            "/",
            dockerfile("out/Dockerfile", "."),
            Reason::PathEscapes,
            "spec.build.dockerfile.path",
        ),
        (
            "/",
            dockerfile("../outside/Dockerfile", "."),
            Reason::PathEscapes,
            "spec.build.dockerfile.path",
        ),
        (
            "/",
            dockerfile("Dockerfile", "out"),
            Reason::PathEscapes,
            "spec.build.dockerfile.context",
        ),
        (
            "/",
            dockerfile("Dockerfile", "../.."),
            Reason::PathEscapes,
            "spec.build.dockerfile.context",
        ),
        (
            "/",
            dockerfile("Dockerfile.prod", "."),
            Reason::DockerfileNotFound,
            "spec.build.dockerfile.path",
        ),
        (
            "/",
            dockerfile("real", "."),
            Reason::DockerfileNotFound,
            "spec.build.dockerfile.path",
        ),
        (
            "/",
            dockerfile("Dockerfile", "nothing"),
            Reason::PathNotFound,
            "spec.build.dockerfile.context",
        ),
        (
            "/",
            site("public"),
            Reason::PublishDirectoryNotFound,
            "spec.build.static.publishDirectory",
        ),
        (
            "/",
            site("../outside"),
            Reason::PathEscapes,
            "spec.build.static.publishDirectory",
        ),
        ("out", None, Reason::PathEscapes, "spec.source.git.path"),
        ("apps", None, Reason::PathNotFound, "apps"),
        ("real", None, Reason::BuildTypeNotDetected, "index.html"),
    ] {
        let mut request = harness.request();
        (request.path, request.build_type) = (path.to_owned(), build_type.clone());
        let error = harness.build(&request).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{path} {build_type:?}: {error}");
        let message = Problem::of(&error).message;
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn failed_build_reports_its_step_and_cause() {
    let harness = Harness::new("fail");
    for (lines, reason, words) in [
        (
            &["RUN echo last words && exit 7"][..],
            Reason::BuildFailed,
            "RUN echo last words && exit 7 ended with exit code 7",
        ),
        (&["RUM true"], Reason::BuildFailed, "unknown instruction: RUM"),
        (&["COPY nothing /"], Reason::BuildFailed, "nothing"),
        (
            &["FROM busybox:davit-test", "COPY --from=missing /a /b"],
            Reason::RegistryUnreachable,
            "missing",
        ),
    ] {
        harness.dockerfile(lines);
        let error = harness.build(&harness.request()).await.unwrap_err();
        // A machine with a way to the internet learns that the image is not there, or meets the certificate of a proxy.
        let reasons = if reason == Reason::RegistryUnreachable {
            let others = [
                Reason::ImagePullDenied,
                Reason::ImagePullFailed,
                Reason::RegistryTlsFailed,
            ];
            others.into_iter().chain([reason]).collect::<Vec<_>>()
        } else {
            vec![reason]
        };
        assert!(reasons.contains(&error.reason()), "{lines:?}: {error}");
        assert!(error.to_string().contains(words), "{lines:?}: {error}");
    }
    assert!(harness.text().contains("last words"), "{}", harness.text());
    harness.write("Dockerfile", "");
    assert_eq!(
        harness.build(&harness.request()).await.unwrap_err().reason(),
        Reason::BuildFailed
    );
    harness.dockerfile(&[]);
    let mut request = harness.request();
    request.build_type = Some(BuildType::Dockerfile(Dockerfile {
        target: Some("gone".to_owned()),
        ..Dockerfile::default()
    }));
    let error = harness.build(&request).await.unwrap_err();
    assert!(
        error.reason() == Reason::BuildFailed && error.to_string().contains("gone"),
        "{error}"
    );
    let odd: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![b'x', 0xff]);
    std::fs::create_dir_all(harness.root().join("deep")).unwrap();
    std::fs::write(harness.root().join("deep").join(&odd), "x").unwrap();
    harness.dockerfile(&["COPY . /files"]);
    let error = harness.build(&harness.request()).await.unwrap_err();
    assert!(
        error.reason() == Reason::BuildFailed && error.to_string().contains(r"deep/x\xff is not UTF-8"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("rename it in the repository"));
    std::fs::remove_file(harness.root().join("deep").join(&odd)).unwrap();
    request = harness.request();
    request.memory = Some(1 << 30);
    let error = harness.build(&request).await.unwrap_err();
    assert!(
        error.reason() == Reason::NotSupported && error.to_string().contains("spec.build.resources"),
        "{error}"
    );
}

#[tokio::test]
async fn base_image_of_a_private_registry_is_pulled_with_credentials() {
    let harness = Harness::new("base");
    let mut registry = Registry::start();
    let image = format!("{}:1", unique("base"));
    registry.push("busybox:davit-test", &image);
    let from = registry.image(&image);
    harness.write("Dockerfile", &format!("FROM {from}\nRUN true\n"));
    let mut request = harness.request();
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    let (user, password) = registry.login.clone().unwrap();
    let logins = |place: &str, password: &str| {
        let login = RegistryLogin::basic(user.as_str(), password);
        RegistryLogins::new([(place.to_owned(), login)].into())
    };
    request.registries = logins(&registry.address, "wrong");
    assert_eq!(
        harness.build(&request).await.unwrap_err().reason(),
        Reason::ImagePullDenied
    );
    let port = registry.address.split(':').next_back().unwrap();
    let name = image.split(':').next().unwrap();
    for place in [
        registry.address.clone(),
        format!("{}/{name}", registry.address),
        format!("127.?.*.1:{port}"),
    ] {
        request.registries = logins(&place, &password);
        request.no_cache = true;
        let built = harness.built(&request).await;
        assert_eq!(prints(&built.id, &["echo", "runs"]), "runs", "{place}");
    }
    assert!(!harness.text().contains(&password));

    harness.write("Dockerfile", &format!("FROM {}\n", registry.image("nothing:1")));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullFailed, "{error}");
    assert!(error.to_string().contains("nothing:1"), "{error}");
    registry.stop();
    harness.write("Dockerfile", &format!("FROM {}\n", registry.image("other:1")));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RegistryUnreachable, "{error}");
}

#[tokio::test]
async fn missing_engine_is_reported() {
    let harness = Harness::new("gone");
    harness.dockerfile(&[]);
    let socket = harness.source.path().join("no.sock");
    let docker = Docker::connect_with_unix(SOCKET, 5, bollard::API_DEFAULT_VERSION).unwrap();
    let builder = DockerBuilder::new(docker, BuilderOptions::new(&socket, &harness.instance));
    let error = builder
        .build(&harness.request(), &harness.log, &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::EngineUnavailable, "{error}");
}

/// A container of the image with its port published on loopback, gone when dropped.
struct Served(String, String);

impl Served {
    fn new(image: &str) -> Self {
        let id = run(docker().args([
            "run",
            "--detach",
            "--publish",
            "127.0.0.1::8080",
            "--read-only",
            "--cap-drop",
            "ALL",
            image,
        ]));
        let port = run(docker().args(["port", &id, "8080/tcp"]));
        let served = Self(id, format!("http://{}", port.lines().next().unwrap()));
        wait_for("the site", Duration::from_secs(20), || {
            (http::get(&served.url("/")).status != 0).then_some(())
        });
        served
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.1)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        try_run(docker().args(["rm", "--force", &self.0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_site_without_image_is_served_by_davits_server() {
    let harness = Harness::new("static");
    for (file, text) in [
        ("public/index.html", "<h1>home</h1>"),
        ("public/a/page.html", "page"),
        ("public/app.js", "1"),
        ("public/.env", HIDDEN),
        ("public/.git/config", HIDDEN),
        ("public/.well-known/acme", "acme"),
        ("public/Dockerfile", HIDDEN),
        ("secret.txt", HIDDEN),
    ] {
        harness.write(file, text);
    }
    std::os::unix::fs::symlink("../secret.txt", harness.root().join("public/out")).unwrap();
    let mut request = harness.request();
    request.build_type = Some(BuildType::Static(StaticSite {
        publish_directory: "public".to_owned(),
        spa: true,
        ..StaticSite::default()
    }));
    // Two sites at once, both the first.
    let mut second = request.clone();
    second.tag = format!("davit-test/{}:2", harness.scope.namespace);
    let (image, other) = tokio::join!(harness.built(&request), harness.built(&second));
    assert_eq!(image.builder, "static");
    // The server is a layer that both share, and no image of its own is left behind.
    let layers =
        |id: &str| run(docker().args(["image", "inspect", "--format", "{{index .RootFS.Layers 0}}", id]));
    assert_eq!(layers(&image.id), layers(&other.id));
    let filter = format!("label={INSTANCE}={}", harness.instance);
    let left = run(docker().args(["image", "ls", "--format", "{{.Repository}}", "--filter", &filter]));
    assert!(left.lines().all(|name| name.starts_with("davit-test/")), "{left}");
    let size: u64 = run(docker().args(["image", "inspect", "--format", "{{.Size}}", &image.id]))
        .parse()
        .unwrap();
    assert!(size < 4 * 1024 * 1024, "{size} bytes");
    assert_eq!(
        run(docker().args(["image", "inspect", "--format", "{{.Config.User}}", &image.id])),
        "65532:65532"
    );
    let saved = harness.source.path().join("saved.tar");
    run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
    assert!(holds(&saved, "<h1>home</h1>") && !holds(&saved, HIDDEN));

    tokio::task::spawn_blocking(move || {
        let served = Served::new(&image.id);
        for (path, status, body) in [
            ("/", 200, "<h1>home</h1>"),
            ("/a/page.html", 200, "page"),
            ("/.well-known/acme", 200, "acme"),
            ("/.env", 404, "404 Not Found\n"),
            ("/out", 200, "<h1>home</h1>"),
            ("/%2e%2e/davit-static-server", 404, "404 Not Found\n"),
            ("/..%2fdavit-static-server", 404, "404 Not Found\n"),
            ("/gone.js", 404, "404 Not Found\n"),
            ("/some/route", 200, "<h1>home</h1>"),
        ] {
            let reply = http::get(&served.url(path));
            assert_eq!((reply.status, reply.body.as_str()), (status, body), "{path}");
        }
        let raw = run(Command::new("curl")
            .args(["-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}"])
            .arg(served.url("/../../davit-static-server")));
        assert_eq!(raw, "404");
        let page = http::request("GET", &served.url("/some/route"))
            .header("Accept: text/html")
            .send();
        assert_eq!((page.status, page.body.as_str()), (200, "<h1>home</h1>"));
        let head = http::request("HEAD", &served.url("/")).send().body;
        let etag = head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .unwrap()
            .trim()
            .to_owned();
        let again = http::request("GET", &served.url("/"))
            .header(&format!("If-None-Match: {etag}"))
            .send();
        assert_eq!(again.status, 304);
        // SIGTERM ends it at once, though it is the first process of its container.
        let begun = std::time::Instant::now();
        run(docker().args(["stop", "--time", "10", &served.0]));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            run(docker().args(["inspect", "--format", "{{.State.ExitCode}}", &served.0])),
            "0"
        );
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn static_site_with_image_is_copied_into_it() {
    let harness = Harness::new("own");
    harness.write("dist/index.html", "home");
    let mut request = harness.request();
    request.build_type = Some(BuildType::Static(StaticSite {
        publish_directory: "dist".to_owned(),
        image: Some("busybox:davit-test".to_owned()),
        image_path: Some("/var/www".to_owned()),
        spa: false,
    }));
    let image = harness.built(&request).await;
    assert_eq!(prints(&image.id, &["cat", "/var/www/index.html"]), "home");
    // Detection finds the same site.
    request.build_type = None;
    assert_eq!(harness.built(&request).await.builder, "static");
}

#[tokio::test]
async fn large_context_is_not_held_in_memory() {
    if !in_own_process(concat!(module_path!(), "::large_context_is_not_held_in_memory")) {
        return;
    }
    let harness = Harness::new("large");
    harness.dockerfile(&["COPY big /big", "RUN sha256sum /big"]);
    let big = harness.root().join("big");
    let piece: Vec<u8> = (0..1 << 20_u32)
        .map(|number| u8::try_from(number % 251).unwrap())
        .collect();
    let mut file = std::fs::File::create(&big).unwrap();
    for _ in 0..256 {
        std::io::Write::write_all(&mut file, &piece).unwrap();
    }
    let before = peak();
    let mut request = harness.request();
    request.no_cache = true;
    harness.built(&request).await;
    let grown = peak() - before;
    assert!(grown < 64 * 1024, "the peak of memory grew by {grown} KiB");
    assert!(harness.text().contains(&sum(&big)), "{}", harness.text());
}

fn sum(path: &Path) -> String {
    run(Command::new("sha256sum").arg(path))
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

/// The most memory that this process ever had resident, in KiB.
fn peak() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn build_cancelled_at_any_moment_ends_in_the_engine() {
    let harness = std::sync::Arc::new(Harness::new("moment"));
    let marker = format!("MARK={}", unique("moment"));
    harness.dockerfile(&[&format!("RUN {marker}; sleep 3600; echo $MARK")]);
    let builds = (0..12).map(|step: u64| {
        let harness = std::sync::Arc::clone(&harness);
        tokio::spawn(async move {
            let mut request = harness.request();
            request.app.name = format!("shop-{step}");
            request.tag = format!("davit-test/{}:{step}", harness.scope.namespace);
            let cancel = CancellationToken::new();
            let moment = cancel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(step * step * 6)).await;
                moment.cancel();
            });
            let error = harness
                .builder
                .build(&request, &harness.log, &cancel)
                .await
                .unwrap_err();
            assert_eq!(error.reason(), Reason::Cancelled, "{step}: {error}");
        })
    });
    for build in futures::future::join_all(builds).await {
        build.unwrap();
    }
    assert!(!runs(&marker), "{}", harness.text());
    assert!(
        !harness.text().contains("did not say that it has stopped"),
        "{}",
        harness.text()
    );
}
