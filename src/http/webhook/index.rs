//! Which Applications use which repository of which GitProvider. It follows the watch of Applications, so that a delivery
//! does not go through all of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use crate::api::{Application, Source};
use crate::model::AppId;

/// The repository of a GitProvider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Used {
    namespace: String,
    provider: String,
    /// The path or the number, in lower case: forges compare names without case.
    repository: String,
}

impl Used {
    /// The repository `repository` of the GitProvider `namespace/provider`.
    pub fn new(namespace: &str, provider: &str, repository: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            provider: provider.to_owned(),
            repository: repository.to_lowercase(),
        }
    }

    /// What an Application uses; `None` if its source is not at a GitProvider.
    pub fn by(app: &Application) -> Option<Self> {
        let found = app.spec.source.as_ref().and_then(Source::forge)?;
        let own = app.namespace().unwrap_or_default();
        let namespace = found.provider.namespace.as_deref().unwrap_or(&own);
        Some(Self::new(namespace, &found.provider.name, &found.repository))
    }
}

#[derive(Debug, Default)]
struct Users {
    by_app: HashMap<AppId, Used>,
    by_repository: HashMap<Used, BTreeSet<AppId>>,
}

impl Users {
    fn set(&mut self, id: AppId, used: Option<Used>) {
        if self.by_app.get(&id) == used.as_ref() {
            return;
        }
        if let Some(old) = self.by_app.remove(&id)
            && let Some(users) = self.by_repository.get_mut(&old)
        {
            users.remove(&id);
            if users.is_empty() {
                self.by_repository.remove(&old);
            }
        }
        if let Some(used) = used {
            self.by_repository
                .entry(used.clone())
                .or_default()
                .insert(id.clone());
            self.by_app.insert(id, used);
        }
    }
}

/// The Applications by repository. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Index(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    users: Users,
    /// The result of a list that has not ended yet.
    listed: Option<Users>,
    /// The path of each repository in use when a delivery named its ID first.
    paths: HashMap<Used, Used>,
}

impl Index {
    /// Takes an event of the watch over. What was known stays until a new list is complete.
    pub fn observe(&self, event: &Event<Application>) {
        let mut state = self.0.write();
        match event {
            Event::Init => state.listed = Some(Users::default()),
            Event::InitApply(app) => {
                let used = Used::by(app);
                if let Some(listed) = &mut state.listed {
                    listed.set(id(app), used.clone());
                }
                state.users.set(id(app), used);
            }
            Event::InitDone => {
                if let Some(listed) = state.listed.take() {
                    state.users = listed;
                }
            }
            Event::Apply(app) => state.users.set(id(app), Used::by(app)),
            Event::Delete(app) => state.users.set(id(app), None),
        }
    }

    /// The Applications that use a repository.
    pub fn users(&self, used: &Used) -> Vec<AppId> {
        let state = self.0.read();
        let users = state.users.by_repository.get(used);
        users.into_iter().flatten().cloned().collect()
    }

    /// The Applications that use a repository by its ID, or by the path that it had when a delivery named this ID first: `path` is
    /// another one after it was renamed.
    pub fn users_by_id(&self, id: &Used, path: &Used) -> Vec<AppId> {
        let mut state = self.0.write();
        let is_used = state.users.by_repository.contains_key(path);
        let former = state.paths.get(id).cloned();
        let former = former.filter(|former| state.users.by_repository.contains_key(former));
        if former.is_none() && is_used {
            state.paths.insert(id.clone(), path.clone());
        }
        let all = [Some(id), former.as_ref()].into_iter().flatten();
        let users = all.filter_map(|used| state.users.by_repository.get(used));
        users.flatten().cloned().collect()
    }
}

fn id(app: &Application) -> AppId {
    AppId::new(app.namespace().unwrap_or_default(), app.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(name: &str, repository: &str) -> Application {
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": "ns"}, "spec": {"source": {"gitea": {
            "provider": {"name": "gt"}, "owner": "Acme", "repository": repository}}}}))
        .unwrap()
    }

    fn users(index: &Index, repository: &str) -> String {
        let users = index.users(&Used::new("ns", "gt", repository));
        users.into_iter().map(|id| id.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn users_of_a_repository_follow_the_watch() {
        let index = Index::default();
        for event in [
            Event::Init,
            Event::InitApply(app("a", "shop")),
            Event::InitApply(app("b", "Shop")),
            Event::InitDone,
        ] {
            index.observe(&event);
        }
        assert_eq!(users(&index, "acme/SHOP"), "a b");
        index.observe(&Event::Apply(app("b", "other")));
        assert_eq!(
            (users(&index, "acme/shop"), users(&index, "acme/other")),
            ("a".into(), "b".into())
        );
        index.observe(&Event::Delete(app("a", "shop")));
        assert_eq!(users(&index, "acme/shop"), "");
        assert_eq!(index.users(&Used::new("elsewhere", "gt", "acme/other")), []);
    }

    #[test]
    fn renamed_repository_is_found_by_the_id_of_an_earlier_delivery() {
        let index = Index::default();
        index.observe(&Event::Apply(app("a", "shop")));
        let used = |repository: &str| Used::new("ns", "gt", repository);
        let users = |path: &str| {
            let found = index.users_by_id(&used("7"), &used(path));
            found.into_iter().map(|id| id.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(users("acme/renamed"), "", "nothing is known of it");
        users("acme/shop");
        assert_eq!(users("acme/renamed"), "a");
        assert_eq!(index.users(&used("acme/renamed")), []);
        index.observe(&Event::Delete(app("a", "shop")));
        assert_eq!(users("acme/renamed"), "");
    }

    #[test]
    fn new_list_replaces_the_old_one_when_it_is_complete() {
        let index = Index::default();
        index.observe(&Event::Apply(app("a", "shop")));
        index.observe(&Event::Init);
        index.observe(&Event::InitApply(app("b", "shop")));
        assert_eq!(
            users(&index, "acme/shop"),
            "a b",
            "nothing is forgotten meanwhile"
        );
        index.observe(&Event::InitDone);
        assert_eq!(
            users(&index, "acme/shop"),
            "b",
            "a was deleted while the watch was interrupted"
        );
    }
}
