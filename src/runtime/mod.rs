//! Runtimes: the trait, its types, and a file or folder for each implementation.

mod capabilities;
pub mod channel;
pub mod deployment;
pub mod docker;
pub mod error;
mod event_hub;
mod exec;
pub mod fake;
pub mod kubernetes;
mod log;
pub mod port;
pub mod redaction;
pub mod rolling;
pub mod status;
pub mod subset;
pub mod swarm;
mod usage;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::model::AppId;

pub use capabilities::Capabilities;
pub use deployment::{
    Deployment, EnvVar, Health, History, Identity, Mount, MountSource, PodSpec, Probe, Resources, Restart,
    RolloutPolicy, Routed, Storage,
};
pub use error::RuntimeError;
pub use exec::{Exec, ExecControl, ExecOutput, ExecRequest, TerminalSize};
pub use log::{LogLine, LogOptions};
pub use port::Port;
pub use redaction::RedactionPolicy;
pub use status::{ExitStatus, MAX_OUTPUT, Progress, Replica, ReplicaState, Running, RuntimeEvent, label};
pub use usage::{CpuUsage, Traffic, Usage};

/// A runtime of containers. Every call is idempotent, and finds the results of earlier calls by labels.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// What the runtime supports: an input of validation.
    fn capabilities(&self) -> Capabilities;

    /// Returns the containers of an Application. Output of containers is masked as `redaction` demands, and with the
    /// values that the runtime itself gave to the container.
    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError>;

    /// Returns the end of one container's log, redacted, at most [`redaction::MAX_LOG_TAIL`] bytes; empty if the container
    /// wrote nothing or does not exist.
    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError>;

    /// Streams a part of one container's log, masked line by line; empty if the container does not exist. The engine is read
    /// as fast as the stream is polled.
    async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError>;

    /// Runs a command in one running container. It goes on if its client goes; a shell ends with its input.
    async fn exec(&self, app: &AppId, replica: &str, request: &ExecRequest) -> Result<Exec, RuntimeError> {
        let _ = (app, replica, request);
        Err(RuntimeError::Unsupported {
            what: "a command in a container",
            runtime: self.capabilities().name,
        })
    }

    /// Measures what the running replicas of an Application use.
    async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        let _ = app;
        Err(RuntimeError::Unsupported {
            what: "the use of CPU and memory",
            runtime: self.capabilities().name,
        })
    }

    /// Takes the next steps towards `deployment` and returns the progress. Does not wait for health or for containers to
    /// stop: the controller calls again after an event or `check_in`. For a rollback it is called with the earlier
    /// deployment; it then removes the new containers and restores the old ones.
    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError>;

    /// Stops and removes all containers of an Application. Volumes are kept. Like [`Runtime::deploy`], it does not wait for
    /// containers to stop.
    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError>;

    /// Removes everything of an Application but its images: containers, the namespace's network with the last of them, and
    /// its volumes if `volumes` is set. Returns true if nothing is left; the controller calls until then.
    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError>;

    /// Leaves the containers of an Application to run without it. A runtime whose objects have an owner takes that from them.
    async fn orphan(&self, _app: &AppId) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Whether containers can be created from this image.
    async fn has_image(&self, image: &str) -> Result<bool, RuntimeError>;

    /// All Applications with containers or files, and their UIDs, for the removal of those that no longer exist.
    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError>;

    /// Changes of containers, and [`RuntimeEvent::Connected`] each time that the runtime answers again. Never ends.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;
}
