//! Creates, adopts and deletes Releases.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _};
use serde_json::json;

use crate::api::{LABEL_APPLICATION, LABEL_MANAGED_BY, MANAGER, Reason, Release, ReleaseSpec};
use crate::controller::problem::cluster_problem;
use crate::controller::{kept_output, uploads};
use crate::error::{Class, Problem};
use crate::plan::desired::Desired;
use crate::plan::{ActionResult, CreateReason, created, release_name};

use super::Executor;

/// How many taken names in a row are skipped before the user has to act.
const NAMES: i64 = 20;

impl Executor<'_> {
    fn releases_api(&self) -> Api<Release> {
        Api::namespaced(self.ctx.client.clone(), &self.id.namespace)
    }

    /// Makes the Application the owner of a Release.
    pub(super) async fn adopt(&self, release: &str) -> Result<(), Problem> {
        let patch = json!({"metadata": {
            "labels": {LABEL_APPLICATION: self.id.name},
            "ownerReferences": [self.owner()?],
        }});
        let patched = self
            .releases_api()
            .patch(release, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched
            .map(drop)
            .map_err(|error| cluster_problem("set the owner of the Release", &error))
    }

    fn owner(&self) -> Result<OwnerReference, Problem> {
        self.input.app.controller_owner_ref(&()).ok_or_else(|| {
            let message = "the Application has no UID, so it cannot own a Release";
            Problem::new(Class::Transient, Reason::Internal, message)
        })
    }

    /// Creates a Release of this number, or of the next one whose name is free: a Release of that name may belong to a user
    /// or to another Application.
    pub(super) async fn create(
        &self,
        number: i64,
        desired: &Desired,
        revision: Option<&str>,
        reason: CreateReason,
    ) -> Result<ActionResult, Problem> {
        for number in number..number.saturating_add(NAMES) {
            if let Some(result) = self.create_numbered(number, desired, revision, reason).await? {
                return Ok(result);
            }
        }
        Err(Problem::new(
            Class::Waiting,
            Reason::InvalidSpec,
            format!(
                "the names of the next {NAMES} Releases, from {} on, are taken: remove them, or those of them that are not \
                 of this Application",
                release_name(self.input.app, number)
            ),
        ))
    }

    /// Returns `None` if another Release has the name.
    async fn create_numbered(
        &self,
        number: i64,
        desired: &Desired,
        revision: Option<&str>,
        reason: CreateReason,
    ) -> Result<Option<ActionResult>, Problem> {
        let name = release_name(self.input.app, number);
        let mut spec = ReleaseSpec::deploy(&self.id.name);
        // The revision of an image is its digest.
        spec.revision = revision.map(|revision| {
            let digest = revision.split_once('@').map_or(revision, |(_, digest)| digest);
            digest.to_owned()
        });
        let mut release = Release::new(&name, spec);
        release.metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(self.id.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL_APPLICATION.to_owned(), self.id.name.clone()),
                (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
            ])),
            owner_references: Some(vec![self.owner()?]),
            ..ObjectMeta::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.releases_api().create(&params, &release).await {
            Ok(made) => {
                let status = created(self.input, &name, number, desired, revision, reason, self.now);
                let write = self.ctx.report.status(&made, made.status.as_ref(), &status).await;
                write.map_err(|error| cluster_problem("write the status of a new Release", &error))?;
                let status = Box::new(status);
                Ok(Some(ActionResult::Created { name, status }))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = self.releases_api().get_opt(&name).await;
                let found = found.map_err(|error| cluster_problem("read a Release", &error))?;
                // A Release whose creation was not answered has this number, or none yet. The next reconcile observes it.
                let is_own = found.is_none_or(|found| {
                    let given = found.status.as_ref().and_then(|status| status.number);
                    let labels = found.metadata.labels.as_ref();
                    labels
                        .and_then(|labels| labels.get(LABEL_MANAGED_BY))
                        .is_some_and(|manager| manager == MANAGER)
                        && found.spec.application == self.id.name
                        && given.is_none_or(|given| given == number)
                });
                Ok(is_own.then_some(ActionResult::Exists))
            }
            Err(error) => Err(cluster_problem("create a Release", &error)),
        }
    }

    /// Deletes a Release with its image and log.
    pub(super) async fn prune(&self, release: &str, image_tag: Option<&str>) -> Result<(), Problem> {
        if let Some(tag) = image_tag {
            self.delete_pushed(release, tag).await?;
            let removed = self.ctx.tools.builder.remove(tag).await;
            removed.map_err(|error| Problem::of(&error))?;
        }
        // The log may be deleted already.
        let _ = tokio::fs::remove_file(&self.log_path(release)).await;
        let _ = tokio::fs::remove_file(&self.hook_log_path(release)).await;
        kept_output::remove(&self.log_dir(), release).await;
        match self
            .releases_api()
            .delete(release, &DeleteParams::default())
            .await
        {
            Ok(_) => {
                uploads::collect(self.ctx, &self.id.namespace).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(cluster_problem("delete an old Release", &error)),
        }
    }
}
