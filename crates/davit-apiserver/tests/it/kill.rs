//! A server of its own process that is killed while it writes, and whose disk runs full: real files, real TLS.

#![allow(
    clippy::disallowed_methods,
    reason = "these cases are about a process of its own"
)]

use std::{
    collections::HashMap,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use davit_apiserver::{ApiServer, Options};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rand::Rng as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::PATIENCE;

/// Where the child is told its directory.
const DIRECTORY: &str = "APISERVER_TEST_STORE";

/// Not a case of its own: what the other cases start as a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the other cases"]
async fn serve_until_killed() {
    let directory = std::path::PathBuf::from(std::env::var(DIRECTORY).unwrap());
    let server = ApiServer::open(Options {
        data_dir: Some(directory.join("data")),
        ..Options::default()
    })
    .await
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = server.kubeconfig(listener.local_addr().unwrap());
    server.serve(listener).unwrap();
    std::fs::write(directory.join("kubeconfig.new"), kubeconfig).unwrap();
    std::fs::rename(directory.join("kubeconfig.new"), directory.join("kubeconfig")).unwrap();
    std::future::pending::<()>().await;
}

/// A running child.
pub struct Server {
    child: Child,
    client: Client,
}

impl Server {
    pub async fn start(directory: &Path) -> Self {
        let kubeconfig = directory.join("kubeconfig");
        let _ = std::fs::remove_file(&kubeconfig);
        let child = Command::new("env")
            // A file that reaches its limit is an error of the write, and not the end.
            .arg("--ignore-signal=XFSZ")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "kill::serve_until_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !kubeconfig.exists() {
            assert!(Instant::now() < deadline, "the child serves");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let parsed = Kubeconfig::read_from(&kubeconfig).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .unwrap();
        // The port of one that was killed may be anybody's, also of somebody who never answers.
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        config.default_retry = false;
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            child,
            client: Client::try_from(config).unwrap(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client.clone())
    }

    /// kill -9
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn map(name: &str, data: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("n".to_owned(), data.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn revision(object: &ConfigMap) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

fn number(object: &ConfigMap) -> u64 {
    // The one that every namespace has carries none.
    object
        .data
        .as_ref()
        .and_then(|data| data.get("n")?.parse().ok())
        .unwrap_or_default()
}

/// What was acknowledged: the newest number of each object, and the newest revision.
#[derive(Default)]
struct Acknowledged {
    numbers: HashMap<String, u64>,
    revision: u64,
}

async fn write_until_it_ends(maps: Api<ConfigMap>, name: String, known: Arc<Mutex<Acknowledged>>) {
    for round in 1.. {
        let before = known.lock().unwrap().numbers.get(&name).copied();
        let written = match before {
            None => maps.create(&PostParams::default(), &map(&name, "1")).await,
            Some(number) => {
                let patch = json!({"data": {"n": (number + 1).to_string()}});
                maps.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
            }
        };
        let Ok(written) = written else {
            assert!(round > 0);
            return;
        };
        let mut known = known.lock().unwrap();
        known.numbers.insert(name.clone(), number(&written));
        known.revision = known.revision.max(revision(&written));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    const ROUNDS: usize = 12;
    const WRITERS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let mut server = Server::start(directory.path()).await;
    for round in 0..ROUNDS {
        let maps = server.maps();
        let list = maps.list(&ListParams::default()).await.unwrap();
        let start = list.metadata.resource_version.clone().unwrap();
        // A watcher that follows, so that it stands somewhere when the end comes.
        let watched = tokio::spawn({
            let maps = maps.clone();
            async move {
                let mut last = start.clone();
                // The end may come before it has begun.
                let Ok(stream) = maps.watch(&WatchParams::default(), &start).await else {
                    return last;
                };
                let mut stream = Box::pin(stream);
                while let Ok(Some(event)) = stream.try_next().await {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            last = object.resource_version().unwrap();
                        }
                        other => panic!("{other:?}"),
                    }
                }
                last
            }
        });
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_until_it_ends(
                maps.clone(),
                format!("w{writer}"),
                known.clone(),
            ));
        }
        let enough = rand::rng().random_range(1..60);
        let before = known.lock().unwrap().revision;
        let deadline = Instant::now() + PATIENCE;
        while known.lock().unwrap().revision < before + enough {
            assert!(Instant::now() < deadline, "writes go on");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        server.kill();
        writers.join_all().await;
        let watched = watched.await.unwrap();

        server = Server::start(directory.path()).await;
        let maps = server.maps();
        let list = maps.list(&ListParams::default()).await.unwrap();
        let now: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
        {
            let mut known = known.lock().unwrap();
            assert!(now >= known.revision, "round {round}: {now} < {}", known.revision);
            let found: HashMap<String, u64> = list
                .items
                .iter()
                .map(|object| (object.name_any(), number(object)))
                .collect();
            for (name, acknowledged) in &known.numbers {
                let there = found.get(name).copied().unwrap_or_default();
                // One more write may have become durable whose answer was never read.
                assert!(
                    (*acknowledged..=acknowledged + 1).contains(&there),
                    "round {round}: {name} is {there}, was {acknowledged}"
                );
            }
            for name in found.keys().filter(|name| name.starts_with('w')) {
                known.numbers.insert(name.clone(), found[name]);
            }
            known.revision = now;
        }
        // A watch goes on where nothing is missing, and else says that it cannot.
        let params = WatchParams::default().timeout(1);
        let events: Vec<_> = match maps.watch(&params, &watched).await {
            Ok(stream) => stream.try_collect().await.unwrap(),
            Err(kube::Error::Api(status)) if status.code == 410 => continue,
            Err(other) => panic!("{other}"),
        };
        let gone = events
            .iter()
            .any(|event| matches!(event, WatchEvent::Error(status) if status.code == 410));
        let missed = list
            .items
            .iter()
            .any(|object| revision(object) > watched.parse().unwrap());
        assert!(
            gone || !missed,
            "round {round}: nothing was said of what changed after {watched}"
        );
    }
    assert!(known.lock().unwrap().numbers.values().sum::<u64>() > ROUNDS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_only() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let maps = server.maps();
    let large = "x".repeat(600_000);
    maps.create(&PostParams::default(), &map("before", &large))
        .await
        .unwrap();
    let limit = |size: &str| {
        let done = Command::new("prlimit")
            .arg(format!("--pid={}", server.child.id()))
            .arg(format!("--fsize={size}"))
            .status()
            .unwrap();
        assert!(done.success());
    };
    let file = directory.path().join("data/store.redb");
    for round in 0..2 {
        let size = std::fs::metadata(&file).unwrap().len();
        limit(&format!("{size}:unlimited"));
        let mut written = 0;
        let refused = loop {
            match maps
                .create(
                    &PostParams::default(),
                    &map(&format!("m{round}-{written}"), &large),
                )
                .await
            {
                Ok(_) => written += 1,
                Err(kube::Error::Api(status)) => break status,
                Err(other) => panic!("{other}"),
            }
            assert!(written < 100, "the limit holds");
        };
        assert_eq!(refused.code, 500, "{refused:?}");
        assert!(refused.message.contains("free space"), "{refused:?}");
        assert!(refused.message.contains("store.redb"), "{refused:?}");
        let there = maps.list(&ListParams::default()).await.unwrap().items;
        assert!(
            there.iter().any(|object| object.name_any() == "before"),
            "reads go on"
        );
        let unwritten = format!("m{round}-{written}");
        assert!(
            there.iter().all(|object| object.name_any() != unwritten),
            "it was refused"
        );
        limit("unlimited:unlimited");
        maps.create(&PostParams::default(), &map(&unwritten, &large))
            .await
            .unwrap();
    }
    drop(server);
    let server = Server::start(directory.path()).await;
    let there = server.maps().list(&ListParams::default()).await.unwrap().items;
    assert!(
        there
            .iter()
            .any(|object| object.name_any() == "m1-0" || object.name_any() == "before")
    );
}
