//! Property: after any events, repeated reconciles reach the desired state and then do nothing more.
//!
//! The rules are those of `plan`; the model only stands in for the engine, the builder and the API server. It panics if an
//! action is impossible: a second job beside the first, a container without an image, an ended Release that changes, a
//! number that is given twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a model that is asked for the impossible panics"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use davit::api::{
    Application, ApplicationSpec, ApplicationStatus, ConcurrencyPolicy, GitSource, History, Phase, Reason,
    ReleasePhase, ReleaseSpec, ReleaseStatus, ReleaseType, Source,
};
use davit::error::{Class, Problem};
use davit::model::{AppId, Revision};
use davit::plan::application_status::{announce, status};
use davit::plan::desired::{Install, PinnedSource, container_hash};
use davit::plan::state::{JobFailure, JobOutput, JobState, JobView, ReleaseView, active, sort, target};
use davit::plan::values::Values;
use davit::plan::{
    Action, ActionResult, Decision, Inputs, JobSpec, JobWork, Observed, Plan, PlanInput, Records,
    ReleaseOutcome, Step, created, needs_containers, pin, plan, record, release_name, requeue, source_kind,
};
use davit::redact::Secret;
use davit::runtime::{Progress, Replica, ReplicaState, Running};
use jiff::Timestamp;
use proptest::prelude::*;

/// An event between two reconciles.
#[derive(Clone, Debug)]
enum Event {
    Commit(u8),
    Env(u8),
    Replicas(u8),
    Policy(u8),
    Stop(bool),
    Suspend(bool),
    RemoveSource(bool),
    CreateRelease { redeploy: bool, revision: Option<u8> },
    Cancel,
    Request,
    JobSucceeds,
    JobFails { transient: bool },
    ContainersHealthy,
    ContainersCrash,
    RemoveContainer,
    RemoveRelease(u8),
    RemoveImages,
    RemoveOwners,
    GitAway(bool),
    EngineAway(bool),
    Restart,
    Reconcile,
    Time(u16),
}

/// Changes by users.
fn change() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3_u8).prop_map(Event::Commit),
        (0..3_u8).prop_map(Event::Env),
        (0..3_u8).prop_map(Event::Replicas),
        (0..3_u8).prop_map(Event::Policy),
        any::<bool>().prop_map(Event::Stop),
        any::<bool>().prop_map(Event::Suspend),
        any::<bool>().prop_map(Event::RemoveSource),
        (any::<bool>(), prop::option::of(0..3_u8))
            .prop_map(|(redeploy, revision)| Event::CreateRelease { redeploy, revision }),
        Just(Event::Cancel),
        Just(Event::Request),
    ]
}

/// Results and failures of jobs, containers and servers.
fn incident() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::JobSucceeds),
        any::<bool>().prop_map(|transient| Event::JobFails { transient }),
        Just(Event::ContainersHealthy),
        Just(Event::ContainersCrash),
        Just(Event::RemoveContainer),
        any::<u8>().prop_map(Event::RemoveRelease),
        Just(Event::RemoveImages),
        Just(Event::RemoveOwners),
        any::<bool>().prop_map(Event::GitAway),
        any::<bool>().prop_map(Event::EngineAway),
        Just(Event::Restart),
        (0..400_u16).prop_map(Event::Time),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![change(), incident(), Just(Event::Reconcile)]
}

/// A machine, an engine and an API server with one Application.
struct Simulation {
    install: Install,
    id: AppId,
    app: Application,
    commit: u8,
    env: u8,
    /// The source as it was resolved last.
    last: Option<PinnedSource>,
    git_away: bool,
    engine_away: bool,
    releases: Vec<ReleaseView>,
    numbers: BTreeSet<i64>,
    job: Option<(JobView, JobSpec)>,
    images: BTreeSet<String>,
    builds: BTreeMap<String, u32>,
    containers: Vec<Replica>,
    created: u32,
    now: Timestamp,
}

impl Simulation {
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
        app.metadata.uid = Some("uid".into());
        Self {
            install: Install {
                key: Secret::from("key"),
                capabilities: davit::runtime::Capabilities::DOCKER,
                image_prefix: "davit.local/test".into(),
                image_mark: String::new(),
                webhooks: davit::plan::endpoint::Endpoint::default(),
                registry: None,
            },
            id: AppId::new("ns", "app"),
            app,
            commit: 0,
            env: 0,
            last: None,
            git_away: false,
            engine_away: false,
            releases: Vec::new(),
            numbers: BTreeSet::new(),
            job: None,
            images: BTreeSet::new(),
            builds: BTreeMap::new(),
            containers: Vec::new(),
            created: 0,
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    fn revision(number: u8) -> String {
        format!("{number:040x}")
    }

    fn inputs(&mut self) -> Inputs {
        let revision = Revision::commit(&Self::revision(self.commit)).unwrap();
        let pinned = self.app.spec.source.as_ref().filter(|_| !self.app.spec.suspend);
        let pinned = pinned.and_then(|source| source_kind::pinned(source, revision));
        if !self.git_away && !self.app.spec.suspend {
            self.last.clone_from(&pinned);
        }
        let away = || Problem::new(Class::Transient, Reason::GitUnreachable, "Git is away");
        Inputs {
            source: pinned.map(|pinned| if self.git_away { Err(away()) } else { Ok(pinned) }),
            last: self.last.clone().filter(|_| self.git_away),
            access: Ok(()),
            pending: false,
            announced: None,
            attempts: u32::from(self.git_away),
            check_in: self.git_away.then_some(Duration::from_secs(1)),
            values: Ok(Values {
                env: vec![("E".into(), Secret::from(self.env.to_string()))],
                ..Values::default()
            }),
            rollback: None,
        }
    }

    fn away() -> Problem {
        Problem::new(Class::Transient, Reason::EngineUnavailable, "the engine is away")
    }

    fn running(&self) -> Result<Running, Problem> {
        if self.engine_away {
            return Err(Self::away());
        }
        Ok(Running {
            replicas: self.containers.clone(),
            ..Running::default()
        })
    }

    fn observe(&self, decision: &Decision) -> Observed {
        let current = target(&self.releases, self.app.spec.concurrency_policy);
        let tag = decision.target.known().and_then(|desired| desired.tag.clone());
        let tag = tag.filter(|tag| self.images.contains(tag) && current.is_some());
        let unwanted = self.app.spec.stopped || self.app.spec.suspend;
        let running = self.running();
        let seen = running.as_ref().ok().filter(|_| !unwanted);
        let needs =
            seen.and_then(|seen| needs_containers(&self.releases, self.app.spec.concurrency_policy, seen));
        let missing = needs.filter(|release| !self.images.contains(release.status.image.as_ref().unwrap()));
        Observed {
            job: self.job.as_ref().map(|(view, _)| view.clone()),
            image: match tag {
                _ if self.engine_away => Err(Self::away()),
                tag => Ok(tag.map(|tag| JobOutput {
                    image: tag,
                    builder: Some("dockerfile".into()),
                    ..JobOutput::default()
                })),
            },
            missing_image: missing.map(|release| release.name.clone()),
            running,
        }
    }

    fn reconcile(&mut self) -> Plan {
        let now = self.now;
        let app = self.app.clone();
        let inputs = self.inputs();
        let decide = if app.spec.suspend {
            pin::decide_suspended
        } else {
            pin::decide
        };
        let decision = decide(&self.id, &app, &self.releases, &inputs, &self.install);
        let observed = self.observe(&decision);
        let input = PlanInput::new(&app, self.releases.clone(), inputs, decision, observed, now);
        let steps = plan(&input, now);
        self.check_suspended(&steps);
        let source = input.desired.known().map(|desired| &desired.source);
        if let Some(announced) = announce(&app, source, &steps, now) {
            check(&announced);
            self.app.status = Some(announced);
        }
        let mut records = Records::new(&input, now);
        for action in &steps.actions {
            let result = self.execute(&input, &records, action);
            record(&mut records, &input, action, result, now);
        }
        let running = self.running();
        records.finish(&input, &running);
        for release in &mut self.releases {
            let ended = release.has_ended();
            let phase = release.status.phase;
            release.status = records.statuses[&release.name].clone();
            assert!(
                !ended || release.status.phase == phase,
                "an ended Release changes"
            );
        }
        sort(&mut self.releases);
        let new = status(&input, &records, &running, now);
        check(&new);
        let next = requeue(&input, &steps, &records, new.retry.as_ref(), now);
        assert!(!next.is_zero(), "the controller would be busy for ever");
        self.app.status = Some(new);
        steps
    }

    fn check_suspended(&self, steps: &Plan) {
        let is_cancelled = |release: &ReleaseView| release.spec.cancel && !release.has_ended();
        let only_records = |action: &Action| {
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
                || steps.actions.iter().all(only_records)
                || self.releases.iter().any(is_cancelled),
            "something is done although it is suspended: {steps:?}"
        );
    }

    fn release(&mut self, name: &str) -> &mut ReleaseView {
        self.releases
            .iter_mut()
            .find(|release| release.name == name)
            .expect("an action names a Release that exists")
    }

    fn execute(&mut self, input: &PlanInput<'_>, records: &Records, action: &Action) -> ActionResult {
        match action {
            Action::Number { number, .. } => {
                assert!(self.numbers.insert(*number), "number {number} is given twice");
            }
            Action::Restart { .. } | Action::RunHook { .. } => {}
            Action::Adopt { release } => {
                let release = self.release(release);
                assert!(!release.owned, "a Release with an owner is adopted");
                release.owned = true;
            }
            Action::Create {
                number,
                desired,
                revision,
                reason,
            } => {
                assert!(self.numbers.insert(*number), "number {number} is given twice");
                let name = release_name(&self.app, *number);
                self.create(&name, ReleaseType::Deploy, revision.clone(), false);
                let status = created(
                    input,
                    &name,
                    *number,
                    desired,
                    revision.as_deref(),
                    *reason,
                    self.now,
                );
                let status = Box::new(status);
                return ActionResult::Created { name, status };
            }
            Action::Begin { release, .. } => {
                assert!(!self.release(release).has_begun(), "a Release begins twice");
            }
            Action::StartJob { .. } | Action::HandOver { .. } | Action::CancelJob | Action::ForgetJob => {
                return self.execute_on_job(input, action);
            }
            Action::Wait { .. } => assert!(
                self.git_away || self.engine_away,
                "a Release waits although everything is there"
            ),
            Action::RecordImage { output, reused, .. } => assert!(
                !reused || self.images.contains(&output.image),
                "an image is reused that does not exist"
            ),
            Action::Deploy { release, .. } => {
                return match release {
                    _ if self.engine_away => ActionResult::Failed(Self::away()),
                    Some(release) => self.deploy(release, &records.statuses[release]),
                    None => {
                        self.containers.clear();
                        let progress = Progress::Complete;
                        ActionResult::Progress {
                            progress,
                            replicas: 0,
                        }
                    }
                };
            }
            Action::End { release, outcome } => {
                let uid = self.release(release).uid.clone();
                assert!(
                    !records.statuses[release].phase.has_ended(),
                    "an ended Release ends again"
                );
                let too_early = matches!(outcome, ReleaseOutcome::Cancelled | ReleaseOutcome::Superseded);
                let runs = self
                    .job
                    .as_ref()
                    .is_some_and(|(job, _)| job.owner.release == uid && !job.state.has_ended());
                assert!(!(too_early && runs), "a Release ends while its job runs");
            }
            Action::Prune { release, .. } => {
                assert!(
                    self.release(release).has_ended(),
                    "a Release is removed that has not ended"
                );
                self.releases.retain(|view| &view.name != release);
            }
            Action::RemoveContainers { .. } | Action::Orphan | Action::Forget => {
                unreachable!("the Application is not deleted")
            }
        }
        ActionResult::Done
    }

    fn execute_on_job(&mut self, input: &PlanInput<'_>, action: &Action) -> ActionResult {
        match action {
            Action::StartJob { release, job } => {
                assert!(
                    self.job.as_ref().is_none_or(|(job, _)| job.state.has_ended()),
                    "a second job beside the first"
                );
                assert!(!self.release(release).has_ended());
                let state = JobState::Fetching { since: self.now };
                let view = JobView {
                    owner: job.owner.clone(),
                    state: state.clone(),
                    stopping: false,
                };
                self.job = Some((view, (**job).clone()));
                ActionResult::Job(Some(state))
            }
            Action::HandOver { release, job: reused } => {
                assert!(!self.release(release).has_ended());
                let (job, spec) = self.job.as_mut().expect("there is a job to hand over");
                assert!(!job.state.has_ended() && !job.stopping, "the job makes nothing");
                assert_ne!(job.owner.release, reused.owner.release, "it has the job already");
                let mut made = spec.work.clone();
                if let (JobWork::Build(made), JobWork::Build(wanted)) = (&mut made, &reused.work) {
                    // That of a Redeploy makes the same image anew.
                    made.again = wanted.again;
                }
                assert_eq!(made, reused.work, "the job makes something else");
                job.owner = reused.owner.clone();
                ActionResult::Job(Some(job.state.clone()))
            }
            Action::CancelJob => {
                self.check_not_needed(input);
                let (job, _) = self.job.as_mut().expect("there is a job to cancel");
                assert!(!job.state.has_ended(), "an ended job is cancelled");
                job.stopping = true;
                ActionResult::Done
            }
            Action::ForgetJob => {
                assert!(
                    self.job.as_ref().is_none_or(|(job, _)| job.state.has_ended()),
                    "a job is forgotten while it runs"
                );
                self.job = None;
                ActionResult::Done
            }
            _ => unreachable!("these are the actions on a job"),
        }
    }

    /// Panics if the job makes exactly what the current Release waits for.
    fn check_not_needed(&self, input: &PlanInput<'_>) {
        let (job, _) = self.job.as_ref().expect("there is a job");
        let builds_again =
            |release: &ReleaseView| release.spec.cancel || release.spec.kind == ReleaseType::Redeploy;
        let current = target(&self.releases, self.app.spec.concurrency_policy);
        let begun_for = self
            .releases
            .iter()
            .find(|release| release.uid == job.owner.release);
        if job.stopping || self.engine_away || self.app.spec.stopped || self.app.spec.suspend {
            return;
        }
        if let (Some(current), Some(begun_for), Some(desired)) = (current, begun_for, input.target.known())
            && !builds_again(current)
            && !begun_for.spec.cancel
        {
            let exists = self.images.contains(desired.tag.as_ref().unwrap());
            assert!(
                exists || desired.job_key() != job.owner.job_key,
                "a job is cancelled only to be started again"
            );
        }
    }

    fn create(&mut self, name: &str, kind: ReleaseType, revision: Option<String>, manual: bool) {
        self.created += 1;
        self.releases.push(ReleaseView {
            uid: format!("{name}-{}", self.created),
            name: name.to_owned(),
            spec: ReleaseSpec {
                kind,
                revision,
                ..ReleaseSpec::deploy("app")
            },
            status: ReleaseStatus::default(),
            generation: 1,
            created: self.now.as_second(),
            version: u64::from(self.created),
            manual,
            owned: !manual,
        });
    }

    fn deploy(&mut self, name: &str, status: &ReleaseStatus) -> ActionResult {
        let image = status
            .image
            .clone()
            .expect("only a Release with an image is deployed");
        let config = &status.config.as_ref().unwrap().0;
        let wanted = usize::try_from(config["replicas"].as_i64().unwrap()).unwrap();
        let hash = container_hash(&status.inputs, &image);
        let own = |replica: &&Replica| replica.hash == hash;
        let have = self.containers.iter().filter(own).count();
        if have < wanted && !self.images.contains(&image) {
            return ActionResult::Skipped; // The engine refuses; the next reconcile observes why.
        }
        for index in have..wanted {
            self.containers.push(Replica {
                id: format!("{hash}-{index}-{}", self.now.as_second()),
                name: format!("{hash}-{index}"),
                hash: hash.clone(),
                release: name.to_owned(),
                image: image.clone(),
                state: ReplicaState::Starting,
                healthy_since: None,
                serving: false,
                draining: false,
                leaving: false,
                restarts: 0,
                address: None,
                endpoints: Vec::new(),
            });
        }
        let mut kept = 0;
        self.containers.retain(|replica| {
            kept += usize::from(replica.hash == hash);
            replica.hash != hash || kept <= wanted
        });
        let healthy = self
            .containers
            .iter()
            .filter(own)
            .all(|replica| replica.state == ReplicaState::Healthy);
        let replicas = u32::try_from(wanted).unwrap();
        let progress = if healthy {
            self.containers.retain(|replica| replica.hash == hash);
            for replica in &mut self.containers {
                replica.serving = true;
            }
            Progress::Complete
        } else {
            Progress::Rolling {
                created: replicas,
                ready: 0,
                check_in: None,
                waiting_for: String::new(),
            }
        };
        ActionResult::Progress { progress, replicas }
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
            Event::Suspend(suspend) => self.spec(|spec| spec.suspend = *suspend),
            Event::RemoveSource(remove) => {
                let source = Self::new().app.spec.source.filter(|_| !remove);
                self.spec(|spec| spec.source = source);
            }
            Event::CreateRelease { redeploy, revision } => {
                let kind = if *redeploy {
                    ReleaseType::Redeploy
                } else {
                    ReleaseType::Deploy
                };
                let name = format!("by-user-{}", self.created);
                self.create(&name, kind, revision.map(Self::revision), true);
            }
            Event::Cancel => {
                let mut open = self.releases.iter_mut().rev();
                if let Some(release) = open.find(|release| !release.has_ended()) {
                    release.spec.cancel = true;
                }
            }
            Event::Request => {
                let annotations = self.app.metadata.annotations.get_or_insert_default();
                annotations.insert("davit.dev/requestedAt".into(), format!("{:?}", self.now));
            }
            Event::JobSucceeds => self.finish_job(None),
            Event::JobFails { transient } => self.finish_job(Some(*transient)),
            Event::ContainersHealthy => self.heal(),
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
            Event::RemoveContainer => {
                self.containers.pop();
            }
            Event::RemoveRelease(which) => {
                let ended = self.releases.iter().filter(|release| release.has_ended());
                let ended: Vec<String> = ended.map(|release| release.name.clone()).collect();
                if let Some(name) = ended.get(usize::from(*which) % ended.len().max(1)) {
                    self.releases.retain(|release| release.name != *name);
                }
            }
            Event::RemoveImages => {
                // The engine keeps the images of containers.
                let containers = self.containers.iter();
                let used: BTreeSet<String> = containers.map(|replica| replica.image.clone()).collect();
                self.images.retain(|image| used.contains(image));
                self.builds.retain(|image, _| used.contains(image));
            }
            Event::RemoveOwners => {
                for release in &mut self.releases {
                    release.owned = false;
                }
            }
            Event::GitAway(away) => self.git_away = *away,
            Event::EngineAway(away) => self.engine_away = *away,
            Event::Restart => self.job = None,
            Event::Reconcile => {
                self.reconcile();
            }
            Event::Time(seconds) => self.tick(i64::from(*seconds)),
        }
        sort(&mut self.releases);
    }

    fn heal(&mut self) {
        for replica in &mut self.containers {
            replica.state = ReplicaState::Healthy;
            replica.restarts = 0;
        }
    }

    fn spec(&mut self, change: impl FnOnce(&mut ApplicationSpec)) {
        change(&mut self.app.spec);
        *self.app.metadata.generation.as_mut().unwrap() += 1;
    }

    fn tick(&mut self, seconds: i64) {
        let passed = jiff::SignedDuration::from_secs(seconds);
        self.now = self.now.checked_add(passed).unwrap();
    }

    fn finish_job(&mut self, failure: Option<bool>) {
        let Some((job, spec)) = self.job.as_mut().filter(|(job, _)| !job.state.has_ended()) else {
            return;
        };
        #[allow(clippy::result_large_err, reason = "the job queue has this type")]
        let failed = |class, reason, cancelled| {
            Err(JobFailure {
                at: self.now,
                problem: Problem::new(class, reason, "no"),
                cancelled,
                step: Step::Building,
                log_tail: String::new(),
                commit: None,
                built_at: None,
                pushed_at: None,
                builder: None,
            })
        };
        job.state = JobState::Ended(match failure {
            _ if job.stopping => failed(Class::Terminal, Reason::Cancelled, true),
            Some(true) => failed(Class::Transient, Reason::BuildFailed, false),
            Some(false) => failed(Class::Terminal, Reason::BuildFailed, false),
            None => {
                let JobWork::Build(build) = &spec.work else {
                    unreachable!("only commits are built here")
                };
                self.images.insert(build.tag.clone());
                let again = self.releases.iter().any(|release| {
                    release.uid == job.owner.release && release.spec.kind == ReleaseType::Redeploy
                });
                if !again {
                    *self.builds.entry(build.tag.clone()).or_default() += 1;
                }
                Ok(JobOutput {
                    image: build.tag.clone(),
                    builder: Some("dockerfile".into()),
                    ..JobOutput::default()
                })
            }
        });
    }

    /// Lets everything succeed from here on. Returns whether a reconcile changes nothing any more.
    fn reconcile_until_idle(&mut self) -> bool {
        (self.git_away, self.engine_away) = (false, false);
        if self.app.spec.suspend {
            self.spec(|spec| spec.suspend = false);
        }
        for _ in 0..60 {
            // Longer than the longest pause between two tries.
            self.tick(400);
            self.finish_job(None);
            self.heal();
            let state = |simulation: &Self| {
                (
                    simulation.releases.clone(),
                    simulation.containers.clone(),
                    simulation.job.clone(),
                    simulation.app.status.clone(),
                )
            };
            let before = state(self);
            self.reconcile();
            if before == state(self) {
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
    fn application_after_any_events_settles(events in prop::collection::vec(event(), 0..60)) {
        let mut simulation = Simulation::new();
        for event in &events {
            simulation.happen(event);
        }
        prop_assert!(simulation.reconcile_until_idle(), "it does not settle: {:?}", simulation.reconcile());
        let status = simulation.app.status.clone().unwrap();
        prop_assert!(simulation.releases.iter().all(ReleaseView::has_ended), "a Release stays open");
        prop_assert!(simulation.job.is_none(), "a job is left behind");
        prop_assert!(simulation.releases.iter().all(|release| release.owned), "a Release has no owner");
        prop_assert!(status.retry.is_none(), "a retry is left behind: {:?}", status);
        let nothing_wanted = simulation.app.spec.stopped || simulation.app.spec.source.is_none();
        if nothing_wanted {
            prop_assert!(simulation.containers.is_empty());
            prop_assert_eq!(status.phase, Phase::Idle);
        } else {
            // A Release that was cancelled before it began, or for the state that serves, does not count.
            let runs = active(&simulation.releases).and_then(ReleaseView::handled);
            let is_void = |release: &&ReleaseView| {
                let called_off = matches!(release.status.phase, ReleasePhase::Cancelled | ReleasePhase::Superseded);
                release.status.phase != ReleasePhase::Succeeded
                    && (release.handled().is_none() || called_off && release.handled() == runs)
            };
            let newest = simulation.releases.iter().rev().find(|release| !is_void(release)).unwrap();
            if newest.status.phase == ReleasePhase::Succeeded {
                prop_assert_eq!(status.phase, Phase::Done, "{:?}", status);
                let hash = container_hash(&newest.status.inputs, newest.status.image.as_ref().unwrap());
                prop_assert!(simulation.containers.iter().all(|replica| replica.hash == hash && replica.serving));
            } else {
                prop_assert_eq!(status.phase, Phase::Error, "{:?}", status);
            }
        }
        for (tag, times) in &simulation.builds {
            prop_assert!(*times <= 1, "{tag} was built {times} times");
        }
        let ended = |phase| simulation.releases.iter().filter(|release| (release.status.phase == ReleasePhase::Succeeded) == phase).count();
        prop_assert!(ended(true) <= 3 && ended(false) <= 3, "the history is bounded");
    }
}
