//! Property: any order, repetition and loss of deliveries and polls leads to one Release per commit, never back to an
//! older commit, and in the end to the tip of the branch.
//!
//! The rules are those of `plan`; the model only stands in for the repository and the API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a model that is asked for the impossible panics"
)]

use davit::api::{
    Application, ApplicationStatus, CauseKind, DELIVERY, Delivery, ReleasePhase, ReleaseSpec, ReleaseType,
    ResolvedSource,
};
use davit::model::{AppId, CommitId, RefSpec, Revision};
use davit::plan::desired::{Install, PinnedSource};
use davit::plan::release_status::end;
use davit::plan::state::ReleaseView;
use davit::plan::values::Values;
use davit::plan::{
    Action, Announced, Inputs, Observed, PlanInput, created, pin, plan, release_name, source_kind, trigger,
};
use davit::redact::Secret;
use davit::runtime::Running;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

/// What happens to the branch, and what Davit is told of it.
#[derive(Clone, Debug)]
enum Event {
    /// Commits are pushed.
    Push(u8),
    /// The branch is moved to a commit beside its history.
    ForcePush(u8),
    /// The branch is moved back to a commit that it had.
    MoveBack(u8),
    /// The delivery of one of the pushes arrives: of any of them, any number of times.
    Deliver(u8),
    /// Davit looks at the branch.
    Poll,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..4_u8).prop_map(Event::Push),
        1 => any::<u8>().prop_map(Event::ForcePush),
        6 => any::<u8>().prop_map(Event::Deliver),
        // As most deliveries arrive: at once, and in order.
        2 => Just(Event::Deliver(u8::MAX)),
        2 => Just(Event::Poll),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![6 => event(), 1 => any::<u8>().prop_map(Event::MoveBack)]
}

/// A repository, and an Application that follows its branch.
struct Model {
    id: AppId,
    app: Application,
    install: Install,
    releases: Vec<ReleaseView>,
    /// The parent of each commit.
    parents: Vec<Option<usize>>,
    /// The tips that were pushed, in order.
    pushed: Vec<usize>,
    /// Whether the branch was moved back: a commit may be deployed again then.
    moved_back: bool,
    /// The commit that was chosen last.
    last: Option<usize>,
}

fn commit(number: usize) -> CommitId {
    CommitId::parse(&format!("{number:040x}")).unwrap()
}

fn number(revision: &str) -> usize {
    usize::from_str_radix(revision, 16).unwrap()
}

impl Model {
    fn new() -> Self {
        let app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "namespace": "ns", "uid": "uid", "generation": 1, "annotations": {}},
            "spec": {"source": {"git": {"url": "https://h.example/shop.git", "ref": {"branch": "main"}}}}});
        let mut model = Self {
            id: AppId::new("ns", "shop"),
            app: serde_json::from_value(app).unwrap(),
            install: Install {
                key: Secret::from("key"),
                capabilities: davit::runtime::Capabilities::DOCKER,
                image_prefix: "davit.local/test".into(),
                image_mark: String::new(),
                webhooks: davit::plan::endpoint::Endpoint::default(),
                registry: None,
            },
            releases: Vec::new(),
            parents: vec![None],
            pushed: vec![0],
            moved_back: false,
            last: None,
        };
        model.look(None);
        model
    }

    fn tip(&self) -> usize {
        *self.pushed.last().unwrap()
    }

    fn is_ancestor(&self, older: usize, newer: usize) -> bool {
        let mut at = Some(newer);
        while let Some(commit) = at {
            if commit == older {
                return true;
            }
            at = self.parents[commit];
        }
        false
    }

    fn released(&self) -> Vec<usize> {
        let source = |release: &ReleaseView| number(&release.status.source.as_ref().unwrap().revision);
        let was_wanted = |release: &&ReleaseView| release.status.phase != ReleasePhase::Cancelled;
        self.releases.iter().filter(was_wanted).map(source).collect()
    }

    fn newest(&self) -> usize {
        *self.released().last().unwrap()
    }

    fn source(&self, commit: CommitId) -> PinnedSource {
        let source = self.app.spec.source.as_ref().unwrap();
        source_kind::pinned(source, Revision::Commit(commit)).unwrap()
    }

    /// Looks at the branch, after a delivery or without one, and does what the plan says: before the answer of the repository, and
    /// with it.
    fn look(&mut self, delivery: Option<&Delivery>) {
        let followed = RefSpec::Branch("main".to_owned());
        let pushed = delivery.and_then(|delivery| trigger::pushed(delivery, &followed));
        let (last, tip) = (self.last.map(commit), commit(self.tip()));
        let continues = last
            .as_ref()
            .zip(delivery)
            .is_some_and(|(last, delivery)| trigger::continues(delivery, &self.source(last.clone())));
        let announced = pushed.clone().filter(|_| continues);
        if let Some(announced) = &announced {
            let unconfirmed = Announced::Unconfirmed(Revision::Commit(announced.clone()));
            self.reconcile(self.source(announced.clone()), Some(unconfirmed));
        }
        let chosen = match trigger::before_tip(pushed.as_ref(), last.as_ref(), &tip) {
            Some([last, pushed])
                if self.is_ancestor(number(last.as_str()), number(pushed.as_str()))
                    && self.is_ancestor(number(pushed.as_str()), self.tip()) =>
            {
                pushed.clone()
            }
            _ => tip,
        };
        self.last = Some(number(chosen.as_str()));
        let refuted = announced.filter(|announced| *announced != chosen);
        if let Some(refuted) = refuted {
            let refuted = Announced::Refuted(Revision::Commit(refuted));
            self.reconcile(self.source(chosen.clone()), Some(refuted));
        }
        self.reconcile(self.source(chosen), None);
    }

    fn reconcile(&mut self, source: PinnedSource, announced: Option<Announced>) {
        let now = Timestamp::from_second(1_000_000).unwrap();
        self.app.status = Some(ApplicationStatus {
            source: Some(ResolvedSource {
                revision: source.revision.to_string(),
                observed_generation: Some(1),
                ..ResolvedSource::default()
            }),
            ..ApplicationStatus::default()
        });
        let app = self.app.clone();
        let inputs = Inputs {
            source: Some(Ok(source)),
            last: None,
            access: Ok(()),
            pending: matches!(announced, Some(Announced::Unconfirmed(_))),
            announced,
            attempts: 0,
            check_in: None,
            values: Ok(Values::default()),
            rollback: None,
        };
        let decision = pin::decide(&self.id, &app, &self.releases, &inputs, &self.install);
        let observed = Observed {
            job: None,
            image: Ok(None),
            running: Ok(Running::default()),
            missing_image: None,
        };
        let input = PlanInput::new(&app, self.releases.clone(), inputs, decision, observed, now);
        for action in plan(&input, now).actions {
            let (number, desired, revision, reason) = match action {
                Action::Create {
                    number,
                    desired,
                    revision,
                    reason,
                } => (number, desired, revision, reason),
                Action::End { release, outcome } => {
                    let mut all = self.releases.iter_mut();
                    let ended = all.find(|known| known.name == release).unwrap();
                    end(&mut ended.status, &outcome, now);
                    continue;
                }
                // What was confirmed is deployed at once.
                Action::StartJob { release, .. } => {
                    let mut all = self.releases.iter_mut();
                    let begun = all.find(|known| known.name == release).unwrap();
                    begun.status.phase = ReleasePhase::Succeeded;
                    continue;
                }
                _ => continue,
            };
            let name = release_name(&app, number);
            let mut status = created(&input, &name, number, &desired, revision.as_deref(), reason, now);
            if !input.inputs.pending {
                status.phase = ReleasePhase::Succeeded;
            }
            self.releases.push(ReleaseView {
                uid: name.clone(),
                name,
                spec: ReleaseSpec {
                    kind: ReleaseType::Deploy,
                    ..ReleaseSpec::deploy("shop")
                },
                status,
                generation: 1,
                created: number,
                version: 1,
                manual: false,
                owned: true,
            });
        }
    }

    fn delivery(&self, push: usize) -> Delivery {
        Delivery {
            reference: Some("refs/heads/main".to_owned()),
            revision: Some(commit(self.pushed[push]).to_string()),
            before: push
                .checked_sub(1)
                .map(|before| commit(self.pushed[before]).to_string()),
            delivery: Some(push.to_string()),
            actor: Some("jane".to_owned()),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Push(commits) => {
                for _ in 0..*commits {
                    self.parents.push(Some(self.tip()));
                    self.pushed.push(self.parents.len() - 1);
                }
            }
            Event::ForcePush(from) => {
                let from = usize::from(*from) % self.parents.len();
                self.parents.push(Some(from));
                self.pushed.push(self.parents.len() - 1);
            }
            Event::MoveBack(to) => {
                let to = usize::from(*to) % self.parents.len();
                self.pushed.push(to);
                self.moved_back = true;
            }
            Event::Deliver(which) => {
                let push = match *which {
                    u8::MAX => self.pushed.len() - 1,
                    which => usize::from(which) % self.pushed.len(),
                };
                let (pushed, before) = (self.pushed[push], self.released());
                let last = self.last.unwrap();
                let delivery = self.delivery(push);
                let annotations = self.app.metadata.annotations.as_mut().unwrap();
                annotations.insert(DELIVERY.to_owned(), serde_json::to_string(&delivery).unwrap());
                self.look(Some(&delivery));
                let is_newer = last != pushed && self.is_ancestor(last, pushed);
                if is_newer && self.is_ancestor(pushed, self.tip()) && !self.moved_back {
                    let new = self.released();
                    assert_eq!(
                        new.last(),
                        Some(&pushed),
                        "the pushed commit is deployed, not a later one"
                    );
                    assert_eq!(new.len(), before.len() + 1);
                    let cause = self.releases.last().unwrap().status.cause.clone().unwrap();
                    assert_eq!(
                        (cause.kind, cause.delivery, cause.actor.as_deref()),
                        (CauseKind::Push, delivery.delivery, Some("jane"))
                    );
                }
            }
            Event::Poll => self.look(None),
        }
        self.check();
    }

    fn check(&self) {
        let released = self.released();
        if self.moved_back {
            return;
        }
        let mut once = released.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            released.len(),
            "a commit has two Releases: {released:?}"
        );
        for pair in released.windows(2) {
            let [before, after] = *pair else { unreachable!() };
            assert!(
                !self.is_ancestor(after, before),
                "commit {after} is older than {before}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn deliveries_in_any_order_lead_to_one_release_per_commit_and_to_the_tip(
        events in prop::collection::vec(event(), 1..40)
    ) {
        let mut model = Model::new();
        for event in &events {
            model.happen(event);
        }
        // A last look, as polling has it.
        model.look(None);
        model.check();
        prop_assert_eq!(model.newest(), model.tip());
        let releases = model.releases.len();
        // Everything once more, and nothing is left to do.
        for push in 0..model.pushed.len() {
            let delivery = model.delivery(push);
            model.look(Some(&delivery));
        }
        prop_assert_eq!(model.releases.len(), releases);

        // Every delivery is lost.
        let mut lost = Model::new();
        for event in events.iter().filter(|event| !matches!(event, Event::Deliver(_))) {
            lost.happen(event);
        }
        lost.look(None);
        prop_assert_eq!(lost.newest(), model.newest());
    }

    #[test]
    fn branch_that_is_moved_back_and_old_deliveries_lead_to_its_tip(
        events in prop::collection::vec(any_event(), 1..40)
    ) {
        let mut model = Model::new();
        for event in &events {
            model.happen(event);
            // A delivery that comes alone and in order leads to the tip at once.
            let is_known = model.last == Some(model.tip());
            prop_assert!(is_known || !matches!(event, Event::Poll));
        }
        model.look(None);
        prop_assert_eq!(model.newest(), model.tip());
    }
}

/// A push whose delivery comes after that of the force push which removed it, and was never seen before.
#[test]
fn commit_that_a_force_push_removed_is_never_deployed_by_a_late_delivery() {
    let mut model = Model::new();
    model.happen(&Event::Push(1));
    model.happen(&Event::MoveBack(0));
    model.happen(&Event::Deliver(2));
    model.happen(&Event::Deliver(1));
    assert_eq!(model.released(), [0]);
    model.happen(&Event::Poll);
    assert_eq!(model.released(), [0]);
}
