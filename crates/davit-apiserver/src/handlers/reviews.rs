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
        Builtin::SelfAccessReview => access_status(call, &call.identity, &value)?,
        Builtin::AccessReview | Builtin::LocalAccessReview => {
            let groups = texts(&value, "/spec/groups");
            let subject = Identity {
                user: text(&value, "/spec/user").to_owned(),
                uid: text(&value, "/spec/uid").to_owned(),
                groups,
                extra: std::collections::BTreeMap::new(),
            };
            let mut errors = Vec::new();
            if subject.user.is_empty() && subject.groups.is_empty() {
                let why = "at least one of user or group must be specified";
                errors.push(FieldError::invalid("spec.user", &"".into(), why));
            }
            let about = text(&value, "/spec/resourceAttributes/namespace");
            if call.resource.builtin == Builtin::LocalAccessReview
                && call.target.namespace.as_deref() != Some(about)
            {
                let field = "spec.resourceAttributes.namespace";
                errors.push(FieldError::invalid(
                    field,
                    &about.into(),
                    "must match metadata.namespace",
                ));
            }
            if !errors.is_empty() {
                return Err(ApiError::invalid("authorization.k8s.io", "", "", &errors));
            }
            access_status(call, &subject, &value)?
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

fn access_status(call: &Call, subject: &Identity, review: &Value) -> ApiResult<Value> {
    let (resource, path) = (
        review.pointer("/spec/resourceAttributes"),
        review.pointer("/spec/nonResourceAttributes"),
    );
    if let (Some(_), Some(path)) = (resource, path) {
        let why = "cannot be specified in combination with resourceAttributes";
        // Upstream shows its own type, not the one that was sent.
        let shown = json!({"Path": text(path, "/path"), "Verb": text(path, "/verb")});
        let error = FieldError::invalid("spec.nonResourceAttributes", &shown, why);
        return Err(ApiError::invalid("authorization.k8s.io", "", "", &[error]));
    }
    let attributes = if let Some(about) = resource {
        Attributes::Resource {
            verb: text(about, "/verb").to_owned(),
            group: text(about, "/group").to_owned(),
            resource: text(about, "/resource").to_owned(),
            subresource: text(about, "/subresource").to_owned(),
            namespace: text(about, "/namespace").to_owned(),
            name: text(about, "/name").to_owned(),
        }
    } else if let Some(about) = path {
        Attributes::Path {
            verb: text(about, "/verb").to_owned(),
            path: text(about, "/path").to_owned(),
        }
    } else {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let error = FieldError::invalid("spec.resourceAttributes", &Value::Null, why);
        return Err(ApiError::invalid("authorization.k8s.io", "", "", &[error]));
    };
    let decision = rbac::decide(&call.server, subject, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}
