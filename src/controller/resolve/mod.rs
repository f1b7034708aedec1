//! I/O in: an Application's source as a commit or digest, looked up when the spec or a credential changed, when it was
//! asked for, and every `trigger.pollInterval`; otherwise as it was found last.

pub mod credentials;
pub mod remote;
pub mod single_flight;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;

use crate::api::{
    AllowedFrom, Application, ApplicationSpec, ConditionType, FromForge, GitProvider, Reason, Source,
    SourceKind, condition,
};
use crate::error::{Class, Problem};
use crate::forge::{self, Forges, Reach, RepositoryPath};
use crate::model::{AppId, Revision};
use crate::plan::Inputs;
use crate::plan::backoff;
use crate::plan::desired::{PinnedSource, Values};
use crate::plan::pin::no_source;
use crate::plan::source_kind::{kind, locator, pinned, poll_interval, revision};
use crate::source::{Fields, image};

use super::dereference::Reader;
use super::problem::cluster_problem;
use super::tools::Tools;
use credentials::{Origin, connection, git_remote, image_login, ref_spec};
use remote::{ForgeRemote, Remote};
use single_flight::{Lookups, Question};

/// What was found last.
#[derive(Clone, Debug)]
struct Found {
    /// What it depends on; another one makes it worthless.
    key: String,
    result: Result<PinnedSource, Problem>,
    /// What was found last in place of an error, of the same source.
    good: Option<(String, PinnedSource)>,
    attempts: u32,
    /// When it was found.
    at: Instant,
    pause: Pause,
}

/// How long what was found holds.
#[derive(Clone, Copy, Debug)]
enum Pause {
    /// So long: it is tried again after a failure that may heal by itself.
    Backoff(Duration),
    /// This share of the present poll interval: a changed interval applies at once.
    Poll(f64),
}

impl Found {
    /// Returns the remaining validity under the current poll interval; `None` if the result never expires.
    fn holds(&self, spec: &ApplicationSpec, id: &AppId) -> Option<Duration> {
        let pause = match self.pause {
            Pause::Backoff(pause) => pause,
            Pause::Poll(share) => poll_interval(spec, salt(id))?.mul_f64(share),
        };
        Some(pause.saturating_sub(self.at.elapsed()))
    }

    /// What was found last, where that was of this source and is not known to be gone.
    fn last(&self, source: &str) -> Option<PinnedSource> {
        let passes = self
            .result
            .as_ref()
            .err()
            .is_none_or(|problem| problem.class != Class::Terminal);
        let good = self.good.as_ref().filter(|(of, _)| passes && of == source);
        good.map(|(_, good)| good.clone())
    }
}

/// The source of an Application as it was resolved.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The source; `None` without a source.
    pub source: Option<Result<PinnedSource, Problem>>,
    /// Where it comes from, for the job that fetches it.
    pub origin: Option<Origin>,
    /// While it cannot be looked up, as it was found last: the same source, and what else is wanted of the Application
    /// needs no server.
    pub last: Option<PinnedSource>,
    /// Failures in a row.
    pub attempts: u32,
    /// Look again after this time.
    pub check_in: Option<Duration>,
    /// It is being looked up anew: what was found before stands here, if that will do.
    pub pending: bool,
}

impl Resolution {
    /// Returns why a job could not reach the source, if so.
    fn access(&self) -> Result<(), Problem> {
        match (&self.origin, &self.source) {
            (Some(_), _) => Ok(()),
            (None, Some(Err(problem))) => Err(problem.clone()),
            (None, _) => Err(no_source()),
        }
    }

    /// Separates what a plan is made from from the credentials of the source.
    pub fn into_inputs(self, values: Result<Values, Problem>) -> (Inputs, Option<Origin>) {
        let inputs = Inputs {
            access: self.access(),
            source: self.source,
            last: self.last,
            pending: self.pending,
            attempts: self.attempts,
            check_in: self.check_in,
            values,
        };
        (inputs, self.origin)
    }
}

/// Resolves sources and remembers what it found.
pub struct Resolver {
    client: Client,
    tools: Tools,
    providers: Store<GitProvider>,
    forges: Forges,
    found: Mutex<HashMap<AppId, Found>>,
    /// Failures in a row to find out where a source is, and when it is tried again.
    missed: Mutex<HashMap<AppId, (u32, tokio::time::Instant)>>,
    lookups: Lookups,
}

impl Resolver {
    /// A resolver that has found nothing yet.
    pub fn new(
        client: Client,
        tools: Tools,
        providers: Store<GitProvider>,
        forges: Forges,
        lookups: Lookups,
    ) -> Self {
        Self {
            client,
            tools,
            providers,
            forges,
            found: Mutex::default(),
            missed: Mutex::default(),
            lookups,
        }
    }

    /// Forgets an Application.
    pub fn forget(&self, app: &AppId) {
        self.found.lock().remove(app);
        self.missed.lock().remove(app);
        self.lookups.forget(app);
    }

    /// Resolves the source of an Application; with `asked`, the answer is fresh.
    pub async fn resolve(
        &self,
        id: &AppId,
        app: &Application,
        reader: &Reader,
        asked: Option<String>,
    ) -> Resolution {
        let nothing = Resolution::default();
        let Some(source) = app.spec.source.as_ref().filter(|source| kind(source).is_some()) else {
            self.forget(id);
            return nothing;
        };
        let text = serde_json::to_string(source).unwrap_or_default();
        let (origin, version) = match self.origin(id, source, reader).await {
            Ok(origin) => origin,
            Err(problem) => {
                let last = self.last(id, app, source, &text).filter(|_| asked.is_none());
                return self.without_origin(id, problem, last);
            }
        };
        self.missed(id, false);
        let key = format!("{text} {version}");
        if asked.is_none()
            && let Some(known) = self.known(id, app, source, &key)
        {
            return Resolution {
                origin: Some(origin),
                last: known.last(&text),
                attempts: known.attempts,
                check_in: known.holds(&app.spec, id),
                source: Some(known.result),
                pending: false,
            };
        }
        let waits_for_now = asked.is_some();
        let question = Question {
            key: key.clone(),
            server: origin.server(),
            asked,
        };
        let look_up = look_up(self.tools.clone(), source.clone(), origin.clone());
        let Some(result) = self.lookups.ask(id, question, look_up).await else {
            let last = self.last(id, app, source, &text);
            let before = self.found.lock().get(id).cloned();
            let before = before.filter(|found| found.key == key && !waits_for_now);
            return Resolution {
                source: Some(
                    before
                        .as_ref()
                        .map_or_else(|| Err(looking_up(source)), |found| found.result.clone()),
                ),
                origin: Some(origin),
                last: last.filter(|_| !waits_for_now),
                attempts: before.map_or(0, |found| found.attempts),
                check_in: None,
                pending: true,
            };
        };
        let transient = result
            .as_ref()
            .is_err_and(|problem| problem.class != Class::Terminal);
        let last = self.last(id, app, source, &text);
        let found = self.keep(id, key, text, result.clone(), last.clone());
        let check_in = found.holds(&app.spec, id);
        Resolution {
            last: last.filter(|_| transient && !waits_for_now),
            source: Some(result),
            origin: Some(origin),
            attempts: found.attempts,
            check_in,
            pending: false,
        }
    }

    /// Keeps what was found, for as long as it holds.
    fn keep(
        &self,
        id: &AppId,
        key: String,
        text: String,
        result: Result<PinnedSource, Problem>,
        last: Option<PinnedSource>,
    ) -> Found {
        let transient = result
            .as_ref()
            .is_err_and(|problem| problem.class != Class::Terminal);
        let mut all = self.found.lock();
        let before = all.get(id).filter(|found| found.key == key);
        let attempts = if transient {
            before.map_or(0, |found| found.attempts) + 1
        } else {
            0
        };
        let pause = if transient {
            Pause::Backoff(backoff::pause(attempts, salt(id)))
        } else {
            Pause::Poll(1.0)
        };
        let found = Found {
            key,
            good: result.clone().ok().or(last).map(|good| (text, good)),
            result,
            attempts,
            at: Instant::now(),
            pause,
        };
        all.insert(id.clone(), found.clone());
        found
    }

    /// What was found last of this source: in memory, or after a restart in the status.
    fn last(&self, id: &AppId, app: &Application, source: &Source, text: &str) -> Option<PinnedSource> {
        let found = self.found.lock();
        found
            .get(id)
            .map_or_else(|| recorded(app, source), |found| found.last(text))
    }

    /// It is not known where the source is: an outage holds up nothing that needs no server.
    fn without_origin(&self, id: &AppId, problem: Problem, last: Option<PinnedSource>) -> Resolution {
        let (attempts, check_in) = self.missed(id, problem.class == Class::Transient);
        Resolution {
            last: last.filter(|_| problem.class != Class::Terminal),
            source: Some(Err(problem)),
            origin: None,
            attempts,
            check_in,
            pending: false,
        }
    }

    /// Failures in a row to find out where a source is, and when to try again: not more of them with every pass.
    fn missed(&self, id: &AppId, failed: bool) -> (u32, Option<Duration>) {
        let mut missed = self.missed.lock();
        if !failed {
            missed.remove(id);
            return (0, None);
        }
        let now = tokio::time::Instant::now();
        let (attempts, next) = missed.entry(id.clone()).or_insert((0, now));
        if *next <= now {
            *attempts += 1;
            *next = now + backoff::pause(*attempts, salt(id));
        }
        (*attempts, Some(*next - now))
    }

    /// What was found before, if it still holds: in memory, or after a restart in the status.
    fn known(&self, id: &AppId, app: &Application, source: &Source, key: &str) -> Option<Found> {
        let mut found = self.found.lock();
        if let Some(known) = found.get(id) {
            let due = known.holds(&app.spec, id).is_some_and(|left| left.is_zero());
            return (known.key == key && !due).then(|| known.clone());
        }
        let conditions = &app.status.as_ref()?.conditions;
        if !condition::is_true(conditions, ConditionType::SourceReady) {
            return None;
        }
        let found_then = recorded(app, source)?;
        let text = serde_json::to_string(source).unwrap_or_default();
        let known = Found {
            key: key.to_owned(),
            result: Ok(found_then.clone()),
            good: Some((text, found_then)),
            attempts: 0,
            at: Instant::now(),
            // Spread over the whole interval, so that a restart with many Applications asks no forge all at once.
            pause: Pause::Poll(fraction(salt(id))),
        };
        found.insert(id.clone(), known.clone());
        Some(known)
    }

    /// Where the source comes from, and the versions of the objects that say so.
    async fn origin(
        &self,
        id: &AppId,
        source: &Source,
        reader: &Reader,
    ) -> Result<(Origin, String), Problem> {
        let Some(kind) = source.kind() else {
            return Err(no_source());
        };
        match kind {
            SourceKind::Git(git) => {
                let (remote, version) = git_remote(git, reader).await?;
                let (remote, spec) = (Remote::Fixed(remote), ref_spec(git.git_ref.as_ref())?);
                Ok((Origin::Git { remote, spec }, version))
            }
            SourceKind::GitHub(_)
            | SourceKind::GitLab(_)
            | SourceKind::Bitbucket(_)
            | SourceKind::Gitea(_) => {
                let found = source.forge().ok_or_else(no_source)?;
                let (remote, version) = self.forge_remote(id, &found).await?;
                let (remote, spec) = (Remote::Forge(remote), ref_spec(found.git_ref)?);
                Ok((Origin::Git { remote, spec }, version))
            }
            SourceKind::Docker(image) => {
                let (login, version) = image_login(image, reader).await?;
                let image = image.image.clone();
                Ok((Origin::Image { image, login }, version))
            }
        }
    }

    /// The repository of a source that names a GitProvider: only where that allows it, and only with its credential.
    async fn forge_remote(
        &self,
        id: &AppId,
        found: &FromForge<'_>,
    ) -> Result<(ForgeRemote, String), Problem> {
        let namespace = found.provider.namespace.as_deref().unwrap_or(&id.namespace);
        let name = &found.provider.name;
        let reference = ObjectRef::<GitProvider>::new(name).within(namespace);
        let provider = self.providers.get(&reference).ok_or_else(|| {
            let message = format!(
                "spec.source names the GitProvider {namespace}/{name}, which is not there: create it"
            );
            Problem::new(Class::Terminal, Reason::ProviderNotFound, message)
        })?;
        self.allowed(id, namespace, &provider).await?;
        if let Some((kind, _)) = forge::describe(&provider.spec)
            && kind != found.kind
        {
            let message = format!(
                "{} names the GitProvider {namespace}/{name}, which connects to {kind}: name one that connects to {}, or use spec.source.{kind}",
                found.provider_field, found.kind
            );
            return Err(Problem::new(Class::Terminal, Reason::InvalidSpec, message));
        }
        if provider.spec.suspend {
            let message = format!(
                "the GitProvider {namespace}/{name} is suspended, and nothing new is looked up through it: set spec.suspend there to false"
            );
            return Err(Problem::new(Class::Waiting, Reason::ProviderNotReady, message));
        }
        let status = provider.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        if ready.is_none_or(|ready| ready.status != "True") {
            let said = ready.map_or("it was not looked at yet", |ready| ready.message.as_str());
            let message = format!("the GitProvider {namespace}/{name} is not ready: {said}");
            // Where only the user can help the GitProvider, only the user can help this one.
            let class = if condition::is_true(&status.conditions, ConditionType::Stalled) {
                Class::Terminal
            } else {
                Class::Waiting
            };
            return Err(Problem::new(class, Reason::ProviderNotReady, message));
        }
        let reader = Reader::new(self.client.clone(), namespace);
        let (forge, ca, version) = connection(&self.forges, &provider, &reader).await?;
        let path = RepositoryPath::parse(&found.repository).ok_or_else(|| {
            let message = format!(
                "{} is {:?}, which is not the path of a repository: write it as in the forge's address",
                found.repository_field, found.repository
            );
            Problem::new(Class::Terminal, Reason::InvalidSpec, message)
        })?;
        let url = forge::describe(&provider.spec).map_or("", |(_, url)| url);
        let remote = ForgeRemote {
            forge,
            repository: path,
            reach: if found.submodules {
                Reach::Connection
            } else {
                Reach::Repository
            },
            ca,
            server: url.trim_end_matches('/').to_owned(),
            fields: Fields {
                url: found.repository_field,
                git_ref: found.ref_field,
                credential: found.provider_field,
                path: found.path_field,
            },
        };
        Ok((remote, version))
    }

    /// Checks that the namespace may use the connection. The error reveals nothing about the connection.
    async fn allowed(&self, id: &AppId, owner: &str, provider: &GitProvider) -> Result<(), Problem> {
        let rule = &provider.spec.allowed_namespaces;
        let allowed = id.namespace == owner
            || match rule.from {
                AllowedFrom::Same => false,
                AllowedFrom::All => true,
                AllowedFrom::Selector => {
                    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
                    let found = api.get_opt(&id.namespace).await;
                    let namespace = found.map_err(|error| cluster_problem("read the namespace", &error))?;
                    let labels = namespace
                        .as_ref()
                        .map(|namespace| namespace.labels().clone())
                        .unwrap_or_default();
                    rule.selector.as_ref().is_some_and(|selector| {
                        selector
                            .match_labels
                            .iter()
                            .all(|(key, value)| labels.get(key) == Some(value))
                    })
                }
            };
        if allowed {
            return Ok(());
        }
        let message = format!(
            "the GitProvider {owner}/{} does not allow namespace {} to use it: add it to spec.allowedNamespaces there",
            provider.name_any(),
            id.namespace
        );
        Err(Problem::new(Class::Terminal, Reason::AccessDenied, message))
    }
}

/// The source as the status has it, where that is of the spec as it is now.
fn recorded(app: &Application, source: &Source) -> Option<PinnedSource> {
    let found = app.status.as_ref()?.source.as_ref()?;
    let of_today =
        found.observed_generation.is_some() && found.observed_generation == app.metadata.generation;
    pinned(source, revision(source, &found.revision)?).filter(|_| of_today)
}

/// What is said as long as a first answer is not there.
fn looking_up(source: &Source) -> Problem {
    let what = locator(source).unwrap_or_default();
    let message = format!("spec.source is being looked up: no answer from {what} yet");
    Problem::new(Class::Waiting, Reason::Resolving, message)
}

async fn look_up(tools: Tools, source: Source, origin: Origin) -> Result<PinnedSource, Problem> {
    let found = match origin {
        Origin::Git { remote, spec } => Revision::Commit(remote.resolve(&tools.git, &spec).await?),
        Origin::Image { image, login } => {
            let Some(engine) = &tools.docker else {
                return Err(Problem::new(
                    Class::Terminal,
                    Reason::NotSupported,
                    "there is no engine here to resolve images with",
                ));
            };
            let resolved = image::resolve_image(engine, &image, login.as_ref()).await;
            let reference = resolved.map_err(|error| Problem::of(&error))?.reference;
            Revision::image(&reference).ok_or_else(|| {
                let message =
                    format!("the engine names the image {reference:?}, which is neither a digest nor an ID");
                Problem::new(Class::Terminal, Reason::Internal, message)
            })?
        }
    };
    pinned(&source, found)
        .ok_or_else(|| Problem::new(Class::Terminal, Reason::NoSource, "spec.source is empty"))
}

/// A number that differs from Application to Application and from time to time.
fn salt(id: &AppId) -> u64 {
    use std::hash::BuildHasher as _;
    // Seeded anew in each process: jitter need not be the same after a restart.
    static SEED: std::sync::OnceLock<std::hash::RandomState> = std::sync::OnceLock::new();

    SEED.get_or_init(std::hash::RandomState::new).hash_one(id)
}

/// A number from 0 to 1.
fn fraction(salt: u64) -> f64 {
    f64::from(u32::try_from(salt >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;

    fn tools(dir: &std::path::Path) -> Tools {
        let options = crate::source::GitOptions::new(dir.join("git"), "/nowhere/davit");
        Tools {
            git: Arc::new(crate::source::Git::new(options).unwrap()),
            builder: Arc::new(crate::builder::fake::FakeBuilder::default()),
            docker: None,
            work_dir: dir.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_lets_one_in_and_cannot_be_read_for_a_moment_is_tried_again() {
        // An API server that answers nothing but that it has trouble.
        let trouble = tower::service_fn(|_| async {
            let answer = http::Response::builder().status(500);
            Ok::<_, Infallible>(answer.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap())
        });
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(trouble, "ns");
        let (providers, _) = kube::runtime::reflector::store();
        let (wake, _woken) = tokio::sync::mpsc::unbounded_channel();
        let (forges, lookups) = (Forges::default(), Lookups::new(wake));
        let resolver = Resolver::new(client.clone(), tools(dir.path()), providers, forges, lookups);
        let id = AppId::new("ns", "shop");
        let app: Application = serde_json::from_value(serde_json::json!({
            "apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"},
            "spec": {"source": {"git": {"url": "https://h.example/a", "secretRef": {"name": "key"}}}}}))
        .unwrap();
        let look = async || {
            let reader = Reader::new(client.clone(), "ns");
            let found = resolver.resolve(&id, &app, &reader, None).await;
            (found.attempts, found.check_in)
        };
        let (attempts, first) = look().await;
        assert_eq!(attempts, 1);
        let first = first.expect("nothing else would wake it");
        assert_eq!(look().await.0, 1, "a pass in between counts as none");
        tokio::time::advance(first).await;
        let (attempts, second) = look().await;
        assert_eq!(attempts, 2);
        assert!(second > Some(first), "{second:?} after {first:?}");
    }
}
