//! Controllers that run inside the API server, and the writes that the API server makes itself.

mod cluster_roles;
mod flow_schemas;
pub mod garbage_collector;
pub mod namespaces;
pub mod system_delete;
pub mod system_writes;
mod token_secrets;
