//! A small Kubernetes-compatible API server: a library of its own that knows nothing of Davit.

pub mod field;
pub mod patch;
pub mod schema;
pub mod table;
