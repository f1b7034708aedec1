//! Every world settles: whatever happened before, repeated passes lead to what is wanted, and then to no further action.
//! The model refuses what could not be done on a real machine: a second build beside the first, a container of an image
//! that is not there, an ended Release that changes, a number given twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a model that is asked for the impossible panics"
)]

use std::collections::{BTreeMap, BTreeSet};

use davit::api::Reason;
use davit::api::{
    Application, ApplicationSpec, ApplicationStatus, ConcurrencyPolicy, GitSource, History, Phase,
    ReleasePhase, ReleaseSpec, ReleaseStatus, ReleaseType, Source,
};
use davit::error::{Class, Problem};
use davit::model::AppId;
use davit::plan::application_status::{Facts, status};
use davit::plan::desired::{Desired, Install, PinnedSource, Values, container_hash, validate};
use davit::plan::state::{
    JobFailure, JobOutput, JobOwner, JobState, JobView, ReleaseView, World, active, sort, target,
};
use davit::plan::{Action, Occasion, Plan, is_to_make, plan, release_status};
use davit::redact::Secret;
use davit::runtime::{Progress, Replica, ReplicaState, Running};
use jiff::Timestamp;
use proptest::prelude::*;

/// What can happen between two passes.
#[derive(Clone, Debug)]
enum Event {
    Commit(u8),
    Env(u8),
    Replicas(u8),
    Policy(u8),
    Stop(bool),
    SourceGone(bool),
    Ask { redeploy: bool, revision: Option<u8> },
    Cancel,
    JobSucceeds,
    JobFails { transient: bool },
    ContainersHealthy,
    ContainersCrash,
    ContainerRemoved,
    ReleaseRemoved(u8),
    ImagesRemoved,
    OwnersRemoved,
    Suspend(bool),
    Request,
    Restart,
    Pass,
    Time(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..3_u8).prop_map(Event::Commit),
        1 => (0..3_u8).prop_map(Event::Env),
        1 => (0..3_u8).prop_map(Event::Replicas),
        1 => (0..3_u8).prop_map(Event::Policy),
        1 => any::<bool>().prop_map(Event::Stop),
        1 => any::<bool>().prop_map(Event::SourceGone),
        1 => (any::<bool>(), prop::option::of(0..3_u8)).prop_map(|(redeploy, revision)| Event::Ask { redeploy, revision }),
        1 => Just(Event::Cancel),
        1 => Just(Event::JobSucceeds),
        1 => any::<bool>().prop_map(|transient| Event::JobFails { transient }),
        1 => Just(Event::ContainersHealthy),
        1 => Just(Event::ContainersCrash),
        1 => Just(Event::ContainerRemoved),
        1 => any::<u8>().prop_map(Event::ReleaseRemoved),
        1 => Just(Event::ImagesRemoved),
        1 => Just(Event::OwnersRemoved),
        1 => any::<bool>().prop_map(Event::Suspend),
        1 => Just(Event::Request),
        1 => Just(Event::Restart),
        4 => Just(Event::Pass),
        1 => (0..400_u16).prop_map(Event::Time),
    ]
}

/// A machine, an engine and an API server with one Application.
struct Machine {
    install: Install,
    id: AppId,
    app: Application,
    commit: u8,
    env: u8,
    releases: Vec<ReleaseView>,
    numbers: BTreeSet<i64>,
    job: Option<JobView>,
    job_tag: String,
    images: BTreeSet<String>,
    builds: BTreeMap<String, u32>,
    rebuilds: BTreeMap<String, u32>,
    containers: Vec<Replica>,
    asked: u32,
    requested: bool,
    now: Timestamp,
}

impl Machine {
    fn new() -> Self {
        let git = GitSource {
            url: "https://example.com/a.git".into(),
            git_ref: None,
            path: "/".into(),
            submodules: false,
            secret_ref: None,
            insecure_ignore_host_key: false,
        };
        let spec = ApplicationSpec {
            source: Some(Source {
                git: Some(git),
                ..Source::default()
            }),
            replicas: 1,
            history: Some(History {
                succeeded: 2,
                failed: 2,
            }),
            ..ApplicationSpec::default()
        };
        let mut app = Application::new("app", spec);
        app.metadata.generation = Some(1);
        Self {
            install: Install {
                key: Secret::from("key"),
                capabilities: davit::runtime::Capabilities::DOCKER,
                image_prefix: "davit.local/test".into(),
                image_mark: String::new(),
            },
            id: AppId::new("ns", "app"),
            app,
            commit: 0,
            env: 0,
            releases: Vec::new(),
            numbers: BTreeSet::new(),
            job: None,
            job_tag: String::new(),
            images: BTreeSet::new(),
            builds: BTreeMap::new(),
            rebuilds: BTreeMap::new(),
            containers: Vec::new(),
            asked: 0,
            requested: false,
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    fn pinned(revision: &str) -> PinnedSource {
        PinnedSource {
            kind: "git",
            locator: "x".into(),
            revision: revision.into(),
            path: "/".into(),
            submodules: false,
        }
    }

    fn revision(number: u8) -> String {
        format!("{number:040x}")
    }

    fn values(&self) -> Values {
        Values {
            env: vec![("E".into(), Secret::from(self.env.to_string()))],
            ..Values::default()
        }
    }

    fn desired(&self, revision: &str) -> Desired {
        validate(
            &self.id,
            &self.app.spec,
            Self::pinned(revision),
            &self.values(),
            &self.install,
        )
        .unwrap()
    }

    fn pin(&self, release: &ReleaseView) -> String {
        let own = release
            .status
            .source
            .as_ref()
            .map(|source| source.revision.clone());
        own.or_else(|| release.spec.revision.clone())
            .unwrap_or_else(|| Self::revision(self.commit))
    }

    fn world(&self) -> World<'_> {
        let current = target(&self.releases, self.app.spec.concurrency_policy);
        let pinned = current
            .filter(|_| self.app.spec.source.is_some())
            .map(|release| self.desired(&self.pin(release)));
        let image = pinned
            .as_ref()
            .and_then(|desired| desired.tag.as_ref())
            .filter(|tag| self.images.contains(*tag))
            .map(|tag| JobOutput {
                image: tag.clone(),
                builder: Some("dockerfile".into()),
                ..JobOutput::default()
            });
        World {
            app: &self.app,
            wanted: Ok(self
                .app
                .spec
                .source
                .as_ref()
                .map(|_| self.desired(&Self::revision(self.commit)))),
            target: pinned.map(Ok),
            releases: self.releases.clone(),
            job: self.job.clone(),
            image: Ok(image),
            access: Ok(()),
            running: Ok(Running {
                replicas: self.containers.clone(),
            }),
            retry_at: self.retry_at(),
            lost: self.lost(),
            requested: self.requested,
        }
    }

    fn lost(&self) -> Option<String> {
        let running = Running {
            replicas: self.containers.clone(),
        };
        let release = is_to_make(&self.releases, self.app.spec.concurrency_policy, &running)?;
        let image = release.status.image.as_ref()?;
        (!self.images.contains(image)).then(|| release.name.clone())
    }

    /// When the next try is, on record since the failure.
    fn retry_at(&self) -> Option<Timestamp> {
        match &self.job.as_ref()?.state {
            JobState::Ended(Err(failure)) => failure.at.checked_add(std::time::Duration::from_secs(1)).ok(),
            _ => None,
        }
    }

    fn pass(&mut self) -> Plan {
        if let Some(job) = self.job.clone()
            && let Some(release) = self
                .releases
                .iter_mut()
                .find(|release| release.uid == job.owner.release)
            && !release.has_ended()
        {
            release_status::job(&mut release.status, &job.state, self.now);
        }
        let steps = plan(&self.world(), self.now);
        self.requested = false;
        let asked_to_end = |release: &ReleaseView| release.spec.cancel && !release.has_ended();
        let only_recorded = |action: &Action| {
            matches!(
                action,
                Action::Number { .. }
                    | Action::Adopt { .. }
                    | Action::RecordImage { .. }
                    | Action::ForgetJob
                    | Action::End { .. }
            )
        };
        assert!(
            !self.app.spec.suspend
                || steps.actions.iter().all(only_recorded)
                || self.releases.iter().any(asked_to_end),
            "something is done although it is suspended: {steps:?}"
        );
        for action in &steps.actions {
            self.act(action);
        }
        sort(&mut self.releases);
        self.report();
        steps
    }

    fn report(&mut self) {
        let all: Vec<(String, ReleaseStatus)> = self
            .releases
            .iter()
            .map(|release| (release.name.clone(), release.status.clone()))
            .collect();
        let facts = Facts {
            known: true,
            lost: self.lost(),
            app: &self.app,
            source: self
                .app
                .spec
                .source
                .as_ref()
                .map(|_| Ok(Self::pinned(&Self::revision(self.commit)))),
            problem: None,
            releases: &all,
            running: Ok(Running {
                replicas: self.containers.clone(),
            }),
            retry: None,
            handled_request: None,
        };
        let new = status(&facts, self.now);
        check(&new);
        self.app.status = Some(new);
    }

    fn release(&mut self, name: &str) -> &mut ReleaseView {
        self.releases
            .iter_mut()
            .find(|release| release.name == name)
            .expect("an action names a Release that is there")
    }

    fn act(&mut self, action: &Action) {
        let now = self.now;
        match action {
            Action::Number { release, number } => {
                assert!(self.numbers.insert(*number), "number {number} is given twice");
                self.release(release).status.number = Some(*number);
            }
            Action::Adopt { release } => {
                let release = self.release(release);
                assert!(!release.owned, "what has an owner is adopted");
                release.owned = true;
            }
            Action::Create {
                number,
                desired,
                revision,
                occasion,
            } => {
                assert!(self.numbers.insert(*number), "number {number} is given twice");
                let kind = ReleaseType::Deploy;
                self.create(format!("app-{number}"), Some(*number), kind, revision.clone());
                if revision.is_some() {
                    return; // It begins on the next pass, pinned to that.
                }
                let handled = Some(desired.identity());
                let release = self.release(&format!("app-{number}"));
                release_status::begin(&mut release.status, desired, handled, None, *occasion, now);
            }
            Action::Begin { release, desired } => {
                let wanted = self.desired(&Self::revision(self.commit)).identity();
                let release = self.release(release);
                assert!(!release.has_begun(), "a Release begins twice");
                release_status::begin(
                    &mut release.status,
                    desired,
                    Some(wanted),
                    None,
                    Occasion::Created,
                    now,
                );
            }
            Action::Wait { .. } => unreachable!("nothing is waited for here"),
            Action::StartJob { .. } | Action::HandOver { .. } | Action::CancelJob | Action::ForgetJob => {
                self.act_on_job(action);
            }
            Action::RecordImage {
                release,
                output,
                reused,
            } => {
                assert!(
                    !reused || self.images.contains(&output.image),
                    "an image is reused that is not there"
                );
                let held = self.app.spec.suspend;
                let status = &mut self.release(release).status;
                release_status::image(status, output, *reused, now);
                if held {
                    release_status::suspended(status, now);
                }
            }
            Action::Deploy { release, .. } => self.deploy(release.as_deref()),
            Action::End { release, end } => {
                let release = self.release(release);
                assert!(!release.has_ended(), "an ended Release ends again");
                let cancelled_too_early =
                    matches!(end, davit::plan::End::Cancelled | davit::plan::End::Superseded);
                release_status::end(&mut release.status, end, now);
                let name = release.name.clone();
                let runs = self
                    .job
                    .as_ref()
                    .is_some_and(|job| job.owner.release == name && !job.state.has_ended());
                assert!(
                    !(cancelled_too_early && runs),
                    "it is said to have ended while its job runs"
                );
            }
            Action::Prune { release, .. } => {
                assert!(
                    self.release(release).has_ended(),
                    "a Release is removed that has not ended"
                );
                self.releases.retain(|view| &view.name != release);
            }
            Action::RemoveContainers { .. } | Action::Orphan | Action::Forget => {
                unreachable!("nothing is deleted here")
            }
        }
    }

    fn act_on_job(&mut self, action: &Action) {
        let now = self.now;
        match action {
            Action::StartJob { release, desired } => {
                assert!(
                    self.job.as_ref().is_none_or(|job| job.state.has_ended()),
                    "a second job beside the first"
                );
                assert!(!self.release(release).has_ended());
                self.job_tag.clone_from(desired.tag.as_ref().unwrap());
                let state = JobState::Fetching { since: now };
                self.job = Some(JobView {
                    owner: JobOwner {
                        application: String::new(),
                        release: release.clone(),
                        work: desired.work(),
                    },
                    state,
                    stopping: false,
                });
            }
            Action::HandOver { release, desired } => {
                assert!(!self.release(release).has_ended());
                let job = self.job.as_mut().expect("there is a job to hand over");
                assert!(!job.state.has_ended() && !job.stopping, "it comes to nothing");
                assert_ne!(&job.owner.release, release, "it has the job already");
                assert_eq!(job.owner.work, desired.work(), "it makes something else");
                assert_eq!(Some(&self.job_tag), desired.tag.as_ref());
                job.owner.release.clone_from(release);
            }
            Action::CancelJob => {
                self.is_not_needed();
                let job = self.job.as_mut().expect("there is a job to cancel");
                assert!(!job.state.has_ended(), "an ended job is cancelled");
                job.stopping = true;
            }
            Action::ForgetJob => {
                assert!(
                    self.job.as_ref().is_none_or(|job| job.state.has_ended()),
                    "a job is forgotten while it runs"
                );
                self.job = None;
            }
            _ => unreachable!("of the job there are four"),
        }
    }

    /// Panics where the job makes just what the current Release waits for.
    fn is_not_needed(&self) {
        let job = self.job.as_ref().expect("there is a job");
        let asked = |release: &ReleaseView| release.spec.cancel || release.spec.kind == ReleaseType::Redeploy;
        let current = target(&self.releases, self.app.spec.concurrency_policy);
        let mut others = self.releases.iter();
        let begun_for = others.find(|release| release.uid == job.owner.release);
        if job.stopping || self.app.spec.stopped || self.app.spec.source.is_none() {
            return;
        }
        if let (Some(current), Some(begun_for)) = (current, begun_for)
            && !asked(current)
            && !begun_for.spec.cancel
        {
            let wanted = self.desired(&self.pin(current));
            let there = self.images.contains(wanted.tag.as_ref().unwrap());
            assert!(
                there || wanted.work() != job.owner.work,
                "what is needed is cancelled, to be begun anew"
            );
        }
    }

    fn create(&mut self, name: String, number: Option<i64>, kind: ReleaseType, revision: Option<String>) {
        let spec = ReleaseSpec {
            kind,
            revision,
            ..ReleaseSpec::deploy("app")
        };
        let status = ReleaseStatus {
            number,
            ..ReleaseStatus::default()
        };
        let created = self.now.as_second();
        self.releases.push(ReleaseView {
            uid: name.clone(),
            name,
            spec,
            status,
            generation: 1,
            created,
            version: 0,
            by_hand: false,
            owned: true,
        });
    }

    fn deploy(&mut self, release: Option<&str>) {
        let Some(name) = release else {
            self.containers.clear();
            return;
        };
        let replicas = self.app.spec.replicas;
        let now = self.now;
        let status = self.release(name).status.clone();
        let image = status.image.clone().expect("only what has an image is deployed");
        let config = &status.config.as_ref().unwrap().0;
        let wanted = config
            .get("replicas")
            .and_then(serde_json::Value::as_i64)
            .unwrap_or(i64::from(replicas));
        let hash = container_hash(&status.inputs, &image);
        let own = |replica: &Replica| replica.hash == hash;
        let have = self.containers.iter().filter(|replica| own(replica)).count();
        if have < usize::try_from(wanted).unwrap() && !self.images.contains(&image) {
            return; // The engine refuses; the next pass knows why.
        }
        for index in have..usize::try_from(wanted).unwrap() {
            self.containers.push(Replica {
                id: format!("{hash}-{index}-{}", now.as_second()),
                name: format!("{hash}-{index}"),
                hash: hash.clone(),
                release: name.to_owned(),
                image: image.clone(),
                state: ReplicaState::Starting,
                healthy_since: None,
                serving: false,
                draining: false,
                restarts: 0,
                endpoints: Vec::new(),
            });
        }
        let all: Vec<usize> = (0..self.containers.len())
            .filter(|index| self.containers[*index].hash == hash)
            .collect();
        for surplus in all.iter().skip(usize::try_from(wanted).unwrap()).rev() {
            self.containers.remove(*surplus);
        }
        let healthy = self
            .containers
            .iter()
            .filter(|replica| own(replica))
            .all(|replica| replica.state == ReplicaState::Healthy);
        let progress = if healthy {
            self.containers.retain(|replica| replica.hash == hash);
            for replica in &mut self.containers {
                replica.serving = true;
            }
            Progress::Complete
        } else {
            let created = u32::try_from(wanted).unwrap();
            Progress::Rolling {
                created,
                ready: 0,
                check_in: None,
                waiting_for: String::new(),
            }
        };
        let view = self.release(name);
        if !view.has_ended() {
            release_status::progress(&mut view.status, &progress, u32::try_from(wanted).unwrap(), now);
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Commit(number) => self.commit = *number,
            Event::Env(value) => self.env = *value,
            Event::Replicas(number) => self.spec(|spec| spec.replicas = i32::from(*number)),
            Event::Policy(number) => {
                let all = [
                    ConcurrencyPolicy::Supersede,
                    ConcurrencyPolicy::Queue,
                    ConcurrencyPolicy::Forbid,
                ];
                self.spec(|spec| spec.concurrency_policy = all[usize::from(*number)]);
            }
            Event::Stop(stopped) => self.spec(|spec| spec.stopped = *stopped),
            Event::SourceGone(gone) => {
                let source = if *gone { None } else { Self::new().app.spec.source };
                self.spec(|spec| spec.source = source);
            }
            Event::Ask { redeploy, revision } => {
                self.asked += 1;
                let kind = if *redeploy {
                    ReleaseType::Redeploy
                } else {
                    ReleaseType::Deploy
                };
                self.create(
                    format!("ask-{}", self.asked),
                    None,
                    kind,
                    revision.map(Self::revision),
                );
            }
            Event::Cancel => {
                if let Some(open) = self
                    .releases
                    .iter_mut()
                    .rev()
                    .find(|release| !release.has_ended())
                {
                    open.spec.cancel = true;
                }
            }
            Event::JobSucceeds => self.finish_job(None),
            Event::JobFails { transient } => self.finish_job(Some(*transient)),
            Event::ContainersHealthy => {
                for replica in &mut self.containers {
                    replica.state = ReplicaState::Healthy;
                }
            }
            Event::ContainersCrash => {
                for replica in &mut self.containers {
                    replica.state = ReplicaState::Exited {
                        code: 1,
                        oom: false,
                        message: "boom".into(),
                    };
                    replica.restarts = 9;
                    replica.serving = false;
                }
            }
            Event::ContainerRemoved => {
                self.containers.pop();
            }
            Event::ReleaseRemoved(which) => {
                let ended: Vec<String> = self
                    .releases
                    .iter()
                    .filter(|release| release.has_ended())
                    .map(|release| release.name.clone())
                    .collect();
                if let Some(name) = ended.get(usize::from(*which) % ended.len().max(1)) {
                    self.releases.retain(|release| release.name != *name);
                }
            }
            Event::ImagesRemoved => {
                // The engine keeps what a container is made of.
                let used: BTreeSet<String> = self
                    .containers
                    .iter()
                    .map(|replica| replica.image.clone())
                    .collect();
                self.images.retain(|image| used.contains(image));
                self.builds.retain(|image, _| used.contains(image));
            }
            Event::OwnersRemoved => {
                for release in &mut self.releases {
                    release.owned = false;
                }
            }
            Event::Suspend(suspend) => self.spec(|spec| spec.suspend = *suspend),
            Event::Request => self.requested = true,
            Event::Restart => self.job = None,
            Event::Pass => {
                self.pass();
            }
            Event::Time(seconds) => self.tick(i64::from(*seconds)),
        }
        sort(&mut self.releases);
    }

    fn spec(&mut self, change: impl FnOnce(&mut ApplicationSpec)) {
        change(&mut self.app.spec);
        *self.app.metadata.generation.as_mut().unwrap() += 1;
    }

    fn tick(&mut self, seconds: i64) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap();
    }

    fn finish_job(&mut self, failure: Option<bool>) {
        let Some(job) = self.job.as_mut().filter(|job| !job.state.has_ended()) else {
            return;
        };
        let (release, now) = (job.owner.release.clone(), self.now);
        job.state = JobState::Ended(match failure {
            _ if job.stopping => Err(JobFailure {
                at: now,
                problem: Problem::new(Class::Terminal, Reason::Cancelled, "cancelled"),
                cancelled: true,
                step: "Building",
                log_tail: String::new(),
                commit: None,
                built_at: None,
            }),
            None => {
                let tag = self.job_tag.clone();
                self.images.insert(tag.clone());
                let again = self
                    .releases
                    .iter()
                    .any(|view| view.name == release && view.spec.kind == ReleaseType::Redeploy);
                *if again {
                    self.rebuilds.entry(tag.clone())
                } else {
                    self.builds.entry(tag.clone())
                }
                .or_default() += 1;
                Ok(JobOutput {
                    image: tag,
                    builder: Some("dockerfile".into()),
                    ..JobOutput::default()
                })
            }
            Some(transient) => {
                let class = if transient {
                    Class::Transient
                } else {
                    Class::Terminal
                };
                let problem = Problem::new(class, Reason::BuildFailed, "no");
                Err(JobFailure {
                    at: now,
                    problem,
                    cancelled: false,
                    step: "Building",
                    log_tail: String::new(),
                    commit: None,
                    built_at: None,
                })
            }
        });
    }

    /// The world is kind from here on: jobs succeed, containers are healthy. True when a pass changes nothing any more.
    fn settle(&mut self) -> bool {
        if self.app.spec.suspend {
            self.spec(|spec| spec.suspend = false);
        }
        for _ in 0..60 {
            self.tick(1);
            self.finish_job(None);
            for replica in &mut self.containers {
                replica.state = ReplicaState::Healthy;
                replica.restarts = 0;
            }
            let before = (
                self.releases.clone(),
                self.containers.clone(),
                self.job.clone(),
                self.app.status.clone(),
            );
            self.pass();
            if before
                == (
                    self.releases.clone(),
                    self.containers.clone(),
                    self.job.clone(),
                    self.app.status.clone(),
                )
            {
                return true;
            }
        }
        false
    }
}

/// What must hold of every status: the conformance rules of Flux.
fn check(status: &ApplicationStatus) {
    let is_true = |kind: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.status == "True")
    };
    let there = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind);
    assert!(there("Ready"), "Ready is always there");
    assert!(
        !(is_true("Reconciling") && is_true("Stalled")),
        "never Reconciling and Stalled: {status:?}"
    );
    assert!(
        !(is_true("Ready") && (there("Reconciling") || there("Stalled"))),
        "not both ready and not: {status:?}"
    );
    assert_eq!(
        there("Reconciling"),
        is_true("Reconciling"),
        "present only when true"
    );
    assert_eq!(there("Stalled"), is_true("Stalled"), "present only when true");
    assert_eq!(
        status.phase == Phase::Done,
        is_true("Ready"),
        "done is Ready: {status:?}"
    );
    if is_true("Ready") {
        assert!(
            is_true("Deployed") && is_true("Healthy"),
            "ready is deployed and healthy: {status:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_state_converges_and_then_needs_no_action(events in prop::collection::vec(event(), 0..40)) {
        let mut machine = Machine::new();
        for event in &events {
            machine.happen(event);
        }
        prop_assert!(machine.settle(), "it does not settle: {:?}", machine.pass());
        let status = machine.app.status.clone().unwrap();
        prop_assert!(machine.releases.iter().all(ReleaseView::has_ended), "nothing stays under way");
        prop_assert!(machine.job.is_none(), "no job is left behind");
        prop_assert!(machine.releases.iter().all(|release| release.owned), "none stays when the Application goes");
        let nothing_wanted = machine.app.spec.stopped || machine.app.spec.source.is_none();
        if nothing_wanted {
            prop_assert!(machine.containers.is_empty());
            prop_assert_eq!(status.phase, Phase::Idle);
        } else {
            // One that was taken back before it began says nothing of what is wanted.
            // Nor does one that was called off and was for what runs already.
            let runs = active(&machine.releases).and_then(ReleaseView::handled);
            let taken_back = |release: &&ReleaseView| {
                let called_off = matches!(release.status.phase, ReleasePhase::Cancelled | ReleasePhase::Superseded);
                release.status.phase != ReleasePhase::Succeeded
                    && (release.handled().is_none() || called_off && release.handled() == runs)
            };
            let newest = machine.releases.iter().rev().find(|release| !taken_back(release)).unwrap();
            if newest.status.phase == ReleasePhase::Succeeded {
                prop_assert_eq!(status.phase, Phase::Done, "{:?}", status);
                let hash = container_hash(&newest.status.inputs, newest.status.image.as_ref().unwrap());
                prop_assert!(machine.containers.iter().all(|replica| replica.hash == hash && replica.serving));
            } else {
                prop_assert_eq!(status.phase, Phase::Error, "{:?}", status);
            }
        }
        for (tag, times) in &machine.builds {
            prop_assert!(*times <= 1, "{tag} was built {times} times");
        }
        let ended = |phase| machine.releases.iter().filter(|release| (release.status.phase == ReleasePhase::Succeeded) == phase).count();
        prop_assert!(ended(true) <= 3 && ended(false) <= 3, "the history is bounded");
    }
}
