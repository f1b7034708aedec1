//! What discovery says is so, verb by verb, and what it does not name is not there.

use axum::Router;
use serde_json::{Value, json};

use crate::support::{WIDGETS, api, get, send, server, widget, widget_server};

/// Every resource of every group version, with the path of its collection in `default`.
async fn resources(router: &Router) -> Vec<(Value, String)> {
    let mut places = vec![("v1".to_owned(), "/api/v1".to_owned())];
    let groups = get(router, "/apis").await;
    for group in groups.body["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let name = version["groupVersion"].as_str().unwrap();
            places.push((name.to_owned(), format!("/apis/{name}")));
        }
    }
    let mut all = Vec::new();
    for (_, base) in places {
        for resource in get(router, &base).await.body["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let within = if resource["namespaced"] == true {
                "/namespaces/default"
            } else {
                ""
            };
            all.push((resource.clone(), format!("{base}{within}/{name}")));
        }
    }
    all
}

#[tokio::test]
async fn api_resources_tells_the_truth() {
    let (_server, router) = widget_server().await;
    let all = resources(&router).await;
    let named = |name: &str| all.iter().any(|(resource, _)| resource["name"] == name);
    for name in [
        "namespaces",
        "secrets",
        "configmaps",
        "events",
        "serviceaccounts",
        "serviceaccounts/token",
        "services",
        "leases",
        "customresourcedefinitions",
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
        "tokenreviews",
        "subjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "localsubjectaccessreviews",
        "selfsubjectreviews",
        "flowschemas",
        "flowschemas/status",
        "prioritylevelconfigurations",
        "prioritylevelconfigurations/status",
        "widgets",
        "widgets/status",
        "widgets/scale",
    ] {
        assert!(named(name), "{name} is not listed");
    }
    for name in ["pods", "deployments", "nodes", "jobs", "endpoints", "ingresses"] {
        assert!(!named(name), "{name} is listed");
    }
    for (resource, path) in &all {
        let has = |verb: &str| {
            resource["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one == verb)
        };
        if path.matches('/').count() > 3 && resource["name"].as_str().unwrap().contains('/') {
            continue;
        }
        let mut rows = vec![("list", "GET", path.clone()), ("create", "POST", path.clone())];
        rows.push((
            "deletecollection",
            "DELETE",
            format!("{path}?labelSelector=none%3Dsuch"),
        ));
        rows.push((
            "watch",
            "GET",
            format!("{path}?watch=1&timeoutSeconds=1&labelSelector=none"),
        ));
        rows.push(("get", "GET", format!("{path}/none")));
        rows.push(("update", "PUT", format!("{path}/none")));
        rows.push(("patch", "PATCH", format!("{path}/none")));
        rows.push(("delete", "DELETE", format!("{path}/none")));
        for (verb, method, path) in rows {
            let answer = send(&router, method, &path, body(method)).await;
            let there = answer.code != 405 && answer.text("/message") != NO_SUCH_PATH;
            assert_eq!(
                there,
                has(verb),
                "{verb} of {}: {} {}",
                resource["name"],
                answer.code,
                answer.body
            );
        }
    }
}

const NO_SUCH_PATH: &str = "the server could not find the requested resource";

fn body(method: &str) -> Value {
    match method {
        "POST" | "PUT" | "PATCH" => json!({}),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn what_one_machine_does_not_offer_is_not_found() {
    let server = server().await;
    let router = api(&server);
    for path in [
        "/api/v1/pods",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/pods/a",
        "/api/v1/namespaces/default/pods/a/log?follow=true",
        "/api/v1/namespaces/default/pods/a/exec",
        "/api/v1/nodes",
        "/api/v1/namespaces/default/endpoints/kubernetes",
        "/api/v1/namespaces/default/services/kubernetes/proxy",
    ] {
        let answer = get(&router, path).await;
        assert_eq!(
            (answer.code, answer.text("/reason"), answer.text("/message")),
            (404, "NotFound", NO_SUCH_PATH),
            "{path}"
        );
        assert_eq!(answer.text("/kind"), "Status");
    }
    for path in [
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/namespaces/default/deployments/a",
        "/apis/batch/v1/jobs",
        "/apis/metrics.k8s.io/v1beta1/nodes",
    ] {
        let answer = get(&router, path).await;
        assert_eq!(
            (answer.code, &answer.body),
            (404, &json!("404 page not found\n")),
            "{path}"
        );
    }
}

/// What is asked of a custom resource over the paths that discovery gives works in all three forms.
#[tokio::test]
async fn subresources_are_where_they_are_said_to_be() {
    let (_server, router) = widget_server().await;
    send(&router, "POST", WIDGETS, widget("a", json!({"size": 1}))).await;
    for (resource, path) in resources(&router).await {
        let name = resource["name"].as_str().unwrap();
        let Some(("widgets", subresource)) = name.split_once('/') else {
            continue;
        };
        let path = path.replace(
            &format!("widgets/{subresource}"),
            &format!("widgets/a/{subresource}"),
        );
        let answer = get(&router, &path).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
        assert_eq!(
            resource["kind"],
            answer.text("/kind"),
            "the kind of {subresource}"
        );
    }
}
