//! A client in the namespace's network that resolves the name for each request sees none fail, through twenty redeploys
//! and five that fail.
//!
//! The client is the plainest there is: it asks the network's resolver for the address, fetches the page, and does both
//! again, one after the other, as fast as it can, without a second try at anything. A second one asks for a page that takes
//! its time, so that there is always a request under way when containers change places.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

use std::time::{Duration, Instant};

use crate::common::docker::{BASE_IMAGE, DockerScope, docker};
use crate::common::{run, try_run, wait_for};
use bollard::Docker;
use davit::runtime::docker::{DockerOptions, DockerRuntime};
use davit::runtime::fake::deployment;
use davit::runtime::{Deployment, Health, Probe, Progress, Runtime};
use futures::StreamExt as _;

const REDEPLOYS: u32 = 20;
const FAILING: u32 = 5;
/// The longest that one rollout may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Says `ok MARK` or `FAILED` for each request.
const CLIENT: &str = r#"
while :; do
  ip=$(nslookup -type=a web 2>/dev/null | sed -n '/^Name/,$s/^Address.*: //p' | head -n 1)
  page=$(wget -q -O - "http://${ip:-unresolved}:8080/$PAGE") || echo "FAILED at '$ip'"
  echo "ok $page"
done"#;

#[tokio::test(flavor = "multi_thread")]
async fn requests_during_successful_and_failing_redeploys_never_fail() {
    let scope = DockerScope::new("zero");
    let runtime = DockerRuntime::new(
        Docker::connect_with_local_defaults().unwrap(),
        DockerOptions {
            instance: scope.namespace.clone(),
            ..DockerOptions::default()
        },
    );
    let mut events = runtime.events();
    let mut good = release(&scope, 0, true);
    good.policy.replicas = 2;
    roll(&runtime, &mut events, &good).await;

    let network = scope.list("networks").remove(0);
    let clients = ["", "cgi-bin/slow"].map(|page| {
        let name = format!("{}-client-{}", scope.namespace, page.len());
        let mut client = docker();
        client.args([
            "run",
            "--detach",
            "--init",
            "--label",
            &scope.label(),
            "--name",
            &name,
        ]);
        client.args(["--network", &network, "--env", &format!("PAGE={page}")]);
        run(client.args([BASE_IMAGE, "sh", "-c", CLIENT]));
        name
    });
    let said = |client: &str| try_run(docker().args(["logs", client])).1;
    let seen = |page: u32| {
        let page = format!("ok {page}\n");
        wait_for("the page of the new release", PATIENCE, || {
            clients
                .iter()
                .all(|client| said(client).contains(&page))
                .then_some(())
        });
    };
    seen(0);

    for number in 1..=REDEPLOYS + FAILING {
        if number % 5 == 0 {
            let mut sick = release(&scope, number, false);
            sick.policy.replicas = 1 + number % 2;
            let end = Instant::now() + PATIENCE;
            // Long enough to be seen sick; then the way back, as the loop would go it.
            loop {
                match runtime.deploy(&sick).await.unwrap() {
                    Progress::Rolling { waiting_for, .. } if waiting_for.contains("unhealthy") => break,
                    Progress::Rolling { .. } => {}
                    Progress::Complete => panic!("what is sick cannot be complete"),
                }
                assert!(Instant::now() < end, "it is not seen to be sick");
                let _ = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
            }
            roll(&runtime, &mut events, &good).await;
            continue;
        }
        good = release(&scope, number, true);
        good.policy.replicas = 1 + number % 2;
        roll(&runtime, &mut events, &good).await;
        seen(number);
    }

    for (client, enough) in clients.iter().zip([1000, 100]) {
        run(docker().args(["kill", client]));
        let out = said(client);
        let requests = out.lines().filter(|line| line.starts_with("ok ")).count();
        let failed: Vec<_> = out
            .lines()
            .filter(|line| line.contains("FAILED") || *line == "ok ")
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {requests} failed: {failed:?}",
            failed.len()
        );
        assert!(requests > enough, "only {requests} requests were made");
        eprintln!("{requests} requests, none failed");
    }
    while !runtime.remove(&good.identity.app, true).await.unwrap() {
        let _ = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    }
}

async fn roll(
    runtime: &DockerRuntime,
    events: &mut (impl futures::Stream<Item = davit::runtime::RuntimeEvent> + Unpin),
    wanted: &Deployment,
) {
    let end = Instant::now() + PATIENCE;
    loop {
        let progress = runtime.deploy(wanted).await.unwrap();
        let Progress::Rolling { check_in, .. } = progress else {
            return;
        };
        assert!(Instant::now() < end, "waited in vain: {progress:?}");
        let _ = tokio::time::timeout(check_in.unwrap_or(PATIENCE), events.next()).await;
    }
}

/// A release whose page is its number, or one that never answers.
fn release(scope: &DockerScope, number: u32, good: bool) -> Deployment {
    let mut release = deployment(&scope.namespace, "web", &format!("hash{number}"));
    BASE_IMAGE.clone_into(&mut release.spec.image);
    release.identity.release = format!("web-{number}");
    let script = if good {
        format!(
            "mkdir -p /w/cgi-bin; echo {number} > /w/index.html; cd /w/cgi-bin; \
             printf '#!/bin/sh\necho; sleep 0.3; echo {number}\n' > slow; chmod +x slow; exec httpd -f -p 8080 -h /w"
        )
    } else {
        "exec sleep 1000".to_owned()
    };
    release.spec.command = ["sh", "-c", &script].map(Into::into).into();
    release.spec.stop_grace = Duration::from_secs(2);
    release.spec.health = Some(Health {
        probe: Probe::Http {
            path: "/".to_owned(),
            port: 8080,
        },
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        retries: 1,
        start_period: Duration::ZERO,
    });
    release
}
