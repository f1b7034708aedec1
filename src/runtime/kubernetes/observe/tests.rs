//! Pods and the replicas that Davit makes of them.

#![expect(clippy::needless_pass_by_value, reason = "json! makes values")]

use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> String {
    Timestamp::from_second(1_800_000_000 + second)
        .unwrap()
        .to_string()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 100).unwrap()
}

/// A Pod with a readiness probe of three failures, and this status of its container.
fn pod(name: &str, status: Value, ready: bool) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {"davit.dev/config": "h1"},
            "annotations": {"davit.dev/release": "shop-1"},
            "creationTimestamp": at(0),
        },
        "spec": {"containers": [
            {"name": "sidecar"},
            {"name": "app", "image": "shop@sha256:00", "readinessProbe": {"failureThreshold": 3}}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at(50)}],
            "containerStatuses": [status],
        },
    }))
    .unwrap()
}

fn status(state: Value, ready: bool, restarts: i32, last: Value) -> Value {
    json!({"name": "app", "image": "", "imageID": "", "ready": ready, "restartCount": restarts, "state": state, "lastState": last})
}

fn running(since: i64) -> Value {
    json!({"running": {"startedAt": at(since)}})
}

fn ended(reason: &str, code: i32) -> Value {
    json!({"terminated": {"reason": reason, "exitCode": code, "message": "last words\n"}})
}

fn one(pod: Pod, failures: i64) -> Replica {
    let failures = CheckFailures {
        count: failures,
        message: "connection refused".to_owned(),
    };
    let failures = [("web".to_owned(), failures)].into();
    replicas(&[], &[pod], &failures, now()).remove(0)
}

#[test]
fn state_of_the_container_is_that_of_the_replica() {
    let crashed = |code, oom, times| ReplicaState::KeepsEnding {
        last: Some(ExitStatus { code, oom }),
        times,
        message: "last words".to_owned(),
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let nothing = || json!({});
    for (given, ready, failures, state) in [
        (
            status(waiting("ContainerCreating"), false, 0, nothing()),
            false,
            0,
            ReplicaState::Created,
        ),
        (
            status(waiting("ImagePullBackOff"), false, 0, nothing()),
            false,
            0,
            ReplicaState::Created,
        ),
        (
            status(running(10), true, 0, nothing()),
            true,
            0,
            ReplicaState::Healthy,
        ),
        (
            status(running(10), false, 0, nothing()),
            false,
            2,
            ReplicaState::Starting,
        ),
        (
            status(running(10), false, 0, nothing()),
            false,
            3,
            ReplicaState::Unhealthy("connection refused".to_owned()),
        ),
        (
            status(waiting("CrashLoopBackOff"), false, 3, ended("Error", 1)),
            false,
            0,
            crashed(1, false, 2),
        ),
        (
            status(waiting("CrashLoopBackOff"), false, 4, ended("OOMKilled", 137)),
            false,
            0,
            crashed(137, true, 4),
        ),
        // It was just restarted, and will end again.
        (
            status(running(95), true, 2, ended("Error", 1)),
            true,
            0,
            crashed(1, false, 2),
        ),
        (
            status(running(80), true, 2, ended("Error", 1)),
            true,
            0,
            ReplicaState::Healthy,
        ),
        // Between the end and the next start.
        (
            status(ended("Completed", 0), false, 0, nothing()),
            false,
            0,
            crashed(0, false, 1),
        ),
    ] {
        let replica = one(pod("web", given.clone(), ready), failures);
        assert_eq!(replica.state, state, "{given}");
        let healthy = state == ReplicaState::Healthy;
        assert_eq!(
            (replica.healthy_since.is_some(), replica.serving),
            (healthy, ready),
            "{given}"
        );
        assert_eq!(
            (replica.hash.as_str(), replica.release.as_str()),
            ("h1", "shop-1")
        );
        assert_eq!(replica.image, "shop@sha256:00");
    }
}

#[test]
fn pod_that_is_deleted_does_not_serve() {
    let mut leaving = pod("web", status(running(10), true, 0, json!({})), true);
    leaving.metadata.deletion_timestamp = serde_json::from_value(json!(at(90))).unwrap();
    let replica = one(leaving, 0);
    assert!(replica.draining && !replica.serving, "{replica:?}");
}

#[test]
fn evicted_pod_is_no_replica() {
    let mut evicted = pod("web", status(json!({}), false, 0, json!({})), false);
    evicted.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    assert_eq!(replicas(&[], &[evicted], &BTreeMap::new(), now()), []);
}

fn of_job(name: &str, created: i64, phase: &str, state: Value) -> Pod {
    let mut pod = pod(name, status(state, false, 0, json!({})), false);
    pod.metadata.creation_timestamp = serde_json::from_value(json!(at(created))).unwrap();
    pod.metadata.owner_references = serde_json::from_value(
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "shop-1", "uid": "u"}]),
    )
    .unwrap();
    pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    pod
}

fn job(conditions: Value) -> Job {
    serde_json::from_value(json!({
        "metadata": {"name": "shop-1"},
        "spec": {"completions": 1, "template": {}},
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

#[test]
fn pod_of_a_job_that_was_replaced_is_a_restart() {
    let first = || of_job("a", 1, "Failed", ended("Error", 3));
    let second = || of_job("b", 2, "Failed", ended("Error", 3));
    let failed = json!([{"type": "Failed", "status": "True"}]);
    let exited = |code| ReplicaState::Exited {
        code,
        oom: false,
        message: "last words".to_owned(),
    };
    let keeps = |times| ReplicaState::KeepsEnding {
        last: Some(ExitStatus { code: 3, oom: false }),
        times,
        message: "last words".to_owned(),
    };
    for (conditions, pods, expected) in [
        (json!([]), vec![first()], ("a", 0, keeps(1))),
        (failed.clone(), vec![first()], ("a", 0, exited(3))),
        (
            json!([]),
            vec![first(), of_job("b", 2, "Running", running(99))],
            ("b", 1, keeps(1)),
        ),
        (failed, vec![second(), first()], ("b", 1, exited(3))),
        (
            json!([{"type": "Complete", "status": "True"}]),
            vec![first(), of_job("b", 2, "Succeeded", ended("Completed", 0))],
            ("b", 1, exited(0)),
        ),
    ] {
        let found = replicas(&[job(conditions)], &pods, &BTreeMap::new(), now());
        assert_eq!(found.len(), 1, "{found:?}");
        let (name, restarts, state) = expected;
        assert_eq!(
            (found[0].name.as_str(), found[0].restarts, &found[0].state),
            (name, restarts, &state)
        );
    }
}
