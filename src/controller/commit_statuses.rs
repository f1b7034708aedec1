//! Reports the statuses of commits to their forges, in the background: a forge that does not answer holds up no Release, and
//! a failure to report never fails one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{CommitReport, Reason};
use crate::error::{Class, Problem};
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::{AppId, CommitState};
use crate::plan::backoff;
use crate::plan::commit_status::Due;

use super::problem::{caught, panicked};
use super::resolve::remote::ForgeRemote;

/// How often a report is tried.
const TRIES: u32 = 4;
/// For how long a repository or a connection that refuses reports is not asked: permissions may change at the forge.
const REFUSED_FOR: Duration = Duration::from_hours(1);

/// A report that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The Release that it was about.
    pub release: String,
    /// The UID of that Release, if it was known.
    pub uid: Option<String>,
    /// What the forge was told, or was to be told.
    pub report: CommitReport,
    /// Why the forge did not accept it.
    pub problem: Option<Problem>,
}

/// A connection, by the text that identifies it, or one of its repositories: a forge that refuses one repository may accept the
/// others.
type Refused = (String, Option<RepositoryPath>);

/// A status that was not accepted over a connection, for the repository under this path.
type GivenUp = (Due, String, RepositoryPath);

#[derive(Default)]
struct Slot {
    running: Option<AbortOnDropHandle<()>>,
    ended: Option<Ended>,
    /// The statuses that the forge did not accept, of those that are due: they are not reported again, and hold up no other.
    given_up: Vec<GivenUp>,
}

/// The reports under way: at most one for each Application, so that their order is kept.
pub struct CommitStatuses {
    slots: Arc<Mutex<HashMap<AppId, Slot>>>,
    /// What may not be reported to, and since when: it is not asked again soon. A new credential makes another connection.
    refused: Arc<Mutex<HashMap<Refused, Instant>>>,
    wake: mpsc::UnboundedSender<AppId>,
}

impl CommitStatuses {
    /// None yet. An Application is sent to `wake` when its report has ended.
    pub fn new(wake: mpsc::UnboundedSender<AppId>) -> Self {
        Self {
            slots: Arc::default(),
            refused: Arc::default(),
            wake,
        }
    }

    /// Ends the report of an Application.
    pub fn forget(&self, app: &AppId) {
        self.slots.lock().remove(app);
    }

    /// Returns the report that has ended since the last call.
    pub fn ended(&self, app: &AppId) -> Option<Ended> {
        self.slots.lock().get_mut(app)?.ended.take()
    }

    /// Begins the first report that is due and that the forge has not refused, unless another one of the Application is under
    /// way or the forge refuses all.
    pub fn begin(&self, app: &AppId, remote: &ForgeRemote, due: Vec<Due>) {
        let path = remote.repository();
        {
            let mut refused = self.refused.lock();
            refused.retain(|_, since| since.elapsed() < REFUSED_FOR);
            let connection = (remote.identity.clone(), None);
            let repository = (remote.identity.clone(), Some(path.clone()));
            if refused.contains_key(&connection) || refused.contains_key(&repository) {
                return;
            }
        }
        let mut slots = self.slots.lock();
        let slot = slots.entry(app.clone()).or_default();
        if slot.running.is_some() || slot.ended.is_some() {
            return;
        }
        slot.given_up
            .retain(|(of, over, at)| due.contains(of) && *over == remote.identity && *at == path);
        let mut left = due.into_iter();
        let Some(due) = left.find(|due| slot.given_up.iter().all(|(of, ..)| of != due)) else {
            return;
        };
        let task = self.run(app.clone(), remote.clone(), path, due);
        slot.running = Some(AbortOnDropHandle::new(tokio::spawn(task)));
    }

    fn run(
        &self,
        app: AppId,
        remote: ForgeRemote,
        path: RepositoryPath,
        due: Due,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (slots, refused, wake) = (
            Arc::clone(&self.slots),
            Arc::clone(&self.refused),
            self.wake.clone(),
        );
        async move {
            let reported = caught(report(&remote, &path, &due)).await;
            let problem = reported
                .unwrap_or_else(|| Err(panicked("report the status of the commit")))
                .err();
            if let Some(problem) = problem.as_ref().filter(|found| found.class == Class::Terminal) {
                let repository = (problem.reason != Reason::ForgeAuthFailed).then(|| path.clone());
                let refusal = (remote.identity.clone(), repository);
                refused.lock().insert(refusal, Instant::now());
            }
            let report = match due.status.state {
                CommitState::Pending => CommitReport::Pending,
                CommitState::Success => CommitReport::Success,
                CommitState::Failure => CommitReport::Failure,
            };
            {
                let mut slots = slots.lock();
                let Some(slot) = slots.get_mut(&app) else { return };
                slot.running = None;
                if problem.is_some() {
                    slot.given_up.push((due.clone(), remote.identity.clone(), path));
                }
                slot.ended = Some(Ended {
                    release: due.release,
                    uid: due.uid,
                    report,
                    problem,
                });
            }
            wake.send(app).ok(); // The loop has ended otherwise.
        }
    }
}

async fn report(remote: &ForgeRemote, path: &RepositoryPath, due: &Due) -> Result<(), Problem> {
    let mut attempt = 1;
    loop {
        let reported = remote.forge.report_status(path, &due.commit, &due.status);
        let error = match reported.await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let problem = Problem::of(&error);
        if problem.class == Class::Terminal || attempt == TRIES {
            return Err(problem);
        }
        let pause = match error {
            ForgeError::RateLimited { until, .. } => {
                Duration::try_from(until.duration_since(jiff::Timestamp::now())).unwrap_or_default()
            }
            _ => backoff::pause(attempt, 0),
        };
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}
