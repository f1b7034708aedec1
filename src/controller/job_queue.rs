//! Long work beside the passes: at most one job an Application, a bounded number in all, the others in a queue that
//! can be seen. A pass never waits for a job; the job's changes wake the Application. What a person requested comes before what
//! Davit started by itself; otherwise jobs run in the order in which they came.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::AppId;
use crate::plan::Step;
use crate::plan::state::{JobFailure, JobOutput, JobOwner, JobState, JobView};

use super::job_failure;

/// How a job's work tells where it is.
#[derive(Clone, Debug)]
pub struct Stage {
    app: AppId,
    id: u64,
    jobs: Jobs,
}

impl Stage {
    /// The image is being built from here on.
    pub fn building(&self) {
        self.jobs.set(
            &self.app,
            self.id,
            JobState::Building {
                since: Timestamp::now(),
            },
        );
    }

    /// The image is being pushed from here on.
    pub fn pushing(&self, since: Timestamp) {
        self.jobs.set(&self.app, self.id, JobState::Pushing { since });
    }
}

/// The table of jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    wake: mpsc::UnboundedSender<AppId>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Table {
    jobs: HashMap<AppId, Job>,
    next: u64,
    /// The places that no job has. If there is one, no job waits.
    free: usize,
    waiting: Vec<Waiting>,
}

/// A job that waits for a place.
#[derive(Debug)]
struct Waiting {
    id: u64,
    app: AppId,
    urgent: bool,
    place: oneshot::Sender<Place>,
}

/// The right to work. Given back when dropped: to the first job that waits, if one does.
#[derive(Debug)]
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let first = {
            let mut table = self.0.table.lock();
            if table.waiting.is_empty() {
                table.free += 1;
                return;
            }
            let first = table.waiting.remove(0);
            self.0.wake_from(&table, 0);
            first
        };
        // A job that was cancelled meanwhile takes no place: its own is dropped here, and goes to the next.
        let _ = first.place.send(Self(Arc::clone(&self.0)));
    }
}

impl Shared {
    /// Wakes the jobs from this position on, whose position has changed.
    fn wake_from(&self, table: &Table, position: usize) {
        for waiting in table.waiting.iter().skip(position) {
            let _ = self.wake.send(waiting.app.clone());
        }
    }
}

#[derive(Debug)]
struct Job {
    id: u64,
    owner: JobOwner,
    state: JobState,
    cancel: CancellationToken,
}

impl Jobs {
    /// A table in which at most `places` jobs work at once; changes are sent to `wake`.
    pub fn new(places: usize, wake: mpsc::UnboundedSender<AppId>) -> Self {
        let shared = Shared {
            table: Mutex::new(Table {
                free: places.max(1),
                ..Table::default()
            }),
            wake,
            tasks: TaskTracker::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns how many jobs work and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let table = self.shared.table.lock();
        let open = table.jobs.values().filter(|job| !job.state.has_ended()).count();
        (open.saturating_sub(table.waiting.len()), table.waiting.len())
    }

    /// How the job of an Application stands.
    pub fn view(&self, app: &AppId) -> Option<JobView> {
        let table = self.shared.table.lock();
        let job = table.jobs.get(app)?;
        let mut state = job.state.clone();
        if let JobState::Queued { position } = &mut state {
            *position = table
                .waiting
                .iter()
                .position(|waiting| waiting.id == job.id)
                .map_or(1, |index| index + 1);
        }
        Some(JobView {
            owner: job.owner.clone(),
            state,
            stopping: job.cancel.is_cancelled(),
        })
    }

    /// Starts a job unless the Application has one that has not ended. `work` is told how to say where it is and when to
    /// stop; it must return only when nothing of it runs any more. An urgent job waits only for urgent ones before it.
    pub fn start<F, W>(&self, app: &AppId, owner: JobOwner, urgent: bool, work: W)
    where
        W: FnOnce(Stage, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<JobOutput, JobFailure>> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let (id, place) = {
            let mut table = self.shared.table.lock();
            if table.jobs.get(app).is_some_and(|job| !job.state.has_ended()) {
                return;
            }
            table.next += 1;
            let id = table.next;
            // If a place is free, the job is never shown as queued.
            let (place, state) = if table.free > 0 {
                table.free -= 1;
                let since = Timestamp::now();
                (Ok(Place(Arc::clone(&self.shared))), JobState::Fetching { since })
            } else {
                let (place, receiver) = oneshot::channel();
                let urgent_ones = table.waiting.iter().take_while(|waiting| waiting.urgent).count();
                let position = if urgent { urgent_ones } else { table.waiting.len() };
                let waiting = Waiting {
                    id,
                    app: app.clone(),
                    urgent,
                    place,
                };
                table.waiting.insert(position, waiting);
                self.shared.wake_from(&table, position + 1);
                (Err(receiver), JobState::Queued { position: 0 })
            };
            let job = Job {
                id,
                owner,
                state,
                cancel: cancel.clone(),
            };
            table.jobs.insert(app.clone(), job);
            (id, place)
        };
        let (jobs, app) = (self.clone(), app.clone());
        self.shared.tasks.spawn(async move {
            let result = jobs.run(&app, id, place, work, &cancel).await;
            jobs.set(&app, id, JobState::Ended(result));
        });
    }

    async fn run<F, W>(
        &self,
        app: &AppId,
        id: u64,
        place: Result<Place, oneshot::Receiver<Place>>,
        work: W,
        cancel: &CancellationToken,
    ) -> Result<JobOutput, JobFailure>
    where
        W: FnOnce(Stage, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<JobOutput, JobFailure>> + Send + 'static,
    {
        let _place = match place {
            Ok(place) => place,
            Err(place) => self.wait_for_place(app, id, place, cancel).await?,
        };
        let stage = Stage {
            app: app.clone(),
            id,
            jobs: self.clone(),
        };
        // In a task of its own, so that a panic of one job is that job's failure and nothing else's.
        match self.shared.tasks.spawn(work(stage, cancel.clone())).await {
            Ok(result) => result,
            Err(error) => Err(job_failure::panicked(&error)),
        }
    }

    async fn wait_for_place(
        &self,
        app: &AppId,
        id: u64,
        place: oneshot::Receiver<Place>,
        cancel: &CancellationToken,
    ) -> Result<Place, JobFailure> {
        let place = tokio::select! {
            place = place => place.ok(),
            () = cancel.cancelled() => None,
        };
        self.leave_queue(id);
        let place = place.ok_or_else(|| job_failure::cancelled(Step::Pending))?;
        let since = Timestamp::now();
        self.set(app, id, JobState::Fetching { since });
        Ok(place)
    }

    /// Those behind in the queue have moved up and are woken to say so.
    fn leave_queue(&self, id: u64) {
        let mut table = self.shared.table.lock();
        let position = table.waiting.iter().position(|waiting| waiting.id == id);
        if let Some(position) = position {
            let gone = table.waiting.remove(position);
            self.shared.wake_from(&table, position);
            // Without the lock: a place that arrives now is given back.
            drop(table);
            drop(gone);
        }
    }

    fn set(&self, app: &AppId, id: u64, state: JobState) {
        let mut table = self.shared.table.lock();
        if let Some(job) = table.jobs.get_mut(app)
            && job.id == id
            && job.state != state
        {
            job.state = state;
            // The receiver is gone only while Davit stops.
            let _ = self.shared.wake.send(app.clone());
        }
    }

    /// Lets the job of an Application go on for another owner, unless it has ended or was told to stop. True where it does.
    pub fn hand_over(&self, app: &AppId, owner: JobOwner) -> bool {
        let mut table = self.shared.table.lock();
        let job = table.jobs.get_mut(app);
        let Some(job) = job.filter(|job| !job.state.has_ended() && !job.cancel.is_cancelled()) else {
            return false;
        };
        job.owner = owner;
        true
    }

    /// Tells the job of an Application to stop. Its end is seen in [`Jobs::view`].
    pub fn cancel(&self, app: &AppId) {
        if let Some(job) = self.shared.table.lock().jobs.get(app) {
            job.cancel.cancel();
        }
    }

    /// Forgets a job that has ended.
    pub fn forget(&self, app: &AppId) {
        let mut table = self.shared.table.lock();
        if table.jobs.get(app).is_some_and(|job| job.state.has_ended()) {
            table.jobs.remove(app);
        }
    }

    /// Stops all jobs and waits until nothing of them runs any more.
    pub async fn shutdown(&self) {
        for job in self.shared.table.lock().jobs.values() {
            job.cancel.cancel();
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::new("ns", name)
    }

    fn owner(release: &str) -> JobOwner {
        JobOwner {
            application: "uid".into(),
            release: release.into(),
            job_key: "image".into(),
        }
    }

    async fn until(wake: &mut mpsc::UnboundedReceiver<AppId>, mut done: impl FnMut() -> bool) {
        let wait = async {
            while !done() {
                wake.recv().await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .unwrap();
    }

    fn output() -> JobOutput {
        JobOutput {
            image: "sha256:1".into(),
            ..JobOutput::default()
        }
    }

    #[tokio::test]
    async fn one_place_makes_a_queue_that_moves_up() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(1, sender);
        let gate = CancellationToken::new();
        for name in ["a", "b", "c"] {
            let gate = gate.clone();
            jobs.start(&app(name), owner("r"), false, move |_, _| async move {
                gate.cancelled().await;
                Ok(output())
            });
            // In this order, so that the places are known.
            let (jobs, app) = (jobs.clone(), app(name));
            until(&mut wake, || {
                name != "a" || matches!(jobs.view(&app).unwrap().state, JobState::Fetching { .. })
            })
            .await;
        }
        tokio::task::yield_now().await;
        assert_eq!(
            jobs.view(&app("b")).unwrap().state,
            JobState::Queued { position: 1 }
        );
        assert_eq!(
            jobs.view(&app("c")).unwrap().state,
            JobState::Queued { position: 2 }
        );
        gate.cancel();
        until(&mut wake, || jobs.view(&app("c")).unwrap().state.has_ended()).await;
        assert_eq!(jobs.view(&app("a")).unwrap().state, JobState::Ended(Ok(output())));
    }

    #[tokio::test]
    async fn job_that_a_person_requested_comes_before_those_that_wait() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(1, sender);
        let (order, gate) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        for (name, urgent) in [
            ("first", false),
            ("poll", false),
            ("poll2", false),
            ("deploy", true),
            ("deploy2", true),
        ] {
            let (order, gate) = (Arc::clone(&order), gate.clone());
            jobs.start(&app(name), owner("r"), urgent, move |_, _| async move {
                gate.cancelled().await;
                order.lock().push(name);
                Ok(output())
            });
        }
        let position = |name| jobs.view(&app(name)).unwrap().state;
        for (name, expected) in [("deploy", 1), ("deploy2", 2), ("poll", 3), ("poll2", 4)] {
            assert_eq!(position(name), JobState::Queued { position: expected }, "{name}");
        }
        // One that is cancelled while it waits does not keep the others.
        jobs.cancel(&app("deploy2"));
        until(&mut wake, || position("deploy2").has_ended()).await;
        gate.cancel();
        until(&mut wake, || position("poll2").has_ended()).await;
        assert_eq!(*order.lock(), ["first", "deploy", "poll", "poll2"]);
        assert_eq!(jobs.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_job_that_waits_is_cancelled_at_once_and_a_second_one_is_refused() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(1, sender);
        jobs.start(&app("a"), owner("r1"), false, |_, cancel| async move {
            cancel.cancelled().await;
            Err(job_failure::cancelled(Step::Fetching))
        });
        until(&mut wake, || {
            matches!(jobs.view(&app("a")).unwrap().state, JobState::Fetching { .. })
        })
        .await;
        jobs.start(&app("a"), owner("r2"), false, |_, _| async { Ok(output()) });
        assert_eq!(jobs.view(&app("a")).unwrap().owner, owner("r1"));
        jobs.start(&app("b"), owner("r1"), false, |_, _| async { Ok(output()) });
        jobs.cancel(&app("b"));
        until(&mut wake, || jobs.view(&app("b")).unwrap().state.has_ended()).await;
        jobs.cancel(&app("a"));
        until(&mut wake, || jobs.view(&app("a")).unwrap().state.has_ended()).await;
        jobs.forget(&app("a"));
        assert!(jobs.view(&app("a")).is_none());
        jobs.shutdown().await;
    }

    #[tokio::test]
    async fn a_job_goes_on_for_another_owner_only_while_it_goes_on() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(1, sender);
        assert!(!jobs.hand_over(&app("a"), owner("r2")), "there is none");
        let gate = CancellationToken::new();
        let open = gate.clone();
        jobs.start(&app("a"), owner("r1"), false, |_, _| async move {
            open.cancelled().await;
            Ok(output())
        });
        assert!(jobs.hand_over(&app("a"), owner("r2")));
        gate.cancel();
        until(&mut wake, || jobs.view(&app("a")).unwrap().state.has_ended()).await;
        let ended = jobs.view(&app("a")).unwrap();
        assert_eq!(
            (ended.owner, ended.state),
            (owner("r2"), JobState::Ended(Ok(output())))
        );
        assert!(!jobs.hand_over(&app("a"), owner("r3")), "it has ended");
        jobs.start(&app("a"), owner("r3"), false, |_, cancel| async move {
            cancel.cancelled().await;
            std::future::pending().await
        });
        jobs.cancel(&app("a"));
        assert!(jobs.view(&app("a")).unwrap().stopping);
        assert!(!jobs.hand_over(&app("a"), owner("r4")), "it is being stopped");
    }

    #[tokio::test]
    async fn nobody_waits_while_a_place_is_free() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(2, sender);
        let fetches = |name| matches!(jobs.view(&app(name)).unwrap().state, JobState::Fetching { .. });
        for release in ["r1", "r2"] {
            // At once, as the pass that starts it looks at it, and again when the places have been given back.
            for name in ["a", "b"] {
                jobs.start(&app(name), owner(release), false, |_, _| async { Ok(output()) });
                assert!(fetches(name), "{name} {release}");
            }
            for name in ["a", "b"] {
                until(&mut wake, || jobs.view(&app(name)).unwrap().state.has_ended()).await;
            }
        }
    }

    #[tokio::test]
    async fn a_job_that_panics_has_failed() {
        let (sender, mut wake) = mpsc::unbounded_channel();
        let jobs = Jobs::new(1, sender);
        jobs.start(&app("a"), owner("r"), false, |_, _| async { panic!("boom") });
        until(&mut wake, || jobs.view(&app("a")).unwrap().state.has_ended()).await;
        assert!(matches!(
            jobs.view(&app("a")).unwrap().state,
            JobState::Ended(Err(_))
        ));
    }
}
