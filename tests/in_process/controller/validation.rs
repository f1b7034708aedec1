//! What is asked for and cannot mean anything is refused with the field's name; what was given reaches the containers.

use davit::api::{GitProvider, Release};
use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::Behaviour;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NAMESPACE, condition, id, repo, source};

fn message(object: &Value, kind: &str) -> String {
    let condition = condition(object, kind);
    condition["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn release_that_does_not_fit_the_source_fails_with_a_solution() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = json!({"docker": {"image": "registry.invalid/shop:1"}});
    davit
        .apply("image", json!({"source": image, "suspend": true}))
        .await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let rows = [
        (
            "of-git",
            json!({"application": "shop", "revision": digest}),
            "spec.revision",
            "full commit hash",
        ),
        (
            "of-image",
            json!({"application": "image", "revision": "a".repeat(40)}),
            "spec.revision",
            "a digest",
        ),
        (
            "clean",
            json!({"application": "image", "cleanCache": true}),
            "spec.cleanCache",
            "without it",
        ),
    ];
    davit.patch("image", json!({"spec": {"suspend": false}})).await;
    for (name, spec, field, way_out) in rows {
        davit.create_release(name, spec).await;
        let failed = davit.wait_for_phase(name, "Failed").await;
        assert_eq!(failed["status"]["failure"]["reason"], "InvalidSpec", "{failed:#}");
        let said = message(&failed, "Succeeded");
        assert!(said.contains(field) && said.contains(way_out), "{said}");
    }
    // A hash that is as long as neither a Git commit nor a digest is invalid.
    let odd = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "odd"},
        "spec": {"application": "shop", "revision": "a".repeat(50)}});
    let odd: Release = serde_json::from_value(odd).unwrap();
    let refused = davit.api::<Release>().create(&PostParams::default(), &odd).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("spec.revision"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_git_provider_resolves_no_source() {
    let davit = Harness::start().await;
    let providers: Api<GitProvider> = davit.api();
    davit
        .create::<GitProvider>(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
            "metadata": {"name": "gt"}, "spec": {"suspend": true,
            "gitea": {"url": "https://127.0.0.1:1", "tokenSecretRef": {"name": "nope"}}}}))
        .await;
    let gitea = json!({"gitea": {"provider": {"name": "gt"}, "owner": "a", "repository": "b"}});
    davit.apply("shop", json!({"source": gitea})).await;
    let app = davit
        .wait_until("shop", "told that the provider is suspended", |app| {
            message(app, "Ready").contains("is suspended")
        })
        .await;
    assert_eq!(condition(&app, "Ready")["reason"], "ProviderNotReady", "{app:#}");
    assert_eq!(
        condition(&app, "Reconciling")["status"],
        "True",
        "somebody else must act: {app:#}"
    );
    davit.wait_until_idle().await;
    let provider = serde_json::to_value(providers.get("gt").await.unwrap()).unwrap();
    assert_eq!(condition(&provider, "Ready")["status"], "Unknown", "{provider:#}");
    assert_eq!(condition(&provider, "Ready")["reason"], "Suspended");
    assert_eq!(provider["status"]["observedGeneration"], 1);
    let resumed = Patch::Merge(json!({"spec": {"suspend": false}}));
    providers
        .patch("gt", &PatchParams::default(), &resumed)
        .await
        .unwrap();
    davit
        .wait_until("shop", "told what is wrong with the provider", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_label_grants_and_revokes_a_git_provider_at_once() {
    let davit = Harness::start().await;
    let namespaces: Api<Namespace> = Api::all(davit.client.clone());
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}});
    let params = PostParams::default();
    namespaces
        .create(&params, &serde_json::from_value(made).unwrap())
        .await
        .unwrap();
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": "https://127.0.0.1:1", "tokenSecretRef": {"name": "nope"}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}});
    Api::<GitProvider>::namespaced(davit.client.clone(), "platform")
        .create(&params, &serde_json::from_value(provider).unwrap())
        .await
        .unwrap();
    let gitea = json!({"gitea": {"provider": {"name": "gt", "namespace": "platform"}, "owner": "a", "repository": "b"}});
    davit.apply("shop", json!({"source": gitea})).await;
    for (label, reason) in [
        (Value::Null, "AccessDenied"),
        (json!("a"), "ProviderNotReady"),
        (json!("b"), "AccessDenied"),
    ] {
        davit.wait_until_idle().await;
        let labelled = Patch::Merge(json!({"metadata": {"labels": {"team": label}}}));
        namespaces
            .patch(NAMESPACE, &PatchParams::default(), &labelled)
            .await
            .unwrap();
        davit
            .wait_until("shop", reason, |app| condition(app, "Ready")["reason"] == reason)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn release_has_a_title_and_a_failed_one_its_commit() {
    let (davit, repo) = Harness::with_shop().await;
    repo.commit(
        "Break it\n\nfor good",
        &[("Dockerfile", "FROM scratch\nRUN false\n")],
    );
    davit.request_reconcile("shop").await;
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    assert_eq!(failed["status"]["source"]["message"], "Break it", "{failed:#}");
    assert_eq!(
        failed["status"]["source"]["author"],
        "Jane Doe <jane@example.com>"
    );
    assert_eq!(failed["status"]["title"], "Break it", "{failed:#}");
    for (name, spec, title) in [
        ("plain", json!({"application": "shop"}), "Manual deployment"),
        (
            "again",
            json!({"application": "shop", "type": "Redeploy"}),
            "Rebuild deployment",
        ),
        ("own", json!({"application": "shop", "title": "Now"}), "Now"),
    ] {
        davit.create_release(name, spec).await;
        let ended = davit.wait_for_phase(name, "Failed").await;
        assert_eq!(ended["status"]["title"], title, "{ended:#}");
    }
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert!(!davit.has_logs(), "no empty directory is left of a namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_environment_takes_over_the_running_build() {
    let davit = Harness::start().await;
    davit.builder.hold();
    let repo = repo("FROM scratch\nRUN true\n");
    let env = |value: &str| json!([{"name": "A", "value": value}]);
    davit
        .apply("shop", json!({"source": source(&repo), "env": env("1")}))
        .await;
    davit.wait_for_phase("shop-1", "Building").await;
    davit.patch("shop", json!({"spec": {"env": env("2")}})).await;
    davit.wait_for_phase("shop-2", "Building").await;
    davit.wait_for_phase("shop-1", "Superseded").await;
    // Cancelling the superseded Release that started the job does not end the job.
    davit.cancel_release("shop-1").await;
    davit.patch("shop", json!({"spec": {"env": env("3")}})).await;
    davit.wait_for_phase("shop-3", "Building").await;
    davit.builder.go_on();
    davit.wait_until_done("shop").await;
    assert_eq!(davit.builder.built(), ["shop-1"], "one image is built once");
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Superseded", "shop-2: Superseded", "shop-3: Succeeded"]
    );
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("3"));
    let last = davit.releases("shop").await.pop().unwrap();
    let steps = last["status"]["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    // With containers that are healthy at once there is nothing to verify.
    assert!(
        names.starts_with(&["Fetching", "Building", "Deploying"]),
        "{last:#}"
    );
    for release in ["shop-1", "shop-2", "shop-3"] {
        assert!(davit.log(release).contains("RUN true"), "the log of {release}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn build_that_is_cancelled_or_has_other_inputs_starts_again() {
    let davit = Harness::start().await;
    davit.builder.hold();
    let repo = repo("FROM scratch\nRUN true\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_for_phase("shop-1", "Building").await;
    let args = json!({"spec": {"build": {"args": [{"name": "A", "value": "1"}]}}});
    davit.patch("shop", args).await;
    davit.wait_for_phase("shop-2", "Building").await;
    davit.cancel_release("shop-2").await;
    davit.wait_for_phase("shop-2", "Cancelled").await;
    let env = json!({"spec": {"env": [{"name": "A", "value": "1"}]}});
    davit.patch("shop", env).await;
    davit.wait_for_phase("shop-3", "Building").await;
    davit.builder.go_on();
    davit.wait_until_done("shop").await;
    assert_eq!(davit.builder.built(), ["shop-1", "shop-2", "shop-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_secret_of_a_build_reaches_the_builder_or_is_reported() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let secret = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let config = r#"{"auths":{"https://*.example.com/v2/":{"username":"u","password":"hunter2"}}}"#;
    davit
        .create::<Secret>(secret("registry", json!({".dockerconfigjson": config})))
        .await;
    davit
        .create::<Secret>(secret("bare", json!({"username": "u", "password": "p"})))
        .await;
    let spec = |name: &str| json!({"source": source(&repo), "build": {"pullSecretRef": {"name": name}}});
    davit.apply("shop", spec("registry")).await;
    davit.wait_until_done("shop").await;
    let logins = davit.builder.registries();
    let login = davit::model::RegistryLogin::basic("u", "hunter2");
    assert_eq!(logins.find("registry.example.com", "base"), Some(&login));
    assert_eq!(logins.find("registry.example.org", "base"), None);
    for (name, message) in [
        (
            "bare",
            "spec.build.pullSecretRef: the Secret \"bare\" names no registry",
        ),
        ("none", "spec.build.pullSecretRef names the Secret \"none\""),
    ] {
        davit.apply(name, spec(name)).await;
        davit
            .wait_until(name, "a problem with the Secret", |app| {
                app["status"].to_string().replace("\\\"", "\"").contains(message)
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_in_values_command_and_args_are_expanded() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"pw": value}});
    davit.create::<Secret>(secret("hunter2")).await;
    davit
        .create::<ConfigMap>(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "common"},
            "data": {"HOST": "db", "RAW": "$(HOST)"}}),
        )
        .await;
    let env = json!([
        {"name": "EARLY", "value": "$(PW)"},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw"}}},
        {"name": "URL", "value": "//shop:$(PW)@$(HOST)/$$(PW)"},
        {"name": "URL2", "value": "$(URL)?"},
    ]);
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "env": env, "envFrom": [{"configMapRef": {"name": "common"}}],
                "command": ["/bin/$(HOST)"], "args": ["--db=$(URL2)", "$(NOPE)", "$(RAW)"]}),
        )
        .await;
    davit.wait_until_done("shop").await;
    let pod = davit.runtime.containers(&id("shop"))[0].deployment.spec.clone();
    let shown = |secret: &davit::redact::Secret| secret.expose_str().unwrap().to_owned();
    let pair = |variable: &davit::runtime::EnvVar| format!("{}={}", variable.name, shown(&variable.value));
    let env: Vec<String> = pod.env.iter().map(pair).collect();
    assert_eq!(
        env,
        [
            "HOST=db",
            "RAW=$(HOST)",
            "EARLY=$(PW)",
            "PW=hunter2",
            "URL=//shop:hunter2@db/$(PW)",
            "URL2=//shop:hunter2@db/$(PW)?",
        ]
    );
    let argv: Vec<String> = pod.command.iter().chain(&pod.args).map(shown).collect();
    assert_eq!(
        argv,
        ["/bin/db", "--db=//shop:hunter2@db/$(PW)?", "$(NOPE)", "$(HOST)"]
    );
    assert!(!format!("{pod:?}").contains("hunter2"), "it cannot be printed");

    // Another value is another release, in whose words the Secret is the reason, and no word tells the value.
    let patch = Patch::Merge(secret("correct horse"));
    davit.runtime.script(
        &FakeBuilder::id(GOOD),
        &Behaviour::RefusesToStart("exec: --db=//shop:correct horse@db".to_owned()),
    );
    davit
        .api::<Secret>()
        .patch("db", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    let why = [
        "env PW changed (Secret db)",
        "env URL changed (ConfigMap common, Secret db)",
        "env URL2 changed (ConfigMap common, Secret db)",
        "args changed (ConfigMap common, Secret db)",
    ];
    for line in why {
        assert!(
            failed["status"]["why"].as_array().unwrap().contains(&json!(line)),
            "{failed:#}"
        );
    }
    assert_eq!(failed["status"]["cause"]["kind"], "Secret", "{failed:#}");
    let told = failed["status"].to_string();
    assert!(told.contains("exec: --db") && !told.contains("horse"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn obstacle_of_a_release_is_reported_once() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let image = FakeBuilder::id(GOOD);
    let answers = |code: u16| Behaviour::Unhealthy(format!("GET / answers {code}"));
    davit.runtime.script(&image, &answers(503));
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "healthCheck": {"http": {"port": 80}}}),
        )
        .await;
    let told = "release shop-1 is under way; container";
    let app = davit
        .wait_until("shop", "told what its check answers", |app| {
            let said = message(app, "Ready");
            said.starts_with(told) && said.ends_with("is not healthy yet: GET / answers 503")
        })
        .await;
    assert_eq!(condition(&app, "Ready")["reason"], "Progressing", "{app:#}");
    davit.runtime.script(&image, &answers(500));
    davit.wait_until_idle().await;
    let writes = davit.status_writes();
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    let later = davit.application("shop").await;
    assert_eq!(message(&later, "Ready"), message(&app, "Ready"));
    assert!(
        davit.status_writes() <= writes + 1,
        "that it was looked, and no more"
    );
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit.wait_until_done("shop").await;
}
