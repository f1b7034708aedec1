//! The Kubernetes runtime on a real cluster with a node.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit::error::{Class, Explain as _};
use davit::model::AppId;
use davit::runtime::{
    CpuUsage, Deployment, EnvVar, ExecOutput, ExecRequest, Mount, MountSource, Progress, RedactionPolicy,
    ReplicaState, Resources, Restart, RuntimeError,
};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::common::cluster::Cluster;
use crate::common::run;
use crate::contract::runtime_contract::{self as contract, Does, Harness, ids};

/// The longest that one rollout may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a test in a namespace of its own, and removes that.
async fn alone<F: Future<Output = ()>>(cluster: &Arc<Cluster>, test: impl FnOnce(Harness) -> F) {
    let harness = Harness::kubernetes(cluster).await;
    let namespace = harness.namespace.clone();
    test(harness).await;
    let all = "deployments,jobs,pods";
    let delete = [
        "delete",
        all,
        "--all",
        "--force",
        "--grace-period=0",
        "--namespace",
        &namespace,
    ];
    run(cluster.kubectl().args(delete));
    run(cluster
        .kubectl()
        .args(["delete", "namespace", &namespace, "--timeout=60s"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_runtime_keeps_the_contract() {
    let cluster = Arc::new(Cluster::start());
    cluster.add_volume("one");
    alone(
        &cluster,
        contract::replicas_serve_and_a_second_deploy_changes_nothing,
    )
    .await;
    alone(
        &cluster,
        contract::previous_container_serves_until_the_new_one_is_healthy,
    )
    .await;
    alone(&cluster, contract::scaling_does_not_touch_other_replicas).await;
    alone(&cluster, contract::crash_loop_is_not_healthy).await;
    alone(
        &cluster,
        contract::log_tail_of_a_failed_container_keeps_lines_and_hides_secrets,
    )
    .await;
    alone(&cluster, contract::removed_application_leaves_only_volumes).await;
    alone(&cluster, contract::application_of_the_same_name_adopts_nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_runtime_reports_what_the_cluster_does() {
    let cluster = Arc::new(Cluster::start());
    let shared = || Arc::clone(&cluster);
    alone(&cluster, job_runs_once_for_each_release).await;
    alone(&cluster, |harness| {
        changed_objects_are_put_right(harness, shared())
    })
    .await;
    alone(&cluster, pod_that_cannot_start_explains_itself).await;
    alone(&cluster, |harness| {
        namespace_that_refuses_pods_is_named(harness, shared())
    })
    .await;
    alone(&cluster, |harness| {
        rollback_restores_environment_and_files(harness, shared())
    })
    .await;
    alone(&cluster, |harness| {
        object_of_another_program_is_left_alone(harness, shared())
    })
    .await;
    alone(&cluster, |harness| {
        command_runs_in_a_pod_and_its_use_is_measured(harness, shared())
    })
    .await;
    alone(&cluster, |harness| {
        orphaned_containers_lose_owner_and_label(harness, shared())
    })
    .await;
}

/// The error that a rollout ends up with.
async fn refused(harness: &mut Harness, wanted: &Deployment) -> RuntimeError {
    let end = Instant::now() + PATIENCE;
    loop {
        match harness.runtime.deploy(wanted).await {
            Err(error) => return error,
            Ok(progress) => assert!(Instant::now() < end, "{progress:?}"),
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), harness.events.next()).await;
    }
}

async fn job_runs_once_for_each_release(mut harness: Harness) {
    let mut wanted = harness.workload("job", "h1", Does::Exit(3));
    wanted.spec.restart = Restart::Never;
    let ended = |wanted: &Deployment| {
        let release = wanted.identity.release.clone();
        move |all: &[davit::runtime::Replica]| {
            all.iter()
                .any(|it| it.release == release && matches!(it.state, ReplicaState::Exited { .. }))
        }
    };
    harness.runtime.deploy(&wanted).await.unwrap();
    let replicas = harness.replicas_until(&wanted, ended(&wanted)).await;
    let ReplicaState::Exited { code: 3, message, .. } = &replicas[0].state else {
        panic!("{replicas:?}")
    };
    assert_eq!(message, "last words");
    let progress = harness.runtime.deploy(&wanted).await.unwrap();
    assert!(
        matches!(&progress, Progress::Rolling { waiting_for, .. } if waiting_for.contains("exit code 3")),
        "{progress:?}"
    );
    wanted.history.completed = ids(&replicas).into_iter().collect();
    harness.deploy_until_complete(&wanted).await;
    assert_eq!(ids(&harness.replicas(&wanted).await), ids(&replicas));

    // Another Release of the same configuration runs it again, and removes the Job of before.
    "job-2".clone_into(&mut wanted.identity.release);
    wanted.history.completed.clear();
    harness.runtime.deploy(&wanted).await.unwrap();
    let both = harness.replicas_until(&wanted, ended(&wanted)).await;
    wanted.history.completed = both
        .iter()
        .filter(|it| it.release == "job-2")
        .map(|it| it.id.clone())
        .collect();
    harness.deploy_until_complete(&wanted).await;
    assert_eq!(harness.replicas(&wanted).await.len(), 1);
}

async fn changed_objects_are_put_right(mut harness: Harness, cluster: Arc<Cluster>) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    wanted.spec.ports = vec![davit::runtime::Port {
        name: None,
        container: 8080,
        host: None,
        host_ip: None,
        protocol: davit::api::Protocol::Tcp,
    }];
    harness.deploy_until_complete(&wanted).await;
    let namespace = harness.namespace.clone();
    let look = |what: &str, path: &str| {
        let path = format!("--output=jsonpath={path}");
        run(cluster
            .kubectl()
            .args(["get", what, &path, "--namespace", &namespace]))
    };
    for (change, what, path, restored) in [
        (
            vec!["scale", "deployment/web", "--replicas=2"],
            "deployment/web",
            "{.spec.replicas}",
            "1",
        ),
        (
            vec!["set", "image", "deployment/web", "app=busybox:other"],
            "deployment/web",
            "{.spec.template.spec.containers[0].image}",
            wanted.spec.image.as_str(),
        ),
        (
            vec!["delete", "service/web"],
            "service/web",
            "{.spec.ports[0].port}",
            "8080",
        ),
        (
            vec![
                "patch",
                "service/web",
                "--patch",
                r#"{"spec":{"selector":{"davit.dev/application":"other"}}}"#,
            ],
            "service/web",
            "{.spec.selector.davit\\.dev/application}",
            "web",
        ),
        (
            vec!["delete", "secret", "--all"],
            "secret/web-h1",
            "{.immutable}",
            "true",
        ),
        (
            vec!["delete", "deployment/web", "--cascade=foreground"],
            "deployment/web",
            "{.spec.replicas}",
            "1",
        ),
        // What another field manager adds stays, and is no reason to wait.
        (
            vec!["set", "env", "deployment/web", "ADDED=1"],
            "deployment/web",
            "{.spec.template.spec.containers[0].env[?(@.name==\"ADDED\")].value}",
            "1",
        ),
        (
            vec!["delete", "pods", "--all"],
            "deployment/web",
            "{.status.availableReplicas}",
            "1",
        ),
    ] {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), harness.events.next()).await
        {
        }
        run(cluster.kubectl().args(&change).args(["--namespace", &namespace]));
        let event = tokio::time::timeout(Duration::from_secs(10), harness.events.next()).await;
        let changed = davit::runtime::RuntimeEvent::Changed(wanted.identity.app.clone());
        assert_eq!(event, Ok(Some(changed)), "{change:?}");
        harness.deploy_until_complete(&wanted).await;
        assert_eq!(look(what, path), restored, "{change:?}");
    }
}

async fn pod_that_cannot_start_explains_itself(mut harness: Harness) {
    let mut no_program = harness.workload("program", "h1", Does::Serve);
    no_program.spec.command = vec!["/no/such/program".into()];
    let mut no_image = harness.workload("image", "h2", Does::Serve);
    "127.0.0.1:1/shop:1".clone_into(&mut no_image.spec.image);
    let mut too_large = harness.workload("large", "h3", Does::Serve);
    too_large.spec.resources = Resources {
        cpu_request: Some(1000 * 1_000_000_000),
        ..Resources::default()
    };
    for (wanted, class, says) in [
        (no_program, Class::Terminal, "/no/such/program"),
        (no_image, Class::Transient, "connection refused"),
        (too_large, Class::Transient, "Insufficient cpu"),
    ] {
        let error = refused(&mut harness, &wanted).await;
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.class(), class, "{error}");
        let replicas = harness.replicas(&wanted).await;
        assert!(replicas.iter().all(|it| !it.serving), "{replicas:?}");
    }
}

async fn namespace_that_refuses_pods_is_named(mut harness: Harness, cluster: Arc<Cluster>) {
    let namespace = harness.namespace.clone();
    let in_namespace = |args: &[&str]| run(cluster.kubectl().args(args).args(["--namespace", &namespace]));
    in_namespace(&["create", "quota", "small", "--hard=pods=0"]);
    let wanted = harness.workload("web", "h1", Does::Serve);
    let error = refused(&mut harness, &wanted).await;
    assert!(
        matches!(&error, RuntimeError::QuotaExceeded(why) if why.contains("small")),
        "{error}"
    );
    let mut job = harness.workload("job", "h2", Does::Exit(0));
    job.spec.restart = Restart::Never;
    let error = refused(&mut harness, &job).await;
    assert!(
        matches!(&error, RuntimeError::QuotaExceeded(why) if why.contains("small")),
        "{error}"
    );
    in_namespace(&["delete", "quota", "small"]);
    run(cluster.kubectl().args([
        "label",
        "namespace",
        &namespace,
        "pod-security.kubernetes.io/enforce=restricted",
    ]));
    let strict = harness.workload("strict", "h3", Does::Serve);
    let error = refused(&mut harness, &strict).await;
    assert!(
        matches!(&error, RuntimeError::Rejected { message, .. } if message.contains("PodSecurity")),
        "{error}"
    );
    // All that Davit sets is within the baseline.
    run(cluster.kubectl().args([
        "label",
        "namespace",
        &namespace,
        "pod-security.kubernetes.io/enforce=baseline",
        "--overwrite",
    ]));
    let allowed = harness.workload("allowed", "h4", Does::Serve);
    harness.deploy_until_complete(&allowed).await;
}

async fn rollback_restores_environment_and_files(mut harness: Harness, cluster: Arc<Cluster>) {
    let configured = |harness: &Harness, hash: &str, value: &str| {
        let mut wanted = harness.workload("web", hash, Does::Serve);
        wanted.spec.env.push(EnvVar::confidential("TOKEN", value));
        wanted.spec.mounts = vec![Mount {
            name: "conf".to_owned(),
            path: "/etc/shop".to_owned(),
            source: MountSource::Files {
                files: [("key".to_owned(), value.into())].into(),
                mode: 0o444,
                confidential: true,
            },
            read_only: true,
        }];
        wanted
    };
    let namespace = harness.namespace.clone();
    let shown = |replica: &str| {
        let exec = [
            "exec",
            "--namespace",
            &namespace,
            replica,
            "--container=app",
            "--",
        ];
        let show = ["sh", "-c", "echo $TOKEN $(cat /etc/shop/key)"];
        run(cluster.kubectl().args(exec).args(show))
    };
    let first = configured(&harness, "h1", "one $(HOME)");
    harness.deploy_until_complete(&first).await;
    let replica = harness.replicas(&first).await.remove(0);
    assert_eq!(shown(&replica.id), "one $(HOME) one $(HOME)");
    harness
        .deploy_until_complete(&configured(&harness, "h2", "two"))
        .await;
    // The value of the Secret has changed since; the Release runs with its own.
    let mut back = configured(&harness, "h1", "changed");
    "web-3".clone_into(&mut back.identity.release);
    harness.deploy_until_complete(&back).await;
    let replica = harness.replicas(&back).await.remove(0);
    assert_eq!(shown(&replica.id), "one $(HOME) one $(HOME)");

    // No object shows a value but the Secret, and output is masked with the values of the configuration.
    let dump = run(cluster.kubectl().args([
        "get",
        "deployments,replicasets,pods",
        "--output=yaml",
        "--namespace",
        &namespace,
    ]));
    assert!(
        !dump.contains("one $(HOME)") && !dump.contains("changed"),
        "{dump}"
    );
    let mut loud = configured(&harness, "h4", "hunter2");
    loud.spec.args = Vec::new();
    loud.spec.command = ["sh", "-c", "echo my token is $TOKEN; exit 1"]
        .map(Into::into)
        .into();
    loud.spec.health = None;
    harness.runtime.deploy(&loud).await.unwrap();
    let fails = |all: &[davit::runtime::Replica]| {
        all.iter()
            .any(|it| it.hash == "h4" && matches!(it.state, ReplicaState::KeepsEnding { .. }))
    };
    let replicas = harness.replicas_until(&loud, fails).await;
    let loud_one = replicas.iter().find(|it| it.hash == "h4").unwrap();
    let text = format!("{:?}", loud_one.state);
    assert!(text.contains("my token is ***"), "{text}");
    let tail = harness
        .runtime
        .log_tail(&loud.identity.app, &loud_one.id, &RedactionPolicy::default())
        .await;
    assert_eq!(tail.unwrap(), "my token is ***");
}

async fn object_of_another_program_is_left_alone(harness: Harness, cluster: Arc<Cluster>) {
    let wanted = harness.workload("web", "h1", Does::Serve);
    let create = [
        "create",
        "service",
        "clusterip",
        "web",
        "--tcp=80",
        "--namespace",
        &harness.namespace,
    ];
    run(cluster.kubectl().args(create));
    let error = harness.runtime.deploy(&wanted).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the Service {}/web exists and is not Davit's", harness.namespace)
    );
    assert_eq!(harness.replicas(&wanted).await, []);
}

async fn command_runs_in_a_pod_and_its_use_is_measured(mut harness: Harness, cluster: Arc<Cluster>) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    wanted.spec.resources.memory = Some(64 << 20);
    harness.deploy_until_complete(&wanted).await;
    let app = wanted.identity.app.clone();
    let pod = harness.replicas(&wanted).await.remove(0).id;
    let request = |command: &[&str], stdin: bool| ExecRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        stdin,
        terminal: false,
    };
    let script = "cat; echo problem >&2; exit 7";
    let mut exec = harness
        .runtime
        .exec(&app, &pod, &request(&["sh", "-c", script], true))
        .await
        .unwrap();
    // More than any buffer holds.
    let sent = "0123456789abcdef".repeat(64 * 1024);
    let bytes = sent.clone().into_bytes();
    let writing = tokio::spawn(async move {
        exec.input.write_all(&bytes).await.unwrap();
        exec.input.shutdown().await.unwrap();
    });
    let (mut output, mut error) = (Vec::new(), Vec::new());
    while let Some(part) = exec.output.next().await {
        match part.unwrap() {
            ExecOutput::Output(bytes) => output.extend_from_slice(&bytes),
            ExecOutput::Error(bytes) => error.extend_from_slice(&bytes),
        }
    }
    writing.await.unwrap();
    assert_eq!(output.len(), sent.len());
    assert_eq!(String::from_utf8_lossy(&error), "problem\n");
    assert_eq!(exec.control.exit_code().await.unwrap(), Some(7));

    let missing = harness
        .runtime
        .exec(&app, &pod, &request(&["/no/such"], false))
        .await;
    let message = match missing {
        Err(error) => error.to_string(),
        Ok(mut exec) => {
            while exec.output.next().await.is_some() {}
            exec.control.exit_code().await.unwrap_err().to_string()
        }
    };
    assert!(message.contains("/no/such"), "{message}");
    // A Pod of another Application is none of this one.
    let other = AppId::new(&*harness.namespace, "other");
    assert!(
        harness
            .runtime
            .exec(&other, &pod, &request(&["true"], false))
            .await
            .is_err()
    );

    // Without metrics-server there is the way out; with its API there are figures.
    let error = harness.runtime.usage(&app).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoMetrics), "{error}");
    let namespace = harness.namespace.clone();
    cluster.serve_metrics(&namespace, &pod, "12345678n", "3072Ki");
    let found = loop {
        match harness.runtime.usage(&app).await {
            Ok(found) if !found.is_empty() => break found,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].cpu, CpuUsage::Rate(12_345_678));
    assert_eq!(
        (found[0].memory, found[0].memory_limit),
        (3 << 20, Some(64 << 20))
    );
}

async fn orphaned_containers_lose_owner_and_label(mut harness: Harness, cluster: Arc<Cluster>) {
    let wanted = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&wanted).await;
    harness.runtime.orphan(&wanted.identity.app).await.unwrap();
    assert_eq!(harness.runtime.apps().await.unwrap(), []);
    let get = [
        "get",
        "deployment/web",
        "service/web",
        "secret/web-h1",
        "--namespace",
        &harness.namespace,
    ];
    let owners = run(cluster
        .kubectl()
        .args(get)
        .arg("--output=jsonpath={.items[*].metadata.ownerReferences}"));
    assert_eq!(owners, "");
}
