//! Previews of pull requests. A pass for one Application asks its forge, decides, and creates, changes and removes Applications.
//! It runs in the background, so that a forge that does not answer holds up no Release; the next reconcile records its result.
//! An Application without previews has no entry here.

mod comments;
mod pass;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{
    Application, ApplicationStatus, LABEL_PREVIEW_OF, PULL_REQUESTS_AT, PreviewStatus, REQUESTED_AT,
};
use crate::model::{AppId, PullRequest};
use crate::plan::backoff;
use crate::plan::preview::{Facts, wanted};

use super::context::Context;

pub use self::pass::PassResult;

/// How often pull requests are listed by default.
const INTERVAL: Duration = Duration::from_mins(5);
/// How long the deletion of an Application waits for its previews to be removed and reported.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pull requests as the forge listed them last.
struct Listed {
    at: Instant,
    pull_requests: Arc<Vec<PullRequest>>,
}

/// What is kept of one Application between passes.
#[derive(Default)]
struct Slot {
    task: Option<AbortOnDropHandle<()>>,
    listed: Option<Listed>,
    /// What the last pass was asked for by: another spec or a request makes a list anew.
    key: String,
    /// A preview has changed since the last pass.
    is_due: bool,
    /// What the status does not have yet.
    result: Option<Vec<PreviewStatus>>,
    /// A reconcile has taken the result over.
    is_recorded: bool,
    /// The answers that never change.
    facts: Facts,
    failures: u32,
    not_before: Option<Instant>,
    /// The last problem, so that it is reported once.
    problem: Option<String>,
    /// A pass has ended since the Application was deleted.
    is_cleaned: bool,
    /// Which comments are looked at next.
    looked_at: usize,
}

/// What a pass begins with.
pub(super) struct Begin {
    /// The pull requests, if the list from before will do.
    pull_requests: Option<Arc<Vec<PullRequest>>>,
    facts: Facts,
    looked_at: usize,
}

/// The passes under way: at most one for each Application.
pub struct Previews {
    slots: Mutex<HashMap<AppId, Slot>>,
    /// What was seen last of each preview.
    seen: Mutex<HashMap<AppId, u64>>,
    /// Held while previews are counted and created, so that a namespace never has more than it may have.
    creating: tokio::sync::Mutex<()>,
    most: usize,
    wake: mpsc::UnboundedSender<AppId>,
}

impl Previews {
    /// No previews yet. `most` is how many a namespace may have. An Application is sent to `wake` when its pass has ended.
    pub fn new(most: usize, wake: mpsc::UnboundedSender<AppId>) -> Self {
        Self {
            slots: Mutex::default(),
            seen: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            most,
            wake,
        }
    }

    /// Stops all passes.
    pub fn shutdown(&self) {
        self.slots.lock().clear();
    }

    /// Forgets an Application that is gone.
    pub fn forget(&self, app: &AppId) {
        self.slots.lock().remove(app);
    }

    /// Takes the result of the last pass over into a status.
    pub fn record(&self, app: &AppId, status: &mut ApplicationStatus) {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(app) else { return };
        if let Some(result) = &slot.result {
            status.previews.clone_from(result);
            slot.is_recorded = true;
        }
    }

    /// Begins a pass if one is due, and returns when the next one is. What [`Self::record`] gave is written by now.
    pub fn step(&self, ctx: &Arc<Context>, app: &Application) -> Option<Duration> {
        if app.spec.suspend || app.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
        let is_wanted = wanted(app).is_some();
        let mut slots = self.slots.lock();
        let mentioned = app
            .status
            .as_ref()
            .is_some_and(|status| !status.previews.is_empty());
        if !is_wanted && !mentioned && !slots.contains_key(&id) {
            return None;
        }
        let slot = slots.entry(id.clone()).or_default();
        // The end of a pass wakes the Application.
        if slot.task.is_some() || slot.result.is_some() && !slot.is_recorded {
            return None;
        }
        slot.result = None;
        if !is_wanted {
            slot.listed = None;
            if !mentioned && !slot.is_due && slot.failures == 0 {
                slots.remove(&id);
                return None;
            }
        }
        let key = key(app);
        let rest = slot
            .not_before
            .filter(|_| slot.key == key)
            .map(|at| at.saturating_duration_since(Instant::now()));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return Some(rest);
        }
        let interval = interval(app).unwrap_or(Duration::MAX);
        let listed = slot.listed.as_ref().filter(|_| slot.key == key);
        let rest = listed.map_or(Duration::ZERO, |listed| {
            interval.saturating_sub(listed.at.elapsed())
        });
        if !rest.is_zero() && !slot.is_due && slot.failures == 0 {
            return Some(rest).filter(|_| interval != Duration::MAX);
        }
        if rest.is_zero() {
            slot.listed = None;
        }
        slot.key = key;
        self.begin(slot, ctx, id, app);
        None
    }

    fn begin(&self, slot: &mut Slot, ctx: &Arc<Context>, id: AppId, app: &Application) {
        slot.is_due = false;
        let begin = Begin {
            pull_requests: slot
                .listed
                .as_ref()
                .map(|listed| Arc::clone(&listed.pull_requests)),
            facts: std::mem::take(&mut slot.facts),
            looked_at: slot.looked_at,
        };
        let task = run(Arc::clone(ctx), id, app.clone(), begin);
        slot.task = Some(AbortOnDropHandle::new(tokio::spawn(task)));
    }

    /// Reports whether the deletion of an Application has to wait for a pass that removes its previews.
    pub fn holds_deletion(&self, ctx: &Arc<Context>, app: &Application) -> bool {
        let Some(since) = &app.metadata.deletion_timestamp else {
            return false;
        };
        let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
        let mentioned = app
            .status
            .as_ref()
            .is_some_and(|status| !status.previews.is_empty());
        let age = jiff::Timestamp::now().duration_since(since.0);
        let mut slots = self.slots.lock();
        if age.unsigned_abs() > PATIENCE || !mentioned && !slots.contains_key(&id) {
            return false;
        }
        let slot = slots.entry(id.clone()).or_default();
        if slot.task.is_none() && !slot.is_cleaned {
            slot.listed = None;
            self.begin(slot, ctx, id, app);
        }
        slot.task.is_some()
    }

    /// Looks at the Application of a preview after its reconcile. If it changed, a pass of the Application that it belongs to is
    /// due.
    pub fn preview_seen(&self, preview: &Application, status: Option<&ApplicationStatus>) {
        let Some(parent) = preview.labels().get(LABEL_PREVIEW_OF) else {
            return;
        };
        let id = AppId::new(preview.namespace().unwrap_or_default(), preview.name_any());
        let mut mark = DefaultHasher::new();
        preview.metadata.generation.hash(&mut mark);
        preview.metadata.deletion_timestamp.is_some().hash(&mut mark);
        preview.metadata.labels.hash(&mut mark);
        let parent = AppId::new(id.namespace.clone(), parent);
        match status {
            Some(status) => {
                status.phase.hash(&mut mark);
                status.observed_generation.hash(&mut mark);
                status.urls.hash(&mut mark);
                if self.seen.lock().insert(id, mark.finish()) == Some(mark.finish()) {
                    return;
                }
            }
            None => {
                self.seen.lock().remove(&id);
            }
        }
        self.slots.lock().entry(parent.clone()).or_default().is_due = true;
        self.wake.send(parent).ok(); // The loop has ended otherwise.
    }

    fn end(&self, id: &AppId, is_deleted: bool, ended: PassResult) -> Option<String> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(id)?;
        slot.task = None;
        slot.facts = ended.facts;
        slot.looked_at = ended.looked_at;
        slot.is_cleaned = is_deleted;
        if let Some(pull_requests) = ended.listed {
            slot.listed = Some(Listed {
                at: Instant::now(),
                pull_requests,
            });
        }
        slot.result = ended.states;
        slot.is_recorded = false;
        match ended.problem {
            None => {
                slot.failures = 0;
                slot.not_before = None;
                slot.problem = None;
                None
            }
            Some(problem) => {
                slot.failures += 1;
                slot.not_before =
                    Some(Instant::now() + problem.pause.unwrap_or_else(|| backoff::pause(slot.failures, 0)));
                let is_new = slot.problem.as_ref() != Some(&problem.message);
                slot.problem = Some(problem.message.clone());
                (is_new && problem.is_reported).then_some(problem.message)
            }
        }
    }
}

async fn run(ctx: Arc<Context>, id: AppId, app: Application, begin: Begin) {
    let ended = pass::pass(&ctx, &id, &app, begin).await;
    let is_deleted = app.metadata.deletion_timestamp.is_some();
    if let Some(message) = ctx.previews.end(&id, is_deleted, ended) {
        pass::report_problem(&ctx, &app, &message).await;
    }
    ctx.previews.wake.send(id).ok(); // The loop has ended otherwise.
}

/// What asks for a new list of pull requests.
fn key(app: &Application) -> String {
    let annotation = |key: &str| app.annotations().get(key).cloned().unwrap_or_default();
    let requests: Vec<String> = REQUESTED_AT
        .iter()
        .chain([&PULL_REQUESTS_AT])
        .map(|key| annotation(key))
        .collect();
    format!("{:?} {}", app.metadata.generation, requests.join(" "))
}

/// How often the pull requests are listed; `None` for never.
fn interval(app: &Application) -> Option<Duration> {
    let trigger = app.spec.trigger.as_ref();
    let interval = trigger.and_then(|trigger| trigger.poll_interval.as_ref());
    let interval = interval.map_or(INTERVAL, |interval| interval.get());
    (!interval.is_zero()).then_some(interval.max(Duration::from_secs(1)))
}
