//! What the server writes by itself, in the name of that part of a cluster which would have written it.

use std::sync::Arc;

use crate::{
    fieldmanager::track::owned,
    object_meta::{self, Fields},
    registry::Resource,
    state::{Mutation, Server},
    status::{ApiError, ApiResult},
    store::{Change, Expect, ObjectKey, Refused},
};

/// A resource of the core group.
pub fn resource(server: &Server, plural: &str) -> ApiResult<Arc<Resource>> {
    let registry = server.registry();
    registry
        .get("", plural)
        .cloned()
        .ok_or_else(|| ApiError::internal(format!("{plural} are not served")))
}

/// Creates an object unless it is there, in the name of that part of a cluster.
pub async fn ensure(
    server: &Server,
    resource: &Resource,
    mut object: Fields,
    manager: &str,
) -> ApiResult<()> {
    let key = ObjectKey::new(
        object_meta::text(&object, "namespace"),
        object_meta::text(&object, "name"),
    );
    if server.store.view().get(&resource.collection, &key).is_some() {
        return Ok(());
    }
    object_meta::set(&mut object, "uid", uuid::Uuid::new_v4().to_string());
    object_meta::set(&mut object, "creationTimestamp", object_meta::now());
    let object = owned(resource, None, object, manager, "");
    match server
        .write(resource, key, Expect::Absent, Change::Put(object))
        .await
    {
        Ok(_) | Err(Refused::Exists | Refused::Changed | Refused::Gone) => Ok(()),
        Err(Refused::Failed(why)) => Err(ApiError::internal(why)),
    }
}

/// Changes an object in the name of `manager`, through `subresource` if that is not empty. Nothing is written if
/// `change` leaves the object as it was, or if the object does not exist.
pub async fn amend(
    server: &Server,
    resource: &Resource,
    key: &ObjectKey,
    (manager, subresource): (&str, &str),
    mut change: impl FnMut(&mut Fields),
) -> ApiResult<()> {
    server
        .mutate(resource, key, |object| {
            let before = object.clone();
            change(object);
            if *object == before {
                return None;
            }
            let changed = std::mem::take(object);
            *object = owned(resource, Some(&before), changed, manager, subresource);
            Some(Mutation::Put)
        })
        .await
}
