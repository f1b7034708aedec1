//! The rules: what they let in, and with which words they refuse.

use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Value, json};

use super::schemas;

/// A good object of each kind, onto which the rows below are laid as JSON merge patches.
fn good(kind: &str) -> Value {
    let spec = match kind {
        "Application" => json!({"source": {"git": {"url": "https://git.example.com/acme/shop.git"}}}),
        "Release" => json!({"application": "shop"}),
        "GitProvider" => {
            json!({"gitea": {"url": "https://git.example.com", "tokenSecretRef": {"name": "gitea"}}})
        }
        _ => panic!("no kind {kind}"),
    };
    json!({"apiVersion": "davit.dev/v1alpha1", "kind": kind, "metadata": {"name": "shop", "namespace": "acme"}, "spec": spec})
}

fn object(kind: &str, spec: &Value) -> Value {
    let mut object = good(kind);
    json_patch::merge(&mut object["spec"], spec);
    object
}

/// The messages of the rules that `object` breaks, after defaults.
fn refusals(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let (_, schema) = schemas().into_iter().find(|(name, _)| name == kind).unwrap();
    match Validator::new().validate_with_defaults(&schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn refuse(kind: &str, object: &Value, old: Option<&Value>, words: Option<&str>) {
    let found = refusals(kind, object, old);
    match words {
        None => assert!(
            found.is_empty(),
            "{kind} {object} is good, and refused with {found:?}"
        ),
        Some(words) => assert!(
            found.iter().any(|message| message.contains(words)),
            "{kind} {object} should be refused with {words:?}, not {found:?}"
        ),
    }
}

#[test]
fn every_rule_compiles() {
    fn check(path: &str, schema: &CompiledSchema, count: &mut usize) {
        *count += schema.validations.len();
        assert!(!schema.has_errors(), "{path}: {:?}", schema.compilation_errors());
        for (name, property) in &schema.properties {
            check(&format!("{path}.{name}"), property, count);
        }
        for inner in [&schema.items, &schema.additional_properties]
            .into_iter()
            .flatten()
        {
            check(&format!("{path}[]"), inner, count);
        }
    }
    let mut count = 0;
    for (kind, schema) in schemas() {
        check(&kind, &compile_schema(&schema), &mut count);
    }
    assert!(count >= 30, "only {count} rules were found");
}

#[test]
fn every_rule_has_a_message_that_names_the_way_out() {
    fn check(path: &str, schema: &Value) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert!(
                rule["message"].as_str().is_some_and(|text| text.len() > 20),
                "{path}: {rule}"
            );
        }
        match schema {
            Value::Object(all) => all
                .iter()
                .for_each(|(key, inner)| check(&format!("{path}.{key}"), inner)),
            Value::Array(all) => all.iter().for_each(|inner| check(path, inner)),
            _ => {}
        }
    }
    for (kind, schema) in schemas() {
        check(&kind, &schema);
    }
}

/// Kind, what is laid over the good spec, and the words of the refusal where it is one.
fn rows() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let provider = json!({"name": "gitea"});
    vec![
        // What a source may be.
        ("Application", json!({}), None),
        ("Application", json!({"source": null}), None),
        ("Application", json!({"source": {"git": null}}), None),
        (
            "Application",
            json!({"source": {"git": null, "docker": {"image": "nginx:1"}}}),
            None,
        ),
        (
            "Application",
            json!({"source": {"git": null, "gitea": {"provider": provider, "owner": "a", "repository": "b"}}}),
            None,
        ),
        (
            "Application",
            json!({"source": {"docker": {"image": "nginx:1"}}}),
            Some("at most one of git, gitea, docker"),
        ),
        (
            "Application",
            json!({"source": {"git": null, "github": {"owner": "a"}}}),
            Some("github, gitlab and bitbucket are not in this version"),
        ),
        (
            "Application",
            json!({"source": {"git": null, "drop": {"digest": "sha256:0"}}}),
            Some("drop is not in this version"),
        ),
        (
            "Application",
            json!({"source": {"git": {"url": "https://me:pass@git.example.com/a.git"}}}),
            Some("url must not hold a password"),
        ),
        (
            "Application",
            json!({"source": {"git": {"url": "ssh://git@git.example.com/a.git"}}}),
            None,
        ),
        (
            "Application",
            json!({"source": {"git": {"ref": {"branch": "main", "tag": "v1"}}}}),
            Some("at most one of branch, tag, commit"),
        ),
        (
            "Application",
            json!({"source": {"git": {"ref": {"tag": "v1"}}}}),
            None,
        ),
        ("Application", json!({"source": {"git": {"ref": {}}}}), None),
        // When it is deployed.
        (
            "Application",
            json!({"trigger": {"on": "Manual", "pollInterval": "1m"}}),
            None,
        ),
        (
            "Application",
            json!({"trigger": {"on": "Tag"}}),
            Some("on: Tag is not in this version"),
        ),
        (
            "Application",
            json!({"trigger": {"watchPaths": ["a/**"]}}),
            Some("tagPattern, watchPaths and requireChecks"),
        ),
        (
            "Application",
            json!({"trigger": {"requireChecks": false}}),
            Some("tagPattern, watchPaths and requireChecks"),
        ),
        // How it is built.
        ("Application", json!({"build": {"dockerfile": {}}}), None),
        (
            "Application",
            json!({"build": {"static": {"publishDirectory": "public", "spa": true}}}),
            None,
        ),
        (
            "Application",
            json!({"build": {"cache": false, "args": [{"name": "A", "value": "1"}]}}),
            None,
        ),
        (
            "Application",
            json!({"build": {"dockerfile": {}, "static": {}}}),
            Some("at most one of dockerfile, static"),
        ),
        (
            "Application",
            json!({"build": {"nixpacks": {}}}),
            Some("use dockerfile or static"),
        ),
        (
            "Application",
            json!({"build": {"envFile": true}}),
            Some("envFile is not in this version"),
        ),
        (
            "Application",
            json!({"build": {"secrets": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}}),
            Some("value and valueFrom exclude each other"),
        ),
        // What it runs with.
        (
            "Application",
            json!({"env": [{"name": "A"}, {"name": "B", "value": ""}, {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}),
            None,
        ),
        (
            "Application",
            json!({"env": [{"name": "A", "valueFrom": {}}]}),
            Some("exactly one of secretKeyRef, configMapKeyRef"),
        ),
        (
            "Application",
            json!({"envFrom": [{"secretRef": {"name": "s", "optional": true}, "prefix": "APP_"}]}),
            None,
        ),
        (
            "Application",
            json!({"envFrom": [{"prefix": "APP_"}]}),
            Some("exactly one of secretRef, configMapRef"),
        ),
        (
            "Application",
            json!({"ports": [{"containerPort": 80, "hostPort": 8080}]}),
            None,
        ),
        (
            "Application",
            json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "replicas": 0}),
            None,
        ),
        (
            "Application",
            json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "replicas": 2}),
            Some("replicas is at most 1 with a hostPort"),
        ),
        (
            "Application",
            json!({"ports": [{"containerPort": 80}], "replicas": 2}),
            None,
        ),
        (
            "Application",
            json!({"healthCheck": {"http": {"path": "/", "port": 80}}}),
            None,
        ),
        (
            "Application",
            json!({"healthCheck": {"tcp": {"port": "http"}}}),
            None,
        ),
        (
            "Application",
            json!({"healthCheck": {"interval": "5s"}}),
            Some("exactly one of http, tcp, exec"),
        ),
        (
            "Application",
            json!({"healthCheck": {"tcp": {"port": 80}, "exec": {"command": ["true"]}}}),
            Some("exactly one of http, tcp, exec"),
        ),
        (
            "Application",
            json!({"volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]}),
            None,
        ),
        (
            "Application",
            json!({"volumes": [{"name": "data", "mountPath": "/data"}]}),
            Some("exactly one of volume, configMap, secret"),
        ),
        (
            "Application",
            json!({"volumes": [{"name": "data", "mountPath": "/data", "volume": {}, "secret": {"name": "s"}}]}),
            Some("exactly one of volume, configMap, secret"),
        ),
        // What comes later.
        (
            "Application",
            json!({"routes": [{"host": "shop.example.com"}]}),
            Some("routes is not in this version"),
        ),
        (
            "Application",
            json!({"hooks": {}}),
            Some("hooks is not in this version"),
        ),
        (
            "Application",
            json!({"previews": {"enabled": false}}),
            Some("previews is not in this version"),
        ),
        (
            "Application",
            json!({"image": {"repository": "a/b"}}),
            Some("image is not in this version"),
        ),
        // A Release.
        ("Release", json!({}), None),
        (
            "Release",
            json!({"type": "Redeploy", "cleanCache": true, "title": "again"}),
            None,
        ),
        (
            "Release",
            json!({"type": "Rollback", "rollbackTo": "shop-1"}),
            Some("Rollback is not in this version"),
        ),
        (
            "Release",
            json!({"type": "Rollback"}),
            Some("Rollback is not in this version"),
        ),
        (
            "Release",
            json!({"rollbackTo": "shop-1"}),
            Some("Rollback is not in this version"),
        ),
        // A GitProvider.
        ("GitProvider", json!({}), None),
        (
            "GitProvider",
            json!({"allowedNamespaces": {"from": "All"}, "interval": "1h"}),
            None,
        ),
        (
            "GitProvider",
            json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}),
            None,
        ),
        (
            "GitProvider",
            json!({"allowedNamespaces": {"from": "Selector"}}),
            Some("selector goes with from: Selector"),
        ),
        (
            "GitProvider",
            json!({"allowedNamespaces": {"selector": {"matchLabels": {}}}}),
            Some("selector goes with from: Selector"),
        ),
        (
            "GitProvider",
            json!({"gitea": null}),
            Some("exactly one forge must be set"),
        ),
        (
            "GitProvider",
            json!({"github": {"url": "https://github.com"}}),
            Some("exactly one forge must be set"),
        ),
        (
            "GitProvider",
            json!({"gitea": null, "gitlab": {"url": "https://gitlab.com"}}),
            Some("github, gitlab and bitbucket are not in this version"),
        ),
        (
            "GitProvider",
            json!({"gitea": {"url": "https://token@git.example.com"}}),
            Some("url must not hold a credential"),
        ),
        (
            "GitProvider",
            json!({"webhook": {"manage": true}}),
            Some("webhook is not in this version"),
        ),
    ]
}

#[test]
fn each_rule_lets_in_what_is_good_and_refuses_what_is_not() {
    for (kind, spec, words) in rows() {
        refuse(kind, &object(kind, &spec), None, words);
    }
}

#[test]
fn a_name_that_others_cannot_reach_it_by_is_refused() {
    for (name, words) in [
        ("shop", None),
        ("a", None),
        ("a-1", None),
        (&*"a".repeat(52), None),
        (&*"a".repeat(53), Some("name is at most 52 characters")),
        ("1shop", Some("beginning with a letter")),
        ("shop.v1", Some("beginning with a letter")),
        ("shop-", Some("beginning with a letter")),
    ] {
        let mut object = good("Application");
        object["metadata"]["name"] = json!(name);
        refuse("Application", &object, None, words);
    }
}

#[test]
fn what_may_not_change_does_not() {
    const IMMUTABLE: Option<&str> = Some("a Release is immutable but for cancel");
    let rollback = json!({"type": "Rollback", "rollbackTo": "shop-1"});
    for (kind, old, new, words) in [
        ("Release", json!({}), json!({}), None),
        ("Release", json!({}), json!({"cancel": true}), None),
        (
            "Release",
            json!({"title": "a"}),
            json!({"title": "a", "cancel": true}),
            None,
        ),
        ("Release", json!({"cancel": true}), json!({"cancel": true}), None),
        ("Release", json!({"cancel": false}), json!({}), None),
        (
            "Release",
            json!({"cancel": true}),
            json!({}),
            Some("cancel cannot be taken back"),
        ),
        (
            "Release",
            json!({"cancel": true}),
            json!({"cancel": false}),
            Some("cancel cannot be taken back"),
        ),
        ("Release", json!({}), json!({"application": "other"}), IMMUTABLE),
        ("Release", json!({}), json!({"type": "Redeploy"}), IMMUTABLE),
        ("Release", json!({}), json!({"title": "a"}), IMMUTABLE),
        ("Release", json!({"title": "a"}), json!({"title": "b"}), IMMUTABLE),
        ("Release", json!({"title": "a"}), json!({}), IMMUTABLE),
        ("Release", json!({}), json!({"description": "a"}), IMMUTABLE),
        (
            "Release",
            json!({}),
            json!({"revision": "0".repeat(40)}),
            IMMUTABLE,
        ),
        (
            "Release",
            json!({"revision": "0".repeat(40)}),
            json!({"revision": "1".repeat(40)}),
            IMMUTABLE,
        ),
        (
            "Release",
            rollback.clone(),
            json!({"type": "Rollback", "rollbackTo": "shop-2"}),
            IMMUTABLE,
        ),
        ("Release", rollback, json!({}), IMMUTABLE),
        ("Release", json!({}), json!({"cleanCache": true}), IMMUTABLE),
        (
            "Release",
            json!({"cleanCache": true}),
            json!({"cleanCache": false}),
            IMMUTABLE,
        ),
        ("Release", json!({}), json!({"cleanCache": false}), None),
        (
            "GitProvider",
            json!({}),
            json!({"gitea": {"url": "https://other.example.com"}}),
            None,
        ),
        (
            "GitProvider",
            json!({}),
            json!({"gitea": null, "github": {}}),
            Some("the kind of forge cannot change"),
        ),
    ] {
        refuse(kind, &object(kind, &new), Some(&object(kind, &old)), words);
    }
}
