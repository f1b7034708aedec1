//! What hinders rollouts, and how far they are.

#![expect(clippy::needless_pass_by_value, reason = "json! makes values")]

use serde_json::{Value, json};

use super::*;
use crate::error::{Class, Explain as _};
use crate::runtime::fake::deployment;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "shop-1", "labels": {"davit.dev/config": "h1"}},
        "status": status,
    }))
    .unwrap()
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{"name": "app", "image": "shop:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn workload(status: Value) -> apps::Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "shop", "generation": 2},
        "spec": {"selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

fn replica(name: &str, hash: &str, state: ReplicaState) -> Replica {
    Replica {
        id: name.to_owned(),
        name: name.to_owned(),
        hash: hash.to_owned(),
        release: String::new(),
        image: String::new(),
        healthy_since: (state == ReplicaState::Healthy).then_some(Timestamp::UNIX_EPOCH),
        serving: state == ReplicaState::Healthy,
        state,
        draining: false,
        leaving: false,
        restarts: 0,
        address: None,
        endpoints: Vec::new(),
    }
}

#[test]
fn state_of_a_pod_explains_what_hinders_it() {
    let start = json!({"containerStatuses": [{"name": "app", "image": "shop:1", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "StartError", "exitCode": 128,
            "message": "failed to create containerd task: runc create failed: exec: \"/nope\": no such file"}}}]});
    for (status, message) in [
        (waiting("ContainerCreating", ""), None),
        (waiting("CrashLoopBackOff", "back-off 10s"), None),
        (
            waiting(
                "ImagePullBackOff",
                "Back-off pulling image \"shop:1\": ErrImagePull: connection refused",
            ),
            Some("the image shop:1 cannot be pulled: connection refused"),
        ),
        (
            waiting("InvalidImageName", "no"),
            Some("the container cannot be started: no"),
        ),
        (
            start,
            Some("the container cannot be started: exec: \"/nope\": no such file"),
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
            Some("no node can run the container: 0/1 nodes"),
        ),
    ] {
        let found = hindrance("h1", None, &[pod(status.clone())]);
        assert_eq!(
            found.map(|error| error.to_string()).as_deref(),
            message,
            "{status}"
        );
        assert!(
            hindrance("h2", None, &[pod(status)]).is_none(),
            "it is of another configuration"
        );
    }
    let denied = waiting("ErrImagePull", "failed to authorize: 401 Unauthorized");
    assert_eq!(
        hindrance("h1", None, &[pod(denied)]).unwrap().class(),
        Class::Terminal
    );
}

#[test]
fn refused_pods_are_a_quota_or_a_rule_of_the_namespace() {
    for (message, class, says) in [
        (
            "pods \"shop-5\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
            Class::Transient,
            "the container cannot be created: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
        ),
        (
            "pods \"shop-5\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            Class::Terminal,
            "the container cannot be started: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
        ),
        (
            "admission webhook \"policy.example.com\" denied the request: no",
            Class::Terminal,
            "the container cannot be started: admission webhook \"policy.example.com\" denied the request: no",
        ),
        (
            "etcdserver: request timed out",
            Class::Transient,
            "cannot create a Pod: etcdserver: request timed out",
        ),
    ] {
        let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
        let seen = workload(json!({"observedGeneration": 2, "conditions": failure}));
        let error = hindrance("h1", Some(&seen), &[]).unwrap();
        assert_eq!((error.class(), error.to_string().as_str()), (class, says));
        let stale = workload(json!({"observedGeneration": 1, "conditions": failure}));
        assert!(
            hindrance("h1", Some(&stale), &[]).is_none(),
            "it is about the template of before"
        );
    }
}

#[test]
fn rollout_is_complete_when_controller_and_pods_agree() {
    let wanted = deployment("ns", "shop", "h1");
    let settled =
        json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    let healthy = || replica("new", "h1", ReplicaState::Healthy);
    let now = Timestamp::UNIX_EPOCH;
    let waits = |status: &Value, replicas: &[Replica]| match progress(
        &wanted,
        Some(&workload(status.clone())),
        replicas,
        None,
        now,
    ) {
        Progress::Complete => None,
        Progress::Rolling { waiting_for, .. } => Some(waiting_for),
    };
    assert_eq!(waits(&settled, &[healthy()]), None);
    for (part, value) in [
        ("observedGeneration", 1),
        ("availableReplicas", 0),
        ("updatedReplicas", 0),
        ("replicas", 2),
    ] {
        let mut status = settled.clone();
        status[part] = json!(value);
        assert!(waits(&status, &[healthy()]).is_some(), "{part}");
    }
    for (others, why) in [
        (replica("old", "h0", ReplicaState::Healthy), "1 Pods to stop"),
        (
            replica(
                "sick",
                "h1",
                ReplicaState::Unhealthy("connection refused".to_owned()),
            ),
            "sick is unhealthy: connection refused",
        ),
        (
            replica("new2", "h1", ReplicaState::Created),
            "new2 has not been seen healthy yet",
        ),
    ] {
        assert_eq!(waits(&settled, &[healthy(), others]).as_deref(), Some(why));
    }
}

#[test]
fn job_is_complete_when_its_containers_are_on_record() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.spec.restart = Restart::Never;
    let exited = ReplicaState::Exited {
        code: 3,
        oom: false,
        message: String::new(),
    };
    let ended = [replica("job", "h1", exited)];
    let waits = progress(&wanted, None, &ended, None, Timestamp::UNIX_EPOCH);
    let Progress::Rolling { waiting_for, .. } = waits else {
        panic!("{waits:?}")
    };
    assert_eq!(waiting_for, "job ended with exit code 3 and is not started again");
    wanted.history.completed = vec!["job".to_owned()];
    for replicas in [&ended[..], &[]] {
        assert_eq!(
            progress(&wanted, None, replicas, None, Timestamp::UNIX_EPOCH),
            Progress::Complete
        );
    }
}
