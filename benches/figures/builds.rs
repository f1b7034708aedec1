//! A build by Davit against `docker build` of the same source: cold, warm (one file changed) and unchanged.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::Docker;
use davit::builder::{BuildRequest, Builder as _, BuilderOptions, DockerBuilder, Found};
use davit::image::RegistryLogins;
use davit::job_log::JobLog;
use davit::model::AppId;
use davit::redact::Masker;
use tokio_util::sync::CancellationToken;

use crate::common::docker::{BASE_IMAGE, DockerScope};
use crate::common::{run, unique};
use crate::median;

const PAIRS: usize = 9;
const SOCKET: &str = "/var/run/docker.sock";

/// A source of 300 files, of which one is changed between warm builds.
fn source(root: &Path, word: &str) {
    for number in 0..300 {
        let dir = root.join(format!("src/{}", number % 20));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(
            dir.join(format!("{number}.txt")),
            format!("{word} {number}\n").repeat(200),
        )
        .unwrap();
    }
    let text = format!(
        "FROM {BASE_IMAGE}\nRUN echo {word} && sleep 1\nCOPY . /app\nRUN cat /app/src/*/*.txt | sha256sum > /sum && sleep 1\n"
    );
    std::fs::write(root.join("Dockerfile"), text).unwrap();
}

/// Prints the medians of both, and what Davit needs more.
pub fn builds() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let scope = DockerScope::new("benchbuilds");
    let options = BuilderOptions::new(SOCKET, unique("bench"));
    let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
    let builder = DockerBuilder::new(docker, options);
    let client = if Path::new("/usr/bin/docker").exists() {
        "/usr/bin/docker"
    } else {
        "docker"
    };
    let dir = tempfile::tempdir().unwrap();
    let log = JobLog::open(&dir.path().join("log"), Masker::new(&[])).unwrap();
    let ours = |root: &Path| {
        let request = BuildRequest {
            app: AppId::new(&scope.namespace, "shop"),
            release: "shop-1".to_owned(),
            root: root.to_path_buf(),
            path: "/".to_owned(),
            build_type: None,
            tag: format!("davit-test/{}:ours", scope.namespace),
            args: std::collections::BTreeMap::new(),
            secrets: std::collections::BTreeMap::new(),
            labels: scope
                .label()
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            env_file: None,
            registries: RegistryLogins::default(),
            push: None,
            no_cache: false,
            cpu: None,
            memory: None,
            timeout: Duration::from_mins(5),
            found: Found::default(),
        };
        let began = Instant::now();
        runtime
            .block_on(builder.build(&request, &log, &CancellationToken::new()))
            .unwrap();
        began.elapsed()
    };
    let theirs = |root: &Path| {
        let began = Instant::now();
        let tag = format!("davit-test/{}:theirs", scope.namespace);
        run(Command::new(client)
            .env("DOCKER_BUILDKIT", "1")
            .args(["build", "--quiet", "--label", &scope.label(), "--tag", &tag])
            .arg(root));
        began.elapsed()
    };
    let (mut times, mut baseline) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for _ in 0..PAIRS {
        for (times, build) in [
            (&mut times, &ours as &dyn Fn(&Path) -> Duration),
            (&mut baseline, &theirs),
        ] {
            let root = tempfile::tempdir().unwrap();
            source(root.path(), &unique("b"));
            times[0].push(build(root.path()));
            std::fs::write(root.path().join("src/0/0.txt"), unique("changed")).unwrap();
            times[1].push(build(root.path()));
            times[2].push(build(root.path()));
        }
    }
    for (index, name) in ["cold", "warm", "unchanged"].iter().enumerate() {
        let (ours, theirs) = (median(times[index].clone()), median(baseline[index].clone()));
        let more = ours.as_secs_f64() - theirs.as_secs_f64();
        println!(
            "build, {name}: {ours:.0?}, docker build {theirs:.0?}: {:+.0} ms, {:+.1} %",
            more * 1000.0,
            more / theirs.as_secs_f64() * 100.0
        );
    }
}
