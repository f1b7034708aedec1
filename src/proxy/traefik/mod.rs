//! The dynamic configuration of Traefik, and the arguments of a Traefik that Davit runs.

mod access;
mod launch;
mod refusal;
mod render;
mod rule;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod traffic;

pub use access::access_line;
pub use launch::{Launch, launch, resolvers};
pub use refusal::refusal;
pub use render::{Rendered, Settings, marker, render, router_names};
pub use traffic::requests;
