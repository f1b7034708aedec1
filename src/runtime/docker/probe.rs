//! The checks that we make ourselves: HTTP and TCP from the machine to the container's address, so that an image needs
//! neither a shell nor `curl`. One task per container that has such a check, gone with the container.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::rollout::Health;
use crate::error::{chain, cut};
use crate::model::AppId;
use crate::runtime::{Probe, Workload};

/// How many checks are under way at once, over all containers.
const AT_ONCE: usize = 32;
/// The first pause between tries while a container starts; it grows by half each time, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between tries, and the shortest patience with one: 0 would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);
/// How much of an answer's body is read, so that the server sees an orderly client.
const LONGEST_BODY: usize = 64 * 1024;
/// The longest reason that is remembered, in bytes.
const LONGEST_REASON: usize = 256;

/// A check that we make, as a container's label carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked for; nothing: that a connection is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The container port.
    port: u16,
    /// Milliseconds between tries.
    interval: u64,
    /// Milliseconds that a try may take.
    timeout: u64,
    /// Failures in a row until it counts as unhealthy.
    retries: u32,
    /// Milliseconds after the start in which failures do not count.
    start: u64,
}

impl Check {
    /// The workload's, if it is one that we make.
    pub fn of(workload: &Workload) -> Option<Self> {
        let health = workload.health.as_ref()?;
        let (path, port) = match &health.probe {
            Probe::Http { path, port } => (Some(path.clone()), *port),
            Probe::Tcp { port } => (None, *port),
            Probe::Exec(_) => return None,
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(Self {
            path,
            port,
            interval: millis(health.interval),
            timeout: millis(health.timeout),
            retries: health.retries.max(1),
            start: millis(health.start_period),
        })
    }

    /// As a label.
    pub fn to_label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a label.
    pub fn from_label(label: &str) -> Option<Self> {
        serde_json::from_str(label).ok()
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval).max(SHORTEST)
    }

    /// How long failures may go on from the start until they count: the tries while a container starts are closer
    /// together than the interval, so they are not counted one by one.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.start) + self.interval() * self.retries
    }
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

struct Entry {
    started: String,
    ip: String,
    app: AppId,
    health: Arc<Mutex<Health>>,
    _task: AbortOnDropHandle<()>,
}

/// All checks that are being made.
pub struct Probes {
    entries: Mutex<HashMap<String, Entry>>,
    at_once: Arc<Semaphore>,
    changed: mpsc::UnboundedSender<AppId>,
}

impl Probes {
    /// None yet; the Applications whose health changes are sent to `changed`.
    pub fn new(changed: mpsc::UnboundedSender<AppId>) -> Self {
        Self {
            entries: Mutex::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            changed,
        }
    }

    /// The health of this start of the container; checks it from now on, if it was not checked yet.
    pub fn health(&self, target: Target) -> Health {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&target.id)
            && entry.started == target.started
            && entry.ip == target.ip
        {
            return entry.health.lock().clone();
        }
        let health = Arc::new(Mutex::new(Health::Starting(None)));
        let entry = Entry {
            started: target.started.clone(),
            ip: target.ip.clone(),
            app: target.app.clone(),
            health: Arc::clone(&health),
            _task: AbortOnDropHandle::new(tokio::spawn(watch(
                target.clone(),
                health,
                Arc::clone(&self.at_once),
                self.changed.clone(),
            ))),
        };
        entries.insert(target.id, entry);
        Health::Starting(None)
    }

    /// Stops checking a container.
    pub fn drop(&self, id: &str) {
        self.entries.lock().remove(id);
    }

    /// Stops checking the Application's containers that are not among these.
    pub fn retain(&self, app: &AppId, ids: &HashSet<&str>) {
        self.entries
            .lock()
            .retain(|id, entry| entry.app != *app || ids.contains(id.as_str()));
    }
}

async fn watch(
    target: Target,
    health: Arc<Mutex<Health>>,
    at_once: Arc<Semaphore>,
    changed: mpsc::UnboundedSender<AppId>,
) {
    let check = &target.check;
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE.min(check.interval());
    let mut failures = 0;
    let mut known = false;
    loop {
        let Ok(permit) = at_once.acquire().await else {
            return;
        };
        let result = attempt(&target).await;
        drop(permit);
        let next = match result {
            Ok(()) => {
                failures = 0;
                known = true;
                (!matches!(*health.lock(), Health::Healthy(_))).then(|| Health::Healthy(Timestamp::now()))
            }
            Err(why) => {
                failures += 1;
                let enough = if known {
                    failures >= check.retries
                } else {
                    begun.elapsed() >= check.patience()
                };
                known |= enough;
                let news = enough
                    && !matches!(&*health.lock(), Health::Unhealthy { why: before, .. } if *before == why);
                news.then_some(Health::Unhealthy { why, until: None })
            }
        };
        if let Some(next) = next {
            *health.lock() = next;
            if changed.send(target.app.clone()).is_err() {
                return;
            }
        }
        if known {
            pause = check.interval();
        }
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 2).min(check.interval());
    }
}

async fn attempt(target: &Target) -> Result<(), String> {
    let limit = Duration::from_millis(target.check.timeout).max(SHORTEST);
    match tokio::time::timeout(limit, ask(target)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(cut(&why, LONGEST_REASON)),
        Err(_) => Err(format!(
            "no answer from {} within {limit:?}",
            place(&target.check)
        )),
    }
}

fn place(check: &Check) -> String {
    match &check.path {
        Some(path) => format!("port {} for GET {path}", check.port),
        None => format!("port {}", check.port),
    }
}

async fn ask(target: &Target) -> Result<(), String> {
    let place = place(&target.check);
    let ip: IpAddr = target.ip.parse().map_err(|_| "it has no address".to_owned())?;
    let stream = TcpStream::connect(SocketAddr::new(ip, target.check.port))
        .await
        .map_err(|refusal| format!("{place}: {}", short(&refusal)))?;
    let Some(path) = &target.check.path else {
        return Ok(());
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|refusal| format!("{place}: {}", chain(&refusal)))?;
    // Not followed: a redirect is an answer below 400.
    let request = http::Request::get(path.as_str())
        // Frameworks that check the host name let this one through.
        .header(http::header::HOST, "localhost")
        .header(http::header::USER_AGENT, "davit-probe")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|refusal| format!("{place}: {refusal}"))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // What the body says, and how it ends, does not matter.
        let _ = Limited::new(answer.into_body(), LONGEST_BODY).collect().await;
        Ok::<_, hyper::Error>(status)
    };
    let connection = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let status = tokio::select! {
        answer = exchange => answer.map_err(|refusal| format!("{place}: {}", chain(&refusal)))?,
        () = connection => return Err(format!("{place}: the connection ended")),
    };
    if status.as_u16() < 400 {
        Ok(())
    } else {
        Err(format!("{place}: answer {status}"))
    }
}

/// The operating system's words without its number.
fn short(refusal: &std::io::Error) -> String {
    let text = refusal.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
