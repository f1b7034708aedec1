//! The policy of `manifests/components/routes`: `kubectl apply` refuses what the objects of routes cannot express.

use std::path::Path;

use serde_json::{Value, json};

use super::{PATIENCE, application};
use crate::common::registry::Registry;
use crate::common::{run, try_run, wait_for};
use crate::kubernetes_loop::Admin;

/// What an apply of these routes is answered, without an effect.
fn answer(admin: &Admin, registry: &Registry, routes: &Value) -> (bool, String) {
    let file = admin.dir.path().join("tried.json");
    std::fs::write(&file, application(registry, routes).to_string()).unwrap();
    let apply = ["apply", "--dry-run=server", "--filename"];
    let (accepted, _, said) = try_run(admin.cluster.kubectl().args(apply).arg(&file));
    (accepted, said)
}

/// Tells the policy what routes become.
fn announce(admin: &Admin, objects: &Value) {
    let patch = json!({"data": {"DAVIT_ROUTES": objects}}).to_string();
    let config = [
        "--namespace=davit-system",
        "patch",
        "configmap",
        "davit-engine",
        "--type=merge",
    ];
    run(admin.cluster.kubectl().args(config).args(["--patch", &patch]));
}

pub fn check(admin: &Admin, registry: &Registry) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policy = root.join("manifests/components/routes/admission-policy.yaml");
    run(admin
        .cluster
        .kubectl()
        .args(["apply", "--server-side", "--filename"])
        .arg(policy));
    let host = "shop.example.com";
    let both = [
        ("redirects", json!({"redirects": [{"from": "^a", "to": "b"}]})),
        ("basicAuthSecretRef", json!({"basicAuthSecretRef": {"name": "s"}})),
        ("maxBodySize", json!({"maxBodySize": "1Mi"})),
        ("allowFrom", json!({"allowFrom": ["10.0.0.0/8"]})),
        ("rateLimit", json!({"rateLimit": {"average": 1}})),
        ("compress", json!({"compress": true})),
        ("sticky", json!({"sticky": true})),
        ("middlewares", json!({"middlewares": ["a@file"]})),
        ("protocol", json!({"protocol": "H2C"})),
    ];
    let of_ingress = [
        ("stripPrefix", json!({"path": "/a", "stripPrefix": true})),
        ("addPrefix", json!({"addPrefix": "/a"})),
        ("headers", json!({"headers": {"request": {"A": "b"}}})),
        ("tls.redirect", json!({"tls": {}})),
    ];
    let of_gateway = [
        ("tls.secretRef", json!({"tls": {"secretRef": {"name": "a"}}})),
        ("tls.certResolver", json!({"tls": {"certResolver": "a"}})),
    ];
    let route = |more: &Value| {
        let mut route = more.clone();
        route["host"] = json!(host);
        json!([route])
    };
    let plain = [json!({}), json!({"path": "/a"})];
    for (objects, refused, taken) in [
        (
            "ingress",
            &of_ingress[..],
            vec![json!({"tls": {"redirect": false, "certResolver": "a"}})],
        ),
        (
            "gateway",
            &of_gateway[..],
            vec![json!({"path": "/a", "stripPrefix": true, "tls": {}})],
        ),
    ] {
        announce(admin, &json!(objects));
        let (field, first) = &refused[0];
        wait_for("the policy to be in force", PATIENCE, || {
            let (accepted, said) = answer(admin, registry, &route(first));
            (!accepted && said.contains(&format!("spec.routes.{field} cannot be expressed by an")))
                .then_some(())
        });
        for (field, more) in refused.iter().chain(&both) {
            let (accepted, said) = answer(admin, registry, &route(more));
            let expected = format!("spec.routes.{field} cannot be expressed by an");
            assert!(
                !accepted && said.contains(&expected),
                "{objects}: {field}: {said}"
            );
        }
        for more in plain.iter().chain(&taken) {
            let (accepted, said) = answer(admin, registry, &route(more));
            assert!(accepted, "{objects}: {more}: {said}");
        }
    }
    // A Davit without routes reports them in the status.
    announce(admin, &Value::Null);
    wait_for("the policy to be out of force", PATIENCE, || {
        answer(admin, registry, &route(&json!({"compress": true})))
            .0
            .then_some(())
    });
}
