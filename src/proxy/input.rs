//! What a configuration is made from.

use std::collections::BTreeMap;

use super::Certificate;
use crate::api::Route;
use crate::model::AppId;

/// The routes of one Application, with everything that they refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct AppRoutes {
    /// The Application.
    pub app: AppId,
    /// Its UID.
    pub uid: String,
    /// When it was created, in seconds since 1970: the oldest Application owns a host.
    pub created: i64,
    /// The hosts that its namespace is limited to; `None` if the installation's limit holds.
    pub allowed: Option<String>,
    /// Its routes, in the order of the spec.
    pub routes: Vec<RouteInput>,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteInput {
    /// The route as the spec has it.
    pub route: Route,
    /// The host in ASCII.
    pub host: String,
    /// The port of the containers, as the spec has it; `None` if the spec has none.
    pub port: Option<u16>,
    /// The replicas that get its requests.
    pub servers: Vec<Server>,
    /// The path of a health check of this port over HTTP, as a client of the route requests it.
    pub health: Option<String>,
    /// Lines of htpasswd, if a user and a password are asked for.
    pub users: Option<Vec<String>>,
    /// The certificate of `tls.secretRef`.
    pub certificate: Option<Certificate>,
    /// Why the route cannot be served, if something that it refers to is missing or invalid. Such a route is left out.
    pub problem: Option<String>,
}

/// The address of a replica, with the port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The IP address.
    pub address: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Returns address and port as a URL has them.
    pub fn authority(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

/// The routes of all Applications.
pub type AllRoutes = BTreeMap<AppId, AppRoutes>;
