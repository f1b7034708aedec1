//! Signed deliveries at a fixed rate, to 1,000 Applications of one GitProvider; and the way of one delivery to its Release.

use std::time::{Duration, Instant};

use davit::api::GitProvider;
use davit::http::{Served, bind, webhook};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::common::signature;
use crate::harness::{self, Harness};

const SECRET: &str = "correct horse battery staple";
const APPLICATIONS: usize = 1000;
const PER_SECOND: u64 = 1000;
const SECONDS: u64 = 5;
const RELEASES: usize = 20;

fn percentile(all: &mut [Duration], percent: usize) -> f64 {
    all.sort();
    all[(all.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}

/// The resident memory of this process in MiB, the sender included.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / 1024.0 / 1024.0
}

fn push(repository: &str, commit: &str) -> Vec<u8> {
    json!({"ref": "refs/heads/main", "after": commit, "head_commit": {"id": commit, "message": "Mend"},
        "pusher": {"login": "jane"}, "repository": {"full_name": repository, "default_branch": "main"}})
    .to_string()
    .into_bytes()
}

async fn secret(davit: &Harness) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "stringData": {"webhookSecret": SECRET}});
    davit
        .api::<k8s_openapi::api::core::v1::Secret>()
        .patch(
            "hook",
            &PatchParams::apply("bench").force(),
            &Patch::Apply(secret),
        )
        .await
        .unwrap();
}

async fn post(client: &reqwest::Client, url: &str, event: &str, body: Vec<u8>) -> u16 {
    let signed = signature(SECRET, &body);
    let request = client
        .post(url)
        .header("x-github-event", "push")
        .header(event, if event == "x-gitea-event" { "push" } else { "1" })
        .header("x-gitea-signature", &signed)
        .header("x-hub-signature-256", format!("sha256={signed}"))
        .body(body);
    request.send().await.unwrap().status().as_u16()
}

pub fn deliveries() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let davit = Harness::start().await;
        secret(&davit).await;
        let listener = bind("--webhook-listen", ([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let served = Served::start(listener, davit.webhooks.router(), webhook::limits());
        recorded(
            &davit,
            &format!("http://{address}/webhooks/gitproviders/default/gt"),
        )
        .await;
        released(
            &davit,
            &format!("http://{address}/webhooks/applications/default/shop"),
        )
        .await;
        served.close().await;
    });
}

/// Deliveries until they are recorded. The Applications are suspended: no forge is asked.
async fn recorded(davit: &Harness, url: &str) {
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"suspend": true, "gitea": {"url": "http://127.0.0.1:1", "tokenSecretRef": {"name": "gt"}},
            "webhook": {"secretRef": {"name": "hook"}}}});
    davit.create::<GitProvider>(provider).await;
    for number in 0..APPLICATIONS {
        let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": format!("repo-{number}"), "ref": {"branch": "main"}}});
        davit
            .apply(
                &format!("app-{number}"),
                json!({"source": source, "suspend": true}),
            )
            .await;
    }
    davit.wait_until_idle().await;
    let before = resident();
    let client = reqwest::Client::new();
    let (mut all, mut last) = (Vec::new(), vec![String::new(); APPLICATIONS]);
    let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / PER_SECOND));
    for number in 0..usize::try_from(PER_SECOND * SECONDS).unwrap() {
        ticks.tick().await;
        // Every Application in turn, not one after the other.
        let app = number * 7919 % APPLICATIONS;
        let commit = format!("{number:040x}");
        last[app].clone_from(&commit);
        let (client, url) = (client.clone(), url.to_owned());
        all.push(tokio::spawn(async move {
            let began = Instant::now();
            let status = post(
                &client,
                &url,
                "x-gitea-event",
                push(&format!("acme/repo-{app}"), &commit),
            )
            .await;
            assert_eq!(status, 202);
            began.elapsed()
        }));
    }
    let mut took = Vec::new();
    for one in all {
        took.push(one.await.unwrap());
    }
    let after = resident();
    let mut lost = 0;
    for (app, commit) in last.iter().enumerate() {
        let found: Value = davit.application(&format!("app-{app}")).await;
        let annotation = found["metadata"]["annotations"]["davit.dev/delivery"].as_str();
        lost += usize::from(!annotation.is_some_and(|text| text.contains(commit)));
    }
    println!(
        "deliveries           {:>7.1} ms median, {:.1} ms p99 until recorded, at {PER_SECOND} a second for {SECONDS} s to {APPLICATIONS} Applications; \
         {lost} lost; {:.0} MiB more memory, the sender included",
        percentile(&mut took, 50),
        percentile(&mut took, 99),
        after - before,
    );
}

/// One delivery after the other until its Release exists.
async fn released(davit: &Harness, url: &str) {
    let repo = harness::repo("FROM scratch\n");
    let trigger = json!({"pollInterval": "0s", "webhook": {"secretRef": {"name": "hook"}}});
    davit
        .apply(
            "shop",
            json!({"source": harness::source(&repo), "trigger": trigger}),
        )
        .await;
    davit.wait_until_done("shop").await;
    let location = repo.url();
    let mut path: Vec<_> = location.rsplit('/').take(2).collect();
    path.reverse();
    let path = path.join("/");
    let client = reqwest::Client::new();
    let mut took = Vec::new();
    for number in 0..RELEASES {
        let commit = repo.commit(&format!("Commit {number}"), &[("number", &number.to_string())]);
        let began = Instant::now();
        let status = post(&client, url, "x-github-delivery", push(&path, &commit)).await;
        assert_eq!(status, 202);
        let name = format!("shop-{}", number + 2);
        davit
            .wait_for_release(&name, "there", |release| !release.is_null())
            .await;
        took.push(began.elapsed());
        davit.wait_until_done("shop").await;
    }
    println!(
        "delivery to Release  {:>7.1} ms median, {:.1} ms at most (git asks for the branch in it)",
        percentile(&mut took, 50),
        percentile(&mut took, 100),
    );
}
