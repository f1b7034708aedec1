//! The property of all rollouts: every state converges, and a request to the name is never refused.

use proptest::prelude::*;
// Two things of this name: ours is used by it, proptest's by its methods.
use proptest::strategy::Strategy as Strategy_;

use super::*;
use crate::api::Strategy;

/// An engine that refuses what a real one would refuse.
struct Engine {
    seen: Vec<ContainerView>,
    now: Timestamp,
    port: bool,
}

impl Engine {
    fn apply(&mut self, step: &Step, want: &RolloutSpec) {
        let now = self.now;
        let active =
            |it: &ContainerView| matches!(it.phase, Phase::Running | Phase::Paused | Phase::Restarting);
        let others_active = |id: &str| {
            self.seen
                .iter()
                .any(|it| it.id != id && !it.current && active(it))
        };
        if let Step::Start(id) = step {
            assert!(
                !self.port || !others_active(id),
                "started while an old one has its port"
            );
        }
        if let Step::Create { index, named } = step {
            assert!(
                self.seen.iter().all(|it| it.index != Some(*index)),
                "the name is taken"
            );
            let id = format!("made{}-{index}", self.now);
            let made = with(serving(&id, true), |it| {
                it.index = Some(*index);
                it.phase = Phase::Created;
                it.named = *named;
            });
            return self.seen.push(made);
        }
        let (Step::Start(id)
        | Step::Unpause(id)
        | Step::Rename(id)
        | Step::Update(id)
        | Step::Detach(id)
        | Step::Attach(id)
        | Step::Join(id)
        | Step::Leave(id)
        | Step::Stop(id)
        | Step::Retire(id)) = step
        else {
            unreachable!()
        };
        let it = self
            .seen
            .iter_mut()
            .find(|it| it.id == *id)
            .expect("the container is there");
        assert!(it.busy.is_none(), "something is under way: {step:?}");
        match step {
            Step::Start(_) => {
                assert!(matches!(it.phase, Phase::Created | Phase::Exited(_)), "{step:?}");
                (it.phase, it.health, it.kept) = (Phase::Running, Health::Healthy(now), false);
            }
            Step::Unpause(_) => {
                assert_eq!(it.phase, Phase::Paused);
                it.phase = Phase::Running;
            }
            Step::Rename(_) => (it.drift.name, it.kept) = (false, false),
            Step::Update(_) => it.drift.limits = false,
            Step::Detach(_) => it.drift.networks = false,
            Step::Attach(_) => {
                assert!(!it.attached);
                it.attached = true;
            }
            Step::Join(_) => {
                assert!(it.current && it.phase == Phase::Running);
                (it.attached, it.named, it.left) = (true, true, None);
            }
            Step::Leave(_) => {
                assert!(it.named);
                (it.named, it.left) = (false, Some(now));
            }
            Step::Stop(_) => it.busy = Some(InProgress::Stopping),
            Step::Retire(_) => {
                let served = it.named && it.phase == Phase::Running && want.replicas > 0;
                assert!(
                    !served || want.strategy == Strategy::StopFirst,
                    "stopped before it left: {it:?}"
                );
                it.busy = Some(InProgress::Retiring);
            }
            Step::Create { .. } => unreachable!(),
        }
    }

    /// Time passes: what was begun ends, what is sick gets well.
    fn pass(&mut self, time: Duration) {
        self.now = later(self.now, time.max(Duration::from_millis(1)));
        self.seen
            .retain(|it| it.busy != Some(InProgress::Retiring) && it.phase != Phase::Removing);
        for it in &mut self.seen {
            if it.busy.take().is_some() {
                (it.phase, it.kept) = (Phase::Exited(0), true);
            }
            if it.phase == Phase::Restarting {
                (it.phase, it.health) = (Phase::Running, Health::Healthy(self.now));
            }
            if it.phase == Phase::Running && !matches!(it.health, Health::Healthy(_)) {
                it.health = Health::Healthy(self.now);
            }
        }
    }

    fn answers(&self) -> bool {
        self.seen
            .iter()
            .any(|it| it.named && it.phase == Phase::Running && matches!(it.health, Health::Healthy(_)))
    }
}

fn any_phase() -> impl Strategy_<Value = Phase> {
    prop_oneof![
        4 => Just(Phase::Running),
        1 => Just(Phase::Created),
        1 => Just(Phase::Paused),
        1 => Just(Phase::Restarting),
        1 => (0i64..2).prop_map(Phase::Exited),
        1 => Just(Phase::Removing),
    ]
}

prop_compose! {
    fn any_seen()(
        current: bool, abandoned: bool, phase in any_phase(), healthy in prop::option::of(-20i64..0), attached: bool, named: bool,
        left in prop::option::of(-9i64..0), kept: bool, name: bool, limits: bool, networks: bool, busy in 0u8..8,
    ) -> ContainerView {
        ContainerView {
            current, abandoned, phase, kept, attached, over: false,
            id: String::new(), name: String::new(), index: None,
            named: named && attached,
            left: left.filter(|_| !named && attached).map(at),
            health: healthy.map_or(Health::Starting(None), |since| Health::Healthy(at(since))),
            drift: Drift { name, limits, networks },
            busy: match busy { 0 => Some(InProgress::Stopping), 1 => Some(InProgress::Retiring), _ => None },
            routed: false,
            restarts: 0,
        }
    }
}

proptest! {
    #[test]
    fn every_world_settles_and_the_name_is_always_answered(
        mut seen in prop::collection::vec(any_seen(), 0..6), replicas in 0u32..4, stop: bool, min_ready in 0u64..9,
    ) {
        for (index, it) in seen.iter_mut().enumerate() {
            it.id = format!("c{index}");
            it.name.clone_from(&it.id);
            it.index = it.current.then_some(u32::try_from(index).unwrap());
        }
        let strategy = if stop { Strategy::StopFirst } else { Strategy::StartFirst };
        let want = RolloutSpec { replicas, strategy, min_ready: Duration::from_secs(min_ready), ..want(0) };
        let mut engine = Engine { seen, now: at(0), port: stop };
        // What was being stopped when we came may be the last that answers: not our decision.
        engine.pass(Duration::ZERO);
        let mut answered = engine.answers();
        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds < 100, "it does not settle: {:?}", engine.seen);
            let plan = next(&engine.seen, &want, engine.now);
            for step in &plan.steps {
                engine.apply(step, &want);
                if strategy == Strategy::StartFirst && replicas > 0 {
                    prop_assert!(!answered || engine.answers(), "no replica answers after {step:?}: {:?}", engine.seen);
                    answered |= engine.answers();
                }
            }
            match plan.progress {
                Progress::Complete => {
                    prop_assert!(plan.steps.is_empty());
                    break;
                }
                Progress::Rolling { check_in, .. } if plan.steps.is_empty() => engine.pass(check_in.unwrap()),
                Progress::Rolling { .. } => {}
            }
        }
        prop_assert_eq!(engine.seen.len(), usize::try_from(replicas).unwrap());
        prop_assert!(engine.seen.iter().all(|it| it.current && it.named && it.drift == Drift::default()));
    }
}
