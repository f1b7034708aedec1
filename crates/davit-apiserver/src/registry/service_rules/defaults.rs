//! What a Service gets that it does not say.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::spec::{
    NODE_PORTS, Spec, has_health_port, has_node_ports, is_balanced, is_empty, is_exposed, is_external, list,
    number, ports_of, spec_of, text,
};
use crate::object_meta::Fields;

/// Fills the defaults that do not depend on stored state.
pub(in crate::registry) fn default(service: &mut Fields) {
    let balanced = service
        .get("spec")
        .and_then(Value::as_object)
        .is_some_and(is_balanced);
    if let Some(spec) = spec_of(service) {
        default_spec(spec);
    }
    let ingress = service
        .get_mut("status")
        .and_then(|status| status.get_mut("loadBalancer")?.get_mut("ingress")?.as_array_mut());
    for ingress in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
        if balanced && !text(ingress, "ip").is_empty() {
            ingress.entry("ipMode").or_insert_with(|| "VIP".into());
        }
    }
}

fn default_spec(spec: &mut Spec) {
    // Go leaves these out if they are empty.
    spec.retain(|key, value| !is_empty(value) || key == "allocateLoadBalancerNodePorts");
    for (key, value) in [("type", "ClusterIP"), ("sessionAffinity", "None")] {
        if text(spec, key).is_empty() {
            spec.insert(key.into(), value.into());
        }
    }
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let config = spec.entry("sessionAffinityConfig").or_insert_with(|| json!({}));
            let seconds = config.pointer("/clientIP/timeoutSeconds");
            if seconds.is_none_or(Value::is_null) {
                *config = json!({"clientIP": {"timeoutSeconds": 10800}});
            }
        }
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        _ => {}
    }
    if !is_external(spec) {
        spec.entry("internalTrafficPolicy")
            .or_insert_with(|| "Cluster".into());
    }
    if is_exposed(spec) {
        spec.entry("externalTrafficPolicy")
            .or_insert_with(|| "Cluster".into());
    }
    if is_balanced(spec) {
        spec.entry("allocateLoadBalancerNodePorts").or_insert(true.into());
    }
    for port in ports_of(spec) {
        if text(port, "protocol").is_empty() {
            port.insert("protocol".into(), "TCP".into());
        }
        if port.get("nodePort").is_some_and(is_empty) {
            port.remove("nodePort");
        }
        if port.get("targetPort").is_none_or(is_empty) {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".into(), number);
        }
    }
}

/// Draws the addresses and node ports that the Service has none of yet.
pub(in crate::registry) fn allocate(service: &mut Fields) {
    let status = service.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        status.entry("loadBalancer").or_insert_with(|| json!({}));
    }
    let Some(spec) = spec_of(service) else { return };
    if is_external(spec) {
        return;
    }
    // Addresses without a first one are refused.
    if text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").next().is_none() {
        let [third, fourth] = [rand::random_range(1..=255u8), rand::random_range(1..=254u8)];
        spec.insert("clusterIP".into(), format!("10.96.{third}.{fourth}").into());
    }
    if text(spec, "clusterIP") == "None" && spec.get("selector").is_none_or(Value::is_null) {
        spec.entry("ipFamilies")
            .or_insert_with(|| json!(["IPv4", "IPv6"]));
        spec.entry("ipFamilyPolicy")
            .or_insert_with(|| "RequireDualStack".into());
    }
    let address = text(spec, "clusterIP").to_owned();
    spec.entry("clusterIPs").or_insert_with(|| json!([address]));
    spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
    spec.entry("ipFamilyPolicy")
        .or_insert_with(|| "SingleStack".into());
    let mut taken: HashSet<u64> = list(spec, "ports")
        .filter_map(|port| port.get("nodePort")?.as_u64())
        .collect();
    let mut draw = || {
        let free = std::iter::repeat_with(|| rand::random_range(NODE_PORTS)).find(|port| taken.insert(*port));
        Value::from(free.unwrap_or_default())
    };
    if has_health_port(spec) && number(spec, "healthCheckNodePort") == 0 {
        spec.insert("healthCheckNodePort".into(), draw());
    }
    if !has_node_ports(spec) || spec.get("allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) {
        return;
    }
    for port in ports_of(spec) {
        if number(port, "nodePort") == 0 {
            port.insert("nodePort".into(), draw());
        }
    }
}
