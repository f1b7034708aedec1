//! `kill -9` at any moment of a deployment, then everything settles: nothing stuck, nothing twice, nothing left behind.
//! `make chaos` does it a hundred times, `make test` ten.

#![allow(clippy::disallowed_methods, reason = "how often is said by the environment")]
#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::davit::Davit;
use common::docker::BASE_IMAGE;
use common::git_repo::GitRepo;
use common::wait_for;
use serde_json::json;

fn rounds() -> u64 {
    std::env::var("DAVIT_CHAOS_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

#[test]
fn killed_at_any_moment_it_goes_on_or_fails_cleanly() {
    let page =
        |text: &str| format!("FROM {BASE_IMAGE}\nRUN echo {text} > /page\nCMD [\"sleep\", \"10000\"]\n");
    let mut davit = Davit::up("chaos");
    let repo = GitRepo::with(&[("Dockerfile", &page("0"))]);
    let spec = json!({"source": {"git": {"url": repo.url()}}, "stopGracePeriod": "1s", "history": {"succeeded": 100, "failed": 100}});
    davit.apply("web", spec);
    davit.done("web");
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    for round in 1..=rounds() {
        let head = repo.commit(&round.to_string(), &[("Dockerfile", &page(&round.to_string()))]);
        davit.look("web");
        // A deployment takes about two seconds here; xorshift spreads the moments over it.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % 2500));
        davit.kill();
        davit.start();
        if davit.application("web")["status"]["source"]["revision"] != head.as_str() {
            davit.look("web");
        }
        davit.wait("web", 60, "at the newest commit", |app| {
            app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == head.as_str()
        });
    }
    let releases = davit.releases_of("web");
    let mut of_commit: BTreeMap<String, u32> = BTreeMap::new();
    for release in &releases {
        let phase = release["status"]["phase"].as_str().unwrap();
        assert!(
            matches!(phase, "Succeeded" | "Failed" | "Superseded"),
            "{phase} is left: {release}"
        );
        *of_commit
            .entry(
                release["status"]["source"]["revision"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            )
            .or_default() += 1;
    }
    let twice: Vec<_> = of_commit.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "a commit has two Releases: {twice:?}");
    wait_for("one container to be left", Duration::from_secs(30), || {
        (davit.containers("web").len() == 1).then_some(())
    });
    davit.gone("web");
    for kind in ["containers", "networks", "images"] {
        wait_for("nothing to be left behind", Duration::from_secs(20), || {
            davit.in_engine(kind).is_empty().then_some(())
        });
    }
    let work = std::fs::read_dir(davit.data_dir().join("work")).unwrap().count();
    assert_eq!(work, 0, "checkouts are left behind");
}
