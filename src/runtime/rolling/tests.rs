//! Rows for what was thought of; [`properties`] has a property for what was not.

mod properties;

use super::*;
use crate::api::Strategy;

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn want(replicas: u32) -> RolloutSpec {
    RolloutSpec {
        replicas,
        strategy: Strategy::StartFirst,
        min_ready: Duration::from_secs(5),
        restart: Restart::Always,
        drain: Duration::from_secs(3),
    }
}

fn stop_first(replicas: u32) -> RolloutSpec {
    RolloutSpec {
        strategy: Strategy::StopFirst,
        ..want(replicas)
    }
}

/// What ended is not started again.
fn stop_first_once(replicas: u32) -> RolloutSpec {
    RolloutSpec {
        restart: Restart::Never,
        ..stop_first(replicas)
    }
}

/// A container that has served for long.
fn serving(id: &str, current: bool) -> ContainerView {
    ContainerView {
        id: id.to_owned(),
        name: id.to_owned(),
        index: current.then(|| {
            id.trim_start_matches(|c: char| !c.is_ascii_digit())
                .parse()
                .unwrap_or(0)
        }),
        current,
        abandoned: false,
        over: false,
        phase: Phase::Running,
        health: Health::Healthy(at(-100)),
        attached: true,
        named: true,
        left: None,
        kept: false,
        drift: Drift::default(),
        busy: None,
        routed: false,
        restarts: 0,
    }
}

fn with(seen: ContainerView, change: impl FnOnce(&mut ContainerView)) -> ContainerView {
    let mut seen = seen;
    change(&mut seen);
    seen
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_next_steps_are_these() {
    let old = || serving("old", false);
    let new = || serving("new0", true);
    let fresh = |healthy: i64| {
        with(new(), |it| {
            it.named = false;
            it.health = Health::Healthy(at(healthy));
        })
    };
    let rows: Vec<(&str, Vec<ContainerView>, RolloutSpec, &str)> = vec![
        ("nothing is there", vec![], want(2), "Create0 Create1"),
        ("as wanted", vec![new()], want(1), "Complete"),
        (
            "a new one is made beside the old",
            vec![old()],
            want(1),
            "Create0",
        ),
        (
            "and started",
            vec![old(), with(new(), |it| it.phase = Phase::Created)],
            want(1),
            "Start(new0)",
        ),
        (
            "it is not healthy for long enough",
            vec![old(), fresh(-1)],
            want(1),
            "in 4s: new0 is healthy, but not for long enough yet",
        ),
        (
            "it joins before the old one leaves",
            vec![old(), fresh(-6)],
            want(1),
            "Join(new0)",
        ),
        (
            "then the old one leaves",
            vec![old(), new()],
            want(1),
            "Leave(old)",
        ),
        (
            "and drains",
            vec![
                with(old(), |it| (it.named, it.left) = (false, Some(at(-1)))),
                new(),
            ],
            want(1),
            "in 2s: old to drain",
        ),
        (
            "and goes",
            vec![
                with(old(), |it| (it.named, it.left) = (false, Some(at(-3)))),
                new(),
            ],
            want(1),
            "Retire(old)",
        ),
        (
            "then the reverse proxy lets go of the old one before it leaves",
            vec![with(old(), |it| it.routed = true), new()],
            want(1),
            "in 2s: the reverse proxy to send no more requests to old",
        ),
        (
            "also a sick one: it may have requests under way",
            vec![
                with(old(), |it| {
                    it.routed = true;
                    it.health = Health::Unhealthy {
                        why: "no answer".to_owned(),
                        until: None,
                    };
                }),
                new(),
            ],
            want(1),
            "in 2s: the reverse proxy to send no more requests to old",
        ),
        (
            "it stays while the reverse proxy may send requests to it",
            vec![
                with(old(), |it| {
                    (it.named, it.left, it.routed) = (false, Some(at(-3)), true);
                }),
                new(),
            ],
            want(1),
            "in 2s: the reverse proxy to send no more requests to old",
        ),
        (
            "a new one that never gets well",
            vec![
                old(),
                with(fresh(-6), |it| {
                    it.health = Health::Unhealthy {
                        why: "no".into(),
                        until: None,
                    }
                }),
            ],
            want(1),
            "in 30s: new0 is unhealthy: no",
        ),
        (
            "the way back: what never had the name goes at once",
            vec![with(old(), |it| it.named = false), new()],
            want(1),
            "Retire(old)",
        ),
        (
            "the way back: what is draining joins again",
            vec![with(new(), |it| (it.named, it.left) = (false, Some(at(-1))))],
            want(1),
            "Join(new0)",
        ),
        ("scaled up", vec![new()], want(3), "Create1 Create2"),
        (
            "scaled down",
            vec![new(), serving("new1", true)],
            want(1),
            "Leave(new1)",
        ),
        (
            "scaled down, the worst one goes",
            vec![fresh(-1), serving("new1", true)],
            want(1),
            "Retire(new0)",
        ),
        (
            "scaled to nothing",
            vec![new(), old()],
            want(0),
            "Retire(old) Retire(new0)",
        ),
        ("nothing wanted, nothing there", vec![], want(0), "Complete"),
        (
            "stopped by hand",
            vec![with(new(), |it| it.phase = Phase::Exited(137))],
            want(1),
            "Start(new0)",
        ),
        (
            "paused by hand",
            vec![with(new(), |it| it.phase = Phase::Paused)],
            want(1),
            "Unpause(new0)",
        ),
        (
            "renamed by hand",
            vec![with(new(), |it| it.drift.name = true)],
            want(1),
            "Rename(new0)",
        ),
        (
            "brought into another network by hand",
            vec![with(new(), |it| it.drift.networks = true)],
            want(1),
            "Detach(new0)",
        ),
        (
            "limits changed by hand",
            vec![with(new(), |it| it.drift.limits = true)],
            want(1),
            "Update(new0)",
        ),
        (
            "taken from the network by hand",
            vec![with(new(), |it| (it.attached, it.named) = (false, false))],
            want(1),
            "Join(new0)",
        ),
        (
            "taken from it before it was healthy",
            vec![with(fresh(-1), |it| it.attached = false)],
            want(1),
            "Attach(new0)",
        ),
        (
            "its name was taken by hand",
            vec![with(new(), |it| it.named = false)],
            want(1),
            "Join(new0)",
        ),
        (
            "a crash loop is the engine's business",
            vec![with(new(), |it| (it.phase, it.restarts) = (Phase::Restarting, 4))],
            want(1),
            "in 30s: new0 ended 4 times and is started again",
        ),
        (
            "stop first: the new one is made while the old one stops",
            vec![old()],
            stop_first(1),
            "Create0 Stop(old)",
        ),
        (
            "stop first: and not started before it has",
            vec![
                with(old(), |it| it.busy = Some(InProgress::Stopping)),
                with(new(), |it| it.phase = Phase::Created),
            ],
            stop_first(1),
            "in 30s: the old containers to stop, and 1 more",
        ),
        (
            "stop first: then it is",
            vec![
                with(old(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
                with(new(), |it| it.phase = Phase::Created),
            ],
            stop_first(1),
            "Start(new0)",
        ),
        (
            "stop first: the old one is kept until the new one is verified",
            vec![
                with(old(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
                with(new(), |it| it.health = Health::Starting(None)),
            ],
            stop_first(1),
            "in 30s: new0 has not been seen healthy yet",
        ),
        (
            "stop first: and then goes",
            vec![
                with(old(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
                new(),
            ],
            stop_first(1),
            "Retire(old)",
        ),
        (
            "stop first, the way back: what failed stops",
            vec![
                with(new(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
                old(),
            ],
            stop_first(1),
            "Stop(old)",
        ),
        (
            "stop first, the way back: what was kept starts",
            vec![
                with(new(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
                with(old(), |it| (it.phase, it.kept) = (Phase::Exited(0), true)),
            ],
            stop_first(1),
            "Start(new0)",
        ),
        (
            "stop first: what was given up stops",
            vec![
                with(new(), |it| it.phase = Phase::Exited(0)),
                with(old(), |it| it.abandoned = true),
            ],
            stop_first_once(1),
            "Stop(old)",
        ),
        (
            "stop first: and goes then, even if what is wanted has ended for good",
            vec![
                with(new(), |it| it.phase = Phase::Exited(0)),
                with(old(), |it| {
                    (it.phase, it.kept, it.abandoned) = (Phase::Exited(0), true, true);
                }),
            ],
            stop_first_once(1),
            "Retire(old)",
        ),
        (
            "stop first: of what has ended for good nothing else is left to be done",
            vec![with(new(), |it| it.phase = Phase::Exited(0))],
            stop_first_once(1),
            "in 30s: new0 ended with exit code 0 and is not started again",
        ),
        (
            "a namesake takes nothing over",
            vec![with(new(), |it| (it.current, it.index) = (false, Some(0)))],
            want(1),
            "Create1",
        ),
    ];
    for (name, seen, want, expected) in rows {
        let next = next(&seen, &want, at(0));
        let said = match (next.steps.as_slice(), &next.progress) {
            ([], Progress::Complete) => "Complete".to_owned(),
            (
                [],
                Progress::Rolling {
                    check_in,
                    waiting_for,
                    ..
                },
            ) => format!("in {:?}: {waiting_for}", check_in.unwrap()),
            (steps, _) => steps.iter().map(show).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn a_new_one_has_the_name_at_once_only_where_nobody_has_it() {
    let old = serving("old", false);
    let ended = with(old.clone(), |it| it.phase = Phase::Exited(1));
    for (seen, want, expected) in [
        (vec![], want(1), true),
        (vec![ended], want(1), true),
        (vec![old.clone()], want(1), false),
        (vec![old], stop_first(1), true),
    ] {
        let next = next(&seen, &want, at(0));
        let first = next.steps.first();
        assert!(
            matches!(first, Some(Step::Create { named, .. }) if *named == expected),
            "{seen:?}: {next:?}"
        );
    }
}

#[test]
fn what_ended_is_started_again_by_its_policy() {
    let ended = |code, restarts| {
        with(serving("new0", true), |it| {
            it.phase = Phase::Exited(code);
            it.restarts = restarts;
        })
    };
    for (restart, code, restarts, starts) in [
        (Restart::Always, 0, 9, true),
        (Restart::Never, 1, 0, false),
        (Restart::OnFailure(0), 1, 99, true),
        (Restart::OnFailure(3), 1, 2, true),
        (Restart::OnFailure(3), 1, 3, false),
        (Restart::OnFailure(3), 0, 0, false),
    ] {
        let want = RolloutSpec { restart, ..want(1) };
        let next = next(&[ended(code, restarts)], &want, at(0));
        assert_eq!(
            !next.steps.is_empty(),
            starts,
            "{restart:?} {code} {restarts}: {next:?}"
        );
        assert_ne!(next.progress, Progress::Complete);
    }
}

fn show(step: &Step) -> String {
    match step {
        Step::Create { index, .. } => format!("Create{index}"),
        other => format!("{other:?}").replace('"', ""),
    }
}

#[test]
fn what_ran_to_its_end_stays_and_counts_for_good() {
    let over = |id: &str| {
        with(serving(id, true), |it| {
            it.phase = Phase::Exited(0);
            it.over = true;
        })
    };
    let ended = ["c-0".to_owned(), "gone".to_owned()];
    for (replicas, seen, steps) in [
        (2, vec![over("c-0")], vec![]),
        (
            3,
            vec![over("c-0")],
            vec![Step::Create {
                index: 1,
                named: true,
            }],
        ),
        (3, vec![over("c-0"), serving("c-1", true)], vec![]),
        (1, vec![over("c-0")], vec![]),
    ] {
        let want = want(still_to_run(replicas, &ended, &seen));
        assert_eq!(next(&seen, &want, at(0)).steps, steps, "{replicas} of {seen:?}");
    }
    // A user started it again: it counts like any other container.
    let again = [serving("c-0", true)];
    assert_eq!(still_to_run(2, &ended, &again), 1);
}

#[test]
fn reported_number_of_restarts_changes_ever_more_seldom() {
    let steps: Vec<_> = [0, 1, 2, 3, 4, 7, 8, 15, 16, 1000].map(in_steps).into();
    assert_eq!(steps, [0, 1, 2, 2, 4, 4, 8, 8, 16, 512]);
}
