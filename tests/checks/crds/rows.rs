//! The tables: what each kind takes, and with which words it refuses.
#![allow(clippy::panic, reason = "what fails here is a failed test")]

use serde_json::{Value, json};

/// A good object of each kind, onto which the rows below are laid as JSON merge patches.
pub fn good(kind: &str) -> Value {
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

/// Kind, what is laid over the good spec, and the words of the refusal by a rule where it is one.
#[rustfmt::skip]
pub fn rules() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let provider = json!({"name": "gitea"});
    vec![
        // What a source may be.
        ("Application", json!({}), None),
        ("Application", json!({"source": null}), None),
        ("Application", json!({"source": {"git": null}}), None),
        ("Application", json!({"source": {"git": null, "docker": {"image": "nginx:1"}}}), None),
        ("Application", json!({"source": {"git": null, "gitea": {"provider": provider, "owner": "a", "repository": "b"}}}), None),
        ("Application", json!({"source": {"docker": {"image": "nginx:1"}}}), Some("at most one of git, gitea, docker")),
        ("Application", json!({"source": {"git": null, "github": {"owner": "a"}}}), Some("github, gitlab and bitbucket are not in this version")),
        ("Application", json!({"source": {"git": null, "drop": {"digest": "sha256:0"}}}), Some("drop is not in this version")),
        ("Application", json!({"source": {"git": {"url": "https://me:pass@git.example.com/a.git"}}}), Some("url must not hold a password")),
        ("Application", json!({"source": {"git": {"url": "ssh://git@git.example.com/a.git"}}}), None),
        ("Application", json!({"source": {"git": {"url": "ssh://git@git.example.com/a.git", "insecureIgnoreHostKey": true}}}), None),
        ("Application", json!({"source": {"git": {"insecureIgnoreHostKey": false}}}), None),
        ("Application", json!({"source": {"git": {"insecureIgnoreHostKey": true}}}), Some("insecureIgnoreHostKey does nothing where url is not ssh://")),
        ("Application", json!({"source": {"git": null, "docker": {"image": "nginx:1"}}, "build": {"cache": false}}), Some("build does nothing with source.docker")),
        ("Application", json!({"source": null, "build": {"cache": false}}), None),
        ("Application", json!({"source": {"git": {"ref": {"branch": "main", "tag": "v1"}}}}), Some("at most one of branch, tag, commit")),
        ("Application", json!({"source": {"git": {"ref": {"tag": "v1"}}}}), None),
        ("Application", json!({"source": {"git": {"ref": {}}}}), None),
        // When it is deployed.
        ("Application", json!({"trigger": {"on": "Manual", "pollInterval": "0s"}}), None),
        ("Application", json!({"trigger": {"on": "Push", "pollInterval": "1m"}}), None),
        ("Application", json!({"trigger": {"on": "Manual", "pollInterval": "1m"}}), Some("pollInterval does nothing with on: Manual")),
        ("Application", json!({"trigger": {"on": "Tag"}}), Some("on: Tag is not in this version")),
        ("Application", json!({"trigger": {"watchPaths": ["a/**"]}}), Some("tagPattern, watchPaths and requireChecks")),
        ("Application", json!({"trigger": {"requireChecks": false}}), Some("tagPattern, watchPaths and requireChecks")),
        // How it is built.
        ("Application", json!({"build": {"dockerfile": {}}}), None),
        ("Application", json!({"build": {"static": {"publishDirectory": "public", "spa": true}}}), None),
        ("Application", json!({"build": {"cache": false, "args": [{"name": "A", "value": "1"}]}}), None),
        ("Application", json!({"build": {"dockerfile": {}, "static": {}}}), Some("at most one of dockerfile, static")),
        ("Application", json!({"build": {"static": {}, "args": [], "secrets": []}}), None),
        ("Application", json!({"build": {"static": {}, "args": [{"name": "A", "value": "1"}]}}), Some("args and secrets do nothing with static")),
        ("Application", json!({"build": {"static": {}, "secrets": [{"name": "A", "value": "1"}]}}), Some("args and secrets do nothing with static")),
        ("Application", json!({"build": {"timeout": "90s", "static": {"image": "nginx:1", "imagePath": "/srv"}}}), None),
        ("Application", json!({"build": {"timeout": "0s"}}), Some("timeout must be longer than 0s")),
        ("Application", json!({"build": {"static": {"imagePath": "/srv"}}}), Some("imagePath does nothing without image")),
        ("Application", json!({"build": {"static": {"image": "nginx:1", "spa": true}}}), Some("spa does nothing with image")),
        ("Application", json!({"build": {"static": {"image": "nginx:1", "spa": false}}}), None),
        ("Application", json!({"build": {"resources": {"requests": {"cpu": "1"}}}}), Some("resources is not in this version")),
        ("Application", json!({"build": {"nixpacks": {}}}), Some("use dockerfile or static")),
        ("Application", json!({"build": {"envFile": true}}), Some("envFile is not in this version")),
        ("Application", json!({"build": {"resources": {"limits": {"cpu": "1"}}}}), Some("resources is not in this version")),
        ("Application", json!({"build": {"secrets": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}}), Some("value and valueFrom exclude each other")),
        // What it runs with.
        ("Application", json!({"env": [{"name": "A"}, {"name": "B", "value": ""}, {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}), None),
        ("Application", json!({"env": [{"name": "A", "valueFrom": {}}]}), Some("exactly one of secretKeyRef, configMapKeyRef")),
        ("Application", json!({"envFrom": [{"secretRef": {"name": "s", "optional": true}, "prefix": "APP_"}]}), None),
        ("Application", json!({"envFrom": [{"prefix": "APP_"}]}), Some("exactly one of secretRef, configMapRef")),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080}]}), None),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "replicas": 0}), None),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "replicas": 2}), Some("replicas is at most 1 with a hostPort")),
        ("Application", json!({"ports": [{"containerPort": 80}], "replicas": 2}), None),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIp": "127.0.0.1"}]}), None),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIp": "127.0.0.1"}, {"containerPort": 81, "hostPort": 8080, "hostIp": "127.0.0.2"}]}), None),
        ("Application", json!({"ports": [{"containerPort": 80, "hostIp": "127.0.0.1"}]}), Some("hostIp does nothing without a hostPort")),
        ("Application", json!({"restartPolicy": {"condition": "OnFailure", "maxRetries": 3}}), None),
        ("Application", json!({"restartPolicy": {"condition": "Never", "maxRetries": 0}}), None),
        ("Application", json!({"restartPolicy": {"condition": "Never", "maxRetries": 3}}), Some("maxRetries does nothing unless condition is OnFailure")),
        ("Application", json!({"restartPolicy": {"maxRetries": 3}}), Some("maxRetries does nothing unless condition is OnFailure")),
        ("Application", json!({"stopGracePeriod": "0s"}), None),
        ("Application", json!({"stopGracePeriod": "24h"}), None),
        ("Application", json!({"stopGracePeriod": "24h1s"}), Some("stopGracePeriod is at most 24h")),
        ("Application", json!({"rollout": {"minReady": "299s"}}), None),
        ("Application", json!({"rollout": {"minReady": "5m"}}), Some("minReady must be shorter than progressDeadline")),
        ("Application", json!({"rollout": {"minReady": "5m", "progressDeadline": "10m"}}), None),
        ("Application", json!({"rollout": {"minReady": "5s", "progressDeadline": "4500ms"}}), Some("minReady must be shorter than progressDeadline")),
        ("Application", json!({"rollout": {"progressDeadline": "0s"}}), Some("progressDeadline must be longer than 0s")),
        ("Application", json!({"healthCheck": {"tcp": {"port": 80}, "interval": "0s"}}), Some("interval must be longer than 0s")),
        ("Application", json!({"healthCheck": {"tcp": {"port": 80}, "timeout": "0ms"}}), Some("timeout must be longer than 0s")),
        ("Application", json!({"source": {"git": {"url": "file:///srv/shop.git", "secretRef": {"name": "s"}}}}), Some("secretRef does nothing where url is file://")),
        ("Application", json!({"healthCheck": {"http": {"path": "/", "port": 80}}}), None),
        ("Application", json!({"healthCheck": {"tcp": {"port": "http"}}}), None),
        ("Application", json!({"healthCheck": {"interval": "5s"}}), Some("exactly one of http, tcp, exec")),
        ("Application", json!({"healthCheck": {"tcp": {"port": 80}, "exec": {"command": ["true"]}}}), Some("exactly one of http, tcp, exec")),
        ("Application", json!({"volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]}), None),
        ("Application", json!({"volumes": [{"name": "data", "mountPath": "/data"}]}), Some("exactly one of volume, configMap, secret")),
        ("Application", json!({"volumes": [{"name": "data", "mountPath": "/data", "volume": {}, "secret": {"name": "s"}}]}), Some("exactly one of volume, configMap, secret")),
        // What comes later.
        ("Application", json!({"routes": [{"host": "shop.example.com"}]}), Some("routes is not in this version")),
        ("Application", json!({"hooks": {}}), Some("hooks is not in this version")),
        ("Application", json!({"previews": {"enabled": false}}), Some("previews is not in this version")),
        ("Application", json!({"image": {"repository": "a/b"}}), Some("image is not in this version")),
        // A Release.
        ("Release", json!({}), None),
        ("Release", json!({"type": "Redeploy", "cleanCache": true, "title": "again"}), None),
        ("Release", json!({"type": "Rollback", "rollbackTo": "shop-1"}), Some("Rollback is not in this version")),
        ("Release", json!({"revision": "0".repeat(64)}), None),
        ("Release", json!({"type": "Rollback"}), Some("Rollback is not in this version")),
        ("Release", json!({"rollbackTo": "shop-1"}), Some("Rollback is not in this version")),
        // A GitProvider.
        ("GitProvider", json!({}), None),
        ("GitProvider", json!({"allowedNamespaces": {"from": "All"}, "interval": "1h"}), None),
        ("GitProvider", json!({"interval": "9s"}), Some("interval is at least 10s")),
        ("GitProvider", json!({"gitea": {"caSecretRef": {"name": "ca"}}}), None),
        ("GitProvider", json!({"gitea": {"url": "http://git.example.com", "caSecretRef": {"name": "ca"}}}), Some("caSecretRef does nothing where url is not https://")),
        ("GitProvider", json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}), None),
        ("GitProvider", json!({"allowedNamespaces": {"from": "Selector"}}), Some("selector goes with from: Selector")),
        ("GitProvider", json!({"allowedNamespaces": {"selector": {"matchLabels": {}}}}), Some("selector goes with from: Selector")),
        ("GitProvider", json!({"gitea": null}), Some("exactly one forge must be set")),
        ("GitProvider", json!({"github": {"url": "https://github.com"}}), Some("exactly one forge must be set")),
        ("GitProvider", json!({"gitea": null, "gitlab": {"url": "https://gitlab.com"}}), Some("github, gitlab and bitbucket are not in this version")),
        ("GitProvider", json!({"gitea": {"url": "https://token@git.example.com"}}), Some("url must not hold a credential")),
        ("GitProvider", json!({"webhook": {"manage": true}}), Some("webhook is not in this version")),
    ]
}

/// As [`rules`], for what the schema itself refuses: patterns, limits, types, unknown fields.
#[rustfmt::skip]
pub fn fields() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let git = |url: &str| json!({"source": {"git": {"url": url}}});
    let branch = |name: &str| json!({"source": {"git": {"ref": {"branch": name}}}});
    let env = |name: &str| json!({"env": [{"name": name, "value": "1"}]});
    let gitea = |owner: &str, name: &str| json!({"source": {"git": null, "gitea": {"provider": {"name": "g"}, "owner": owner, "repository": name}}});
    let memory = |amount: Value| json!({"resources": {"limits": {"memory": amount}}});
    vec![
        ("Application", git("file:///srv/shop.git"), None),
        ("Application", git("http://git.example.com/shop.git"), Some("url must begin with https:// or ssh://")),
        ("Application", git("http://localhost.example.com/shop.git"), Some("url must begin with https:// or ssh://")),
        ("Application", git("http://localhost:3000/shop.git"), None),
        ("Application", git("http://127.0.0.1/shop.git"), None),
        ("Application", git("http://[::1]:3000/shop.git"), None),
        ("Application", git("git://git.example.com/shop.git"), Some("spec.source.git.url")),
        ("Application", git("ext::sh -c id"), Some("spec.source.git.url")),
        ("Application", git("-u"), Some("spec.source.git.url")),
        ("Application", branch("feature/a_b.c+d@x"), None),
        ("Application", branch("--upload-pack=x"), Some("branch")),
        ("Application", branch("a b"), Some("branch")),
        ("Application", branch("a:b"), Some("branch")),
        ("Application", json!({"source": {"git": {"ref": {"commit": "a".repeat(40)}}}}), None),
        ("Application", json!({"source": {"git": {"ref": {"commit": "abc123"}}}}), Some("commit")),
        ("Application", gitea("acme", "shop.js_2-x"), None),
        ("Application", gitea("acme/other", "shop"), Some("owner")),
        ("Application", gitea("acme", "a b"), Some("repository")),
        ("Application", gitea("acme", ".."), Some("repository")),
        ("Application", gitea(".", "shop"), Some("owner")),
        ("Application", json!({"source": {"git": null, "docker": {"image": "--privileged"}}}), Some("image")),
        ("Application", json!({"source": {"git": null, "docker": {"image": "registry.example.com:5000/a/b:1@sha256:0"}}}), None),
        ("Application", env("A_b-c.d"), None),
        ("Application", env("1A"), Some("spec.env[0].name")),
        ("Application", env("A=B"), Some("spec.env[0].name")),
        ("Application", env(""), Some("spec.env[0].name")),
        ("Application", json!({"env": [{"name": "A"}, {"name": "A"}]}), Some("Duplicate value")),
        ("Application", json!({"env": {"A": "1"}}), Some("spec.env")),
        ("Application", memory(json!("512Mi")), None),
        ("Application", memory(json!(1_000_000)), None),
        ("Application", memory(json!("0.5G")), None),
        ("Application", memory(json!("lots")), Some("memory")),
        ("Application", memory(json!("1 Gi")), Some("memory")),
        ("Application", json!({"replicas": -1}), Some("spec.replicas")),
        ("Application", json!({"replicas": 101}), Some("spec.replicas")),
        ("Application", json!({"replicas": "2"}), Some("spec.replicas")),
        ("Application", json!({"ports": [{"containerPort": 0}]}), Some("containerPort")),
        ("Application", json!({"ports": [{"containerPort": 65536}]}), Some("containerPort")),
        ("Application", json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]}), None),
        ("Application", json!({"ports": [{"containerPort": 53}, {"containerPort": 53}]}), Some("Duplicate value")),
        ("Application", json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIp": "127.0.0.1"}, {"containerPort": 80, "hostPort": 8080, "hostIp": "127.0.0.2"}]}), Some("Duplicate value")),
        ("Application", json!({"ports": [{"containerPort": 53, "protocol": "SCTP"}]}), Some("Unsupported value")),
        ("Application", json!({"stopGracePeriod": "1m30s"}), None),
        ("Application", json!({"stopGracePeriod": "90"}), Some("stopGracePeriod")),
        ("Application", json!({"stopGracePeriod": 90}), Some("stopGracePeriod")),
        ("Application", json!({"volumes": [{"name": "d", "mountPath": "/", "volume": {}}]}), Some("mountPath")),
        ("Application", json!({"volumes": [{"name": "d", "mountPath": "data", "volume": {}}]}), Some("mountPath")),
        ("Application", json!({"volumes": [{"name": "d", "mountPath": "/a:/b", "volume": {}}]}), Some("mountPath")),
        ("Application", json!({"concurrencyPolicy": "Replace"}), Some("Unsupported value")),
        ("Application", json!({"deletionPolicy": "Orphan"}), None),
        ("Application", json!({"enviroment": []}), Some("unknown field \"spec.enviroment\"")),
        ("Application", json!({"build": {"dockerfile": {"target": "-x"}}}), Some("target")),
        ("Application", json!({"command": []}), None),
        ("Release", json!({"revision": "a".repeat(40)}), None),
        ("Release", json!({"revision": format!("sha256:{}", "a".repeat(64))}), None),
        ("Release", json!({"revision": "main"}), Some("revision")),
        ("Release", json!({"type": "Restart"}), Some("Unsupported value")),
        ("Release", json!({"application": ""}), Some("application")),
        ("Release", json!({"application": null}), Some("Required value")),
        ("GitProvider", json!({"gitea": {"url": "http://localhost:3000/git"}}), None),
        ("GitProvider", json!({"gitea": {"url": "git.example.com"}}), Some("url")),
        ("GitProvider", json!({"gitea": {"url": "ssh://git.example.com"}}), Some("url")),
        ("GitProvider", json!({"gitea": {"tokenSecretRef": null}}), Some("Required value")),
        ("GitProvider", json!({"gitea": {"tokenSecretRef": {"name": "s", "key": ""}}}), Some("key")),
        ("GitProvider", json!({"allowedNamespaces": {"from": "Some"}}), Some("Unsupported value")),
    ]
}
