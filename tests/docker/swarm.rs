//! The Swarm runtime on a real Swarm of one node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use davit::runtime::{EnvVar, Mount, MountSource, Progress, Replica, ReplicaState, Restart};

use crate::common::engine::Engine as OwnEngine;
use crate::common::run;
use crate::contract::runtime_contract::{self as contract, Does, Harness, ids};

/// The longest that one rollout may take.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn swarm_runtime_keeps_the_contract() {
    let engine = Arc::new(OwnEngine::swarm());
    contract::replicas_serve_and_a_second_deploy_changes_nothing(Harness::swarm(&engine)).await;
    contract::scaling_does_not_touch_other_replicas(Harness::swarm(&engine)).await;
    job_that_ends_is_not_started_again(Harness::swarm(&engine)).await;
    contract::crash_loop_is_not_healthy(Harness::swarm(&engine)).await;
    contract::removed_application_leaves_only_volumes(Harness::swarm(&engine)).await;
    contract::application_of_the_same_name_adopts_nothing(Harness::swarm(&engine)).await;
    release_that_never_gets_healthy_replaces_nothing(Harness::swarm(&engine)).await;
    files_and_names_of_a_service_are_those_of_its_application(Harness::swarm(&engine), &engine).await;
    removed_container_is_replaced_and_reported(Harness::swarm(&engine), &engine).await;
}

async fn job_that_ends_is_not_started_again(mut harness: Harness) {
    let mut wanted = harness.workload("job", "h1", Does::Exit(3));
    wanted.spec.restart = Restart::Never;
    harness.runtime.deploy(&wanted).await.unwrap();
    let ended = |all: &[Replica]| {
        all.iter()
            .any(|it| matches!(it.state, ReplicaState::Exited { .. }))
    };
    let replicas = harness.replicas_until(&wanted, ended).await;
    let ReplicaState::Exited { code: 3, message, .. } = &replicas[0].state else {
        panic!("{replicas:?}")
    };
    assert_eq!(message, "last words");
    wanted.history.completed = ids(&replicas).into_iter().collect();
    assert_eq!(harness.runtime.deploy(&wanted).await.unwrap(), Progress::Complete);
    assert_eq!(ids(&harness.replicas(&wanted).await), ids(&replicas));

    // Another Release of the same configuration runs it again.
    "job-2".clone_into(&mut wanted.identity.release);
    wanted.history.completed.clear();
    harness.runtime.deploy(&wanted).await.unwrap();
    let again = |all: &[Replica]| {
        all.iter()
            .any(|it| it.release == "job-2" && matches!(it.state, ReplicaState::Exited { .. }))
    };
    harness.replicas_until(&wanted, again).await;
    harness.remove(&wanted, true).await;
}

async fn release_that_never_gets_healthy_replaces_nothing(mut harness: Harness) {
    let first = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&first).await;
    let old = ids(&harness.replicas(&first).await);
    let sick = harness.workload("web", "h2", Does::NeverGetWell);
    harness.runtime.deploy(&sick).await.unwrap();
    let fails = |all: &[Replica]| {
        all.iter()
            .any(|it| it.hash == "h2" && matches!(it.state, ReplicaState::KeepsEnding { .. }))
    };
    let replicas = harness.replicas_until(&sick, fails).await;
    let serving: Vec<_> = replicas.into_iter().filter(|it| it.serving).collect();
    assert_eq!(ids(&serving), old, "only the old one serves");
    let progress = harness.runtime.deploy(&sick).await.unwrap();
    assert!(
        matches!(progress, Progress::Rolling { ready: 0, .. }),
        "{progress:?}"
    );

    harness.deploy_until_complete(&first).await;
    assert_eq!(ids(&harness.replicas(&first).await), old, "the old one was kept");
    let third = harness.workload("web", "h3", Does::Serve);
    harness.deploy_until_complete(&third).await;
    let replicas = harness.replicas(&third).await;
    assert!(
        replicas.len() == 1 && replicas.iter().all(|it| it.hash == "h3" && it.serving),
        "{replicas:?}"
    );
    harness.remove(&third, true).await;
}

async fn files_and_names_of_a_service_are_those_of_its_application(mut harness: Harness, engine: &OwnEngine) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    let file = |name: &str, path: &str, confidential: bool| Mount {
        name: name.to_owned(),
        path: path.to_owned(),
        source: MountSource::Files {
            files: [("key".to_owned(), format!("content of {name}").as_str().into())].into(),
            mode: 0o444,
            confidential,
        },
        read_only: true,
    };
    wanted.spec.mounts = vec![file("conf", "/etc/shop", false), file("token", "/run/shop", true)];
    wanted.spec.env.push(EnvVar::confidential("TOKEN", "hunter2"));
    harness.deploy_until_complete(&wanted).await;
    let mut client = harness.workload("client", "h2", Does::Serve);
    client.spec.restart = Restart::Always;
    harness.deploy_until_complete(&client).await;
    let task = harness.replicas(&client).await.remove(0).id;
    let format = "--format={{.Status.ContainerStatus.ContainerID}}";
    let container = |task: &str| run(engine.docker().args(["inspect", "--type=task", format, task]));
    let lookup = ["exec", &container(&task), "nslookup", "-type=a", "web"].map(str::to_owned);
    let found = run(engine.docker().args(lookup));
    assert!(found.contains("Name:\tweb"), "{found}");
    let web = harness.replicas(&wanted).await.remove(0).id;
    for (path, content) in [
        ("/etc/shop/key", "content of conf"),
        ("/run/shop/key", "content of token"),
    ] {
        let read = run(engine.docker().args(["exec", &container(&web), "cat", path]));
        assert_eq!(read, content);
    }
    harness.remove(&wanted, true).await;
    harness.remove(&client, true).await;
    for kind in ["secret", "config"] {
        let label = format!("label=dev.davit.namespace={}", harness.namespace);
        let left = run(engine.docker().args([kind, "ls", "--quiet", "--filter", &label]));
        assert_eq!(left, "", "{kind}");
    }
}

async fn removed_container_is_replaced_and_reported(mut harness: Harness, engine: &OwnEngine) {
    let wanted = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&wanted).await;
    let before = harness.replicas(&wanted).await.remove(0);
    let format = "--format={{.Status.ContainerStatus.ContainerID}}";
    let container = run(engine
        .docker()
        .args(["inspect", "--type=task", format, &before.id]));
    run(engine.docker().args(["rm", "--force", &container]));
    let end = Instant::now() + PATIENCE;
    loop {
        let replicas = harness.replicas(&wanted).await;
        if replicas.iter().any(|it| it.serving && it.id != before.id) {
            break;
        }
        assert!(Instant::now() < end, "{replicas:?}");
        let _ = tokio::time::timeout(
            Duration::from_secs(1),
            futures::StreamExt::next(&mut harness.events),
        )
        .await;
    }
    harness.remove(&wanted, true).await;
}
