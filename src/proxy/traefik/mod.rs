//! The dynamic configuration of Traefik, and the arguments of a Traefik that Davit runs.

mod access;
mod launch;
mod parts;
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
#[cfg(test)]
pub use parts::render;
pub use parts::{Parts, Rendered};
pub use refusal::refusal;
pub use render::{Settings, marker, router_names};
pub use traffic::requests;
