//! Health checks that Davit makes itself.

use std::time::Duration;

use bollard::models::HealthConfig;
use serde::{Deserialize, Serialize};

use crate::model::AppId;
use crate::runtime::{Deployment, Probe};

/// The shortest time between tries, and the shortest patience with one: 0 would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);
/// What the engine takes for the interval and for the timeout where none is given.
const ENGINE_DEFAULT: Duration = Duration::from_secs(30);

/// One attempt of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// GET of this path at this container port answers below 400.
    Http(String, u16),
    /// This container port accepts a connection.
    Tcp(u16),
    /// This command ends with 0; asked until it has done so once, the engine goes on.
    Command(Vec<String>),
}

/// A check that we make, as a container's label carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The attempt.
    pub question: Question,
    /// Milliseconds between tries.
    interval: u64,
    /// Milliseconds that a try may take.
    timeout: u64,
    /// Failures in a row until it counts as unhealthy.
    pub retries: u32,
    /// Milliseconds after the start in which failures do not count.
    start: u64,
}

impl Check {
    /// The deployment's, if it is one that we make.
    pub fn of(deployment: &Deployment) -> Option<Self> {
        let health = deployment.spec.health.as_ref()?;
        let question = match &health.probe {
            Probe::Http { path, port } => Question::Http(path.clone(), *port),
            Probe::Tcp { port } => Question::Tcp(*port),
            Probe::Exec(_) => return None,
        };
        Some(Self {
            question,
            interval: millis(health.interval),
            timeout: millis(health.timeout),
            retries: health.retries.max(1),
            start: millis(health.start_period),
        })
    }

    /// The engine's own check of a container, as `docker inspect` shows it.
    pub fn of_engine(config: &HealthConfig) -> Option<Self> {
        let test = config.test.as_deref()?;
        let command = match test.split_first()? {
            (kind, rest) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
            (kind, [line]) if kind == "CMD-SHELL" => ["/bin/sh", "-c", line].map(str::to_owned).into(),
            _ => return None,
        };
        let time = |nanos: Option<i64>| {
            let nanos = nanos
                .and_then(|nanos| u64::try_from(nanos).ok())
                .filter(|nanos| *nanos > 0);
            nanos.map_or(ENGINE_DEFAULT, Duration::from_nanos)
        };
        Some(Self {
            question: Question::Command(command),
            interval: millis(time(config.interval)),
            timeout: millis(time(config.timeout)),
            retries: 1,
            start: 0,
        })
    }

    /// How long one try may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout).max(SHORTEST)
    }

    /// As a label.
    pub fn to_label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a label.
    pub fn from_label(label: &str) -> Option<Self> {
        serde_json::from_str(label).ok()
    }

    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval).max(SHORTEST)
    }

    /// How long failures may go on from the start until they count: the tries while a container starts are closer
    /// together than the interval, so they are not counted one by one.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.start) + self.interval() * self.retries
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One container to check.
#[derive(Clone, Debug)]
pub struct Target {
    /// The engine's id.
    pub id: String,
    /// This start of it.
    pub started: String,
    /// Its address.
    pub ip: String,
    /// Whose it is.
    pub app: AppId,
    /// What to check.
    pub check: Check,
}
