//! Services: defaults, addresses, and validation as upstream does it.
//!
//! No network uses the addresses: they are drawn from upstream's ranges, not allocated from a pool.

use std::{collections::HashSet, net::IpAddr, ops::RangeInclusive};

use serde_json::{Map, Value, json};

use crate::{
    field::FieldError,
    object_meta::{Fields, dns_label, dns_subdomain, label_value, qualified_name},
};

type Spec = Map<String, Value>;

/// Upstream's default range of node ports.
const NODE_PORTS: RangeInclusive<u64> = 30_000..=32_767;

fn text<'a>(spec: &'a Spec, key: &str) -> &'a str {
    spec.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_external(spec: &Spec) -> bool {
    text(spec, "type") == "ExternalName"
}

fn has_node_ports(spec: &Spec) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

fn list<'a>(spec: &'a Spec, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn spec_of(service: &mut Fields) -> Option<&mut Spec> {
    service.entry("spec").or_insert_with(|| json!({})).as_object_mut()
}

/// Fills the defaults that do not depend on stored state.
pub(super) fn default(service: &mut Fields) {
    let Some(spec) = spec_of(service) else { return };
    for (key, value) in [("type", "ClusterIP"), ("sessionAffinity", "None")] {
        if text(spec, key).is_empty() {
            spec.insert(key.into(), value.into());
        }
    }
    if text(spec, "sessionAffinity") == "ClientIP" {
        let config = spec
            .entry("sessionAffinityConfig")
            .or_insert_with(|| json!({"clientIP": {"timeoutSeconds": 10800}}));
        if config.pointer("/clientIP/timeoutSeconds").is_none() {
            *config = json!({"clientIP": {"timeoutSeconds": 10800}});
        }
    }
    if !is_external(spec) {
        spec.entry("internalTrafficPolicy")
            .or_insert_with(|| "Cluster".into());
    }
    if has_node_ports(spec) {
        spec.entry("externalTrafficPolicy")
            .or_insert_with(|| "Cluster".into());
    }
    if text(spec, "type") == "LoadBalancer" {
        spec.entry("allocateLoadBalancerNodePorts").or_insert(true.into());
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        if text(port, "protocol").is_empty() {
            port.insert("protocol".into(), "TCP".into());
        }
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.is_null() || *target == 0 || target == "") {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".into(), number);
        }
    }
}

/// Draws the addresses and node ports that the Service has none of yet.
pub(super) fn allocate(service: &mut Fields) {
    let status = service.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        status.entry("loadBalancer").or_insert_with(|| json!({}));
    }
    let Some(spec) = spec_of(service) else { return };
    if is_external(spec) {
        return;
    }
    if text(spec, "clusterIP").is_empty() {
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
    if !has_node_ports(spec) || spec.get("allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) {
        return;
    }
    let mut taken: HashSet<u64> = list(spec, "ports")
        .filter_map(|port| port.get("nodePort")?.as_u64())
        .collect();
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        if port.get("nodePort").and_then(Value::as_u64).unwrap_or_default() == 0 {
            let free =
                std::iter::repeat_with(|| rand::random_range(NODE_PORTS)).find(|port| taken.insert(*port));
            port.insert("nodePort".into(), free.unwrap_or_default().into());
        }
    }
}

/// Keeps what was allocated if an update leaves it out.
pub(super) fn keep_allocated(service: &mut Fields, old: &Fields) {
    let Some(old) = old.get("spec").and_then(Value::as_object) else {
        return;
    };
    let Some(spec) = spec_of(service) else { return };
    if is_external(spec) || is_external(old) {
        return allocate(service);
    }
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
        if let (true, Some(kept)) = (absent, old.get(key)) {
            spec.insert(key.into(), kept.clone());
        }
    }
    if has_node_ports(spec) && has_node_ports(old) {
        let known: Vec<&Value> = list(old, "ports").collect();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            let same = |known: &&&Value| {
                ["port", "protocol"]
                    .iter()
                    .all(|key| known.get(*key) == port.get(*key))
            };
            let kept = known
                .iter()
                .find(same)
                .and_then(|known| known.get("nodePort"))
                .cloned();
            if let Some(kept) = kept {
                port.entry("nodePort").or_insert(kept);
            }
        }
    }
    allocate(service);
}

/// Everything that is wrong with a Service.
pub(super) fn validate(service: &Fields, old: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let empty = Spec::new();
    let spec = service.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let headless = text(spec, "clusterIP") == "None";
    ports(spec, headless, errors);
    choice(spec, "sessionAffinity", &["ClientIP", "None"], errors);
    choice(
        spec,
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        errors,
    );
    if is_external(spec) {
        external(spec, errors);
    } else {
        choice(spec, "internalTrafficPolicy", &["Cluster", "Local"], errors);
        addresses(spec, headless, errors);
    }
    for (key, value) in spec
        .get("selector")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = value.as_str().unwrap_or_default();
        let wrong_key = qualified_name(key, "valid label key")
            .into_iter()
            .map(|why| (key.as_str(), why));
        let wrong_value = label_value(value).into_iter().map(|why| (value, why));
        for (shown, why) in wrong_key.chain(wrong_value) {
            errors.push(FieldError::invalid("spec.selector", &shown.into(), &why));
        }
    }
    for (at, address) in list(spec, "externalIPs").enumerate() {
        external_address(&format!("spec.externalIPs[{at}]"), address, errors);
    }
    let policy = text(spec, "externalTrafficPolicy");
    let exposed = has_node_ports(spec) || list(spec, "externalIPs").next().is_some();
    if !policy.is_empty() && !exposed {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            "spec.externalTrafficPolicy",
            &policy.into(),
            why,
        ));
    } else if !policy.is_empty() {
        choice(spec, "externalTrafficPolicy", &["Cluster", "Local"], errors);
    }
    let before = old.and_then(|old| old.get("spec")?.as_object());
    if let Some(before) = before.filter(|before| !is_external(before) && !is_external(spec)) {
        let first = |spec: &Spec| list(spec, "clusterIPs").next().cloned();
        if first(before).is_some() && first(before) != first(spec) {
            let shown = spec.get("clusterIPs").cloned().unwrap_or_default();
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &shown,
                "may not change once set",
            ));
        }
    }
}

fn choice(spec: &Spec, key: &str, known: &[&'static str], errors: &mut Vec<FieldError>) {
    let value = text(spec, key);
    if !known.contains(&value) {
        let known = known.iter().copied();
        errors.push(FieldError::not_supported(
            &format!("spec.{key}"),
            &value.into(),
            known,
        ));
    }
}

fn is_port(number: &Value) -> bool {
    number
        .as_u64()
        .is_some_and(|number| (1..=65535).contains(&number))
}

fn ports(spec: &Spec, headless: bool, errors: &mut Vec<FieldError>) {
    const RANGE: &str = "must be between 1 and 65535, inclusive";
    let all: Vec<&Spec> = list(spec, "ports").filter_map(Value::as_object).collect();
    if all.is_empty() && !headless && !is_external(spec) {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let mut names = HashSet::new();
    for (at, port) in all.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{at}].{name}");
        let name = text(port, "name");
        if name.is_empty() && all.len() > 1 {
            errors.push(FieldError::required(&field("name"), ""));
        } else if !name.is_empty() {
            for why in dns_label(name) {
                errors.push(FieldError::invalid(&field("name"), &name.into(), &why));
            }
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&field("name"), &name.into()));
            }
        }
        let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
        if !is_port(&number) {
            errors.push(FieldError::invalid(&field("port"), &number, RANGE));
        }
        let protocol = text(port, "protocol");
        if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            errors.push(FieldError::not_supported(
                &field("protocol"),
                &protocol.into(),
                ["SCTP", "TCP", "UDP"],
            ));
        }
        match port.get("targetPort") {
            Some(target @ Value::Number(_)) if !is_port(target) => {
                errors.push(FieldError::invalid(&field("targetPort"), target, RANGE));
            }
            Some(Value::String(target)) => {
                for why in port_name(target) {
                    errors.push(FieldError::invalid(
                        &field("targetPort"),
                        &target.as_str().into(),
                        why,
                    ));
                }
            }
            _ => {}
        }
        let node_port = port.get("nodePort").and_then(Value::as_u64).unwrap_or_default();
        if node_port != 0 && !has_node_ports(spec) {
            let why = format!("may not be used when `type` is '{}'", text(spec, "type"));
            errors.push(FieldError::forbidden(&field("nodePort"), &why));
        } else if node_port != 0 && !NODE_PORTS.contains(&node_port) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            );
            errors.push(FieldError::invalid(&field("nodePort"), &node_port.into(), &why));
        }
    }
    let mut seen = HashSet::new();
    for (at, port) in all.iter().enumerate() {
        let number = port.get("port").and_then(Value::as_u64).unwrap_or_default();
        let protocol = text(port, "protocol");
        if !seen.insert((number, protocol)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{protocol}\",\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\
                 \"NodePort\":0}}"
            );
            errors.push(FieldError::duplicate_shown(&format!("spec.ports[{at}]"), &shown));
        }
    }
}

/// What is wrong with the name of a port of a container.
fn port_name(name: &str) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push("must be no more than 15 characters");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() && !c.is_ascii_uppercase() || c == '-')
    {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    } else if !name.chars().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)");
    } else if name.contains("--") {
        wrong.push("must not contain consecutive hyphens");
    } else if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen");
    }
    wrong
}

fn external(spec: &Spec, errors: &mut Vec<FieldError>) {
    if list(spec, "clusterIPs").next().is_some() || !text(spec, "clusterIP").is_empty() {
        errors.push(FieldError::forbidden(
            "spec.clusterIPs",
            "may not be set for ExternalName services",
        ));
    }
    let name = text(spec, "externalName").trim_end_matches('.');
    if name.is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    } else {
        for why in dns_subdomain(name) {
            errors.push(FieldError::invalid("spec.externalName", &name.into(), &why));
        }
    }
}

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

fn addresses(spec: &Spec, headless: bool, errors: &mut Vec<FieldError>) {
    if headless && has_node_ports(spec) {
        let why = format!("may not be set to 'None' for {} services", text(spec, "type"));
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), &why));
    }
    for (at, address) in list(spec, "clusterIPs").enumerate() {
        let given = address.as_str().unwrap_or_default();
        if given != "None" && given.parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(
                &format!("spec.clusterIPs[{at}]"),
                address,
                ADDRESS,
            ));
        }
    }
    for (at, family) in list(spec, "ipFamilies").enumerate() {
        if family != "IPv4" && !headless {
            let field = format!("spec.ipFamilies[{at}]");
            errors.push(FieldError::invalid(
                &field,
                family,
                "not configured on this cluster",
            ));
        }
    }
}

fn external_address(field: &str, address: &Value, errors: &mut Vec<FieldError>) {
    let why = match address.as_str().unwrap_or_default().parse::<IpAddr>() {
        Err(_) => ADDRESS.to_owned(),
        Ok(parsed) if parsed.is_unspecified() => format!("may not be unspecified ({parsed})"),
        Ok(parsed) if parsed.is_loopback() => {
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()
        }
        Ok(parsed) if parsed.is_multicast() => "may not be in the multicast range".to_owned(),
        Ok(_) => return,
    };
    errors.push(FieldError::invalid(field, address, &why));
}

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
