//! The times of the conditions in the status of a Service.

use serde_json::Value;

/// The conditions of `status` without `lastTransitionTime`: the type of k8s-openapi requires it, upstream's does not.
pub(super) fn untimed_conditions(service: &Value) -> Vec<usize> {
    let conditions = service.pointer("/status/conditions").and_then(Value::as_array);
    let conditions = conditions.into_iter().flatten().enumerate();
    let untimed = conditions.filter(|(_, condition)| {
        condition.is_object() && condition.get("lastTransitionTime").is_none_or(Value::is_null)
    });
    untimed.map(|(at, _)| at).collect()
}

/// Sets `lastTransitionTime` of these conditions.
pub(super) fn set_times(service: &mut Value, conditions: &[usize], time: &Value) {
    for at in conditions {
        if let Some(condition) = service.pointer_mut(&format!("/status/conditions/{at}"))
            && condition.is_object()
        {
            condition["lastTransitionTime"] = time.clone();
        }
    }
}
