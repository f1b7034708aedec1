//! Checks that the engine makes.

use davit::runtime::EnvVar;
use davit::runtime::redaction::MAX_LOG_TAIL;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn silent_exec_probe_is_reported_by_its_exit_code() {
    let mut harness = Harness::docker("rt");
    for (hash, command, expected) in [
        (
            "h1",
            &["sh", "-c", "exit 3"][..],
            "the check ended with code 3 and said nothing",
        ),
        ("h2", &["sh", "-c", "echo no database; exit 1"], "no database"),
        ("h3", &["sleep", "1000"], "exceeded timeout"),
    ] {
        let mut wanted = harness.workload("web", hash, Does::NeverGetWell);
        wanted.spec.health = Some(Health {
            probe: Probe::Exec(command.iter().map(|part| (*part).to_owned()).collect()),
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(500),
            retries: 1,
            start_period: Duration::ZERO,
        });
        harness.runtime.deploy(&wanted).await.unwrap();
        let of_it = |all: &[Replica]| {
            all.iter()
                .find(|one| one.hash == hash)
                .map(|one| one.state.clone())
        };
        let sick = |all: &[Replica]| matches!(of_it(all), Some(ReplicaState::Unhealthy(_)));
        let told = of_it(&harness.replicas_until(&wanted, sick).await);
        let Some(ReplicaState::Unhealthy(why)) = told else {
            panic!("{told:?}");
        };
        assert!(why.contains(expected), "{command:?}: {why:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_truncated_by_the_engine_is_redacted() {
    const TOKEN: &str = "S3cretValue-9f8e7d6c5b4a";
    let mut harness = Harness::docker("rt");
    // The engine keeps 4096 bytes of a check's output, and twenty lines are asked for of the last words.
    let long = "head -c 4086 /dev/zero | tr '\\0' x; printf %s \"$TOK\"; exit 1";
    let mut wanted = harness.workload("web", "h1", Does::NeverGetWell);
    wanted.spec.env.push(EnvVar::confidential("TOK", TOKEN));
    wanted.spec.health = Some(Health {
        probe: Probe::Exec(["sh", "-c", long].map(str::to_owned).into()),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        retries: 1,
        start_period: Duration::ZERO,
    });
    harness.runtime.deploy(&wanted).await.unwrap();
    let sick = |all: &[Replica]| matches!(all[0].state, ReplicaState::Unhealthy(_));
    let all = harness.replicas_until(&wanted, sick).await;
    let ReplicaState::Unhealthy(why) = &all[0].state else {
        panic!("{all:?}");
    };
    assert!(why.starts_with("xxx") && !why.contains(&TOKEN[..4]), "{why:?}");

    // Its last words: the end of a line that began long ago.
    let script = "head -c 20000 /dev/zero | tr '\\0' y; printf %s \"$TOK\"; head -c 5105 /dev/zero | tr '\\0' z; exit 1";
    let mut wanted = harness.workload("web", "h2", Does::Exit(1));
    wanted.spec.env.push(EnvVar::confidential("TOK", TOKEN));
    wanted.spec.command = ["sh", "-c", script].map(Into::into).into();
    wanted.spec.restart = Restart::Never;
    harness.runtime.deploy(&wanted).await.unwrap();
    let of_it = |all: &[Replica]| all.iter().find(|one| one.hash == "h2").cloned();
    let ended =
        |all: &[Replica]| of_it(all).is_some_and(|one| matches!(one.state, ReplicaState::Exited { .. }));
    let all = harness.replicas_until(&wanted, ended).await;
    let one = of_it(&all).unwrap();
    let ReplicaState::Exited { message, .. } = &one.state else {
        panic!("{one:?}");
    };
    let tail = harness
        .runtime
        .log_tail(&wanted.identity.app, &one.id, &RedactionPolicy::default())
        .await;
    for shown in [message, &tail.unwrap()] {
        let left = shown.trim_start_matches('…').trim_end_matches('z');
        assert!(shown.len() <= MAX_LOG_TAIL && left.is_empty(), "{shown:?}");
    }
}
