//! delete and deletecollection.

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use serde::Deserialize;
use serde_json::json;

use super::Call;
use crate::{
    http::response::{self, parse_body},
    object_meta::{self, FOREGROUND, Fields, ORPHAN},
    registry::{admission::mark_deleting, builtin::Builtin, crd, go_decode::decode},
    status::{self, ApiError, ApiResult},
    store::{Change, Expect, GroupResource, Object, Refused},
};

/// `metav1.DeleteOptions`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename = "DeleteOptions", rename_all = "camelCase", default)]
struct Options {
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

fn options(call: &Call) -> ApiResult<Options> {
    let mut options = if call.body.iter().all(u8::is_ascii_whitespace) {
        let (uid, resource_version) = (call.query.uid.clone(), call.query.resource_version.clone());
        let any = uid.is_some() || resource_version.is_some();
        Options {
            preconditions: any.then_some(Preconditions {
                uid,
                resource_version,
            }),
            ..Options::default()
        }
    } else {
        let body = parse_body(&call.content_type, &call.body)?;
        let kind = body
            .get("kind")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        if !matches!(kind, "" | "DeleteOptions") {
            let version = body.get("apiVersion").and_then(serde_json::Value::as_str);
            let version = version
                .filter(|version| !version.is_empty())
                .unwrap_or("meta.k8s.io/v1");
            return Err(ApiError::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        decode(&body).map_err(|error| ApiError::bad_request(error.to_string()))?
    };
    let query = &call.query;
    options.grace_period_seconds = options.grace_period_seconds.or(query.grace_period_seconds);
    options.orphan_dependents = options.orphan_dependents.or(query.orphan_dependents);
    options.propagation_policy = options
        .propagation_policy
        .or_else(|| query.propagation_policy.clone());
    if query.dry_run {
        options.dry_run = Some(vec!["All".into()]);
    }
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        let error =
            crate::field::FieldError::invalid("propagationPolicy", &json!(options.propagation_policy), why);
        return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
    }
    if let Some(policy) = options.propagation_policy.as_deref()
        && !matches!(policy, "Foreground" | "Background" | "Orphan")
    {
        let known = ["Foreground", "Background", "Orphan", "nil"];
        let error = crate::field::FieldError::not_supported("propagationPolicy", &policy.into(), known);
        return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
    }
    Ok(options)
}

/// What a deletion came to.
enum Done {
    /// The object is gone; this was its last state.
    Gone(Arc<Object>),
    /// It is marked, and waits for its finalizers.
    Marked(Arc<Object>),
}

pub(super) async fn delete(call: &mut Call) -> ApiResult<Response<Body>> {
    let options = options(call)?;
    match remove(call, &options).await? {
        // Upstream gives these back as they were.
        Done::Gone(last) if matches!(call.resource.builtin, Builtin::ServiceAccount | Builtin::Service) => {
            Ok(call.answer(200, &last))
        }
        Done::Gone(last) => {
            let body = status::deleted(&call.resource.gr(), &last.key.name, &last.uid).to_string();
            Ok(response::document(
                call.accept.plain(),
                200,
                body.into(),
                &call.warnings,
            ))
        }
        Done::Marked(object) => {
            let code = if options.orphan_dependents == Some(false) {
                202
            } else {
                200
            };
            Ok(call.answer(code, &object))
        }
    }
}

pub(super) async fn delete_collection(call: &mut Call) -> ApiResult<Response<Body>> {
    let selector = call.selector()?;
    let page = super::list::page(call)?;
    let options = options(call)?;
    let rest = page.objects.get(page.skipped..).unwrap_or_default();
    let (taken, next, remaining) = super::list::first_matching(rest, &selector, page.limit);
    let mut touched = Vec::new();
    for object in &taken {
        call.target.name = Some(object.key.name.to_string());
        call.target.namespace = (!object.key.namespace.is_empty()).then(|| object.key.namespace.to_string());
        match remove(call, &options).await {
            Ok(Done::Gone(_) | Done::Marked(_)) => touched.push(object.clone()),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let mut metadata = json!({"resourceVersion": call.server.store.view().revision().to_string()});
    if let Some(next) = next {
        metadata["continue"] = super::list::encode(Some(page.revision), &next.key).into();
        if selector.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    if call.resource.builtin == Builtin::Custom && metadata.get("continue").is_none() {
        metadata["continue"] = "".into();
    }
    let body = call.presenter().list(&touched, &metadata);
    Ok(response::document(call.accept, 200, body, &call.warnings))
}

async fn remove(call: &Call, options: &Options) -> ApiResult<Done> {
    loop {
        let current = call.current()?;
        check(call, options, &current)?;
        let mut object = current.value();
        let finalizers = wanted_finalizers(call, options, &object);
        let waits = !finalizers.is_empty() || call.resource.builtin == Builtin::Namespace;
        if waits {
            mark(call, &mut object, finalizers);
            object_meta::set(&mut object, "resourceVersion", current.revision.to_string());
            if object == current.value() {
                return Ok(Done::Marked(current));
            }
        }
        if options.dry_run.as_ref().is_some_and(|given| !given.is_empty()) {
            let object = Object::render(&mut object, current.revision).map_err(ApiError::internal)?;
            return Ok(if waits {
                Done::Marked(Arc::new(object))
            } else {
                Done::Gone(current)
            });
        }
        let action = if waits {
            Change::Put(object)
        } else {
            Change::Delete(None)
        };
        let expect = Expect::Revision(current.revision);
        match call
            .server
            .write(&call.resource, call.key(), expect, action)
            .await
        {
            Ok(written) if waits => return Ok(Done::Marked(written)),
            Ok(written) => return Ok(Done::Gone(written)),
            // The preconditions are looked at again on the newer state.
            Err(Refused::Changed) => {}
            Err(refused) => return Err(call.refused(refused, call.name())),
        }
    }
}

fn check(call: &Call, options: &Options, current: &Object) -> ApiResult<()> {
    let gr = call.resource.gr();
    // Upstream names the kind here, not the resource.
    let kind = GroupResource::new(&call.resource.group, &call.resource.names.kind);
    if let Some(preconditions) = &options.preconditions {
        if let Some(uid) = preconditions.uid.as_deref().filter(|uid| **uid != *current.uid) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                current.uid
            );
            return Err(ApiError::conflict(&kind, call.name(), &why));
        }
        let newest = current.revision.to_string();
        if let Some(wanted) = preconditions
            .resource_version
            .as_deref()
            .filter(|wanted| **wanted != newest)
        {
            let why = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({newest}). The object might have been modified"
            );
            return Err(ApiError::conflict(&kind, call.name(), &why));
        }
    }
    if call.resource.builtin == Builtin::Namespace {
        let name = call.name();
        if matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(ApiError::forbidden(
                &gr,
                name,
                "this namespace may not be deleted",
            ));
        }
    }
    Ok(())
}

/// The finalizers that the object has to wait for: its own, and what the propagation policy adds.
fn wanted_finalizers(call: &Call, options: &Options, object: &Fields) -> Vec<String> {
    let mut finalizers = object_meta::finalizers(object_meta::of(object));
    let policy = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some(policy), _) => Some(policy),
        (None, Some(true)) => Some("Orphan"),
        (None, Some(false)) => Some("Background"),
        (None, None) => None,
    };
    if let Some(policy) = policy {
        finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
        match policy {
            "Foreground" => finalizers.push(FOREGROUND.into()),
            "Orphan" => finalizers.push(ORPHAN.into()),
            _ => {}
        }
    }
    if call.resource.builtin == Builtin::Crd && !finalizers.iter().any(|name| name == crd::CLEANUP) {
        let first = object_meta::text(object, "deletionTimestamp").is_empty();
        if first {
            finalizers.push(crd::CLEANUP.into());
        }
    }
    finalizers
}

fn mark(call: &Call, object: &mut Fields, finalizers: Vec<String>) {
    object_meta::set_finalizers(object, finalizers);
    match call.resource.builtin {
        Builtin::Namespace => {
            if object_meta::text(object, "deletionTimestamp").is_empty() {
                object_meta::set(object, "deletionTimestamp", object_meta::now());
            }
            let status = object.entry("status").or_insert_with(|| json!({}));
            if let Some(status) = status.as_object_mut() {
                status.insert("phase".into(), "Terminating".into());
            }
        }
        Builtin::Crd => {
            if object_meta::text(object, "deletionTimestamp").is_empty() {
                let now = object_meta::now();
                object_meta::set(object, "deletionTimestamp", now.as_str());
                crd::set_terminating(object, crd::Terminating::Pending, &now);
            }
        }
        _ => mark_deleting(object, 0),
    }
}
