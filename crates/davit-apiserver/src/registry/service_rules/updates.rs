//! What an update of a Service keeps, and what a change of its type lets go.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{
    defaults::allocate,
    spec::{
        Spec, has_health_port, has_node_ports, is_balanced, is_exposed, is_external, list, number, ports_of,
        spec_of, text,
    },
};
use crate::object_meta::Fields;

/// Keeps what was allocated if an update leaves it out, and takes out what a Service of the new type does not have if
/// the update left it as it was.
pub(in crate::registry) fn keep_allocated(service: &mut Fields, old: &Fields) {
    let Some(old) = old.get("spec").and_then(Value::as_object) else {
        return;
    };
    let Some(spec) = spec_of(service) else { return };
    if !is_external(spec) && !is_external(old) {
        keep_addresses(spec, old);
    }
    if has_node_ports(spec) && has_node_ports(old) {
        keep_node_ports(spec, old);
    }
    if has_health_port(spec) && has_health_port(old) && number(spec, "healthCheckNodePort") == 0 {
        keep(spec, old, "healthCheckNodePort");
    }
    drop_others(spec, old);
    if !is_balanced(spec)
        && let Some(status) = service.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("loadBalancer".into(), json!({}));
    }
    allocate(service);
}

fn keep(spec: &mut Spec, old: &Spec, key: &str) {
    if let Some(kept) = old.get(key) {
        spec.insert(key.into(), kept.clone());
    }
}

fn keep_addresses(spec: &mut Spec, old: &Spec) {
    // A changed `clusterIP` is a change of the first of `clusterIPs`.
    let given = text(spec, "clusterIP").to_owned();
    if !given.is_empty() && given != text(old, "clusterIP") && spec.get("clusterIPs") == old.get("clusterIPs")
    {
        spec.insert("clusterIPs".into(), json!([given]));
    }
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = spec
            .get(key)
            .is_none_or(|value| value.is_null() || value == "" || *value == json!([]));
        if absent {
            keep(spec, old, key);
        }
    }
}

/// The node port of a port stays with its name.
fn keep_node_ports(spec: &mut Spec, old: &Spec) {
    let known = |spec: &Spec| -> HashMap<String, u64> {
        let ports = list(spec, "ports").filter_map(Value::as_object);
        ports
            .map(|port| (text(port, "name").to_owned(), number(port, "nodePort")))
            .collect()
    };
    let (before, given) = (known(old), known(spec));
    let mut used: HashSet<u64> = given.into_values().collect();
    for port in ports_of(spec) {
        if number(port, "nodePort") == 0
            && let Some(kept) = before.get(text(port, "name"))
            && *kept != 0
            && used.insert(*kept)
        {
            port.insert("nodePort".into(), (*kept).into());
        }
    }
}

fn drop_others(spec: &mut Spec, old: &Spec) {
    type Has = fn(&Spec) -> bool;
    let is_internal: Has = |spec| !is_external(spec);
    let rows: [(Has, &[&str]); 8] = [
        (is_internal, &["clusterIP", "clusterIPs"]),
        (is_internal, &["ipFamilies"]),
        (is_internal, &["ipFamilyPolicy"]),
        (is_internal, &["internalTrafficPolicy"]),
        (has_health_port, &["healthCheckNodePort"]),
        (is_balanced, &["allocateLoadBalancerNodePorts"]),
        (is_balanced, &["loadBalancerClass"]),
        (is_exposed, &["externalTrafficPolicy"]),
    ];
    for (has, keys) in rows {
        let same = keys.iter().all(|key| spec.get(*key) == old.get(*key));
        if has(old) && !has(spec) && same {
            spec.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
    let node_ports = |spec: &Spec| -> HashSet<u64> {
        let ports = list(spec, "ports").filter_map(Value::as_object);
        ports.map(|port| number(port, "nodePort")).collect()
    };
    if has_node_ports(old) && !has_node_ports(spec) && node_ports(spec) == node_ports(old) {
        for port in ports_of(spec) {
            port.remove("nodePort");
        }
    }
}
