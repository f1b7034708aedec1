//! What holds automatic deployments: after a rollback neither a new commit nor a new value takes its place.

use crate::api::{Application, CauseKind, RESUME, ReleasePhase, ReleaseStatus};

use super::desired::Desired;
use super::fingerprint::changed;
use super::rollback::spec_mark;
use super::state::ReleaseView;

/// What holds automatic deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The Release of type Rollback.
    pub release: String,
    /// The Release that it went back to.
    pub origin: String,
}

/// Reports whether a Release says nothing about what holds automatic deployments, because it did not change what runs by the
/// will of a user: a user asked for it and it was refused, failed or has not succeeded yet, or it repaired what was lost.
fn is_beside_the_hold(status: &ReleaseStatus) -> bool {
    if status.phase == ReleasePhase::Succeeded {
        return status
            .cause
            .as_ref()
            .is_some_and(|cause| cause.kind == CauseKind::Drift);
    }
    let Some(cause) = &status.cause else { return true };
    // One that ended because the Application was stopped, for example, is made up for later.
    if status.phase.has_ended() && status.handled.is_none() {
        return true;
    }
    match cause.kind {
        CauseKind::Manual | CauseKind::Drift => true,
        // From its beginning on a Rollback holds, so that no push replaces it.
        CauseKind::Rollback => status.phase.has_ended(),
        // Davit creates one during a hold only because the spec changed or the user resumed.
        CauseKind::Spec
        | CauseKind::Push
        | CauseKind::Tag
        | CauseKind::Poll
        | CauseKind::Secret
        | CauseKind::Preview => false,
    }
}

/// Returns the newest Release that decides whether automatic deployments are held, if that is a Rollback, and whether it
/// still holds them: the spec is the one that it began with, and the user did not resume.
fn decisive<'r, R>(
    app: &Application,
    releases: &'r [R],
    of: impl Fn(&R) -> (&String, &ReleaseStatus),
) -> Option<(&'r R, bool)> {
    let newest = releases
        .iter()
        .rev()
        .find(|release| !is_beside_the_hold(of(release).1))?;
    let (name, status) = of(newest);
    let rollback = status.rollback.as_ref()?;
    let annotations = app.metadata.annotations.as_ref();
    let resumed = annotations
        .and_then(|all| all.get(RESUME))
        .is_some_and(|resumed| resumed == name);
    Some((newest, !resumed && rollback.spec == spec_mark(&app.spec)))
}

/// Returns what holds automatic deployments: a Rollback runs, the spec is the one that it began with, and the user did not
/// resume. A later Release that a user asked for ends the hold only when it has succeeded.
pub fn hold<R>(
    app: &Application,
    releases: &[R],
    of: impl Fn(&R) -> (&String, &ReleaseStatus),
) -> Option<Hold> {
    let (rollback, holds) = decisive(app, releases, &of)?;
    let (name, status) = of(rollback);
    let origin = status.rollback.as_ref()?.release.clone();
    holds.then(|| Hold {
        release: name.clone(),
        origin,
    })
}

/// Reports whether a Rollback runs that holds nothing any more, although the spec asks for something else: that is deployed
/// then, whatever was handled before.
pub(super) fn is_let_go(app: &Application, releases: &[ReleaseView], desired: &Desired) -> bool {
    let newest = decisive(app, releases, |release| (&release.name, &release.status));
    newest.is_some_and(|(rollback, holds)| {
        let differs = || changed(&rollback.status.inputs, &desired.inputs).next().is_some();
        !holds && rollback.status.phase == ReleasePhase::Succeeded && differs()
    })
}
