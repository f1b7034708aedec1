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
    Application, ApplicationStatus, LABEL_PREVIEW_OF, PULL_REQUESTS_AT, PreviewStatus, REQUESTED_AT,
};
use crate::model::{AppId, PullRequest};
use crate::plan::backoff;
use crate::plan::preview::{Facts, wanted};

/// How often pull requests are listed by default.
const INTERVAL: Duration = Duration::from_mins(5);
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

impl Slot {
    fn begin(&mut self) -> Begin {
        self.is_due = false;
        self.is_running = true;
        Begin {
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
    /// The answers that never change.
    pub facts: Facts,
    /// Which comments are looked at next.
    pub looked_at: usize,
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
    Begin(Begin),
}

/// Why a pass could not do everything.
pub struct PassProblem {
    /// The message.
    pub message: String,
    /// When it is tried again, if not after a backoff.
    pub pause: Option<Duration>,
    /// The longest backoff.
    pub longest: Duration,
    /// Whether an event reports it.
    pub is_reported: bool,
}

/// What a pass came to.
pub struct PassResult {
    /// The pull requests, if they were listed.
    pub listed: Option<Arc<Vec<PullRequest>>>,
    /// The previews for the status; `None` leaves it as it is.
    pub states: Option<Vec<PreviewStatus>>,
    /// The answers that never change.
    pub facts: Facts,
    /// Which comments are looked at next.
    pub looked_at: usize,
    /// What could not be done.
    pub problem: Option<PassProblem>,
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
            if !mentioned && !slot.is_due && slot.failures == 0 {
                slots.remove(&id);
                return Due::Never;
            }
        }
        let key = key(app);
        let rest = slot
            .not_before
            .filter(|_| slot.key == key)
            .map(|at| at.saturating_duration_since(Instant::now()));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return Due::In(rest);
        }
        let interval = interval(app).unwrap_or(Duration::MAX);
        let listed = slot.listed.as_ref().filter(|_| slot.key == key);
        let rest = listed.map_or(Duration::ZERO, |listed| {
            interval.saturating_sub(listed.at.elapsed())
        });
        if !rest.is_zero() && !slot.is_due && slot.failures == 0 {
            return if interval == Duration::MAX {
                Due::Never
            } else {
                Due::In(rest)
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
        Hold::Begin(slot.begin())
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
                let backoff = backoff::pause(slot.failures, 0).min(problem.longest);
                slot.not_before = Some(Instant::now() + problem.pause.unwrap_or(backoff));
                let is_new = slot.problem.as_ref() != Some(&problem.message);
                slot.problem = Some(problem.message.clone());
                (is_new && problem.is_reported).then_some(problem.message)
            }
        }
    }
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
mod tests {
    use serde_json::json;

    use super::*;

    fn app(name: &str, spec: &serde_json::Value) -> Application {
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": "ns", "generation": 1}, "spec": spec}))
        .unwrap()
    }

    fn ended(listed: bool, problem: bool) -> PassResult {
        PassResult {
            listed: listed.then(Arc::default),
            states: Some(Vec::new()),
            facts: Facts::default(),
            looked_at: 0,
            problem: problem.then(|| PassProblem {
                message: "the forge is down".to_owned(),
                pause: None,
                longest: Duration::MAX,
                is_reported: true,
            }),
        }
    }

    /// Whether a pass begins, and whether it lists the pull requests.
    fn begins(due: Due) -> Option<bool> {
        match due {
            Due::Now(begin) => Some(begin.pull_requests.is_none()),
            Due::In(_) | Due::Never => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pass_is_due_at_the_interval_and_when_a_preview_changes() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let previews = Previews::new(20, wake);
        let (id, shop) = (AppId::new("ns", "shop"), app("shop", &json!({"previews": {}})));
        let mut status = ApplicationStatus::default();
        assert!(matches!(previews.due(&app("other", &json!({}))), Due::Never));
        assert_eq!(begins(previews.due(&shop)), Some(true));
        assert_eq!(begins(previews.due(&shop)), None, "it is running");
        assert_eq!(previews.end(&id, false, ended(true, false)), None);
        assert_eq!(woken.recv().await, Some(id.clone()));
        assert!(
            matches!(previews.due(&shop), Due::Never),
            "its result is not recorded"
        );
        previews.record(&id, &mut status);
        assert!(matches!(previews.due(&shop), Due::In(rest) if rest == INTERVAL));

        let mut copy = app("shop-pr-1", &json!({}));
        copy.labels_mut()
            .insert(LABEL_PREVIEW_OF.to_owned(), "shop".to_owned());
        previews.preview_seen(&copy, Some(&status));
        previews.preview_seen(&copy, Some(&status));
        assert_eq!(woken.recv().await, Some(id.clone()));
        assert!(woken.try_recv().is_err(), "the same again is no change");
        assert_eq!(
            begins(previews.due(&shop)),
            Some(false),
            "the list from before will do"
        );

        // The forge is down: it is reported once.
        let first = previews.end(&id, false, ended(false, true));
        previews.record(&id, &mut status);
        assert!(first.is_some_and(|message| message.contains("down")));
        assert!(matches!(previews.due(&shop), Due::In(_)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(begins(previews.due(&shop)), Some(false));
        assert_eq!(previews.end(&id, false, ended(false, true)), None);
        previews.record(&id, &mut status);
        // Another spec is looked at without a pause.
        let mut other = shop.clone();
        other.metadata.generation = Some(2);
        assert_eq!(begins(previews.due(&other)), Some(true));
        previews.end(&id, false, ended(true, false));
        previews.record(&id, &mut status);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(begins(previews.due(&other)), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn deletion_waits_for_one_pass() {
        let (wake, _woken) = mpsc::unbounded_channel();
        let previews = Previews::new(20, wake);
        let (id, mut shop) = (AppId::new("ns", "shop"), app("shop", &json!({"previews": {}})));
        assert!(matches!(previews.hold_deletion(&shop), Hold::No));
        assert_eq!(begins(previews.due(&shop)), Some(true));
        shop.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            jiff::Timestamp::now(),
        ));
        assert!(matches!(previews.hold_deletion(&shop), Hold::Running));
        previews.end(&id, false, ended(true, false));
        assert!(matches!(previews.hold_deletion(&shop), Hold::Begin(_)));
        previews.end(&id, true, ended(false, false));
        assert!(matches!(previews.hold_deletion(&shop), Hold::No));
    }
}
