//! create

use axum::body::Body;
use http::Response;

use super::{Call, reviews, token_request};
use crate::{
    object_meta::{self, Fields},
    registry::builtin::Builtin,
    state::crd_collection,
    status::{ApiError, ApiResult},
    store::{Change, Expect, GroupResource, ObjectKey, Refused},
};

/// How often a generated name is drawn again when it is taken.
const DRAWS: usize = 8;

pub(super) async fn create(call: &mut Call) -> ApiResult<Response<Body>> {
    if call.subresource() == "token" {
        check_room(call, call.name())?;
        return token_request::create(call, &*call.current()?);
    }
    let mut object = call.body_object()?;
    let mut warnings = Vec::new();
    call.scope().normalise(&mut object, &mut warnings)?;
    call.warnings.append(&mut warnings);
    if call.resource.builtin.is_review() {
        let object = match call.resource.builtin {
            Builtin::SelfRulesReview | Builtin::SelfReview => object,
            _ => call.track(None, object),
        };
        let answer = reviews::answer(call, object)?;
        return call.answer_fields(201, answer, 0);
    }
    call.check_namespace(&mut object)?;
    create_object(call, object).await
}

/// Creates a normalised object.
pub(super) async fn create_object(call: &mut Call, object: Fields) -> ApiResult<Response<Body>> {
    if !object_meta::text(&object, "resourceVersion").is_empty() {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::plain_internal(why));
    }
    let name = object_meta::text(&object, "name");
    check_room(call, name)?;
    check_definition(call, name)?;
    if call.resource.builtin == Builtin::Custom {
        call.warnings
            .extend(object_meta::finalizer_warnings(&object, None));
    }
    let base = object_meta::text(&object, "generateName").to_owned();
    let generated = object_meta::text(&object, "name").is_empty() && !base.is_empty();
    let mut draws = 0;
    loop {
        let mut object = object.clone();
        if generated {
            object_meta::set(&mut object, "name", object_meta::generate_name(&base));
        }
        call.may_grant(&object, None)?;
        call.check_allocated(&object, None)?;
        // A feature that is off drops fields after their owner was written down.
        // What the server allocates has no owner.
        let early = matches!(call.resource.builtin, Builtin::Lease | Builtin::Service);
        let owned = early.then(|| call.track(None, object.clone()));
        call.scope().prepare_create(&mut object)?;
        if let Some(given) = &owned {
            call.allocate_apart(&[given], &mut object);
        }
        let mut object = call.track(None, object);
        if let Some(mut owned) = owned {
            object_meta::remove(&mut object, "managedFields");
            if let Some(owners) = object_meta::remove(&mut owned, "managedFields") {
                object_meta::set(&mut object, "managedFields", owners);
            }
        }
        let object = object;
        if draws == 0 {
            call.warn_of_service(&object);
        }
        let name = object_meta::text(&object, "name").to_owned();
        let key = ObjectKey::new(call.namespace(), &name);
        if call.query.dry_run {
            if call
                .server
                .store
                .view()
                .get(&call.resource.collection, &key)
                .is_some()
            {
                return Err(call.refused(Refused::Exists, &name));
            }
            // What a dry run made has no resourceVersion.
            return call.answer_fields(201, object, 0);
        }
        let stored = call.resource.to_stored(object, &call.version);
        match call
            .server
            .write(&call.resource, key, Expect::Absent, Change::Put(stored))
            .await
        {
            Ok(stored) => return Ok(call.answer(201, &stored)),
            Err(Refused::Exists) if generated && draws < DRAWS => draws += 1,
            Err(refused) => return Err(call.refused(refused, &name)),
        }
    }
}

/// The namespace must be there and must not be on its way out.
fn check_room(call: &Call, name: &str) -> ApiResult<()> {
    if !call.resource.namespaced {
        return Ok(());
    }
    if call.namespace().is_empty() {
        return Err(ApiError::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    let namespaces = GroupResource::new("", "namespaces");
    let key = ObjectKey::new("", call.namespace());
    let namespace = call.server.store.view().get(&namespaces, &key);
    let namespace = namespace.ok_or_else(|| ApiError::not_found(&namespaces, call.namespace()))?;
    if namespace.deleting {
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            call.namespace()
        );
        let cause = format!("namespace {} is being terminated", call.namespace());
        return Err(ApiError::forbidden(&call.resource.gr(), name, &why).with_cause(
            "NamespaceTerminating",
            &cause,
            "metadata.namespace",
        ));
    }
    Ok(())
}

/// Of a definition that is on its way out there are no new objects.
fn check_definition(call: &Call, name: &str) -> ApiResult<()> {
    if call.resource.builtin != Builtin::Custom {
        return Ok(());
    }
    let gr = call.resource.gr();
    let key = ObjectKey::new("", &gr.to_string());
    let definition = call.server.store.view().get(&crd_collection(), &key);
    if definition.is_none_or(|definition| definition.deleting) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::forbidden(&gr, name, why));
    }
    Ok(())
}
