//! Server-side apply, and field ownership after any other write.

use axum::body::Body;
use http::Response;
use serde_json::{Value, json};

use super::{Call, change::change, create::create_object};
use crate::{
    field::FieldError,
    fieldmanager::{
        self as pure, ApplyError,
        track::{APISERVER, SharedTarget, tracked, without_empty_rules},
    },
    http::request::MANAGER,
    object_meta::{self, Fields},
    patch::go_kind,
    registry::{
        admission::Scope,
        builtin::{Builtin, lost_fields},
    },
    status::{ApiError, ApiResult},
};

pub(super) async fn apply(call: &mut Call, body: Value) -> ApiResult<Response<Body>> {
    let Some(manager) = call.query.field_manager.clone() else {
        let why = "is required for apply patch";
        let error = FieldError::required("fieldManager", why);
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    };
    let applied = match body {
        Value::Object(applied) => applied,
        Value::Null => return Err(ApiError::bad_request("invalid object type: /, Kind=")),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(ApiError::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into \
                 Go value of type map[string]interface {{}}",
                go_kind(&body)
            )));
        }
    };
    call.check_namespace(&mut applied.clone())?;
    let named = object_meta::text(&applied, "name");
    if !named.is_empty() && named != call.name() {
        let why = format!(
            "the name of the object ({named}) does not match the name on the URL ({})",
            call.name()
        );
        return Err(ApiError::bad_request(why));
    }
    let config = Value::Object(applied);
    declared(call, &config)?;
    let force = call.query.force == Some(true);
    let absent = call
        .server
        .store
        .view()
        .get(&call.resource.collection, &call.key())
        .is_none();
    call.tracked = true;
    if absent {
        if !call.subresource().is_empty() {
            return Err(call.not_found());
        }
        let made = merged(call, None, &config, &manager, force)?;
        if object_meta::text(&made, "name").is_empty() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.name()
            )));
        }
        let mut warnings = Vec::new();
        let mut made = made;
        let uid = object_meta::text(&made, "uid");
        if !uid.is_empty() {
            // A client cannot choose the uid of a new object.
            if call.resource.builtin != Builtin::Custom {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(ApiError::conflict(&call.resource.gr(), call.name(), &why));
            }
            // Upstream looks at it with the metadata, and with the schema once more.
            let error = FieldError::invalid("metadata.uid", &uid.into(), "field is immutable");
            let (group, kind) = (&call.resource.group, &call.resource.names.kind);
            return Err(ApiError::invalid(
                group,
                kind,
                call.name(),
                &[error.clone(), error],
            ));
        }
        // Of what there is not yet, no state can be meant.
        object_meta::remove(&mut made, "resourceVersion");
        call.check_namespace(&mut made)?;
        call.scope().normalise(&mut made, &mut warnings)?;
        call.warnings.append(&mut warnings);
        return create_object(call, made).await;
    }
    let scope = call.shared_scope();
    let presenter = call.presenter();
    let target = call.shared_target();
    change(call, false, move |current| {
        let mut live: Value =
            serde_json::from_slice(&presenter.whole(current)).map_err(ApiError::internal)?;
        without_empty_rules(&mut live);
        let target = target.as_target();
        let now = jiff::Timestamp::now();
        let made = pure::apply(&target, Some(&live), &config, &manager, force, now).map_err(refusal)?;
        let mut object = object(made)?;
        let scope: Scope<'_> = scope.as_scope();
        scope.normalise(&mut object, &mut Vec::new())?;
        Ok(object)
    })
    .await
}

/// What a built-in type does not know may not be applied; of a custom resource the schema says so.
fn declared(call: &Call, config: &Value) -> ApiResult<()> {
    let (builtin, kind) = (call.resource.builtin, &call.resource.names.kind);
    if builtin == Builtin::Custom || config.get("kind").is_some_and(|given| given != kind) {
        return Ok(());
    }
    let why = match builtin.retype(config.clone()) {
        Err(why) => format!(": {why}"),
        Ok(typed) => {
            let lost = lost_fields(config, &typed).into_iter();
            let lost: Vec<String> = lost
                .map(|field| format!(".{field}: field not declared in schema"))
                .collect();
            match lost.as_slice() {
                [] => return Ok(()),
                [one] => format!(": {one}"),
                several => format!(": errors:\n  {}", several.join("\n  ")),
            }
        }
    };
    let text = |name: &str| config.pointer(name).and_then(Value::as_str).unwrap_or_default();
    Err(ApiError::plain_internal(format!(
        "failed to create typed patch object ({}/{}; {}/{}, Kind={kind}){why}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        call.resource.group,
        call.version.name
    )))
}

fn object(value: Value) -> ApiResult<Fields> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::bad_request("the body is not an object")),
    }
}

fn merged(
    call: &Call,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
) -> ApiResult<Fields> {
    let shared = call.shared_target();
    let now = jiff::Timestamp::now();
    object(pure::apply(&shared.as_target(), live, config, manager, force, now).map_err(refusal)?)
}

fn refusal(error: ApplyError) -> ApiError {
    match error {
        ApplyError::BadRequest(why) => ApiError::bad_request(why),
        ApplyError::Untyped(why) => ApiError::plain_internal(why),
        ApplyError::Conflicts { message, conflicts } => {
            let mut error = ApiError::apply_conflict(message);
            for conflict in conflicts {
                error = error.with_cause("FieldManagerConflict", &conflict.message, &conflict.field);
            }
            error
        }
    }
}

impl Call {
    fn shared_target(&self) -> SharedTarget {
        SharedTarget {
            schema: self.version.schema(),
            kind: self.resource.names.kind.clone(),
            builtin: self.resource.builtin != Builtin::Custom,
            api_version: self.resource.api_version(&self.version.name),
            subresource: self.subresource().to_owned(),
            has_status: self.version.status,
        }
    }

    /// The field manager: the one of the request, or the prefix of its user agent.
    fn manager(&self) -> &str {
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let name = self.query.field_manager.as_deref().unwrap_or(agent);
        name.get(..MANAGER).unwrap_or(name)
    }

    /// The owner of these fields of an answer that is stored nowhere.
    pub fn entry(&self, fields: &Value) -> Value {
        json!({"manager": self.manager(), "operation": "Update", "apiVersion": "authentication.k8s.io/v1",
            "time": object_meta::now(), "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": self.subresource()})
    }

    /// The object with its owners after a write that is no apply; an apply has them already.
    pub(super) fn track(&self, live: Option<&Value>, new: Fields) -> Fields {
        let builtin = self.resource.builtin;
        let new = if self.tracked {
            new
        } else {
            tracked(builtin, &self.shared_target(), live, new, self.manager())
        };
        if builtin == Builtin::Crd && self.subresource().is_empty() {
            self.own_status(new)
        } else {
            new
        }
    }

    /// A CRD whose status the server has just written, as it owns what it says there.
    fn own_status(&self, new: Fields) -> Fields {
        let mut before = new.clone();
        if let Some(status) = before.get_mut("status").and_then(Value::as_object_mut) {
            status.insert("acceptedNames".into(), json!({"kind": "", "plural": ""}));
            status.insert("conditions".into(), json!([]));
        }
        let shared = SharedTarget {
            subresource: "status".into(),
            ..self.shared_target()
        };
        tracked(
            self.resource.builtin,
            &shared,
            Some(&Value::Object(before)),
            new,
            APISERVER,
        )
    }

    /// Gives the old times of the owners back where nothing else has changed.
    pub(super) fn keep_times(old: &Value, new: Fields) -> Fields {
        let mut new = Value::Object(new);
        pure::keep_times(old, &mut new);
        match new {
            Value::Object(settled) => settled,
            _ => Fields::new(),
        }
    }
}
