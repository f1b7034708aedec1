//! Reviews: questions that are created and answered, and never stored.

use serde_json::{Value, json};

use super::{
    access::{self, Attributes},
    builtin::Builtin,
    handlers::Call,
    identity::Identity,
    meta::Fields,
    status::{ApiError, ApiResult},
};

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// The review with its answer in the status.
pub fn answer(call: &Call, mut review: Fields) -> ApiResult<Fields> {
    let value = Value::Object(review.clone());
    let status = match call.resource.builtin {
        Builtin::SelfAccessReview => access_status(call, &call.identity, &value)?,
        Builtin::AccessReview | Builtin::LocalAccessReview => {
            let groups = texts(&value, "/spec/groups");
            let subject = Identity {
                user: text(&value, "/spec/user"),
                uid: text(&value, "/spec/uid"),
                groups,
                extra: std::collections::BTreeMap::new(),
            };
            access_status(call, &subject, &value)?
        }
        Builtin::SelfRulesReview => {
            let rules = access::rules(&call.server, &call.identity, &text(&value, "/spec/namespace"));
            json!({"resourceRules": rules.resources, "nonResourceRules": rules.paths, "incomplete": false})
        }
        Builtin::SelfReview => json!({"userInfo": user_info(&call.identity)}),
        Builtin::TokenReview => match call.server.authenticate_token(&text(&value, "/spec/token")) {
            Some(identity) => json!({"authenticated": true, "user": user_info(&identity)}),
            None => json!({"error": "invalid bearer token", "user": {}}),
        },
        _ => return Err(ApiError::method_not_allowed()),
    };
    review.insert("status".into(), status);
    Ok(review)
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
    let attributes = if let Some(about) = review.pointer("/spec/resourceAttributes") {
        Attributes::Resource {
            verb: text(about, "/verb"),
            group: text(about, "/group"),
            resource: text(about, "/resource"),
            subresource: text(about, "/subresource"),
            namespace: text(about, "/namespace"),
            name: text(about, "/name"),
        }
    } else if let Some(about) = review.pointer("/spec/nonResourceAttributes") {
        Attributes::Path {
            verb: text(about, "/verb"),
            path: text(about, "/path"),
        }
    } else {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let value = review.get("spec").cloned().unwrap_or_default();
        let error = super::field::FieldError::invalid("spec.resourceAttributes", &value, why);
        let kind = &call.resource.names.kind;
        return Err(ApiError::invalid("authorization.k8s.io", kind, "", &[error]));
    };
    let decision = access::decide(&call.server, subject, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}
