//! Davit: `kubectl apply` an Application; Davit builds it, runs it, and says the truth about it.
//!
//! Start reading in ARCHITECTURE.md, then [`plan`], then [`controller::application`].

pub mod api;
pub mod app;
pub mod builder;
pub mod cli;
pub mod config;
pub mod controller;
pub mod error;
pub mod forge;
pub mod http;
pub mod image;
pub mod job_log;
pub mod metrics;
pub mod model;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod redact;
pub mod runtime;
pub mod shares;
pub mod source;
pub mod subresources;
pub mod telemetry;
