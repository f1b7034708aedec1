//! The bodies of deliveries.

use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Event, Push, PushedRef, Refusal, Sender};
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
        text("x-github-event"),
        text("x-gitlab-event"),
        text("x-event-key"),
    ) {
        (Sender::GitHub | Sender::Gitea, "push", ..) => github_push(body),
        (Sender::GitHub, "registry_package" | "package", ..) => github_package(body),
        (Sender::GitLab, _, "Push Hook" | "Tag Push Hook", _) => gitlab_push(body),
        (Sender::Bitbucket, .., "repo:push") => bitbucket_push(body),
        (Sender::Other, ..) => registry(body),
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
struct FullName {
    full_name: String,
    default_branch: Option<String>,
}

/// A push of GitHub, Gitea or Forgejo.
fn github_push(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "ref")]
        reference: String,
        after: String,
        head_commit: Option<Commit>,
        repository: FullName,
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
        id: None,
        default_branch: body.repository.default_branch,
        reference,
        commit: exists.then(|| head.unwrap_or(body.after)),
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
        message: head.and_then(|head| head.message),
        actor: body.user_username,
    })])
}

/// A push of Bitbucket, which may be of many branches and tags.
fn bitbucket_push(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        push: Changes,
        repository: FullName,
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
    let actor = body.actor.and_then(Account::any);
    let mut events = Vec::new();
    for Change { new, old } in body.push.changes {
        let exists = new.is_some();
        let Some(changed) = new.or(old) else { continue };
        let reference = match changed.kind.as_str() {
            "branch" | "named_branch" => PushedRef::Branch(changed.name),
            "tag" | "annotated_tag" => PushedRef::Tag(changed.name),
            _ => continue,
        };
        let (hash, message) = changed.target.map(|target| (target.hash, target.message)).unzip();
        events.push(Event::Push(Push {
            repository: repository.clone(),
            id: None,
            default_branch: None,
            reference,
            commit: hash.filter(|_| exists),
            message: message.flatten(),
            actor: actor.clone(),
        }));
    }
    Ok(events)
}

/// An image in GitHub's container registry.
fn github_package(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "package")]
        registry_package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        package_version: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        package_url: Option<String>,
        container_metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        tag: Option<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        name: Option<String>,
    }
    let body: Body = read(body)?;
    let Some(version) = body.registry_package.package_version else {
        return Ok(Vec::new());
    };
    let tag = version.container_metadata.and_then(|metadata| metadata.tag?.name);
    // One delivery per platform has no tag.
    let (Some(url), Some(tag)) = (version.package_url, tag.filter(|tag| !tag.is_empty())) else {
        return Ok(Vec::new());
    };
    let repository = url.strip_suffix(&format!(":{tag}")).unwrap_or(&url).to_owned();
    Ok(vec![Event::Image { repository, tag }])
}

/// An image in Docker Hub or a distribution registry. Any other body is that of a script.
fn registry(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        push_data: Option<PushData>,
        repository: Option<Repository>,
        events: Option<Vec<Notification>>,
    }
    #[derive(Deserialize)]
    struct PushData {
        tag: Option<String>,
    }
    #[derive(Deserialize)]
    struct Repository {
        repo_name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Notification {
        action: Option<String>,
        target: Option<Target>,
        request: Option<Request>,
    }
    #[derive(Deserialize)]
    struct Target {
        repository: Option<String>,
        tag: Option<String>,
    }
    #[derive(Deserialize)]
    struct Request {
        host: Option<String>,
    }
    if body.trim_ascii().is_empty() {
        return Ok(vec![Event::Request]);
    }
    let body: Body = read(body)?;
    if body.push_data.is_none() && body.events.is_none() {
        return Ok(vec![Event::Request]);
    }
    let hub = body
        .push_data
        .and_then(|data| data.tag)
        .zip(body.repository.and_then(|found| found.repo_name));
    let hub = hub.map(|(tag, repository)| Event::Image { repository, tag });
    let pushed = body.events.into_iter().flatten().filter_map(|event| {
        let target = event.target.filter(|_| event.action.as_deref() == Some("push"))?;
        let name = target.repository?;
        let host = event.request.and_then(|request| request.host);
        Some(Event::Image {
            repository: host.map_or_else(|| name.clone(), |host| format!("{host}/{name}")),
            tag: target.tag?,
        })
    });
    Ok(hub.into_iter().chain(pushed).collect())
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
    fn registry_notification_names_image_and_tag() {
        let image = |repository: &str, tag: &str| Event::Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        };
        let hub = json!({"push_data": {"tag": "1.2"}, "repository": {"repo_name": "acme/shop"}});
        assert_eq!(parsed(("", ""), &hub).unwrap(), [image("acme/shop", "1.2")]);
        let distribution = json!({"events": [
            {"action": "push", "target": {"repository": "acme/shop", "tag": "1.2"}, "request": {"host": "r.example:5000"}},
            {"action": "push", "target": {"repository": "acme/shop"}},
            {"action": "pull", "target": {"repository": "acme/shop", "tag": "1.2"}}]});
        assert_eq!(
            parsed(("", ""), &distribution).unwrap(),
            [image("r.example:5000/acme/shop", "1.2")]
        );
        let package = |tag: &str| {
            json!({"registry_package": {"package_version": {"package_url": "ghcr.io/acme/shop:1.2",
                "container_metadata": {"tag": {"name": tag}}}}})
        };
        let event = ("x-github-event", "registry_package");
        assert_eq!(
            parsed(event, &package("1.2")).unwrap(),
            [image("ghcr.io/acme/shop", "1.2")]
        );
        assert_eq!(
            parsed(event, &package("")),
            Ok(Vec::new()),
            "one platform of several"
        );
        let pulls = json!({"events": [{"action": "pull"}]});
        assert_eq!(parsed(("", ""), &pulls), Ok(Vec::new()));
        assert_eq!(parsed(("", ""), &json!([])), Err(Refusal::Malformed));
    }

    #[test]
    fn any_other_body_is_a_request_of_a_script() {
        assert_eq!(parsed(("", ""), &json!({"by": "CI"})), Ok(vec![Event::Request]));
        let empty = parse(Sender::Other, &HeaderMap::new(), b"\n");
        assert_eq!(empty, Ok(vec![Event::Request]));
    }

    #[test]
    fn push_knows_the_default_branch_and_the_number_of_its_project() {
        let commit = "a1".repeat(20);
        let github = json!({"ref": "refs/heads/main", "after": commit, "head_commit": null,
            "repository": {"full_name": "acme/shop", "default_branch": "trunk"}});
        let gitlab = json!({"ref": "refs/heads/main", "checkout_sha": commit,
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
        }
    }

    #[test]
    fn skip_markers_are_read_in_any_case() {
        let skipped = |message: &str| match push(branch("main"), None, Some(message)) {
            Event::Push(push) => push.is_skipped(),
            _ => unreachable!(),
        };
        for message in ["Mend [skip ci]", "[CI SKIP] x", "a\n\n[no ci]", "[skip davit]"] {
            assert!(skipped(message), "{message}");
        }
        for message in ["skip ci", "[skip]", ""] {
            assert!(!skipped(message), "{message}");
        }
    }
}
