//! Networks that are in the way.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn network_that_cannot_be_removed_does_not_stop_the_releases_of_its_namespace() {
    let mut harness = Harness::docker("rt");
    let wanted = harness.workload("web", "h1", Does::Serve);
    // An earlier installation left the network, and a container that is not Davit's keeps it.
    harness.deploy_until_complete(&wanted).await;
    let name = harness.network();
    harness.remove(&wanted, true).await;
    let labels = [
        scope(&harness).label(),
        format!("dev.davit.instance={}", harness.namespace),
        "dev.davit.installation=gone".to_owned(),
    ];
    let mut create = docker();
    create.args(["network", "create"]);
    for label in &labels {
        create.args(["--label", label]);
    }
    run(create.arg(&name));
    let mut stranger = docker();
    stranger.args([
        "run",
        "--detach",
        "--init",
        "--label",
        &labels[0],
        "--network",
        &name,
    ]);
    run(stranger.args([BASE_IMAGE, "sleep", "1000"]));
    let options = DockerOptions {
        instance: harness.namespace.clone(),
        installation: "new".to_owned(),
        ..DockerOptions::default()
    };
    let runtime = DockerRuntime::new(Docker::connect_with_local_defaults().unwrap(), options);
    (harness.events, harness.runtime) = (runtime.events(), Box::new(runtime));
    harness.deploy_until_complete(&wanted).await;
    let first = harness.replicas(&wanted).await;
    assert!(first[0].serving, "{first:?}");

    // Other Applications and Releases of the namespace use the same network.
    let other = harness.workload("other", "h2", Does::Serve);
    harness.deploy_until_complete(&other).await;
    let next = harness.workload("web", "h3", Does::Serve);
    harness.deploy_until_complete(&next).await;
    let replicas = harness.replicas(&next).await;
    let (reached, output) = inside(
        &harness.replicas(&other).await[0].id,
        &["wget", "-qO-", "http://web:8080"],
    );
    assert!(reached && output.trim() == "h3", "{output}: {replicas:?}");

    for workload in [&next, &other] {
        let end = Instant::now() + PATIENCE;
        while !harness
            .runtime
            .remove(&workload.identity.app, true)
            .await
            .unwrap()
        {
            assert!(Instant::now() < end, "it does not go");
            let _ = tokio::time::timeout(Duration::from_secs(1), harness.events.next()).await;
        }
    }
    let left = scope(&harness).list("networks");
    assert_eq!(left.len(), 1, "only the network that is kept is left: {left:?}");
}
