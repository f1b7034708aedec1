//! update, and the end that it shares with patch.

use axum::body::Body;
use http::Response;
use serde_json::Value;

use super::{Call, create::create_object};
use crate::{
    builtin::Builtin,
    field::FieldError,
    kinds,
    meta::{self, Fields},
    status::{ApiError, ApiResult},
    store::{Change, Expect, Object, Refused},
};

/// How often a change is made again because somebody was faster, before the client is told so.
const TRIES: usize = 20;

pub(super) async fn update(call: &mut Call) -> ApiResult<Response<Body>> {
    if call.subresource() == "scale" {
        return super::scale::update(call).await;
    }
    let mut object = call.body_object()?;
    let mut warnings = Vec::new();
    call.scope().normalise(&mut object, &mut warnings)?;
    call.warnings.append(&mut warnings);
    call.check_namespace(&mut object)?;
    let name = meta::text(&object, "name");
    if name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        )));
    }
    if name != call.name() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    if meta::text(&object, "resourceVersion") == "0" {
        meta::remove(&mut object, "resourceVersion");
    }
    let given = meta::text(&object, "resourceVersion").to_owned();
    let absent = call
        .server
        .store
        .view()
        .get(&call.resource.collection, &call.key())
        .is_none();
    if absent && call.resource.builtin.create_on_update() && call.subresource().is_empty() {
        return create_object(call, object).await;
    }
    if given.is_empty() && !call.resource.builtin.unconditional_update() {
        call.current()?;
        return Err(unversioned(call));
    }
    change(call, !given.is_empty(), |_| Ok(object.clone())).await
}

/// 422 for who does not say which state of the object is changed.
pub(super) fn unversioned(call: &Call) -> ApiError {
    let why = "must be specified for an update";
    let errors = [FieldError::invalid("metadata.resourceVersion", &0.into(), why)];
    let (group, plural) = (&call.resource.group, &call.resource.names.plural);
    ApiError::invalid(group, plural, call.name(), &errors)
}

/// Makes a change: `next` gives the wanted state, normalised, from the present one. It is asked again when somebody
/// was faster, unless `once` is set.
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
        call.may_grant(&new, Some(meta::fields(&old)))?;
        call.scope().prepare_update(&mut new, &old)?;
        meta::set(&mut new, "resourceVersion", current.revision.to_string());
        let new = Call::settle(&old, call.track(Some(&old), new));
        if new == *meta::fields(&old) {
            return Ok(call.answer(200, &current));
        }
        call.warnings.truncate(warned);
        if call.resource.builtin == Builtin::Custom {
            call.warnings
                .extend(meta::finalizer_warnings(&new, Some(meta::fields(&old))));
        }
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
    let metadata = meta::of(new);
    metadata.contains_key("deletionTimestamp")
        && meta::finalizers(metadata).is_empty()
        && (call.resource.builtin != Builtin::Namespace || kinds::spec_finalizers(new).is_empty())
}

/// Optimistic locking: what the body says about the object must be true of it.
fn check_versions(call: &Call, new: &Fields, current: &Object) -> ApiResult<()> {
    let gr = call.resource.gr();
    let uid = meta::text(new, "uid");
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
    let given = meta::text(new, "resourceVersion");
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
