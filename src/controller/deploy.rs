//! I/O out: the containers of a Release, from its own record of what it runs.

use jiff::Timestamp;

use crate::api::{Reason, ReleasePhase, ReleaseStatus, Strategy};
use crate::error::{Class, Problem};
use crate::plan::desired::{container_hash, deployment, recorded_config};
use crate::plan::state::active;
use crate::plan::{End, hash_of, release_status};
use crate::redact::Masker;
use crate::runtime::Deployment;

use super::execute::Pass;

impl Pass<'_> {
    /// Takes the containers towards a Release, or towards none; nothing is done to those of `beside`.
    pub(super) async fn deploy(
        &mut self,
        release: Option<&str>,
        beside: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(release) = release else {
            let stopped = self
                .ctx
                .runtime
                .stop(self.id)
                .await
                .map_err(|error| Problem::of(&error))?;
            self.progress = Some(stopped);
            return Ok(());
        };
        let Some(status) = self.statuses.get(release).cloned() else {
            return Ok(());
        };
        let mut wanted = match self.workload_of(release, &status).await {
            Ok(wanted) => wanted,
            Err(problem) => {
                self.change(release, |status| release_status::hindered(status, &problem, now));
                return Err(problem);
            }
        };
        let left_alone = beside.and_then(|beside| self.hash_of(beside));
        wanted.history.preserved = left_alone.filter(|left_alone| *left_alone != wanted.identity.hash);
        if wanted.history.preserved.is_some() && wanted.policy.strategy == Strategy::StopFirst {
            return Ok(()); // What is looked at has the host ports, or has to be alone.
        }
        if !status.phase.has_ended() && release_status::step_began(&status, "Deploying").is_none() {
            self.say_stop_first(release, &wanted).await;
        }
        match self.ctx.runtime.deploy(&wanted).await {
            Ok(progress) => {
                if !status.phase.has_ended() {
                    self.change(release, |status| {
                        release_status::progress(status, &progress, wanted.policy.replicas, now);
                    });
                    // What waited for its end, and what history leaves no room for now, is seen to at once.
                    self.again |= self
                        .statuses
                        .get(release)
                        .is_some_and(|status| status.phase.has_ended());
                }
                self.progress = Some(progress);
                Ok(())
            }
            Err(error) => {
                // Engines repeat the command, which may hold the value of a Secret.
                let given = wanted.spec.env.iter().filter(|variable| variable.confidential);
                let hidden = self.values.iter().flat_map(|values| &values.confidential);
                let masker = Masker::new(hidden.chain(given.map(|variable| &variable.value)));
                let problem = Problem::masked(&error, |text| masker.mask(text).into_owned());
                if problem.class == Class::Terminal && !status.phase.has_ended() {
                    let end = End::Failed {
                        step: "Deploying",
                        problem,
                        log_tail: String::new(),
                    };
                    self.end(release, &end, now).await;
                    self.again = true;
                    return Ok(());
                }
                self.change(release, |status| release_status::hindered(status, &problem, now));
                Err(problem)
            }
        }
    }

    /// That nothing serves for a moment is told before it happens, and why.
    async fn say_stop_first(&self, release: &str, wanted: &Deployment) {
        let before = self
            .releases
            .iter()
            .any(|view| view.status.phase == ReleasePhase::Succeeded);
        if wanted.policy.strategy != Strategy::StopFirst || !before {
            return;
        }
        let why = if wanted.spec.ports.iter().any(|port| port.host.is_some()) {
            "spec.ports has a hostPort, which only one container can have"
        } else {
            "spec.rollout.strategy is StopFirst"
        };
        let message = format!("the old containers are stopped before the new ones start: {why}");
        let about = self.about_release(release);
        self.ctx
            .report
            .event(&about, None, false, Reason::StopFirst, &message)
            .await;
    }

    /// What a Release runs: its own record of the configuration, with the values that it refers to as they are now.
    async fn workload_of(&self, release: &str, status: &ReleaseStatus) -> Result<Deployment, Problem> {
        let image = status.image.clone().ok_or_else(|| {
            let message = format!("status.image of release {release} is missing: create another Release");
            Problem::new(Class::Terminal, Reason::Internal, message)
        })?;
        let hash = container_hash(&status.inputs, &image);
        let mut spec = recorded_config(release, status)?;
        // Rollout settings are no part of what a Release is: those of now count.
        spec.rollout.clone_from(&self.app.spec.rollout);
        let values = self.reader.values(&spec).await?;
        let mut wanted = deployment(self.id, release, &hash, &image, &spec, &values)?;
        let given_up = self.releases.iter().filter(|view| {
            view.name != release && (view.status.phase == ReleasePhase::Failed || view.spec.cancel)
        });
        wanted.history.abandoned = given_up.filter_map(|view| self.hash_of(&view.name)).collect();
        // What serves is not given up with a later Release of the same containers: it is the way back.
        let active = active(self.releases).and_then(|view| self.hash_of(&view.name));
        wanted
            .history
            .abandoned
            .retain(|given_up| *given_up != hash && Some(given_up) != active.as_ref());
        wanted.history.completed = status.ended.iter().map(|ended| ended.id.clone()).collect();
        wanted.identity.uid = self.app.metadata.uid.clone().unwrap_or_default();
        Ok(wanted)
    }

    /// The hash of a Release's containers, once it has an image.
    fn hash_of(&self, release: &str) -> Option<String> {
        hash_of(self.statuses.get(release)?)
    }
}
