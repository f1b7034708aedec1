//! A spec with every field: what a Release records of it, what a runtime gets, and which inputs decide.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{ApplicationSpec, CauseKind, Reason, ReleaseSpec, ReleaseStatus};
use crate::error::{Class, Problem};
use crate::model::{AppId, Revision};
use crate::plan::deployment::deployment;
use crate::plan::desired::{PinnedSource, config, recorded_config, validate};
use crate::plan::source_kind::{self, poll_interval};
use crate::plan::value_origin::ValueOrigin;
use crate::plan::values::Values;
use crate::redact::Secret;
use crate::runtime::MountSource;

use super::parts::install;
use super::reconcile;

fn spec() -> Value {
    json!({
        "source": {"git": {"url": "https://h.example/shop.git"}},
        "build": {"dockerfile": {"path": "Dockerfile", "context": "."}},
        "env": [{"name": "PORT", "value": "80"}, {"name": "TOKEN", "value": "s"}],
        "envFrom": [{"secretRef": {"name": "keys"}}],
        "replicas": 2,
        "command": ["serve", "$(PORT)"],
        "args": ["--token", "$(TOKEN)"],
        "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
        "healthCheck": {"http": {"path": "/", "port": "http"}},
        "restartPolicy": {"condition": "OnFailure", "maxRetries": 3},
        "stopGracePeriod": "1500ms",
        "volumes": [
            {"name": "data", "mountPath": "/data/", "volume": {}},
            {"name": "conf", "mountPath": "/conf", "configMap": {"name": "c"}},
            {"name": "keys", "mountPath": "/keys", "secret": {"name": "s", "defaultMode": 256}, "readOnly": true}],
        "rollout": {"strategy": "StopFirst", "minReady": "2s"},
        "concurrencyPolicy": "Queue",
    })
}

fn values() -> Values {
    let secret = |text: &str| Secret::from(text);
    let file = |name: &str| BTreeMap::from([(name.to_owned(), secret("content"))]);
    let mut values = Values {
        env: vec![
            ("PORT".to_owned(), secret("80")),
            ("TOKEN".to_owned(), secret("s")),
        ],
        files: BTreeMap::from([
            ("conf".to_owned(), file("a.conf")),
            ("keys".to_owned(), file("key")),
        ]),
        args: BTreeMap::from([("VERSION".to_owned(), secret("1"))]),
        secrets: BTreeMap::from([("NPM".to_owned(), secret("n"))]),
        ..Values::default()
    };
    let origin = |name: &str| Some(ValueOrigin::Secret(name.to_owned()));
    values.record_origin("run.env.TOKEN".to_owned(), origin("keys"));
    values.record_origin("run.env.PORT".to_owned(), None);
    values
}

fn pinned() -> PinnedSource {
    PinnedSource {
        kind: "git",
        locator: "https://h.example/shop.git".to_owned(),
        revision: Revision::commit(&"a1".repeat(20)).unwrap(),
        path: "/".to_owned(),
        submodules: false,
        tag: None,
        unwatched: None,
        skipped: false,
    }
}

#[test]
fn config_of_a_release_has_every_field_that_decides_a_container() {
    let spec: ApplicationSpec = serde_json::from_value(spec()).unwrap();
    let recorded = config(&spec);
    let mut expected = self::spec();
    for field in ["source", "build", "concurrencyPolicy"] {
        expected.as_object_mut().unwrap().remove(field);
    }
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(recorded[field], *value, "{field}");
    }
    assert!(recorded.get("source").is_none() && recorded.get("build").is_none());
    let status = ReleaseStatus {
        config: Some(crate::api::Later(recorded.clone())),
        ..ReleaseStatus::default()
    };
    let read = recorded_config("shop-1", &status).unwrap();
    assert_eq!(config(&read), recorded);
    let missing = recorded_config("shop-1", &ReleaseStatus::default()).unwrap_err();
    assert!(missing.message.contains("it is missing"), "{missing:?}");
}

#[test]
fn deployment_has_the_values_of_every_field() {
    let spec: ApplicationSpec = serde_json::from_value(spec()).unwrap();
    let app = AppId::new("ns", "shop");
    let found = deployment(&app, "shop-1", "hash", "image", &spec, &values()).unwrap();
    let env: Vec<_> = found
        .spec
        .env
        .iter()
        .map(|it| (it.name.as_str(), it.confidential))
        .collect();
    assert_eq!(env, [("PORT", false), ("TOKEN", true)]);
    let texts = |all: &[Secret]| -> Vec<String> {
        all.iter().map(|it| it.expose_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&found.spec.command), ["serve", "80"]);
    assert_eq!(texts(&found.spec.args), ["--token", "s"]);
    let mounts: Vec<_> = found
        .spec
        .mounts
        .iter()
        .map(|mount| {
            let source = match &mount.source {
                MountSource::Volume => "volume".to_owned(),
                MountSource::Files {
                    files,
                    mode,
                    confidential,
                } => {
                    format!("{} {mode:o} {confidential}", files.keys().next().unwrap())
                }
            };
            (mount.path.as_str(), source, mount.read_only)
        })
        .collect();
    let expected = [
        ("/data", "volume".to_owned(), false),
        ("/conf", "a.conf 444 false".to_owned(), false),
        ("/keys", "key 400 true".to_owned(), true),
    ];
    assert_eq!(mounts, expected);
    assert_eq!((found.policy.replicas, found.spec.ports.len()), (2, 1));
}

#[test]
fn inputs_have_a_digest_of_every_field_that_decides() {
    let desired = |spec: Value, values: &Values| {
        let spec = serde_json::from_value(spec).unwrap();
        validate(&AppId::new("ns", "shop"), &spec, pinned(), values, &install()).unwrap()
    };
    let found = desired(spec(), &values());
    let names: Vec<&str> = found.inputs.keys().map(String::as_str).collect();
    let expected = [
        "build.args.VERSION",
        "build.dockerfile",
        "build.railpack",
        "build.secrets.NPM",
        "build.static",
        "run.args",
        "run.command",
        "run.env.PORT",
        "run.env.TOKEN",
        "run.healthCheck",
        "run.ports",
        "run.resources",
        "run.restartPolicy",
        "run.stopGracePeriod",
        "run.volumes.conf",
        "run.volumes.data",
        "run.volumes.keys",
        "scale.replicas",
        "source.path",
        "source.repository",
        "source.revision",
        "source.submodules",
    ];
    for name in expected {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    // A variable in a Secret decides the arguments that refer to it.
    assert!(found.origins.contains_key("run.args") && !found.origins.contains_key("run.command"));
    let other = |field: &str, value: Value| {
        let mut spec = spec();
        spec[field] = value;
        desired(spec, &values()).inputs
    };
    for (field, value, input) in [
        ("ports", json!([]), "run.ports"),
        ("replicas", json!(3), "scale.replicas"),
        ("args", json!([]), "run.args"),
        ("healthCheck", json!({"tcp": {"port": 80}}), "run.healthCheck"),
    ] {
        let mut spec = spec();
        // The health check refers to the port.
        if field == "ports" {
            spec["healthCheck"] = json!({"tcp": {"port": 80}});
        }
        let before = desired(spec, &values()).inputs;
        let after = if field == "ports" {
            let mut spec = self::spec();
            spec["healthCheck"] = json!({"tcp": {"port": 80}});
            spec[field] = value;
            desired(spec, &values()).inputs
        } else {
            other(field, value)
        };
        let changed: Vec<&String> = before
            .keys()
            .filter(|name| before[*name] != after[*name])
            .collect();
        assert_eq!(changed, [input]);
    }
}

#[test]
fn fingerprint_has_no_later_build_type_that_is_absent() {
    let spec = serde_json::from_value(spec()).unwrap();
    let desired = validate(&AppId::new("ns", "shop"), &spec, pinned(), &values(), &install()).unwrap();
    let types: Vec<&String> = desired
        .inputs
        .keys()
        .filter(|name| name.starts_with("build.") && name.matches('.').count() == 1)
        .collect();
    assert_eq!(types, ["build.dockerfile", "build.railpack", "build.static"]);
}

#[test]
fn field_that_cannot_work_is_refused_with_its_reason() {
    for (field, value, reason, message) in [
        (
            "resources",
            json!({"limits": {"cpu": "0"}}),
            Reason::InvalidQuantity,
            "spec.resources.limits.cpu 0 is not an amount of cpu",
        ),
        (
            "volumes",
            json!([{"name": "a", "mountPath": "//", "volume": {}}]),
            Reason::InvalidSpec,
            "spec.volumes[0].mountPath \"//\" cannot be mounted",
        ),
    ] {
        let mut spec = spec();
        spec[field] = value;
        let spec = serde_json::from_value(spec).unwrap();
        let refused = validate(&AppId::new("ns", "shop"), &spec, pinned(), &values(), &install());
        let problem = refused.unwrap_err();
        assert_eq!(problem.reason, reason);
        assert!(problem.message.starts_with(message), "{problem:?}");
    }
}

#[test]
fn source_is_polled_unless_its_revision_is_fixed_or_the_trigger_is_manual() {
    let git = json!({"git": {"url": "https://h.example/shop.git"}});
    let pinned = json!({"git": {"url": "https://h.example/shop.git", "ref": {"commit": "a1".repeat(20)}}});
    let forge = |git_ref: Value| json!({"gitea": {"provider": {"name": "f"}, "owner": "a", "repository": "b", "ref": git_ref}});
    let digest = format!("nginx@sha256:{}", "0".repeat(64));
    for (source, trigger, seconds) in [
        (git.clone(), json!({}), Some(300.0)),
        (git.clone(), json!({"pollInterval": "20s"}), Some(20.0)),
        (git.clone(), json!({"pollInterval": "10ms"}), Some(1.0)),
        (git.clone(), json!({"pollInterval": "0s"}), None),
        (git, json!({"on": "Manual"}), None),
        (pinned, json!({}), None),
        (forge(json!({"branch": "main"})), json!({}), Some(300.0)),
        (forge(json!({"commit": "a1".repeat(20)})), json!({}), None),
        (json!({"docker": {"image": "nginx:1"}}), json!({}), Some(300.0)),
        (json!({"docker": {"image": digest}}), json!({}), None),
        (json!({}), json!({}), None),
    ] {
        let spec = serde_json::from_value(json!({"source": source, "trigger": trigger})).unwrap();
        let found = poll_interval(&spec, 7).map(|interval| interval.as_secs_f64());
        let near = |(found, expected): (f64, f64)| (found / expected - 1.0).abs() <= 0.1;
        assert_eq!(found.is_some(), seconds.is_some(), "{spec:?}");
        assert!(found.zip(seconds).is_none_or(near), "{found:?} of {seconds:?}");
    }
}

#[test]
fn image_that_is_named_by_its_id_gets_a_tag_that_keeps_it() {
    let id = format!("sha256:{}", "0e".repeat(32));
    let tag_of = |name: &str| {
        let spec = serde_json::from_value(json!({"source": {"docker": {"image": id}}})).unwrap();
        let source = PinnedSource {
            kind: "docker",
            locator: id.clone(),
            revision: Revision::image(&id).unwrap(),
            ..pinned()
        };
        let app = AppId::new("ns", name);
        validate(&app, &spec, source, &Values::default(), &install())
            .unwrap()
            .tag
            .unwrap()
    };
    // Each Application has its own, so that none removes the image of another one.
    assert!(
        tag_of("shop").starts_with("davit.local/test/ns/shop:0e0e0e0e0e0e-"),
        "{}",
        tag_of("shop")
    );
    assert_ne!(tag_of("shop"), tag_of("web"));
}

#[test]
fn deployment_of_a_revision_makes_the_image_again_only_where_the_source_is_the_same() {
    let id = format!("sha256:{}", "0e".repeat(32));
    let digest = |name: &str| format!("{name}@{id}");
    let commit = "a1".repeat(20);
    let git = json!({"git": {"url": "https://h.example/shop.git"}});
    let image = |name: &str| json!({"docker": {"image": name}});
    for (source, recorded, again) in [
        (git.clone(), commit.clone(), true),
        (git, digest("r.example/shop"), false),
        (image("r.example/shop:2"), digest("r.example/shop"), true),
        (image("nginx"), digest("docker.io/library/nginx"), true),
        (image("r.example/web:2"), digest("r.example/shop"), false),
        (image("r.example/shop:2"), commit, false),
        // The ID of an image names no place to pull it from.
        (image("r.example/shop:2"), id.clone(), false),
        (image(&id), id.clone(), false),
    ] {
        let source = serde_json::from_value(source).unwrap();
        assert_eq!(
            source_kind::makes_again(&source, &recorded),
            again,
            "{source:?} {recorded}"
        );
    }
}

#[test]
fn why_names_the_difference_from_what_ran_and_the_cause_what_is_new() {
    for (given, release, why, cause) in [
        // The failed Release had another number of replicas already; the one that runs has not.
        (
            "1:Succeeded replicas:2 2:Failed run:1:healthy commit:3",
            "shop-3",
            &["revision 000000000000 (was 000000000000)", "replicas changed"][..],
            CauseKind::Poll,
        ),
        // What failed is tried again, because a user asked for that.
        (
            "1:Succeeded replicas:2 2:Failed+of=1 run:1:healthy commit:1 requested",
            "shop-3",
            &[
                "replicas changed",
                "asked for by the annotation davit.dev/requestedAt",
            ],
            CauseKind::Manual,
        ),
        // Nothing ran before, so there is no revision that was.
        (
            "1:Failed commit:2",
            "shop-2",
            &["revision 000000000000"],
            CauseKind::Poll,
        ),
        // What failed is taken back: the same as what runs.
        (
            "1:Succeeded replicas:2 2:Failed+of=1 replicas:1 run:1:healthy commit:1",
            "shop-3",
            &["release shop-2 ended without being deployed"],
            CauseKind::Spec,
        ),
    ] {
        let (_, records, _) = reconcile(given);
        let status = &records.statuses[release];
        assert_eq!(status.why, why, "{given}");
        assert_eq!(
            status.cause.as_ref().map(|cause| cause.kind),
            Some(cause),
            "{given}"
        );
    }
}

#[test]
fn refused_rollback_says_what_brought_it_about() {
    let (_, records, status) = reconcile("1:Succeeded 2:New+to=7 run:1:healthy commit:1");
    let refused = &records.statuses["shop-2"];
    assert_eq!(
        refused.cause.as_ref().map(|cause| cause.kind),
        Some(CauseKind::Rollback)
    );
    assert_eq!(
        (refused.handled.as_ref(), refused.rollback.as_ref()),
        (None, None)
    );
    assert_eq!(status.release.unwrap().latest.as_deref(), Some("shop-2"));
}

#[test]
fn image_that_is_gone_has_the_way_out_that_the_source_allows() {
    for (given, words) in [
        (
            "1:Succeeded 2:Succeeded 3:New+to=1 run:2:healthy commit:2",
            "type Deploy with revision 000",
        ),
        (
            "1:Succeeded 2:Succeeded kind:docker 3:New+to=1 run:2:healthy commit:2",
            "set spec.source to that of revision 000",
        ),
    ] {
        let (_, records, _) = reconcile(given);
        let failure = records.statuses["shop-3"].failure.clone().unwrap();
        assert!(failure.message.contains(words), "{given}: {failure:?}");
    }
}

#[test]
fn revision_that_is_not_found_is_named_by_the_field_that_asked_for_it() {
    let asked = |revision: Option<&str>| ReleaseSpec {
        revision: revision.map(str::to_owned),
        ..ReleaseSpec::deploy("shop")
    };
    let git = "commit bbbb not found in https://h.example/shop.git: set spec.source.git.ref.commit to an existing commit, or push it";
    let image =
        "image shop@sha256:0 not found: no such image: correct spec.source.docker.image, or push the image";
    let way_out = ": create a Release with spec.revision set to one that exists, or push it";
    for (reason, message, revision, expected) in [
        (
            Reason::GitRefNotFound,
            git,
            Some("bbbb"),
            format!("commit bbbb not found in https://h.example/shop.git{way_out}"),
        ),
        (Reason::GitRefNotFound, git, None, git.to_owned()),
        (
            Reason::ImageNotFound,
            image,
            Some("sha256:0"),
            format!("image shop@sha256:0 not found: no such image{way_out}"),
        ),
        (Reason::GitAuthFailed, git, Some("bbbb"), git.to_owned()),
    ] {
        let problem = Problem::new(Class::Terminal, reason, message);
        let found = source_kind::of_asked_revision(&asked(revision), &problem);
        assert_eq!((found.message, found.reason), (expected, reason));
    }
}
