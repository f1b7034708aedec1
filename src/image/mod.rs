//! Images by name: their names, the credentials of registries, and what an engine or a registry is asked about them.

pub mod engine;
mod login;
mod name;
mod push;
mod registry;
mod repository;
mod trust;

pub use engine::{
    Docker, Found, ImageError, ResolvedImage, credentials, is_there, login_for, pull, registry_of,
    resolve_image,
};
pub use login::{HostLogins, RegistryLogins, place as login_place, registry_name};
pub use name::{ImageName, NotAName};
pub use push::{PushError, RegistryAccess, classify as push_error, push, pushed_digest};
pub use registry::{
    Deleted, ImageConfig, config_at_registry, delete, digest_at_registry, resolve_at_registry,
};
pub use repository::RegistryOptions;
pub use trust::{UNTRUSTED, trust};

/// What the engine says, in lower case, when a registry cannot be reached for a while.
const UNREACHABLE: &[&str] = &[
    "no such host",
    "connection refused",
    "timeout",
    "deadline exceeded",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "toomanyrequests",
    "eof",
    "temporary failure",
    "server misbehaving",
    "received unexpected http status: 5",
];
