//! States in a few words.
//!
//! | word | meaning |
//! |---|---|
//! | `N:PHASE` | Release `shop-N` of commit N in this phase; `N:New` has not begun, `N:User` was just created by a user |
//! | `+to=N` | appended to a Release that goes back to `shop-N`; with `+changed` the spec was another one then, with `+refused` it never began |
//! | `+restarted` | appended to a Release whose containers have the mark of the restart |
//! | `+redeploy` `+clean` `+cancel` `+by-user` `+unowned` `+waits` `+old` `+rev=N` `+of=N` `+ended` `+lacking` | appended to a Release; `+lacking` failed without its Secret, `+old` began ten minutes ago, `+of` commit N, `+ended` has a container that ran to completion, `+lost` was created because the image was lost |
//! | `hook` `+hooking` `+hooked` | the spec of the Releases after it has a hook, which runs or has succeeded |
//! | `job:N:STATE` | the job of `shop-N`: `queued`, `fetching`, `building`, `stopping`, `done`, `failed`, `transient`, `cancelled` |
//! | `unwatched:N` | commit N is newer and changes no watched file |
//! | `announced:N` `refuted:N` | a delivery announces commit N; the repository is being asked, or has said that the branch does not lead to it |
//! | `run:N:STATE` | a container of `shop-N`: `healthy`, `starting`, `unhealthy`, `exited`, `crashing`, `kept`; `run:x:…` of a deleted Release, `run:old1:…` from before a restart |
//! | `commit:N` | the branch is at commit N; by default at that of the newest Release |
//! | `image:yes` `image:unknown` `lost:N` | the image exists, cannot be looked up, or is lost |
//! | `engine:away` `git:away` `git:gone` `secret:missing` `provider:waits` | what cannot be reached |
//! | `policy:P` `stopped` `suspend` `deleted` `source:none` `rollback:off` `delete:P` `history:N` `replicas:N` `restart:never` | the spec |
//! | `kind:docker` `kind:gitea` `kind:gitlab` `kind:github` `kind:bitbucket` | the kind of the source |
//! | `deploy:RESULT` | what deploying comes to: `complete`, `rolling`, `refused`, `failed`, `away`; by default nothing is recorded |
//! | `count:N` | the number of Releases in the status |
//! | `attempts:N` | failures in a row to resolve the source |
//! | `retry:later` `retry:due` `requested` `resumed:N` `cleared:N` `restart:SECONDS` (so long ago) | the status and annotations |

use std::time::Duration;

use serde_json::json;

use crate::api::{
    Application, ApplicationStatus, EndedContainer, Protocol, Reason, ReleaseSpec, ReleaseStatus,
    ReleaseType, Retry, Source, SourceKind,
};
use crate::error::{Class, Problem};
use crate::model::{AppId, Revision};
use crate::plan::action::CreateReason;
use crate::plan::containers::hash_of;
use crate::plan::desired::{Desired, PinnedSource, validate};
use crate::plan::fingerprint::RESTARTED;
use crate::plan::input::{Announced, Inputs, Observed, PlanInput};
use crate::plan::record::ActionResult;
use crate::plan::state::{JobOutput, JobOwner, JobState, JobView, ReleaseView, sort};
use crate::plan::values::Values;
use crate::plan::{pin, release_status, rollback, source_kind};
use crate::runtime::{Port, Progress, Replica, Running};

use super::parts::{
    NOW, advance, ago, commit, failure, install, k8s_time, lacking, problem, replica_state, rolling, source,
};

/// A state.
pub struct Given {
    app: Application,
    releases: Vec<ReleaseView>,
    commit: Option<u32>,
    unwatched: Option<u32>,
    announced: Option<Announced>,
    job: Option<JobView>,
    containers: Vec<Replica>,
    image: Result<bool, Problem>,
    lost: Option<String>,
    engine: Option<Problem>,
    source: Option<Problem>,
    last: bool,
    access: Option<Problem>,
    attempts: u32,
    deploy: String,
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
            announced: None,
            job: None,
            containers: Vec::new(),
            image: Ok(false),
            lost: None,
            engine: None,
            source: None,
            last: true,
            access: None,
            attempts: 0,
            deploy: String::new(),
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
            ["hook"] => {
                let hooks = json!({"preDeploy": {"command": ["migrate"], "timeout": "5m"}});
                spec.hooks = Some(serde_json::from_value(hooks).unwrap());
            }
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
            ["announced", number] => {
                self.announced = Some(Announced::Unconfirmed(commit(number.parse().unwrap())));
                self.commit = Some(number.parse().unwrap());
            }
            ["refuted", number] => {
                self.announced = Some(Announced::Refuted(commit(number.parse().unwrap())));
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
            ["kind", kind] => spec.source = Some(source(kind)),
            ["deploy", result] => (*result).clone_into(&mut self.deploy),
            ["count", number] => {
                let status = self.app.status.get_or_insert_with(ApplicationStatus::default);
                status.release.get_or_insert_default().count = number.parse().unwrap();
            }
            ["attempts", number] => self.attempts = number.parse().unwrap(),
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

    /// Returns revision N of the source: a commit, or a digest of an image.
    fn revision(&self, number: u32) -> Revision {
        match self.app.spec.source.as_ref().and_then(Source::kind) {
            Some(SourceKind::Docker(_)) => {
                let name = "registry.example.com:5000/team/shop";
                Revision::image(&format!("{name}@sha256:{number:0>64}")).unwrap()
            }
            _ => commit(number),
        }
    }

    fn desired(&self, number: u32) -> Desired {
        let git = Given::parse("").app.spec.source;
        let source = self.app.spec.source.as_ref().or(git.as_ref()).unwrap();
        let pinned = source_kind::pinned(source, self.revision(number)).unwrap();
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
        let of = words.iter().find_map(|word| word.strip_prefix("of="));
        let made_of = origin.or(of).map_or(number, |made_of| made_of.parse().unwrap());
        spec.clean_cache = has("clean");
        spec.cancel = has("cancel");
        let pinned = words.iter().find_map(|word| word.strip_prefix("rev="));
        spec.revision = pinned.map(|number| {
            let revision = self.revision(number.parse().unwrap()).to_string();
            revision
                .split_once('@')
                .map_or_else(|| revision.clone(), |(_, digest)| digest.to_owned())
        });
        let began = if has("old") { ago(600) } else { ago(10) };
        let mut status = ReleaseStatus::default();
        if phase != "User" {
            status.number = Some(i64::from(number));
        }
        if !["User", "New"].contains(&phase) {
            let desired = self.desired(made_of);
            let reason = match origin {
                Some(_) => CreateReason::RolledBack,
                None if by_user => CreateReason::Created,
                None if has("lost") => CreateReason::ImageLost,
                None => CreateReason::Change,
            };
            let handled = Some(desired.fingerprint());
            let none = release_status::Earlier::default();
            release_status::begin(&mut status, &desired, handled, none, reason, began);
            if let Some(origin) = origin.filter(|_| !has("refused")) {
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
        if has("ended") {
            status.ended.push(EndedContainer {
                id: "gone".to_owned(),
                name: "shop-gone".to_owned(),
                exit_code: 0,
            });
        }
        if has("hooking") {
            release_status::hook_runs(&mut status, began);
        }
        if has("hooked") {
            release_status::hook_ended(&mut status, Some(0), began);
        }
        if has("lacking") {
            release_status::end(&mut status, &lacking(), ago(1));
        }
        if has("refused") {
            status.inputs.clear();
            (status.handled, status.image) = (None, None);
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
                message: Some("Sell shoes".to_owned()),
                author: Some("Jane".to_owned()),
                fetched_at: Some(ago(5)),
                built_at: Some(ago(4)),
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
        let (state_of, restarts) = replica_state(state);
        self.containers.push(Replica {
            id: format!("id-{}", self.containers.len()),
            name: format!("{name}-{}", self.containers.len()),
            hash: hash.unwrap_or_else(|| "unknown".to_owned()),
            release: name,
            image: format!("image-{number}"),
            serving: state == "healthy",
            state: state_of,
            healthy_since: None,
            draining: false,
            leaving: false,
            restarts,
            address: Some("10.0.0.2".to_owned()),
            endpoints: vec![Port {
                name: None,
                container: 80,
                host: Some(8080),
                host_ip: None,
                protocol: Protocol::Tcp,
            }],
        });
    }

    /// Replaces the status, as after a reconcile.
    pub fn reconciled(&mut self, status: ApplicationStatus) {
        self.app.status = Some(status);
    }

    /// Returns the result of deploying.
    pub fn deployed(&self) -> ActionResult {
        let refused = || problem(Class::Terminal, Reason::ContainerConfigInvalid);
        match self.deploy.as_str() {
            "complete" => ActionResult::Progress {
                progress: Progress::Complete,
                replicas: 1,
            },
            "rolling" => ActionResult::Progress {
                progress: rolling(1),
                replicas: 1,
            },
            "refused" => ActionResult::Refused {
                problem: refused(),
                output: "last line".to_owned(),
            },
            "failed" => ActionResult::Failed(problem(Class::Transient, Reason::EngineFailed)),
            "away" => ActionResult::Failed(problem(Class::Transient, Reason::EngineUnavailable)),
            _ => ActionResult::Skipped,
        }
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
        let pinned = source.and_then(|source| source_kind::pinned(source, self.revision(number)));
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
            pending: matches!(self.announced, Some(Announced::Unconfirmed(_))),
            announced: self.announced.clone(),
            attempts: self.attempts,
            check_in: (self.attempts > 0).then_some(Duration::from_secs(20)),
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
                        ..Running::default()
                    })
                },
                Err,
            ),
            missing_image: self.lost.clone(),
        };
        PlanInput::new(&self.app, self.releases.clone(), inputs, decision, observed, NOW)
    }
}
