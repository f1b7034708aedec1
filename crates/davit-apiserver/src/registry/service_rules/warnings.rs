//! What upstream warns of in a Service that it accepts.

use serde_json::Value;

use super::spec::{is_external, list, text};
use crate::object_meta::Fields;

/// The warnings about a Service.
pub fn warnings(service: &Fields) -> Vec<String> {
    let Some(spec) = service.get("spec").and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if list(spec, "externalIPs").next().is_some() {
        warnings.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if !is_external(spec) && !text(spec, "externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_without_effect_are_warned_of() {
        for (spec, count) in [
            (json!({"type": "ClusterIP"}), 0),
            (json!({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}), 1),
            (json!({"type": "ClusterIP", "externalName": "example.com"}), 1),
            (json!({"type": "ExternalName", "externalName": "example.com"}), 0),
        ] {
            let service = json!({"spec": spec});
            assert_eq!(warnings(service.as_object().unwrap()).len(), count, "{spec}");
        }
    }
}
