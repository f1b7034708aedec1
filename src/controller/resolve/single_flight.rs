//! Resolves sources in background tasks, so that an unresponsive server delays only the Applications that use it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::controller::problem::{caught, panicked};
use crate::error::Problem;
use crate::model::AppId;
use crate::plan::desired::PinnedSource;
use crate::shares::Shares;

/// How long a pass waits for an answer before it goes on without. Most come sooner, and then there is no second pass.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many look-ups run at once; each may be a `git` of its own.
const AT_ONCE: usize = 64;
/// How many of them ask one server: one that does not answer has no more places than these.
const OF_ONE_SERVER: usize = 8;
/// How many of those are about one repository: one that does not answer leaves places to the others of its server.
const OF_ONE_REPOSITORY: usize = 4;
/// How many of all are of one namespace: it may name any number of servers that do not answer.
const OF_ONE_NAMESPACE: usize = 32;

/// What a look-up found.
pub type Answer = Result<PinnedSource, Problem>;

/// What is resolved. A question with another key or request is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the answer depends on.
    pub key: String,
    /// The server that is asked.
    pub server: String,
    /// What it is asked about: the address of a repository or an image.
    pub repository: String,
    /// The request that needs a fresh answer; `None` if a recent answer is enough.
    pub asked: Option<String>,
}

impl Question {
    /// True where the answer to `other` is one to this.
    fn is_answered_by(&self, other: &Self) -> bool {
        self.key == other.key && (self.asked.is_none() || self.asked == other.asked)
    }
}

enum State {
    /// Dropped, the handle ends it.
    Running(#[expect(dead_code, reason = "held for its drop")] AbortOnDropHandle<()>),
    Done(Answer),
}

type Known = Mutex<HashMap<AppId, (Question, State)>>;

/// The look-ups under way: at most one an Application.
pub struct Lookups {
    known: Arc<Known>,
    places: Arc<Semaphore>,
    servers: Shares,
    repositories: Shares,
    namespaces: Shares,
    wake: mpsc::UnboundedSender<AppId>,
    patience: Duration,
}

impl Lookups {
    /// None yet. An Application is sent to `wake` when an answer is there that no pass waited for.
    pub fn new(wake: mpsc::UnboundedSender<AppId>) -> Self {
        Self {
            known: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            servers: Shares::of(OF_ONE_SERVER),
            repositories: Shares::of(OF_ONE_REPOSITORY),
            namespaces: Shares::of(OF_ONE_NAMESPACE),
            wake,
            patience: PATIENCE,
        }
    }

    /// Ends what is under way for an Application, and forgets what was found.
    pub fn forget(&self, app: &AppId) {
        self.known.lock().remove(app);
    }

    /// Returns the answer, once, or `None` while it is pending. Runs `look_up` if the question is new.
    pub async fn look_up<F>(&self, app: &AppId, question: Question, look_up: F) -> Option<Answer>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.answer_within(self.patience, app, question, look_up).await
    }

    /// The same for a pass that has something to do without the answer: it waits for none.
    pub async fn begin<F>(&self, app: &AppId, question: Question, look_up: F) -> Option<Answer>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.answer_within(Duration::ZERO, app, question, look_up).await
    }

    async fn answer_within<F>(
        &self,
        patience: Duration,
        app: &AppId,
        question: Question,
        look_up: F,
    ) -> Option<Answer>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let ready = {
            let mut known = self.known.lock();
            if let Entry::Occupied(entry) = known.entry(app.clone())
                && question.is_answered_by(&entry.get().0)
            {
                return match entry.get().1 {
                    State::Done(_) => answer(entry.remove().1),
                    State::Running(_) => None,
                };
            }
            let (told, ready) = oneshot::channel();
            let task = AbortOnDropHandle::new(tokio::spawn(self.run(app, question.clone(), look_up, told)));
            known.insert(app.clone(), (question.clone(), State::Running(task)));
            ready
        };
        tokio::time::timeout(patience, ready).await.ok();
        match self.known.lock().entry(app.clone()) {
            Entry::Occupied(entry)
                if entry.get().0 == question && matches!(entry.get().1, State::Done(_)) =>
            {
                answer(entry.remove().1)
            }
            _ => None,
        }
    }

    fn run<F>(
        &self,
        app: &AppId,
        question: Question,
        look_up: F,
        told: oneshot::Sender<()>,
    ) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (known, places, wake) = (
            Arc::clone(&self.known),
            Arc::clone(&self.places),
            self.wake.clone(),
        );
        let repository = format!("{} {}", question.server, question.repository);
        let repository = self.repositories.get(&repository);
        let namespace = self.namespaces.get(&app.namespace);
        let (app, server) = (app.clone(), self.servers.get(&question.server));
        async move {
            // They are never closed.
            let _place_of_repository = repository.acquire().await.ok();
            let _place_there = server.acquire().await.ok();
            let _place_of_namespace = namespace.acquire().await.ok();
            let _place = places.acquire().await.ok();
            let found = caught(look_up).await;
            let found = found.unwrap_or_else(|| Err(panicked("look the source up")));
            {
                let mut known = known.lock();
                // Another one may have taken its place at this very moment.
                let Some(entry) = known.get_mut(&app).filter(|entry| entry.0 == question) else {
                    return;
                };
                entry.1 = State::Done(found);
            }
            if told.send(()).is_err() {
                wake.send(app).ok(); // The loop has ended otherwise.
            }
        }
    }
}

fn answer(state: State) -> Option<Answer> {
    match state {
        State::Done(answer) => Some(answer),
        State::Running(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::error::Class;

    fn question(key: &str, asked: Option<&str>) -> Question {
        Question {
            key: key.to_owned(),
            server: key.to_owned(),
            repository: String::new(),
            asked: asked.map(str::to_owned),
        }
    }

    fn no(message: &str) -> Answer {
        Err(Problem::new(
            Class::Terminal,
            Reason::Internal,
            message.to_owned(),
        ))
    }

    fn said(answer: Option<Answer>) -> Option<String> {
        answer.map(|answer| answer.unwrap_err().message)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_answer_is_waited_for_and_a_slow_one_wakes() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let lookups = Lookups::new(wake);
        let app = AppId::new("shop", "web");
        let quick = async { no("quick") };
        assert_eq!(
            said(lookups.look_up(&app, question("a", None), quick).await).unwrap(),
            "quick"
        );
        assert!(woken.try_recv().is_err(), "nobody needs to be told");

        let slow = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            no("slow")
        };
        let never = || async { panic!("it is being looked up already") };
        assert!(
            lookups
                .look_up(&app, question("a", Some("me")), slow)
                .await
                .is_none()
        );
        assert!(
            lookups
                .look_up(&app, question("a", None), never())
                .await
                .is_none()
        );
        assert_eq!(woken.recv().await.unwrap(), app);
        assert_eq!(
            said(lookups.look_up(&app, question("a", Some("me")), never()).await).unwrap(),
            "slow"
        );
        assert!(lookups.known.lock().is_empty(), "an answer is given once");
    }

    #[tokio::test(start_paused = true)]
    async fn another_question_ends_the_one_before_it() {
        let (wake, _woken) = mpsc::unbounded_channel();
        let lookups = Lookups::new(wake);
        let app = AppId::new("shop", "web");
        let (held, ended) = oneshot::channel::<()>();
        let forever = async move {
            let _held = held;
            std::future::pending().await
        };
        assert!(
            lookups
                .look_up(&app, question("a", None), forever)
                .await
                .is_none()
        );
        let other = lookups
            .look_up(&app, question("a", Some("me")), async { no("newer") })
            .await;
        assert_eq!(said(other).unwrap(), "newer");
        assert!(ended.await.is_err(), "what nobody waits for is ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_holds_up_none_of_another() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let lookups = Lookups::new(wake);
        for number in 0..=OF_ONE_SERVER {
            let app = AppId::new("shop", format!("deaf-{number}"));
            let never = std::future::pending();
            let question = Question {
                repository: format!("repository-{number}"),
                ..question("deaf", None)
            };
            assert!(lookups.look_up(&app, question, never).await.is_none());
        }
        let app = AppId::new("shop", "web");
        let other = lookups
            .look_up(&app, question("other", None), async { no("other") })
            .await;
        assert_eq!(said(other).unwrap(), "other");
        let same = async { no("deaf") };
        assert!(
            lookups
                .look_up(&app, question("deaf", None), same)
                .await
                .is_none(),
            "it has no more places"
        );
        for number in 0..=OF_ONE_SERVER {
            lookups.forget(&AppId::new("shop", format!("deaf-{number}")));
        }
        assert_eq!(woken.recv().await.unwrap(), app, "their places are free again");
        lookups.servers.get("other");
        assert_eq!(
            lookups.servers.len(),
            1,
            "a server is forgotten when no look-up asks it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn repository_that_does_not_answer_holds_up_none_of_its_server() {
        let (wake, _woken) = mpsc::unbounded_channel();
        let lookups = Lookups::new(wake);
        for number in 0..=OF_ONE_SERVER {
            let app = AppId::new("shop", format!("deaf-{number}"));
            let never = std::future::pending();
            assert!(
                lookups
                    .look_up(&app, question("server", None), never)
                    .await
                    .is_none()
            );
        }
        let question = Question {
            repository: "other".to_owned(),
            ..question("server", None)
        };
        let app = AppId::new("shop", "web");
        let other = lookups.look_up(&app, question, async { no("other") }).await;
        assert_eq!(said(other).unwrap(), "other");
    }

    #[tokio::test(start_paused = true)]
    async fn servers_of_one_namespace_that_do_not_answer_hold_up_no_other_namespace() {
        let (wake, _woken) = mpsc::unbounded_channel();
        let lookups = Lookups::new(wake);
        for number in 0..AT_ONCE * 2 {
            let app = AppId::new("evil", format!("deaf-{number}"));
            let question = question(&format!("server-{number}"), None);
            let never = std::future::pending();
            assert!(lookups.look_up(&app, question, never).await.is_none());
        }
        let app = AppId::new("shop", "web");
        let other = lookups
            .look_up(&app, question("other", None), async { no("other") })
            .await;
        assert_eq!(said(other).unwrap(), "other");
    }
}
