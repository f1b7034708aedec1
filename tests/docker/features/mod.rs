//! Every field that shapes what runs does what its description says, through the whole loop: what is asked of Davit with
//! kubectl's API is seen in the engine, in the container and in the status.

#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

mod exec;
mod hooks;
mod log_redaction;
mod logs;
mod memory;
mod monitoring;
mod registries;
mod releases;
mod running;
mod sources_builds;
mod uploads;

use std::time::Duration;

use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::{run, wait_for};
use kube::api::PostParams;
use serde_json::{Value, json};

/// A Dockerfile on the base image.
fn dockerfile(lines: &str) -> String {
    format!("FROM {BASE_IMAGE}\n{lines}\n")
}

fn web(text: &str) -> String {
    dockerfile(&format!(
        "RUN mkdir -p /www && echo '{text}' > /www/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]"
    ))
}

fn git(repo: &GitRepo) -> Value {
    json!({"git": {"url": repo.url(), "ref": {"branch": "main"}}})
}

/// What a command in the newest container of an Application prints.
fn exec(davit: &Davit, name: &str, args: &[&str]) -> String {
    let container = davit.containers(name).remove(0);
    run(davit.docker().arg("exec").arg(container).args(args))
}

/// What the engine says of an Application's newest container.
fn inspect(davit: &Davit, name: &str) -> Value {
    let container = davit.containers(name).remove(0);
    let text = run(davit.docker().args(["inspect", &container]));
    let mut all: Vec<Value> = serde_json::from_str(&text).unwrap();
    all.remove(0)
}

/// Waits until a release is the active one and all is done.
fn active(davit: &Davit, name: &str, number: usize) -> Value {
    let wanted = format!("{name}-{number}");
    davit.wait_until(name, 60, &wanted, |app| {
        app["status"]["release"]["active"] == wanted.as_str()
    });
    davit.wait_until_done(name);
    // Its containers alone: those before it have drained and gone.
    wait_for("the old containers to go", Duration::from_secs(20), || {
        let replicas = davit.application(name)["spec"]["replicas"].as_u64().unwrap_or(1);
        (davit.containers(name).len() as u64 == replicas).then_some(())
    });
    davit.releases_of(name).pop().unwrap()
}

fn change(davit: &Davit, kind: &str, name: &str, patch: &Value) {
    let patch = patch.to_string();
    run(davit
        .kubectl()
        .args(["patch", kind, name, "--type", "merge", "--patch", &patch]));
}

fn create_release(davit: &Davit, name: &str, spec: &Value) {
    let release = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": name}, "spec": spec});
    let release = serde_json::from_value(release).unwrap();
    davit
        .block_on(davit.releases().create(&PostParams::default(), &release))
        .unwrap();
}

fn phase(release: &Value) -> &str {
    release["status"]["phase"].as_str().unwrap_or_default()
}
