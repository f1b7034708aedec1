//! States in a few words.
//!
//! | word | meaning |
//! |---|---|
//! | `N:PHASE` | Release `shop-N` of commit N in this phase; `N:New` has not begun, `N:User` was just created by a user |
//! | `+to=N` | appended to a Release that goes back to `shop-N`; with `+changed` the spec was another one then |
//! | `+restarted` | appended to a Release whose containers have the mark of the restart |
//! | `+redeploy` `+clean` `+cancel` `+by-user` `+unowned` `+waits` `+old` `+rev=N` | appended to a Release; `+old` began ten minutes ago |
//! | `job:N:STATE` | the job of `shop-N`: `queued`, `fetching`, `building`, `stopping`, `done`, `failed`, `transient`, `cancelled` |
//! | `unwatched:N` | commit N is newer and changes no watched file |
//! | `run:N:STATE` | a container of `shop-N`: `healthy`, `starting`, `unhealthy`, `exited`, `crashing`, `kept`; `run:x:…` of a deleted Release, `run:old1:…` from before a restart |
//! | `commit:N` | the branch is at commit N; by default at that of the newest Release |
//! | `image:yes` `image:unknown` `lost:N` | the image exists, cannot be looked up, or is lost |
//! | `engine:away` `git:away` `git:gone` `secret:missing` `provider:waits` | what cannot be reached |
//! | `policy:P` `stopped` `suspend` `deleted` `source:none` `rollback:off` `delete:P` `history:N` `replicas:N` `restart:never` | the spec |
//! | `retry:later` `retry:due` `requested` `resumed:N` `cleared:N` `restart:SECONDS` (so long ago) | the status and annotations |

use jiff::Timestamp;
use serde_json::json;

use crate::api::{
    Application, ApplicationStatus, Reason, ReleasePhase, ReleaseSpec, ReleaseStatus, ReleaseType, Retry,
};
use crate::error::{Class, Problem};
use crate::model::{AppId, Revision};
use crate::plan::action::CreateReason;
use crate::plan::containers::hash_of;
use crate::plan::desired::{Desired, Install, PinnedSource, validate};
use crate::plan::fingerprint::RESTARTED;
use crate::plan::input::{Inputs, Observed, PlanInput};
use crate::plan::state::{JobFailure, JobOutput, JobOwner, JobState, JobView, ReleaseView, sort};
use crate::plan::step::Step;
use crate::plan::values::Values;
use crate::plan::{pin, release_status, rollback, source_kind};
use crate::redact::Secret;
use crate::runtime::{Progress, Replica, ReplicaState, Running};

/// The time of the reconcile.
pub const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 - seconds).unwrap()
}

/// A state.
pub struct Given {
    app: Application,
    releases: Vec<ReleaseView>,
    commit: Option<u32>,
    unwatched: Option<u32>,
    job: Option<JobView>,
    containers: Vec<Replica>,
    image: Result<bool, Problem>,
    lost: Option<String>,
    engine: Option<Problem>,
    source: Option<Problem>,
    last: bool,
    access: Option<Problem>,
}

fn commit(number: u32) -> Revision {
    Revision::commit(&format!("{number:0>40}")).unwrap()
}

fn problem(class: Class, reason: Reason) -> Problem {
    Problem::new(class, reason, "it is so")
}

impl Given {
    /// Reads a state.
    pub fn parse(text: &str) -> Self {
        let app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "namespace": "ns", "uid": "uid", "generation": 1},
            "spec": {"source": {"git": {"url": "https://h.example/shop.git"}}}});
        let mut given = Self {
            app: serde_json::from_value(app).unwrap(),
            releases: Vec::new(),
            commit: None,
            unwatched: None,
            job: None,
            containers: Vec::new(),
            image: Ok(false),
            lost: None,
            engine: None,
            source: None,
            last: true,
            access: None,
        };
        for word in text.split_whitespace() {
            given.word(word);
        }
        sort(&mut given.releases);
        given
    }

    fn word(&mut self, word: &str) {
        let parts: Vec<&str> = word.split(':').collect();
        let spec = &mut self.app.spec;
        let policy = |text: &str| serde_json::from_value(json!(text)).unwrap();
        match parts.as_slice() {
            ["policy", name] => spec.concurrency_policy = policy(name),
            ["stopped"] => spec.stopped = true,
            ["suspend"] => spec.suspend = true,
            ["deleted"] => self.app.metadata.deletion_timestamp = Some(k8s_time()),
            ["source", "none"] => spec.source = None,
            ["rollback", "off"] => {
                spec.rollout = Some(serde_json::from_value(json!({"autoRollback": false})).unwrap());
            }
            ["delete", name] => spec.deletion_policy = serde_json::from_value(json!(name)).unwrap(),
            ["history", number] => {
                let limit: i64 = number.parse().unwrap();
                spec.history =
                    Some(serde_json::from_value(json!({"succeeded": limit, "failed": limit})).unwrap());
            }
            ["replicas", number] => spec.replicas = number.parse().unwrap(),
            ["restart", "never"] => {
                spec.restart_policy = Some(serde_json::from_value(json!({"condition": "Never"})).unwrap());
            }
            ["unwatched", number] => self.unwatched = Some(number.parse().unwrap()),
            ["commit", number] => self.commit = Some(number.parse().unwrap()),
            ["image", "yes"] => self.image = Ok(true),
            ["image", "unknown"] => {
                self.image = Err(problem(Class::Transient, Reason::EngineUnavailable));
            }
            ["lost", number] => self.lost = Some(format!("shop-{number}")),
            ["engine", "away"] => {
                self.engine = Some(problem(Class::Transient, Reason::EngineUnavailable));
            }
            ["git", "away"] => self.source = Some(problem(Class::Transient, Reason::GitUnreachable)),
            ["git", "gone"] => {
                self.source = Some(problem(Class::Terminal, Reason::GitRepositoryNotFound));
                self.last = false;
            }
            ["secret", "missing"] => {
                let missing = problem(Class::Terminal, Reason::SecretNotFound);
                (self.source, self.access) = (Some(missing.clone()), Some(missing));
                self.last = false;
            }
            ["provider", "waits"] => {
                let waits = problem(Class::Waiting, Reason::ProviderNotReady);
                (self.source, self.access) = (Some(waits.clone()), Some(waits));
            }
            ["retry", when] => {
                let seconds = if *when == "later" { -30 } else { 1 };
                self.app
                    .status
                    .get_or_insert_with(ApplicationStatus::default)
                    .retry = Some(Retry {
                    attempts: 2,
                    not_before: ago(seconds).to_string(),
                });
            }
            ["resumed", number] => {
                let annotations = self.app.metadata.annotations.get_or_insert_default();
                annotations.insert("davit.dev/resume".to_owned(), format!("shop-{number}"));
            }
            ["cleared", number] => {
                let annotations = self.app.metadata.annotations.get_or_insert_default();
                annotations.insert("davit.dev/cleared".to_owned(), (*number).to_owned());
            }
            ["restart", seconds] => {
                let annotations = self.app.metadata.annotations.get_or_insert_default();
                let begun = ago(seconds.parse().unwrap()).to_string();
                annotations.insert("davit.dev/restartedAt".to_owned(), begun);
            }
            ["requested"] => {
                let annotations = self.app.metadata.annotations.get_or_insert_default();
                annotations.insert("davit.dev/requestedAt".to_owned(), "now".to_owned());
            }
            ["job", number, state] => self.job(number, state),
            ["run", number, state] => self.container(number, state),
            [number, phase] => self.release(number.parse().unwrap(), phase),
            _ => panic!("unknown word {word:?}"),
        }
    }

    fn desired(&self, number: u32) -> Desired {
        let git = Given::parse("").app.spec.source;
        let source = self.app.spec.source.as_ref().or(git.as_ref()).unwrap();
        let pinned = source_kind::pinned(source, commit(number)).unwrap();
        let id = AppId::new("ns", "shop");
        validate(&id, &self.app.spec, pinned, &Values::default(), &install()).unwrap()
    }

    fn release(&mut self, number: u32, words: &str) {
        let mut words = words.split('+');
        let phase = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let has = |word: &str| words.contains(&word);
        let by_user = phase == "User" || has("by-user");
        let mut spec = ReleaseSpec::deploy("shop");
        if has("redeploy") {
            spec.kind = ReleaseType::Redeploy;
        }
        let origin = words.iter().find_map(|word| word.strip_prefix("to="));
        if let Some(origin) = origin {
            spec.kind = ReleaseType::Rollback;
            spec.rollback_to = Some(format!("shop-{origin}"));
        }
        let made_of = origin.map_or(number, |origin| origin.parse().unwrap());
        spec.clean_cache = has("clean");
        spec.cancel = has("cancel");
        let pinned = words.iter().find_map(|word| word.strip_prefix("rev="));
        spec.revision = pinned.map(|number| commit(number.parse().unwrap()).to_string());
        let began = if has("old") { ago(600) } else { ago(10) };
        let mut status = ReleaseStatus::default();
        if phase != "User" {
            status.number = Some(i64::from(number));
        }
        if !["User", "New"].contains(&phase) {
            let desired = self.desired(made_of);
            let reason = CreateReason::Change;
            let handled = Some(desired.fingerprint());
            release_status::begin(&mut status, &desired, handled, None, reason, began);
            if let Some(origin) = origin {
                let handled = self
                    .releases
                    .iter()
                    .rev()
                    .find_map(|release| release.status.handled.clone());
                status.handled = handled;
                let origin = self
                    .releases
                    .iter()
                    .find(|release| release.name == format!("shop-{origin}"));
                rollback::begin(&mut status, origin, &self.app);
            }
            advance(&mut status, phase, made_of, began);
            if let Some(rollback) = status.rollback.as_mut().filter(|_| has("changed")) {
                rollback.spec = "another".to_owned();
            }
        }
        if has("restarted") {
            let annotations = self.app.metadata.annotations.as_ref();
            let asked = annotations.and_then(|all| all.get("davit.dev/restartedAt"));
            status.inputs.insert(RESTARTED.to_owned(), asked.unwrap().clone());
        }
        if has("waits") {
            let failure = failure(Class::Transient, false);
            release_status::retrying(&mut status, &failure, ago(1));
        }
        self.releases.push(ReleaseView {
            name: format!("shop-{number}"),
            uid: format!("uid-{number}"),
            spec,
            status,
            generation: 1,
            created: i64::from(number),
            version: 1,
            manual: by_user,
            owned: !has("unowned"),
        });
    }

    fn job(&mut self, number: &str, state: &str) {
        let ended = |result| JobState::Ended(result);
        let state_of = match state {
            "queued" => JobState::Queued { position: 2 },
            "fetching" => JobState::Fetching { since: ago(3) },
            "building" | "stopping" => JobState::Building { since: ago(2) },
            "done" => ended(Ok(JobOutput {
                image: format!("image-{number}"),
                builder: Some("dockerfile".to_owned()),
                ..JobOutput::default()
            })),
            "failed" => ended(Err(failure(Class::Terminal, false))),
            "transient" => ended(Err(failure(Class::Transient, false))),
            "cancelled" => ended(Err(failure(Class::Terminal, true))),
            other => panic!("unknown state {other:?} of a job"),
        };
        let desired = self.desired(number.parse().unwrap());
        self.job = Some(JobView {
            owner: JobOwner {
                application: "uid".to_owned(),
                release: format!("uid-{number}"),
                job_key: desired.job_key(),
            },
            state: state_of,
            stopping: state == "stopping",
        });
    }

    fn container(&mut self, number: &str, state: &str) {
        let is_old = number.starts_with("old");
        let number = number.trim_start_matches("old");
        let name = format!("shop-{number}");
        let release = self.releases.iter().find(|release| release.name == name);
        let mut status = release.map(|release| release.status.clone()).unwrap_or_default();
        // `run:old1:…` is a container from before a restart.
        if is_old {
            status.inputs.remove(RESTARTED);
        }
        let hash = hash_of(&status);
        let exited = |code| ReplicaState::Exited {
            code,
            oom: false,
            message: "boom".to_owned(),
        };
        let (state_of, restarts) = match state {
            "healthy" => (ReplicaState::Healthy, 0),
            "starting" => (ReplicaState::Starting, 0),
            "unhealthy" => (ReplicaState::Unhealthy("no".to_owned()), 0),
            "exited" => (exited(1), 0),
            "crashing" => (exited(1), 3),
            "kept" => (ReplicaState::Kept, 0),
            other => panic!("unknown state {other:?} of a container"),
        };
        self.containers.push(Replica {
            id: format!("id-{}", self.containers.len()),
            name: format!("{name}-{}", self.containers.len()),
            hash: hash.unwrap_or_else(|| "unknown".to_owned()),
            release: name,
            image: format!("image-{number}"),
            serving: state_of == ReplicaState::Healthy,
            state: state_of,
            healthy_since: None,
            draining: false,
            restarts,
            endpoints: Vec::new(),
        });
    }

    /// Returns the input of the plan.
    pub fn input(&self) -> PlanInput<'_> {
        let newest = self.releases.iter().filter(|release| release.has_begun()).count();
        let number = self.commit.unwrap_or_else(|| {
            let revision = |release: &ReleaseView| {
                let source = release.status.source.as_ref()?;
                source.revision.trim_start_matches('0').parse::<u32>().ok()
            };
            self.releases.iter().filter_map(revision).next_back().unwrap_or(1)
        });
        let source = self.app.spec.source.as_ref().filter(|_| !self.app.spec.suspend);
        let pinned = source.and_then(|source| source_kind::pinned(source, commit(number)));
        let pinned = pinned.map(|pinned| PinnedSource {
            unwatched: self.unwatched.map(commit),
            ..pinned
        });
        let last = pinned
            .clone()
            .filter(|_| self.last && self.source.is_some() && newest > 0);
        let inputs = Inputs {
            source: pinned.map(|pinned| self.source.clone().map_or(Ok(pinned), Err)),
            last,
            access: self.access.clone().map_or(Ok(()), Err),
            pending: false,
            attempts: 0,
            check_in: None,
            values: Ok(Values::default()),
            rollback: None,
        };
        let id = AppId::new("ns", "shop");
        let decide = if self.app.spec.suspend {
            pin::decide_suspended
        } else {
            pin::decide
        };
        let decision = decide(&id, &self.app, &self.releases, &inputs, &install());
        let found = JobOutput {
            image: "existing".to_owned(),
            builder: Some("dockerfile".to_owned()),
            ..JobOutput::default()
        };
        let observed = Observed {
            job: self.job.clone(),
            image: self.image.clone().map(|exists| exists.then_some(found)),
            running: self.engine.clone().map_or_else(
                || {
                    Ok(Running {
                        replicas: self.containers.clone(),
                    })
                },
                Err,
            ),
            missing_image: self.lost.clone(),
        };
        PlanInput::new(&self.app, self.releases.clone(), inputs, decision, observed, NOW)
    }
}

fn install() -> Install {
    Install {
        key: Secret::from("key"),
        capabilities: crate::runtime::Capabilities::DOCKER,
        image_prefix: "davit.local/test".to_owned(),
        image_mark: String::new(),
    }
}

fn k8s_time() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    serde_json::from_value(json!("1970-01-12T13:46:40Z")).unwrap()
}

fn failure(class: Class, cancelled: bool) -> JobFailure {
    let reason = if cancelled {
        Reason::Cancelled
    } else {
        Reason::BuildFailed
    };
    JobFailure {
        at: ago(1),
        problem: problem(class, reason),
        cancelled,
        step: Step::Building,
        log_tail: String::new(),
        commit: None,
        built_at: None,
    }
}

/// Brings the status of a Release into a phase.
fn advance(status: &mut ReleaseStatus, phase: &str, number: u32, at: Timestamp) {
    use crate::plan::ReleaseOutcome;
    let phase: ReleasePhase = serde_json::from_value(json!(phase)).unwrap();
    let output = JobOutput {
        image: format!("image-{number}"),
        builder: Some("dockerfile".to_owned()),
        ..JobOutput::default()
    };
    let rolling = |created| Progress::Rolling {
        created,
        ready: 0,
        check_in: None,
        waiting_for: String::new(),
    };
    let failed = |step| ReleaseOutcome::Failed {
        step,
        problem: problem(Class::Terminal, Reason::ContainerExited),
        log_tail: String::new(),
    };
    match phase {
        ReleasePhase::Pending | ReleasePhase::Pushing => {}
        ReleasePhase::Fetching => release_status::job(status, &JobState::Fetching { since: at }, at),
        ReleasePhase::Building => release_status::job(status, &JobState::Building { since: at }, at),
        ReleasePhase::Cancelled => release_status::end(status, &ReleaseOutcome::Cancelled, at),
        ReleasePhase::Superseded => release_status::end(status, &ReleaseOutcome::Superseded, at),
        ReleasePhase::Deploying
        | ReleasePhase::Verifying
        | ReleasePhase::Succeeded
        | ReleasePhase::Failed => {
            release_status::image(status, &output, false, at);
            release_status::progress(status, &rolling(0), 1, at);
            match phase {
                ReleasePhase::Verifying => release_status::progress(status, &rolling(1), 1, at),
                ReleasePhase::Succeeded => release_status::progress(status, &Progress::Complete, 1, at),
                ReleasePhase::Failed => release_status::end(status, &failed(Step::Verifying), at),
                _ => {}
            }
        }
    }
}
