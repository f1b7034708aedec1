//! Deploys the containers of a Release from its own record.

use crate::api::{Reason, ReleasePhase, ReleaseStatus, Strategy};
use crate::error::{Class, Problem};
use crate::plan::deployment::deployment;
use crate::plan::desired::{container_hash, recorded_config};
use crate::plan::release_status::step_began;
use crate::plan::state::active;
use crate::plan::{ActionResult, Step, hash_of};
use crate::redact::Masker;
use crate::runtime::{Deployment, RuntimeError};

use super::{Executor, about_release};

impl Executor<'_> {
    /// Brings the containers closer to those of a Release; `None` stops them. Containers of `preserve` are left as they are.
    pub(super) async fn deploy(
        &self,
        release: Option<&str>,
        preserve: Option<&str>,
    ) -> Result<ActionResult, Problem> {
        let Some(release) = release else {
            self.keep_output(|_| true);
            let progress = self.ctx.runtime.stop(self.id).await;
            let progress = progress.map_err(|error| Problem::of(&error))?;
            return Ok(ActionResult::Progress {
                progress,
                replicas: 0,
            });
        };
        let Some(status) = self.records.statuses.get(release) else {
            let message = format!("release {release} was deleted before its containers were created");
            return Err(Problem::new(Class::Transient, Reason::Internal, message));
        };
        let (mut wanted, skipped) = self.deployment_of(release, status).await?;
        let preserved = preserve.and_then(|preserve| self.hash_of(preserve));
        wanted.history.preserved = preserved.filter(|preserved| *preserved != wanted.identity.hash);
        if wanted.history.preserved.is_some() && wanted.policy.strategy == Strategy::StopFirst {
            return Ok(ActionResult::Skipped); // The preserved containers have the host ports, or must be alone.
        }
        if !status.phase.has_ended() && step_began(status, Step::Deploying).is_none() {
            self.report_stop_first(release, &wanted).await;
            self.report_skipped(release, &skipped).await;
        }
        match self.ctx.runtime.deploy(&wanted).await {
            Ok(progress) => Ok(ActionResult::Progress {
                progress,
                replicas: wanted.policy.replicas,
            }),
            Err(error) => {
                let problem = self.masked(&error, &wanted);
                Ok(if problem.class == Class::Terminal {
                    let output = self.container_output(release).await;
                    ActionResult::Refused { problem, output }
                } else {
                    ActionResult::Failed(problem)
                })
            }
        }
    }

    /// Returns the problem without the values of Secrets: engines repeat the command, which may contain them.
    pub(super) fn masked(&self, error: &RuntimeError, wanted: &Deployment) -> Problem {
        let given = wanted.spec.env.iter().filter(|variable| variable.confidential);
        let values = self.input.inputs.values.iter();
        let hidden = values.flat_map(|values| &values.confidential);
        let masker = Masker::new(hidden.chain(given.map(|variable| &variable.value)));
        Problem::masked(error, |text| masker.mask(text).into_owned())
    }

    /// Sends an event before nothing serves for a moment.
    async fn report_stop_first(&self, release: &str, wanted: &Deployment) {
        let mut releases = self.input.releases.iter();
        let serves = releases.any(|view| view.status.phase == ReleasePhase::Succeeded);
        if wanted.policy.strategy != Strategy::StopFirst || !serves {
            return;
        }
        let why = if wanted.spec.ports.iter().any(|port| port.host.is_some()) {
            "spec.ports has a hostPort, which only one container can have"
        } else {
            "spec.rollout.strategy is StopFirst"
        };
        let message = format!("the old containers are stopped before the new ones start: {why}");
        let about = about_release(&self.id.namespace, release);
        self.ctx
            .report
            .event(&about, None, false, Reason::StopFirst, &message)
            .await;
    }

    /// Sends an event about keys of `envFrom` that do not become variables.
    async fn report_skipped(&self, release: &str, skipped: &[String]) {
        if skipped.is_empty() {
            return;
        }
        let message = format!(
            "spec.envFrom: skipped {}: not the name of an environment variable (letters, digits, _, - and ., not beginning \
             with a digit): rename the key, or set a prefix",
            skipped.join(", ")
        );
        let about = about_release(&self.id.namespace, release);
        self.ctx
            .report
            .event(&about, None, true, Reason::InvalidEnvName, &message)
            .await;
    }

    /// Returns what a Release runs, and the keys of `envFrom` that are skipped: the configuration that it recorded, with the
    /// present values of its references.
    async fn deployment_of(
        &self,
        release: &str,
        status: &ReleaseStatus,
    ) -> Result<(Deployment, Vec<String>), Problem> {
        let image = status.image.clone().ok_or_else(|| {
            let message = format!("status.image of release {release} is missing: create another Release");
            Problem::new(Class::Terminal, Reason::Internal, message)
        })?;
        let hash = container_hash(&status.inputs, &image);
        let mut spec = recorded_config(release, status)?;
        // The rollout settings do not belong to a Release: the present ones apply.
        spec.rollout.clone_from(&self.input.app.spec.rollout);
        let values = self.reader.values(&spec).await?;
        let mut wanted = deployment(self.id, release, &hash, &image, &spec, &values)?;
        let releases = &self.input.releases;
        let abandoned = releases.iter().filter(|view| {
            view.name != release && (view.status.phase == ReleasePhase::Failed || view.spec.cancel)
        });
        // Containers that serve are never abandoned with a later Release of the same hash: they are the rollback.
        let active = active(releases).and_then(|view| self.hash_of(&view.name));
        wanted.history.abandoned = abandoned
            .filter_map(|view| self.hash_of(&view.name))
            .filter(|abandoned| *abandoned != hash && Some(abandoned) != active.as_ref())
            .collect();
        wanted.history.completed = status.ended.iter().map(|ended| ended.id.clone()).collect();
        self.input.uid().clone_into(&mut wanted.identity.uid);
        if let Some(routes) = &self.ctx.routes {
            let has_routes = !self.input.app.spec.routes.is_empty();
            wanted.history.routed = routes.routed(self.id, has_routes);
        }
        if self.ctx.install.capabilities.needs_registry {
            let (spec, registries) = (&self.input.app.spec, &self.ctx.registries);
            wanted.registry = registries.pull_login(&image, spec, self.reader).await;
        }
        Ok((wanted, values.skipped))
    }

    /// Returns the hash of the containers of a Release, once it has an image.
    fn hash_of(&self, release: &str) -> Option<String> {
        hash_of(self.records.statuses.get(release)?)
    }
}
