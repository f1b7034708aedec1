//! Routes as objects of a cluster: Ingresses, or HTTPRoutes of a Gateway. An option that such an object cannot express is
//! refused, never left out.

mod gateway;
mod ingress;
mod observed;

use serde_json::{Value, json};

pub use gateway::Gateway;
pub use observed::{ObjectState, addresses, listener_port, observed};

use crate::api::{Route, RouteProtocol};
use crate::model::AppId;
use crate::model::labels::{APPLICATION, MANAGED_BY, MANAGER, UID};
use crate::proxy::input::RouteInput;

/// The label with the number of the route.
const ROUTE: &str = "davit.dev/route";

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
    let place = Place {
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

/// The route that an object is made for.
struct Place<'a> {
    app: &'a AppId,
    uid: &'a str,
    index: usize,
    port: u16,
}

impl Place<'_> {
    /// The name of the object. A number is at its end, so those of two Applications are never equal.
    fn name(&self) -> String {
        format!("{}-{}", self.app.name, self.index)
    }

    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.app.namespace,
            "labels": {
                MANAGED_BY: MANAGER,
                "app.kubernetes.io/name": self.app.name,
                APPLICATION: self.app.name,
                UID: self.uid,
                ROUTE: self.index.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "davit.dev/v1alpha1",
                "kind": "Application",
                "name": self.app.name,
                "uid": self.uid,
                "controller": true,
            }],
        })
    }
}

/// The path as both kinds of objects have it.
fn path(route: &Route) -> &str {
    match route.prefix() {
        "" => "/",
        prefix => prefix,
    }
}

/// The first field that neither kind of objects can express.
fn beyond_both(route: &Route) -> Option<&'static str> {
    let fields = [
        (!route.redirects.is_empty(), "redirects"),
        (route.basic_auth_secret_ref.is_some(), "basicAuthSecretRef"),
        (route.max_body_size.is_some(), "maxBodySize"),
        (!route.allow_from.is_empty(), "allowFrom"),
        (route.rate_limit.is_some(), "rateLimit"),
        (route.compress, "compress"),
        (route.sticky, "sticky"),
        (!route.middlewares.is_empty(), "middlewares"),
        (route.protocol == RouteProtocol::H2c, "protocol H2C"),
    ];
    fields.into_iter().find_map(|(used, field)| used.then_some(field))
}

#[cfg(test)]
mod tests;
