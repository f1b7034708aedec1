//! `spec.hooks.preDeploy`: a command that runs once for each Release in its image, before its containers start.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Hook, Reason, ReleaseStatus, Strategy};
use crate::error::{Class, Problem};
use crate::model::AppId;
use crate::redact::Secret;
use crate::runtime::{Deployment, Restart};

use super::fingerprint;
use super::release_status::step_began;
use super::step::Step;

/// The longest that a hook may take if `timeout` is not set.
const TIMEOUT: Duration = Duration::from_mins(10);

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEnd {
    /// Its exit code; `None` if its time was over first.
    pub code: Option<i64>,
    /// The end of its output.
    pub output: String,
}

/// Returns the hook of a recorded configuration.
pub fn of(config: &Value) -> Option<Hook> {
    serde_json::from_value(config.get("hooks")?.get("preDeploy")?.clone()).ok()
}

/// Returns the hook that a Release has to run before its containers start.
pub fn pending(status: &ReleaseStatus) -> Option<Hook> {
    let hook = of(&status.config.as_ref()?.0)?;
    let mut steps = status.steps.iter();
    let has_run = steps.any(|step| step.name == Step::PreDeploy.as_str() && step.exit_code == Some(0));
    (!has_run).then_some(hook)
}

/// Returns how long a hook may still take.
pub(super) fn remaining(status: &ReleaseStatus, hook: &Hook, now: Timestamp) -> Duration {
    let limit = hook.timeout.as_ref().map_or(TIMEOUT, crate::api::Duration::get);
    let began = step_began(status, Step::PreDeploy).unwrap_or(now);
    limit.saturating_sub(Duration::try_from(now.duration_since(began)).unwrap_or_default())
}

/// Returns the problem of a hook that takes too long.
pub(super) fn too_late(hook: &Hook) -> Problem {
    let limit = hook.timeout.as_ref().map_or(TIMEOUT, crate::api::Duration::get);
    let message = format!(
        "hooks.preDeploy did not end within {limit:?} and was stopped: make the command faster, or raise \
          spec.hooks.preDeploy.timeout"
    );
    Problem::new(Class::Terminal, Reason::PreDeployTimeout, message)
}

/// Returns the problem of a hook that ended with a code other than 0.
pub(super) fn failed(code: i64) -> Problem {
    let message = format!(
        "hooks.preDeploy ended with code {code}: solve what its log shows (davit logs --hook), then deploy \
         again"
    );
    Problem::new(Class::Terminal, Reason::PreDeployFailed, message)
}

/// Returns the hook of a Release as a deployment of its own: one container that runs to its end, with the environment and the
/// volumes of the Release and without its ports and its health check.
pub fn deployment(release: Deployment, app: &AppId, uid: &str, command: Vec<Secret>) -> Deployment {
    let mut hook = release;
    hook.identity.hash = fingerprint::plain(&format!("{uid} {} {}", hook.identity.release, hook.spec.image));
    hook.identity.app = app.hook();
    uid.clone_into(&mut hook.identity.uid);
    hook.spec.command = command;
    hook.spec.args.clear();
    hook.spec.ports.clear();
    hook.spec.health = None;
    hook.spec.restart = Restart::Never;
    hook.policy.replicas = 1;
    hook.policy.strategy = Strategy::StartFirst;
    hook.policy.min_ready = None;
    hook
}
