//! Reviews: questions that are created and answered, and never stored.

use serde_json::{Value, json};

use super::Call;
use crate::{
    auth::{
        identity::Identity,
        rbac::{self, Attributes},
    },
    field::FieldError,
    json_pointer::{text, texts},
    object_meta::{self, Fields},
    registry::builtin::Builtin,
    status::{ApiError, ApiResult},
};

/// The review with its answer in the status.
pub fn answer(call: &Call, mut review: Fields) -> ApiResult<Fields> {
    let value = Value::Object(review.clone());
    let status = match call.resource.builtin {
        Builtin::SelfAccessReview => {
            check(call, &value)?;
            access_status(call, &call.identity, &value)
        }
        Builtin::AccessReview | Builtin::LocalAccessReview => {
            check(call, &value)?;
            let subject = Identity {
                user: text(&value, "/spec/user").to_owned(),
                uid: text(&value, "/spec/uid").to_owned(),
                groups: texts(&value, "/spec/groups"),
                extra: std::collections::BTreeMap::new(),
            };
            access_status(call, &subject, &value)
        }
        Builtin::SelfRulesReview => {
            if text(&value, "/spec/namespace").is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            review.insert("spec".into(), json!({}));
            let rules = rbac::rules(&call.server, &call.identity, text(&value, "/spec/namespace"));
            json!({"resourceRules": rules.resources, "nonResourceRules": rules.paths, "incomplete": false})
        }
        Builtin::SelfReview => {
            object_meta::set(&mut review, "creationTimestamp", object_meta::now());
            json!({"userInfo": user_info(&call.identity)})
        }
        Builtin::TokenReview => token_status(call, &value)?,
        _ => return Err(ApiError::method_not_allowed()),
    };
    review.insert("status".into(), status);
    Ok(review)
}

/// Whose token that is, for an audience that it was made for.
fn token_status(call: &Call, review: &Value) -> ApiResult<Value> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let wanted = texts(review, "/spec/audiences");
    Ok(match call.server.review_token(token, &wanted) {
        Ok((identity, audiences)) => {
            json!({"authenticated": true, "user": user_info(&identity), "audiences": audiences})
        }
        Err(why) => json!({"error": why, "user": {}}),
    })
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        info["uid"] = identity.uid.clone().into();
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

/// Refuses a review that asks about no action, or about two.
fn check(call: &Call, review: &Value) -> ApiResult<()> {
    const METADATA: &str = "metadata";
    let mut errors = Vec::new();
    let mut refuse =
        |field: &str, value: &Value, why: &str| errors.push(FieldError::invalid(field, value, why));
    let (resource, path) = (
        review.pointer("/spec/resourceAttributes"),
        review.pointer("/spec/nonResourceAttributes"),
    );
    // Upstream shows its own type, not the one that was sent.
    let shown = path.map(|path| json!({"Path": text(path, "/path"), "Verb": text(path, "/verb")}));
    match (resource, &shown) {
        (Some(_), Some(shown)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            refuse("spec.nonResourceAttributes", shown, why);
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            refuse("spec.resourceAttributes", &Value::Null, why);
        }
        _ => {}
    }
    let is_local = call.resource.builtin == Builtin::LocalAccessReview;
    let asks_of_others = is_local || call.resource.builtin == Builtin::AccessReview;
    if asks_of_others && text(review, "/spec/user").is_empty() && texts(review, "/spec/groups").is_empty() {
        let why = "at least one of user or group must be specified";
        refuse("spec.user", &"".into(), why);
    }
    let metadata = review.get(METADATA).and_then(Value::as_object);
    let mut given = metadata
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    if given.any(|(key, _)| key != "managedFields" && !(is_local && key == "namespace")) {
        let but = if is_local { " except for namespace" } else { "" };
        let metadata = review.get(METADATA).unwrap_or(&Value::Null);
        refuse(METADATA, metadata, &format!("must be empty{but}"));
    }
    if is_local {
        let about = resource.map(|resource| text(resource, "/namespace"));
        if about.is_some() && call.target.namespace.as_deref() != about {
            let field = "spec.resourceAttributes.namespace";
            refuse(field, &about.into(), "must match metadata.namespace");
        }
        if let Some(shown) = &shown {
            refuse(
                "spec.nonResourceAttributes",
                shown,
                "disallowed on this kind of request",
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("authorization.k8s.io", "", "", &errors))
    }
}

fn access_status(call: &Call, subject: &Identity, review: &Value) -> Value {
    let pointed = |pointer: &str, key: &str| text(review, &format!("/spec/{pointer}/{key}")).to_owned();
    let attributes = if review.pointer("/spec/resourceAttributes").is_some() {
        let about = |key: &str| pointed("resourceAttributes", key);
        Attributes::Resource {
            verb: about("verb"),
            group: about("group"),
            resource: about("resource"),
            subresource: about("subresource"),
            namespace: about("namespace"),
            name: about("name"),
        }
    } else {
        let about = |key: &str| pointed("nonResourceAttributes", key);
        Attributes::Path {
            verb: about("verb"),
            path: about("path"),
        }
    };
    let decision = rbac::decide(&call.server, subject, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}
