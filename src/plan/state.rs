//! What there is: Releases, the job that runs, the image, the containers.

use jiff::Timestamp;

use crate::api::{
    Application, ConcurrencyPolicy, LABEL_MANAGED_BY, MANAGER, REQUESTED_AT, Release, ReleasePhase,
    ReleaseSpec, ReleaseStatus, ReleaseType,
};
use crate::builder::BuilderDetails;
use crate::error::{Class, Problem};

use super::step::Step;

/// A Release as it was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseView {
    /// Its name.
    pub name: String,
    /// Its UID: one that was deleted and made again under the same name is another one.
    pub uid: String,
    /// What was asked for.
    pub spec: ReleaseSpec,
    /// Where it stands.
    pub status: ReleaseStatus,
    /// Its generation.
    pub generation: i64,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The version of the object, which orders those that were created in the same second.
    pub version: u64,
    /// Whether a user created it.
    pub manual: bool,
    /// An owner was set, so that it goes with its Application.
    pub owned: bool,
}

impl ReleaseView {
    /// From the object.
    pub fn of(release: &Release) -> Self {
        let meta = &release.metadata;
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            spec: release.spec.clone(),
            status: release.status.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            version: meta
                .resource_version
                .as_ref()
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            manual: meta
                .labels
                .as_ref()
                .and_then(|labels| labels.get(LABEL_MANAGED_BY))
                .is_none_or(|manager| manager != MANAGER), // Helm and others set it on what they apply.
            owned: meta
                .owner_references
                .as_ref()
                .is_some_and(|owners| !owners.is_empty()),
        }
    }

    /// True where nothing changes any more.
    pub fn has_ended(&self) -> bool {
        self.status.phase.has_ended()
    }

    /// Returns the title: `spec.title`, or a name for the type of the Release, or the first line of the commit's message,
    /// which `status` contains after the fetch.
    pub fn title(&self, status: &ReleaseStatus) -> Option<String> {
        let by_kind = || match self.spec.kind {
            ReleaseType::Redeploy => Some("Rebuild deployment".to_owned()),
            ReleaseType::Rollback => {
                let origin = self.spec.rollback_to.as_deref().unwrap_or_default();
                Some(format!("Rollback to {origin}"))
            }
            ReleaseType::Deploy => self.manual.then(|| "Manual deployment".to_owned()),
        };
        let first_line = || status.source.as_ref()?.message.clone();
        self.spec.title.clone().or_else(by_kind).or_else(first_line)
    }

    /// What the Application wanted when it began, if it ever did.
    pub fn handled(&self) -> Option<&str> {
        self.status.handled.as_deref()
    }

    /// True where the inputs it is pinned to have been recorded.
    pub fn has_begun(&self) -> bool {
        !self.status.inputs.is_empty()
    }
}

/// Releases in their order: by number, then those that have none yet by age. Times are whole seconds; within one it is the
/// version that tells, which grows with each object that is written (KEP-5504 makes that part of the API).
pub fn sort(releases: &mut [ReleaseView]) {
    releases.sort_by(|a, b| {
        let key = |r: &ReleaseView| (r.status.number.unwrap_or(i64::MAX), r.created, r.version);
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
}

/// The Release that is worked on: of those that have not ended the newest, or the oldest where they queue.
pub fn target(releases: &[ReleaseView], policy: ConcurrencyPolicy) -> Option<&ReleaseView> {
    let mut open = releases.iter().filter(|release| !release.has_ended());
    match policy {
        ConcurrencyPolicy::Supersede => open.next_back(),
        ConcurrencyPolicy::Queue | ConcurrencyPolicy::Forbid => open.next(),
    }
}

/// The Release whose image and configuration should serve while nothing newer has been seen healthy.
pub fn active(releases: &[ReleaseView]) -> Option<&ReleaseView> {
    releases
        .iter()
        .rev()
        .find(|release| release.status.phase == ReleasePhase::Succeeded)
}

/// The newest Release that began, which remembers what was handled. One that was refused or cancelled before it began
/// handled nothing.
pub fn last_handled(releases: &[ReleaseView]) -> Option<&ReleaseView> {
    releases.iter().rev().find(|release| release.handled().is_some())
}

/// The Application and Release that a job works for, by UID: an object that is created again under the same name is another
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOwner {
    /// The Application's UID.
    pub application: String,
    /// The Release's UID.
    pub release: String,
    /// The result of the job, as `Desired::job_key` has it: another Release that needs the same can use the job.
    pub job_key: String,
}

/// The job of an Application: at most one.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// The Application and the Release that it works for.
    pub owner: JobOwner,
    /// How it stands.
    pub state: JobState,
    /// It was told to stop.
    pub stopping: bool,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one exists for each job")]
pub enum JobState {
    /// Waits for a place; 1 is next.
    Queued {
        /// Its place.
        position: usize,
    },
    /// The source is being fetched, or the image pulled.
    Fetching {
        /// Since when.
        since: Timestamp,
    },
    /// The image is being built.
    Building {
        /// Since when.
        since: Timestamp,
    },
    /// The image is being pushed to its registry.
    Pushing {
        /// Since when.
        since: Timestamp,
    },
    /// It has ended and nothing of it runs any more.
    Ended(Result<JobOutput, JobFailure>),
}

impl JobState {
    /// True where nothing of it runs any more.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// What a job made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOutput {
    /// The image: the engine's id or a digest.
    pub image: String,
    /// The tag of an image that Davit built or pulled; `None` if a pulled image existed before.
    pub tag: Option<String>,
    /// What built it; nothing for a pull.
    pub builder: Option<String>,
    /// With what it was built.
    pub details: BuilderDetails,
    /// The commit's first line.
    pub message: Option<String>,
    /// The commit's author.
    pub author: Option<String>,
    /// When fetching and building began.
    pub fetched_at: Option<Timestamp>,
    /// When building began.
    pub built_at: Option<Timestamp>,
    /// When pushing began.
    pub pushed_at: Option<Timestamp>,
    /// Whether the image existed already.
    pub reused: bool,
}

/// Why a job made nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// When.
    pub at: Timestamp,
    /// What went wrong.
    pub problem: Problem,
    /// It ended because it was told to.
    pub cancelled: bool,
    /// The step that failed.
    pub step: Step,
    /// The last lines of its log.
    pub log_tail: String,
    /// The commit's first line and its author, where it was fetched.
    pub commit: Option<(String, String)>,
    /// When building began, if it did.
    pub built_at: Option<Timestamp>,
    /// When pushing began, if it did.
    pub pushed_at: Option<Timestamp>,
    /// What builds, and with what, as far as that was known.
    pub builder: Option<Box<(String, BuilderDetails)>>,
}

impl JobFailure {
    /// What went wrong may pass, so that it is tried again.
    pub fn is_transient(&self) -> bool {
        self.problem.class == Class::Transient && !self.cancelled
    }
}

/// Returns the requested reconcile that was not answered yet.
pub fn request(app: &Application) -> Option<String> {
    let answered = app
        .status
        .as_ref()
        .and_then(|status| status.last_handled_reconcile_at.clone());
    let annotations = app.metadata.annotations.as_ref()?;
    REQUESTED_AT
        .iter()
        .filter_map(|key| annotations.get(*key))
        .max()
        .filter(|asked| Some(*asked) != answered.as_ref())
        .cloned()
}

/// Returns the recorded time of the next try.
pub fn retry_at(app: &Application) -> Option<Timestamp> {
    app.status.as_ref()?.retry.as_ref()?.not_before.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_one_second_stand_as_they_were_created() {
        let view = |name: &str, number: Option<i64>, created: i64, version: u64| ReleaseView {
            name: name.to_owned(),
            uid: String::new(),
            spec: ReleaseSpec::deploy("shop"),
            status: ReleaseStatus {
                number,
                ..ReleaseStatus::default()
            },
            generation: 1,
            created,
            version,
            manual: true,
            owned: false,
        };
        let mut all = [
            view("a", None, 10, 12),
            view("b", None, 10, 9),
            view("c", None, 9, 100),
            view("d", Some(1), 11, 13),
        ];
        sort(&mut all);
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["d", "c", "b", "a"]);
    }

    #[test]
    fn a_release_is_called_as_it_was_asked_for_or_as_its_commit() {
        let view = |spec: serde_json::Value, manual: bool| {
            let release = serde_json::json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
                "metadata": {"name": "r"}, "spec": spec});
            let view = ReleaseView::of(&serde_json::from_value(release).unwrap());
            ReleaseView { manual, ..view }
        };
        let plain = serde_json::json!({"application": "shop"});
        let mut status = ReleaseStatus::default();
        assert_eq!(view(plain.clone(), false).title(&status), None);
        status.source = Some(crate::api::ResolvedSource {
            message: Some("Mend it".to_owned()),
            ..crate::api::ResolvedSource::default()
        });
        for (spec, manual, title) in [
            (plain.clone(), false, "Mend it"),
            (plain, true, "Manual deployment"),
            (
                serde_json::json!({"application": "shop", "type": "Redeploy"}),
                true,
                "Rebuild deployment",
            ),
            (
                serde_json::json!({"application": "shop", "title": "Now"}),
                true,
                "Now",
            ),
        ] {
            assert_eq!(view(spec, manual).title(&status).as_deref(), Some(title));
        }
    }

    #[test]
    fn a_release_that_another_manager_applied_was_asked_for() {
        for (manager, manual) in [
            (None, true),
            (Some("Helm"), true),
            (Some("flux"), true),
            (Some(MANAGER), false),
        ] {
            let release = serde_json::json!({
                "apiVersion": "davit.dev/v1alpha1", "kind": "Release",
                "metadata": {"name": "asked"},
                "spec": {"application": "shop"}});
            let mut release: Release = serde_json::from_value(release).unwrap();
            release.metadata.labels =
                manager.map(|name| [(LABEL_MANAGED_BY.to_owned(), name.to_owned())].into());
            assert_eq!(ReleaseView::of(&release).manual, manual, "{manager:?}");
        }
    }
}
