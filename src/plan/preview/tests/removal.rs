//! When previews go, and that those go which a user has changed.

use serde_json::json;

use super::{World, commit, fork, pull_request};
use crate::api::Application;

#[test]
fn preview_expires_after_its_last_push_and_stays_removed() {
    let mut world = World::new(&json!({"ttl": "24h"}), vec![pull_request(1)]);
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-1");
    world.now = "2026-11-29T23:59:00Z".parse().unwrap();
    world.pull_requests[0].head = commit(2).as_str().to_owned();
    world.settle(&[]);
    assert_eq!(world.running()["shop-pr-1"], "2", "pushed now");
    world.now = "2026-11-30T23:00:00Z".parse().unwrap();
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-1");
    world.now = "2026-12-01T00:00:00Z".parse().unwrap();
    assert!(world.plan().remove[0].why.contains("24h"));
    world.settle(&[]);
    assert_eq!(world.names(), "");
    world.settle(&[]);
    assert_eq!(world.names(), "", "it is not made anew");
}

#[test]
fn preview_expires_though_a_commit_waits_for_approval() {
    let mut world = World::new(&json!({"allowForks": true, "ttl": "24h"}), vec![fork(7)]);
    world.settle(&[(7, 7, "jane")]);
    world.now = "2026-11-29T20:00:00Z".parse().unwrap();
    world.pull_requests[0].head = commit(8).as_str().to_owned();
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.running()["shop-pr-7"], "7");
    world.now = "2026-11-30T19:59:00Z".parse().unwrap();
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.names(), "shop-pr-7");
    world.now = "2026-11-30T20:01:00Z".parse().unwrap();
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.names(), "", "a push without approval does not prolong it");
}

#[test]
fn push_of_an_old_commit_brings_an_expired_preview_back() {
    let mut old = pull_request(1);
    // The forge knows only when commits were made.
    old.created_at = "2026-11-01T00:00:00Z".parse().unwrap();
    let mut world = World::new(&json!({"ttl": "24h"}), vec![old]);
    world.settle(&[]);
    assert_eq!(world.names(), "");
    world.pull_requests[0].head = commit(2).as_str().to_owned();
    world.settle(&[]);
    assert_eq!(world.running()["shop-pr-1"], "2");
    world.now = "2026-11-30T12:01:00Z".parse().unwrap();
    world.settle(&[]);
    assert_eq!(world.names(), "");
    // A commit of the future counts from now.
    let mut future = pull_request(1);
    future.created_at = "2027-11-01T00:00:00Z".parse().unwrap();
    let mut world = World::new(&json!({"ttl": "24h"}), vec![future]);
    world.settle(&[]);
    world.now = "2026-11-30T12:01:00Z".parse().unwrap();
    world.settle(&[]);
    assert_eq!(world.names(), "");
}

#[test]
fn preview_whose_marks_a_user_takes_away_is_mended_and_removed_with_its_pull_request() {
    let tampers: [fn(&mut Application); 4] = [
        |child| child.metadata.annotations = None,
        |child| child.metadata.owner_references = None,
        |child| child.metadata.labels = None,
        |child| {
            child.metadata.annotations = Some([("davit.dev/pull-request".to_owned(), "8".to_owned())].into());
        },
    ];
    for tamper in tampers {
        let mut world = World::new(&json!({}), vec![pull_request(7)]);
        world.settle(&[]);
        let before = world.children.clone();
        tamper(&mut world.children[0]);
        let plan = world.plan();
        assert_eq!(
            (plan.create.len(), plan.update.len(), plan.remove.len()),
            (0, 1, 0)
        );
        let tampered = world.clone();
        world.settle(&[]);
        assert_eq!(
            world.children[0].metadata.annotations,
            before[0].metadata.annotations
        );
        let mut world = tampered;
        world.pull_requests.clear();
        world.settle(&[]);
        assert_eq!(world.names(), "");
    }
}
