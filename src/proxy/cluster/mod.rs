//! Routes as objects of a cluster: Ingresses, or HTTPRoutes of a Gateway. An option that such an object cannot express is
//! refused, never left out.

mod certificate;
mod gateway;
mod ingress;
mod observed;
mod place;

use serde_json::Value;

pub use certificate::{CERTIFICATES, CertificateState, certificate_name, certificate_state};
pub use gateway::Gateway;
pub use observed::{ObjectState, addresses, listener_port, observed};

use crate::model::AppId;
use crate::proxy::input::RouteInput;

/// What routes become in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// An Ingress, of this class or of the cluster's default one.
    Ingress {
        /// The IngressClass.
        class: Option<String>,
    },
    /// HTTPRoutes of this Gateway.
    Gateway(Gateway),
}

impl Frontend {
    /// Group, version, kind and plural of the objects.
    pub fn resource(&self) -> [&'static str; 4] {
        match self {
            Self::Ingress { .. } => ["networking.k8s.io", "v1", "Ingress", "ingresses"],
            Self::Gateway(_) => ["gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"],
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ingress { .. } => "the Ingress controller",
            Self::Gateway(_) => "the Gateway",
        }
    }
}

/// Returns the objects of a route; the first is the one that serves it.
///
/// # Errors
/// The option that the objects cannot express, and the solution.
pub fn objects(
    frontend: &Frontend,
    app: &AppId,
    uid: &str,
    index: usize,
    input: &RouteInput,
) -> Result<Vec<Value>, String> {
    let Some(port) = input.port else {
        return Err("port is missing".to_owned());
    };
    let place = place::Place {
        app,
        uid,
        index,
        port,
    };
    match frontend {
        Frontend::Ingress { class } => ingress::objects(class.as_deref(), &place, input),
        Frontend::Gateway(gateway) => gateway::objects(gateway, &place, input),
    }
}

#[cfg(test)]
mod tests;
