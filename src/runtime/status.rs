//! What a runtime reports of containers and rollouts.

use std::time::Duration;

use jiff::Timestamp;

use super::port::Port;
use crate::model::AppId;

/// The largest output of a container or its check that a runtime keeps, in bytes: more than is shown of it, because secrets
/// are masked first, and more than the 4096 that the Docker Engine keeps of a check's output.
pub const MAX_OUTPUT: usize = 5 * 1024;

/// How often a rollout that waits for an event is looked at all the same.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// The name of a replica for users: its Release and its number. A Pod, whose ID is its name, has no number and keeps its name.
pub fn label(id: &str, name: &str, release: &str) -> String {
    if id == name {
        return name.to_owned();
    }
    let name = name.trim_end_matches(|char: char| !char.is_ascii_digit());
    let number = name.trim_end_matches(|char: char| char.is_ascii_digit()).len();
    format!("{release}.{}", name.get(number..).unwrap_or_default())
}

/// The observed containers of an Application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// All containers with the Application's labels, in any state.
    pub replicas: Vec<Replica>,
    /// Selects them for an autoscaler, if the runtime has one.
    pub selector: Option<String>,
}

impl Running {
    /// The containers with this [`Identity::hash`](super::Identity::hash) that are not being removed.
    pub fn of(&self, hash: &str) -> impl Iterator<Item = &Replica> + Clone {
        let own = move |replica: &&Replica| replica.hash == hash && !replica.draining;
        self.replicas.iter().filter(own)
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The [`Identity::hash`](super::Identity::hash) that it was created for.
    pub hash: String,
    /// The Release that it was created for.
    pub release: String,
    /// The image that it runs, by the engine's id.
    pub image: String,
    /// Its state.
    pub state: ReplicaState,
    /// The start of its present healthy period.
    pub healthy_since: Option<Timestamp>,
    /// Whether the Application's name resolves to it.
    pub serving: bool,
    /// Whether it is being removed. The Application's name no longer resolves to it.
    pub draining: bool,
    /// Whether it is about to be replaced, and waits until a reverse proxy sends no more requests to it.
    pub leaving: bool,
    /// How often the runtime restarted it.
    pub restarts: i64,
    /// Its IP address in the network of its namespace, where a reverse proxy reaches it; `None` if it has none.
    pub address: Option<String>,
    /// Host ports at which it is reachable, as observed, in the order of port, address and protocol.
    pub endpoints: Vec<Port>,
}

/// State of a container. Its output is redacted: see [`RedactionPolicy`](super::RedactionPolicy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Created, not started.
    Created,
    /// Runs, and its health is not known yet.
    Starting,
    /// Runs and is healthy (or has no check).
    Healthy,
    /// Runs and is not healthy; the last thing a check said.
    Unhealthy(String),
    /// Exits again and again, and the runtime restarts it: it waits for its restart, or was just restarted. The report stays
    /// the same from one exit to the next of the same kind.
    KeepsEnding {
        /// Its last exit status; `None` if it was not observed.
        last: Option<ExitStatus>,
        /// The number of restarts, rounded down to a power of two.
        times: i64,
        /// The end of its output or the runtime's message, from when that number of restarts was reached.
        message: String,
    },
    /// Stopped in favour of newer containers, and kept for a rollback until these are ready.
    Kept,
    /// Ended.
    Exited {
        /// Its exit code.
        code: i64,
        /// Killed for want of memory.
        oom: bool,
        /// The end of its output, or the runtime's message.
        message: String,
    },
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit code.
    pub code: i64,
    /// Killed for want of memory.
    pub oom: bool,
}

/// The progress of a rollout, as one call of [`Runtime::deploy`](super::Runtime::deploy) found it after its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not complete. The controller calls again after an event, and at the latest after `check_in`.
    Rolling {
        /// Replicas of this hash that exist.
        created: u32,
        /// Of them, healthy for minReady.
        ready: u32,
        /// Time until the next call (`minReady`, drain, probes).
        check_in: Option<Duration>,
        /// The reason to wait: `web-2 is unhealthy: connection refused`.
        waiting_for: String,
    },
    /// Exactly the wanted replicas run, all healthy for `minReady` and reachable by the Application's name, and no other
    /// container of the Application is left.
    Complete,
}

impl Progress {
    /// The progress while containers stop. The runtime reports their end with an event.
    pub fn stopping(containers: usize) -> Self {
        Self::Rolling {
            created: 0,
            ready: 0,
            check_in: Some(SAFETY_NET),
            waiting_for: format!("{containers} containers to stop"),
        }
    }
}

/// A change in a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container of this Application changed.
    Changed(AppId),
    /// The runtime answers again. Everything may have changed.
    Connected,
    /// The runtime does not answer.
    Disconnected,
}
