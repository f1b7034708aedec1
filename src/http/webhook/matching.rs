//! Whether an event concerns an Application, and what is recorded of it.

use crate::api::{Application, DELIVERY, Delivery, GitRef, SourceKind, TriggerOn};
use crate::forge::webhook::{Event, Push, PushedRef};
use crate::image::ImageName;
use crate::model::CommitId;

/// The longest name of an account that is recorded, in bytes.
const LONGEST_ACTOR: usize = 255;

/// What is recorded of a push to the repository of a GitProvider that the Application uses; `None` if the push does not
/// concern it.
pub fn push_to_provider(app: &Application, push: &Push, id: Option<&str>) -> Option<Delivery> {
    let source = app.spec.source.as_ref()?.forge()?;
    pushed(app, source.git_ref, push, id)
}

/// What is recorded of an event that arrived at the Application's own URL; `None` if the event does not concern it.
pub fn own(app: &Application, event: &Event, id: Option<&str>) -> Option<Delivery> {
    if trigger(app) == TriggerOn::Manual {
        return None;
    }
    let kind = app.spec.source.as_ref()?.kind()?;
    match (event, kind) {
        (Event::Push(push), SourceKind::Git(source)) if is_at(&source.url, &push.repository.to_string()) => {
            pushed(app, source.git_ref.as_ref(), push, id)
        }
        (Event::Image { repository, tag }, SourceKind::Docker(source)) => {
            let image = ImageName::parse(&source.image).ok()?;
            let named = ImageName::parse(&format!("{repository}:{tag}")).ok()?;
            image.follows(&named).then(|| look(id, None))
        }
        (Event::Request, SourceKind::Git(_) | SourceKind::Docker(_)) => Some(look(id, None)),
        _ => None,
    }
}

/// Reports whether a delivery was recorded before and its commit is the one that was chosen last: nothing is left to record. A
/// delivery that did not lead to its commit may be sent again.
pub fn is_repeated(app: &Application, delivery: &Delivery) -> bool {
    let annotations = app.metadata.annotations.as_ref();
    let recorded = annotations
        .and_then(|all| all.get(DELIVERY))
        .and_then(|text| Delivery::parse(text));
    let pushed = |delivery: &Delivery| {
        let Delivery {
            reference,
            revision,
            before,
            ..
        } = delivery.clone();
        (reference, revision, before)
    };
    let is_recorded = recorded.is_some_and(|recorded| pushed(&recorded) == pushed(delivery));
    let source = app.status.as_ref().and_then(|status| status.source.as_ref());
    let chosen = source.filter(|source| source.observed_generation == app.metadata.generation);
    let is_chosen = chosen.zip(delivery.revision.as_ref());
    is_recorded && is_chosen.is_some_and(|(source, commit)| source.revision.ends_with(commit.as_str()))
}

fn trigger(app: &Application) -> TriggerOn {
    let trigger = app.spec.trigger.as_ref().and_then(|trigger| trigger.on);
    trigger.unwrap_or(TriggerOn::Push)
}

fn pushed(app: &Application, wanted: Option<&GitRef>, push: &Push, id: Option<&str>) -> Option<Delivery> {
    // A branch or tag that was deleted deploys nothing.
    let commit = push.commit.as_deref()?;
    let is_certain = match trigger(app) {
        TriggerOn::Manual => return None,
        TriggerOn::Tag => matches!(push.reference, PushedRef::Tag(_)).then_some(true)?,
        TriggerOn::Push => follows(wanted, push)?,
    };
    let actor = push.actor.as_deref();
    // A commit that asks for no deployment is left to the look, which records it.
    let is_skipped = matches!(push.reference, PushedRef::Branch(_)) && push.is_skipped();
    if !is_certain || is_skipped {
        return Some(look(id, actor));
    }
    Some(Delivery {
        reference: Some(push.reference.to_string()),
        revision: CommitId::parse(commit).map(|commit| commit.to_string()),
        before: push
            .before
            .as_deref()
            .and_then(CommitId::parse)
            .map(|before| before.to_string()),
        ..look(id, actor)
    })
}

/// `Some(true)` if the source follows what was pushed, `Some(false)` if only the repository can tell: not every forge
/// names the default branch.
fn follows(wanted: Option<&GitRef>, push: &Push) -> Option<bool> {
    let (branch, tag, commit) = wanted.map_or((None, None, None), |wanted| {
        (
            wanted.branch.as_ref(),
            wanted.tag.as_ref(),
            wanted.commit.as_ref(),
        )
    });
    match (&push.reference, branch, tag, commit) {
        (PushedRef::Tag(pushed), _, Some(tag), None) => (pushed == tag).then_some(true),
        (PushedRef::Branch(pushed), Some(branch), None, None) => (pushed == branch).then_some(true),
        (PushedRef::Branch(pushed), None, None, None) => match &push.default_branch {
            Some(default) => (pushed == default).then_some(true),
            None => Some(false),
        },
        _ => None,
    }
}

/// A request to look at the source, without a commit.
fn look(id: Option<&str>, actor: Option<&str>) -> Delivery {
    let actor = actor.filter(|actor| actor.len() <= LONGEST_ACTOR && !actor.contains(char::is_control));
    Delivery {
        delivery: id.map(str::to_owned),
        actor: actor.map(str::to_owned),
        ..Delivery::default()
    }
}

/// Reports whether the repository's URL ends with this path: the delivery of an organization's hook may be about another
/// repository. The host is not compared, because forges have several.
fn is_at(url: &str, path: &str) -> bool {
    let url = url.trim_end_matches('/').trim_end_matches(".git").to_lowercase();
    url.strip_suffix(&path.to_lowercase())
        .is_some_and(|before| before.ends_with(['/', ':']))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::forge::RepositoryPath;

    const COMMIT: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
    const BEFORE: &str = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2";

    fn app(source: impl Into<Value>, trigger: impl Into<Value>) -> Application {
        let (source, trigger): (Value, Value) = (source.into(), trigger.into());
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "namespace": "ns"}, "spec": {"trigger": trigger, "source": source}}))
        .unwrap()
    }

    fn at_forge(reference: impl Into<Value>, trigger: impl Into<Value>) -> Application {
        let reference: Value = reference.into();
        let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": "shop", "ref": reference}});
        app(source, trigger)
    }

    fn branch(name: &str) -> PushedRef {
        PushedRef::Branch(name.to_owned())
    }

    fn tag(name: &str) -> PushedRef {
        PushedRef::Tag(name.to_owned())
    }

    fn push(reference: PushedRef) -> Push {
        Push {
            repository: RepositoryPath::parse("acme/shop").unwrap(),
            id: None,
            default_branch: Some("main".to_owned()),
            reference,
            commit: Some(COMMIT.to_owned()),
            before: Some(BEFORE.to_owned()),
            message: None,
            actor: Some("jane".to_owned()),
        }
    }

    #[test]
    fn push_concerns_the_applications_that_follow_its_branch_or_tag() {
        let none = || Value::Null;
        let manual = json!({"on": "Manual"});
        let tags = json!({"on": "Tag"});
        for (reference, trigger, pushed, expected) in [
            (json!({"branch": "main"}), none(), branch("main"), true),
            (json!({"branch": "main"}), none(), branch("Main"), false),
            (json!({"branch": "feature/a"}), none(), branch("feature/a"), true),
            (json!({"branch": "other"}), none(), branch("main"), false),
            (none(), none(), branch("main"), true),
            (none(), none(), branch("other"), false),
            (none(), none(), tag("v1"), false),
            (json!({"tag": "v1"}), none(), tag("v1"), true),
            (json!({"tag": "v2"}), none(), tag("v1"), false),
            (json!({"tag": "main"}), none(), branch("main"), false),
            (json!({"branch": "v1"}), none(), tag("v1"), false),
            (json!({"commit": COMMIT}), none(), branch("main"), false),
            (json!({"branch": "main"}), manual.clone(), branch("main"), false),
            (none(), tags.clone(), tag("v1"), true),
            (none(), tags.clone(), branch("main"), false),
        ] {
            let app = at_forge(reference.clone(), trigger.clone());
            let found = push_to_provider(&app, &push(pushed.clone()), Some("7"));
            assert_eq!(found.is_some(), expected, "{reference} {trigger} {pushed}");
            if let Some(found) = found {
                let expected = Delivery {
                    reference: Some(pushed.to_string()),
                    revision: Some(COMMIT.to_owned()),
                    before: Some(BEFORE.to_owned()),
                    delivery: Some("7".to_owned()),
                    actor: Some("jane".to_owned()),
                };
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn delivery_is_repeated_if_its_commit_was_chosen() {
        let delivery = push_to_provider(
            &at_forge(Value::Null, Value::Null),
            &push(branch("main")),
            Some("7"),
        );
        let delivery = delivery.unwrap();
        let app = |recorded: &Delivery, revision: &str| {
            let mut app = at_forge(Value::Null, Value::Null);
            let text = serde_json::to_string(recorded).unwrap();
            app.metadata.annotations = Some([(DELIVERY.to_owned(), text)].into());
            app.metadata.generation = Some(2);
            app.status =
                serde_json::from_value(json!({"source": {"revision": revision, "observedGeneration": 2}}))
                    .unwrap();
            app
        };
        let again = Delivery {
            delivery: Some("8".to_owned()),
            ..delivery.clone()
        };
        let other = Delivery {
            before: None,
            ..delivery.clone()
        };
        assert!(is_repeated(&app(&delivery, COMMIT), &again), "another hook");
        assert!(!is_repeated(&app(&delivery, BEFORE), &again), "it led elsewhere");
        assert!(!is_repeated(&app(&other, COMMIT), &again), "another push");
        assert!(!is_repeated(&at_forge(Value::Null, Value::Null), &again));
        let mut changed = app(&delivery, COMMIT);
        changed.metadata.generation = Some(3);
        assert!(!is_repeated(&changed, &again), "the spec is newer");
        let request = Delivery::default();
        assert!(
            !is_repeated(&app(&request, COMMIT), &request),
            "a script asks to look"
        );
    }

    #[test]
    fn push_that_deletes_concerns_no_application_and_one_that_asks_for_no_deployment_is_looked_at() {
        let app = at_forge(json!({"branch": "main"}), Value::Null);
        let concerns = |change: fn(&mut Push)| {
            let mut push = push(branch("main"));
            change(&mut push);
            push_to_provider(&app, &push, None).is_some()
        };
        assert!(concerns(|_| ()));
        assert!(concerns(|push| push.message = Some("Mend".to_owned())));
        assert!(!concerns(|push| push.commit = None), "deleted");
        for marker in ["[skip ci]", "[ci skip]", "[no ci]", "[skip davit]"] {
            let mut push = push(branch("main"));
            push.message = Some(format!("Mend {marker}"));
            let found = push_to_provider(&app, &push, None);
            assert_eq!(found, Some(look(None, Some("jane"))), "{marker}");
            push.reference = branch("other");
            assert_eq!(push_to_provider(&app, &push, None), None, "{marker}");
        }
    }

    #[test]
    fn push_to_an_unknown_default_branch_only_asks_to_look() {
        let app = at_forge(Value::Null, Value::Null);
        let mut push = push(branch("feature"));
        push.default_branch = None;
        push.actor = Some("a\nb".to_owned());
        let expected = Delivery {
            delivery: Some("7".to_owned()),
            ..Delivery::default()
        };
        assert_eq!(push_to_provider(&app, &push, Some("7")), Some(expected));
    }

    #[test]
    fn own_url_takes_a_push_to_the_repository_of_the_source_only() {
        for (url, expected) in [
            ("https://host/acme/shop.git", true),
            ("https://host/acme/shop/", true),
            ("https://host/gitlab/Acme/Shop", true),
            ("ssh://git@host/acme/shop.git", true),
            ("git@host:acme/shop.git", true),
            ("https://host/bacme/shop.git", false),
            ("https://host/acme/shop2.git", false),
            ("https://host/shop.git", false),
        ] {
            let app = app(
                json!({"git": {"url": url, "ref": {"branch": "main"}}}),
                Value::Null,
            );
            let event = Event::Push(push(branch("main")));
            assert_eq!(own(&app, &event, None).is_some(), expected, "{url}");
            assert!(own(&app, &Event::Request, None).is_some());
            let other = Event::Push(push(branch("other")));
            assert_eq!(own(&app, &other, None), None);
        }
    }

    #[test]
    fn own_url_takes_an_image_by_its_repository_and_tag() {
        let event = |repository: &str, tag: &str| Event::Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        };
        for (image, repository, tag, expected) in [
            ("acme/shop:1.2", "acme/shop", "1.2", true),
            ("docker.io/acme/shop:1.2", "acme/shop", "1.2", true),
            ("acme/shop:1.2", "acme/shop", "1.3", false),
            ("acme/shop", "acme/shop", "latest", true),
            ("acme/shop", "acme/other", "latest", false),
            ("nginx", "library/nginx", "latest", true),
            ("ghcr.io/acme/shop:1.2", "ghcr.io/acme/shop", "1.2", true),
            ("registry.example.com/shop:1", "registry:5000/shop", "1", true),
            ("registry.example.com/shop:1", "shop", "1", true),
            ("registry.example.com/shop:1", "../shop", "1", false),
        ] {
            let app = app(json!({"docker": {"image": image}}), Value::Null);
            let found = own(&app, &event(repository, tag), None);
            assert_eq!(found.is_some(), expected, "{image} {repository}:{tag}");
        }
        let digest = format!("acme/shop:1.2@sha256:{}", "0".repeat(64));
        let app = app(json!({"docker": {"image": digest}}), Value::Null);
        assert_eq!(
            own(&app, &event("acme/shop", "1.2"), None),
            None,
            "a digest never moves"
        );
    }
}
