//! What all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{claims::Claims, parsed_roles::ParsedRoles, token_signer::Keys, verified_tokens::VerifiedTokens},
    flow_schemas::{
        Flows,
        suggested::{GROUP, LEVELS, SCHEMAS},
    },
    metrics::Metrics,
    mounts::Mounts,
    object_meta::Fields,
    registry::{Registry, Resource, builtin::Builtin, crd, resources},
    status::{ApiError, ApiResult},
    store::{Change, Expect, GroupResource, Object, ObjectKey, Refused, Store},
};

/// The state behind the router.
pub struct Server {
    pub store: Store,
    registry: RwLock<Arc<Registry>>,
    flows: RwLock<Arc<Flows>>,
    /// Whether the stored ones are others: they are read when a request asks for them.
    flows_changed: AtomicBool,
    /// The API groups that the embedding program serves.
    pub mounts: RwLock<Mounts>,
    /// Held while CRDs are turned into resources, so that the last one to look wins.
    reloading: Mutex<()>,
    /// The certificate of the authority, for `kube-root-ca.crt`.
    pub ca_pem: String,
    pub keys: Keys,
    pub metrics: Arc<Metrics>,
    pub tokens: VerifiedTokens<Claims>,
    pub roles: ParsedRoles,
    /// Cancelled when the server ends: watches end with it.
    pub closing: CancellationToken,
}

impl Server {
    /// A server on this store.
    pub fn new(store: Store, ca_pem: String, keys: Keys) -> Self {
        let server = Self {
            store,
            registry: RwLock::new(Arc::new(Registry::new(resources::resources()))),
            flows: RwLock::default(),
            flows_changed: AtomicBool::new(true),
            mounts: RwLock::default(),
            reloading: Mutex::new(()),
            ca_pem,
            keys,
            metrics: Arc::default(),
            tokens: VerifiedTokens::default(),
            roles: ParsedRoles::default(),
            closing: CancellationToken::new(),
        };
        server.reload_crds();
        server
    }

    /// What is served now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read().clone()
    }

    /// The priority levels and flow schemas that hold now.
    pub fn flows(&self) -> Arc<Flows> {
        if self.flows_changed.load(Ordering::Acquire) {
            let mut flows = self.flows.write();
            // A request that finds the mark gone waits for this lock, and so gets the new objects.
            if self.flows_changed.swap(false, Ordering::AcqRel) {
                let view = self.store.view();
                let stored = |resource: &str| view.list(&GroupResource::new(GROUP, resource), None).objects;
                *flows = Arc::new(Flows::read(&stored(LEVELS), &stored(SCHEMAS)));
            }
        }
        self.flows.read().clone()
    }

    /// Serves what the stored CRDs define. A resource whose CRD did not change keeps its compiled schemas.
    pub fn reload_crds(&self) {
        let _held = self.reloading.lock();
        let before = self.registry();
        let mut resources = resources::resources_of(&before);
        let mut claims = Vec::new();
        for object in self.store.view().list(&crd_collection(), None).objects {
            let definition = crd::outline(&object);
            let Some((group, plural)) = crd::names(&definition) else {
                continue;
            };
            claims.extend(crd::claim(&definition));
            let kept = before
                .get(group, plural)
                .filter(|known| known.origin == crd::origin(&definition));
            match kept {
                Some(kept) => resources.push(kept.clone()),
                None => resources.extend(crd::resource(&object, &definition).map(Arc::new)),
            }
        }
        let after = Arc::new(Registry::new(resources).with_claims(claims));
        for old in before.iter() {
            // A watch shows objects as its resource was when it began: with another one it begins again.
            let now = after.get(&old.group, &old.names.plural);
            if now.is_none_or(|now| !Arc::ptr_eq(now, old)) {
                old.gone.cancel();
            }
        }
        *self.registry.write() = after;
    }

    /// Writes, and lets what follows from the write happen before the answer.
    pub async fn write(
        &self,
        resource: &Resource,
        key: ObjectKey,
        expect: Expect,
        change: Change,
    ) -> Result<Arc<Object>, Refused> {
        let written = self
            .store
            .write(&resource.collection, key, expect, change)
            .await?;
        match resource.builtin {
            Builtin::Crd => self.reload_crds(),
            Builtin::FlowSchema | Builtin::PriorityLevel => self.flows_changed.store(true, Ordering::Release),
            _ => {}
        }
        Ok(written)
    }

    /// Changes an object, again after each conflict; `None` from `change` leaves it as it is.
    pub async fn mutate(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        mut change: impl FnMut(&mut Fields) -> Option<Mutation>,
    ) -> ApiResult<()> {
        loop {
            let Some(current) = self.store.view().get(&resource.collection, key) else {
                return Ok(());
            };
            let mut value = current.value();
            let action = match change(&mut value) {
                None => return Ok(()),
                Some(Mutation::Put) => Change::Put(value),
                Some(Mutation::Delete) => Change::Delete(Some(value)),
            };
            match self
                .write(resource, key.clone(), Expect::Revision(current.revision), action)
                .await
            {
                Ok(_) | Err(Refused::Gone) => return Ok(()),
                Err(Refused::Changed | Refused::Exists) => {}
                Err(Refused::Failed(why)) => return Err(ApiError::internal(why)),
            }
        }
    }
}

/// What [`Server::mutate`] does with the changed object.
pub enum Mutation {
    Put,
    Delete,
}

/// The collection of the CRDs.
pub fn crd_collection() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}
