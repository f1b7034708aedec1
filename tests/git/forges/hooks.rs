//! Hooks: one per repository at every forge, registered, repaired, never doubled, removed.

use davit::api::Reason;
use davit::error::Explain as _;
use davit::forge::{Forge, WantedHook, ensure_hook};
use davit::redact::Secret;
use serde_json::{Value, json};

use crate::forge::loopback_options;
use crate::forges::servers::hooks::Hooks;
use crate::forges::servers::{Server, bitbucket, gitea, github, gitlab};
use crate::forges::{connected, path, try_connect};

const URL: &str = "https://davit.example.com/webhooks/gitproviders/platform/acme";

fn wanted(secret: &str) -> WantedHook {
    WantedHook {
        url: URL.to_owned(),
        secret: Secret::from(secret),
        pull_requests: false,
    }
}

/// A forge that manages the hooks of `acme/shop`, which `hooks` keeps. `spoil` makes a hook useless.
async fn keeps_one_hook<S>(forge: &dyn Forge, server: &Server<S>, hooks: &Hooks, spoil: fn(&mut Value)) {
    let shop = path("acme/shop");
    let ours = || -> Vec<Value> {
        let all = hooks.all().into_iter();
        all.filter(|hook| hooks.url(hook) == URL).collect()
    };
    let writes = || {
        let requests = server.requests();
        let changes = requests
            .iter()
            .filter(|line| !line.starts_with("GET ") && line.contains("/hooks"));
        changes.count()
    };
    let ensure = async |secret: &str, known: Option<&str>, rewrite| {
        ensure_hook(forge, &shop, &wanted(secret), known, rewrite)
            .await
            .unwrap()
    };
    // The hook of another program stays as it is.
    let mut other = json!({"events": ["push"], "active": true, "config": {}});
    hooks.set_url(&mut other, "https://ci.example.com/hook");
    hooks.add(other);

    let id = ensure("one", None, true).await;
    assert_eq!((ours().len(), writes()), (1, 1));
    assert_eq!(Hooks::secret(&ours()[0]), "one");
    let found = forge.hooks(&shop).await.unwrap();
    let hook = found.iter().find(|hook| hook.url == URL).unwrap();
    assert!(hook.is_intact && hook.id == id, "{hook:?}");
    assert_eq!(ensure("one", Some(&id), false).await, id);
    assert_eq!(writes(), 1, "an intact hook is left alone");

    // Its ID was lost in a crash: it is found by its URL, and its secret is written again.
    let id = ensure("one", None, true).await;
    assert_eq!((ours().len(), Hooks::secret(&ours()[0])), (1, "one"));
    // Another secret.
    let id = ensure("two", Some(&id), true).await;
    assert_eq!((ours().len(), Hooks::secret(&ours()[0])), (1, "two"));
    // A user of the forge disabled it.
    hooks.tamper(1, spoil);
    let id = ensure("two", Some(&id), false).await;
    let found = forge.hooks(&shop).await.unwrap();
    assert!(
        found.iter().any(|hook| hook.url == URL && hook.is_intact),
        "{found:?}"
    );
    assert_eq!((ours().len(), Hooks::secret(&ours()[0])), (1, "two"));
    // A user of the forge changed its URL.
    hooks.tamper(1, |hook| hooks.set_url(hook, "https://old.example.com/"));
    assert_eq!(ours().len(), 0);
    let id = ensure("two", Some(&id), false).await;
    assert_eq!((ours().len(), Hooks::secret(&ours()[0])), (1, "two"));
    // A second one appeared.
    hooks.add(ours().remove(0));
    assert_eq!(ours().len(), 2);
    ensure("two", Some(&id), false).await;
    assert_eq!(ours().len(), 1, "it is removed");

    // An Application has previews, and then none has any more.
    for pull_requests in [true, false] {
        let wanted = WantedHook {
            pull_requests,
            ..wanted("two")
        };
        let known = forge.hooks(&shop).await.unwrap();
        let known = known.iter().find(|hook| hook.url == URL).unwrap().id.clone();
        ensure_hook(forge, &shop, &wanted, Some(&known), false)
            .await
            .unwrap();
        let found = forge.hooks(&shop).await.unwrap();
        let found: Vec<_> = found.iter().filter(|hook| hook.url == URL).collect();
        assert_eq!(found.len(), 1);
        assert!(
            found[0].is_intact && found[0].pull_requests == pull_requests,
            "{found:?}"
        );
    }
    let id = ensure("two", None, false).await;

    forge.delete_hook(&shop, &id).await.unwrap();
    forge.delete_hook(&shop, &id).await.unwrap();
    assert_eq!(ours().len(), 0);
    assert_eq!(hooks.all().len(), 1, "the hook of the other program");
    let error = ensure_hook(forge, &path("acme/not-there"), &wanted("one"), None, true).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");
    server.assert_legal();
}

#[tokio::test]
async fn github_keeps_one_hook_with_a_token() {
    let server = github::start(github::GitHub::default()).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, github::TOKEN);
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["active"] = json!(false);
    })
    .await;
}

#[tokio::test]
async fn github_keeps_one_hook_with_an_app_that_may_manage_webhooks() {
    let (key, public) = crate::forges::app::key();
    let server = github::start(github::GitHub::with_app(public.clone())).await;
    let spec =
        |url: &str| json!({"github": {"url": url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
    let forge = connected(&spec(&server.url), &key);
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["config"]["content_type"] = json!("form");
    })
    .await;

    let mut service = github::GitHub::with_app(public);
    service.manages_hooks = false;
    let server = github::start(service).await;
    let forge = connected(&spec(&server.url), &key);
    let error = ensure_hook(forge.as_ref(), &path("acme/shop"), &wanted("one"), None, true).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeScopeMissing, "{error}");
    assert!(error.to_string().contains("Webhooks: write"), "{error}");
}

#[tokio::test]
async fn gitlab_keeps_one_hook() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&spec, gitlab::TOKEN);
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["tag_push_events"] = json!(false);
    })
    .await;
    // GitLab gives up a hook after many failures, and revives only a new one.
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&spec, gitlab::TOKEN);
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["alert_status"] = json!("disabled");
    })
    .await;
}

#[tokio::test]
async fn gitlab_gets_a_signing_token_where_it_knows_one() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&spec, gitlab::TOKEN);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let ensured = ensure_hook(forge.as_ref(), &path("acme/shop"), &wanted(secret), None, true).await;
    ensured.unwrap();
    let all = server.service.hooks.all();
    assert_eq!(all[0]["signing_token"], secret);
    // This server ignores signing tokens, so the token is the plain one.
    assert_eq!(Hooks::secret(&all[0]), secret);
}

#[tokio::test]
async fn bitbucket_keeps_one_hook() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let spec = json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "bb"}}});
    let forge = try_connect(&spec, bitbucket::ACCESS_TOKEN, &options).unwrap();
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["events"] = json!(["repo:fork"]);
    })
    .await;
    let long = "x".repeat(129);
    let error = ensure_hook(forge.as_ref(), &path("acme/shop"), &wanted(&long), None, true).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("128 characters") && !error.contains(&long),
        "{error}"
    );
}

#[tokio::test]
async fn gitea_keeps_one_hook() {
    let server = gitea::start().await;
    let spec = json!({"gitea": {"url": server.url, "tokenSecretRef": {"name": "gt"}}});
    let forge = connected(&spec, gitea::TOKEN);
    let hooks = &server.service.hooks;
    keeps_one_hook(forge.as_ref(), &server, hooks, |hook| {
        hook["branch_filter"] = json!("release/*");
    })
    .await;
}
