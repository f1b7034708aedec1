//! I/O in: an Application's source as a commit or digest, looked up when the spec or a credential changed, when it was
//! asked for, and every `trigger.pollInterval`; otherwise as it was found last.

mod cache;
pub mod credentials;
mod look_up;
mod provider;
pub mod remote;
pub mod single_flight;

use std::time::Duration;

use kube::Client;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;

use crate::api::{Application, FROM_FORK, GitProvider, Reason, Source, SourceKind};
use crate::error::{Class, Problem};
use crate::model::{AppId, Digest, RefSpec, Revision};
use crate::plan::desired::PinnedSource;
use crate::plan::pin::no_source;
use crate::plan::source_kind::{kind, locator, pinned};
use crate::plan::state::request;
use crate::plan::trigger;
use crate::plan::values::Values;
use crate::plan::{Announced, Inputs};
use crate::source::archive::ArchiveError;

use super::dereference::Reader;
use super::tools::Tools;
use cache::Cache;
use credentials::{Origin, git_remote, image_login, ref_spec};
use look_up::{Rules, look_up};
use remote::Remote;
use single_flight::{Lookups, Question};

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
    /// What is known of the commit that a delivery announces, unless the repository has confirmed it.
    pub announced: Option<Announced>,
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
            announced: self.announced,
            attempts: self.attempts,
            check_in: self.check_in,
            values,
            rollback: None,
        };
        (inputs, self.origin)
    }
}

/// Resolves sources and remembers what it found.
pub struct Resolver {
    client: Client,
    tools: Tools,
    providers: Store<GitProvider>,
    cache: Cache,
    lookups: Lookups,
}

impl Resolver {
    /// A resolver that has found nothing yet.
    pub fn new(client: Client, tools: Tools, providers: Store<GitProvider>, lookups: Lookups) -> Self {
        Self {
            client,
            tools,
            providers,
            cache: Cache::default(),
            lookups,
        }
    }

    /// Forgets an Application.
    pub fn forget(&self, app: &AppId) {
        self.cache.forget(app);
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
        let Some(source) = app.spec.source.as_ref().filter(|source| kind(source).is_some()) else {
            self.forget(id);
            return Resolution::default();
        };
        let text = serde_json::to_string(source).unwrap_or_default();
        let (origin, version) = match self.origin(id, app, source, reader).await {
            Ok(origin) => origin,
            Err(problem) => {
                let last = self
                    .cache
                    .last(id, app, source, &text)
                    .filter(|_| asked.is_none());
                return self.without_origin(id, problem, last);
            }
        };
        self.cache.missed(id, false);
        let key = format!("{text} {version} {}", trigger::rules(&app.spec));
        if asked.is_none()
            && let Some(known) = self.cache.known(id, app, source, &key)
        {
            return Resolution {
                origin: Some(origin),
                last: known.last(&text),
                attempts: known.attempts,
                check_in: known.holds(&app.spec, id),
                source: Some(known.result),
                pending: false,
                announced: None,
            };
        }
        let waits_for_now = asked.is_some();
        let question = Question {
            key: key.clone(),
            server: origin.server(),
            repository: locator(source).unwrap_or_default(),
            asked,
        };
        let accepted = self.cache.accepted(id, app, source, &text);
        let rules = Rules {
            passing: self.cache.passing(id),
            ..rules(app, &origin, question.asked.as_deref(), accepted.clone())
        };
        let pushed = rules.pushed.clone().map(Revision::Commit);
        let announced = rules.announced().cloned().map(Revision::Commit);
        let announced = announced.and_then(|revision| pinned(source, revision));
        let look_up = Box::pin(look_up(self.tools.clone(), source.clone(), origin.clone(), rules));
        let result = match announced {
            Some(_) => self.lookups.begin(id, question, look_up).await,
            None => self.lookups.look_up(id, question, look_up).await,
        };
        let Some(result) = result else {
            let last = self.cache.last(id, app, source, &text);
            let before = self.cache.found(id);
            let before = before.filter(|found| found.key == key && !waits_for_now);
            let known = before.as_ref().map(|found| found.result.clone());
            return Resolution {
                source: Some(
                    announced
                        .map(Ok)
                        .or(known)
                        .unwrap_or_else(|| Err(looking_up(source))),
                ),
                origin: Some(origin),
                last: last.filter(|_| !waits_for_now),
                attempts: before.map_or(0, |found| found.attempts),
                check_in: None,
                pending: true,
                announced: pushed.map(Announced::Unconfirmed),
            };
        };
        let transient = result
            .as_ref()
            .is_err_and(|problem| problem.class != Class::Terminal);
        // The Release of an announced commit stays wanted while the repository cannot be asked.
        let last = announced
            .clone()
            .or_else(|| self.cache.last(id, app, source, &text));
        let is_other = |found: &PinnedSource| {
            let announced = announced.as_ref();
            announced.is_some_and(|announced| announced.revision != found.revision)
        };
        let refuted = result.as_ref().is_ok_and(is_other);
        let refuted = announced.clone().filter(|_| refuted);
        let found = self
            .cache
            .store(id, key, text, result.clone(), [last.clone(), accepted]);
        let check_in = found.holds(&app.spec, id);
        Resolution {
            // While checks are pending, the commit before them stays wanted.
            last: last.filter(|_| transient && (!waits_for_now || is_about_checks(&result))),
            source: Some(result),
            origin: Some(origin),
            attempts: found.attempts,
            check_in,
            pending: false,
            announced: refuted.map(|refuted| Announced::Refuted(refuted.revision)),
        }
    }

    /// It is not known where the source is: an outage holds up nothing that needs no server.
    fn without_origin(&self, id: &AppId, problem: Problem, last: Option<PinnedSource>) -> Resolution {
        let (attempts, check_in) = self.cache.missed(id, problem.class == Class::Transient);
        Resolution {
            last: last.filter(|_| problem.class != Class::Terminal),
            source: Some(Err(problem)),
            origin: None,
            attempts,
            check_in,
            pending: false,
            announced: None,
        }
    }

    /// Where the source comes from, and the versions of the objects that say so.
    async fn origin(
        &self,
        id: &AppId,
        app: &Application,
        source: &Source,
        reader: &Reader,
    ) -> Result<(Origin, String), Problem> {
        let application = &app.spec;
        let Some(kind) = source.kind() else {
            return Err(no_source());
        };
        match kind {
            SourceKind::Git(git) => {
                let (remote, version) = git_remote(git, reader).await?;
                let (remote, spec) = (Remote::Fixed(remote), ref_spec(git.git_ref.as_ref())?);
                let spec = trigger::followed(application, spec);
                Ok((Origin::Git { remote, spec }, version))
            }
            SourceKind::GitHub(_)
            | SourceKind::GitLab(_)
            | SourceKind::Bitbucket(_)
            | SourceKind::Gitea(_) => {
                let found = source.forge().ok_or_else(no_source)?;
                let (mut remote, version) = self.forge_remote(id, &found).await?;
                if app.annotations().contains_key(FROM_FORK) {
                    remote.restrict();
                }
                let (remote, spec) = (Remote::Forge(remote), ref_spec(found.git_ref)?);
                let spec = trigger::followed(application, spec);
                Ok((Origin::Git { remote, spec }, version))
            }
            SourceKind::Docker(image) => {
                let (login, version) = image_login(image, reader).await?;
                let image = image.image.clone();
                Ok((Origin::Image { image, login }, version))
            }
            SourceKind::Drop(upload) => {
                let missing = || {
                    let digest = upload.digest.clone();
                    Problem::of(&ArchiveError::Missing { digest })
                };
                let digest = Digest::parse(&upload.digest).ok_or_else(missing)?;
                let found = self.tools.uploads.find(&id.namespace, &digest);
                let archive = found.ok_or_else(missing)?;
                Ok((Origin::Upload { digest, archive }, String::new()))
            }
        }
    }
}

/// Whether the checks of a commit keep it from being deployed.
fn is_about_checks(result: &Result<PinnedSource, Problem>) -> bool {
    let reason = result.as_ref().err().map(|problem| problem.reason);
    matches!(reason, Some(Reason::ChecksPending | Reason::ChecksFailed))
}

/// What the choice of a commit depends on. A Release that a user created takes the tip of the branch as it is.
fn rules(app: &Application, origin: &Origin, asked: Option<&str>, last: Option<PinnedSource>) -> Rules {
    let request = request(app);
    let by_release = asked.is_some() && asked != request.as_deref();
    let Origin::Git { spec, .. } = origin else {
        return Rules::default();
    };
    if by_release {
        return Rules::default();
    }
    let delivery = trigger::delivery(app).filter(|_| asked.is_some());
    let pushed = delivery
        .as_ref()
        .and_then(|delivery| trigger::pushed(delivery, spec));
    let continues = delivery
        .zip(last.as_ref())
        .is_some_and(|(delivery, last)| trigger::continues(&delivery, last));
    let trigger = app.spec.trigger.clone().unwrap_or_default();
    Rules {
        watch_paths: trigger.watch_paths.unwrap_or_default(),
        pushed,
        continues,
        follows_branch: matches!(spec, RefSpec::Branch(_) | RefSpec::Default),
        last,
        require_checks: trigger.require_checks,
        ..Rules::default()
    }
}

/// What is said as long as a first answer is not there.
fn looking_up(source: &Source) -> Problem {
    let what = locator(source).unwrap_or_default();
    let message = format!("spec.source is being looked up: no answer from {what} yet");
    Problem::new(Class::Waiting, Reason::Resolving, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;

    fn tools(dir: &std::path::Path) -> Tools {
        let options = crate::source::GitOptions::new(dir.join("git"), "/nowhere/davit");
        Tools {
            forges: crate::forge::Forges::default(),
            git: Arc::new(crate::source::Git::new(options).unwrap()),
            builder: Arc::new(crate::builder::fake::FakeBuilder::default()),
            cache: crate::controller::build_cache::BuildCache::new(None, crate::metrics::Metrics::default()),
            docker: None,
            registries: None,
            work_dir: dir.to_owned(),
            uploads: crate::source::uploads::Uploads::new(
                dir.join("uploads"),
                crate::source::archive::Limits::default(),
            ),
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
        let lookups = Lookups::new(wake);
        let resolver = Resolver::new(client.clone(), tools(dir.path()), providers, lookups);
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
