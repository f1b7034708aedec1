//! The addresses of a Service.

use std::net::IpAddr;

use serde_json::Value;

use super::spec::{Spec, has_node_ports, list, text};
use crate::field::FieldError;

pub(super) const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn addresses(spec: &Spec, headless: bool, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "spec.clusterIPs";
    if headless && has_node_ports(spec) {
        let why = format!("may not be set to 'None' for {} services", text(spec, "type"));
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), &why));
    }
    let all: Vec<&str> = list(spec, "clusterIPs").filter_map(Value::as_str).collect();
    let shown = spec.get("clusterIPs").cloned().unwrap_or_default();
    let mut refuse = |why: &str| errors.push(FieldError::invalid(FIELD, &shown, why));
    match (text(spec, "clusterIP"), all.first()) {
        ("", Some(_)) => refuse("must be empty when `clusterIP` is not specified"),
        (first, Some(given)) if first != *given => refuse("first value must match `clusterIP`"),
        _ => {}
    }
    if all.first() == Some(&"None") && all.len() > 1 {
        refuse("'None' must be the first and only value");
    }
    if all.len() > 2 {
        refuse("may only hold up to 2 values");
    }
    let parsed: Vec<Option<IpAddr>> = all.iter().map(|address| address.parse().ok()).collect();
    for (at, (address, parsed)) in all.iter().zip(&parsed).enumerate() {
        if parsed.is_none() && !(at == 0 && *address == "None") {
            let field = format!("{FIELD}[{at}]");
            errors.push(FieldError::invalid(&field, &(*address).into(), ADDRESS));
        }
    }
    if let [Some(one), Some(two)] = parsed.as_slice()
        && one.is_ipv4() == two.is_ipv4()
    {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(FIELD, &shown, why));
    }
    families(spec, headless, errors);
}

fn families(spec: &Spec, headless: bool, errors: &mut Vec<FieldError>) {
    let families: Vec<&Value> = list(spec, "ipFamilies").collect();
    let before = errors.len();
    for (at, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{at}]");
        if !matches!(family.as_str(), Some("IPv4" | "IPv6")) {
            errors.push(FieldError::not_supported(&field, family, ["IPv4", "IPv6"]));
        }
        if families.iter().take(at).any(|other| other == family) {
            errors.push(FieldError::duplicate(&field, family));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    let field = "spec.ipFamilyPolicy";
    if !matches!(policy, "PreferDualStack" | "RequireDualStack" | "SingleStack") {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.push(FieldError::not_supported(field, &policy.into(), known));
    }
    if headless || errors.len() > before {
        return;
    }
    // What is well-formed, but not for a cluster with addresses of one family.
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(field, &policy.into(), why));
    }
    for (at, family) in families.into_iter().enumerate() {
        if family != "IPv4" {
            let field = format!("spec.ipFamilies[{at}]");
            errors.push(FieldError::invalid(
                &field,
                family,
                "not configured on this cluster",
            ));
        }
    }
}

pub(super) fn external_address(field: &str, address: &Value, errors: &mut Vec<FieldError>) {
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
