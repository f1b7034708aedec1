//! `manifests/argocd/`: health checks and actions in Lua, run with what Argo CD gives them: the object, and of the standard
//! libraries the basic one and `table`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use davit::api::{Application, GitProvider, Release};
use davit_test_support::run;
use serde_json::{Value, json};

/// Writes a value as JSON, with the keys in order.
const PRINT: &str = r#"
local function text(value)
  return '"' .. value:gsub('[%c"\\]', function(char) return string.format("\\u%04x", char:byte()) end) .. '"'
end
function json(value)
  if type(value) == "string" then return text(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  if #value > 0 then
    for _, item in ipairs(value) do parts[#parts + 1] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do parts[#parts + 1] = text(key) .. ":" .. json(value[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/argocd")
}

/// A value as an expression of Lua.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let bytes = text.bytes().fold(String::new(), |mut all, byte| {
                write!(all, "\\{byte:03}").unwrap();
                all
            });
            format!("\"{bytes}\"")
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| format!("[{}]={}", literal(&json!(name)), literal(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

/// Runs a script with this object, and returns its result.
fn lua(script: &str, object: &Value) -> Value {
    let file = root().join(script);
    let program = format!(
        "{PRINT}\nlocal script = assert(loadfile({}))\n\
         setfenv(script, {{obj = {}, ipairs = ipairs, pairs = pairs, type = type, tostring = tostring, table = table}})\n\
         io.write(json(script()))",
        literal(&json!(file)),
        literal(object)
    );
    let printed = run(Command::new("lua5.1").args(["-e", &program]));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{script}: {error}: {printed}"))
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Ready", "message": message, "observedGeneration": 2,
        "lastTransitionTime": "2026-11-29T15:00:00Z"})
}

/// An Application of generation 2.
fn application(spec: &Value, phase: &str, observed: i64, conditions: &[Value]) -> Value {
    let application = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "shop", "namespace": "production", "generation": 2, "resourceVersion": "17"},
        "spec": spec, "status": {"phase": phase, "observedGeneration": observed, "conditions": conditions}});
    serde_json::from_value::<Application>(application.clone()).expect("it is an Application");
    application
}

#[test]
fn health_of_an_application_is_what_davit_observed() {
    let ready = |status: &str| [condition("Ready", status, "so it is")];
    let stalled = [
        condition("Ready", "False", "so it is"),
        condition("Stalled", "True", "so it is"),
    ];
    for (spec, phase, observed, conditions, health) in [
        (json!({}), "done", 2, &ready("True")[..], "Healthy"),
        (json!({}), "done", 1, &ready("True"), "Progressing"),
        (json!({}), "running", 1, &ready("False"), "Progressing"),
        (json!({}), "error", 2, &ready("False"), "Degraded"),
        (json!({}), "error", 1, &stalled, "Degraded"),
        // It is tried again.
        (json!({}), "error", 1, &ready("False"), "Progressing"),
        (json!({}), "idle", 2, &ready("True"), "Healthy"),
        (json!({"stopped": true}), "idle", 2, &ready("True"), "Suspended"),
        (json!({"suspend": true}), "done", 2, &ready("False"), "Suspended"),
    ] {
        let object = application(&spec, phase, observed, conditions);
        let expected = json!({"status": health, "message": "so it is"});
        assert_eq!(lua("application/health.lua", &object), expected, "{object}");
    }
    let mut unseen = application(&json!({}), "idle", -1, &[]);
    unseen["status"] = json!({"observedGeneration": -1});
    assert_eq!(lua("application/health.lua", &unseen)["status"], "Progressing");
}

#[test]
fn health_of_a_release_is_its_end() {
    for (phase, health, message) in [
        ("Pending", "Progressing", "so it is"),
        ("Verifying", "Progressing", "so it is"),
        ("Succeeded", "Healthy", "so it is"),
        ("Superseded", "Healthy", "so it is"),
        ("Cancelled", "Healthy", "so it is"),
        ("Failed", "Degraded", "no database"),
    ] {
        let release = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop-1"},
            "spec": {"application": "shop", "type": "Deploy"}, "status": {"phase": phase,
            "conditions": [condition("Succeeded", "Unknown", "so it is")],
            "failure": {"step": "Verifying", "reason": "Unhealthy", "message": "no database"}}});
        serde_json::from_value::<Release>(release.clone()).expect("it is a Release");
        let expected = json!({"status": health, "message": message});
        assert_eq!(lua("release/health.lua", &release), expected, "{phase}");
    }
}

#[test]
fn health_of_a_git_provider_is_that_of_its_connection() {
    for (suspend, conditions, observed, health) in [
        (
            false,
            vec![condition("Ready", "True", "Found 12 repositories")],
            2,
            "Healthy",
        ),
        (
            false,
            vec![condition("Ready", "True", "Found 12 repositories")],
            1,
            "Progressing",
        ),
        (
            false,
            vec![condition("Ready", "False", "Found 12 repositories")],
            2,
            "Progressing",
        ),
        (
            false,
            vec![
                condition("Ready", "False", "Found 12 repositories"),
                condition("Stalled", "True", ""),
            ],
            2,
            "Degraded",
        ),
        (
            true,
            vec![condition("Ready", "True", "Found 12 repositories")],
            2,
            "Suspended",
        ),
    ] {
        let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
            "metadata": {"name": "acme", "generation": 2},
            "spec": {"gitea": {"url": "https://git.example.com", "tokenSecretRef": {"name": "gitea"}}, "suspend": suspend},
            "status": {"observedGeneration": observed, "conditions": conditions}});
        serde_json::from_value::<GitProvider>(provider.clone()).expect("it is a GitProvider");
        let expected = json!({"status": health, "message": "Found 12 repositories"});
        assert_eq!(lua("gitprovider/health.lua", &provider), expected, "{provider}");
    }
}

#[test]
fn actions_on_an_application_change_or_create_what_davit_reads() {
    let serving = application(&json!({}), "done", 2, &[]);
    let disabled = |object: &Value| {
        let found = lua("application/actions/discovery.lua", object);
        ["redeploy", "restart", "suspend", "resume"].map(|name| found[name]["disabled"] == true)
    };
    assert_eq!(disabled(&serving), [false, false, false, true]);
    let created = lua("application/actions/redeploy.lua", &serving);
    assert_eq!(created[0]["operation"], "create");
    let release: Release = serde_json::from_value(created[0]["resource"].clone()).unwrap();
    assert_eq!(release.metadata.name.as_deref(), Some("shop-redeploy-17"));
    assert_eq!(
        created[0]["resource"]["spec"],
        json!({"application": "shop", "type": "Redeploy"})
    );
    let restarted = lua("application/actions/restart.lua", &serving);
    assert_eq!(
        restarted["metadata"]["annotations"],
        json!({davit::api::RESTARTED_AT: "argocd-17"})
    );
    let suspended = lua("application/actions/suspend.lua", &serving);
    assert_eq!(suspended["spec"], json!({"suspend": true}));
    assert_eq!(disabled(&suspended), [true, true, true, false]);
    let resumed = lua("application/actions/resume.lua", &suspended);
    assert!(resumed["spec"]["suspend"].is_null() && resumed["metadata"]["annotations"].is_null());

    let mut held = serving;
    held["status"]["release"] = json!({"active": "shop-4", "heldBy": "shop-4", "count": 4});
    assert_eq!(disabled(&held), [false, false, false, false]);
    let resumed = lua("application/actions/resume.lua", &held);
    assert_eq!(resumed["metadata"]["annotations"][davit::api::RESUME], "shop-4");
}

#[test]
fn actions_on_a_release_cancel_it_or_return_to_it() {
    let release = |phase: &str| {
        json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "shop-1", "namespace": "production", "resourceVersion": "9"},
            "spec": {"application": "shop", "type": "Deploy"}, "status": {"phase": phase}})
    };
    for (phase, cancel, rollback) in [
        ("Building", true, false),
        ("Succeeded", false, true),
        ("Failed", false, false),
        ("Superseded", false, false),
    ] {
        let found = lua("release/actions/discovery.lua", &release(phase));
        let enabled = |name: &str| found[name]["disabled"] == false;
        assert_eq!(
            (enabled("cancel"), enabled("rollback")),
            (cancel, rollback),
            "{phase}"
        );
    }
    let cancelled = lua("release/actions/cancel.lua", &release("Building"));
    assert_eq!(cancelled["spec"]["cancel"], true);
    let created = lua("release/actions/rollback.lua", &release("Succeeded"));
    let back: Release = serde_json::from_value(created[0]["resource"].clone()).unwrap();
    assert_eq!(
        (back.spec.application.as_str(), back.spec.rollback_to.as_deref()),
        ("shop", Some("shop-1"))
    );
    assert_eq!(back.metadata.name.as_deref(), Some("shop-rollback-9"));
}

/// The patch of `argocd-cm` with these scripts.
fn config_map() -> String {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let indented = |text: &str, spaces: usize| {
        text.lines().fold(String::new(), |mut all, line| {
            writeln!(all, "{:spaces$}{line}", "").unwrap();
            all
        })
    };
    let mut text = String::from(
        "# Generated from the scripts in this directory: UPDATE=1 cargo test --test checks argocd.\n\
         # kubectl -n argocd patch configmap argocd-cm --patch-file manifests/argocd/argocd-cm.yaml\ndata:\n",
    );
    for (kind, folder, actions) in [
        (
            "Application",
            "application",
            &["redeploy", "restart", "suspend", "resume"][..],
        ),
        ("Release", "release", &["cancel", "rollback"]),
        ("GitProvider", "gitprovider", &[]),
    ] {
        writeln!(text, "  resource.customizations.health.davit.dev_{kind}: |").unwrap();
        text.push_str(&indented(&read(&format!("{folder}/health.lua")), 4));
        if actions.is_empty() {
            continue;
        }
        writeln!(text, "  resource.customizations.actions.davit.dev_{kind}: |").unwrap();
        text.push_str("    discovery.lua: |\n");
        text.push_str(&indented(&read(&format!("{folder}/actions/discovery.lua")), 6));
        text.push_str("    definitions:\n");
        for action in actions {
            writeln!(text, "    - name: {action}\n      action.lua: |").unwrap();
            text.push_str(&indented(&read(&format!("{folder}/actions/{action}.lua")), 8));
        }
    }
    text
}

#[test]
fn config_map_has_the_scripts() {
    let file = root().join("argocd-cm.yaml");
    let expected = config_map();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap_or_default(),
        expected,
        "run UPDATE=1 cargo test --test checks argocd"
    );
    let parsed: Value = serde_yaml::from_str(&expected).unwrap();
    let actions = parsed["data"]["resource.customizations.actions.davit.dev_Release"]
        .as_str()
        .unwrap();
    let actions: Value = serde_yaml::from_str(actions).unwrap();
    assert_eq!(actions["definitions"][1]["name"], "rollback");
    let script = actions["definitions"][1]["action.lua"].as_str().unwrap();
    assert_eq!(
        script,
        std::fs::read_to_string(root().join("release/actions/rollback.lua")).unwrap()
    );
}
