//! Routes of Applications become the configuration of a reverse proxy. Pure.
//!
//! A runtime gives the replicas, the controller the routes and the values of Secrets. [`Claims`] decides which Application
//! has a host; a file or folder for each reverse proxy renders the accepted routes.

mod certificate;
mod claims;
mod input;
mod traefik;

pub use certificate::{Certificate, CertificateError};
pub use claims::{Claims, HostPolicy, Patterns, Refusal};
pub use input::{AppRoutes, RouteInput, Server};
pub use traefik::{Launch, Rendered, Settings, launch, marker, render, router_names};
