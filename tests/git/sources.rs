//! From each kind of source to a running container: a private repository of a real Gitea, Git over https and ssh, an
//! image of a registry that wants a login.

#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

use std::time::Duration;

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps, GitSsh};
use crate::common::gitea::Gitea;
use crate::common::registry::Registry;
use crate::common::{run, wait_for};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn repo() -> GitRepo {
    GitRepo::with(&[(
        "Dockerfile",
        &format!("FROM {BASE_IMAGE}\nCMD [\"sleep\", \"10000\"]\n"),
    )])
}

fn provider(davit: &Davit, name: &str) -> Value {
    let found = davit.block_on(davit.providers().get_opt(name)).unwrap();
    found.map_or(Value::Null, |provider| serde_json::to_value(provider).unwrap())
}

pub fn make_provider(davit: &Davit, name: &str, spec: &Value) {
    let object = serde_json::from_value(json!({
        "apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": name}, "spec": spec,
    }));
    davit
        .block_on(davit.providers().create(&PostParams::default(), &object.unwrap()))
        .unwrap();
}

pub fn provider_says(davit: &Davit, name: &str, reason: &str) -> Value {
    wait_for(reason, Duration::from_secs(30), || {
        let object = provider(davit, name);
        (condition(&object, "Ready")["reason"] == reason).then_some(object)
    })
}

#[test]
fn http_source_of_this_machine_needs_the_flag_everywhere() {
    let gitea = Gitea::start();
    gitea.create_repository("shop", &GitRepo::with(&[("index.html", "<p>Over http.")]));
    let url = gitea.clone_url("shop");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let git = json!({"source": {"git": {"url": url, "secretRef": {"name": "login"}}}});
    let through_provider = json!({"source": {"gitea": {"provider": {"name": "gitea"}, "owner": gitea.user, "repository": "shop"}}});
    let start = |davit: &Davit| {
        davit.create_secret("gitea", &[("token", &gitea.token)]);
        davit.create_secret(
            "login",
            &[("username", &gitea.user), ("password", &gitea.password)],
        );
        make_provider(
            davit,
            "gitea",
            &json!({"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gitea"}}}),
        );
        davit.apply("by-url", git.clone());
        davit.apply("by-provider", through_provider.clone());
    };

    let with = Davit::up("local");
    start(&with);
    for name in ["by-url", "by-provider"] {
        with.wait_until_done(name);
    }

    // Without it the GitProvider refuses its own URL, and its Application waits for the GitProvider.
    let without = Davit::without_local_sources("remote");
    start(&without);
    without.apply(
        "by-file",
        json!({"source": {"git": {"url": "file:///nonexistent/shop.git"}}}),
    );
    for name in ["by-url", "by-file"] {
        let message = without.wait_for_error(name, "GitTransportForbidden");
        assert!(
            message.contains("spec.source.git.url") && message.contains("--allow-local-sources"),
            "{message}"
        );
    }
    let refused = provider_says(&without, "gitea", "InvalidSpec");
    let message = condition(&refused, "Ready")["message"].to_string();
    assert!(message.contains("--allow-local-sources"), "{message}");
    without.wait_until("by-provider", 30, "waiting for its GitProvider", |app| {
        condition(app, "Ready")["reason"] == "ProviderNotReady"
    });
}

#[test]
fn private_gitea_repository_becomes_a_running_container() {
    let gitea = Gitea::start();
    let repo = repo();
    gitea.create_repository("shop", &repo);
    let davit = Davit::up("forge");
    davit.create_secret("gt", &[("token", "not-a-token")]);
    make_provider(
        &davit,
        "gt",
        &json!({"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gt"}}}),
    );
    let refused = provider_says(&davit, "gt", "ForgeAuthFailed");
    assert_eq!(condition(&refused, "Stalled")["status"], "True");

    let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop", "ref": {"branch": "main"}}});
    davit.apply("shop", json!({"source": source}));
    davit.wait_until("shop", 30, "waiting for its provider", |app| {
        condition(app, "Ready")["reason"] == "ProviderNotReady"
    });

    // The Secret is mended, and all goes on by itself.
    davit.create_secret("gt", &[("token", &gitea.token)]);
    let ready = provider_says(&davit, "gt", "RepositoriesFound");
    assert_eq!(
        condition(&ready, "Ready")["message"],
        format!("Found 1 repository as {}", gitea.user)
    );
    assert_eq!(ready["status"]["account"], gitea.user.as_str());
    let app = davit.wait_until_done("shop");
    assert_eq!(app["status"]["source"]["type"], "gitea");
    assert_eq!(app["status"]["source"]["revision"], repo.head());
    wait_for("the provider to be used", Duration::from_secs(10), || {
        (provider(&davit, "gt")["status"]["usedBy"] == 1).then_some(())
    });

    // The token is nowhere that it could be read.
    let everything = format!(
        "{app}{:?}{}{}",
        davit.releases_of("shop"),
        provider(&davit, "gt"),
        davit.log()
    );
    assert!(!everything.contains(&gitea.token), "the token is shown");

    // A GitProvider in use stays and names its Applications; it is removed with the last one.
    davit
        .block_on(davit.providers().delete("gt", &DeleteParams::default()))
        .unwrap();
    let held = provider_says(&davit, "gt", "InUse");
    assert!(
        condition(&held, "Ready")["message"]
            .as_str()
            .unwrap()
            .contains("forge/shop"),
        "{held}"
    );
    davit.delete_and_wait("shop");
    wait_for("the provider to go", Duration::from_secs(20), || {
        provider(&davit, "gt").is_null().then_some(())
    });
}

#[test]
fn git_provider_is_usable_only_in_allowed_namespaces() {
    let gitea = Gitea::start();
    gitea.create_repository("shop", &repo());
    let davit = Davit::up("owner");
    davit.create_secret("gt", &[("token", &gitea.token)]);
    make_provider(
        &davit,
        "gt",
        &json!({"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gt"}}}),
    );
    provider_says(&davit, "gt", "RepositoriesFound");
    let guests = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "guest"}});
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(davit.client());
    davit
        .block_on(namespaces.create(&PostParams::default(), &serde_json::from_value(guests).unwrap()))
        .unwrap();
    let api: kube::Api<davit::api::Application> = kube::Api::namespaced(davit.client(), "guest");
    let source = json!({"gitea": {"provider": {"name": "gt", "namespace": "owner"}, "owner": gitea.user, "repository": "shop"}});
    let app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"}, "spec": {"source": source}});
    davit
        .block_on(api.create(&PostParams::default(), &serde_json::from_value(app).unwrap()))
        .unwrap();
    let reason = || {
        let app = serde_json::to_value(davit.block_on(api.get("shop")).unwrap()).unwrap();
        condition(&app, "Ready")["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    wait_for("it to be denied", Duration::from_secs(20), || {
        (reason() == "AccessDenied").then_some(())
    });
    let allow = Patch::Merge(
        json!({"spec": {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}}),
    );
    davit
        .block_on(davit.providers().patch("gt", &PatchParams::default(), &allow))
        .unwrap();
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "a"}}}));
    davit
        .block_on(namespaces.patch("guest", &PatchParams::default(), &label))
        .unwrap();
    let nudge = Patch::Merge(json!({"metadata": {"annotations": {"davit.dev/requestedAt": "1"}}}));
    davit
        .block_on(api.patch("shop", &PatchParams::default(), &nudge))
        .unwrap();
    wait_for("it to be allowed", Duration::from_mins(1), || {
        (reason() == "Ready").then_some(())
    });
}

#[test]
fn https_repository_with_each_credential_and_a_private_ca_is_deployed() {
    let server = GitHttps::start();
    let repo = repo();
    server.publish("shop.git", &repo);
    let davit = Davit::up("https");
    let ca = server.ca.ca_pem.clone();
    davit.create_secret("open", &[("ca.crt", &ca)]);
    davit.create_secret(
        "basic",
        &[
            ("ca.crt", &ca),
            ("username", &server.user),
            ("password", &server.password),
        ],
    );
    davit.create_secret("bearer", &[("ca.crt", &ca), ("bearerToken", &server.bearer)]);
    davit.create_secret(
        "wrong",
        &[("ca.crt", &ca), ("username", &server.user), ("password", "no")],
    );
    let source = |access, secret: &str| json!({"source": {"git": {"url": server.url(access, "shop.git"), "secretRef": {"name": secret}}}});
    davit.apply("open", source(Access::Anonymous, "open"));
    davit.apply("basic", source(Access::Basic, "basic"));
    davit.apply("bearer", source(Access::Bearer, "bearer"));
    davit.apply("wrong", source(Access::Basic, "wrong"));
    davit.apply(
        "untrusted",
        json!({"source": {"git": {"url": server.url(Access::Anonymous, "shop.git")}}}),
    );
    for name in ["open", "basic", "bearer"] {
        assert_eq!(
            davit.wait_until_done(name)["status"]["source"]["revision"],
            repo.head()
        );
    }
    davit.wait_for_error("wrong", "GitAuthFailed");
    davit.wait_for_error("untrusted", "GitTlsFailed");
}

#[test]
fn ssh_repository_with_a_changed_host_key_is_refused() {
    let mut server = GitSsh::start();
    let repo = repo();
    server.publish("shop.git", &repo);
    let davit = Davit::up("ssh");
    let hosts = server.known_hosts();
    davit.create_secret(
        "key",
        &[("ssh-privatekey", &server.client_key), ("known_hosts", &hosts)],
    );
    davit.create_secret(
        "stranger",
        &[("ssh-privatekey", &server.stranger_key), ("known_hosts", &hosts)],
    );
    davit.create_secret("hostless", &[("identity", &server.client_key)]);
    let source = |secret: &str| json!({"source": {"git": {"url": server.url("shop.git"), "secretRef": {"name": secret}}}});
    davit.apply("good", source("key"));
    davit.apply("stranger", source("stranger"));
    davit.apply("hostless", source("hostless"));
    let mut trusting = source("hostless");
    trusting["source"]["git"]["insecureIgnoreHostKey"] = json!(true);
    davit.apply("trusting", trusting);
    davit.wait_until_done("good");
    davit.wait_until_done("trusting");
    davit.wait_for_error("stranger", "GitAuthFailed");
    davit.wait_for_error("hostless", "GitHostKeyMissing");
    // A changed host key leaves the containers running and is reported in the status.
    server.change_host_key();
    davit.request_reconcile("good");
    davit.wait_for_error("good", "GitHostKeyUnknown");
}

#[test]
fn image_of_a_private_registry_runs_with_its_pull_secret() {
    let registry = Registry::start();
    let davit = Davit::up("image");
    let digest = registry.push(crate::common::docker::base_image(), "shop:1");
    davit.create_secret("pull", &[(".dockerconfigjson", &registry.docker_config())]);
    let spec = |secret: bool| {
        let mut docker = json!({"image": registry.image("shop:1")});
        if secret {
            docker["pullSecretRef"] = json!({"name": "pull"});
        }
        json!({"source": {"docker": docker}, "command": ["sleep", "10000"]})
    };
    davit.apply("denied", spec(false));
    davit.wait_for_error("denied", "ImagePullDenied");
    davit.apply("shop", spec(true));
    let app = davit.wait_until_done("shop");
    assert!(
        app["status"]["release"]["image"]
            .as_str()
            .unwrap()
            .ends_with(&digest),
        "{}",
        app["status"]["release"]
    );
    // An image that is only in the local engine works too.
    davit.apply(
        "local",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"]}),
    );
    davit.wait_until_done("local");
}

#[test]
fn redeploy_of_an_image_without_its_pull_secret_fails_with_the_reason() {
    let registry = Registry::start();
    let davit = Davit::up("image-redeploy");
    registry.push(crate::common::docker::base_image(), "shop:1");
    davit.create_secret("pull", &[(".dockerconfigjson", &registry.docker_config())]);
    let docker = json!({"image": registry.image("shop:1"), "pullSecretRef": {"name": "pull"}});
    davit.apply(
        "shop",
        json!({"source": {"docker": docker}, "command": ["sleep", "10000"]}),
    );
    davit.wait_until_done("shop");
    run(davit.kubectl().args(["delete", "secret", "pull"]));
    let release = serde_json::from_value(json!({
        "apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "again"},
        "spec": {"application": "shop", "type": "Redeploy"},
    }));
    davit
        .block_on(davit.releases().create(&PostParams::default(), &release.unwrap()))
        .unwrap();
    let failed = wait_for("the Release to end", Duration::from_secs(30), || {
        let all = davit.releases_of("shop");
        let again = all
            .into_iter()
            .find(|release| release["metadata"]["name"] == "again")?;
        (again["status"]["phase"] == "Failed").then_some(again)
    });
    assert_eq!(
        failed["status"]["failure"]["reason"], "SecretNotFound",
        "{failed:#}"
    );
    let message = davit.wait_for_error("shop", "SecretNotFound");
    assert!(message.contains("pull"), "{message}");
    // The containers of the release before still run.
    assert_eq!(davit.containers("shop").len(), 1);
}
