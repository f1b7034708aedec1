//! The checks that we make ourselves, one task per container that has one, gone with the container.
//!
//! HTTP and TCP are asked for from the machine at the container's address, so that an image needs neither a shell nor
//! `curl`. A command is the engine's business, but the engine waits a whole interval (30 s by default) before it looks for
//! the first time: until it has succeeded once we run it too, so that a deployment does not wait for the interval.

mod check;
mod run;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bollard::Docker;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::model::AppId;
use crate::runtime::rolling::Health;
pub use check::{Check, Question, Target};
use run::Failure;

/// How many checks are under way at once, over all containers.
const AT_ONCE: usize = 32;
/// The first pause between tries while a container starts; it grows by half each time, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

struct Entry {
    started: String,
    ip: String,
    app: AppId,
    health: Arc<Mutex<Health>>,
    held: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

/// All checks that are being made.
pub struct Probes {
    docker: Docker,
    entries: Mutex<HashMap<String, Entry>>,
    at_once: Arc<Semaphore>,
    changed: mpsc::UnboundedSender<AppId>,
}

impl Probes {
    /// None yet; the Applications whose health changes are sent to `changed`.
    pub fn new(docker: Docker, changed: mpsc::UnboundedSender<AppId>) -> Self {
        Self {
            docker,
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
        let held = Arc::new(AtomicU64::new(0));
        let watch = Watch {
            docker: self.docker.clone(),
            target: target.clone(),
            health: Arc::clone(&health),
            held: Arc::clone(&held),
            at_once: Arc::clone(&self.at_once),
            changed: self.changed.clone(),
        };
        let entry = Entry {
            started: target.started,
            ip: target.ip,
            app: target.app,
            health,
            held,
            _task: AbortOnDropHandle::new(tokio::spawn(watch.run())),
        };
        entries.insert(target.id, entry);
        Health::Starting(None)
    }

    /// Begins or ends a time in which the container cannot be reached through no fault of its own: failures in it do not
    /// count.
    pub fn hold(&self, id: &str) {
        if let Some(entry) = self.entries.lock().get(id) {
            entry.held.fetch_add(1, Ordering::SeqCst);
        }
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

/// What the task of one container has.
struct Watch {
    docker: Docker,
    target: Target,
    health: Arc<Mutex<Health>>,
    /// Odd while the container is held; grows, so that a try that began before and ended after is known too.
    held: Arc<AtomicU64>,
    at_once: Arc<Semaphore>,
    changed: mpsc::UnboundedSender<AppId>,
}

impl Watch {
    async fn run(self) {
        let check = &self.target.check;
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE.min(check.interval());
        let mut failures = 0;
        let mut known = false;
        loop {
            let held = self.held.load(Ordering::SeqCst);
            let Ok(permit) = self.at_once.acquire().await else {
                return;
            };
            let result = run::once(&self.docker, &self.target).await;
            drop(permit);
            let excused = held % 2 == 1 || held != self.held.load(Ordering::SeqCst);
            match result {
                Ok(()) => {
                    failures = 0;
                    known = true;
                    let now = Timestamp::now();
                    self.report(Health::Healthy(now), |before| {
                        !matches!(before, Health::Healthy(_))
                    });
                    if matches!(check.question, Question::Command(_)) {
                        // The engine goes on.
                        return;
                    }
                }
                // A command that hangs is not started again and again: the engine ends its own.
                Err(Failure::Late(_)) if matches!(check.question, Question::Command(_)) => return,
                Err(_) if excused => {}
                Err(Failure::Late(why) | Failure::Refused(why)) => {
                    failures += 1;
                    let enough = if known {
                        failures >= check.retries
                    } else {
                        begun.elapsed() >= check.patience() && !matches!(check.question, Question::Command(_))
                    };
                    known |= enough;
                    if enough {
                        let news = Health::Unhealthy { why, until: None };
                        self.report(news.clone(), |before| *before != news);
                    }
                }
            }
            if known {
                pause = check.interval();
            }
            tokio::time::sleep(pause).await;
            pause = (pause + pause / 2).min(check.interval());
        }
    }

    fn report(&self, health: Health, is_news: impl FnOnce(&Health) -> bool) {
        let mut known = self.health.lock();
        if is_news(&known) {
            *known = health;
            // Sending fails only after the runtime was dropped, which also ends this task.
            let _ = self.changed.send(self.target.app.clone());
        }
    }
}
