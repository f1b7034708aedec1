//! The API group of subresources: its answers, the permissions that each needs, and its refusals.

use axum::body::Body;
use davit_apiserver::Identity;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::common::git_repo::GitRepo;
use crate::controller::harness::{GOOD, Harness, repo, source};

const ROOT: &str = "/apis/subresources.davit.dev/v1alpha1/namespaces/default";

/// A GET request of a user who may do everything.
async fn get(davit: &Harness, path: &str) -> (StatusCode, String) {
    get_as(davit, Identity::trusted("admin"), path).await
}

async fn get_as(davit: &Harness, user: Identity, path: &str) -> (StatusCode, String) {
    let request = Request::get(format!("{ROOT}/{path}"))
        .body(Body::empty())
        .unwrap();
    let response = davit.router_as(user).oneshot(request).await.unwrap();
    let code = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

/// The message of a refusal in the form of a Status.
fn message((code, body): (StatusCode, String), expected: u16, reason: &str) -> String {
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (code.as_u16(), &status["kind"], &status["code"], &status["reason"]),
        (expected, &json!("Status"), &json!(expected), &json!(reason)),
        "{body}"
    );
    status["message"].as_str().unwrap().to_owned()
}

async fn shop_with_output(output: &str) -> (Harness, GitRepo) {
    let (davit, repo) = Harness::with_shop().await;
    let app = davit.application("shop").await;
    let image = app["status"]["release"]["image"].as_str().unwrap();
    davit.runtime.write_log(image, output);
    (davit, repo)
}

#[tokio::test(flavor = "multi_thread")]
async fn log_of_an_application_is_that_of_its_containers_without_secrets() {
    let davit = Harness::start().await;
    davit.set_database_secret("postgres://hunter2").await;
    let repo = repo(GOOD);
    let env = json!([{"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}]);
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "replicas": 2, "env": env}),
        )
        .await;
    let app = davit.wait_until_done("shop").await;
    let image = app["status"]["release"]["image"].as_str().unwrap();
    davit
        .runtime
        .write_log(image, "listening\nuses postgres://hunter2\n");

    let (code, body) = get(&davit, "applications/shop/log?prefix=true").await;
    assert_eq!(code, 200, "{body}");
    let mut lines: Vec<&str> = body.lines().collect();
    lines.sort_unstable();
    let expected = [
        "[shop-1.0] listening",
        "[shop-1.0] uses ***",
        "[shop-1.1] listening",
        "[shop-1.1] uses ***",
    ];
    assert_eq!(lines, expected);
    let (_, body) = get(&davit, "applications/shop/log?replica=shop-1.1&tailLines=1").await;
    assert_eq!(body, "uses ***\n");
    let (_, body) = get(
        &davit,
        "applications/shop/log?replica=shop-1.0&timestamps=true&tailLines=1",
    )
    .await;
    let (time, line) = body.split_once(' ').unwrap();
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && line == "uses ***\n",
        "{body}"
    );
    let (_, body) = get(&davit, "applications/shop/log?previous=true").await;
    assert_eq!(body, "");

    let absent = get(&davit, "applications/shop/log?replica=shop-1.9").await;
    assert_eq!(
        message(absent, 404, "NotFound"),
        "replica \"shop-1.9\" not found: Application \"shop\" has shop-1.0, shop-1.1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_each_replica() {
    let (davit, _repo) = Harness::with_shop().await;
    let (code, body) = get(&davit, "applications/shop/metrics?window=10ms").await;
    assert_eq!(code, 200, "{body}");
    let found: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(found["kind"], "ApplicationMetrics");
    let replica = &found["replicas"][0];
    assert_eq!(replica["name"], "shop-1.0");
    assert_eq!(
        replica["memory"],
        json!({"usageBytes": 3 << 20, "limitBytes": 12 << 20})
    );
    assert_eq!(replica["network"], json!({"receivedBytes": 10, "sentBytes": 20}));
    // The same CPU time twice.
    assert_eq!(replica["cpu"]["usageNanoCores"], 0);
    let long = get(&davit, "applications/shop/metrics?window=31s").await;
    assert!(message(long, 400, "BadRequest").contains("at most 30s"));
    let exec = get(&davit, "applications/shop/exec?command=ls").await;
    assert!(message(exec, 400, "BadRequest").contains("davit exec"));
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_log_shows_replicas_of_a_later_release() {
    let (davit, repo) = shop_with_output("one\n").await;
    let request = Request::get(format!("{ROOT}/applications/shop/log?follow=true"))
        .body(Body::empty())
        .unwrap();
    let user = davit.router_as(Identity::trusted("admin"));
    let response = user.oneshot(request).await.unwrap();
    let mut body = response.into_body();
    let mut seen = String::new();
    let mut read_until = async |end: &str| {
        while !seen.ends_with(end) {
            let frame = body.frame().await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        seen.clone()
    };
    assert_eq!(read_until("one\n").await, "one\n");
    // The next image writes something else.
    davit.build_next(&repo).await;
    davit.builder.go_on();
    davit
        .wait_until("shop", "at its second release", |app| {
            app["status"]["release"]["active"] == "shop-2"
        })
        .await;
    let app = davit.application("shop").await;
    let image = app["status"]["release"]["image"].as_str().unwrap();
    davit.runtime.write_log(image, "two\n");
    davit.patch("shop", json!({"spec": {"replicas": 2}})).await;
    let seen = tokio::time::timeout(std::time::Duration::from_secs(30), read_until("two\n")).await;
    assert_eq!(seen.unwrap(), "one\ntwo\n");
    davit.delete("shop").await;
    let rest = tokio::time::timeout(std::time::Duration::from_secs(30), body.collect()).await;
    assert!(rest.unwrap().is_ok(), "the log of a deleted Application ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_followers_of_a_replica_share_one_read_of_the_engine() {
    let (davit, _repo) = Harness::with_shop().await;
    davit.runtime.say("one");
    let (report, mut reports) = tokio::sync::mpsc::channel(200);
    let followers: Vec<_> = (0..200)
        .map(|number| {
            let query = if number % 2 == 0 { "" } else { "&prefix=true" };
            let request = Request::get(format!("{ROOT}/applications/shop/log?follow=true{query}"));
            let request = request.body(Body::empty()).unwrap();
            let user = davit.router_as(Identity::trusted("admin"));
            let report = report.clone();
            tokio::spawn(async move {
                let mut body = user.oneshot(request).await.unwrap().into_body();
                let mut seen = String::new();
                while !seen.ends_with("two\n") {
                    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                    seen.push_str(std::str::from_utf8(&data).unwrap());
                    report.send(()).await.unwrap();
                }
                // The reader stays, so that others can join it.
                (seen, body)
            })
        })
        .collect();
    for _ in 0..200 {
        reports.recv().await.unwrap();
    }
    davit.runtime.say("two");
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    let mut bodies = Vec::new();
    for (number, follower) in followers.into_iter().enumerate() {
        let (seen, body) = follower.await.unwrap();
        let expected = ["one\ntwo\n", "[shop-1.0] one\n[shop-1.0] two\n"];
        assert_eq!(seen, expected[number % 2]);
        bodies.push(body);
    }
    assert_eq!(davit.runtime.calls().followed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_of_a_build_is_followed_to_its_end_and_kept() {
    let (davit, repo) = Harness::with_shop().await;
    davit.build_next(&repo).await;
    let request = Request::get(format!("{ROOT}/releases/shop-2/log?follow=true"))
        .body(Body::empty())
        .unwrap();
    let user = davit.router_as(Identity::trusted("admin"));
    let response = user.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    davit.builder.go_on();
    let followed = response.into_body().collect();
    let followed = tokio::time::timeout(std::time::Duration::from_secs(30), followed).await;
    let followed = followed.unwrap().unwrap().to_bytes();
    let (code, kept) = get(&davit, "releases/shop-2/log").await;
    assert_eq!(code, 200);
    assert!(
        !kept.is_empty() && kept.as_bytes() == followed,
        "{kept:?} {followed:?}"
    );
    let (_, last) = get(&davit, "releases/shop-2/log?tailLines=1").await;
    assert!(kept.ends_with(&last) && last.lines().count() == 1, "{last:?}");

    let timed = get(&davit, "releases/shop-2/log?timestamps=true").await;
    let told = message(timed, 400, "BadRequest");
    assert!(told.contains("the parameter timestamps"), "{told}");
    let absent = message(get(&davit, "releases/shop2/log").await, 404, "NotFound");
    assert_eq!(
        absent,
        "Release \"shop2\" not found in namespace default: did you mean \"shop-2\"?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_refused_with_the_closest_one() {
    let (davit, _repo) = Harness::with_shop().await;
    for (path, expected) in [
        (
            "applications/shpop/log",
            "Application \"shpop\" not found in namespace default: did you mean \"shop\"?",
        ),
        (
            "applications/database/log",
            "Application \"database\" not found in namespace default",
        ),
        // No object can have such a name, and no URL could hold some of them.
        (
            "applications/sh%20p/log",
            "Application \"sh p\" not found in namespace default: did you mean \"shop\"?",
        ),
        (
            "applications/shop%00/log?follow=true",
            "Application \"shop\\0\" not found in namespace default: did you mean \"shop\"?",
        ),
        (
            "releases/%2e%2e/log",
            "Release \"..\" not found in namespace default",
        ),
        (
            "applications/shop/logs",
            "the API group subresources.davit.dev/v1alpha1 has no subresource \"logs\" of applications: did you mean \"log\"?",
        ),
        (
            "application/shop/log",
            "the API group subresources.davit.dev/v1alpha1 has no resource \"application\": did you mean \"applications\"?",
        ),
        (
            "gitproviders/acme/repositories",
            "GitProvider \"acme\" not found in namespace default",
        ),
    ] {
        let told = message(get(&davit, path).await, 404, "NotFound");
        assert_eq!(told, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_without_its_parameter_or_through_a_suspended_provider_is_refused() {
    let davit = Harness::start().await;
    davit
        .create::<davit::api::GitProvider>(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
            "metadata": {"name": "acme"}, "spec": {"suspend": true,
            "gitea": {"url": "https://git.example.com", "tokenSecretRef": {"name": "gitea"}}}}))
        .await;
    let told = message(get(&davit, "gitproviders/acme/branches").await, 400, "BadRequest");
    assert_eq!(
        told,
        "the parameter repository is missing: add ?repository=OWNER/NAME"
    );
    let told = message(
        get(&davit, "gitproviders/acme/branches?repository=a//b").await,
        400,
        "BadRequest",
    );
    assert_eq!(
        told,
        "the parameter repository is \"a//b\": write it as OWNER/NAME"
    );
    let told = message(
        get(&davit, "gitproviders/acme/repositories?limit=all").await,
        400,
        "BadRequest",
    );
    assert_eq!(told, "the parameter limit is \"all\": write a number of entries");
    let told = message(
        get(&davit, "gitproviders/acme/repositories").await,
        409,
        "Conflict",
    );
    assert_eq!(
        told,
        "GitProvider \"acme\" is suspended: set spec.suspend to false to list through it"
    );
    // A Secret that does not exist is the user's to create.
    let patch = kube::api::Patch::Merge(json!({"spec": {"suspend": false}}));
    davit
        .api::<davit::api::GitProvider>()
        .patch("acme", &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    let told = message(
        get(&davit, "gitproviders/acme/repositories").await,
        422,
        "Invalid",
    );
    assert!(
        told.contains("the Secret \"gitea\", which is not in namespace default: create it"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_is_per_subresource_and_namespace() {
    let (davit, _repo) = shop_with_output("line\n").await;
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["subresources.davit.dev"], "resources": ["applications/log"], "verbs": ["get"]}]});
    davit.create::<k8s_openapi::api::rbac::v1::Role>(role).await;
    let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "reader"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": rbac}],
        "roleRef": {"kind": "Role", "name": "reader", "apiGroup": rbac}});
    davit
        .create::<k8s_openapi::api::rbac::v1::RoleBinding>(binding)
        .await;
    let jane = || Identity::new("jane", &[]);
    let (code, body) = get_as(&davit, jane(), "applications/shop/log").await;
    assert_eq!((code.as_u16(), body.as_str()), (200, "line\n"));
    for path in [
        "releases/shop-1/log",
        "gitproviders/acme/repositories",
        "applications/shop/exec",
    ] {
        let told = message(get_as(&davit, jane(), path).await, 403, "Forbidden");
        assert!(told.contains("User \"jane\" cannot get resource"), "{told}");
    }
    let other = Request::get("/apis/subresources.davit.dev/v1alpha1/namespaces/other/applications/shop/log")
        .body(Body::empty())
        .unwrap();
    let refused = davit.router_as(jane()).oneshot(other).await.unwrap();
    assert_eq!(refused.status(), 403);
    let post = Request::post(format!("{ROOT}/applications/shop/log"))
        .body(Body::empty())
        .unwrap();
    let refused = davit
        .router_as(Identity::trusted("admin"))
        .oneshot(post)
        .await
        .unwrap();
    assert_eq!(refused.status(), 405);
}
