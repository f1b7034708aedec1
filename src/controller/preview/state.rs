//! What is kept of Applications with previews between passes, and when the next pass is due.

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
    Application, ApplicationStatus, LABEL_PREVIEW_OF, PULL_REQUEST, PULL_REQUESTS_AT, PreviewStatus,
    REQUESTED_AT,
};
use crate::model::{AppId, PullRequest};
use crate::plan::preview::{Facts, number, wanted};

use super::hindrance::{Held, Hindrance, PassProblem};

/// How often pull requests are listed by default.
const INTERVAL: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);
/// How many questions about pull requests the forge is asked in a minute: GitHub allows 5000 requests an hour.
const QUESTIONS: usize = 60;
/// How long the deletion of an Application waits for its previews to be removed and reported.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pull requests as the forge listed them last.
struct Listed {
    at: Instant,
    pull_requests: Arc<Vec<PullRequest>>,
}

/// What is kept of one Application between passes.
#[derive(Default)]
struct Slot {
    is_running: bool,
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
    /// The answers that never change, and those from before if a pass could not ask everything.
    facts: Facts,
    /// Since when answers are kept that may change.
    kept_since: Option<Instant>,
    /// When the forge was asked first in the present minute, and how often since.
    asked: Option<(Instant, usize)>,
    /// When the next preview expires.
    expires: Option<Instant>,
    /// The pull requests whose comment the forge refused, when, and why.
    refused: Refused,
    /// What holds up passes.
    pass: Hindrance,
    /// What holds up comments only.
    comments: Hindrance,
    /// A pass has ended since the Application was deleted.
    is_cleaned: bool,
    /// Which comments are looked at next.
    looked_at: usize,
}

/// The pull requests whose comment the forge refused, when, and why.
pub type Refused = HashMap<u64, (Instant, String)>;

impl Slot {
    fn begin(&mut self) -> Begin {
        self.is_due = false;
        self.is_running = true;
        if self.kept_since.is_some_and(|since| since.elapsed() > INTERVAL) {
            self.facts = std::mem::take(&mut self.facts).lasting();
            self.kept_since = None;
        }
        if self.asked.is_some_and(|(since, _)| since.elapsed() > MINUTE) {
            self.asked = None;
        }
        let rest = self.comments.rest().filter(|_| self.comments.holds);
        let held = rest.filter(|rest| !rest.is_zero());
        Begin {
            questions: QUESTIONS.saturating_sub(self.asked.map_or(0, |(_, asked)| asked)),
            comments_held: held.map(|_| Held {
                why: self.comments.problem.clone(),
            }),
            refused: std::mem::take(&mut self.refused),
            pull_requests: self
                .listed
                .as_ref()
                .map(|listed| Arc::clone(&listed.pull_requests)),
            facts: std::mem::take(&mut self.facts),
            looked_at: self.looked_at,
        }
    }
}

/// What a pass begins with.
pub struct Begin {
    /// The pull requests, if the list from before will do.
    pub pull_requests: Option<Arc<Vec<PullRequest>>>,
    /// The answers from before.
    pub facts: Facts,
    /// How many questions the forge may be asked.
    pub questions: usize,
    /// Which comments are looked at next.
    pub looked_at: usize,
    /// No comment is written now.
    pub comments_held: Option<Held>,
    /// The pull requests whose comment the forge refused.
    pub refused: Refused,
}

/// When the next pass is due.
pub enum Due {
    /// Now.
    Now(Begin),
    /// After this time.
    In(Duration),
    /// When something changes.
    Never,
}

/// Whether a deletion has to wait for a pass.
pub enum Hold {
    /// It need not wait.
    No,
    /// For the one that is running.
    Running,
    /// For one that has to begin.
    Begin(Box<Begin>),
}

/// What a pass came to.
pub struct PassResult {
    /// The pull requests, if they were listed.
    pub listed: Option<Arc<Vec<PullRequest>>>,
    /// The previews for the status; `None` leaves it as it is.
    pub states: Option<Vec<PreviewStatus>>,
    /// The answers of the forge.
    pub facts: Facts,
    /// Whether there is no more to ask.
    pub is_decided: bool,
    /// How many questions the forge was asked.
    pub asked: usize,
    /// Which comments are looked at next.
    pub looked_at: usize,
    /// When the next preview expires.
    pub expires_in: Option<Duration>,
    /// The pull requests whose comment the forge refused.
    pub refused: Refused,
    /// What could not be done.
    pub problem: Option<PassProblem>,
    /// Why comments were not written.
    pub comments: Option<PassProblem>,
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

    /// Returns whether a pass is due, or when. What [`Self::record`] gave is written by now.
    pub fn due(&self, app: &Application) -> Due {
        if app.spec.suspend || app.metadata.deletion_timestamp.is_some() {
            return Due::Never;
        }
        let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
        let is_wanted = wanted(app).is_some();
        let mut slots = self.slots.lock();
        let mentioned = app
            .status
            .as_ref()
            .is_some_and(|status| !status.previews.is_empty());
        if !is_wanted && !mentioned && !slots.contains_key(&id) {
            return Due::Never;
        }
        let slot = slots.entry(id.clone()).or_default();
        // The end of a pass wakes the Application.
        if slot.is_running || slot.result.is_some() && !slot.is_recorded {
            return Due::Never;
        }
        slot.result = None;
        if !is_wanted {
            slot.listed = None;
            if !mentioned && !slot.is_due && slot.pass.failures == 0 {
                slots.remove(&id);
                return Due::Never;
            }
        }
        let key = key(app);
        if slot.key != key {
            slot.comments.not_before = None;
            slot.refused.clear();
        }
        let rest = slot.pass.rest().filter(|_| slot.key == key);
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return Due::In(rest);
        }
        let interval = interval(app).unwrap_or(Duration::MAX);
        let listed = slot.listed.as_ref().filter(|_| slot.key == key);
        let rest = listed.map_or(Duration::ZERO, |listed| {
            interval.saturating_sub(listed.at.elapsed())
        });
        let later = slot.comments.rest().unwrap_or(Duration::MAX);
        let expires = slot
            .expires
            .map(|at| at.saturating_duration_since(Instant::now()));
        let later = later.min(expires.unwrap_or(Duration::MAX));
        if !rest.min(later).is_zero() && !slot.is_due && slot.pass.failures == 0 {
            return if interval.min(later) == Duration::MAX {
                Due::Never
            } else {
                Due::In(rest.min(later))
            };
        }
        if rest.is_zero() {
            slot.listed = None;
        }
        slot.key = key;
        Due::Now(slot.begin())
    }

    /// Keeps the task of a pass that has begun.
    pub fn keep(&self, id: &AppId, task: AbortOnDropHandle<()>) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(id).filter(|slot| slot.is_running) {
            slot.task = Some(task);
        } else {
            // It has ended already.
            task.detach();
        }
    }

    /// Returns whether the deletion of an Application has to wait for a pass that removes its previews.
    pub fn hold_deletion(&self, app: &Application) -> Hold {
        let Some(since) = &app.metadata.deletion_timestamp else {
            return Hold::No;
        };
        let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
        let mentioned = app
            .status
            .as_ref()
            .is_some_and(|status| !status.previews.is_empty());
        let age = jiff::Timestamp::now().duration_since(since.0);
        let mut slots = self.slots.lock();
        if age.unsigned_abs() > PATIENCE || !mentioned && !slots.contains_key(&id) {
            return Hold::No;
        }
        let slot = slots.entry(id).or_default();
        if slot.is_running {
            return Hold::Running;
        }
        slot.listed = None;
        if slot.is_cleaned {
            return Hold::No;
        }
        slot.comments.not_before = None;
        Hold::Begin(Box::new(slot.begin()))
    }

    /// Looks at the Application of a preview after its reconcile. If it changed, a pass of the Application that it belongs to is
    /// due.
    pub fn preview_seen(&self, preview: &Application, status: Option<&ApplicationStatus>) {
        let Some(parent) = parent(preview) else { return };
        let id = AppId::new(preview.namespace().unwrap_or_default(), preview.name_any());
        let mut mark = DefaultHasher::new();
        preview.metadata.generation.hash(&mut mark);
        preview.metadata.deletion_timestamp.is_some().hash(&mut mark);
        preview.metadata.labels.hash(&mut mark);
        preview.annotations().get(PULL_REQUEST).hash(&mut mark);
        preview.owner_references().len().hash(&mut mark);
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

    /// Ends a pass. Returns its problem if that is a new one, and wakes the Application.
    pub fn end(&self, id: &AppId, is_deleted: bool, ended: PassResult) -> Option<String> {
        let problem = self.note(id, is_deleted, ended);
        self.wake.send(id.clone()).ok(); // The loop has ended otherwise.
        problem
    }

    /// Is held while previews are counted and created, so that a namespace never has more than it may have.
    pub fn creating(&self) -> &tokio::sync::Mutex<()> {
        &self.creating
    }

    /// How many previews a namespace may have.
    pub fn most(&self) -> usize {
        self.most
    }

    fn note(&self, id: &AppId, is_deleted: bool, ended: PassResult) -> Option<String> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(id)?;
        slot.is_running = false;
        if let Some(task) = slot.task.take() {
            // It has an event left to send.
            task.detach();
        }
        (slot.facts, slot.kept_since) = if ended.is_decided {
            (ended.facts.lasting(), None)
        } else {
            let since = slot.kept_since.unwrap_or_else(Instant::now);
            (ended.facts.answered(), Some(since))
        };
        if ended.asked > 0 {
            let (_, asked) = slot.asked.get_or_insert((Instant::now(), 0));
            *asked += ended.asked;
        }
        slot.looked_at = ended.looked_at;
        slot.refused = ended.refused;
        // A pass that did not get so far leaves it as it was.
        if ended.states.is_some() {
            slot.expires = ended.expires_in.map(|rest| Instant::now() + rest);
        }
        slot.is_cleaned = is_deleted;
        if let Some(pull_requests) = ended.listed {
            slot.listed = Some(Listed {
                at: Instant::now(),
                pull_requests,
            });
        }
        slot.result = ended.states;
        slot.is_recorded = false;
        let of_comments = match ended.comments {
            // They were not tried.
            None if slot.comments.holds && slot.comments.rest().is_some_and(|rest| !rest.is_zero()) => None,
            tried => slot.comments.note(tried),
        };
        slot.pass.note(ended.problem).or(of_comments)
    }
}

/// The Application whose preview this is, as far as a user has left it marked.
fn parent(preview: &Application) -> Option<String> {
    let labelled = preview.labels().get(LABEL_PREVIEW_OF).cloned();
    labelled.or_else(|| {
        let mut owners = preview.owner_references().iter();
        let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == "Application")?;
        number(&owner.name, &preview.name_any()).map(|_| owner.name.clone())
    })
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
    let interval = interval.map_or(INTERVAL, crate::api::Duration::get);
    (!interval.is_zero()).then_some(interval.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests;
