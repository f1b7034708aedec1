//! list, in pages where that is asked for; every page shows the same revision.

use std::sync::Arc;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use serde_json::{Value, json};

use super::Call;
use crate::{
    field::FieldError,
    http::{list_stream, negotiation::Shape, request::Match, response, selector::Selector},
    registry::builtin::Builtin,
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
    let page = page(call)?;
    let rest = page.objects.get(page.skipped..).unwrap_or_default();
    let (mut taken, next, remaining) = first_matching(rest, &selector, page.limit);
    if call.resource.builtin == Builtin::FlowSchema && matches!(call.accept.shape, Shape::Table(_)) {
        taken.sort_by_cached_key(|schema| precedence(schema));
    }
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = next {
        metadata["continue"] = encode(Some(page.revision), &next.key).into();
        if selector.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let whole = call.resource.builtin == Builtin::Custom && call.accept.shape == Shape::Whole;
    if whole && metadata.get("continue").is_none() {
        metadata["continue"] = "".into();
    }
    let presenter = call.presenter();
    if let Some(answer) = list_stream::answer(&presenter, &taken, &metadata, &call.warnings) {
        return Ok(answer);
    }
    let body = presenter.list(&taken, &metadata);
    Ok(response::document(call.accept, 200, body, &call.warnings))
}

/// The order in which requests are compared with flow schemas: tables show them in it.
fn precedence(schema: &Object) -> (i64, Box<str>) {
    let spec = schema.value().remove("spec").unwrap_or_default();
    let precedence = spec.get("matchingPrecedence").and_then(Value::as_i64);
    (precedence.unwrap_or_default(), schema.key.name.clone())
}

/// The first `limit` selected objects (all for 0), the object where the next page begins, and how many are left.
pub(super) fn first_matching<'a>(
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

/// The state that a request asks for, and which part of it.
pub(super) struct Asked {
    /// The revision of that state.
    pub revision: u64,
    /// All of the objects, by namespace and name.
    pub objects: Vec<Arc<Object>>,
    /// How many of them were on pages before this one.
    pub skipped: usize,
    /// How many may be given; 0 for all.
    pub limit: usize,
}

impl Asked {
    fn whole(page: Page, limit: usize) -> Self {
        Self {
            revision: page.revision,
            objects: page.objects,
            skipped: 0,
            limit,
        }
    }
}

/// What a list, or the deletion of one, is about.
pub(super) fn page(call: &Call) -> ApiResult<Asked> {
    check_options(call)?;
    let view = call.server.store.view();
    let namespace = call.target.namespace.as_deref();
    let collection = &call.resource.collection;
    let limit = call.query.limit;
    let wanted = call.query.resource_version.as_deref();
    if let Some(token) = &call.query.continue_token {
        let (revision, from) = decode(token)?;
        if wanted.is_some_and(|wanted| wanted != "0") {
            let why = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(why));
        }
        let page = match revision {
            Some(revision) => view
                .list_at(collection, namespace, revision)
                .map_err(|_| ApiError::expired_page(&encode(None, &from)))?,
            None => view.list(collection, namespace),
        };
        let skipped = page.objects.partition_point(|object| object.key < from);
        return Ok(Asked {
            skipped,
            ..Asked::whole(page, limit)
        });
    }
    let revision: u64 = match wanted {
        None => return Ok(Asked::whole(view.list(collection, namespace), limit)),
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
        None => limit > 0 && revision > 0,
    };
    if exact {
        let why = "The resourceVersion for the provided list is too old.";
        let page = view.list_at(collection, namespace, revision);
        return page
            .map(|page| Asked::whole(page, limit))
            .map_err(|_| ApiError::expired(why));
    }
    // Upstream's memory, which is what 0 asks for, has no pages.
    let limit = if revision == 0 { 0 } else { limit };
    Ok(Asked::whole(view.list(collection, namespace), limit))
}

/// Refuses options that contradict each other.
pub(super) fn check_options(call: &Call) -> ApiResult<()> {
    const MATCH: &str = "resourceVersionMatch";
    let query = &call.query;
    let mut errors = Vec::new();
    let mut forbidden = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    let continued = query.continue_token.is_some();
    if query.watch {
        let wrong = query
            .version_match
            .is_some_and(|given| given != Match::NotOlderThan);
        if query.initial_events.is_some() && query.version_match != Some(Match::NotOlderThan) {
            forbidden(
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if query.version_match.is_some() && query.initial_events.is_none() {
            forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if continued {
            forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if wrong {
            errors.push(FieldError::not_supported(
                MATCH,
                &"Exact".into(),
                ["NotOlderThan"],
            ));
        }
    } else {
        if query.version_match.is_some() && query.resource_version.is_none() {
            forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if query.version_match.is_some() && continued {
            forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if query.version_match == Some(Match::Exact) && query.resource_version.as_deref() == Some("0") {
            forbidden(
                MATCH,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        if query.initial_events.is_some() {
            forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }
}

/// Where the next page begins, and of which revision it is; without one it is of what is there by then.
pub(super) fn encode(revision: Option<u64>, next: &ObjectKey) -> String {
    // Upstream writes -1 where no revision holds the pages together any more.
    let revision = revision.map_or(json!(-1), Value::from);
    let token =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}/{}", next.namespace, next.name)});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn decode(token: &str) -> ApiResult<(Option<u64>, ObjectKey)> {
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
        .filter(|rv| rv.is_u64() || **rv == -1)
        .ok_or_else(|| invalid("incorrect encoded start rv"))?
        .as_u64();
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
        for revision in [Some(7), None] {
            assert_eq!(decode(&encode(revision, &key)).unwrap(), (revision, key.clone()));
        }
        for bad in ["", "!", "e30", "eyJydiI6LTIsInN0YXJ0IjoiYS9iIn0"] {
            assert_eq!(decode(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
