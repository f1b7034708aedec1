//! How the server itself removes objects, as a client would.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    object_meta::{self, FOREGROUND, Fields},
    registry::{Resource, admission::mark_deleting, builtin::Builtin, builtin_strategy},
    state::{Mutation, Server},
    status::ApiResult,
    store::{Object, ObjectKey},
};

/// How many objects are removed at the same time: they share commits.
const PARALLEL: usize = 64;

/// Takes one finalizer off; the last one takes the object with it.
pub fn without_finalizer(object: &mut Fields, finalizer: &str) -> Option<Mutation> {
    let mut finalizers = object_meta::finalizers(object_meta::of(object));
    let before = finalizers.len();
    finalizers.retain(|name| name != finalizer);
    if finalizers.len() == before {
        return None;
    }
    let last = finalizers.is_empty() && !object_meta::text(object, "deletionTimestamp").is_empty();
    object_meta::set_finalizers(object, finalizers);
    let held = object.get("kind").and_then(Value::as_str) == Some("Namespace")
        && !builtin_strategy::spec_finalizers(object).is_empty();
    Some(if last && !held {
        Mutation::Delete
    } else {
        Mutation::Put
    })
}

/// Deletes an object as a client would: at once, or marked if it has finalizers.
pub async fn delete(
    server: &Server,
    resource: &Resource,
    key: &ObjectKey,
    uid: &str,
    foreground: bool,
) -> ApiResult<()> {
    if resource.builtin == Builtin::Namespace {
        return Ok(());
    }
    server
        .mutate(resource, key, |object| {
            if object_meta::text(object, "uid") != uid {
                return None;
            }
            let mut finalizers = object_meta::finalizers(object_meta::of(object));
            let marked = !object_meta::text(object, "deletionTimestamp").is_empty();
            if foreground && !marked && !finalizers.iter().any(|name| name == FOREGROUND) {
                finalizers.push(FOREGROUND.into());
                object_meta::set_finalizers(object, finalizers.clone());
            }
            if finalizers.is_empty() {
                return Some(Mutation::Delete);
            }
            if marked {
                return None;
            }
            mark_deleting(object, 0);
            Some(Mutation::Put)
        })
        .await
}

/// Deletes these objects, many at a time.
pub async fn delete_all(server: &Server, resource: &Resource, objects: Vec<Arc<Object>>) -> ApiResult<()> {
    let results: Vec<ApiResult<()>> = stream::iter(objects)
        .map(|object| async move { delete(server, resource, &object.key, &object.uid, false).await })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    results.into_iter().collect()
}
