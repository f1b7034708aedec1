//! Rollback: the image and the configuration of an earlier Release run again. What that holds afterwards: see `hold`.

use crate::api::{
    Application, ApplicationSpec, Reason, ReleasePhase, ReleaseStatus, ReleaseType, RolledBack,
};
use crate::builder::Export;
use crate::error::{Class, Problem};
use crate::model::{AppId, ImageRef, Revision};

use super::capabilities;
use super::deployment::deployment;
use super::desired::{Desired, Install, PinnedSource, config, recorded_config, run_inputs};
use super::fingerprint::{self, BUILD, SOURCE, VALUES};
use super::input::{DesiredState, PlanInput};
use super::source_kind;
use super::state::{JobOutput, ReleaseView, target};
use super::values::Values;

/// How many Releases a message names.
const NAMED: usize = 5;

/// Returns the Release that a Rollback goes back to.
///
/// # Errors
/// It does not exist, or never served.
pub fn origin<'r>(rollback: &ReleaseView, releases: &'r [ReleaseView]) -> Result<&'r ReleaseView, Problem> {
    let name = rollback.spec.rollback_to.as_deref().unwrap_or_default();
    let serves = |release: &&ReleaseView| {
        release.status.phase == ReleasePhase::Succeeded && release.status.image.is_some()
    };
    let way_out = || {
        let good = releases.iter().rev().filter(serves).take(NAMED);
        let names: Vec<&str> = good.map(|release| release.name.as_str()).collect();
        if names.is_empty() {
            "no Release of the Application has succeeded yet, so deploy it".to_owned()
        } else {
            format!(
                "create a Release with rollbackTo set to one of {}",
                names.join(", ")
            )
        }
    };
    let Some(found) = releases.iter().find(|release| release.name == name) else {
        let message = format!(
            "spec.rollbackTo is {name:?}, which is no Release of Application {}: {}",
            rollback.spec.application,
            way_out()
        );
        return Err(Problem::new(Class::Terminal, Reason::ReleaseNotFound, message));
    };
    if !serves(&found) {
        let message = format!(
            "spec.rollbackTo is {name}, which never served (its phase is {:?}): {}",
            found.status.phase,
            way_out()
        );
        return Err(Problem::new(Class::Terminal, Reason::ReleaseNeverServed, message));
    }
    Ok(found)
}

/// Returns the current Release and the one that it goes back to, if the current Release is a Rollback without an image.
pub fn current<'r>(
    app: &Application,
    releases: &'r [ReleaseView],
) -> Option<Result<&'r ReleaseView, Problem>> {
    let current = target(releases, app.spec.concurrency_policy)?;
    let needs_image = current.spec.kind == ReleaseType::Rollback && current.status.image.is_none();
    needs_image.then(|| origin(current, releases))
}

/// Returns the configuration whose values the current Release needs, if that is a Rollback.
pub fn current_config(app: &Application, releases: &[ReleaseView]) -> Option<ApplicationSpec> {
    let origin = current(app, releases)?.ok()?;
    recorded_config(&origin.name, &origin.status).ok()
}

/// Returns what a Rollback brings about: image and configuration of the earlier Release, with the present values of what
/// the configuration refers to.
///
/// # Errors
/// The earlier Release cannot run again.
pub fn desired(
    id: &AppId,
    rollback: &ReleaseView,
    releases: &[ReleaseView],
    values: &Result<Values, Problem>,
    install: &Install,
) -> Result<Desired, Problem> {
    let origin = origin(rollback, releases)?;
    let values = values.as_ref().map_err(Clone::clone)?;
    let spec = recorded_config(&origin.name, &origin.status)?;
    capabilities::check(&spec, &install.capabilities)?;
    let text = origin
        .status
        .source
        .as_ref()
        .map_or("", |source| &source.revision);
    let revision = Revision::commit(text)
        .or_else(|| Revision::image(text))
        .or_else(|| Revision::archive(text));
    let revision = revision.ok_or_else(|| {
        let message = format!(
            "status.source.revision of release {} cannot be read: create a Release of type Deploy",
            origin.name
        );
        Problem::new(Class::Terminal, Reason::Internal, message)
    })?;
    let (mut inputs, origins) = run_inputs(&install.key, &spec, values)?;
    let made = |field: &String| field.starts_with(SOURCE) || field.starts_with(BUILD);
    inputs.extend(
        origin
            .status
            .inputs
            .iter()
            .filter(|(field, _)| made(field))
            .map(|(field, value)| (field.clone(), value.clone())),
    );
    inputs.remove(VALUES);
    // What cannot run is refused before the containers that serve are touched.
    deployment(id, "", "", "", &spec, values)?;
    Ok(Desired {
        // Nothing is fetched; the status repeats the source of the earlier Release.
        source: PinnedSource {
            kind: "",
            locator: String::new(),
            revision,
            path: String::new(),
            submodules: false,
            tag: None,
            unwatched: None,
            skipped: false,
        },
        inputs,
        build: None,
        export: Export::Engine,
        tag: origin.status.image_tag.clone(),
        config: config(&spec),
        origins,
    })
}

/// Returns the image of the earlier Release as the result of a job, without a job.
pub fn image_of(origin: &ReleaseView) -> JobOutput {
    let status = &origin.status;
    let source = status.source.as_ref();
    JobOutput {
        image: status.image.clone().unwrap_or_default(),
        tag: status.image_tag.clone(),
        builder: status.builder.as_ref().map(|builder| builder.kind.clone()),
        message: source.and_then(|source| source.message.clone()),
        author: source.and_then(|source| source.author.clone()),
        ..JobOutput::default()
    }
}

/// Returns the problem of a Rollback whose image is gone, with the way to the same image that the present source allows.
pub fn image_is_gone(app: &Application, rollback: &ReleaseView, releases: &[ReleaseView]) -> Problem {
    let name = rollback.spec.rollback_to.as_deref().unwrap_or_default();
    let origin = releases.iter().find(|release| release.name == name);
    let revision = origin
        .and_then(|origin| origin.status.source.as_ref())
        .map_or("", |source| &source.revision);
    let solution = match (&app.spec.source, Revision::image(revision)) {
        (_, Some(Revision::Image(ImageRef::Engine(_))))
            if origin.is_some_and(|origin| origin.status.builder.is_none()) =>
        {
            "load the image into the engine again, or set rollbackTo to another Release".to_owned()
        }
        (Some(source), _) if source_kind::makes_again(source, revision) => format!(
            "create a Release of type Deploy with revision {}, which makes the image again",
            revision.rsplit('@').next().unwrap_or_default()
        ),
        _ => format!(
            "set spec.source to that of revision {revision}, which makes the image again, or set rollbackTo to another Release"
        ),
    };
    let message = format!("the image of release {name} is not in the engine any more: {solution}");
    Problem::new(Class::Terminal, Reason::ImageNotFound, message)
}

/// What is known of a Rollback before it begins.
pub(super) enum Verdict {
    /// It can run.
    Runs,
    /// It waits for this.
    Waits(Problem),
    /// It is refused because of this.
    Refused(Problem),
}

/// Judges the current Release if that is a Rollback that has not begun: only one that can run may take the place of what is
/// under way.
pub(super) fn verdict(input: &PlanInput<'_>, current: &ReleaseView) -> Verdict {
    if current.spec.kind != ReleaseType::Rollback || current.has_begun() || current.spec.cancel {
        return Verdict::Runs;
    }
    if let DesiredState::Unknown(problem) = &input.target {
        let problem = problem.clone();
        return match problem.class {
            Class::Terminal => Verdict::Refused(problem),
            Class::Waiting | Class::Transient => Verdict::Waits(problem),
        };
    }
    match &input.image {
        Ok(Some(_)) => Verdict::Runs,
        Ok(None) => Verdict::Refused(image_is_gone(input.app, current, &input.releases)),
        Err(problem) => Verdict::Waits(problem.clone()),
    }
}

/// Records in the status of a Rollback what it goes back to.
pub fn begin(status: &mut ReleaseStatus, origin: Option<&ReleaseView>, app: &Application) {
    let Some(origin) = origin else { return };
    status.source.clone_from(&origin.status.source);
    if let Some(source) = &mut status.source {
        source.unwatched_revision = None;
    }
    status.rollback = Some(RolledBack {
        release: origin.name.clone(),
        spec: spec_mark(&app.spec),
    });
}

/// Returns a digest of the parts of a spec whose change deploys. It is not keyed: a user with access to the Release sees
/// the spec too.
pub(super) fn spec_mark(spec: &ApplicationSpec) -> String {
    let mut deployed = config(spec);
    if let Some(all) = deployed.as_object_mut() {
        let parts = ApplicationSpec {
            source: spec.source.clone(),
            build: spec.build.clone(),
            image: spec.image.clone(),
            hooks: spec.hooks.clone(),
            ..ApplicationSpec::default()
        };
        all.insert(
            "parts".to_owned(),
            serde_json::to_value(parts).unwrap_or_default(),
        );
    }
    fingerprint::plain(&deployed.to_string())
}
