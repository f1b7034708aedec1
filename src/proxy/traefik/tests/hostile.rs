//! No value of a route can change the configuration of another Application.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use davit_apiserver::internals::Schema;
use serde_json::{Value, json};

use super::*;
use crate::api::{Application, ApplicationSpec};

/// Values that try to become more than a value.
const HOSTILE: &[&str] = &[
    "`",
    "\"",
    "\\",
    "\\\"",
    "\") || Host(\"victim.example.com",
    "`) || Host(`victim.example.com",
    "') || Host('victim.example.com",
    "\\\") || Host(\\\"victim.example.com",
    "{{ env \"HOME\" }}",
    "{{",
    "{{ range",
    "}}",
    "${HOME}",
    "$(id)",
    "%22) || Host(%22victim.example.com",
    "\n",
    "\r\nHost: victim.example.com",
    "\0",
    "\t",
    " ",
    "/x y",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{1f600}",
    "ä",
    "# comment",
    ": y",
    "- x",
    "&anchor",
    "*alias",
    "!!binary x",
    "? x",
    "| x",
    "> x",
    "@file",
    "x@docker",
    "davit_other_app_0",
    "davit_ns_web_0-auth@file",
    "../../etc/passwd",
    "victim.example.com",
    "*",
    "",
];

/// The schema and the rules of the API, as at admission.
fn admitted(route: &Value) -> bool {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        let crd = crate::api::crds().remove(0);
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref();
        Schema::compile(&serde_json::to_value(schema).unwrap()).unwrap()
    });
    let spec = json!({"routes": [route], "ports": [{"containerPort": 3000}]});
    let mut object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": "ns"}, "spec": spec});
    SCHEMA.default(&mut object);
    if !SCHEMA.validate(&object, None).is_empty() {
        return false;
    }
    let app: Application = serde_json::from_value(object).unwrap();
    ApplicationSpec::check(&app.spec).is_ok()
}

/// Either a value is refused, or the configuration of another Application stays as it is and no rule gets another host.
#[test]
fn hostile_value_is_refused_or_stays_a_value() {
    let victim = || entry("other", "app", 0, &[json!({"host": "victim.example.com"})]);
    let alone = configuration([victim()], &settings());
    let mut accepted = 0;
    let mut refused = 0;
    for hostile in HOSTILE {
        for value in [
            json!({"host": hostile}),
            json!({"host": format!("{hostile}.example.com")}),
            json!({"host": HOST, "path": hostile}),
            json!({"host": HOST, "path": format!("/{hostile}")}),
            json!({"host": HOST, "path": "/x", "addPrefix": format!("/{hostile}")}),
            json!({"host": HOST, "redirects": [{"from": hostile, "to": "https://x"}]}),
            json!({"host": HOST, "redirects": [{"from": "^x", "to": hostile}]}),
            json!({"host": HOST, "headers": {"request": {*hostile: "x"}}}),
            json!({"host": HOST, "headers": {"response": {"X-A": hostile}}}),
            json!({"host": HOST, "allowFrom": [hostile]}),
            json!({"host": HOST, "middlewares": [hostile]}),
            json!({"host": HOST, "tls": {"certResolver": hostile}}),
            json!({"host": HOST, "rateLimit": {"average": 1, "period": hostile}}),
            json!({"host": HOST, "maxBodySize": hostile}),
        ] {
            if !admitted(&value) {
                refused += 1;
                continue;
            }
            accepted += 1;
            let (app, routes) = entry("ns", "web", 1, std::slice::from_ref(&value));
            let both = configuration([(app, routes), victim()], &settings());
            for section in ["routers", "services", "middlewares"] {
                let own = |all: &Value| -> BTreeMap<String, Value> {
                    let entries = all["http"][section].as_object().cloned().unwrap_or_default();
                    entries
                        .into_iter()
                        .filter(|(name, _)| name.starts_with("davit_other_"))
                        .collect()
                };
                assert_eq!(own(&both), own(&alone), "{value}");
            }
            for (name, router) in both["http"]["routers"].as_object().unwrap() {
                let rule = router["rule"].as_str().unwrap();
                if name.starts_with("davit_ns_") {
                    let hosts = rule.matches("Host(").count() + rule.matches("HostRegexp(").count();
                    let other = "Host(\"victim.example.com\")";
                    assert!(hosts == 1 && !rule.contains(other), "{value}: {rule}");
                }
            }
        }
    }
    assert!(
        accepted > 30 && refused > 400,
        "{accepted} accepted, {refused} refused"
    );
}
