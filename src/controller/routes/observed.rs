//! Where a proxy is observed.

use std::net::SocketAddr;

use crate::redact::Secret;

/// The addresses of a proxy that is observed. They may become known later, and change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The API.
    pub api: Option<ApiAddress>,
    /// The entry points for HTTP and HTTPS.
    pub entry_points: Option<[SocketAddr; 2]>,
    /// Why the proxy does not run, and the solution.
    pub problem: Option<String>,
    /// A process in the proxy's network, if it is another one than Davit's.
    pub process: Option<u32>,
    /// Whether an API is to be expected, although its address is not known yet.
    pub expected: bool,
}

/// The API of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress {
    /// Host and port.
    pub authority: String,
    /// User and password, encoded for the header.
    pub credential: Option<Secret>,
}
