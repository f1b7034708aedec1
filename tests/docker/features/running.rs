//! What runs: environment, files, command, limits, volumes, and how containers end and are started again.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{active, change, create_release, dockerfile, exec, git, inspect};
use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::{run, try_run, wait_for};

#[test]
fn container_has_the_environment_files_command_and_limits_of_the_spec() {
    let davit = Davit::up("given");
    let repo = GitRepo::with(&[(
        "Dockerfile",
        &dockerfile("USER 65534:65534\nENTRYPOINT [\"echo\"]\nCMD [\"unused\"]"),
    )]);
    davit.create_config_map("settings", &[("greeting", "hello"), ("color", "blue")]);
    davit.create_config_map("pages", &[("a.txt", "page one"), ("b.txt", "other")]);
    davit.create_secret("keys", &[("token", "s3cr3t-first"), ("PIN", "1234-pin")]);
    davit.create_secret("files", &[("key.pem", "s3cr3t-file")]);
    davit.apply(
        "app",
        json!({
            "source": git(&repo),
            "command": ["sleep"], "args": ["10000"],
            "env": [
                {"name": "PLAIN", "value": "a b $c \"d\""},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}}},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "x", "optional": true}}},
                {"name": "P_color", "value": "what is named wins"},
            ],
            "envFrom": [
                {"configMapRef": {"name": "settings"}, "prefix": "P_"},
                {"secretRef": {"name": "keys"}, "prefix": "K_"},
                {"secretRef": {"name": "nowhere", "optional": true}},
            ],
            "volumes": [
                {"name": "pages", "mountPath": "/pages", "configMap": {"name": "pages"}},
                {"name": "files", "mountPath": "/files", "secret": {"name": "files"}},
                {"name": "strict", "mountPath": "/strict", "secret": {"name": "files", "defaultMode": 0o400}},
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}},
            "healthCheck": {"exec": {"command": ["cat", "/files/key.pem"]}, "interval": "1s"},
        }),
    );
    davit.wait_until_done("app");
    let env = exec(&davit, "app", &["env"]);
    for line in [
        "PLAIN=a b $c \"d\"",
        "TOKEN=s3cr3t-first",
        "GREETING=hello",
        "P_greeting=hello",
        "P_color=what is named wins",
        "K_PIN=1234-pin",
    ] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains("MAYBE"), "{env}");
    let container = inspect(&davit, "app");
    assert_eq!(container["Path"], "sleep");
    assert_eq!(container["Args"], json!(["10000"]));
    let host = &container["HostConfig"];
    assert_eq!(host["NanoCpus"], 250_000_000);
    assert_eq!(host["CpuShares"], 102);
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20, "swap makes no limit longer");
    assert_eq!(host["MemoryReservation"], 32 << 20);
    assert_eq!(
        container["Config"]["Healthcheck"]["Test"],
        json!(["CMD", "cat", "/files/key.pem"])
    );

    // The image's user is not root: it reads what it is given, writes nothing, and not what is meant for root alone.
    assert_eq!(
        exec(&davit, "app", &["cat", "/pages/a.txt", "/files/key.pem"]),
        "page ones3cr3t-file"
    );
    assert_eq!(
        exec(
            &davit,
            "app",
            &["stat", "-L", "-c", "%a %u", "/files/key.pem", "/strict/key.pem"]
        ),
        "444 0\n400 0"
    );
    let id = davit.containers("app").remove(0);
    for denied in [&["cat", "/strict/key.pem"][..], &["touch", "/pages/new"][..]] {
        let (ok, _, _) = try_run(davit.docker().args(["exec", &id]).args(denied));
        assert!(!ok, "{denied:?} is allowed");
    }

    // What a ConfigMap or Secret holds is part of what a Release is made of.
    change(
        &davit,
        "configmap",
        "pages",
        &json!({"data": {"a.txt": "page two", "b.txt": null}}),
    );
    let release = active(&davit, "app", 2);
    assert_eq!(
        release["status"]["why"],
        json!(["volume pages changed (ConfigMap pages)"])
    );
    assert_eq!(release["status"]["cause"]["kind"], "Secret");
    assert_eq!(release["status"]["builder"]["reused"], true);
    assert_eq!(exec(&davit, "app", &["cat", "/pages/a.txt"]), "page two");
    assert_eq!(exec(&davit, "app", &["ls", "/pages"]), "a.txt");
    change(
        &davit,
        "secret",
        "keys",
        &json!({"stringData": {"token": "s3cr3t-second", "more": "new"}}),
    );
    let release = active(&davit, "app", 3);
    assert_eq!(
        release["status"]["why"],
        json!([
            "env K_more added (Secret keys)",
            "env K_token changed (Secret keys)",
            "env TOKEN changed (Secret keys)",
        ])
    );
    assert_eq!(release["status"]["cause"]["kind"], "Secret");
    assert!(exec(&davit, "app", &["env"]).contains("TOKEN=s3cr3t-second"));
    // Neither a write that changes no value nor a write to an unreferenced Secret creates a Release.
    change(
        &davit,
        "secret",
        "keys",
        &json!({"metadata": {"labels": {"a": "b"}}}),
    );
    davit.create_secret("unrelated", &[("a", "b")]);
    davit.patch("app", json!({"spec": {"env": null}}));
    let release = active(&davit, "app", 4);
    assert_eq!(release["status"]["cause"]["kind"], "Spec");
    assert_eq!(davit.releases_of("app").len(), 4);

    // Nothing that anybody can read tells a value.
    let events = run(davit.kubectl().args(["get", "events", "--output", "yaml"]));
    let everything = format!(
        "{}{:?}{events}{}",
        davit.application("app"),
        davit.releases_of("app"),
        davit.log()
    );
    assert!(!everything.contains("s3cr3t"), "a value is shown");
}

#[test]
fn named_volume_is_removed_only_on_request() {
    let davit = Davit::up("keep");
    let spec = |policy: &str, color: &str| {
        json!({
            "source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"],
            "env": [{"name": "COLOR", "value": color}],
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}],
            "deletionPolicy": policy,
        })
    };
    davit.apply("db", spec("Delete", "red"));
    davit.wait_until_done("db");
    exec(&davit, "db", &["sh", "-c", "echo precious > /data/file"]);
    davit.apply("db", spec("Delete", "blue"));
    active(&davit, "db", 2);
    assert_eq!(exec(&davit, "db", &["cat", "/data/file"]), "precious");
    davit.delete_and_wait("db");
    assert_eq!(davit.list_in_engine("containers").len(), 0);
    assert_eq!(
        davit.list_in_engine("volumes").len(),
        1,
        "data goes only when asked"
    );
    davit.apply("db", spec("DeleteWithVolumes", "red"));
    davit.wait_until_done("db");
    assert_eq!(exec(&davit, "db", &["cat", "/data/file"]), "precious");
    davit.delete_and_wait("db");
    assert_eq!(davit.list_in_engine("volumes").len(), 0);
}

#[test]
fn exited_container_is_restarted_by_its_policy() {
    let davit = Davit::up("ends");
    let local = json!({"docker": {"image": BASE_IMAGE}});
    let sh = |script: &str| json!(["sh", "-c", script]);
    davit.apply(
        "never",
        json!({"source": local, "command": sh("echo token=hush-hush; exit 4"), "restartPolicy": {"condition": "Never"},
            "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "t", "key": "t"}}}]}),
    );
    davit.create_secret("t", &[("t", "hush-hush")]);
    davit.apply(
        "retried",
        json!({"source": local, "command": sh("echo again >> /data/tries; [ $(wc -l < /data/tries) -gt 2 ] && exec sleep 10000; exit 1"),
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}],
            "restartPolicy": {"condition": "OnFailure", "maxRetries": 5}, "rollout": {"minReady": "2s"}}),
    );
    // Both see SIGTERM; one needs a while to end, the other never would.
    let trap = "trap 'echo got-it > /data/term; sleep 1; echo bye > /data/end; exit 0' TERM; while :; do sleep 0.1; done";
    davit.apply(
        "polite",
        json!({"source": local, "command": sh(trap), "stopGracePeriod": "20s",
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]}),
    );
    davit.apply(
        "stubborn",
        json!({"source": local, "command": sh("trap '' TERM; while :; do sleep 0.1; done"), "stopGracePeriod": "2s"}),
    );
    let message = davit.wait_for_error("never", "ContainerExited");
    assert!(
        message.contains("code 4") && message.contains("token=***"),
        "{message}"
    );
    assert!(!message.contains("hush-hush"), "{message}");
    davit.wait_until_done("retried");
    // What ended after it was seen to work is an error, and a Release of the same containers runs them again.
    davit.apply(
        "once",
        json!({"source": local, "command": sh("sleep 3; echo all-done"), "restartPolicy": {"condition": "Never"},
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]}),
    );
    let ended = |name: &str| {
        davit.wait_until(name, 30, "ended for good", |app| {
            condition(app, "Stalled")["status"] == "True"
                && condition(app, "Deployed")["status"] == "True"
                && condition(app, "Ready")["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("all-done"))
        })
    };
    ended("once");
    let first = davit.containers("once");
    create_release(&davit, "once-more", &json!({"application": "once"}));
    wait_for("the other container", Duration::from_secs(20), || {
        (davit.containers("once") != first).then_some(())
    });
    ended("once");
    let container = inspect(&davit, "retried");
    assert_eq!(
        container["HostConfig"]["RestartPolicy"],
        json!({"Name": "on-failure", "MaximumRetryCount": 5})
    );
    assert_eq!(container["RestartCount"], 2);
    davit.wait_until_done("polite");
    davit.wait_until_done("stubborn");
    assert_eq!(inspect(&davit, "polite")["Config"]["StopTimeout"], 20);

    // stopped: nothing runs, everything else stays, and no Release is made of it.
    let begun = Instant::now();
    for name in ["polite", "stubborn"] {
        davit.patch(name, json!({"spec": {"stopped": true}}));
    }
    for name in ["polite", "stubborn"] {
        let app = davit.wait_until(name, 30, "stopped", |app| {
            app["status"]["phase"] == "idle" && davit.containers(name).is_empty()
        });
        assert_eq!(condition(&app, "Ready")["reason"], "Stopped");
        assert_eq!(app["status"]["readyReplicas"], 0);
    }
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(2),
        "the stubborn one was given {took:?}"
    );
    assert!(
        took < Duration::from_secs(15),
        "nobody waits longer than needed: {took:?}"
    );
    for name in ["polite", "stubborn"] {
        davit.patch(name, json!({"spec": {"stopped": false}}));
        davit.wait_until_done(name);
        assert_eq!(
            davit.releases_of(name).len(),
            1,
            "stopping and starting make no Release"
        );
    }
    assert_eq!(
        exec(&davit, "polite", &["cat", "/data/term", "/data/end"]),
        "got-it\nbye"
    );

    // suspend: what is there stays as it is, whatever happens to it and whatever is asked for.
    davit.patch("stubborn", json!({"spec": {"suspend": true}}));
    davit.patch(
        "stubborn",
        json!({"spec": {"env": [{"name": "A", "value": "b"}]}}),
    );
    let id = davit.containers("stubborn").remove(0);
    run(davit.docker().args(["rm", "--force", &id]));
    // Another one is put right meanwhile, so that this one could have been too.
    let id = davit.containers("polite").remove(0);
    run(davit.docker().args(["rm", "--force", &id]));
    wait_for("the other one to be put right", Duration::from_secs(20), || {
        davit
            .containers("polite")
            .first()
            .filter(|new| **new != id)
            .cloned()
    });
    davit.wait_until_done("polite");
    assert!(
        davit.containers("stubborn").is_empty(),
        "a suspended one is touched"
    );
    davit.patch("stubborn", json!({"spec": {"suspend": false}}));
    active(&davit, "stubborn", 2);
}

#[test]
fn crash_loop_is_reported_once() {
    let davit = Davit::up("loops");
    let script =
        "[ -e /data/end ] && { date +%s; head -c 20 /dev/urandom | md5sum; exit 7; }; exec sleep 10000";
    davit.apply(
        "loop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", script],
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]}),
    );
    davit.wait_until_done("loop");
    exec(&davit, "loop", &["sh", "-c", "touch /data/end; kill 1"]);
    let (mut versions, mut messages) = (Vec::new(), Vec::new());
    wait_for(
        "the engine to start it again 6 times",
        Duration::from_mins(1),
        || {
            let app = davit.application("loop");
            let version = app["metadata"]["resourceVersion"].clone();
            if versions.last() != Some(&version) {
                versions.push(version);
                messages.push(condition(&app, "Healthy")["message"].to_string());
            }
            (inspect(&davit, "loop")["RestartCount"].as_i64()? >= 6).then_some(())
        },
    );
    // As it was done, then that it ended, and that it keeps ending, told again at its 2nd and 4th start.
    assert!(versions.len() <= 6, "{messages:#?}");
    let app = davit.wait_until("loop", 10, "in error", |app| app["status"]["phase"] == "error");
    let told = condition(&app, "Healthy");
    assert_eq!(told["reason"], "ContainerExited");
    let message = told["message"].to_string();
    assert!(
        message.contains("keeps ending, last with code 7") && message.contains("4 times or more"),
        "{message}"
    );
    // Once it has run for a while that is over.
    davit.patch("loop", json!({"spec": {"command": ["sleep", "10000"]}}));
    active(&davit, "loop", 2);
}

#[test]
fn second_davit_with_the_same_instance_removes_nothing() {
    let davit = Davit::up("twins");
    davit.apply(
        "web",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"]}),
    );
    davit.wait_until_done("web");
    let before = davit.containers("web");
    let (dir, log) = (davit.dir().join("other"), davit.dir().join("other.log"));
    let mut other = davit.command_of_same_instance(&dir);
    other.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut other = other.spawn().unwrap();
    let said = wait_for("the other one to see it", Duration::from_secs(20), || {
        let said = std::fs::read_to_string(&log).unwrap();
        (said.contains("another Davit with the same --instance") || said.contains("no Application owns"))
            .then_some(said)
    });
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(!said.contains("no Application owns"), "{said}");
    assert_eq!(davit.containers("web"), before);
}

#[test]
fn env_from_skips_binary_data_and_keys_that_are_not_names() {
    let davit = Davit::up("env-from");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys"},
        "data": {"1st": "x", "GOOD": "yes", "also.good-1": "yes"}, "binaryData": {"BINARY": "AAEC"}});
    let map: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_value(map).unwrap();
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(davit.client(), &davit.namespace);
    davit
        .block_on(api.create(&kube::api::PostParams::default(), &map))
        .unwrap();
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"],
            "envFrom": [{"configMapRef": {"name": "keys"}}, {"configMapRef": {"name": "keys"}, "prefix": "P_"}]}),
    );
    davit.wait_until_done("shop");
    let env = inspect(&davit, "shop")["Config"]["Env"].to_string();
    for present in ["\"GOOD=yes\"", "\"also.good-1=yes\"", "\"P_1st=x\""] {
        assert!(env.contains(present), "{present} is not in {env}");
    }
    assert!(!env.contains("\"1st") && !env.contains("BINARY"), "{env}");
    let events: kube::Api<k8s_openapi::api::events::v1::Event> =
        kube::Api::namespaced(davit.client(), &davit.namespace);
    let events = davit
        .block_on(events.list(&kube::api::ListParams::default()))
        .unwrap();
    let notes: Vec<String> = events
        .items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some("InvalidEnvName"))
        .filter_map(|event| event.note)
        .collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("skipped \"1st\" of ConfigMap keys"),
        "{notes:?}"
    );
}
