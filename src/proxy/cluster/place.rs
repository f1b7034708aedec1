//! What both kinds of objects have in common.

use serde_json::{Value, json};

use crate::api::{Route, RouteProtocol};
use crate::model::AppId;
use crate::model::labels::{APPLICATION, MANAGED_BY, MANAGER, UID};

/// The label with the number of the route.
const ROUTE: &str = "davit.dev/route";

/// The route that an object is made for.
pub struct Place<'a> {
    pub app: &'a AppId,
    pub uid: &'a str,
    pub index: usize,
    pub port: u16,
}

impl Place<'_> {
    /// The name of the object. A number is at its end, so those of two Applications are never equal.
    pub fn name(&self) -> String {
        format!("{}-{}", self.app.name, self.index)
    }

    pub fn metadata(&self, name: &str) -> Value {
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
pub fn path(route: &Route) -> &str {
    match route.prefix() {
        "" => "/",
        prefix => prefix,
    }
}

/// The first field that neither kind of objects can express.
pub fn beyond_both(route: &Route) -> Option<&'static str> {
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
