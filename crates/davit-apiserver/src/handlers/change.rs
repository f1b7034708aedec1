//! The write that update, patch and scale share.

use axum::body::Body;
use http::Response;
use serde_json::Value;

use super::Call;
use crate::{
    object_meta::{self, Fields},
    registry::{builtin::Builtin, builtin_strategy},
    status::{ApiError, ApiResult},
    store::{Change, Expect, Object, Refused},
};

/// How often a change is retried after a conflict before the client gets 409.
const TRIES: usize = 20;

/// Makes a change: `next` gives the wanted state, normalised, from the present one. It is called again after
/// a conflict, unless `once` is set.
pub(super) async fn change(
    call: &mut Call,
    once: bool,
    mut next: impl FnMut(&Object) -> ApiResult<Fields>,
) -> ApiResult<Response<Body>> {
    let mut tries = 0;
    let warned = call.warnings.len();
    loop {
        let current = call.current()?;
        let old = Value::Object(call.resource.in_version(&current, &call.version));
        let mut new = next(&current)?;
        check_versions(call, &new, &current)?;
        call.may_grant(&new, Some(object_meta::fields(&old)))?;
        call.check_allocated(&new, Some(object_meta::fields(&old)))?;
        let given = (call.resource.builtin == Builtin::Service).then(|| new.clone());
        call.scope().prepare_update(&mut new, &old)?;
        if let Some(given) = &given {
            call.allocate_apart(&[given, object_meta::fields(&old)], &mut new);
        }
        object_meta::set(&mut new, "resourceVersion", current.revision.to_string());
        let mut new = call.track(Some(&old), new);
        if let Some(given) = given {
            // What the server allocates or drops changes no owner.
            object_meta::remove(&mut new, "managedFields");
            if let Some(owners) = object_meta::remove(&mut call.track(Some(&old), given), "managedFields") {
                object_meta::set(&mut new, "managedFields", owners);
            }
        }
        let new = Call::keep_times(&old, new);
        if new == *object_meta::fields(&old) {
            return Ok(call.answer(200, &current));
        }
        call.warnings.truncate(warned);
        if call.resource.builtin == Builtin::Custom {
            call.warnings.extend(object_meta::finalizer_warnings(
                &new,
                Some(object_meta::fields(&old)),
            ));
        }
        call.warn_of_service(&new);
        let finished = is_finished(call, &new);
        if call.query.dry_run {
            return call.answer_fields(200, new, current.revision);
        }
        let answered = if finished { new.clone() } else { Fields::new() };
        let action = if finished {
            Change::Delete(Some(new))
        } else {
            Change::Put(call.resource.to_stored(new, &call.version))
        };
        let expect = Expect::Revision(current.revision);
        match call
            .server
            .write(&call.resource, call.key(), expect, action)
            .await
        {
            // What goes with this write is shown as it was last stored.
            Ok(_) if finished => return call.answer_fields(200, answered, current.revision),
            Ok(stored) => return Ok(call.answer(200, &stored)),
            Err(Refused::Changed) if !once && tries < TRIES => tries += 1,
            Err(refused) => return Err(call.refused(refused, call.name())),
        }
    }
}

/// An object that is being deleted goes with its last finalizer.
fn is_finished(call: &Call, new: &Fields) -> bool {
    let metadata = object_meta::of(new);
    metadata.contains_key("deletionTimestamp")
        && object_meta::finalizers(metadata).is_empty()
        && (call.resource.builtin != Builtin::Namespace || builtin_strategy::spec_finalizers(new).is_empty())
}

/// Optimistic locking: what the body says about the object must be true of it.
fn check_versions(call: &Call, new: &Fields, current: &Object) -> ApiResult<()> {
    let gr = call.resource.gr();
    let uid = object_meta::text(new, "uid");
    // A patch that changes it is refused as a change of what may not change.
    if call.content_type.contains("patch") {
        // Looked at by the rules of metadata.
    } else if !uid.is_empty() && *uid != *current.uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            current.uid
        );
        return Err(ApiError::conflict(&gr, call.name(), &why));
    }
    let given = object_meta::text(new, "resourceVersion");
    // 0 is any state, as nothing is.
    if !matches!(given, "" | "0") && given != current.revision.to_string() {
        if given.parse::<u64>().is_ok() {
            return Err(ApiError::changed(&gr, call.name()));
        }
        let why = format!("strconv.ParseUint: parsing \"{given}\": invalid syntax");
        return Err(ApiError::plain_internal(why));
    }
    Ok(())
}
