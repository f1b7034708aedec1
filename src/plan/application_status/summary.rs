//! Summarises what was observed: `Ready`, `Reconciling` and `Stalled` are decided here and nowhere else.

use jiff::Timestamp;

use crate::api::{Application, Reason, ReleasePhase, ReleaseStatus, Retry};
use crate::error::{Class, Problem};
use crate::plan::conditions::{ConditionValue, built, ended_for_good, healthy, last_word, phase_reason};
use crate::plan::containers::hash_of;
use crate::plan::describe::unhealthy;
use crate::plan::desired::PinnedSource;
use crate::plan::hold::hold;
use crate::plan::{release_status, restart};
use crate::runtime::Running;

/// What the status is made from.
#[derive(Clone, Debug)]
pub struct StatusInput<'a> {
    pub app: &'a Application,
    /// The source as it was resolved, or the reason why it could not be; `None` without a source.
    pub source: Option<&'a Result<PinnedSource, Problem>>,
    /// The source that is wanted while it cannot be resolved.
    pub last: Option<&'a PinnedSource>,
    /// Why the desired state is unknown or an action failed, other than because of the source.
    pub problem: Option<&'a Problem>,
    /// All Releases after the actions, in order.
    pub releases: &'a [(String, ReleaseStatus)],
    pub running: &'a Result<Running, Problem>,
    pub retry: Option<Retry>,
    /// Whether the desired state is the one of the newest Release.
    pub desired_is_current: bool,
    /// The Release that needs containers and whose image is no longer in the engine.
    pub missing_image: Option<&'a str>,
    /// The requested reconcile that was answered.
    pub answered_request: Option<String>,
}

/// The conditions of an Application, before they are written.
pub struct Summary {
    pub source: Option<ConditionValue>,
    pub built: Option<ConditionValue>,
    pub deployed: ConditionValue,
    pub healthy: ConditionValue,
    pub ready: ConditionValue,
    pub reconciling: Option<(Reason, String)>,
    /// `AutoDeployHeld`.
    pub held: Option<ConditionValue>,
    /// Why the serving Release needs the user.
    pub for_good: Option<String>,
    pub stalled: bool,
    pub idle: bool,
}

impl Summary {
    pub fn of(
        input: &StatusInput<'_>,
        serving: Option<&ReleaseStatus>,
        open: Option<&(String, ReleaseStatus)>,
        newest: Option<&(String, ReleaseStatus)>,
    ) -> Self {
        let source = match input.source {
            Some(Ok(source)) => Some(source_is_ready(source)),
            Some(Err(problem)) => Some(ConditionValue::no(problem.reason, &problem.message)),
            None => None,
        };
        let built = newest.and_then(|(name, release)| built(name, release, input.missing_image));
        let for_good = input
            .running
            .as_ref()
            .ok()
            .zip(serving)
            .and_then(|(running, serving)| ended_for_good(running, serving));
        // Of the newest one Davit makes it again by itself.
        let newest_name = newest.map(|(name, _)| name);
        let missing = input
            .missing_image
            .filter(|missing| open.is_none() && newest_name.map(String::as_str) != Some(missing));
        let healthy = healthy(input.app, input.running, serving, missing);
        let failed = newest
            .filter(|(_, release)| release.phase.has_ended() && release.phase != ReleasePhase::Succeeded);
        let deployed = match (newest, open) {
            _ if input.app.spec.stopped => {
                ConditionValue::no(Reason::Stopped, "no container runs, because spec.stopped is true")
            }
            (None, _) => ConditionValue::no(Reason::Pending, "no release yet"),
            (Some((name, release)), _) if release.phase == ReleasePhase::Succeeded => {
                ConditionValue::yes(Reason::Deployed, format!("release {name} is what runs"))
            }
            (Some(_), Some((name, release))) => {
                let message = format!("release {name} is under way");
                ConditionValue::no(phase_reason(release.phase), message)
            }
            (Some((name, release)), None) => {
                let (reason, message) = last_word(release);
                ConditionValue::no(reason, format!("release {name}: {message}"))
            }
        };
        let held = hold(input.app, input.releases, |(name, release)| (name, release)).map(|hold| {
            let message = format!(
                "release {} went back to {}: new commits, digests and values are not deployed until the spec changes (also \
                 spec.replicas) or davit resume is called; both deploy what the spec asks for then",
                hold.release, hold.origin
            );
            ConditionValue::yes(Reason::RolledBack, message)
        });
        let mut all = Self {
            held,
            source,
            built,
            deployed,
            healthy,
            ready: ConditionValue::no(Reason::Progressing, ""),
            reconciling: None,
            for_good,
            stalled: false,
            idle: false,
        };
        all.summarise(input, failed, open);
        all
    }

    /// The one place where Ready, Reconciling and Stalled are decided; the first that applies.
    fn summarise(
        &mut self,
        input: &StatusInput<'_>,
        failed: Option<&(String, ReleaseStatus)>,
        open: Option<&(String, ReleaseStatus)>,
    ) {
        let spec = &input.app.spec;
        let empty = input
            .running
            .as_ref()
            .is_ok_and(|running| running.replicas.is_empty());
        let source_problem = input.source.and_then(|source| source.as_ref().err());
        if input.app.metadata.deletion_timestamp.is_some() {
            let held = input.running.as_ref().err().or(input.problem);
            let message = held.map_or(
                "all objects that Davit created for it are being removed".to_owned(),
                |problem| {
                    format!(
                        "all objects that Davit created for it are being removed; {}",
                        problem.message
                    )
                },
            );
            self.progress(Reason::Deleting, &message);
        } else if spec.stopped || input.source.is_none() && input.problem.is_none() {
            let (reason, message) = if spec.stopped {
                (Reason::Stopped, "stopped: spec.stopped is true")
            } else {
                (Reason::NoSource, "no source: set spec.source")
            };
            self.ready = ConditionValue::no(reason, message);
            if empty && open.is_none() {
                self.idle = true;
            } else {
                self.progress(reason, "the containers are being stopped");
            }
        } else if let Some((name, release)) = open {
            let retry = release
                .conditions
                .iter()
                .any(|c| c.type_ == "Succeeded" && c.reason == Reason::ProgressingWithRetry.as_str());
            let text = release
                .conditions
                .iter()
                .find(|c| c.type_ == "Succeeded")
                .map_or("", |c| c.message.as_str());
            if let Err(problem) = input.running {
                self.problem(problem);
            } else if retry {
                let reason = release
                    .failure
                    .as_ref()
                    .and_then(|failure| failure.reason.parse().ok());
                self.problem(&Problem::new(
                    Class::Transient,
                    reason.unwrap_or(Reason::ProgressingWithRetry),
                    format!("release {name}: {text}"),
                ));
            } else if let Some(problem) = release_status::hindrance(release) {
                self.problem(&Problem::new(
                    Class::Transient,
                    problem.reason,
                    format!("release {name}: {}", problem.message),
                ));
            } else if let Some(waits_for) = release_status::waits_for(release) {
                // The same problem as it was observed, if it was, has the class that decides the conditions.
                let observed = source_problem.into_iter().chain(input.problem);
                let class = observed
                    .filter(|problem| problem.reason == waits_for.reason)
                    .map(|problem| problem.class)
                    .next();
                self.problem(&Problem::new(
                    class.unwrap_or(waits_for.class),
                    waits_for.reason,
                    format!("release {name}: {}", waits_for.message),
                ));
            } else {
                let message = under_way(name, release);
                self.progress(Reason::Progressing, &message);
            }
        } else if let Some(problem) = input
            .problem
            .or(source_problem.filter(|problem| self.matters(problem, input.desired_is_current)))
        {
            self.problem(problem);
        } else if let Err(problem) = input.running {
            self.problem(problem);
        } else if let Some((name, release)) = failed {
            let (reason, message) = last_word(release);
            let rolled = if self.healthy.is_true() {
                "; the previous release serves"
            } else {
                ""
            };
            self.stall(reason, &format!("release {name}: {message}{rolled}"));
        } else if !self.deployed.is_true() {
            self.progress(Reason::Progressing, "the next step is being decided");
        } else if !self.healthy.is_true() {
            let ConditionValue { reason, message, .. } = self.healthy.clone();
            match self.for_good.take() {
                Some(why) => self.stall(Reason::ContainerExited, &why),
                None => self.progress(reason, &message),
            }
        } else {
            self.ready = ConditionValue::yes(Reason::Ready, &self.deployed.message);
        }
    }

    /// Replaces the conditions while `spec.suspend` is set. Ready is True if the state that was desired last serves, because
    /// the present one is not determined.
    pub fn suspend(
        &mut self,
        input: &StatusInput<'_>,
        newest: Option<&(String, ReleaseStatus)>,
        open: Option<&(String, ReleaseStatus)>,
    ) {
        (self.reconciling, self.stalled, self.idle) = (None, false, false);
        let waits = open.filter(|(_, release)| {
            let works = [
                ReleasePhase::Fetching,
                ReleasePhase::Building,
                ReleasePhase::Pushing,
            ];
            !works.contains(&release.phase) && release.queue.is_none()
        });
        if let Some((name, _)) = waits {
            let what = if input.app.spec.stopped {
                "ends when spec.suspend is false, because spec.stopped is true"
            } else {
                "continues when spec.suspend is false"
            };
            let message = format!("release {name} {what}");
            self.deployed = ConditionValue::no(Reason::Pending, message);
        } else if let Some((name, _)) = newest
            && !input.desired_is_current
            && self.deployed.is_true()
        {
            let what = match input.problem {
                Some(problem) => format!(
                    "whether release {name} is what is wanted now is not known: {}",
                    problem.message
                ),
                None => {
                    format!("release {name} is what runs, and not what is wanted now; spec.suspend is true")
                }
            };
            self.deployed = ConditionValue::no(Reason::Pending, what);
        }
        let message =
            "reconciliation is suspended (spec.suspend is true); the status shows the running containers";
        let ready = self.deployed.is_true() && self.healthy.is_true();
        self.ready = if ready {
            ConditionValue::yes(Reason::Suspended, message)
        } else {
            ConditionValue::unknown(Reason::Suspended, message)
        };
    }

    /// Replaces Ready while the containers of the serving Release are replaced by new ones of the same Release.
    pub fn restart(&mut self, input: &StatusInput<'_>, wanted: &ReleaseStatus, now: Timestamp) {
        let (true, Ok(running)) = (
            !self.stalled && !self.idle && !input.app.spec.stopped,
            input.running,
        ) else {
            return;
        };
        let hash = hash_of(wanted).unwrap_or_default();
        let trouble = unhealthy(running, &hash).map_or(String::new(), |(_, message)| format!("; {message}"));
        if restart::remaining(input.app, now).is_some_and(|rest| rest.is_zero()) {
            self.reconciling = None;
            let message = format!(
                "the new containers of the restart are not healthy in time{trouble}; solve that and restart again, or deploy"
            );
            self.stall(Reason::RestartFailed, &message);
        } else {
            self.progress(
                Reason::Restarting,
                &format!("new containers take the place of the old ones{trouble}"),
            );
        }
    }

    /// Whether a source that cannot be resolved affects Ready. During an outage the latest revision of the same source
    /// remains desired; no revision of another source is known.
    fn matters(&self, problem: &Problem, known: bool) -> bool {
        problem.class == Class::Terminal || !self.deployed.is_true() || !known
    }

    fn progress(&mut self, reason: Reason, message: &str) {
        self.ready = ConditionValue::no(reason, message);
        self.reconciling = Some((reason, message.to_owned()));
    }

    fn stall(&mut self, reason: Reason, message: &str) {
        self.ready = ConditionValue::no(reason, message);
        self.stalled = true;
    }

    fn problem(&mut self, problem: &Problem) {
        match problem.class {
            Class::Terminal => self.stall(problem.reason, &problem.message),
            Class::Waiting => self.progress(problem.reason, &problem.message),
            Class::Transient => {
                self.ready = ConditionValue::no(problem.reason, &problem.message);
                self.reconciling = Some((Reason::ProgressingWithRetry, problem.message.clone()));
            }
        }
    }
}

/// Describes an open Release, and what keeps its containers from being healthy.
fn under_way(name: &str, release: &ReleaseStatus) -> String {
    let trouble = release.progress.as_ref();
    let trouble = trouble.map_or(String::new(), |progress| format!("; {}", progress.message));
    format!("release {name} is under way{trouble}")
}

/// Returns the value of `SourceReady` for a source that was resolved.
pub fn source_is_ready(source: &PinnedSource) -> ConditionValue {
    let what = if source.is_image() { "digest" } else { "commit" };
    let tag = source
        .tag
        .as_ref()
        .map_or_else(String::new, |tag| format!("tag {tag}, "));
    let message = format!("{tag}{what} {} of {}", source.short_revision(), source.locator);
    match &source.unwatched {
        None => ConditionValue::yes(Reason::Resolved, message),
        Some(newest) if source.skipped => {
            let message = format!(
                "{message}; the message of the newest commit {} asks for no deployment: create a Release to deploy it",
                newest.short()
            );
            ConditionValue::yes(Reason::CommitSkipped, message)
        }
        Some(newest) => {
            let message = format!(
                "{message}; the newest commit {} changes nothing in spec.trigger.watchPaths since then",
                newest.short()
            );
            ConditionValue::yes(Reason::NoWatchedChange, message)
        }
    }
}
