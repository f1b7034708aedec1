//! How a Release begins: what it is pinned to, and what is different from the one before.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Cause, CauseKind, Reason, ReleasePhase, ReleaseStatus};
use crate::plan::action::CreateReason;
use crate::plan::desired::Desired;
use crate::plan::fingerprint::{REVISION, VALUES, changed, why};
use crate::plan::state::ReleaseView;

use super::{enter, resolved, summarise};

/// The Releases that one that begins is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Earlier<'r> {
    /// The newest that began, however it ended: what is new since then brought this one about.
    pub before: Option<&'r ReleaseView>,
    /// The newest that succeeded, which runs until this one does: `why` says what is different from it.
    pub ran: Option<&'r ReleaseView>,
}

/// Returns a cause of this kind, with nothing more known.
pub fn cause(kind: CauseKind) -> Cause {
    Cause {
        kind,
        actor: None,
        delivery: None,
    }
}

/// Pins a Release: what it is made of, and what is different from those before.
pub fn begin(
    status: &mut ReleaseStatus,
    desired: &Desired,
    handled: Option<String>,
    Earlier { before, ran }: Earlier<'_>,
    reason: CreateReason,
    now: Timestamp,
) {
    // Before anything has run, what the last try was made of.
    let old = ran.or(before).map(|release| &release.status.inputs);
    let old_revision = ran
        .and_then(|release| release.status.source.as_ref())
        .map(|source| source.revision.as_str());
    let revision = desired.source.revision.to_string();
    status.why = why(old, &desired.inputs, old_revision, &revision, &desired.origins);
    status.why.truncate(20);
    // The same as the try before: what is different from what runs does not say why it is tried again.
    let is_repeated =
        before.is_some_and(|before| changed(&before.status.inputs, &desired.inputs).next().is_none());
    if status.why.is_empty() || is_repeated && reason != CreateReason::RolledBack {
        let unfinished = before.filter(|before| before.status.phase != ReleasePhase::Succeeded);
        let again =
            || unfinished.map(|before| format!("release {} ended without being deployed", before.name));
        status.why.extend(reason.why().map(str::to_owned).or_else(again));
    }
    let kind = reason.cause().unwrap_or_else(|| match before {
        Some(before) if only_revision(before, desired) => CauseKind::Poll,
        _ if before.is_some_and(|before| only_values(before, desired)) => CauseKind::Secret,
        _ => CauseKind::Spec,
    });
    status.cause = Some(cause(kind));
    status.source = Some(resolved(&desired.source));
    status.inputs.clone_from(&desired.inputs);
    if let Some(values) = values_mark(status, before, desired) {
        status.inputs.insert(VALUES.to_owned(), values);
    }
    status.image_tag.clone_from(&desired.tag);
    status.config = Some(crate::api::Later(desired.config.clone()));
    status.handled = handled;
    status.started_at = Some(now.to_string());
    enter(status, ReleasePhase::Pending, now);
    // A Release that waited for its source before it began waits no longer.
    summarise(status, Reason::Pending, Reason::Pending.sentence(), now);
}

/// Fills in what another Release has found out about the same revision, since an image that is there is not fetched for.
pub fn recall(status: &mut ReleaseStatus, releases: &[ReleaseView]) {
    let Some(source) = &mut status.source else { return };
    let mut known = releases
        .iter()
        .rev()
        .filter_map(|release| release.status.source.as_ref());
    if let Some(known) = known.find(|known| known.revision == source.revision && known.message.is_some()) {
        source.message.clone_from(&known.message);
        source.author.clone_from(&known.author);
    }
}

/// What marks the containers of a Release beside its inputs: the first Release with these values of Secrets and ConfigMaps.
///
/// A container that had to be made again in the meantime has the values of its time. With the old values back, the
/// digests are those of before, and such a container would count as one that has them.
fn values_mark(status: &ReleaseStatus, before: Option<&ReleaseView>, desired: &Desired) -> Option<String> {
    let before = before?;
    let others =
        changed(&before.status.inputs, &desired.inputs).any(|field| is_value(field, before, desired));
    if others {
        status.number.map(|number| number.to_string())
    } else {
        before.status.inputs.get(VALUES).cloned()
    }
}

/// Whether a field's value comes from what the spec refers to.
fn is_value(field: &str, before: &ReleaseView, desired: &Desired) -> bool {
    // A key that is gone from an object that is taken whole has no value any more to come from anywhere.
    let gone = field
        .strip_prefix("run.env.")
        .filter(|_| !desired.inputs.contains_key(field));
    desired.origins.contains_key(field) || gone.is_some_and(|name| !was_literal(name, before))
}

/// Whether a variable of a Release stood in the spec itself, and refers to no other one.
fn was_literal(name: &str, release: &ReleaseView) -> bool {
    let config = release.status.config.as_ref().map(|config| &config.0);
    let env = config.and_then(|config| config.get("env")?.as_array());
    let mut all = env.into_iter().flatten();
    let text = all
        .find(|one| one.get("name").and_then(Value::as_str) == Some(name))
        .and_then(|one| one.get("value")?.as_str());
    text.is_some_and(|text| !text.contains("$("))
}

/// Reports whether the revision is the only difference.
fn only_revision(before: &ReleaseView, desired: &Desired) -> bool {
    let mut fields = changed(&before.status.inputs, &desired.inputs);
    fields.next().is_some_and(|field| field == REVISION) && fields.next().is_none()
}

/// True where the spec is the same and something that it refers to is not.
fn only_values(before: &ReleaseView, desired: &Desired) -> bool {
    let config = before.status.config.as_ref().map(|config| &config.0);
    let mut others = changed(&before.status.inputs, &desired.inputs).peekable();
    config == Some(&desired.config)
        && others.peek().is_some()
        && others.all(|field| is_value(field, before, desired))
}
