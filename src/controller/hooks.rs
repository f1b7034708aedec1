//! Keeps one hook per repository in use at the forge: registers it, repairs it if it was changed, and removes it when it is
//! unused. What is registered is in `status.hooks`; when each hook was looked at last is only in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kube::ResourceExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{GitProvider, Reason, RegisteredHook};
use crate::controller::provider_use::Followed;
use crate::error::{Class, Explain as _, Problem};
use crate::forge::{Forge, ForgeError, RepositoryPath, WantedHook, ensure_hook};
use crate::plan::fingerprint::{Fingerprint, digest};
use crate::redact::Secret;

/// When a hook that could not be registered is tried again, if nothing changes.
pub const RETRY: Duration = Duration::from_mins(1);
/// How many repositories a message names.
const NAMED: usize = 3;

/// The result of looking at the hook of one repository.
#[derive(Clone, Debug)]
struct Checked {
    at: Instant,
    /// What the hook was made from, and the credential.
    version: String,
    result: Result<(), Problem>,
}

/// When each hook was looked at last, by the UID of the GitProvider and the repository.
#[derive(Debug, Default)]
pub struct Hooks(Mutex<HashMap<(String, String), Checked>>);

/// What was done, and what could not be done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The hooks that are registered now.
    pub hooks: Vec<RegisteredHook>,
    /// The repositories whose hook could not be registered or repaired.
    failed: Vec<(String, Problem)>,
    /// The repositories whose unused hook could not be removed.
    left: Vec<(String, Problem)>,
}

impl Outcome {
    /// Why not everything is as wanted: the reason and the message of a condition.
    pub fn problem(&self) -> Option<(Reason, String)> {
        let (reason, problems) = if self.failed.is_empty() {
            (Reason::HookNotRemoved, &self.left)
        } else {
            (Reason::HookFailed, &self.failed)
        };
        let text: Vec<_> = problems
            .iter()
            .take(NAMED)
            .map(|(repository, problem)| format!("{repository}: {}", problem.message))
            .collect();
        let more = problems.len() - text.len();
        let more = if more > 0 {
            format!("; and {more} more repositories")
        } else {
            String::new()
        };
        (!text.is_empty()).then(|| (reason, text.join("; ") + &more))
    }

    /// True if trying again may help although nothing changes.
    pub fn is_transient(&self) -> bool {
        let mut all = self.failed.iter().chain(&self.left);
        all.any(|(_, problem)| problem.class != Class::Terminal)
    }
}

/// What the hooks of a GitProvider are made from.
struct Pass<'a> {
    uid: &'a str,
    forge: &'a dyn Forge,
    wanted: &'a WantedHook,
    /// The digest of the secret.
    mark: String,
    version: String,
}

impl Hooks {
    /// Makes the hooks at the forge what they should be. `version` stands for the credential: after a change, everything is
    /// looked at again. Without a wanted hook all are removed. `key` is that of all digests.
    pub async fn apply(
        &self,
        key: &Secret,
        provider: &GitProvider,
        forge: &dyn Forge,
        wanted: Option<(&WantedHook, &BTreeMap<String, Followed>)>,
        version: &str,
        interval: Duration,
    ) -> Outcome {
        let old = provider
            .status
            .as_ref()
            .map(|status| status.hooks.as_slice())
            .unwrap_or_default();
        let uid = provider.uid().unwrap_or_default();
        let mut outcome = Outcome::default();
        let mut limited = None;
        let mut kept = Vec::new();
        if let Some((wanted, repositories)) = wanted {
            let mark = secret_digest(key, wanted);
            let pass = Pass {
                uid: &uid,
                forge,
                wanted,
                version: format!("{version} {mark} {}", wanted.url),
                mark,
            };
            for (name, repository) in repositories {
                kept.push(name.clone());
                let known = old.iter().find(|hook| hook.repository.to_lowercase() == *name);
                let version = format!("{} {}", pass.version, repository.pull_requests);
                let result = match self.checked(&uid, name, &version, interval) {
                    Some(result) if known.is_some() || result.is_err() => result.map(|()| None),
                    _ => self
                        .ensure(&pass, name, repository, known, &mut limited)
                        .await
                        .map(Some),
                };
                match result {
                    Ok(Some(hook)) => outcome.hooks.push(hook),
                    Ok(None) => outcome.hooks.extend(known.cloned()),
                    Err(problem) => {
                        outcome.hooks.extend(known.cloned());
                        outcome.failed.push((repository.path.to_string(), problem));
                    }
                }
            }
        }
        for hook in old
            .iter()
            .filter(|hook| !kept.contains(&hook.repository.to_lowercase()))
        {
            // The same hook, under another name of its repository.
            if outcome.hooks.iter().any(|kept| kept.id == hook.id) {
                continue;
            }
            if let Err(problem) = remove(forge, hook, &mut limited).await {
                outcome.hooks.push(hook.clone());
                outcome.left.push((hook.repository.clone(), problem));
            }
            self.0
                .lock()
                .remove(&(uid.clone(), hook.repository.to_lowercase()));
        }
        outcome
    }

    /// Makes one repository have its hook.
    async fn ensure(
        &self,
        pass: &Pass<'_>,
        name: &str,
        followed: &Followed,
        known: Option<&RegisteredHook>,
        limited: &mut Option<Problem>,
    ) -> Result<RegisteredHook, Problem> {
        if let Some(problem) = limited {
            return Err(problem.clone());
        }
        let rewrite = known.is_none_or(|hook| hook.secret != pass.mark);
        let id = known.map(|hook| hook.id.as_str());
        let repository = &followed.path;
        let wanted = WantedHook {
            pull_requests: followed.pull_requests,
            ..pass.wanted.clone()
        };
        let version = format!("{} {}", pass.version, followed.pull_requests);
        let result = ensure_hook(pass.forge, repository, &wanted, id, rewrite).await;
        note_limit(limited, result.as_ref().err());
        let result = result.map_err(|error| Problem::of(&error));
        self.record(pass.uid, name, &version, result.as_ref().map(|_| ()));
        Ok(RegisteredHook {
            repository: repository.to_string(),
            id: result?,
            secret: pass.mark.clone(),
        })
    }

    /// The last result, if it still counts.
    fn checked(
        &self,
        uid: &str,
        repository: &str,
        version: &str,
        interval: Duration,
    ) -> Option<Result<(), Problem>> {
        let all = self.0.lock();
        let checked = all.get(&(uid.to_owned(), repository.to_owned()))?;
        let lifetime = match &checked.result {
            Err(problem) if problem.class != Class::Terminal => RETRY,
            // The next reconcile at the interval comes up to a tenth earlier.
            _ => interval,
        };
        let counts = checked.version == version && checked.at.elapsed() < lifetime.mul_f64(0.8);
        counts.then(|| checked.result.clone())
    }

    fn record(&self, uid: &str, repository: &str, version: &str, result: Result<(), &Problem>) {
        let checked = Checked {
            at: Instant::now(),
            version: version.to_owned(),
            result: result.map_err(Problem::clone),
        };
        self.0
            .lock()
            .insert((uid.to_owned(), repository.to_owned()), checked);
    }

    /// Forgets a GitProvider that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().retain(|(of, _), _| of != uid);
    }
}

async fn remove(
    forge: &dyn Forge,
    hook: &RegisteredHook,
    limited: &mut Option<Problem>,
) -> Result<(), Problem> {
    if let Some(problem) = limited {
        return Err(problem.clone());
    }
    let Some(repository) = RepositoryPath::parse(&hook.repository) else {
        return Ok(());
    };
    let mut result = forge.delete_hook(&repository, &hook.id).await;
    if result
        .as_ref()
        .is_err_and(|error| error.reason() == Reason::ForgeFailed)
        && let Ok(present) = forge.present_path(&repository).await
        && present != repository
    {
        // No request that changes something is redirected.
        result = forge.delete_hook(&present, &hook.id).await;
    }
    note_limit(limited, result.as_ref().err());
    result.map_err(|error| Problem::of(&error))
}

/// Once the forge limits requests, no more are made for the other repositories.
fn note_limit(limited: &mut Option<Problem>, error: Option<&ForgeError>) {
    if let Some(error @ ForgeError::RateLimited { .. }) = error {
        *limited = Some(Problem::of(error));
    }
}

/// A digest that changes with the secret and reveals nothing about it.
fn secret_digest(key: &Secret, wanted: &WantedHook) -> String {
    let mut inputs = Fingerprint::new(key);
    inputs.add("webhook.secret", wanted.secret.expose());
    digest(&inputs.finish(), &[""], "", 16)
}
