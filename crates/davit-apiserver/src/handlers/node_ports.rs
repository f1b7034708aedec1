//! The node ports of Services: each belongs to one Service.

use std::collections::HashSet;

use serde_json::Value;

use super::Call;
use crate::{
    field::FieldError,
    object_meta::{self, Fields},
    registry::builtin::Builtin,
    status::{ApiError, ApiResult},
};

fn node_ports(service: &Fields) -> Vec<(usize, u64)> {
    let ports = service.get("spec").and_then(|spec| spec.get("ports")?.as_array());
    let ports = ports.map_or(&[][..], Vec::as_slice).iter().enumerate();
    ports
        .filter_map(|(at, port)| Some((at, port.get("nodePort")?.as_u64()?)))
        .filter(|(_, port)| *port != 0)
        .collect()
}

impl Call {
    /// Refuses a Service with a node port that another Service has.
    pub(super) fn check_node_ports(&self, service: &Fields) -> ApiResult<()> {
        let wanted = node_ports(service);
        if self.resource.builtin != Builtin::Service || wanted.is_empty() {
            return Ok(());
        }
        let name = object_meta::text(service, "name");
        let services = self.server.store.view().list(&self.resource.collection, None);
        let others = services
            .objects
            .iter()
            .filter(|other| (&*other.key.namespace, &*other.key.name) != (self.namespace(), name));
        let taken: HashSet<u64> = others
            .flat_map(|other| node_ports(&other.value()))
            .map(|(_, port)| port)
            .collect();
        let errors: Vec<FieldError> = wanted
            .into_iter()
            .filter(|(_, port)| taken.contains(port))
            .map(|(at, port)| {
                let field = format!("spec.ports[{at}].nodePort");
                FieldError::invalid(&field, &Value::from(port), "provided port is already allocated")
            })
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        let names = (&self.resource.group, &self.resource.names.kind);
        Err(ApiError::invalid(names.0, names.1, name, &errors))
    }
}
