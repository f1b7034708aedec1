//! What the parts of a spec say.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::object_meta::Fields;

pub(super) type Spec = Map<String, Value>;

/// Upstream's default range of node ports.
pub(super) const NODE_PORTS: RangeInclusive<u64> = 30_000..=32_767;

pub(super) fn text<'a>(spec: &'a Spec, key: &str) -> &'a str {
    spec.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_external(spec: &Spec) -> bool {
    text(spec, "type") == "ExternalName"
}

pub(super) fn is_balanced(spec: &Spec) -> bool {
    text(spec, "type") == "LoadBalancer"
}

pub(super) fn has_node_ports(spec: &Spec) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

/// Whether clients outside of the cluster reach it.
pub(super) fn is_exposed(spec: &Spec) -> bool {
    has_node_ports(spec) || (text(spec, "type") == "ClusterIP" && list(spec, "externalIPs").next().is_some())
}

/// Whether a load balancer asks for the health of each node.
pub(super) fn has_health_port(spec: &Spec) -> bool {
    is_balanced(spec) && text(spec, "externalTrafficPolicy") == "Local"
}

pub(super) fn list<'a>(spec: &'a Spec, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A number, which is 0 where none is given.
pub(super) fn number(spec: &Spec, key: &str) -> u64 {
    spec.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Whether Go does not write the value.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

pub(super) fn spec_of(service: &mut Fields) -> Option<&mut Spec> {
    service.entry("spec").or_insert_with(|| json!({})).as_object_mut()
}

/// The ports, to be changed.
pub(super) fn ports_of(spec: &mut Spec) -> impl Iterator<Item = &mut Spec> {
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().filter_map(Value::as_object_mut)
}
