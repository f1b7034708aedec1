//! Deliveries of webhooks: what is recorded, what is refused, and the Releases that follow.

use std::time::Duration;

use davit::api::{Delivery, GitProvider};
use davit::http::{Served, webhook};
use http_body_util::BodyExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;

use super::harness::{Harness, NAMESPACE, NEXT, condition, repo};
use crate::common::git_repo::GitRepo;
use crate::common::signature;

const SECRET: &str = "correct horse battery staple";
const TO_SHOP: &str = "/webhooks/applications/default/shop";
const TO_PROVIDER: &str = "/webhooks/gitproviders/default/gt";

/// A delivery to the receiver of the controller that runs.
struct Sent<'a> {
    davit: &'a Harness,
    path: &'a str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent<'_> {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signs the body as GitHub does.
    fn signed(self, secret: &str) -> Self {
        let value = format!("sha256={}", signature(secret, &self.body));
        self.header("x-hub-signature-256", value)
    }

    /// The status and the text of the response.
    async fn send(self) -> (u16, String) {
        let mut request = http::Request::post(self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(axum::body::Body::from(self.body)).unwrap();
        let response = self.davit.webhooks.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn sent<'a>(davit: &'a Harness, path: &'a str, body: &[u8]) -> Sent<'a> {
    Sent {
        davit,
        path,
        headers: Vec::new(),
        body: body.to_vec(),
    }
}

/// A push as GitHub and Gitea report it.
fn push(repository: &str, reference: &str, commit: &str) -> Vec<u8> {
    json!({"ref": reference, "before": "0".repeat(40), "after": commit,
        "head_commit": {"id": commit, "message": "Mend"}, "pusher": {"login": "jane"},
        "repository": {"full_name": repository, "default_branch": "main"}})
    .to_string()
    .into_bytes()
}

/// A delivery of GitHub to the Application's own URL.
fn github<'a>(davit: &'a Harness, body: &[u8], id: &str) -> Sent<'a> {
    sent(davit, TO_SHOP, body)
        .header("x-github-event", "push")
        .header("x-github-delivery", id)
}

/// The path of a repository on this machine, as a forge would name it.
fn path_of(repo: &GitRepo) -> String {
    let url = repo.url();
    let mut parts: Vec<_> = url.rsplit('/').take(2).collect();
    parts.reverse();
    parts.join("/")
}

fn head(repo: &GitRepo) -> String {
    repo.git(["rev-parse", "HEAD"]).trim().to_owned()
}

async fn create_secret(davit: &Harness, name: &str, value: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"webhookSecret": value}});
    davit
        .api::<k8s_openapi::api::core::v1::Secret>()
        .patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(secret))
        .await
        .unwrap();
}

/// `shop` follows a repository, and nothing polls it.
async fn with_hooked_shop() -> (Harness, GitRepo) {
    let (davit, repo) = (Harness::start().await, repo("FROM scratch\n"));
    create_secret(&davit, "hook", SECRET).await;
    let trigger = json!({"pollInterval": "0s", "webhook": {"secretRef": {"name": "hook"}}});
    let source = json!({"git": {"url": repo.url(), "ref": {"branch": "main"}}});
    davit
        .apply("shop", json!({"source": source, "trigger": trigger}))
        .await;
    davit.wait_until_done("shop").await;
    (davit, repo)
}

fn recorded(app: &Value) -> Option<Delivery> {
    let annotation = app["metadata"]["annotations"]["davit.dev/delivery"].as_str()?;
    Some(Delivery::parse(annotation).unwrap())
}

/// Waits until the last recorded delivery was acted on.
async fn handled(davit: &Harness) -> Value {
    let app = davit.wait_until("shop", "handled", |app| {
        let asked = &app["metadata"]["annotations"]["davit.dev/requestedAt"];
        asked.is_string() && app["status"]["lastHandledReconcileAt"] == *asked
    });
    app.await;
    davit.wait_until_done("shop").await
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_push_makes_one_release_however_often_it_is_delivered() {
    let (davit, repo) = with_hooked_shop().await;
    let app = davit.application("shop").await;
    assert_eq!(
        app["status"]["webhookUrl"],
        "https://davit.example.com/webhooks/applications/default/shop"
    );
    assert_eq!(condition(&app, "WebhookReady")["status"], "True");
    let first = head(&repo);
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    let commit = head(&repo);
    let body = push(&path_of(&repo), "refs/heads/main", &commit);

    let mut changed = body.clone();
    changed[20] ^= 1;
    let wrong = github(&davit, &changed, "1").header(
        "x-hub-signature-256",
        format!("sha256={}", signature(SECRET, &body)),
    );
    assert_eq!(wrong.send().await.0, 401);
    assert_eq!(github(&davit, &body, "1").send().await.0, 401, "unsigned");
    assert_eq!(github(&davit, &body, "1").signed("other").send().await.0, 401);
    assert_eq!(recorded(&davit.application("shop").await), None);

    let (status, text) = github(&davit, &body, "1").signed(SECRET).send().await;
    assert_eq!((status, text.as_str()), (202, "recorded for 1 Application\n"));
    let expected = Delivery {
        reference: Some("refs/heads/main".to_owned()),
        revision: Some(commit.clone()),
        before: None,
        delivery: Some("1".to_owned()),
        actor: Some("jane".to_owned()),
    };
    assert_eq!(recorded(&davit.application("shop").await), Some(expected));
    davit.wait_for_phase("shop-2", "Succeeded").await;

    // Repeated, from a second hook, and the delivery of the commit before at last.
    for id in ["1", "1", "2"] {
        assert_eq!(github(&davit, &body, id).signed(SECRET).send().await.0, 202);
    }
    let late = push(&path_of(&repo), "refs/heads/main", &first);
    assert_eq!(github(&davit, &late, "0").signed(SECRET).send().await.0, 202);
    let app = handled(&davit).await;
    davit.wait_until_idle().await;
    assert_eq!(app["status"]["source"]["revision"], json!(commit));
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-2: Succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_that_a_force_push_removed_is_not_deployed_by_its_late_delivery() {
    let (davit, repo) = with_hooked_shop().await;
    let first = head(&repo);
    repo.commit("A mistake", &[("Dockerfile", NEXT)]);
    let removed = head(&repo);
    repo.git(["reset", "--quiet", "--hard", &first]);
    let from = |before: &str, commit: &str| {
        let body = push(&path_of(&repo), "refs/heads/main", commit);
        let text = String::from_utf8(body).unwrap();
        text.replace(&"0".repeat(40), before).into_bytes()
    };
    // The force push arrives first.
    for (id, body) in [("2", from(&removed, &first)), ("1", from(&first, &removed))] {
        assert_eq!(github(&davit, &body, id).signed(SECRET).send().await.0, 202);
        let app = handled(&davit).await;
        assert_eq!(app["status"]["source"]["revision"], json!(first), "{id}");
    }
    davit.wait_until_idle().await;
    // The forge was asked before anything of the Release began.
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-2: Cancelled"]
    );

    // The next push is deployed, with its delivery as the cause.
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    let body = from(&first, &head(&repo));
    assert_eq!(github(&davit, &body, "3").signed(SECRET).send().await.0, 202);
    davit.wait_for_phase("shop-3", "Succeeded").await;
    let cause = &davit.releases("shop").await[2]["status"]["cause"];
    assert_eq!(
        (&cause["kind"], &cause["delivery"]),
        (&json!("Push"), &json!("3"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_that_asks_for_no_deployment_is_not_deployed_by_delivery_or_poll() {
    let (davit, repo) = with_hooked_shop().await;
    repo.commit("Next\n\n[skip ci]", &[("Dockerfile", NEXT)]);
    let mut body: Value =
        serde_json::from_slice(&push(&path_of(&repo), "refs/heads/main", &head(&repo))).unwrap();
    body["head_commit"]["message"] = json!("Next\n\n[skip ci]");
    let body = body.to_string().into_bytes();
    let (status, text) = github(&davit, &body, "1").signed(SECRET).send().await;
    assert_eq!((status, text.as_str()), (202, "recorded for 1 Application\n"));
    let app = handled(&davit).await;
    assert_eq!(condition(&app, "SourceReady")["reason"], "CommitSkipped");
    // What polling does at its interval.
    davit.request_reconcile("shop").await;
    let app = handled(&davit).await;
    assert_eq!(condition(&app, "SourceReady")["reason"], "CommitSkipped");
    assert_eq!(app["status"]["source"]["unwatchedRevision"], json!(head(&repo)));
    assert_eq!(davit.release_phases("shop").await, ["shop-1: Succeeded"]);
    // A later commit is deployed, and the skipped one with it.
    repo.commit("More", &[("more", "")]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    let app = handled(&davit).await;
    assert_eq!(app["status"]["source"]["revision"], json!(head(&repo)));
    assert_eq!(condition(&app, "SourceReady")["reason"], "Resolved");
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_must_not_count_is_refused_with_its_reason() {
    let (davit, repo) = with_hooked_shop().await;
    let body = push(&path_of(&repo), "refs/heads/main", &head(&repo));
    let other_path = push("acme/other", "refs/heads/main", &head(&repo));
    let other_branch = push(&path_of(&repo), "refs/heads/other", &head(&repo));
    let huge = vec![b' '; (3 << 20) + 1];
    let largest = vec![b' '; 3 << 20];
    let pushed = |body: &[u8]| github(&davit, body, "1").signed(SECRET);
    let rows = [
        (
            "unknown",
            404,
            sent(&davit, "/webhooks/applications/default/none", &body).signed(SECRET),
        ),
        (
            "unknown",
            404,
            sent(&davit, "/webhooks/gitproviders/default/none", &body).signed(SECRET),
        ),
        ("unsigned", 401, github(&davit, &body, "1")),
        ("unsigned", 401, sent(&davit, TO_SHOP, b"")),
        ("wrong_signature", 401, github(&davit, &body, "1").signed("other")),
        (
            "wrong_signature",
            401,
            sent(&davit, TO_SHOP, b"").header("authorization", "Bearer other"),
        ),
        (
            "wrong_signature",
            401,
            sent(&davit, "/webhooks/applications/default/shop?token=other", b""),
        ),
        ("too_large", 413, pushed(&huge)),
        ("malformed", 400, pushed(&largest)),
        ("malformed", 400, pushed(b"{")),
        ("malformed", 400, pushed(b"{\"ref\": 1}")),
        ("ignored", 202, pushed(&other_path)),
        ("ignored", 202, pushed(&other_branch)),
        (
            "ping",
            200,
            sent(&davit, TO_SHOP, b"{}")
                .header("x-github-event", "ping")
                .signed(SECRET),
        ),
        (
            "ignored",
            202,
            sent(&davit, TO_SHOP, b"{}")
                .header("x-github-event", "star")
                .signed(SECRET),
        ),
    ];
    let count = |reason: &str| {
        let text = davit.metrics.encode().unwrap();
        let prefix = format!("davit_webhook_deliveries_total{{result=\"{reason}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.parse::<u64>().ok());
        line.unwrap_or_default()
    };
    for (reason, status, delivery) in rows {
        let before = count(reason);
        let found = delivery.send().await;
        assert_eq!(
            (found.0, count(reason)),
            (status, before + 1),
            "{reason}: {}",
            found.1
        );
    }
    let app = davit.application("shop").await;
    assert_eq!(recorded(&app), None, "nothing was recorded");
    assert_eq!(
        app["metadata"]["annotations"]["davit.dev/requestedAt"],
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn script_and_registry_reach_the_application_at_its_own_url() {
    let (davit, repo) = with_hooked_shop().await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    let bearer =
        |body: &[u8]| sent(&davit, TO_SHOP, body).header("authorization", format!("Bearer {SECRET}"));
    assert_eq!(bearer(b"").send().await.0, 202);
    davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(recorded(&handled(&davit).await), Some(Delivery::default()));

    // An image has its own source.
    let image = json!({"docker": {"image": "registry.example.com/acme/shop:1.2"}});
    let trigger = json!({"webhook": {"secretRef": {"name": "hook"}}});
    davit
        .apply(
            "image",
            json!({"source": image, "trigger": trigger, "suspend": true}),
        )
        .await;
    let to_image = "/webhooks/applications/default/image";
    let hub =
        |tag: &str| json!({"push_data": {"tag": tag}, "repository": {"repo_name": "acme/shop"}}).to_string();
    let distribution = |action: &str| {
        json!({"events": [{"action": action, "target": {"repository": "acme/shop", "tag": "1.2"},
            "request": {"host": "registry:5000"}}]})
        .to_string()
    };
    let package = json!({"registry_package": {"package_version": {"package_url": "ghcr.io/acme/shop:1.2",
        "container_metadata": {"tag": {"name": "1.2"}}}}})
    .to_string();
    let with_token = format!("{to_image}?token={}", SECRET.replace(' ', "%20"));
    // The controller has reconciled it, so that the cache has it, from which the receiver reads.
    davit
        .wait_until("image", "reconciled", |app| condition(app, "Ready").is_object())
        .await;
    let bearer = |body: &str| {
        sent(&davit, to_image, body.as_bytes()).header("authorization", format!("Bearer {SECRET}"))
    };
    for (expected, delivery) in [
        ("recorded", sent(&davit, &with_token, hub("1.2").as_bytes())),
        ("no Application", sent(&davit, &with_token, hub("1.3").as_bytes())),
        ("recorded", bearer(&distribution("push"))),
        ("no Application", bearer(&distribution("pull"))),
        (
            "recorded",
            sent(&davit, to_image, package.as_bytes())
                .header("x-github-event", "package")
                .signed(SECRET),
        ),
    ] {
        let (status, text) = delivery.send().await;
        assert_eq!(status, 202, "{text}");
        assert!(text.starts_with(expected), "{expected}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_secret_is_used_without_a_restart() {
    let (davit, repo) = with_hooked_shop().await;
    let body = push(&path_of(&repo), "refs/heads/main", &head(&repo));
    assert_eq!(github(&davit, &body, "1").signed(SECRET).send().await.0, 202);
    create_secret(&davit, "hook", "another secret").await;
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while github(&davit, &body, "2").signed("another secret").send().await.0 != 202 {
        assert!(std::time::Instant::now() < end, "the new secret is accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        github(&davit, &body, "3").signed(SECRET).send().await.0,
        401,
        "the old one is not"
    );
    create_secret(&davit, "hook", " ").await;
    let app = davit.wait_until("shop", "without a secret", |app| {
        condition(app, "WebhookReady")["reason"] == "SecretInvalid"
    });
    app.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_for_one_application_costs_few_writes() {
    let davit = Harness::start().await;
    create_secret(&davit, "hook", SECRET).await;
    let trigger = json!({"webhook": {"secretRef": {"name": "hook"}}});
    let source = json!({"git": {"url": "https://git.example.com/acme/shop.git", "ref": {"branch": "main"}}});
    // Suspended: only the receiver writes.
    davit
        .apply(
            "shop",
            json!({"source": source, "trigger": trigger, "suspend": true}),
        )
        .await;
    davit
        .wait_until("shop", "suspended", |app| {
            condition(app, "Ready")["reason"] == "Suspended"
        })
        .await;
    davit.wait_until_idle().await;
    let version = async || -> u64 {
        let app = davit.application("shop").await;
        app["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = version().await;
    let commits: Vec<String> = (0..500).map(|number| format!("{number:040x}")).collect();
    let all = commits.iter().map(|commit| {
        let body = push("acme/shop", "refs/heads/main", commit);
        github(&davit, &body, commit).signed(SECRET).send()
    });
    for (status, text) in futures::future::join_all(all).await {
        assert_eq!(status, 202, "{text}");
    }
    let writes = version().await - before;
    assert!((1..100).contains(&writes), "{writes} writes for 500 deliveries");
    assert!(
        recorded(&davit.application("shop").await)
            .unwrap()
            .revision
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn push_to_a_provider_is_recorded_on_the_applications_that_follow_it() {
    let davit = Harness::start().await;
    create_secret(&davit, "hook", SECRET).await;
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": "http://127.0.0.1:1", "tokenSecretRef": {"name": "gt"}},
            "webhook": {"secretRef": {"name": "hook"}}}});
    davit.create::<GitProvider>(provider).await;
    let source = |repository: &str, reference: Value| json!({"source": {"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": repository, "ref": reference}}});
    for (name, repository, reference) in [
        ("main", "shop", json!({"branch": "main"})),
        ("default", "Shop", Value::Null),
        ("other", "shop", json!({"branch": "other"})),
        ("tag", "shop", json!({"tag": "v1"})),
        ("elsewhere", "blog", json!({"branch": "main"})),
    ] {
        davit.apply(name, source(repository, reference)).await;
    }
    let gitea = |reference: &str, event: &str| {
        let body = push("acme/shop", reference, &"a1".repeat(20));
        let signed = signature(SECRET, &body);
        sent(&davit, TO_PROVIDER, &body)
            .header("x-gitea-event", event)
            .header("x-github-event", event)
            .header("x-gitea-signature", signed)
            .header("x-gitea-delivery", "7")
    };
    for name in ["main", "default", "other", "tag", "elsewhere"] {
        davit
            .wait_until(name, "in the cache", |app| app["status"]["conditions"].is_array())
            .await;
    }
    assert_eq!(
        gitea("refs/heads/main", "push").send().await,
        (202, "recorded for 2 Applications\n".to_owned())
    );
    assert_eq!(
        gitea("refs/tags/v1", "push").send().await,
        (202, "recorded for 1 Application\n".to_owned())
    );
    assert_eq!(
        gitea("refs/heads/none", "push").send().await.1,
        "no Application follows what changed\n"
    );
    assert_eq!(
        gitea("refs/heads/main", "issues").send().await.1,
        "no Application follows what changed\n"
    );
    for (name, expected) in [
        ("main", Some("refs/heads/main")),
        ("default", Some("refs/heads/main")),
        ("other", None),
        ("tag", Some("refs/tags/v1")),
        ("elsewhere", None),
    ] {
        let found = recorded(&davit.application(name).await);
        assert_eq!(
            found.and_then(|found| found.reference).as_deref(),
            expected,
            "{name}"
        );
    }
    // A pull request concerns the Applications with previews, and leads to no Release.
    let pull_request = gitea("refs/heads/main", "pull_request").send().await;
    assert_eq!(pull_request.1, "no Application follows what changed\n");
    let mut spec = source("shop", Value::Null);
    spec["previews"] = json!({});
    davit.apply("previewed", spec).await;
    davit
        .wait_until("previewed", "in the cache", |app| {
            app["status"]["conditions"].is_array()
        })
        .await;
    let pull_request = gitea("refs/heads/main", "pull_request").send().await;
    assert_eq!(pull_request, (202, "recorded for 1 Application\n".to_owned()));
    let app = davit.application("previewed").await;
    assert!(
        app["metadata"]["annotations"]["davit.dev/pullRequestsAt"].is_string(),
        "{app:#}"
    );
    assert_eq!(recorded(&app), None);
    let body = push("acme/shop", "refs/heads/main", &"a1".repeat(20));
    let github = sent(&davit, TO_PROVIDER, &body)
        .header("x-github-event", "push")
        .signed(SECRET);
    assert_eq!(github.send().await.0, 400, "another kind of forge");
    let provider = davit
        .api::<GitProvider>()
        .get("gt")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        provider.webhook_url.as_deref(),
        Some(format!("https://davit.example.com/webhooks/gitproviders/{NAMESPACE}/gt").as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_that_a_provider_does_not_allow_gets_no_delivery_and_holds_nothing() {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use kube::api::{DeleteParams, PostParams};

    use davit::api::Application;
    let davit = Harness::start().await;
    create_secret(&davit, "hook", SECRET).await;
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": "http://127.0.0.1:1", "tokenSecretRef": {"name": "gt"}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}},
            "webhook": {"secretRef": {"name": "hook"}}}});
    davit.create::<GitProvider>(provider).await;
    let source = json!({"gitea": {"provider": {"name": "gt", "namespace": NAMESPACE}, "owner": "acme", "repository": "shop", "ref": {"branch": "main"}}});
    let params = PostParams::default();
    for (namespace, labels) in [("friend", json!({"team": "web"})), ("foreign", json!({}))] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        let object: Namespace = serde_json::from_value(object).unwrap();
        Api::all(davit.client.clone())
            .create(&params, &object)
            .await
            .unwrap();
        let app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"},
            "spec": {"source": source, "previews": {}}});
        let app: Application = serde_json::from_value(app).unwrap();
        let api: Api<Application> = Api::namespaced(davit.client.clone(), namespace);
        api.create(&params, &app).await.unwrap();
    }
    let app = async |namespace: &str| {
        let api: Api<Application> = Api::namespaced(davit.client.clone(), namespace);
        serde_json::to_value(api.get("shop").await.unwrap()).unwrap()
    };
    for namespace in ["friend", "foreign"] {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while !app(namespace).await["status"]["conditions"].is_array() {
            assert!(std::time::Instant::now() < end, "{namespace} is not looked at");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(
        condition(&app("foreign").await, "SourceReady")["reason"],
        "AccessDenied"
    );

    let body = push("acme/shop", "refs/heads/main", &"a1".repeat(20));
    for event in ["push", "pull_request"] {
        let signed = signature(SECRET, &body);
        let delivery = sent(&davit, TO_PROVIDER, &body)
            .header("x-gitea-event", event)
            .header("x-gitea-signature", signed);
        assert_eq!(delivery.send().await.1, "recorded for 1 Application\n", "{event}");
    }
    assert!(recorded(&app("friend").await).is_some());
    let annotations = app("foreign").await["metadata"]["annotations"].to_string();
    for recorded in [
        "davit.dev/delivery",
        "davit.dev/pullRequestsAt",
        "davit.dev/requestedAt",
    ] {
        assert!(!annotations.contains(recorded), "{annotations}");
    }

    // Only the allowed one counts as a use.
    let providers = davit.api::<GitProvider>();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while providers
        .get("gt")
        .await
        .unwrap()
        .status
        .is_none_or(|status| status.used_by != 1)
    {
        assert!(
            std::time::Instant::now() < end,
            "{:?}",
            providers.get("gt").await.unwrap().status
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let friend: Api<Application> = Api::namespaced(davit.client.clone(), "friend");
    friend.delete("shop", &DeleteParams::default()).await.unwrap();
    providers.delete("gt", &DeleteParams::default()).await.unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while let Some(found) = providers.get_opt("gt").await.unwrap() {
        assert!(std::time::Instant::now() < end, "it is held: {:?}", found.status);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(app("foreign").await.is_object(), "the refused one is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_endless_deliveries_end_in_time() {
    let (davit, repo) = with_hooked_shop().await;
    let limits = davit::http::Limits {
        read_time: Duration::from_millis(300),
        ..webhook::limits()
    };
    let listener = davit::http::bind("--webhook-listen", ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let served = Served::start(listener, davit.webhooks.router(), limits);
    let exchange = async |sent: Vec<u8>| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(&sent).await;
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        let text = String::from_utf8_lossy(&received).into_owned();
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let body = push(&path_of(&repo), "refs/heads/main", &head(&repo));
    let request = |length: &str, signed: &str| {
        format!(
            "POST {TO_SHOP} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-GitHub-Event: push\r\n\
             X-Hub-Signature-256: sha256={signed}\r\n{length}\r\n\r\n"
        )
        .into_bytes()
    };
    let length = |length: usize| format!("Content-Length: {length}");
    let signed = signature(SECRET, &body);
    let whole = [request(&length(body.len()), &signed), body.clone()].concat();
    assert_eq!(exchange(whole).await, "202");
    let half = [request(&length(body.len()), &signed), body[..10].to_vec()].concat();
    assert_eq!(exchange(half).await, "408", "the rest of the body never comes");
    assert_eq!(exchange(request(&length(4 << 20), &signed)).await, "413");
    let chunk = [format!("{:x}\r\n", 4 << 20).into_bytes(), vec![b' '; 4 << 20]].concat();
    let endless = [request("Transfer-Encoding: chunked", &signed), chunk].concat();
    assert_eq!(exchange(endless).await, "413");
    assert_eq!(
        exchange(b"POST / HTTP/1.1\r\nHost:".to_vec()).await,
        "",
        "headers never end"
    );
    let long = format!(
        "POST {TO_SHOP} HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    assert_eq!(exchange(long.into_bytes()).await, "431");
    served.close().await;
}
