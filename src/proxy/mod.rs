//! Routes of Applications become the configuration of a reverse proxy. Pure.
//!
//! A runtime gives the replicas, the controller the routes and the values of Secrets. [`Claims`] decides which Application
//! has a host; a file or folder for each reverse proxy renders the accepted routes.

mod certificate;
mod claims;
mod cluster;
mod input;
mod traefik;

pub use certificate::{Certificate, CertificateError, is_for};
pub use claims::{Claims, HostPolicy, Patterns, Refusal};
pub use cluster::{
    CERTIFICATES, CertificateState, Frontend, Gateway, ObjectState, addresses, certificate_name,
    certificate_state, listener_port, objects, observed,
};
pub use input::{AppRoutes, RouteInput, Server};
#[cfg(test)]
pub use traefik::render;
pub use traefik::{
    Launch, Parts, Rendered, Settings, access_line, launch, marker, refusal, requests, resolvers,
    router_names,
};
