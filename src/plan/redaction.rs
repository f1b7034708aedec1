//! Which values container output must not show.

use std::collections::BTreeSet;

use crate::runtime::RedactionPolicy;

use super::containers::hash_of;
use super::desired::Desired;
use super::fingerprint::changed;
use super::state::ReleaseView;
use super::values::Values;

/// Returns the policy by which a runtime masks container output: the values that no log may show, and the containers whose
/// mounted files still have these values.
pub fn redaction_policy(
    values: Option<&Values>,
    desired: Option<&Desired>,
    releases: &[ReleaseView],
) -> RedactionPolicy {
    let has_current_files = |view: &&ReleaseView| {
        desired.is_some_and(|desired| {
            let mut others = changed(&view.status.inputs, &desired.inputs);
            others.all(|field| !field.starts_with("run.volumes."))
        })
    };
    let mut hashes = BTreeSet::new();
    let mut current_files = BTreeSet::new();
    for view in releases {
        let Some(hash) = hash_of(&view.status) else {
            continue;
        };
        // The oldest Release of several with the same containers made them.
        if hashes.insert(hash.clone()) && has_current_files(&view) {
            current_files.insert(hash);
        }
    }
    RedactionPolicy {
        confidential: values.map(|values| values.confidential.clone()),
        current_files,
    }
}
