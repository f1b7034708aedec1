//! The dynamic configuration of Traefik, and the arguments of a Traefik that Davit runs.

mod launch;
mod render;
mod rule;
mod schema;
#[cfg(test)]
mod tests;
mod text;

pub use launch::{Launch, launch};
pub use render::{Rendered, Settings, marker, render, router_names};
