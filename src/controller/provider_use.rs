//! Which Applications use which repository of which GitProvider, as the watch reports it.

use std::collections::{BTreeMap, HashMap, HashSet};

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;

use crate::api::{Application, GitProvider, Source, TriggerOn};
use crate::forge::RepositoryPath;

/// What an Application uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    provider: ObjectRef<GitProvider>,
    /// The repository whose pushes the Application follows, if any.
    followed: Option<String>,
    /// Whether it has previews.
    pull_requests: bool,
}

/// A repository whose events Applications follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Its path.
    pub path: RepositoryPath,
    /// Whether pull requests are followed too.
    pub pull_requests: bool,
}

impl Use {
    fn by(app: &Application) -> Option<Self> {
        let found = app.spec.source.as_ref().and_then(Source::forge)?;
        let own = app.namespace().unwrap_or_default();
        let namespace = found.provider.namespace.as_deref().unwrap_or(&own);
        let trigger = app.spec.trigger.as_ref().and_then(|trigger| trigger.on);
        // An Application that names a commit, or deploys on request, follows no push.
        let pinned = found.git_ref.is_some_and(|wanted| wanted.commit.is_some());
        let follows = !matches!(trigger, Some(TriggerOn::Manual)) && !pinned;
        let pull_requests = app
            .spec
            .previews
            .as_ref()
            .is_some_and(|previews| previews.enabled);
        Some(Self {
            provider: ObjectRef::new(&found.provider.name).within(namespace),
            followed: (follows || pull_requests).then_some(found.repository),
            pull_requests,
        })
    }
}

/// The GitProvider that an Application names, if any.
pub fn used_by(app: &Application) -> Option<ObjectRef<GitProvider>> {
    Use::by(app).map(|used| used.provider)
}

/// The repositories of a GitProvider whose pushes an Application follows, by their paths in lower case. An Application of
/// a namespace that the GitProvider does not allow does not count; `is_selected` reports what its selector selects.
pub fn followed<'a>(
    applications: impl Iterator<Item = &'a Application>,
    provider: &GitProvider,
    is_selected: impl Fn(&str) -> bool,
) -> BTreeMap<String, Followed> {
    let this = ObjectRef::from_obj(provider);
    let own = provider.namespace().unwrap_or_default();
    let mut all: BTreeMap<String, Followed> = BTreeMap::new();
    for app in applications {
        let namespace = app.namespace().unwrap_or_default();
        let rule = &provider.spec.allowed_namespaces;
        let allowed = rule.allow(&own, &namespace, || is_selected(&namespace));
        let used = Use::by(app).filter(|used| allowed && used.provider == this);
        let Some(used) = used else { continue };
        let Some(path) = used.followed.as_deref().and_then(RepositoryPath::parse) else {
            continue;
        };
        let followed = all.entry(path.to_string().to_lowercase()).or_insert(Followed {
            path,
            pull_requests: false,
        });
        followed.pull_requests |= used.pull_requests;
    }
    all
}

/// The uses of all Applications, as far as the watch has reported them.
#[derive(Debug, Default)]
pub struct Uses {
    known: HashMap<ObjectRef<Application>, Use>,
    /// The Applications of a list that has not ended yet.
    listed: HashSet<ObjectRef<Application>>,
}

impl Uses {
    /// Takes an event of the watch over, and returns the GitProviders whose use it changed.
    pub fn observe(&mut self, event: &Event<Application>) -> Vec<ObjectRef<GitProvider>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(app) => {
                self.listed.insert(ObjectRef::from_obj(app));
                self.set(ObjectRef::from_obj(app), Use::by(app))
            }
            Event::InitDone => {
                let gone: Vec<_> = self
                    .known
                    .keys()
                    .filter(|app| !self.listed.contains(app))
                    .cloned()
                    .collect();
                self.listed = HashSet::new();
                gone.into_iter().flat_map(|app| self.set(app, None)).collect()
            }
            Event::Apply(app) => self.set(ObjectRef::from_obj(app), Use::by(app)),
            Event::Delete(app) => self.set(ObjectRef::from_obj(app), None),
        }
    }

    fn set(&mut self, app: ObjectRef<Application>, used: Option<Use>) -> Vec<ObjectRef<GitProvider>> {
        if self.known.get(&app) == used.as_ref() {
            return Vec::new();
        }
        let old = self.known.remove(&app);
        let new = used.clone();
        if let Some(used) = used {
            self.known.insert(app, used);
        }
        old.into_iter().chain(new).map(|used| used.provider).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn app(
        name: &str,
        namespace: &str,
        provider: impl Into<Value>,
        repository: &str,
        more: &Value,
    ) -> Application {
        let provider: Value = provider.into();
        let mut app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"source": {"gitea": {"provider": provider, "owner": "Acme", "repository": repository}}}});
        json_patch::merge(&mut app["spec"], more);
        serde_json::from_value(app).unwrap()
    }

    fn simple(name: &str, repository: &str) -> Application {
        app(name, "ns", json!({"name": "gt"}), repository, &json!({}))
    }

    #[test]
    fn provider_is_reconciled_when_its_use_changes_and_only_then() {
        let mut uses = Uses::default();
        let mut changed = |event: Event<Application>| uses.observe(&event).len();
        assert_eq!(changed(Event::Init), 0);
        assert_eq!(changed(Event::InitApply(simple("a", "shop"))), 1);
        assert_eq!(changed(Event::InitApply(simple("b", "shop"))), 1);
        assert_eq!(changed(Event::InitDone), 0);
        assert_eq!(
            changed(Event::Apply(simple("a", "shop"))),
            0,
            "a status was written"
        );
        assert_eq!(changed(Event::Apply(simple("a", "other"))), 2, "old and new use");
        assert_eq!(changed(Event::Delete(simple("a", "other"))), 1);
        assert_eq!(changed(Event::Init), 0);
        assert_eq!(
            changed(Event::InitDone),
            1,
            "b was deleted while the watch was interrupted"
        );
    }

    fn apps_of_two_namespaces() -> Vec<Application> {
        let elsewhere = json!({"name": "gt", "namespace": "ns"});
        let none = json!({});
        vec![
            simple("a", "shop"),
            simple("b", "SHOP"),
            app(
                "c",
                "ns",
                json!({"name": "gt"}),
                "manual",
                &json!({"trigger": {"on": "Manual"}}),
            ),
            app(
                "d",
                "ns",
                json!({"name": "gt"}),
                "pinned",
                &json!({"source": {"gitea": {"ref": {"commit": "a".repeat(40)}}}}),
            ),
            app("e", "ns", json!({"name": "other"}), "another", &none),
            app("f", "team", elsewhere.clone(), "team", &none),
            app("g", "lab", elsewhere, "lab", &none),
            app("h", "team", json!({"name": "gt"}), "own-provider", &none),
        ]
    }

    #[test]
    fn hook_is_wanted_where_an_allowed_application_follows_pushes() {
        let provider = |from: &str| -> GitProvider {
            serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
                "metadata": {"name": "gt", "namespace": "ns"},
                "spec": {"allowedNamespaces": {"from": from}}}))
            .unwrap()
        };
        let apps: Vec<Application> = apps_of_two_namespaces();
        let wanted = |from: &str| {
            let found = followed(apps.iter(), &provider(from), |namespace| namespace == "lab");
            found.into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(wanted("Same"), "acme/shop");
        assert_eq!(wanted("All"), "acme/lab acme/shop acme/team");
        assert_eq!(wanted("Selector"), "acme/lab acme/shop");
    }
}
