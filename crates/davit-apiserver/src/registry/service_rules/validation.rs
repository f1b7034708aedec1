//! What is wrong with a Service.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    addresses::{addresses, external_address},
    balancer,
    spec::{NODE_PORTS, Spec, has_node_ports, is_exposed, is_external, list, text},
};
use crate::{
    field::FieldError,
    object_meta::{Fields, dns_label, dns_subdomain, label_value, qualified_name},
};

/// Everything that is wrong with a Service.
pub(in crate::registry) fn validate(service: &Fields, old: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let empty = Spec::new();
    let spec = service.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let headless = text(spec, "clusterIP") == "None";
    let before = old.and_then(|old| old.get("spec")?.as_object());
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
        let wrong_key = qualified_name(key).into_iter().map(|why| (key.as_str(), why));
        let wrong_value = label_value(value).into_iter().map(|why| (value, why));
        for (shown, why) in wrong_key.chain(wrong_value) {
            errors.push(FieldError::invalid("spec.selector", &shown.into(), &why));
        }
    }
    for (at, address) in list(spec, "externalIPs").enumerate() {
        external_address(&format!("spec.externalIPs[{at}]"), address, errors);
    }
    let policy = text(spec, "externalTrafficPolicy");
    if !policy.is_empty() && !is_exposed(spec) {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            "spec.externalTrafficPolicy",
            &policy.into(),
            why,
        ));
    } else if !policy.is_empty() {
        choice(spec, "externalTrafficPolicy", &["Cluster", "Local"], errors);
    }
    affinity(spec, errors);
    balancer::validate(spec, before, errors);
    balancer::status(service, spec, errors);
    if let Some(distribution) = spec.get("trafficDistribution").and_then(Value::as_str) {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !known.contains(&distribution) {
            let field = "spec.trafficDistribution";
            errors.push(FieldError::not_supported(field, &distribution.into(), known));
        }
    }
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

fn affinity(spec: &Spec, errors: &mut Vec<FieldError>) {
    const MOST: i64 = 86_400;
    let seconds = spec
        .get("sessionAffinityConfig")
        .and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
    if let Some(seconds) = seconds.filter(|_| text(spec, "sessionAffinity") == "ClientIP")
        && !seconds
            .as_i64()
            .is_some_and(|seconds| (1..=MOST).contains(&seconds))
    {
        let why = format!("must be greater than 0 and less than {MOST}");
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.push(FieldError::invalid(field, seconds, &why));
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
                // Upstream counts characters here, and bytes elsewhere.
                let why = why.replace(" bytes", " characters");
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
        if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
            for why in qualified_name(protocol) {
                errors.push(FieldError::invalid(&field("appProtocol"), &protocol.into(), &why));
            }
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
