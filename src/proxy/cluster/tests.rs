use serde_json::json;

use super::*;
use crate::api::{Route, ascii_host};

fn ingress() -> Frontend {
    Frontend::Ingress {
        class: Some("traefik".to_owned()),
    }
}

fn gateway() -> Frontend {
    Frontend::Gateway(Gateway {
        namespace: "infra".to_owned(),
        name: "public".to_owned(),
        http: "http".to_owned(),
        https: "https".to_owned(),
    })
}

fn made(frontend: &Frontend, route: Value) -> Result<Vec<Value>, String> {
    let Value::Object(mut whole) = route else {
        panic!("a route is an object");
    };
    whole.entry("host").or_insert(json!("shop.example.com"));
    let route: Route = serde_json::from_value(Value::Object(whole)).unwrap();
    let input = RouteInput {
        host: ascii_host(&route.host).unwrap(),
        port: Some(8080),
        servers: Vec::new(),
        health: None,
        users: None,
        certificate: None,
        problem: None,
        route,
    };
    objects(frontend, &AppId::new("ns", "web"), "uid", 2, &input)
}

/// The parts of each object that rows are about.
fn specs(frontend: &Frontend, route: Value) -> Vec<Value> {
    made(frontend, route)
        .unwrap()
        .into_iter()
        .map(|mut object| object["spec"].take())
        .collect()
}

#[test]
fn ingress_has_host_path_and_service() {
    assert_eq!(
        made(&ingress(), json!({"host": "*.Bücher.example", "path": "/shop/"})).unwrap(),
        [json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": "web-2",
                "namespace": "ns",
                "labels": {
                    "app.kubernetes.io/managed-by": "davit",
                    "app.kubernetes.io/name": "web",
                    "davit.dev/application": "web",
                    "davit.dev/uid": "uid",
                    "davit.dev/route": "2",
                },
                "ownerReferences": [{
                    "apiVersion": "davit.dev/v1alpha1",
                    "kind": "Application",
                    "name": "web",
                    "uid": "uid",
                    "controller": true,
                }],
            },
            "spec": {
                "ingressClassName": "traefik",
                "rules": [{
                    "host": "*.xn--bcher-kva.example",
                    "http": {"paths": [{
                        "path": "/shop",
                        "pathType": "Prefix",
                        "backend": {"service": {"name": "web", "port": {"number": 8080}}},
                    }]},
                }],
            },
        })]
    );
    let default = &specs(&Frontend::Ingress { class: None }, json!({}))[0];
    assert_eq!(default.get("ingressClassName"), None);
    assert_eq!(default["rules"][0]["http"]["paths"][0]["path"], "/");
}

#[test]
fn ingress_gets_its_certificate_from_a_secret_or_from_cert_manager() {
    let tls = |tls: Value| {
        let mut object = made(&ingress(), json!({"tls": tls})).unwrap().remove(0);
        (
            object["spec"]["tls"].take(),
            object["metadata"]["annotations"].take(),
        )
    };
    let hosts = json!(["shop.example.com"]);
    assert_eq!(
        tls(json!({"redirect": false})),
        (json!([{"hosts": hosts}]), Value::Null)
    );
    assert_eq!(
        tls(json!({"redirect": false, "secretRef": {"name": "own"}})),
        (json!([{"hosts": hosts, "secretName": "own"}]), Value::Null)
    );
    assert_eq!(
        tls(json!({"redirect": false, "certResolver": "letsencrypt"})),
        (
            json!([{"hosts": hosts, "secretName": "web-2-tls"}]),
            json!({"cert-manager.io/cluster-issuer": "letsencrypt"})
        )
    );
}

#[test]
fn gateway_redirects_plain_http_by_a_route_of_its_own() {
    let of = |tls: Value| specs(&gateway(), tls);
    let section = |spec: &Value| -> Vec<String> {
        let parents = spec["parentRefs"].as_array().unwrap().iter();
        parents
            .map(|parent| parent["sectionName"].as_str().unwrap().to_owned())
            .collect()
    };
    let plain = of(json!({}));
    assert_eq!((plain.len(), section(&plain[0])), (1, vec!["http".to_owned()]));
    assert_eq!(
        plain[0]["rules"],
        json!([{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"name": "web", "port": 8080}],
        }])
    );
    assert_eq!(plain[0]["parentRefs"][0]["namespace"], "infra");
    let both = of(json!({"tls": {"redirect": false}}));
    assert_eq!(
        (both.len(), section(&both[0])),
        (1, vec!["https".to_owned(), "http".to_owned()])
    );
    let redirected = of(json!({"tls": {}}));
    assert_eq!(
        (section(&redirected[0]), section(&redirected[1])),
        (vec!["https".to_owned()], vec!["http".to_owned()])
    );
    assert_eq!(
        redirected[1]["rules"][0]["filters"],
        json!([{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 302}}])
    );
}

#[test]
fn gateway_rewrites_paths_and_headers() {
    let rewrite = |route: Value| {
        let spec = specs(&gateway(), route).remove(0);
        let path = spec.pointer("/rules/0/filters/0/urlRewrite/path/replacePrefixMatch");
        path.cloned().unwrap_or_default()
    };
    for (route, expected) in [
        (json!({"path": "/api", "stripPrefix": true}), json!("/")),
        (json!({"path": "/api", "addPrefix": "/v2/"}), json!("/v2/api")),
        (
            json!({"path": "/api", "stripPrefix": true, "addPrefix": "/v2"}),
            json!("/v2"),
        ),
        (json!({"addPrefix": "/v2"}), json!("/v2")),
        (json!({"stripPrefix": true}), Value::Null),
    ] {
        assert_eq!(rewrite(route.clone()), expected, "{route}");
    }
    let headers = json!({"headers": {"request": {"X-Shop": "main"}, "response": {"Server": "", "X-A": "b"}}});
    assert_eq!(
        specs(&gateway(), headers)[0]["rules"][0]["filters"],
        json!([
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Shop", "value": "main"}]}},
            {"type": "ResponseHeaderModifier",
             "responseHeaderModifier": {"set": [{"name": "X-A", "value": "b"}], "remove": ["Server"]}},
        ])
    );
}

#[test]
fn options_that_an_object_cannot_express_are_refused() {
    let both = [
        json!({"redirects": [{"from": "^a", "to": "b"}]}),
        json!({"basicAuthSecretRef": {"name": "s"}}),
        json!({"maxBodySize": "1Mi"}),
        json!({"allowFrom": ["10.0.0.0/8"]}),
        json!({"rateLimit": {"average": 1}}),
        json!({"compress": true}),
        json!({"sticky": true}),
        json!({"middlewares": ["a@file"]}),
        json!({"protocol": "H2C"}),
    ];
    for route in both {
        let field = route.as_object().unwrap().keys().next().unwrap().clone();
        for frontend in [ingress(), gateway()] {
            let why = made(&frontend, route.clone()).unwrap_err();
            assert!(why.starts_with(&field) && why.contains(": remove it"), "{why}");
        }
    }
    for (frontend, route, field) in [
        (ingress(), json!({"stripPrefix": true}), "stripPrefix"),
        (ingress(), json!({"addPrefix": "/a"}), "addPrefix"),
        (ingress(), json!({"headers": {"request": {"A": "b"}}}), "headers"),
        (ingress(), json!({"tls": {}}), "tls.redirect"),
        (
            gateway(),
            json!({"tls": {"secretRef": {"name": "a"}}}),
            "tls.secretRef",
        ),
        (
            gateway(),
            json!({"tls": {"certResolver": "a"}}),
            "tls.certResolver",
        ),
    ] {
        let why = made(&frontend, route).unwrap_err();
        assert!(why.starts_with(field), "{why}");
    }
}

#[test]
fn status_of_an_earlier_generation_does_not_count() {
    let route = |parents: Value, conditions: Value| {
        json!({
            "metadata": {"generation": 3},
            "spec": {"parentRefs": parents},
            "status": {"parents": conditions},
        })
    };
    let condition = |kind: &str, status: &str, generation: u32| json!({"type": kind, "status": status, "observedGeneration": generation, "reason": "Why", "message": "because"});
    let one = json!([{}]);
    for (conditions, expected) in [
        (json!([]), ObjectState::Pending),
        (
            json!([{"conditions": [condition("Accepted", "True", 2)]}]),
            ObjectState::Pending,
        ),
        (
            json!([{"conditions": [condition("Accepted", "True", 3), condition("ResolvedRefs", "True", 3)]}]),
            ObjectState::Accepted {
                addresses: Vec::new(),
            },
        ),
        (
            json!([{"conditions": [condition("Accepted", "True", 3), condition("ResolvedRefs", "False", 3)]}]),
            ObjectState::Refused("Why: because".to_owned()),
        ),
    ] {
        assert_eq!(
            observed(&gateway(), &route(one.clone(), conditions.clone())),
            expected,
            "{conditions}"
        );
    }
    let half = json!([{"conditions": [condition("Accepted", "True", 3)]}]);
    assert_eq!(
        observed(&gateway(), &route(json!([{}, {}]), half)),
        ObjectState::Pending
    );
    let balanced = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}});
    assert_eq!(
        observed(&ingress(), &balanced),
        ObjectState::Accepted {
            addresses: vec!["192.0.2.1".to_owned(), "lb.example.com".to_owned()]
        }
    );
}

#[test]
fn gateway_shows_its_addresses_and_ports() {
    let shown = json!({
        "spec": {"listeners": [{"name": "http", "port": 80}, {"name": "https", "port": 8443}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]},
    });
    assert_eq!(addresses(&shown), ["192.0.2.1"]);
    assert_eq!(listener_port(&shown, "https"), Some(8443));
    assert_eq!(listener_port(&shown, "other"), None);
}

#[test]
fn certificate_shows_the_words_of_cert_manager_and_its_end() {
    let pending = |words: &str, is_refused| CertificateState::Pending {
        words: words.to_owned(),
        is_refused,
    };
    let of = |status: Value| {
        let object = json!({"metadata": {"generation": 2}, "status": status});
        certificate_state("web-0-tls", Some(&object))
    };
    let condition = |kind: &str, status: &str, generation: u32, message: &str| json!({"type": kind, "status": status, "observedGeneration": generation, "reason": "DoesNotExist", "message": message});
    let times = |conditions: Value| json!({"conditions": conditions, "notBefore": "1970-01-01T00:01:00Z", "notAfter": "1970-01-01T00:02:00Z"});
    let issued = CertificateState::Issued {
        not_before: 60,
        not_after: 120,
    };
    let missing = certificate_state("web-0-tls", None);
    assert!(
        matches!(&missing, CertificateState::Pending { words, is_refused: false } if words.contains("web-0-tls")),
        "{missing:?}"
    );
    let not_seen = pending("it has not looked at the Certificate web-0-tls yet", false);
    assert_eq!(of(json!({})), not_seen);
    assert_eq!(of(times(json!([condition("Ready", "True", 1, "old")]))), not_seen);
    assert_eq!(of(times(json!([condition("Ready", "True", 2, "")]))), issued);
    let not_ready = condition("Ready", "False", 2, "the Secret does not exist.");
    assert_eq!(
        of(json!({"conditions": [not_ready, condition("Issuing", "True", 2, "begun")]})),
        pending(
            "DoesNotExist: the Secret does not exist: kubectl describe certificate web-0-tls shows more",
            false
        )
    );
    assert_eq!(
        of(json!({"conditions": [not_ready, condition("Issuing", "False", 2, "the order was refused")]})),
        pending(
            "the order was refused: kubectl describe certificate web-0-tls shows more",
            true
        )
    );
    let mut expired = not_ready.clone();
    expired["reason"] = json!("Expired");
    assert_eq!(of(times(json!([expired]))), issued);
}

#[test]
fn certificate_is_of_cert_manager_only_with_an_issuer() {
    let name = |tls: Value| {
        let object = made(&ingress(), json!({"tls": tls})).unwrap().remove(0);
        certificate_name(&object).map(str::to_owned)
    };
    assert_eq!(
        name(json!({"redirect": false, "secretRef": {"name": "own"}})),
        None
    );
    assert_eq!(name(json!({"redirect": false})), None);
    assert_eq!(
        name(json!({"redirect": false, "certResolver": "letsencrypt"})).as_deref(),
        Some("web-2-tls")
    );
}

/// The policy of the manifests refuses the same options. Its conditions run on a real API server in `make test-peers`.
#[test]
fn admission_policy_has_a_message_for_each_refused_option() {
    let policy = include_str!("../../../manifests/components/routes/admission-policy.yaml");
    let refused = [
        (ingress(), json!({"stripPrefix": true})),
        (ingress(), json!({"addPrefix": "/a"})),
        (ingress(), json!({"headers": {"request": {"A": "b"}}})),
        (ingress(), json!({"tls": {}})),
        (gateway(), json!({"tls": {"secretRef": {"name": "a"}}})),
        (gateway(), json!({"tls": {"certResolver": "a"}})),
        (ingress(), json!({"redirects": [{"from": "^a", "to": "b"}]})),
        (ingress(), json!({"basicAuthSecretRef": {"name": "s"}})),
        (ingress(), json!({"maxBodySize": "1Mi"})),
        (ingress(), json!({"allowFrom": ["10.0.0.0/8"]})),
        (ingress(), json!({"rateLimit": {"average": 1}})),
        (ingress(), json!({"compress": true})),
        (ingress(), json!({"sticky": true})),
        (ingress(), json!({"middlewares": ["a@file"]})),
        (ingress(), json!({"protocol": "H2C"})),
    ];
    let count = refused.len();
    for (frontend, route) in refused {
        let why = made(&frontend, route).unwrap_err();
        let start = format!(
            "message: \"spec.routes.{}",
            why.split(" by an ")
                .next()
                .unwrap()
                .replace("protocol H2C", "protocol")
        );
        assert!(policy.contains(&start), "{start}");
    }
    assert_eq!(policy.matches("- expression: \"!").count(), count);
}
