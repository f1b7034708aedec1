//! `build.resources` on a buildkitd of this machine, and a step that the kernel kills because its memory runs out.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::common::wait_for;

/// A builder on the socket of a buildkitd.
fn limited(test: &str) -> Harness {
    let mut harness = Harness::new(test);
    harness.options.buildkit = Daemon::Buildkitd {
        place: Place::Socket(harness.buildkitd.socket.clone()),
        tls: None,
    };
    let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
    harness.builder = DockerBuilder::new(docker, harness.options.clone());
    harness
}

/// Where the kernel has the file of a control group.
fn file(hierarchy: &str, group: &str, name: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let root = if root.join("cgroup.controllers").exists() {
        root.to_owned()
    } else {
        root.join(hierarchy)
    };
    root.join(group.trim_start_matches('/')).join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn step_beyond_its_memory_is_killed_and_told_from_a_failed_one() {
    let harness = limited("bkmemory");
    let take = "RUN taken=$(yes a | head -c 200000000) && echo ${#taken} > /taken\n";
    harness.write("Dockerfile", &format!("FROM busybox:davit-test\n{take}"));
    let mut request = harness.request();
    request.memory = Some(64 << 20);
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildOutOfMemory, "{error}");
    assert!(error.to_string().contains("RUN taken="), "{error}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("spec.build.resources.limits.memory")
    );
    request.memory = Some(1 << 30);
    harness.build(&request).await.unwrap();
    // Another limit is no other input of the step.
    request.memory = Some(2 << 30);
    let (log, path) = harness.log();
    harness
        .builder
        .build(&request, &log, &CancellationToken::new())
        .await
        .unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("CACHED"), "{text}");
    harness.write("Dockerfile", "FROM busybox:davit-test\nRUN exit 7\n");
    let error = harness.build(&request).await.unwrap_err();
    assert!(matches!(error, BuildError::Exit { code: 7, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn build_gets_no_more_than_its_share_of_the_cpu() {
    let harness = Arc::new(limited("bkcpu"));
    harness.write(
        "Dockerfile",
        "FROM busybox:davit-test\nRUN cat /proc/self/cgroup; while true; do :; done\n",
    );
    let mut request = harness.request();
    request.cpu = Some(100_000_000);
    let (log, path) = harness.log();
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (harness, cancel) = (Arc::clone(&harness), cancel.clone());
        async move { harness.builder.build(&request, &log, &cancel).await }
    });
    let group = tokio::task::spawn_blocking(move || {
        let group = wait_for("the step", Duration::from_mins(1), || {
            let text = std::fs::read_to_string(&path).unwrap();
            let at = text.find("/davit-builds/")?;
            let end = text[at..].find("/buildkit/")?;
            Some(text[at..at + end].to_owned())
        });
        let stat = file("cpu", &group, "cpu.stat");
        wait_for("a step that waits for its share", Duration::from_mins(1), || {
            let text = std::fs::read_to_string(&stat).unwrap();
            let throttled = text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?;
            (throttled != "0").then_some(())
        });
        group
    })
    .await
    .unwrap();
    cancel.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().reason(), Reason::Cancelled);
    let own = file("cpu", &group, "");
    assert!(!own.exists(), "{} remains", own.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_buildkitd_over_the_network_are_refused() {
    let harness = Harness::new("bknolimit");
    harness.write("Dockerfile", "FROM busybox:davit-test\n");
    let mut request = harness.request();
    request.cpu = Some(1_000_000_000);
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotSupported, "{error}");
    assert!(error.to_string().contains("spec.build.resources") && error.hint().unwrap().contains("unix://"));
}
