//! `kill -9` at any moment of a deployment, then everything settles: nothing stuck, nothing twice, nothing left behind.
//! `make chaos` does it a hundred times, `make test` ten.

#![allow(clippy::disallowed_methods, reason = "how often is said by the environment")]
#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test tells one story from its beginning to its end"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::davit::Davit;
use crate::common::docker::{BASE_IMAGE, docker};
use crate::common::git_repo::GitRepo;
use crate::common::{run, unique, wait_for};
use serde_json::{Value, json};

fn rounds() -> u64 {
    std::env::var("DAVIT_CHAOS_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

/// What the Releases have at `pointer`, in their order.
fn of_releases(davit: &Davit, app: &str, pointer: &str) -> Vec<String> {
    let releases = davit.releases_of(app);
    let texts = releases.iter().map(|release| {
        let found = release.pointer(pointer).and_then(Value::as_str);
        found
            .unwrap_or_else(|| panic!("{pointer} is missing: {release:#}"))
            .to_owned()
    });
    texts.collect()
}

/// Panics if a value comes back after another one took its place.
fn never_returns(what: &str, values: &[String]) {
    let mut changes = values.to_vec();
    changes.dedup();
    let mut counts: BTreeMap<&String, u32> = BTreeMap::new();
    for value in &changes {
        *counts.entry(value).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| *count == 1),
        "{what} came back: {changes:#?}"
    );
}

#[test]
fn controller_killed_at_any_moment_continues_or_fails_cleanly_and_never_goes_back() {
    let page =
        |text: &str| format!("FROM {BASE_IMAGE}\nRUN echo {text} > /page\nCMD [\"sleep\", \"10000\"]\n");
    let mut davit = Davit::up("chaos");
    let repo = GitRepo::with(&[("Dockerfile", &page("0"))]);
    let polled = |source: Value| {
        json!({"source": source, "trigger": {"pollInterval": "1s"}, "stopGracePeriod": "1s",
            "history": {"succeeded": 100, "failed": 100},
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}]})
    };
    davit.create_secret("token", &[("value", "0")]);
    davit.apply("web", polled(json!({"git": {"url": repo.url()}})));
    davit.wait_until_done("web");
    let image = format!("{}:current", unique("davit-chaos"));
    let image_of_web = |davit: &Davit| {
        let app = davit.application("web");
        app["status"]["release"]["image"].as_str().unwrap().to_owned()
    };
    run(docker().args(["tag", &image_of_web(&davit), &image]));
    davit.apply("copy", polled(json!({"docker": {"image": image}})));
    davit.wait_until_done("copy");
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    for round in 1..=rounds() {
        let head = repo.commit(&round.to_string(), &[("Dockerfile", &page(&round.to_string()))]);
        let before = davit.releases_of("web").len();
        let pinned = image_of_web(&davit);
        run(docker().args(["tag", &pinned, &image]));
        davit.create_secret("token", &[("value", &round.to_string())]);
        // xorshift spreads the moments over the deployment, which takes about two seconds here.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if round % 2 == 0 {
            // The moment at which the Release is there and the rest of the status is not.
            wait_for("a Release of the new commit", Duration::from_secs(30), || {
                let releases = davit.releases_of("web");
                let newest = releases.last().unwrap()["status"]["source"]["revision"].clone();
                (releases.len() > before && newest == head.as_str()).then_some(())
            });
        } else {
            std::thread::sleep(Duration::from_millis(random % 2500));
        }
        davit.kill();
        davit.start();
        davit.wait_until("web", 60, "at the newest commit", |app| {
            app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == head.as_str()
        });
        davit.wait_until("copy", 60, "at the newest image", |app| {
            app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == pinned.as_str()
        });
    }
    for app in ["web", "copy"] {
        for release in davit.releases_of(app) {
            let phase = release["status"]["phase"].as_str().unwrap();
            assert!(
                matches!(phase, "Succeeded" | "Failed" | "Superseded"),
                "{phase} is left: {release}"
            );
        }
        never_returns(app, &of_releases(&davit, app, "/status/source/revision"));
        never_returns("TOKEN", &of_releases(&davit, app, "/status/inputs/run.env.TOKEN"));
        // A Release has the inputs of no other one: nothing was released twice.
        let mut handled = of_releases(&davit, app, "/status/handled");
        let all = handled.len();
        handled.sort();
        handled.dedup();
        assert_eq!(handled.len(), all, "two Releases of {app} were made for the same");
    }
    run(docker().args(["rmi", &image]));
    wait_for("one container to be left", Duration::from_secs(30), || {
        (davit.containers("web").len() == 1).then_some(())
    });
    davit.delete_and_wait("copy");
    davit.delete_and_wait("web");
    for kind in ["containers", "networks", "images"] {
        wait_for("nothing to be left behind", Duration::from_secs(20), || {
            davit.list_in_engine(kind).is_empty().then_some(())
        });
    }
    let work = std::fs::read_dir(davit.data_dir().join("work")).unwrap().count();
    assert_eq!(work, 0, "checkouts are left behind");
}
