//! The addresses and node ports of Services: each belongs to one Service.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use serde_json::{Value, json};

use super::Call;
use crate::{
    field::FieldError,
    object_meta::{self, Fields},
    registry::{builtin::Builtin, builtin_strategy, service_rules},
    status::{ApiError, ApiResult},
};

/// How often an address or a node port is drawn that another Service has.
const DRAWS: usize = 64;

/// The node ports with the places of their ports.
fn node_ports(service: &Fields) -> Vec<(usize, u64)> {
    let ports = service.get("spec").and_then(|spec| spec.get("ports")?.as_array());
    let ports = ports.map_or(&[][..], Vec::as_slice).iter().enumerate();
    ports
        .filter_map(|(at, port)| Some((at, port.get("nodePort")?.as_u64()?)))
        .filter(|(_, port)| *port != 0)
        .collect()
}

fn numbers(service: &Fields) -> Vec<u64> {
    node_ports(service).into_iter().map(|(_, port)| port).collect()
}

fn address(service: &Fields) -> Option<IpAddr> {
    let address = service
        .get("spec")
        .and_then(|spec| spec.get("clusterIP")?.as_str())?;
    address.parse().ok()
}

impl Call {
    /// Warns of what has no effect in a Service.
    pub(super) fn warn_of_service(&mut self, service: &Fields) {
        if self.resource.builtin == Builtin::Service && self.subresource().is_empty() {
            self.warnings.extend(service_rules::warnings(service));
        }
    }

    /// Refuses a Service with an address or a node port that another Service has; those of `old` it keeps.
    pub(super) fn check_allocated(&self, service: &Fields, old: Option<&Fields>) -> ApiResult<()> {
        if self.resource.builtin != Builtin::Service {
            return Ok(());
        }
        let kept: Vec<u64> = old.map_or_else(Vec::new, numbers);
        let mut wanted = node_ports(service);
        wanted.retain(|(_, port)| !kept.contains(port));
        // Upstream allocates no address in a dry run.
        let address =
            address(service).filter(|given| !self.query.dry_run && old.and_then(address) != Some(*given));
        if wanted.is_empty() && address.is_none() {
            return Ok(());
        }
        let name = object_meta::text(service, "name");
        let others = self.others(name);
        let taken: HashSet<u64> = others.iter().flat_map(numbers).collect();
        let mut errors: Vec<FieldError> = address
            .and_then(|address| unallocated(service, address, &others))
            .into_iter()
            .collect();
        let ports = wanted
            .into_iter()
            .filter(|(_, port)| taken.contains(port))
            .map(|(at, port)| {
                let field = format!("spec.ports[{at}].nodePort");
                FieldError::invalid(&field, &Value::from(port), "provided port is already allocated")
            });
        errors.extend(ports);
        if errors.is_empty() {
            return Ok(());
        }
        let names = (&self.resource.group, &self.resource.names.kind);
        Err(ApiError::invalid(names.0, names.1, name, &errors))
    }

    /// Draws again what was drawn for a Service although another Service has it. `known` are the states of the Service
    /// before anything was drawn.
    pub(super) fn allocate_apart(&self, known: &[&Fields], service: &mut Fields) {
        if self.resource.builtin != Builtin::Service {
            return;
        }
        let others = self.others(object_meta::text(service, "name"));
        let taken: HashSet<u64> = others.iter().flat_map(numbers).collect();
        let kept: HashSet<u64> = known.iter().copied().flat_map(numbers).collect();
        let addresses: HashSet<IpAddr> = others.iter().filter_map(address).collect();
        let own: HashSet<IpAddr> = known.iter().copied().filter_map(address).collect();
        for _ in 0..DRAWS {
            let is_shared =
                address(service).is_some_and(|drawn| addresses.contains(&drawn) && !own.contains(&drawn));
            let mut shared = node_ports(service);
            shared.retain(|(_, port)| taken.contains(port) && !kept.contains(port));
            if !is_shared && shared.is_empty() {
                return;
            }
            forget(service, is_shared, &shared);
            builtin_strategy::allocate(service);
        }
    }

    /// The Services but the one of that name.
    fn others(&self, name: &str) -> Vec<Fields> {
        let services = self.server.store.view().list(&self.resource.collection, None);
        let others = services
            .objects
            .iter()
            .filter(|other| (&*other.key.namespace, &*other.key.name) != (self.namespace(), name));
        others.map(|other| other.value()).collect()
    }
}

/// Takes out what was drawn.
fn forget(service: &mut Fields, with_address: bool, ports: &[(usize, u64)]) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if with_address {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let all = spec.get_mut("ports").and_then(Value::as_array_mut);
    for (at, port) in all.into_iter().flatten().enumerate() {
        if let Some(port) = port
            .as_object_mut()
            .filter(|_| ports.iter().any(|(other, _)| *other == at))
        {
            port.remove("nodePort");
        }
    }
}

/// Why a Service cannot have its address.
fn unallocated(service: &Fields, address: IpAddr, others: &[Fields]) -> Option<FieldError> {
    let in_range = matches!(address, IpAddr::V4(four) if four & Ipv4Addr::new(255, 255, 0, 0) == Ipv4Addr::new(10, 96, 0, 0));
    let why = if !in_range {
        "the provided network does not match the current range"
    } else if others.iter().any(|other| self::address(other) == Some(address)) {
        "provided IP is already allocated"
    } else {
        return None;
    };
    let given = service.get("spec").and_then(|spec| spec.get("clusterIPs"));
    let shown = given.cloned().unwrap_or_else(|| json!([address.to_string()]));
    let why = format!("failed to allocate IP {address}: {why}");
    Some(FieldError::invalid("spec.clusterIPs", &shown, &why))
}
