//! What follows from a write, later: dependents go with their owners, a namespace is emptied before it goes, a CRD
//! takes its objects with it.
//!
//! One worker hears of every write. It keeps an index from an owner's uid to its dependents, and otherwise looks at
//! what is stored: what it does can be done twice, so that a restart only has to look at everything once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{
    cluster_roles, flow_schemas, namespaces,
    system_delete::{delete, delete_all, without_finalizer},
    system_writes::amend,
    token_secrets,
};
use crate::{
    fieldmanager::track::{APISERVER, CONTROLLERS},
    object_meta::{self, FOREGROUND, Fields, ORPHAN},
    registry::{Resource, crd},
    state::{Server, crd_collection},
    status::ApiResult,
    store::{GroupResource, Notice, Object, ObjectKey, Owner},
};

/// Collection and key of an object.
type Place = (Arc<GroupResource>, ObjectKey);

pub struct Worker {
    server: Arc<Server>,
    dependents: HashMap<Box<str>, HashSet<Place>>,
    owners: HashMap<Place, Box<[Owner]>>,
    /// Namespaces that are being deleted, by uid: when their contents are deleted, and whether that has begun.
    terminating: HashMap<Box<str>, Terminating>,
    /// Events in the order in which they were last written.
    expiries: VecDeque<Expiry>,
}

/// How long the contents of a deleted namespace stay, as upstream waits before it deletes them: `kubectl delete -f` of a
/// file with the namespace and its objects finds the objects.
const GRACE: Duration = Duration::from_secs(2);

/// A namespace that is being deleted.
struct Terminating {
    key: ObjectKey,
    when: Instant,
    begun: bool,
}

/// How long an Event is kept after it was last written, as upstream keeps it.
const EVENT_LIFE: Duration = Duration::from_hours(1);

/// An Event that goes at `when`, unless it is written again.
struct Expiry {
    when: Instant,
    key: ObjectKey,
    revision: u64,
}

/// Works until the server closes.
pub async fn run(server: Arc<Server>, mut notices: mpsc::UnboundedReceiver<Notice>) {
    let closing = server.closing.clone();
    let mut worker = Worker {
        server,
        dependents: HashMap::new(),
        owners: HashMap::new(),
        terminating: HashMap::new(),
        expiries: VecDeque::new(),
    };
    let work = async {
        worker.look_at_everything().await;
        loop {
            let waiting = worker.terminating.values().filter(|namespace| !namespace.begun);
            let expiry = worker.expiries.front().map(|expiry| expiry.when);
            let next = waiting.map(|namespace| namespace.when).chain(expiry).min();
            tokio::select! {
                notice = notices.recv() => match notice {
                    Some(notice) => worker.handle(&notice).await,
                    None => return,
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    worker.empty_namespaces().await;
                    worker.expire().await;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = closing.cancelled() => {}
    }
}

impl Worker {
    async fn look_at_everything(&mut self) {
        let collections = self.server.store.view().collections();
        let mut all = Vec::new();
        for collection in collections {
            for object in self.server.store.view().list(&collection, None).objects {
                all.push(Notice {
                    collection: collection.clone(),
                    object,
                    removed: false,
                });
            }
        }
        for notice in all {
            // An Event of before the start lives for its whole life again, which is harmless.
            self.handle(&notice).await;
        }
    }

    /// Notes a namespace that is being deleted. Later writes to it, and to what is in it, are followed at once.
    async fn terminate(&mut self, notice: &Notice) -> ApiResult<()> {
        let namespace = &notice.object;
        if !notice.collection.group.is_empty() || &*notice.collection.resource != "namespaces" {
            return Ok(());
        }
        if notice.removed {
            self.terminating.remove(&namespace.uid);
        } else if namespace.deleting {
            let known = self.terminating.entry(namespace.uid.clone());
            let known = known.or_insert_with(|| Terminating {
                key: namespace.key.clone(),
                when: Instant::now() + GRACE,
                begun: false,
            });
            if known.begun {
                return namespaces::empty(&self.server, namespace).await;
            }
        }
        Ok(())
    }

    /// Deletes the contents of the namespaces whose grace period is over.
    async fn empty_namespaces(&mut self) {
        let Some(resource) = self.resource(&GroupResource::new("", "namespaces")) else {
            return;
        };
        let now = Instant::now();
        let due = self.terminating.values_mut();
        let due = due.filter(|namespace| !namespace.begun && namespace.when <= now);
        let due: Vec<ObjectKey> = due
            .map(|namespace| {
                namespace.begun = true;
                namespace.key.clone()
            })
            .collect();
        for key in due {
            let stored = self.server.store.view().get(&resource.collection, &key);
            let Some(namespace) = stored.filter(|namespace| namespace.deleting) else {
                continue;
            };
            if let Err(error) = namespaces::empty(&self.server, &namespace).await {
                tracing::error!(%error, namespace = %key.name, "the namespace could not be emptied");
            }
        }
    }

    async fn handle(&mut self, notice: &Notice) {
        if let Err(error) = self.terminate(notice).await {
            tracing::error!(%error, object = %notice.object.key.name, "the namespace could not be emptied");
        }
        if notice.removed {
            self.forget(&(notice.collection.clone(), notice.object.key.clone()));
        } else {
            self.index(&notice.collection, &notice.object);
            if notice.collection.group.is_empty() && &*notice.collection.resource == "events" {
                self.expiries.push_back(Expiry {
                    when: Instant::now() + EVENT_LIFE,
                    key: notice.object.key.clone(),
                    revision: notice.object.revision,
                });
            }
        }
        self.follow(notice).await;
    }

    /// Removes the Events whose time is over.
    async fn expire(&mut self) {
        let Some(events) = self.resource(&GroupResource::new("", "events")) else {
            return;
        };
        let now = Instant::now();
        let mut over = Vec::new();
        while self.expiries.front().is_some_and(|expiry| expiry.when <= now) {
            let Some(Expiry { key, revision, .. }) = self.expiries.pop_front() else {
                break;
            };
            let stored = self.server.store.view().get(&events.collection, &key);
            over.extend(stored.filter(|event| event.revision == revision));
        }
        if let Err(error) = delete_all(&self.server, &events, over).await {
            tracing::error!(%error, "old Events could not be removed");
        }
    }

    fn forget(&mut self, place: &Place) {
        for owner in self.owners.remove(place).into_iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(place);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn index(&mut self, collection: &Arc<GroupResource>, object: &Object) {
        let place = (collection.clone(), object.key.clone());
        if self.owners.get(&place).map_or(&[][..], |owners| owners) == &*object.owners {
            return;
        }
        self.forget(&place);
        for owner in &object.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(place.clone());
        }
        if !object.owners.is_empty() {
            self.owners.insert(place, object.owners.clone());
        }
    }

    async fn follow(&self, notice: &Notice) {
        let done = self.try_follow(notice).await;
        if let Err(error) = done {
            tracing::error!(%error, object = %notice.object.key.name, "the garbage collector could not follow a write");
        }
    }

    async fn try_follow(&self, notice: &Notice) -> ApiResult<()> {
        let (collection, object) = (&notice.collection, &notice.object);
        let place = (collection.clone(), object.key.clone());
        if notice.removed {
            for dependent in self.dependents_of(&object.uid) {
                self.collect(&dependent).await?;
            }
        } else if !object.owners.is_empty() {
            self.collect(&place).await?;
        }
        if !notice.removed && object.deleting {
            if object.finalizers.iter().any(|name| **name == *FOREGROUND) {
                self.foreground(&place, object).await?;
            }
            if object.finalizers.iter().any(|name| **name == *ORPHAN) {
                self.orphan(&place, object).await?;
            }
        }
        // A dependent that is gone, or no longer points there, may be what its owner waited for.
        for owner in &object.owners {
            if let Some((place, owner)) = self.find_owner(&object.key.namespace, owner)
                && owner.deleting
                && owner.finalizers.iter().any(|name| **name == *FOREGROUND)
            {
                self.foreground(&place, &owner).await?;
            }
        }
        if **collection == crd_collection() {
            self.give_names(object).await?;
        }
        if **collection == crd_collection() && !notice.removed && object.deleting {
            self.empty_crd(object).await?;
        } else if notice.removed {
            self.finish_crd(collection).await?;
        }
        token_secrets::follow(&self.server, notice).await?;
        cluster_roles::follow(&self.server, notice).await?;
        flow_schemas::follow(&self.server, notice).await?;
        namespaces::follow(&self.server, notice).await
    }

    fn dependents_of(&self, uid: &str) -> Vec<Place> {
        self.dependents
            .get(uid)
            .map(|places| places.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn resource(&self, collection: &GroupResource) -> Option<Arc<Resource>> {
        self.server
            .registry()
            .get(&collection.group, &collection.resource)
            .cloned()
    }

    /// The stored object that an owner reference means: the same uid, in the dependent's namespace if it has one.
    fn find_owner(&self, namespace: &str, owner: &Owner) -> Option<(Place, Arc<Object>)> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let registry = self.server.registry();
        let resource = registry.by_kind(group, &owner.kind)?;
        let key = ObjectKey::new(if resource.namespaced { namespace } else { "" }, &owner.name);
        let found = self.server.store.view().get(&resource.collection, &key)?;
        (found.uid == owner.uid).then(|| ((resource.collection.clone(), key), found))
    }

    /// Whether anything can be concluded from an owner that is not found: not if its kind is unknown, and not if it
    /// would be in a namespace, which its dependent is not.
    fn can_be_lost(&self, namespace: &str, owner: &Owner) -> bool {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let registry = self.server.registry();
        let resource = registry.by_kind(group, &owner.kind);
        resource.is_some_and(|resource| !resource.namespaced || !namespace.is_empty())
    }

    /// Removes a dependent whose owners are all gone, or drops the references to those that are.
    async fn collect(&self, place: &Place) -> ApiResult<()> {
        let Some(object) = self.server.store.view().get(&place.0, &place.1) else {
            return Ok(());
        };
        let (mut solid, mut waiting, mut lost) = (0, Vec::new(), Vec::new());
        for owner in &object.owners {
            match self.find_owner(&object.key.namespace, owner) {
                None if !self.can_be_lost(&object.key.namespace, owner) => solid += 1,
                None => lost.push(owner.uid.clone()),
                Some((_, found)) => {
                    let foreground =
                        found.deleting && found.finalizers.iter().any(|name| **name == *FOREGROUND);
                    if foreground {
                        waiting.push(owner.uid.clone());
                    } else {
                        solid += 1;
                    }
                }
            }
        }
        let gone: Vec<Box<str>> = lost.iter().chain(&waiting).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let Some(resource) = self.resource(&place.0) else {
            return Ok(());
        };
        if solid > 0 {
            return self.drop_owners(&resource, &place.1, &gone).await;
        }
        let foreground = !waiting.is_empty() && !self.dependents_of(&object.uid).is_empty();
        delete(&self.server, &resource, &place.1, &object.uid, foreground).await
    }

    async fn drop_owners(&self, resource: &Resource, key: &ObjectKey, uids: &[Box<str>]) -> ApiResult<()> {
        // A field manager loses the ownership of references that are removed.
        amend(&self.server, resource, key, (CONTROLLERS, ""), |object| {
            let owners = object_meta::of(object)
                .get("ownerReferences")
                .and_then(Value::as_array);
            let Some(owners) = owners else { return };
            let mut kept = owners.clone();
            kept.retain(|owner| {
                let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
                uids.iter().all(|gone| **gone != *uid)
            });
            if kept.is_empty() {
                object_meta::remove(object, "ownerReferences");
            } else {
                object_meta::set(object, "ownerReferences", kept);
            }
        })
        .await
    }

    /// Removes the dependents of an owner; the owner itself goes when none is left that blocks it.
    async fn foreground(&self, place: &Place, owner: &Object) -> ApiResult<()> {
        let mut blocked = false;
        for dependent in self.dependents_of(&owner.uid) {
            Box::pin(self.collect(&dependent)).await?;
            let still = self.server.store.view().get(&dependent.0, &dependent.1);
            blocked |= still.is_some_and(|object| {
                object.owners.iter().any(|reference| {
                    reference.uid == owner.uid && reference.block_owner_deletion == Some(true)
                })
            });
        }
        if blocked {
            Ok(())
        } else {
            self.drop_finalizer(place, FOREGROUND).await
        }
    }

    /// Cuts the dependents of an owner loose, then lets it go.
    async fn orphan(&self, place: &Place, owner: &Object) -> ApiResult<()> {
        for dependent in self.dependents_of(&owner.uid) {
            if let Some(resource) = self.resource(&dependent.0) {
                self.drop_owners(&resource, &dependent.1, std::slice::from_ref(&owner.uid))
                    .await?;
            }
        }
        self.drop_finalizer(place, ORPHAN).await
    }

    async fn drop_finalizer(&self, place: &Place, finalizer: &str) -> ApiResult<()> {
        let Some(resource) = self.resource(&place.0) else {
            return Ok(());
        };
        self.server
            .mutate(&resource, &place.1, |object| without_finalizer(object, finalizer))
            .await
    }

    /// Gives CRDs the names that they waited for, after another one of their group has changed or is gone.
    async fn give_names(&self, changed: &Object) -> ApiResult<()> {
        let group = |crd: &Value| crd::names(crd).map(|(group, _)| group.to_owned());
        let wanted = group(&Value::Object(changed.value()));
        let definitions = self.server.store.view().list(&crd_collection(), None).objects;
        for definition in definitions {
            let value = Value::Object(definition.value());
            if definition.key == changed.key || !crd::waits_for_names(&value) || group(&value) != wanted {
                continue;
            }
            // The write that was heard of may not have come to that yet.
            self.server.reload_crds();
            let registry = self.server.registry();
            let now = object_meta::now();
            self.say(&definition.key, |crd| {
                let mut value = Value::Object(std::mem::take(crd));
                crd::set_status(&mut value, &registry, &now);
                if let Value::Object(value) = value {
                    *crd = value;
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Changes the status of a CRD, as the server itself.
    async fn say(&self, key: &ObjectKey, change: impl Fn(&mut Fields)) -> ApiResult<()> {
        let Some(definitions) = self.resource(&crd_collection()) else {
            return Ok(());
        };
        amend(&self.server, &definitions, key, (APISERVER, "status"), change).await
    }

    /// Removes every object of a CRD that is being deleted.
    async fn empty_crd(&self, definition: &Object) -> ApiResult<()> {
        let now = object_meta::now();
        self.say(&definition.key, |crd| {
            crd::set_terminating(crd, crd::Terminating::InProgress, &now);
        })
        .await?;
        let value = Value::Object(definition.value());
        let Some((group, plural)) = crd::names(&value) else {
            return Ok(());
        };
        let collection = GroupResource::new(group, plural);
        if let Some(resource) = self.resource(&collection) {
            let objects = self.server.store.view().list(&collection, None).objects;
            delete_all(&self.server, &resource, objects).await?;
        }
        self.finish_crd(&collection).await
    }

    /// Lets a CRD go that is being deleted and has no objects left.
    async fn finish_crd(&self, collection: &GroupResource) -> ApiResult<()> {
        let key = ObjectKey::new("", &collection.to_string());
        let view = self.server.store.view();
        let Some(definition) = view
            .get(&crd_collection(), &key)
            .filter(|definition| definition.deleting)
        else {
            return Ok(());
        };
        if definition.finalizers.iter().any(|name| **name == *crd::CLEANUP)
            && view.list(collection, None).objects.is_empty()
        {
            return self
                .drop_finalizer(&(Arc::new(crd_collection()), key), crd::CLEANUP)
                .await;
        }
        Ok(())
    }
}
