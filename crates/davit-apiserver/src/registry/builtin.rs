//! What is particular about each of the resources that are there without a CRD.

use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, TokenReview},
    authorization::v1::{
        LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    },
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Secret, Service, ServiceAccount},
    events::v1::Event as EventsEvent,
    flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{go_decode::decode, service_conditions};

/// Which rules hold for a resource beyond those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// Defined by a CRD.
    Custom,
    Namespace,
    Secret,
    ConfigMap,
    Event,
    /// events.k8s.io/v1 Event: the same objects under other names.
    EventsEvent,
    ServiceAccount,
    Service,
    Lease,
    Crd,
    Role,
    RoleBinding,
    ClusterRole,
    ClusterRoleBinding,
    FlowSchema,
    PriorityLevel,
    SelfAccessReview,
    SelfRulesReview,
    AccessReview,
    LocalAccessReview,
    TokenReview,
    SelfReview,
}

impl Builtin {
    /// Whether it is only ever created, never stored.
    pub fn is_review(self) -> bool {
        matches!(
            self,
            Self::SelfAccessReview
                | Self::SelfRulesReview
                | Self::AccessReview
                | Self::LocalAccessReview
                | Self::TokenReview
                | Self::SelfReview
        )
    }

    /// Whether a body without a resourceVersion may replace whatever is there.
    pub fn unconditional_update(self) -> bool {
        !matches!(self, Self::Custom | Self::Crd | Self::Lease)
    }

    /// Whether an update of what is not there creates it.
    pub fn create_on_update(self) -> bool {
        matches!(
            self,
            Self::Event
                | Self::EventsEvent
                | Self::Lease
                | Self::Role
                | Self::RoleBinding
                | Self::ClusterRole
                | Self::ClusterRoleBinding
                | Self::Service
        )
    }

    /// Reads the body as the type and writes it again: what the type does not know is gone.
    ///
    /// The error says what does not fit.
    pub fn retype(self, value: Value) -> Result<Value, String> {
        match self {
            Self::Custom => Ok(value),
            Self::Namespace => through::<Namespace>(&value),
            Self::Secret => through::<Secret>(&value),
            Self::ConfigMap => through::<ConfigMap>(&value),
            Self::Event => through::<Event>(&value),
            Self::EventsEvent => events_event(value),
            Self::ServiceAccount => through::<ServiceAccount>(&value),
            Self::Service => service(value),
            Self::Lease => through::<Lease>(&value),
            Self::Crd => through::<CustomResourceDefinition>(&value).map(whole_numbers),
            Self::Role => through::<Role>(&value),
            Self::RoleBinding => through::<RoleBinding>(&value),
            Self::ClusterRole => through::<ClusterRole>(&value),
            Self::ClusterRoleBinding => through::<ClusterRoleBinding>(&value),
            Self::FlowSchema => through::<FlowSchema>(&value),
            Self::PriorityLevel => through::<PriorityLevelConfiguration>(&value),
            Self::SelfAccessReview => through::<SelfSubjectAccessReview>(&value),
            Self::SelfRulesReview => through::<SelfSubjectRulesReview>(&value),
            Self::AccessReview => through::<SubjectAccessReview>(&value),
            Self::LocalAccessReview => through::<LocalSubjectAccessReview>(&value),
            Self::TokenReview => through::<TokenReview>(&value),
            Self::SelfReview => through::<SelfSubjectReview>(&value),
        }
    }
}

/// A series may lack its time: the rules say so, not the type.
fn events_event(mut value: Value) -> Result<Value, String> {
    let lacks =
        |series: &Value| series.is_object() && series.get("lastObservedTime").is_none_or(Value::is_null);
    let untimed = value.get("series").is_some_and(lacks);
    if untimed {
        value["series"]["lastObservedTime"] = "0001-01-01T00:00:00.000000Z".into();
    }
    let mut typed = through::<EventsEvent>(&value)?;
    if untimed {
        typed["series"]["lastObservedTime"] = Value::Null;
    }
    Ok(typed)
}

fn service(mut value: Value) -> Result<Value, String> {
    let untimed = service_conditions::untimed_conditions(&value);
    service_conditions::set_times(&mut value, &untimed, &"0001-01-01T00:00:00Z".into());
    let mut typed = through::<Service>(&value)?;
    service_conditions::set_times(&mut typed, &untimed, &Value::Null);
    Ok(typed)
}

fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, String> {
    let typed: T = decode(value).map_err(|error| {
        let text = error.to_string();
        match text.rsplit_once("offset ") {
            Some((_, at)) => format!("illegal base64 data at input byte {}", at.trim_end_matches('.')),
            None => text,
        }
    })?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// A schema's `minimum: 0` comes back from its type as `0.0`.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "only whole numbers of moderate size are cast"
            )]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                (float as i64).into()
            }
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(whole_numbers).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, whole_numbers(value)))
            .collect(),
        other => other,
    }
}

/// The paths of what is in `before` and not in `after`, as `spec.a[0].b`: fields that a type does not know.
pub fn lost_fields(before: &Value, after: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    compare(before, after, "", &mut lost);
    lost
}

fn compare(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match after.get(key) {
                    Some(kept) => compare(value, kept, &path, lost),
                    None if value.is_null() => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}
