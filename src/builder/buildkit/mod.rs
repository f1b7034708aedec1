//! A client of BuildKit: the build call, the session by which BuildKit asks for files, secrets and credentials, and the
//! progress that it reports.

mod client;
mod context;
mod context_filter;
mod control;
mod daemon;
mod dockerignore;
mod engine_http;
mod errors;
mod filesend;
mod filesync;
mod input;
mod limits;
mod options;
mod progress;
mod session;
mod source_policy;
mod stream;

pub use bollard::moby::buildkit::v1::UsageRecord;
pub use client::BuildKit;
pub use context::{Generated, Tree};
pub use control::Control;
pub use daemon::{Daemon, TlsFiles};
pub use dockerignore::{Match as PatternMatch, Patterns};
pub use engine_http::Place;
pub use errors::engine as engine_error;
pub use filesync::Trees;
pub use input::flag as input_flag;
pub use limits::Limits;
pub use options::{BuildOptions, Outcome, Output, SolveRequest, shared_key};
