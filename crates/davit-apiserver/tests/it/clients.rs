//! Real clients under load: client-go's informers and leader election, and kube's watcher and reflector beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt as _, reflector,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::compare::client;
use crate::support::{PATIENCE, served};
use davit_test_support::clientgo;

/// How long the writers write.
const LOAD: Duration = Duration::from_secs(10);

/// What a watch has told.
#[derive(Default)]
struct Told {
    /// By uid: the revisions, in order.
    revisions: BTreeMap<String, Vec<u64>>,
    deleted: BTreeSet<String>,
    lists: usize,
    wrong: Vec<String>,
}

impl Told {
    fn note(&mut self, object: &impl kube::ResourceExt, gone: bool) {
        let uid = object.uid().unwrap();
        let revision: u64 = object.resource_version().unwrap().parse().unwrap();
        let before = self.revisions.entry(uid.clone()).or_default();
        if before.last().is_some_and(|last| *last >= revision) {
            self.wrong.push(format!(
                "{} came at {revision} after {before:?}",
                object.name_any()
            ));
        }
        before.push(revision);
        let again = if gone {
            !self.deleted.insert(uid)
        } else {
            self.deleted.contains(&uid)
        };
        if again {
            self.wrong
                .push(format!("{} was deleted before", object.name_any()));
        }
    }
}

/// kube's watcher and reflector on one resource.
struct Follower<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    api: Api<K>,
    store: reflector::Store<K>,
    told: Arc<Mutex<Told>>,
    task: tokio::task::JoinHandle<()>,
}

impl<K> Follower<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    fn start(api: Api<K>, kind: K::DynamicType, config: watcher::Config) -> Self {
        let writer = reflector::store::Writer::new(kind);
        let store = writer.as_reader();
        let told = Arc::new(Mutex::new(Told::default()));
        let mut events = watcher(api.clone(), config)
            .default_backoff()
            .reflect(writer)
            .boxed();
        let into = told.clone();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let mut told = into.lock().unwrap();
                match event {
                    Ok(Event::Init) => told.lists += 1,
                    Ok(Event::InitDone) => {}
                    Ok(Event::InitApply(object) | Event::Apply(object)) => told.note(&object, false),
                    Ok(Event::Delete(object)) => told.note(&object, true),
                    Err(error) => told.wrong.push(error.to_string()),
                }
            }
        });
        Self {
            api,
            store,
            told,
            task,
        }
    }

    /// Waits until the reflector holds what a fresh list gives, and looks at how it got there.
    async fn ends(self) -> Told {
        let name = |object: &K| {
            (
                object.namespace().unwrap_or_default(),
                object.name_any(),
                object.resource_version().unwrap(),
            )
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let listed = self.api.list(&ListParams::default()).await.unwrap();
            let listed: BTreeSet<_> = listed.items.iter().map(name).collect();
            let held: BTreeSet<_> = self.store.state().iter().map(|object| name(object)).collect();
            if listed == held {
                break;
            }
            assert!(Instant::now() < end, "held {held:?}\nlisted {listed:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.task.abort();
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        assert!(told.wrong.is_empty(), "{:?}", told.wrong);
        assert_eq!(told.lists, 1, "the watch was broken, and begun anew");
        told
    }
}

/// Creates, applies, patches and deletes ConfigMaps until told to stop: the revisions that were acknowledged, by uid.
async fn writes(client: Client, writer: usize, end: Instant) -> BTreeMap<String, Vec<u64>> {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut written: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut note = |map: &ConfigMap| {
        let revision = map.resource_version().unwrap().parse().unwrap();
        written.entry(map.uid().unwrap()).or_default().push(revision);
    };
    let mut turn = 0;
    while Instant::now() < end {
        let name = format!("kube-{writer}-{turn}");
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"n": "0"}})).unwrap();
        note(&maps.create(&PostParams::default(), &map).await.unwrap());
        for change in 1..5 {
            let apply =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"applied": change.to_string()}});
            let how = PatchParams::apply("load").force();
            note(&maps.patch(&name, &how, &Patch::Apply(apply)).await.unwrap());
            let merge = json!({"data": {"n": change.to_string()}});
            note(
                &maps
                    .patch(&name, &PatchParams::default(), &Patch::Merge(merge))
                    .await
                    .unwrap(),
            );
        }
        if turn % 4 != 0 {
            maps.delete(&name, &kube::api::DeleteParams::default())
                .await
                .unwrap();
        }
        turn += 1;
    }
    written
}

/// Waits until client-go has made its custom resource.
async fn gadgets(client: &Client) -> (Api<DynamicObject>, ApiResource) {
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("clientgo.example.com", "v1", "Gadget"),
        "gadgets",
    );
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let end = Instant::now() + PATIENCE;
    while api.list(&ListParams::default().limit(1)).await.is_err() {
        assert!(Instant::now() < end, "no gadgets");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (api, kind)
}

async fn all_at_once(kubeconfig: &Path) {
    let client = client(kubeconfig).await;
    let maps = Follower::start(
        Api::<ConfigMap>::all(client.clone()),
        (),
        watcher::Config::default(),
    );
    let end = Instant::now() + LOAD;
    let writers: Vec<_> = (0..2)
        .map(|writer| tokio::spawn(writes(client.clone(), writer, end)))
        .collect();
    let kubeconfig = kubeconfig.to_owned();
    let go = tokio::task::spawn_blocking(move || clientgo::writes_and_watches(&kubeconfig, LOAD));
    let (api, kind) = gadgets(&client).await;
    let custom = Follower::start(api, kind, watcher::Config::default().streaming_lists());
    let mut written = BTreeMap::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    let report = go.await.unwrap();
    assert!(report["writes"].as_u64() > Some(100), "{report}");
    let told = maps.ends().await;
    assert!(written.len() > 10, "hardly anything was written");
    for (uid, revisions) in &written {
        let told = told.revisions.get(uid).map(Vec::as_slice).unwrap_or_default();
        for revision in revisions {
            assert!(told.contains(revision), "{revision} is missing in {told:?}");
        }
    }
    let told = custom.ends().await;
    assert!(!told.revisions.is_empty(), "no gadget was seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_follow_a_busy_server_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    all_at_once(&kubeconfig).await;
    server.close().await;
}
