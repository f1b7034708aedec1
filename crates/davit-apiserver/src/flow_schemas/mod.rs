//! Which requests wait for each other: priority levels, and the flow schemas that assign requests to them, as their
//! objects in `flowcontrol.apiserver.k8s.io` say.

mod config;
mod matching;
pub mod suggested;

pub use self::{
    config::{Flows, Level},
    matching::{About, Digest},
};
