//! Brings the objects of an Application to a deployment.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::ResourceExt as _;
use serde_json::Value;

use super::names::{self, label};
use super::objects::State;
use super::progress::{self, hindrance, progress, written};
use super::render::{self, Objects, Workload};
use super::{Inner, observe};
use crate::api::Strategy;
use crate::runtime::{Deployment, Progress, Restart, RuntimeError};

impl Inner {
    pub(super) async fn deploy(&self, wanted: &Deployment) -> Result<Progress, RuntimeError> {
        let app = &wanted.identity.app;
        let mut state = self.state(app).await?;
        if self.remove_strangers(wanted, &state).await? {
            return Ok(Progress::stopping(state.pods.len()));
        }
        let now = Timestamp::now();
        let preserved = wanted.history.preserved.as_deref();
        let current = state
            .workload
            .as_ref()
            .map(|found| label(&found.metadata, names::CONFIG).to_owned());
        let replicas = observe::replicas(&state.jobs, &state.pods, &state.failures, now);
        if preserved.is_some() && current.as_deref() == preserved {
            // The old Pods serve beside those of the failed Release, as long as the Deployment is not written.
            return Ok(progress(wanted, None, &replicas, preserved, now));
        }
        let objects = render::objects(wanted, &release(wanted, &state))?;
        let surplus = surplus(wanted, &objects, &state);
        let stops_first = wanted.policy.strategy == Strategy::StopFirst
            && matches!(objects.workload, Workload::Job(_))
            && !surplus.is_empty();
        if stops_first || !surplus.is_empty() && progress::is_ready(wanted, &replicas, now) {
            self.remove_surplus(wanted, &surplus).await?;
            return Ok(Progress::stopping(surplus.len()));
        }
        if let Some(what) = self.write(wanted, &objects, &state).await? {
            return Ok(written(what));
        }
        // Strangers are gone, and a Job does not make another workload wait.
        if matches!(objects.workload, Workload::Job(_)) {
            state.workload = None;
            let job = names::job(&wanted.identity);
            let has_pods = state.pods.iter().any(|pod| observe::job_of(pod) == Some(&job));
            if !has_pods && let Some(message) = self.refused_pods(app, &job).await? {
                return Err(progress::creation(&message));
            }
        }
        if let Some(error) = hindrance(&wanted.identity.hash, state.workload.as_ref(), &state.pods) {
            return Err(error);
        }
        let progress = progress(wanted, state.workload.as_ref(), &replicas, preserved, now);
        if progress == Progress::Complete {
            self.prune(wanted).await?;
        }
        Ok(progress)
    }

    /// Deletes the workloads of a deleted Application of the same name. Returns whether there were any.
    async fn remove_strangers(&self, wanted: &Deployment, state: &State) -> Result<bool, RuntimeError> {
        let app = &wanted.identity.app;
        let mut found = false;
        if let Some(workload) = &state.workload
            && label(&workload.metadata, names::UID) != wanted.identity.uid
        {
            found = true;
            self.delete::<apps::Deployment>(app, &app.name).await?;
        }
        for job in &state.jobs {
            if label(&job.metadata, names::UID) != wanted.identity.uid {
                found = true;
                self.delete::<Job>(app, &job.name_any()).await?;
            }
        }
        let of_another =
            |pod: &&k8s_openapi::api::core::v1::Pod| label(&pod.metadata, names::UID) != wanted.identity.uid;
        Ok(found || state.pods.iter().any(|pod| of_another(&pod)))
    }

    /// Writes the objects that are not as wanted, and returns what is waited for then; `None` if nothing was written.
    async fn write(
        &self,
        wanted: &Deployment,
        objects: &Objects,
        state: &State,
    ) -> Result<Option<&'static str>, RuntimeError> {
        let app = &wanted.identity.app;
        if let Some(config) = &objects.config {
            self.ensure_exists::<Secret>(app, config).await?;
        }
        if let Some(pull) = &objects.pull {
            self.ensure::<Secret>(app, pull).await?;
        }
        for claim in &objects.claims {
            self.ensure_claim(&app.owner(), claim).await?;
        }
        if let Some(service) = &objects.service {
            self.service(wanted, service).await?;
        }
        match &objects.workload {
            Workload::Deployment(deployment) => {
                let written = self.ensure::<apps::Deployment>(app, deployment).await?;
                Ok(written.then_some("the Pods of the Deployment"))
            }
            Workload::Job(job) => {
                let name = names::job(&wanted.identity);
                if let Some(found) = state.jobs.iter().find(|found| found.name_any() == name) {
                    return same_count(wanted, found).map(|()| None);
                }
                let completed = u32::try_from(wanted.history.completed.len()).unwrap_or(u32::MAX);
                if completed > 0 && completed >= wanted.policy.replicas {
                    return Ok(None); // It ran to its end, and was removed.
                }
                self.ensure_exists::<Job>(app, job).await?;
                Ok(Some("the Pods of the Job"))
            }
        }
    }

    /// A Service cannot change between having an address and having none, so it is made anew then.
    async fn service(&self, wanted: &Deployment, service: &Value) -> Result<(), RuntimeError> {
        let app = &wanted.identity.app;
        match self.ensure::<Service>(app, service).await {
            Err(RuntimeError::Rejected { message, .. }) if message.contains("clusterIP") => {
                self.delete::<Service>(app, &app.name).await?;
                self.ensure::<Service>(app, service).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    async fn remove_surplus(&self, wanted: &Deployment, surplus: &[Surplus]) -> Result<(), RuntimeError> {
        let app = &wanted.identity.app;
        for one in surplus {
            match one {
                Surplus::Deployment => self.delete::<apps::Deployment>(app, &app.name).await?,
                Surplus::Job(name) => self.delete::<Job>(app, name).await?,
            }
        }
        Ok(())
    }

    /// Deletes the Secrets of configurations to which no ReplicaSet of the history leads back.
    async fn prune(&self, wanted: &Deployment) -> Result<(), RuntimeError> {
        let app = &wanted.identity.app;
        let is_old = |hash: &str| !hash.is_empty() && hash != wanted.identity.hash;
        let mut secrets = self.list::<Secret>(app).await?;
        secrets.retain(|secret| is_old(label(&secret.metadata, names::CONFIG)));
        if secrets.is_empty() {
            return Ok(());
        }
        let sets = self.list::<apps::ReplicaSet>(app).await?;
        let kept: HashSet<&str> = sets
            .iter()
            .map(|set| label(&set.metadata, names::CONFIG))
            .collect();
        for secret in &secrets {
            if !kept.contains(label(&secret.metadata, names::CONFIG)) {
                self.delete::<Secret>(app, &secret.name_any()).await?;
            }
        }
        Ok(())
    }
}

/// What started containers before and is not wanted any more.
enum Surplus {
    Deployment,
    Job(String),
}

fn surplus(wanted: &Deployment, objects: &Objects, state: &State) -> Vec<Surplus> {
    let preserved = wanted.history.preserved.as_deref();
    let (own, is_job) = match &objects.workload {
        Workload::Deployment(_) => (None, false),
        Workload::Job(_) => (Some(names::job(&wanted.identity)), true),
    };
    let mut surplus = Vec::new();
    if is_job && state.workload.is_some() {
        surplus.push(Surplus::Deployment);
    }
    for job in &state.jobs {
        let is_preserved = Some(label(&job.metadata, names::CONFIG)) == preserved;
        if Some(job.name_any()) != own && !is_preserved {
            surplus.push(Surplus::Job(job.name_any()));
        }
    }
    surplus
}

/// The Release in the annotation of the Pods: the one that created them, because another one would replace them.
fn release(wanted: &Deployment, state: &State) -> String {
    let template = state
        .workload
        .as_ref()
        .filter(|found| label(&found.metadata, names::CONFIG) == wanted.identity.hash)
        .and_then(|found| found.spec.template.metadata.as_ref()?.annotations.as_ref());
    let kept = template.and_then(|annotations| annotations.get(names::RELEASE));
    match wanted.spec.restart {
        Restart::Always => kept.cloned().unwrap_or_else(|| wanted.identity.release.clone()),
        Restart::OnFailure(_) | Restart::Never => wanted.identity.release.clone(),
    }
}

/// Refuses another number of replicas for a Job that exists.
fn same_count(wanted: &Deployment, job: &Job) -> Result<(), RuntimeError> {
    let completions = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(1);
    if u32::try_from(completions) == Ok(wanted.policy.replicas) {
        return Ok(());
    }
    Err(RuntimeError::Rejected {
        message: format!("a Job has {completions} completions for good"),
        fields: Some("spec.replicas: create a Release with it"),
    })
}
