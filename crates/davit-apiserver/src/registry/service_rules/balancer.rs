//! What belongs to a load balancer.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    addresses::ADDRESS,
    spec::{Spec, has_health_port, is_balanced, list, number, text},
};
use crate::{
    field::FieldError,
    object_meta::{Fields, dns_subdomain, qualified_name},
};

const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// What is wrong with the spec.
pub(super) fn validate(spec: &Spec, old: Option<&Spec>, errors: &mut Vec<FieldError>) {
    const RANGES: &str = "spec.LoadBalancerSourceRanges";
    const CLASS: &str = "spec.loadBalancerClass";
    let balanced = is_balanced(spec);
    let ranges: Vec<&Value> = list(spec, "loadBalancerSourceRanges").collect();
    if !balanced && !ranges.is_empty() {
        errors.push(FieldError::forbidden(RANGES, ONLY));
    }
    for (at, range) in ranges.into_iter().enumerate() {
        if !is_range(range.as_str().unwrap_or_default().trim()) {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(&format!("{RANGES}[{at}]"), range, why));
        }
    }
    let class = spec.get("loadBalancerClass");
    if old.is_some_and(|old| is_balanced(old) && balanced && old.get("loadBalancerClass") != class) {
        let shown = class.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(CLASS, &shown, "may not change once set"));
    }
    match class.and_then(Value::as_str) {
        Some(name) if balanced => {
            let wrong = qualified_name(name);
            errors.extend(
                wrong
                    .iter()
                    .map(|why| FieldError::invalid(CLASS, &name.into(), why)),
            );
        }
        Some(_) => errors.push(FieldError::forbidden(CLASS, ONLY)),
        None => {}
    }
    if !balanced && spec.contains_key("allocateLoadBalancerNodePorts") {
        errors.push(FieldError::forbidden("spec.allocateLoadBalancerNodePorts", ONLY));
    }
    let health = number(spec, "healthCheckNodePort");
    let why = match health {
        0 => return,
        _ if !has_health_port(spec) => {
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        }
        1..=65_535 => return,
        _ => "must be between 1 and 65535, inclusive",
    };
    errors.push(FieldError::invalid(
        "spec.healthCheckNodePort",
        &health.into(),
        why,
    ));
}

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>()) else {
        return false;
    };
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

/// What is wrong with the status.
pub(super) fn status(service: &Fields, spec: &Spec, errors: &mut Vec<FieldError>) {
    const INGRESS: &str = "status.loadBalancer.ingress";
    let all = service
        .get("status")
        .and_then(|status| status.get("loadBalancer")?.get("ingress")?.as_array());
    let all: Vec<&Spec> = all.into_iter().flatten().filter_map(Value::as_object).collect();
    if !all.is_empty() && !is_balanced(spec) {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(INGRESS, why));
        return;
    }
    for (at, ingress) in all.into_iter().enumerate() {
        let field = |name: &str| format!("{INGRESS}[{at}].{name}");
        let (address, mode, host) = (
            text(ingress, "ip"),
            text(ingress, "ipMode"),
            text(ingress, "hostname"),
        );
        if !address.is_empty() && address.parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(&field("ip"), &address.into(), ADDRESS));
        }
        if address.is_empty() && !mode.is_empty() {
            let why = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(&field("ipMode"), why));
        } else if !address.is_empty() && !matches!(mode, "Proxy" | "VIP") {
            errors.push(FieldError::not_supported(
                &field("ipMode"),
                &mode.into(),
                ["Proxy", "VIP"],
            ));
        }
        if host.is_empty() {
            continue;
        }
        let wrong = dns_subdomain(host);
        let wrong = wrong
            .iter()
            .map(|why| FieldError::invalid(&field("hostname"), &host.into(), why));
        errors.extend(wrong.collect::<Vec<_>>());
        if host.parse::<IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(&field("hostname"), &host.into(), why));
        }
    }
}
