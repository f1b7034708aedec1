//! The clients against programs that others wrote: Prism, which validates each request by the forge's published description,
//! and emulate, a GitHub in memory. `make test-peers` installs them from npm and runs these tests.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use davit::api::Reason;
use davit::error::Explain as _;
use davit::forge::webhook::{self, Sender, verify};
use davit::forge::{Forge, WantedHook, ensure_comment, ensure_hook};
use davit::model::{CommitId, GitCredential};
use davit::redact::Secret;
use serde_json::{Value, json};

use crate::common::peers;
use crate::common::process::{Daemon, Port, User, command};
use crate::forge::loopback_options;
use crate::forge_contract::{self, obeys};
use crate::forges::servers::{Raw, Server, bitbucket, gitea, github, gitlab};
use crate::forges::{connected, openapi, path, pulls, try_connect};

/// The folder of `scripts/build-peer forge-mocks`.
const FOLDER: &str = "forge-mocks-5.14.2";

/// How long Node.js may take to start, while something compiles.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program of npm that listens on loopback.
struct Mock {
    url: String,
    _daemon: Daemon,
    _port: Port,
    _dir: tempfile::TempDir,
}

impl Mock {
    fn start(program: &str, args: impl FnOnce(&str, &std::path::Path) -> Vec<String>) -> Self {
        let (port, dir) = (Port::take(), tempfile::tempdir().unwrap());
        let mut node = command("node", User::Own);
        node.arg("--require")
            .arg(peers::file(&format!("{FOLDER}/loopback.cjs")));
        node.arg(peers::file(&format!("{FOLDER}/node_modules/.bin/{program}")));
        node.args(args(&port.number().to_string(), dir.path()));
        let mut daemon = Daemon::start(program, node, &dir.path().join("log"));
        let address = format!("127.0.0.1:{}", port.number());
        daemon.wait_ready(PATIENCE, || std::net::TcpStream::connect(&address).is_ok());
        Self {
            url: format!("http://{address}"),
            _daemon: daemon,
            _port: port,
            _dir: dir,
        }
    }
}

/// What Prism finds illegal about requests. Those to paths that the trimmed description leaves out are not judged.
async fn violations(description: &str, prefix: &str, requests: Vec<Raw>) -> (usize, Vec<String>) {
    let Some(file) = openapi::file(description) else {
        eprintln!("SKIPPED: there is no oracles/openapi/{description}.json in ../shared");
        return (0, Vec::new());
    };
    let prism = tokio::task::spawn_blocking(move || {
        Mock::start("prism", |port, _| {
            [
                "mock",
                "--host",
                "127.0.0.1",
                "--port",
                port,
                file.to_str().unwrap(),
            ]
            .map(str::to_owned)
            .to_vec()
        })
    });
    let prism = prism.await.unwrap();
    let client = reqwest::Client::new();
    let (mut judged, mut found) = (0, Vec::new());
    let mut seen: Vec<Raw> = Vec::new();
    for raw in requests {
        if seen.contains(&raw) {
            continue;
        }
        seen.push(raw.clone());
        let Some(target) = raw.target.strip_prefix(prefix) else {
            continue;
        };
        let mut request = client.request(raw.method.parse().unwrap(), format!("{}{target}", prism.url));
        for (name, value) in &raw.headers {
            request = request.header(name, value);
        }
        let answer = request.body(raw.body.clone()).send().await.unwrap();
        let header = answer.headers().get("sl-violations").cloned();
        let body = answer.text().await.unwrap();
        if body.contains("NO_PATH_MATCHED_ERROR") {
            continue;
        }
        judged += 1;
        let Some(header) = header else { continue };
        let all: Vec<Value> = serde_json::from_slice(header.as_bytes()).unwrap();
        let of_request = all.iter().filter(|one| one["location"][0] == "request");
        let is_error = of_request.filter(|one| one["severity"] == "Error");
        found.extend(is_error.map(|one| format!("{} {target}: {one}", raw.method)));
    }
    drop(client);
    tokio::task::spawn_blocking(move || drop(prism)).await.unwrap();
    (judged, found)
}

/// Everything that a client asks of the server of a contract.
async fn ask_everything<S>(forge: &dyn Forge, server: &Server<S>, web: &str, account: &str) -> Vec<Raw> {
    obeys(forge, web, account).await;
    let shop = path("acme/shop");
    let mut id = None;
    // One is created, found as it is, and written again.
    for rewrite in [true, false, true] {
        let wanted = forge_contract::wanted("one");
        let ensured = ensure_hook(forge, &shop, &wanted, id.as_deref(), rewrite).await;
        id = Some(ensured.unwrap());
    }
    forge.delete_hook(&shop, &id.unwrap()).await.unwrap();
    server.raw()
}

async fn assert_legal(description: &str, prefix: &str, requests: Vec<Raw>, at_least: usize) {
    let (judged, found) = violations(description, prefix, requests).await;
    assert!(found.is_empty(), "{found:#?}");
    if openapi::file(description).is_some() {
        assert!(judged >= at_least, "only {judged} requests were judged");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_finds_every_request_to_github_legal() {
    let server = github::start(github::GitHub::default()).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, github::TOKEN);
    let mut requests = ask_everything(forge.as_ref(), &server, &server.url, "jane").await;
    let (key, public) = crate::forges::app::key();
    let server = github::start(github::GitHub::with_app(public)).await;
    let spec = json!({"github": {"url": server.url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
    let forge = connected(&spec, &key);
    requests.extend(ask_everything(forge.as_ref(), &server, &server.url, "acme").await);
    assert_legal("github", "/api/v3", requests, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_finds_every_request_to_gitlab_legal() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let url = format!("{}/sub", server.url);
    let spec = json!({"gitlab": {"url": url, "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&spec, gitlab::TOKEN);
    let mut requests = ask_everything(forge.as_ref(), &server, &url, "jane").await;
    let group = json!({"gitlab": {"url": url, "group": "acme/web", "tokenSecretRef": {"name": "gl"}}});
    connected(&group, gitlab::TOKEN).check().await.unwrap();
    requests.extend(server.raw());
    assert_legal("gitlab", "/sub", requests, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_finds_every_request_to_bitbucket_legal() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let spec = json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "bb"}}});
    let forge = try_connect(&spec, bitbucket::ACCESS_TOKEN, &options).unwrap();
    let requests = ask_everything(forge.as_ref(), &server, &server.url, "acme").await;
    assert_legal("bitbucket", "", requests, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_finds_every_request_to_gitea_legal() {
    let server = gitea::start().await;
    let spec = json!({"gitea": {"url": server.url, "tokenSecretRef": {"name": "gt"}}});
    let forge = connected(&spec, gitea::TOKEN);
    let requests = ask_everything(forge.as_ref(), &server, &server.url, "jane").await;
    assert_legal("gitea", "", requests, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_finds_every_request_about_pull_requests_legal() {
    // GitLab's trimmed description leaves notes, members and events of labels out.
    for (forge, prefix, at_least) in [
        ("github", "/api/v3", 10),
        ("gitlab", "", 3),
        ("bitbucket", "", 8),
        ("gitea", "", 6),
    ] {
        let requests = pulls::requests(forge).await;
        assert_legal(forge, prefix, requests, at_least).await;
    }
}

/// A request that is not legal is found, so that the tests above can fail.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn prism_refuses_an_illegal_request() {
    let illegal = Raw {
        method: "POST".to_owned(),
        target: "/repos/acme/shop/hooks".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({"name": 7}).to_string().into_bytes(),
    };
    let (judged, found) = violations("github", "", vec![illegal]).await;
    assert!(judged == 0 || found.len() == 1, "{found:?}");
}

const TOKEN: &str = "ghp_good4d0f";

/// emulate answers as api.github.com does; a GitHub Enterprise Server has the same below `/api/v3` and names its version.
async fn enterprise(mock: &Mock) -> String {
    let upstream = mock.url.clone();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let upstream = upstream.clone();
        async move {
            let (parts, body) = request.into_parts();
            let target = parts.uri.to_string();
            let target = target.strip_prefix("/api/v3").unwrap_or(&target);
            let mut sent = reqwest::Client::new()
                .request(parts.method, format!("{upstream}{target}"))
                .body(to_bytes(body, 1 << 20).await.unwrap());
            for (name, value) in &parts.headers {
                if !matches!(name.as_str(), "host" | "content-length") {
                    sent = sent.header(name, value);
                }
            }
            let found = sent.send().await.unwrap();
            let mut answer = Response::builder()
                .status(found.status())
                .header("x-github-enterprise-version", "3.22.0");
            for name in ["content-type", "link", "etag", "location"] {
                if let Some(value) = found.headers().get(name) {
                    answer = answer.header(name, value);
                }
            }
            answer.body(Body::from(found.bytes().await.unwrap())).unwrap()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A GitHub with the private repository `acme/shop`, which `jane` and the App 1234 reach.
async fn emulated(key: &str) -> Mock {
    let seed = json!({"tokens": {TOKEN: {"login": "jane", "scopes": ["repo", "admin:repo_hook"]}}, "github": {
        "users": [{"login": "jane", "name": "Jane", "email": "jane@example.com"}],
        "orgs": [{"login": "acme", "name": "Acme", "members": [{"login": "jane", "role": "admin"}]}],
        "repos": [{"owner": "acme", "name": "shop", "auto_init": true, "private": true},
            {"owner": "jane", "name": "blog", "auto_init": true}],
        "apps": [{"app_id": 1234, "slug": "davit", "name": "Davit", "private_key": key, "events": ["push"],
            "permissions": {"contents": "read", "metadata": "read", "checks": "read", "statuses": "write", "repository_hooks": "write"},
            "installations": [{"installation_id": 1, "account": "acme", "repository_selection": "all"}]}]}});
    let mock = tokio::task::spawn_blocking(move || {
        Mock::start("emulate", |port, dir| {
            let file = dir.join("seed.json");
            std::fs::write(&file, seed.to_string()).unwrap();
            [
                "start",
                "--service",
                "github",
                "--port",
                port,
                "--seed",
                file.to_str().unwrap(),
            ]
            .map(str::to_owned)
            .to_vec()
        })
    });
    mock.await.unwrap()
}

/// Deliveries as they arrive.
async fn receiver() -> (String, tokio::sync::mpsc::UnboundedReceiver<(HeaderMap, Vec<u8>)>) {
    let (sender, arrived) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            sender.send((parts.headers, body.to_vec())).ok();
            "recorded"
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, arrived)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn emulated_github_is_used_with_a_token_and_signs_its_deliveries() {
    let mock = emulated(&crate::forges::app::key().0).await;
    let url = enterprise(&mock).await;
    let spec = json!({"github": {"url": url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, TOKEN);
    let shop = path("acme/shop");
    assert_eq!(forge.check().await.unwrap().name, "jane");
    assert_eq!(forge.all_repositories().await.unwrap()[0].path, path("jane/blog"));
    assert_eq!(forge.all_branches(&shop).await.unwrap(), ["main"]);
    let error = forge.branches(&path("acme/none"), None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");

    let (hook_url, mut arrived) = receiver().await;
    let wanted = WantedHook {
        url: hook_url,
        secret: Secret::from("correct horse"),
        pull_requests: false,
    };
    let id = ensure_hook(forge.as_ref(), &shop, &wanted, None, true)
        .await
        .unwrap();
    assert_eq!(
        ensure_hook(forge.as_ref(), &shop, &wanted, Some(&id), false)
            .await
            .unwrap(),
        id
    );
    assert_eq!(forge.hooks(&shop).await.unwrap().len(), 1);
    let test = reqwest::Client::new()
        .post(format!("{}/repos/acme/shop/hooks/{id}/tests", mock.url))
        .bearer_auth(TOKEN);
    assert_eq!(test.send().await.unwrap().status(), 204);
    let (headers, body) = tokio::time::timeout(PATIENCE, arrived.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(Sender::of(&headers), Sender::GitHub);
    let now = jiff::Timestamp::now();
    let verified = |secret: &str| verify(Sender::GitHub, &headers, &body, &[Secret::from(secret)], now);
    assert_eq!(verified("correct horse"), Ok(()));
    assert!(verified("another").is_err());
    forge.delete_hook(&shop, &id).await.unwrap();
    assert_eq!(forge.hooks(&shop).await.unwrap(), []);
    tokio::task::spawn_blocking(move || drop(mock)).await.unwrap();
}

/// What emulate answers to a request of `jane`.
async fn as_jane(mock: &Mock, method: &str, path: &str, body: &Value) -> Value {
    let request = reqwest::Client::new()
        .request(
            method.parse().unwrap(),
            format!("{}/repos/acme/shop{path}", mock.url),
        )
        .bearer_auth(TOKEN)
        .json(body);
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{method} {path}: {}",
        answer.status()
    );
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn emulated_github_has_pull_requests_with_comments_approvals_and_deliveries() {
    let mock = emulated(&crate::forges::app::key().0).await;
    let url = enterprise(&mock).await;
    let spec = json!({"github": {"url": url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, TOKEN);
    let (shop, pulls) = (path("acme/shop"), forge.pull_requests().unwrap());
    assert_eq!(pulls.open_pull_requests(&shop).await.unwrap(), []);
    let (hook_url, mut arrived) = receiver().await;
    let wanted = WantedHook {
        url: hook_url,
        secret: Secret::from("correct horse"),
        pull_requests: true,
    };
    ensure_hook(forge.as_ref(), &shop, &wanted, None, true)
        .await
        .unwrap();

    let main = as_jane(&mock, "GET", "/git/ref/heads/main", &Value::Null).await;
    let sha = &main["object"]["sha"];
    as_jane(
        &mock,
        "POST",
        "/git/refs",
        &json!({"ref": "refs/heads/change", "sha": sha}),
    )
    .await;
    let file = json!({"message": "A change", "content": "Zmlyc3Q=", "branch": "change"});
    as_jane(&mock, "PUT", "/contents/page", &file).await;
    let opened = json!({"title": "A change", "head": "change", "base": "main"});
    let opened = as_jane(&mock, "POST", "/pulls", &opened).await;
    let head = CommitId::parse(opened["head"]["sha"].as_str().unwrap()).unwrap();

    // Its delivery is signed, and names the repository. A push comes before it.
    let event = loop {
        let arriving = tokio::time::timeout(PATIENCE, arrived.recv()).await;
        let (headers, body) = arriving.unwrap().unwrap();
        let secret = [Secret::from("correct horse")];
        let now = jiff::Timestamp::now();
        assert_eq!(verify(Sender::GitHub, &headers, &body, &secret, now), Ok(()));
        let events = webhook::parse(Sender::GitHub, &headers, &body).unwrap();
        if let Some(webhook::Event::PullRequest { repository, .. }) = events.into_iter().next() {
            break repository;
        }
    };
    assert_eq!(event, shop);

    let open = pulls.open_pull_requests(&shop).await.unwrap();
    let [found] = open.as_slice() else {
        panic!("{open:?}");
    };
    let is = (
        found.number,
        found.branch.as_str(),
        found.head.as_str(),
        found.is_fork,
        found.is_draft,
    );
    assert_eq!(is, (1, "change", head.as_str(), false, false));
    assert_eq!(found.author.name, "jane");
    assert_eq!(pulls.head(&shop, found).await.unwrap().commit, head);
    assert!(pulls.is_open(&shop, 1).await.unwrap() && !pulls.is_open(&shop, 7).await.unwrap());
    assert!(pulls.may_write(&shop, &found.author).await.unwrap());
    let approve = json!({"event": "APPROVE", "commit_id": head.as_str()});
    as_jane(&mock, "POST", "/pulls/1/reviews", &approve).await;
    let approved = pulls.approvals(&shop, found, &head, &[]).await.unwrap();
    assert_eq!(approved, std::slice::from_ref(&found.author));
    let main = CommitId::parse(sha.as_str().unwrap()).unwrap();
    assert_eq!(pulls.approvals(&shop, found, &main, &[]).await.unwrap(), []);

    let marker = "[davit-preview]: # (default/shop 0123)";
    let ensure = async |known: Option<&str>, text: &str| {
        let body = format!("{text}\n\n{marker}");
        ensure_comment(pulls, &shop, 1, known, &body, |text| text.ends_with(marker))
            .await
            .unwrap()
    };
    let id = ensure(None, "is waiting").await;
    assert_eq!(ensure(Some(&id), "is ready").await, id);
    assert_eq!(ensure(None, "is ready").await, id, "it is found by its marker");
    pulls.delete_comment(&shop, 1, &id).await.unwrap();
    let again = ensure(Some(&id), "is ready").await;
    let all = pulls.comments(&shop, 1).await.unwrap();
    assert!(
        all.len() == 1 && all[0].id == again && all[0].body.contains("is ready"),
        "{all:?}"
    );

    as_jane(&mock, "PATCH", "/pulls/1", &json!({"state": "closed"})).await;
    assert!(!pulls.is_open(&shop, 1).await.unwrap());
    assert_eq!(pulls.open_pull_requests(&shop).await.unwrap(), []);
    tokio::task::spawn_blocking(move || drop(mock)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-peers"]
async fn emulated_github_accepts_the_tokens_of_an_app() {
    let (key, _) = crate::forges::app::key();
    let mock = emulated(&key).await;
    let url = enterprise(&mock).await;
    let spec = json!({"github": {"url": url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
    let forge = connected(&spec, &key);
    let shop = path("acme/shop");
    let credential = forge.clone_credential(&shop).await.unwrap();
    assert!(credential.expires_at.is_some());
    let GitCredential::Basic { username, password } = credential.value else {
        panic!("a token is a password");
    };
    assert_eq!(username, "x-access-token");
    // It is restricted to the repository and to reading.
    let minted: Value = reqwest::Client::new()
        .get(format!("{}/_emulate/installation-tokens", mock.url))
        .bearer_auth(password.expose_str().unwrap())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let text = minted.to_string();
    assert!(
        text.contains("contents") && !text.contains(password.expose_str().unwrap()),
        "{text}"
    );
    assert_eq!(forge.all_branches(&shop).await.unwrap(), ["main"]);
    let error = forge.clone_credential(&path("jane/blog")).await.unwrap_err();
    assert!(
        matches!(
            error.reason(),
            Reason::ForgeAppNotInstalled | Reason::GitRepositoryNotFound
        ),
        "{error}"
    );
    let unknown = CommitId::parse(&"f".repeat(40)).unwrap();
    assert!(forge.checks(&shop, &unknown).await.is_err());
    tokio::task::spawn_blocking(move || drop(mock)).await.unwrap();
}
