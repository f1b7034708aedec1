//! Hooks: one per repository at every forge, registered, repaired, never doubled, removed.

use davit::api::Reason;
use davit::error::Explain as _;
use davit::forge::{Forge, ensure_hook};
use serde_json::{Value, json};

use crate::forge::loopback_options;
use crate::forge_contract::{self, HookTable, URL, wanted};
use crate::forges::servers::hooks::Hooks;
use crate::forges::servers::{Server, bitbucket, gitea, github, gitlab};
use crate::forges::{connected, path, try_connect};

/// The hooks of a server.
struct Table<'a, S> {
    server: &'a Server<S>,
    hooks: &'a Hooks,
    /// Makes a hook useless.
    spoil: fn(&mut Value),
}

impl<S> Table<'_, S> {
    fn of_davit(&self) -> Vec<Value> {
        let all = self.hooks.all().into_iter();
        all.filter(|hook| self.hooks.url(hook) == URL).collect()
    }
}

impl<S> HookTable for Table<'_, S> {
    fn ours(&self) -> Vec<String> {
        let all = self.of_davit();
        all.iter().map(|hook| Hooks::secret(hook).to_owned()).collect()
    }

    fn others(&self) -> usize {
        self.hooks.all().len() - self.of_davit().len()
    }

    fn add_other(&self) {
        let mut other = json!({"events": ["push"], "active": true, "config": {}});
        self.hooks.set_url(&mut other, "https://ci.example.com/hook");
        self.hooks.add(other);
    }

    fn double(&self) {
        self.hooks.add(self.of_davit().remove(0));
    }

    fn spoil(&self) {
        self.hooks.tamper(1, self.spoil);
    }

    fn lead_astray(&self) {
        self.hooks
            .tamper(1, |hook| self.hooks.set_url(hook, "https://old.example.com/"));
    }

    fn writes(&self) -> usize {
        let requests = self.server.requests();
        let changes = requests
            .iter()
            .filter(|line| !line.starts_with("GET ") && line.contains("/hooks"));
        changes.count()
    }
}

/// `spoil` makes a hook useless.
async fn keeps_one_hook<S: Sync>(
    forge: &dyn Forge,
    server: &Server<S>,
    hooks: &Hooks,
    spoil: fn(&mut Value),
) {
    let table = Table { server, hooks, spoil };
    forge_contract::keeps_one_hook(forge, &table).await;
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
