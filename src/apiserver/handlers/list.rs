//! list, in pages where that is asked for; every page shows the same revision.

use std::sync::Arc;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use serde_json::{Value, json};

use super::Call;
use crate::apiserver::{
    builtin::Builtin,
    field::FieldError,
    negotiate::Shape,
    request::Match,
    respond,
    selector::Selector,
    status::{ApiError, ApiResult},
    store::{Object, ObjectKey, Page},
};

pub(super) fn list(call: &mut Call) -> ApiResult<Response<Body>> {
    if call.accept.single {
        let kind = &call.resource.names.list_kind;
        let mut error = ApiError::not_acceptable(&[]);
        error.message =
            format!("you requested PartialObjectMetadata, but the requested object is a list (*core.{kind})");
        return Err(error);
    }
    let selector = call.selector()?;
    let start = call.query.continue_token.as_deref().map(decode).transpose()?;
    let page = page(call, start.as_ref().map(|(revision, _)| *revision))?;
    let skipped = start.map_or(0, |(_, from)| {
        page.objects.partition_point(|object| object.key < from)
    });
    let rest = page.objects.get(skipped..).unwrap_or_default();
    let (taken, next, remaining) = take(rest, &selector, call.query.limit);
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = next {
        metadata["continue"] = encode(page.revision, &next.key).into();
        if selector.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let whole = call.resource.builtin == Builtin::Custom && call.accept.shape == Shape::Whole;
    if whole && metadata.get("continue").is_none() {
        metadata["continue"] = "".into();
    }
    let body = call.presenter().list(&taken, &metadata);
    Ok(respond::document(call.accept, 200, body, &call.warnings))
}

/// The first `limit` selected objects (all for 0), the object where the next page begins, and how many are left.
pub(super) fn take<'a>(
    objects: &'a [Arc<Object>],
    selector: &Selector,
    limit: usize,
) -> (Vec<Arc<Object>>, Option<&'a Arc<Object>>, usize) {
    let mut taken = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        if !selector.matches(object) {
            continue;
        }
        if limit > 0 && taken.len() == limit {
            return (taken, Some(object), objects.len() - index);
        }
        taken.push(object.clone());
    }
    (taken, None, 0)
}

/// The state that the request asks for.
fn page(call: &Call, continued: Option<u64>) -> ApiResult<Page> {
    let view = call.server.store.view();
    let namespace = call.target.namespace.as_deref();
    let collection = &call.resource.collection;
    let wanted = call.query.resource_version.as_deref();
    if let Some(revision) = continued {
        if wanted.is_some_and(|wanted| wanted != "0") {
            let why = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(why));
        }
        return view.list_at(collection, namespace, revision).map_err(|_| {
            ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter.",
            )
        });
    }
    check_options(call)?;
    let revision: u64 = match wanted {
        None => return Ok(view.list(collection, namespace)),
        Some(text) => text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            ))
        })?,
    };
    let newest = view.revision();
    if revision > newest {
        return Err(ApiError::too_large_revision(revision, newest));
    }
    // Without a match, a limit makes a revision exact: so it was before the match existed.
    let exact = match call.query.version_match {
        Some(Match::Exact) => true,
        Some(Match::NotOlderThan) => false,
        None => call.query.limit > 0 && revision > 0,
    };
    if exact {
        let why = "The resourceVersion for the provided list is too old.";
        return view
            .list_at(collection, namespace, revision)
            .map_err(|_| ApiError::expired(why));
    }
    Ok(view.list(collection, namespace))
}

/// Refuses options that contradict each other.
pub(super) fn check_options(call: &Call) -> ApiResult<()> {
    let mut errors = Vec::new();
    let query = &call.query;
    if let Some(given) = query.version_match {
        if query.resource_version.is_none() && query.initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden("resourceVersionMatch", why));
        }
        if given == Match::Exact && query.resource_version.as_deref() == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden("resourceVersionMatch", why));
        }
        if query.watch && query.initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden("resourceVersionMatch", why));
        }
    }
    if query.initial_events.is_some() {
        if !query.watch {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", why));
        } else if query.version_match != Some(Match::NotOlderThan) {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden("resourceVersionMatch", why));
            if query.version_match.is_some() {
                let known = ["NotOlderThan"];
                errors.push(FieldError::not_supported(
                    "resourceVersionMatch",
                    &"Exact".into(),
                    known,
                ));
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }
}

pub(super) fn encode(revision: u64, next: &ObjectKey) -> String {
    let token =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}/{}", next.namespace, next.name)});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn decode(token: &str) -> ApiResult<(u64, ObjectKey)> {
    let invalid = |why: &str| {
        ApiError::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
    };
    let raw = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|error| invalid(&error.to_string()))?;
    let value: Value = serde_json::from_slice(&raw).map_err(|error| invalid(&error.to_string()))?;
    let revision = value
        .get("rv")
        .and_then(Value::as_u64)
        .ok_or_else(|| invalid("incorrect encoded start rv"))?;
    let start = value.get("start").and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = start
        .split_once('/')
        .ok_or_else(|| invalid("incorrect encoded start key"))?;
    Ok((revision, ObjectKey::new(namespace, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let key = ObjectKey::new("a", "b.c");
        assert_eq!(decode(&encode(7, &key)).unwrap(), (7, key));
        for bad in ["", "!", "e30"] {
            assert_eq!(decode(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
