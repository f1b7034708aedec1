//! The bodies of deliveries.

use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Event, Push, PushedRef, Refusal, Sender, registry};
use crate::forge::RepositoryPath;

/// Reads what a verified delivery reports: nothing for an event that deploys nothing.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn parse(sender: Sender, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    match (
        sender,
        sender.event(headers),
        text("x-gitlab-event"),
        text("x-event-key"),
    ) {
        (Sender::GitHub | Sender::Gitea, "push", ..) => github_push(body),
        (Sender::GitHub, "registry_package" | "package", ..) => registry::github_package(body),
        (Sender::GitLab, _, "Push Hook" | "Tag Push Hook", _) => gitlab_push(body),
        (Sender::Bitbucket, .., "repo:push") => bitbucket_push(body),
        (Sender::Other, ..) => registry::notification(body),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Malformed)
}

pub(super) fn path(text: &str) -> Result<RepositoryPath, Refusal> {
    RepositoryPath::parse(text).ok_or(Refusal::Malformed)
}

/// A commit; `None` for the zeros that stand for none, of which SHA-256 repositories have more.
fn commit(text: Option<String>) -> Option<String> {
    text.filter(|text| text.bytes().any(|byte| byte != b'0'))
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    name: Option<String>,
    login: Option<String>,
    nickname: Option<String>,
}

impl Account {
    fn any(self) -> Option<String> {
        self.login.or(self.nickname).or(self.name)
    }
}

#[derive(Deserialize)]
struct NamedRepository {
    full_name: String,
    default_branch: Option<String>,
    id: Option<u64>,
    uuid: Option<String>,
}

impl NamedRepository {
    /// What stays when the repository is renamed.
    fn any_id(&self) -> Option<String> {
        self.id.map(|id| id.to_string()).or_else(|| self.uuid.clone())
    }
}

/// A push of GitHub, Gitea or Forgejo.
fn github_push(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "ref")]
        reference: String,
        before: Option<String>,
        after: String,
        head_commit: Option<Commit>,
        repository: NamedRepository,
        pusher: Option<Account>,
    }
    let body: Body = read(body)?;
    let Some(reference) = PushedRef::parse(&body.reference) else {
        return Ok(Vec::new());
    };
    // Of an annotated tag `after` is the tag itself, and the head commit what it names.
    let (head, message) = body.head_commit.map(|head| (head.id, head.message)).unzip();
    let exists = commit(Some(body.after.clone())).is_some();
    Ok(vec![Event::Push(Push {
        repository: path(&body.repository.full_name)?,
        id: body.repository.any_id(),
        default_branch: body.repository.default_branch,
        reference,
        commit: exists.then(|| head.unwrap_or(body.after)),
        before: commit(body.before),
        message: message.flatten(),
        actor: body.pusher.and_then(Account::any),
    })])
}

/// A push of a branch or a tag of GitLab.
fn gitlab_push(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "ref")]
        reference: String,
        before: Option<String>,
        checkout_sha: Option<String>,
        project: Project,
        user_username: Option<String>,
        #[serde(default)]
        commits: Vec<Commit>,
    }
    #[derive(Deserialize)]
    struct Project {
        id: Option<u64>,
        path_with_namespace: String,
        default_branch: Option<String>,
    }
    let body: Body = read(body)?;
    let Some(reference) = PushedRef::parse(&body.reference) else {
        return Ok(Vec::new());
    };
    // Absent if the branch or tag was deleted. Of an annotated tag it is the commit.
    let before = commit(body.before);
    let commit = commit(body.checkout_sha);
    let head = body
        .commits
        .into_iter()
        .find(|head| Some(&head.id) == commit.as_ref());
    Ok(vec![Event::Push(Push {
        repository: path(&body.project.path_with_namespace)?,
        id: body.project.id.map(|id| id.to_string()),
        default_branch: body.project.default_branch,
        reference,
        commit,
        before,
        message: head.and_then(|head| head.message),
        actor: body.user_username,
    })])
}

/// A push of Bitbucket, which may be of many branches and tags.
fn bitbucket_push(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        push: Changes,
        repository: NamedRepository,
        actor: Option<Account>,
    }
    #[derive(Deserialize)]
    struct Changes {
        changes: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        new: Option<Reference>,
        old: Option<Reference>,
    }
    #[derive(Deserialize)]
    struct Reference {
        #[serde(rename = "type")]
        kind: String,
        name: String,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        hash: String,
        message: Option<String>,
    }
    let body: Body = read(body)?;
    let repository = path(&body.repository.full_name)?;
    let id = body.repository.any_id();
    let actor = body.actor.and_then(Account::any);
    let mut events = Vec::new();
    for Change { new, old } in body.push.changes {
        let exists = new.is_some();
        let before = old
            .as_ref()
            .and_then(|old| Some(old.target.as_ref()?.hash.clone()));
        let Some(changed) = new.or(old) else { continue };
        let reference = match changed.kind.as_str() {
            "branch" | "named_branch" => PushedRef::Branch(changed.name),
            "tag" | "annotated_tag" => PushedRef::Tag(changed.name),
            _ => continue,
        };
        let (hash, message) = changed.target.map(|target| (target.hash, target.message)).unzip();
        events.push(Event::Push(Push {
            repository: repository.clone(),
            id: id.clone(),
            default_branch: None,
            reference,
            commit: hash.filter(|_| exists),
            before: before.filter(|_| exists),
            message: message.flatten(),
            actor: actor.clone(),
        }));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(header: (&'static str, &'static str), body: &Value) -> Result<Vec<Event>, Refusal> {
        let headers = match header.0 {
            "" => HeaderMap::new(),
            name => {
                let value = HeaderValue::from_static(header.1);
                HeaderMap::from_iter([(HeaderName::from_static(name), value)])
            }
        };
        parse(Sender::of(&headers), &headers, body.to_string().as_bytes())
    }

    fn push(reference: PushedRef, commit: Option<&str>, message: Option<&str>) -> Event {
        Event::Push(Push {
            repository: RepositoryPath::parse("acme/shop").unwrap(),
            id: None,
            default_branch: None,
            reference,
            commit: commit.map(str::to_owned),
            before: None,
            message: message.map(str::to_owned),
            actor: Some("jane".to_owned()),
        })
    }

    fn branch(name: &str) -> PushedRef {
        PushedRef::Branch(name.to_owned())
    }

    fn tag(name: &str) -> PushedRef {
        PushedRef::Tag(name.to_owned())
    }

    #[test]
    fn github_push_names_branch_tag_and_deletion() {
        let (commit, zero) = ("a1".repeat(20), "0".repeat(40));
        let body = |reference: &str, after: &str, head: Value| {
            json!({"ref": reference, "before": zero, "after": after, "head_commit": head,
                "repository": {"full_name": "acme/shop"}, "pusher": {"name": "jane"}})
        };
        let head = json!({"id": commit, "message": "Mend"});
        for header in [("x-github-event", "push"), ("x-gitea-event", "push")] {
            let read = |body: &Value| {
                let mut headers = HeaderMap::from_iter([(
                    HeaderName::from_static(header.0),
                    HeaderValue::from_static(header.1),
                )]);
                headers.insert("x-github-event", HeaderValue::from_static("push"));
                parse(Sender::of(&headers), &headers, body.to_string().as_bytes()).unwrap()
            };
            assert_eq!(
                read(&body("refs/heads/feature/a", &commit, head.clone())),
                [push(branch("feature/a"), Some(&commit), Some("Mend"))]
            );
            // Of an annotated tag `after` is the tag object.
            assert_eq!(
                read(&body("refs/tags/v1", &"b2".repeat(20), head.clone())),
                [push(tag("v1"), Some(&commit), Some("Mend"))]
            );
            assert_eq!(
                read(&body("refs/heads/old", &zero, Value::Null)),
                [push(branch("old"), None, None)]
            );
            assert!(read(&body("refs/notes/x", &commit, head.clone())).is_empty());
        }
        assert_eq!(
            parsed(("x-github-event", "ping"), &json!({"zen": "x"})),
            Ok(Vec::new())
        );
        assert_eq!(
            parsed(("x-github-event", "push"), &json!({"ref": "refs/heads/main"})),
            Err(Refusal::Malformed)
        );
    }

    #[test]
    fn gitlab_push_reads_the_commit_behind_a_tag() {
        let commit = "a1".repeat(20);
        let body = |reference: &str, checkout: Value| {
            json!({"ref": reference, "after": "b2".repeat(20), "checkout_sha": checkout, "user_username": "jane",
                "project": {"path_with_namespace": "acme/shop"},
                "commits": [{"id": "c3", "message": "Older"}, {"id": commit, "message": "Mend"}]})
        };
        assert_eq!(
            parsed(
                ("x-gitlab-event", "Push Hook"),
                &body("refs/heads/main", json!(commit))
            )
            .unwrap(),
            [push(branch("main"), Some(&commit), Some("Mend"))]
        );
        assert_eq!(
            parsed(
                ("x-gitlab-event", "Tag Push Hook"),
                &body("refs/tags/v1", json!(commit))
            )
            .unwrap(),
            [push(tag("v1"), Some(&commit), Some("Mend"))]
        );
        assert_eq!(
            parsed(
                ("x-gitlab-event", "Push Hook"),
                &body("refs/heads/main", Value::Null)
            )
            .unwrap(),
            [push(branch("main"), None, None)]
        );
        assert_eq!(
            parsed(("x-gitlab-event", "Note Hook"), &json!({})),
            Ok(Vec::new())
        );
    }

    #[test]
    fn bitbucket_push_has_many_changes() {
        let reference = |kind: &str, name: &str| json!({"type": kind, "name": name, "target": {"hash": "a1", "message": "Mend"}});
        let old = json!({"type": "branch", "name": "main", "target": {"hash": "b2"}});
        let moved = json!({"repository": {"full_name": "acme/shop"}, "push": {"changes": [{"new": reference("branch", "main"), "old": old}]}});
        let events = parsed(("x-event-key", "repo:push"), &moved).unwrap();
        assert!(matches!(&events[..], [Event::Push(push)] if push.before.as_deref() == Some("b2")));
        let body = json!({"actor": {"nickname": "jane"}, "repository": {"full_name": "acme/shop"},
            "push": {"changes": [
                {"new": reference("branch", "main"), "old": null},
                {"new": reference("tag", "v1"), "old": null},
                {"new": null, "old": reference("branch", "gone")},
                {"new": null, "old": null}]}});
        assert_eq!(
            parsed(("x-event-key", "repo:push"), &body).unwrap(),
            [
                push(branch("main"), Some("a1"), Some("Mend")),
                push(tag("v1"), Some("a1"), Some("Mend")),
                push(branch("gone"), None, Some("Mend")),
            ]
        );
    }

    #[test]
    fn push_knows_the_commit_before_the_default_branch_and_the_number_of_its_project() {
        let commit = "a1".repeat(20);
        let before = "b2".repeat(20);
        let github = json!({"ref": "refs/heads/main", "before": before, "after": commit, "head_commit": null,
            "repository": {"full_name": "acme/shop", "default_branch": "trunk"}});
        let gitlab = json!({"ref": "refs/heads/main", "before": before, "checkout_sha": commit,
            "project": {"id": 15, "path_with_namespace": "acme/shop", "default_branch": "trunk"}});
        for (header, body, id) in [
            (("x-github-event", "push"), github, None),
            (("x-gitlab-event", "Push Hook"), gitlab, Some("15")),
        ] {
            let events = parsed(header, &body).unwrap();
            let [Event::Push(push)] = events.as_slice() else {
                panic!("one push: {events:?}");
            };
            assert_eq!(push.default_branch.as_deref(), Some("trunk"));
            assert_eq!(push.id.as_deref(), id);
            assert_eq!(push.before.as_ref(), Some(&before));
        }
    }
}
