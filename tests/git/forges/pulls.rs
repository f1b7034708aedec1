//! Pull and merge requests: one contract for all forges, on servers that answer as the forges do. The real Gitea is in
//! `previews.rs`.

use std::sync::{Mutex, PoisonError};

use davit::forge::{Forge, PullRequests, ensure_comment};
use davit::model::{CommitId, ForgeAccount};
use serde_json::{Value, json};

use crate::forge::loopback_options;
use crate::forges::openapi::Description;
use crate::forges::servers::{Answer, Asked, Raw, Server, Service, not_found, serve};
use crate::forges::{path, try_connect};

/// More than a page.
const OPEN: usize = 130;
/// The comments of other accounts: more than a page.
const OTHERS: usize = 120;
/// The head of every pull request.
const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";
const OLD: &str = "fedcba9876543210fedcba9876543210fedcba98";
const WRITER: (&str, u64) = ("jane", 1);
const STRANGER: (&str, u64) = ("eve", 2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    GitHub,
    GitLab,
    Bitbucket,
    Gitea,
}

/// A forge with `OPEN` pull requests. Of those, 2 is from a fork, 3 is a draft, and 4 from a fork that was deleted.
struct Pulls {
    kind: Kind,
    /// The comments of pull request 1.
    comments: Mutex<(u64, Vec<(u64, String)>)>,
}

impl Pulls {
    fn new(kind: Kind) -> Self {
        let others = (1..=OTHERS as u64).map(|id| (id, format!("comment {id}")));
        Self {
            kind,
            comments: Mutex::new((1000, others.collect())),
        }
    }

    fn all(&self) -> Vec<(u64, String)> {
        self.comments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }

    fn ours(&self) -> Vec<String> {
        self.all()
            .into_iter()
            .map(|(_, body)| body)
            .filter(|body| !body.starts_with("comment "))
            .collect()
    }

    fn add(&self, body: &str) -> u64 {
        let mut comments = self.comments.lock().unwrap();
        comments.0 += 1;
        let id = comments.0;
        comments.1.push((id, body.to_owned()));
        id
    }

    fn user(&self, (name, id): (&str, u64)) -> Value {
        match self.kind {
            Kind::GitHub | Kind::Gitea => json!({"login": name, "id": id}),
            Kind::GitLab => json!({"username": name, "id": id}),
            Kind::Bitbucket => json!({"type": "user", "nickname": name, "uuid": format!("{{{id}}}")}),
        }
    }

    fn pull(&self, number: usize) -> Value {
        let at = "2026-11-01T08:00:00Z";
        let (is_fork, is_draft, is_deleted) = (number == 2 || number == 4, number == 3, number == 4);
        let author = self.user(if is_fork { STRANGER } else { WRITER });
        let (id, name) = if is_fork {
            (2, "eve/shop")
        } else {
            (1, "acme/shop")
        };
        let base = json!({"id": 1, "full_name": "acme/shop"});
        let head = if is_deleted {
            Value::Null
        } else {
            json!({"id": id, "full_name": name})
        };
        let label = if number <= 2 { vec!["preview"] } else { Vec::new() };
        let labels: Vec<_> = label.iter().map(|name| json!({"name": name})).collect();
        match self.kind {
            Kind::GitHub => {
                json!({"number": number, "state": "open", "draft": is_draft, "user": author, "labels": labels,
                "created_at": at, "head": {"ref": "feature/a", "sha": HEAD, "repo": head},
                "base": {"ref": "main", "sha": OLD, "repo": base}})
            }
            Kind::Gitea => {
                json!({"number": number, "state": "open", "draft": is_draft, "user": author, "labels": labels,
                "created_at": at,
                "head": {"ref": "feature/a", "sha": HEAD, "repo_id": if is_deleted { -1 } else { id }, "repo": head},
                "base": {"ref": "main", "sha": OLD, "repo_id": 1, "repo": base}})
            }
            Kind::GitLab => {
                json!({"iid": number, "id": 1000 + number, "state": "opened", "draft": is_draft, "author": author,
                "labels": label, "created_at": at, "sha": HEAD, "source_branch": "feature/a", "target_branch": "main",
                "source_project_id": if is_deleted { Value::Null } else { json!(id) }, "target_project_id": 1})
            }
            Kind::Bitbucket => {
                let repository = |id: i32, name: &str| json!({"type": "repository", "uuid": format!("{{{id}}}"), "full_name": name});
                json!({"type": "pullrequest", "id": number, "state": "OPEN", "draft": is_draft, "author": author, "created_on": at,
                    "participants": [{"type": "participant", "user": self.user(WRITER), "role": "REVIEWER", "approved": true},
                        {"type": "participant", "user": self.user(STRANGER), "role": "REVIEWER", "approved": false}],
                    "source": {"branch": {"name": "feature/a"}, "commit": {"hash": &HEAD[..12]},
                        "repository": if is_deleted { Value::Null } else { repository(id, name) }},
                    "destination": {"branch": {"name": "main"}, "repository": repository(1, "acme/shop")}})
            }
        }
    }

    fn list(&self, asked: &Asked, all: &[Value]) -> Answer {
        let (size_key, largest) = match self.kind {
            Kind::GitHub | Kind::GitLab => ("per_page", 100),
            Kind::Bitbucket => ("pagelen", 50),
            Kind::Gitea => ("limit", 50),
        };
        let (items, next) = asked.page(all, size_key, largest);
        if self.kind == Kind::Bitbucket {
            let mut body = json!({"values": items});
            if let Some(next) = next {
                body["next"] = json!(format!("https://wrong.invalid/x?pagelen=50&page={next}"));
            }
            return Answer::ok(body);
        }
        let size = asked.number(size_key, 30).min(largest);
        Answer::ok(json!(items)).with("link", asked.link(next, all.len(), size))
    }

    fn shown(&self, id: u64, body: &str) -> Value {
        match self.kind {
            Kind::Bitbucket => json!({"type": "pullrequest_comment", "id": id, "content": {"raw": body}}),
            Kind::GitLab => json!({"id": id, "body": body, "system": false}),
            Kind::GitHub | Kind::Gitea => json!({"id": id, "body": body}),
        }
    }

    fn comments(&self, asked: &Asked, id: Option<&str>) -> Answer {
        let given = match self.kind {
            Kind::Bitbucket => &asked.body["content"]["raw"],
            _ => &asked.body["body"],
        };
        let given = given.as_str().unwrap_or_default().to_owned();
        let id: Option<u64> = id.map(|id| id.parse().unwrap());
        match (asked.method.as_str(), id) {
            ("GET", None) => {
                let all: Vec<_> = self
                    .all()
                    .iter()
                    .map(|(id, body)| self.shown(*id, body))
                    .collect();
                if self.kind == Kind::Gitea {
                    return Answer::ok(json!(all));
                }
                self.list(asked, &all)
            }
            ("POST", None) => {
                let id = self.add(&given);
                Answer::new(201, self.shown(id, &given))
            }
            ("GET", Some(id)) => match self.all().iter().find(|(known, _)| *known == id) {
                Some((id, body)) => Answer::ok(self.shown(*id, body)),
                None => not_found(),
            },
            ("PATCH" | "PUT", Some(id)) => {
                let mut comments = self.comments.lock().unwrap();
                match comments.1.iter_mut().find(|(known, _)| *known == id) {
                    Some(found) => found.1.clone_from(&given),
                    None => return not_found(),
                }
                Answer::ok(self.shown(id, &given))
            }
            ("DELETE", Some(id)) => {
                self.comments.lock().unwrap().1.retain(|(known, _)| *known != id);
                Answer::new(204, Value::Null)
            }
            _ => Answer::new(405, Value::Null),
        }
    }

    fn route(&self, asked: &Asked, path: &[&str]) -> Answer {
        let all = || (1..=OPEN).map(|number| self.pull(number)).collect::<Vec<_>>();
        let one = |number: &str| number.parse().ok().filter(|number| (1..=OPEN).contains(number));
        let state = |number: &str| match one(number) {
            Some(number) => Answer::ok(self.pull(number)),
            None if number == "500" => {
                let (key, closed) = if self.kind == Kind::Bitbucket {
                    ("state", "MERGED")
                } else {
                    ("state", "closed")
                };
                let mut pull = self.pull(1);
                pull[key] = json!(closed);
                Answer::ok(pull)
            }
            None => not_found(),
        };
        let commit = json!({"sha": HEAD, "hash": HEAD, "date": "2026-11-02T08:00:00Z",
            "commit": {"committer": {"name": "x", "email": "x@example.com", "date": "2026-11-02T08:00:00Z"}}});
        let permission = |name: &str| match name {
            "jane" => Answer::ok(json!({"permission": "write", "role_name": "maintain"})),
            "eve" => Answer::ok(json!({"permission": "read", "role_name": "read"})),
            _ => not_found(),
        };
        let review = |user, state: &str, commit: &str| json!({"id": 1, "user": self.user(user), "state": state, "commit_id": commit, "dismissed": false});
        match path {
            ["pulls" | "merge_requests" | "pullrequests"] => self.list(asked, &all()),
            ["pulls", "2", "reviews"] => {
                let reviews = [
                    review(WRITER, "APPROVED", HEAD),
                    review(STRANGER, "APPROVED", OLD),
                    review(STRANGER, "COMMENT", HEAD),
                ];
                self.list(asked, &reviews)
            }
            ["merge_requests", _, "versions"] => Answer::ok(json!([
                {"id": 2, "head_commit_sha": HEAD, "created_at": "2026-11-02T08:00:00Z", "state": "collected"},
                {"id": 1, "head_commit_sha": OLD, "created_at": "2026-11-01T08:00:00Z", "state": "collected"}])),
            ["merge_requests", "2", "resource_label_events"] => {
                let event = |id: u64, action: &str, label: &str, at: &str, user| json!({"id": id, "action": action, "created_at": at, "user": self.user(user), "label": {"id": 1, "name": label}});
                self.list(
                    asked,
                    &[
                        event(1, "add", "preview", "2026-11-01T09:00:00Z", STRANGER),
                        event(2, "remove", "preview", "2026-11-02T09:00:00Z", STRANGER),
                        event(3, "add", "preview", "2026-11-02T10:00:00Z", WRITER),
                        event(4, "add", "other", "2026-11-02T11:00:00Z", STRANGER),
                    ],
                )
            }
            ["pullrequests", "2", "activity"] => {
                let update =
                    |hash: &str| json!({"update": {"state": "OPEN", "source": {"commit": {"hash": hash}}}});
                let approval =
                    |user| json!({"approval": {"user": self.user(user), "date": "2026-11-02T10:00:00Z"}});
                self.list(
                    asked,
                    &[
                        // It was taken back.
                        approval(STRANGER),
                        approval(WRITER),
                        update(&HEAD[..12]),
                        approval(STRANGER),
                        update(&OLD[..12]),
                    ],
                )
            }
            ["pulls" | "merge_requests" | "pullrequests", number] => state(number),
            ["commits", HEAD] | ["git", "commits", HEAD] => Answer::ok(commit),
            ["pullrequests", "1", "commits"] => self.list(asked, &[commit]),
            ["collaborators", name, "permission"] => permission(name),
            ["members", "all", "1"] => Answer::ok(json!({"id": 1, "access_level": 30, "state": "active"})),
            ["members", "all", "2"] => Answer::ok(json!({"id": 2, "access_level": 20, "state": "active"})),
            [
                "issues" | "merge_requests" | "pullrequests",
                "1",
                "comments" | "notes",
                id @ ..,
            ] => self.comments(asked, id.first().copied()),
            ["issues", "comments", id] => self.comments(asked, Some(id)),
            _ => not_found(),
        }
    }
}

impl Service for Pulls {
    fn answer(&self, asked: &Asked) -> Answer {
        let segments = asked.segments();
        match segments.as_slice() {
            ["api", "v3" | "v1", "repos", "acme", "shop", rest @ ..]
            | ["api", "v4", "projects", "acme/shop", rest @ ..]
            | ["2.0", "repositories", "acme", "shop", rest @ ..] => self.route(asked, rest),
            ["2.0", "workspaces", "acme", "permissions", "repositories", "shop"] => {
                let permission = match asked.query("q") {
                    Some("user.uuid=\"{1}\"") => {
                        json!([{"type": "repository_permission", "permission": "admin"}])
                    }
                    Some("user.uuid=\"{2}\"") => {
                        json!([{"type": "repository_permission", "permission": "read"}])
                    }
                    _ => json!([]),
                };
                Answer::ok(json!({"values": permission}))
            }
            _ => not_found(),
        }
    }
}

/// What holds for every forge.
async fn obeys(forge: &dyn Forge, server: &Server<Pulls>) {
    let (shop, pulls) = (path("acme/shop"), forge.pull_requests().unwrap());
    let open = pulls.open_pull_requests(&shop).await.unwrap();
    let mut numbers: Vec<_> = open.iter().map(|pull_request| pull_request.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=OPEN as u64).collect::<Vec<_>>(), "each once");
    let find = |number: u64| open.iter().find(|found| found.number == number).unwrap();
    let of = |number: u64| {
        let found = find(number);
        (found.is_fork, found.is_draft, found.repository.is_some())
    };
    assert_eq!(
        [of(1), of(2), of(3), of(4)],
        [
            (false, false, true),
            (true, false, true),
            (false, true, true),
            (true, false, false)
        ]
    );
    let tells = matches!(server.service.kind, Kind::GitHub | Kind::Gitea);
    assert_eq!(find(2).is_from_author, tells, "it is from the fork of its author");
    let first = find(1);
    assert_eq!(
        (first.branch.as_str(), first.author.name.as_str()),
        ("feature/a", "jane")
    );
    assert!(HEAD.starts_with(&first.head));
    let labels = if server.service.kind == Kind::Bitbucket {
        Vec::new()
    } else {
        vec!["preview".to_owned()]
    };
    assert_eq!(first.labels, labels);

    let head = pulls.head(&shop, first).await.unwrap();
    assert_eq!(
        (head.commit.as_str(), head.at.to_string().as_str()),
        (HEAD, "2026-11-02T08:00:00Z")
    );
    for (number, expected) in [(1, true), (500, false), (999, false)] {
        assert_eq!(pulls.is_open(&shop, number).await.unwrap(), expected, "{number}");
    }
    let nobody = ForgeAccount {
        id: "{9}".to_owned(),
        name: "nobody".to_owned(),
    };
    for (account, expected) in [(&first.author, true), (&find(2).author, false), (&nobody, false)] {
        assert_eq!(
            pulls.may_write(&shop, account).await.unwrap(),
            expected,
            "{}",
            account.name
        );
    }
    let preview = ["preview".to_owned()];
    let approved = async |commit: &str| {
        let commit = CommitId::parse(commit).unwrap();
        let found = pulls.approvals(&shop, find(2), &commit, &preview).await.unwrap();
        found
            .into_iter()
            .map(|account| account.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(approved(HEAD).await, "jane", "exactly this commit");
    assert!(!approved(OLD).await.contains("jane"));
    keeps_one_comment(pulls, server).await;
    server.assert_legal();
}

async fn keeps_one_comment(pulls: &dyn PullRequests, server: &Server<Pulls>) {
    let shop = path("acme/shop");
    let marker = "[davit-preview]: # (a/shop 0123)";
    let writes = || {
        let requests = server.requests();
        requests.iter().filter(|line| !line.starts_with("GET ")).count()
    };
    let ensure = async |known: Option<&str>, text: &str| {
        let body = format!("{text}\n\n{marker}");
        ensure_comment(pulls, &shop, 1, known, &body, |text| text.ends_with(marker))
            .await
            .unwrap()
    };
    let ours = || server.service.ours();
    let id = ensure(None, "waiting").await;
    assert_eq!((ours().len(), writes()), (1, 1));
    assert_eq!(ensure(Some(&id), "waiting").await, id);
    assert_eq!(writes(), 1, "nothing changed");
    assert_eq!(ensure(Some(&id), "ready").await, id);
    assert!(ours()[0].starts_with("ready"));
    // Its ID was lost in a crash: it is found by its marker, behind many others.
    assert_eq!(ensure(None, "ready").await, id);
    assert_eq!((ours().len(), writes()), (1, 2));
    // A person deleted it, and a second one appeared.
    pulls.delete_comment(&shop, 1, &id).await.unwrap();
    pulls.delete_comment(&shop, 1, &id).await.unwrap();
    assert_eq!(pulls.comment(&shop, 1, &id).await.unwrap(), None);
    let id = ensure(Some(&id), "ready").await;
    assert_eq!(ours().len(), 1);
    server.service.add(&format!("copy\n\n{marker}"));
    assert_eq!(ensure(None, "ready").await, id);
    assert_eq!(ours().len(), 1, "the second one is removed");
    assert_eq!(server.service.all().len(), OTHERS + 1);
}

async fn start(kind: Kind, description: Option<Description>) -> Server<Pulls> {
    serve(Pulls::new(kind), description).await
}

/// Every request that the contract makes of a server that answers as this forge does, by the name of its description.
pub async fn requests(forge: &str) -> Vec<Raw> {
    match forge {
        "github" => github().await,
        "gitlab" => gitlab().await,
        "bitbucket" => bitbucket().await,
        _ => gitea().await,
    }
}

async fn github() -> Vec<Raw> {
    let server = start(Kind::GitHub, Description::load("github", "/api/v3", &[])).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let forge = try_connect(&spec, "token", &loopback_options()).unwrap();
    obeys(forge.as_ref(), &server).await;
    server.raw()
}

async fn gitlab() -> Vec<Raw> {
    const UNDESCRIBED: &[&str] = &[
        "/api/v4/projects/acme%2Fshop/merge_requests/2/resource_label_events",
        "/api/v4/projects/acme%2Fshop/merge_requests/1/notes",
        "/api/v4/projects/acme%2Fshop/merge_requests/1/notes/1001",
        "/api/v4/projects/acme%2Fshop/merge_requests/1/notes/1002",
        "/api/v4/projects/acme%2Fshop/merge_requests/1/notes/1003",
        "/api/v4/projects/acme%2Fshop/members/all/1",
        "/api/v4/projects/acme%2Fshop/members/all/2",
        "/api/v4/projects/acme%2Fshop/members/all/%7B9%7D",
    ];
    let server = start(Kind::GitLab, Description::load("gitlab", "", UNDESCRIBED)).await;
    let spec = json!({"gitlab": {"url": server.url, "tokenSecretRef": {"name": "gl"}}});
    let forge = try_connect(&spec, "token", &loopback_options()).unwrap();
    obeys(forge.as_ref(), &server).await;
    server.raw()
}

async fn bitbucket() -> Vec<Raw> {
    let server = start(Kind::Bitbucket, Description::load("bitbucket", "", &[])).await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let spec = json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "bb"}}});
    let forge = try_connect(&spec, "token", &options).unwrap();
    assert!(!forge.pull_requests().unwrap().base_has_heads());
    obeys(forge.as_ref(), &server).await;
    server.raw()
}

async fn gitea() -> Vec<Raw> {
    const UNDESCRIBED: &[&str] = &[
        "/api/v1/repos/acme/shop/git/commits/0123456789abcdef0123456789abcdef01234567",
        "/api/v1/repos/acme/shop/collaborators/jane/permission",
        "/api/v1/repos/acme/shop/collaborators/eve/permission",
        "/api/v1/repos/acme/shop/collaborators/%7B9%7D/permission",
    ];
    let server = start(Kind::Gitea, Description::load("gitea", "", UNDESCRIBED)).await;
    let spec = json!({"gitea": {"url": server.url, "tokenSecretRef": {"name": "gt"}}});
    let forge = try_connect(&spec, "token", &loopback_options()).unwrap();
    obeys(forge.as_ref(), &server).await;
    server.raw()
}

#[tokio::test]
async fn github_pull_requests_obey_the_contract() {
    assert!(!github().await.is_empty());
}

#[tokio::test]
async fn gitlab_merge_requests_obey_the_contract() {
    assert!(!gitlab().await.is_empty());
}

#[tokio::test]
async fn bitbucket_pull_requests_obey_the_contract() {
    assert!(!bitbucket().await.is_empty());
}

#[tokio::test]
async fn gitea_pull_requests_obey_the_contract() {
    assert!(!gitea().await.is_empty());
}
