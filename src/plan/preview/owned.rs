//! Which Applications are the previews of another one, and what they say of themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::child::number;
use super::decision::Wanted;
use crate::api::{
    Application, FROM_FORK, LABEL_MANAGED_BY, LABEL_PREVIEW_OF, MANAGER, PREVIEW_HOST, PULL_REQUEST,
    PUSHED_AT,
};
use crate::model::{AppId, CommitId};

/// Reports whether an Application is a preview of another one.
pub fn is_own(parent: &Application, child: &Application) -> bool {
    let (Some(uid), Some(owners)) = (&parent.metadata.uid, &child.metadata.owner_references) else {
        return false;
    };
    owners
        .iter()
        .any(|owner| owner.uid == *uid && owner.controller == Some(true))
}

/// Reports whether an Application is a preview of another one from which a user took the owner reference away.
fn is_stray(parent: &Application, child: &Application) -> bool {
    let name = parent.metadata.name.as_ref();
    let labels = child.metadata.labels.as_ref();
    let is_labelled = labels.is_some_and(|labels| {
        labels.get(LABEL_PREVIEW_OF) == name
            && labels.get(LABEL_MANAGED_BY).map(String::as_str) == Some(MANAGER)
    });
    let mut owners = child.metadata.owner_references.iter().flatten();
    is_labelled && !owners.any(|owner| owner.controller == Some(true))
}

/// Returns the previews of an Application by the numbers of their pull requests. Their names tell those, whatever a user has done to
/// their annotations.
pub fn own<'a>(parent: &Application, all: &'a [Application]) -> BTreeMap<u64, &'a Application> {
    let of = parent.metadata.name.as_deref().unwrap_or_default();
    all.iter()
        .filter(|child| is_own(parent, child) || is_stray(parent, child))
        .filter_map(|child| Some((number(of, child.metadata.name.as_deref()?)?, child)))
        .collect()
}

/// Returns the commits that previews are built from.
pub fn built(previews: &BTreeMap<u64, &Application>) -> BTreeMap<u64, CommitId> {
    let all = previews.iter();
    all.filter_map(|(number, child)| Some((*number, commit_of(child)?)))
        .collect()
}

/// Returns the commit that a preview is built from.
pub(super) fn commit_of(child: &Application) -> Option<CommitId> {
    let source = child.spec.source.as_ref()?.forge()?;
    CommitId::parse(source.git_ref?.commit.as_deref()?)
}

/// Returns when the commit of a preview was pushed.
pub(super) fn pushed_at_of(child: &Application) -> Option<Timestamp> {
    child.metadata.annotations.as_ref()?.get(PUSHED_AT)?.parse().ok()
}

/// The annotations of a preview that Davit sets, or takes away.
pub const OWN_ANNOTATIONS: [&str; 4] = [PULL_REQUEST, PUSHED_AT, PREVIEW_HOST, FROM_FORK];

/// Reports whether a preview is as it should be.
pub(super) fn is_as_wanted(parent: &AppId, child: &Application, wanted: &Wanted) -> bool {
    let label = child
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_PREVIEW_OF));
    let annotations = child.metadata.annotations.clone().unwrap_or_default();
    let owners = child.metadata.owner_references.as_ref();
    label == Some(&parent.name)
        && owners.is_some_and(|owners| !owners.is_empty())
        && OWN_ANNOTATIONS
            .iter()
            .all(|key| annotations.get(*key) == wanted.annotations.get(*key))
        && child.spec == wanted.spec
}
