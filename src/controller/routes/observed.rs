//! Where a proxy is observed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::model::AppId;
use crate::model::requests::Requests;
use crate::redact::Secret;
use crate::runtime::{LogLine, RuntimeError};

/// Lines of the proxy's access log.
pub type AccessLines = BoxStream<'static, Result<LogLine, RuntimeError>>;

/// The requests of all Applications.
pub type AllRequests = Arc<BTreeMap<AppId, Requests>>;

/// The newest read of the requests.
#[derive(Default)]
pub struct NewestRequests(pub tokio::sync::Mutex<Option<(Instant, AllRequests)>>);

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
