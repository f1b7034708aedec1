//! I/O out: each action is one call. What it led to is written into the statuses that [`super::report`] sends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _};
use serde_json::json;

use crate::api::{
    Application, LABEL_APPLICATION, LABEL_MANAGED_BY, MANAGER, Reason, Release, ReleaseSpec, ReleaseStatus,
};
use crate::builder::BuildRequest;
use crate::error::{Class, Problem};
use crate::job_log::JobLog;
use crate::model::{AppId, CommitId};
use crate::plan::application_status::release_name;
use crate::plan::desired::{Desired, Values};
use crate::plan::release_status;
use crate::plan::state::{JobOwner, ReleaseView};
use crate::plan::{Action, End, Occasion, hash_of};
use crate::redact::Masker;
use crate::runtime::{Progress, RedactionPolicy, ReplicaState};

use super::build_job::{BuildWork, PullWork, no_log};
use super::dereference::Reader;
use super::origin::Origin;
use super::{Ctx, cluster_problem, finalizer};

/// How many names in a row may be taken before that is somebody's to mend.
const NAMES: i64 = 20;

/// What a pass works on, and what came of it.
pub struct Pass<'a> {
    /// The controller.
    pub ctx: &'a Ctx,
    /// Whose.
    pub id: &'a AppId,
    /// The Application.
    pub app: &'a Application,
    /// Its Releases as they were observed.
    pub releases: &'a [ReleaseView],
    /// Their statuses as they are after this pass, by name.
    pub statuses: BTreeMap<String, ReleaseStatus>,
    /// Where the source comes from.
    pub origin: Option<Origin>,
    /// The values that the spec refers to.
    pub values: Option<Values>,
    /// In one word what is wanted now.
    pub handled: Option<String>,
    /// Reads what else is referred to.
    pub reader: &'a Reader,
    /// What container output must not show.
    pub redaction: &'a RedactionPolicy,
    /// What could not be done.
    pub problem: Option<Problem>,
    /// How far the containers are.
    pub progress: Option<Progress>,
    /// Look again at once: a decision waits for what was just written.
    pub again: bool,
    /// Everything is gone and the object was let go.
    pub gone: bool,
}

/// What a Release is made for.
enum Wanted<'a> {
    /// What is wanted now, on this occasion.
    Now(&'a Desired, Occasion),
    /// This commit or image once more.
    Revision(&'a str),
}

impl Pass<'_> {
    /// Does one action. What goes wrong is kept as the pass's problem; the next actions are done all the same.
    pub async fn act(&mut self, action: &Action, now: Timestamp) {
        let result = match action {
            Action::Number { release, number } => {
                self.change(release, |status| status.number = Some(*number));
                Ok(())
            }
            Action::Adopt { release } => self.adopt(release).await,
            Action::Create {
                number,
                desired,
                revision,
                occasion,
            } => {
                let asked = revision
                    .as_deref()
                    .map_or(Wanted::Now(desired, *occasion), Wanted::Revision);
                self.create(*number, &asked, now).await
            }
            Action::Begin { release, desired } => {
                self.begin(release, desired, now);
                Ok(())
            }
            Action::StartJob { release, desired } => match self.start_job(release, desired, now) {
                Ok(()) => Ok(()),
                Err(problem) => {
                    let end = End::Failed {
                        step: "Fetching",
                        problem,
                        log_tail: String::new(),
                    };
                    self.end(release, &end, now).await;
                    Ok(())
                }
            },
            Action::Wait { release, problem } => {
                self.change(release, |status| release_status::waiting(status, problem, now));
                Ok(())
            }
            Action::CancelJob => {
                self.ctx.jobs.cancel(self.id);
                for release in self.releases.iter().filter(|release| release.spec.cancel) {
                    self.change(&release.name, |status| release_status::cancelling(status, now));
                }
                Ok(())
            }
            Action::HandOver { release, desired } => {
                self.hand_over(release, desired, now);
                Ok(())
            }
            Action::ForgetJob => {
                self.ctx.jobs.forget(self.id);
                Ok(())
            }
            Action::RecordImage {
                release,
                output,
                reused,
            } => {
                let held = self.app.spec.suspend;
                self.change(release, |status| {
                    release_status::image(status, output, *reused, now);
                    if held {
                        release_status::suspended(status, now);
                    }
                });
                Ok(())
            }
            Action::Deploy { release, beside } => {
                self.deploy(release.as_deref(), beside.as_deref(), now).await
            }
            Action::End { release, end } => {
                self.end(release, end, now).await;
                Ok(())
            }
            Action::Prune { release, image_tag } => self.prune(release, image_tag.as_deref()).await,
            Action::RemoveContainers { volumes } => self.remove(*volumes).await,
            Action::Orphan => self.orphan().await,
            Action::Forget => self.forget().await,
        };
        if let Err(problem) = result {
            tracing::info!(app = %self.id, reason = %problem.reason, message = problem.message, "an action failed");
            self.problem.get_or_insert(problem);
        }
    }

    pub(super) fn change(&mut self, release: &str, change: impl FnOnce(&mut ReleaseStatus)) {
        if let Some(status) = self.statuses.get_mut(release) {
            change(status);
        }
    }

    fn releases_api(&self) -> Api<Release> {
        Api::namespaced(self.ctx.client.clone(), &self.id.namespace)
    }

    /// Gives a Release its owner, so that it goes with the Application.
    async fn adopt(&self, release: &str) -> Result<(), Problem> {
        let patch = json!({"metadata": {
            "labels": {LABEL_APPLICATION: self.id.name},
            "ownerReferences": [self.owner()?],
        }});
        let patched = self
            .releases_api()
            .patch(release, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched
            .map(drop)
            .map_err(|error| cluster_problem("give the Release its owner", &error))
    }

    fn owner(&self) -> Result<OwnerReference, Problem> {
        self.app.controller_owner_ref(&()).ok_or_else(|| {
            let message = "the Application has no UID, so nothing can be owned by it";
            Problem::new(Class::Transient, Reason::Internal, message)
        })
    }

    /// Makes a Release of this number, or of the next one whose name nobody has taken: a Release of the same name may be
    /// somebody's own, and of another Application.
    async fn create(&mut self, number: i64, wanted: &Wanted<'_>, now: Timestamp) -> Result<(), Problem> {
        for number in number..number.saturating_add(NAMES) {
            if self.create_numbered(number, wanted, now).await? {
                self.again = true;
                return Ok(());
            }
        }
        Err(Problem::new(
            Class::Waiting,
            Reason::InvalidSpec,
            format!(
                "the names of the next {NAMES} Releases, from {} on, are taken: remove them, or those of them that are not \
                 of this Application",
                self.release_name(number)
            ),
        ))
    }

    /// What Davit calls the Release of this number.
    fn release_name(&self, number: i64) -> String {
        release_name(self.app, number)
    }

    /// False where a Release of somebody else has the name.
    async fn create_numbered(
        &mut self,
        number: i64,
        wanted: &Wanted<'_>,
        now: Timestamp,
    ) -> Result<bool, Problem> {
        let name = self.release_name(number);
        let mut spec = ReleaseSpec::deploy(&self.id.name);
        if let Wanted::Revision(revision) = wanted {
            // Of an image it is the digest that one asks for.
            let digest = revision.split_once('@').map_or(*revision, |(_, digest)| digest);
            spec.revision = Some(digest.to_owned());
        }
        let mut release = Release::new(&name, spec);
        release.metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(self.id.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL_APPLICATION.to_owned(), self.id.name.clone()),
                (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
            ])),
            owner_references: Some(vec![self.owner()?]),
            ..ObjectMeta::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.releases_api().create(&params, &release).await {
            Ok(made) => {
                let mut status = ReleaseStatus {
                    observed_generation: 1,
                    number: Some(number),
                    ..ReleaseStatus::default()
                };
                // One of a revision begins when that was looked up, as one that somebody asked for.
                if let Wanted::Now(desired, occasion) = wanted {
                    release_status::begin(
                        &mut status,
                        desired,
                        self.handled.clone(),
                        self.newest_begun(&name),
                        *occasion,
                        now,
                    );
                    release_status::recall(&mut status, self.releases);
                }
                let write = self.ctx.report.status(&made, made.status.as_ref(), &status).await;
                write.map_err(|error| cluster_problem("write the status of a new Release", &error))?;
                self.statuses.insert(name, status);
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = self.releases_api().get_opt(&name).await;
                let found = found.map_err(|error| cluster_problem("read a Release", &error))?;
                // One that a pass made whose answer was lost is of this number, or has none yet; the next pass sees it.
                return Ok(found.is_none_or(|found| {
                    let given = found.status.as_ref().and_then(|status| status.number);
                    let labels = found.metadata.labels.as_ref();
                    labels
                        .and_then(|labels| labels.get(LABEL_MANAGED_BY))
                        .is_some_and(|manager| manager == MANAGER)
                        && found.spec.application == self.id.name
                        && given.is_none_or(|given| given == number)
                }));
            }
            Err(error) => return Err(cluster_problem("create a Release", &error)),
        }
        Ok(true)
    }

    fn newest_begun(&self, except: &str) -> Option<&ReleaseView> {
        self.releases
            .iter()
            .rev()
            .find(|view| view.name != except && view.has_begun())
    }

    fn begin(&mut self, release: &str, desired: &Desired, now: Timestamp) {
        let before = self.newest_begun(release).cloned();
        let handled = self.handled.clone().or_else(|| Some(desired.identity()));
        let view = self.releases.iter().find(|view| view.name == release);
        let occasion = match view {
            Some(view) if view.by_hand => Occasion::Created,
            // Davit asks for a revision only to make again what was of it.
            Some(view) if view.spec.revision.is_some() => Occasion::ImageLost,
            _ => Occasion::Change,
        };
        let releases = self.releases;
        self.change(release, |status| {
            release_status::begin(status, desired, handled, before.as_ref(), occasion, now);
            release_status::recall(status, releases);
        });
    }

    /// Where the log of a Release is.
    fn log_path(&self, release: &str) -> PathBuf {
        let uid = self.app.metadata.uid.as_deref().unwrap_or("unknown");
        self.ctx
            .log_dir
            .join(&self.id.namespace)
            .join(uid)
            .join(format!("{release}.log"))
    }

    fn owner_of_job(&self, release: &str, desired: &Desired) -> JobOwner {
        let view = self.releases.iter().find(|view| view.name == release);
        JobOwner {
            application: self.app.metadata.uid.clone().unwrap_or_default(),
            release: view.map(|view| view.uid.clone()).unwrap_or_default(),
            work: desired.work(),
        }
    }

    /// The job goes on for another Release, and so does its log.
    fn hand_over(&mut self, release: &str, desired: &Desired, now: Timestamp) {
        let Some(job) = self.ctx.jobs.view(self.id) else {
            self.again = true;
            return;
        };
        let before = self.releases.iter().find(|view| view.uid == job.owner.release);
        let before = before.map(|view| self.log_path(&view.name));
        if !self
            .ctx
            .jobs
            .hand_over(self.id, self.owner_of_job(release, desired))
        {
            self.again = true;
            return;
        }
        // One file by both names. Without a log of its own the Release is worth no less.
        if let Some(before) = before
            && let Err(error) = JobLog::share(&before, &self.log_path(release))
        {
            tracing::warn!(%error, app = %self.id, release, "the log of a build could not be taken along");
        }
        self.change(release, |status| release_status::job(status, &job.state, now));
    }

    /// # Errors
    /// What is to be made is not decided: a defect, since the plan starts no such job.
    fn start_job(&mut self, release: &str, desired: &Desired, now: Timestamp) -> Result<(), Problem> {
        let undecided = |what: &str| {
            let message = format!("the job cannot be started: {what} is missing; create another Release");
            Problem::new(Class::Terminal, Reason::Internal, message)
        };
        let origin = self.origin.clone().ok_or_else(|| undecided("its source"))?;
        let values = self.values.clone().ok_or_else(|| undecided("its environment"))?;
        let owner = self.owner_of_job(release, desired);
        let path = self.log_path(release);
        let tools = self.ctx.tools.clone();
        let mut hidden = values.confidential.clone();
        match origin {
            Origin::Image { login, .. } => {
                hidden.extend(login.iter().map(|login| login.password.clone()));
                let work = PullWork {
                    image: desired.source.revision.clone(),
                    login,
                    tag: desired.tag.clone(),
                    pulls: self.ctx.pulls.clone(),
                };
                self.ctx.jobs.start(self.id, owner, move |_, cancel| async move {
                    let log = JobLog::open(&path, Masker::new(&hidden)).map_err(|error| no_log(&error))?;
                    work.run(tools, log, cancel).await
                });
            }
            Origin::Git { remote, spec } => {
                let commit =
                    CommitId::parse(&desired.source.revision).ok_or_else(|| undecided("its commit"))?;
                let build = desired.build.clone().ok_or_else(|| undecided("its build"))?;
                let tag = desired.tag.clone().ok_or_else(|| undecided("its tag"))?;
                let clean = self
                    .releases
                    .iter()
                    .any(|view| view.name == release && view.spec.clean_cache);
                let request = BuildRequest {
                    app: self.id.clone(),
                    release: release.to_owned(),
                    root: PathBuf::new(),
                    path: desired.source.path.clone(),
                    build_type: build.build_type,
                    tag,
                    args: values.args,
                    secrets: values.secrets,
                    labels: BTreeMap::from([
                        ("org.opencontainers.image.revision".to_owned(), commit.to_string()),
                        (
                            "org.opencontainers.image.source".to_owned(),
                            desired.source.locator.clone(),
                        ),
                    ]),
                    registries: BTreeMap::new(),
                    no_cache: clean || !build.cache,
                    cpu: build.cpu,
                    memory: build.memory,
                    timeout: build.timeout,
                };
                let work = BuildWork {
                    fields: *remote.fields(),
                    commit,
                    spec,
                    submodules: desired.source.submodules,
                    request,
                };
                self.ctx
                    .jobs
                    .start(self.id, owner, move |stage, cancel| async move {
                        // Here and not before, so that the credential is valid when Git starts.
                        let remote = tokio::select! {
                            remote = remote.open() => Some(remote),
                            () = cancel.cancelled() => None,
                        };
                        if let Some(Ok(remote)) = &remote {
                            hidden.extend(remote.credential.secrets());
                        }
                        let log =
                            JobLog::open(&path, Masker::new(&hidden)).map_err(|error| no_log(&error))?;
                        work.run(tools, remote, log, stage, cancel).await
                    });
            }
        }
        if let Some(job) = self.ctx.jobs.view(self.id) {
            self.change(release, |status| release_status::job(status, &job.state, now));
        }
        Ok(())
    }

    pub(super) async fn end(&mut self, release: &str, end: &End, now: Timestamp) {
        let output = match end {
            End::Failed { log_tail, .. } if log_tail.is_empty() => self.container_output(release).await,
            _ => String::new(),
        };
        let with_output = match end {
            End::Failed { step, problem, .. } if !output.is_empty() => Some(End::Failed {
                step,
                problem: problem.clone(),
                log_tail: output,
            }),
            _ => None,
        };
        let recorded = with_output.as_ref().unwrap_or(end);
        self.change(release, |status| release_status::end(status, recorded, now));
        if let End::Failed { problem, .. } = end {
            let name = release.to_owned();
            let about = self.about_release(&name);
            self.ctx
                .report
                .event(&about, None, true, problem.reason, &problem.message)
                .await;
        }
        self.again = true;
    }

    /// Reads the end of the log of the container that a Release fails with, before the rollback removes it. Empty if the
    /// Release has no container, or the runtime does not answer: the Release fails all the same.
    async fn container_output(&self, release: &str) -> String {
        let Some(hash) = self.statuses.get(release).and_then(hash_of) else {
            return String::new();
        };
        let runtime = &self.ctx.runtime;
        let Ok(running) = runtime.observe(self.id, self.redaction).await else {
            return String::new();
        };
        let worst = running.replicas.iter().filter(|replica| replica.hash == hash);
        let worst = worst.min_by_key(|replica| match replica.state {
            ReplicaState::Exited { .. } | ReplicaState::KeepsEnding { .. } => 0,
            ReplicaState::Unhealthy(_) => 1,
            ReplicaState::Starting => 2,
            ReplicaState::Healthy | ReplicaState::Kept | ReplicaState::Created => 3,
        });
        let Some(replica) = worst else {
            return String::new();
        };
        let output = runtime.log_tail(self.id, &replica.id, self.redaction).await;
        output.unwrap_or_else(|error| {
            tracing::warn!(app = %self.id, release, %error, "reading the log of a failed container");
            String::new()
        })
    }

    /// A Release, as an event names it.
    pub fn about_release(&self, release: &str) -> k8s_openapi::api::core::v1::ObjectReference {
        k8s_openapi::api::core::v1::ObjectReference {
            api_version: Some(Release::api_version(&()).into_owned()),
            kind: Some("Release".to_owned()),
            name: Some(release.to_owned()),
            namespace: Some(self.id.namespace.clone()),
            ..Default::default()
        }
    }

    async fn prune(&mut self, release: &str, image_tag: Option<&str>) -> Result<(), Problem> {
        if let Some(tag) = image_tag {
            self.ctx
                .tools
                .builder
                .remove(tag)
                .await
                .map_err(|error| Problem::of(&error))?;
        }
        let path = self.log_path(release);
        // A log that is gone already is what is wanted.
        let _ = tokio::fs::remove_file(&path).await;
        match self
            .releases_api()
            .delete(release, &DeleteParams::default())
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(cluster_problem("remove an old Release", &error)),
        }
        self.statuses.remove(release);
        Ok(())
    }

    async fn remove(&mut self, volumes: bool) -> Result<(), Problem> {
        let done = self
            .ctx
            .runtime
            .remove(self.id, volumes)
            .await
            .map_err(|error| Problem::of(&error))?;
        self.gone = done;
        Ok(())
    }

    async fn orphan(&mut self) -> Result<(), Problem> {
        let uid = self.app.metadata.uid.clone().unwrap_or_default();
        self.ctx
            .orphans
            .add(&uid)
            .map_err(|error| super::io_problem("remember what was orphaned", &error))?;
        self.release_finalizer().await?;
        self.gone = true;
        Ok(())
    }

    /// Images, logs and caches go once the containers are gone; then the object may.
    async fn forget(&mut self) -> Result<(), Problem> {
        if !self.gone {
            return Ok(());
        }
        self.gone = false;
        for image in self
            .ctx
            .tools
            .builder
            .images(self.id)
            .await
            .map_err(|error| Problem::of(&error))?
        {
            self.ctx
                .tools
                .builder
                .remove(&image.tag)
                .await
                .map_err(|error| Problem::of(&error))?;
        }
        if let Some(dir) = self.log_path("x").parent() {
            let _ = tokio::fs::remove_dir_all(dir).await;
            if let Some(namespace) = dir.parent() {
                // Not as long as another Application has its logs there.
                let _ = tokio::fs::remove_dir(namespace).await;
            }
        }
        self.ctx.jobs.forget(self.id);
        self.ctx.resolver.forget(self.id);
        self.release_finalizer().await?;
        self.gone = true;
        Ok(())
    }

    async fn release_finalizer(&self) -> Result<(), Problem> {
        let removed = finalizer::set(&self.ctx.client, self.app, false).await;
        removed.map_err(|error| cluster_problem("change the finalizers", &error))
    }
}
