//! Checks that the engine makes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_check_by_a_command_that_fails_says_why_although_it_prints_nothing() {
    let mut rig = Rig::docker("rt");
    for (hash, command, expected) in [
        (
            "h1",
            &["sh", "-c", "exit 3"][..],
            "the check ended with code 3 and said nothing",
        ),
        ("h2", &["sh", "-c", "echo no database; exit 1"], "no database"),
        ("h3", &["sleep", "1000"], "exceeded timeout"),
    ] {
        let mut wanted = rig.workload("web", hash, Does::NeverGetWell);
        wanted.health = Some(Health {
            probe: Probe::Exec(command.iter().map(|part| (*part).to_owned()).collect()),
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(500),
            retries: 1,
            start_period: Duration::ZERO,
        });
        rig.runtime.deploy(&wanted).await.unwrap();
        let of_it = |all: &[Replica]| {
            all.iter()
                .find(|one| one.hash == hash)
                .map(|one| one.state.clone())
        };
        let sick = |all: &[Replica]| matches!(of_it(all), Some(ReplicaState::Unhealthy(_)));
        let told = of_it(&rig.replicas_until(&wanted, sick).await);
        let Some(ReplicaState::Unhealthy(why)) = told else {
            panic!("{told:?}");
        };
        assert!(why.contains(expected), "{command:?}: {why:?}");
    }
}
