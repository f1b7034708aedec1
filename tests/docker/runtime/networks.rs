//! Networks that are in the way.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn network_that_cannot_be_removed_does_not_stop_the_releases_of_its_namespace() {
    let mut rig = Rig::docker("rt");
    let wanted = rig.workload("web", "h1", Does::Serve);
    // An earlier installation left the network, and a container that is not Davit's keeps it.
    rig.settle(&wanted).await;
    let name = rig.network();
    rig.remove(&wanted, true).await;
    let labels = [
        scope(&rig).label(),
        format!("dev.davit.instance={}", rig.namespace),
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
        instance: rig.namespace.clone(),
        installation: "new".to_owned(),
        ..DockerOptions::default()
    };
    let runtime = DockerRuntime::new(Docker::connect_with_local_defaults().unwrap(), options);
    (rig.events, rig.runtime) = (runtime.events(), Box::new(runtime));
    rig.settle(&wanted).await;
    let first = rig.replicas(&wanted).await;
    assert!(first[0].serving, "{first:?}");

    // Other Applications and Releases of the namespace use the same network.
    let other = rig.workload("other", "h2", Does::Serve);
    rig.settle(&other).await;
    let next = rig.workload("web", "h3", Does::Serve);
    rig.settle(&next).await;
    let replicas = rig.replicas(&next).await;
    let (reached, output) = inside(
        &rig.replicas(&other).await[0].id,
        &["wget", "-qO-", "http://web:8080"],
    );
    assert!(reached && output.trim() == "h3", "{output}: {replicas:?}");

    for workload in [&next, &other] {
        let end = Instant::now() + PATIENCE;
        while !rig.runtime.remove(&workload.identity.app, true).await.unwrap() {
            assert!(Instant::now() < end, "it does not go");
            let _ = tokio::time::timeout(Duration::from_secs(1), rig.events.next()).await;
        }
    }
    let left = scope(&rig).list("networks");
    assert_eq!(left.len(), 1, "only the network that is kept is left: {left:?}");
}
