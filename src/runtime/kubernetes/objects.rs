//! Reads, applies and deletes the objects of an Application.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::observe::{self, CheckFailures};
use super::render::Claim;
use super::{Inner, errors, names, quantity};
use crate::model::AppId;
use crate::runtime::{Progress, RuntimeError, subset};

/// How many Pods are asked for the answers of their health checks at once: the first explains the others.
const ASKED: usize = 3;

/// What runs of an Application.
#[derive(Debug, Default)]
pub struct State {
    /// Its Deployment.
    pub workload: Option<apps::Deployment>,
    /// Its Jobs.
    pub jobs: Vec<Job>,
    /// Its Pods.
    pub pods: Vec<Pod>,
    /// Failures of health checks, by the name of the Pod.
    pub failures: BTreeMap<String, CheckFailures>,
}

/// A kind with namespaces.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

impl Inner {
    pub(super) fn api<K: Kind>(&self, app: &AppId) -> Api<K> {
        Api::namespaced(self.client.clone(), &app.namespace)
    }

    /// What runs of an Application.
    pub(super) async fn state(&self, app: &AppId) -> Result<State, RuntimeError> {
        let params = ListParams::default().labels(&names::of_app(app));
        let (deployments, jobs, pods) = (self.api::<apps::Deployment>(app), self.api(app), self.api(app));
        let (deployments, jobs, pods) =
            futures::join!(deployments.list(&params), jobs.list(&params), pods.list(&params));
        let deployments = deployments.map_err(|error| errors::error("list Deployments", &error))?;
        let mut state = State {
            workload: deployments
                .items
                .into_iter()
                .find(|one| one.metadata.name.as_ref() == Some(&app.name)),
            jobs: jobs.map_err(|error| errors::error("list Jobs", &error))?.items,
            pods: pods.map_err(|error| errors::error("list Pods", &error))?.items,
            failures: BTreeMap::new(),
        };
        let unready: Vec<String> = state
            .pods
            .iter()
            .filter(|pod| observe::is_not_ready(pod))
            .map(|pod| observe::name(pod).to_owned())
            .take(ASKED)
            .collect();
        for pod in unready {
            let failures = self.check_failures(app, &pod).await?;
            state.failures.extend(failures.map(|failures| (pod, failures)));
        }
        Ok(state)
    }

    /// What the health check of a Pod said; only the kubelet's events have it.
    async fn check_failures(&self, app: &AppId, pod: &str) -> Result<Option<CheckFailures>, RuntimeError> {
        let events = self
            .events(app, &format!("involvedObject.name={pod},reason=Unhealthy"))
            .await?;
        let count = events
            .iter()
            .map(|event| i64::from(event.count.unwrap_or(1)))
            .sum();
        Ok(newest_message(events).map(|message| {
            let message = message
                .strip_prefix("Readiness probe failed: ")
                .or_else(|| message.strip_prefix("Startup probe failed: "))
                .unwrap_or(&message);
            CheckFailures {
                count,
                message: message.trim().to_owned(),
            }
        }))
    }

    /// The answer of the API server to the creation of a Job's Pods, if it refuses them.
    pub(super) async fn refused_pods(&self, app: &AppId, job: &str) -> Result<Option<String>, RuntimeError> {
        let selector = format!("involvedObject.name={job},involvedObject.kind=Job,reason=FailedCreate");
        Ok(newest_message(self.events(app, &selector).await?))
    }

    /// The Events with these fields.
    async fn events(&self, app: &AppId, fields: &str) -> Result<Vec<Event>, RuntimeError> {
        let events = self
            .api::<Event>(app)
            .list(&ListParams::default().fields(fields))
            .await;
        Ok(events
            .map_err(|error| errors::error("list events", &error))?
            .items)
    }

    /// Applies an object unless it is as wanted. Returns whether that changed it: what other field managers added stays.
    pub(super) async fn ensure<K: Kind>(&self, app: &AppId, wanted: &Value) -> Result<bool, RuntimeError> {
        let name = wanted
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let api = self.api::<K>(app);
        let found = api.get_opt(name).await;
        let Some(found) = found.map_err(|error| errors::error("get an object", &error))? else {
            self.apply(&api, name, wanted).await?;
            return Ok(true);
        };
        own::<K>(&found, app, name)?;
        let before = found.meta().resource_version.clone();
        let found = serde_json::to_value(&found).map_err(|error| RuntimeError::Engine {
            doing: "compare an object",
            message: error.to_string(),
        })?;
        let same = ["metadata", "spec", "data", "type"].iter().all(|part| {
            let (found, wanted) = (found.get(part), wanted.get(part));
            wanted.is_none_or(|wanted| subset::contains(found.unwrap_or(&Value::Null), wanted))
        });
        Ok(!same && self.apply(&api, name, wanted).await? != before)
    }

    /// Applies an object that never changes, unless it exists. Returns whether it was written.
    pub(super) async fn ensure_exists<K: Kind>(
        &self,
        app: &AppId,
        wanted: &Value,
    ) -> Result<bool, RuntimeError> {
        let name = wanted
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let api = self.api::<K>(app);
        let found = api.get_metadata_opt(name).await;
        match found.map_err(|error| errors::error("get an object", &error))? {
            Some(found) => own::<K>(&found, app, name).map(|()| false),
            None => self.apply(&api, name, wanted).await.map(|_| true),
        }
    }

    /// Creates a claim, or lets it grow. It cannot shrink, and its other fields are for good.
    pub(super) async fn ensure_claim(&self, app: &AppId, wanted: &Claim) -> Result<(), RuntimeError> {
        let api = self.api::<PersistentVolumeClaim>(app);
        let found = api.get_opt(&wanted.name).await;
        let Some(found) = found.map_err(|error| errors::error("get a PersistentVolumeClaim", &error))? else {
            return self.apply(&api, &wanted.name, &wanted.object).await.map(|_| ());
        };
        own::<PersistentVolumeClaim>(&found, app, &wanted.name)?;
        let requests = found.spec.and_then(|spec| spec.resources?.requests);
        let size = requests.and_then(|requests| quantity::bytes(&requests.get("storage")?.0));
        if size.is_none_or(|size| size >= wanted.size) {
            return Ok(());
        }
        let larger = json!({"spec": {"resources": {"requests": {"storage": wanted.size.to_string()}}}});
        let params = PatchParams {
            field_manager: Some(names::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match api
            .patch_metadata(&wanted.name, &params, &Patch::Merge(&larger))
            .await
        {
            // The API server does not name the field.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                Err(RuntimeError::Rejected {
                    message: format!("the volume cannot grow: {}", status.message),
                    fields: Some("spec.volumes.volume.size, and allowVolumeExpansion of the StorageClass"),
                })
            }
            Err(error) => Err(errors::error("let a PersistentVolumeClaim grow", &error)),
            Ok(_) => Ok(()),
        }
    }

    /// Applies an object, and returns its version then.
    async fn apply<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        wanted: &Value,
    ) -> Result<Option<String>, RuntimeError> {
        let params = PatchParams::apply(names::MANAGER).force();
        let applied = api.patch_metadata(name, &params, &Patch::Apply(wanted)).await;
        applied
            .map(|applied| applied.metadata.resource_version)
            .map_err(|error| errors::error("apply an object", &error))
    }

    /// Deletes an object and what it owns, unless it is gone.
    pub(super) async fn delete<K: Kind>(&self, app: &AppId, name: &str) -> Result<(), RuntimeError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let deleted = self.api::<K>(app).delete(name, &params).await;
        errors::unless_gone("delete an object", deleted).map(|_| ())
    }

    /// The objects of a kind, by their metadata.
    pub(super) async fn list<K: Kind>(&self, app: &AppId) -> Result<Vec<PartialObjectMeta<K>>, RuntimeError> {
        let params = ListParams::default().labels(&names::of_app(app));
        let listed = self.api::<K>(app).list_metadata(&params).await;
        listed
            .map(|list| list.items)
            .map_err(|error| errors::error("list objects", &error))
    }

    /// Deletes what starts Pods, and the Service. Not complete while Pods exist.
    pub(super) async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        for workload in self.list::<apps::Deployment>(app).await? {
            self.delete::<apps::Deployment>(app, &workload.name_any()).await?;
        }
        for job in self.list::<Job>(app).await? {
            self.delete::<Job>(app, &job.name_any()).await?;
        }
        for service in self.list::<Service>(app).await? {
            self.delete::<Service>(app, &service.name_any()).await?;
        }
        let pods = self.list::<Pod>(app).await?.len();
        Ok(if pods == 0 {
            Progress::Complete
        } else {
            Progress::stopping(pods)
        })
    }

    /// Deletes everything but the volumes, and these too if `volumes` is set. True if nothing is left.
    pub(super) async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        let mut gone = self.stop(app).await? == Progress::Complete;
        for secret in self.list::<Secret>(app).await? {
            self.delete::<Secret>(app, &secret.name_any()).await?;
        }
        if volumes {
            for claim in self.list::<PersistentVolumeClaim>(app).await? {
                gone = false;
                self.delete::<PersistentVolumeClaim>(app, &claim.name_any())
                    .await?;
            }
        }
        Ok(gone)
    }

    /// Takes the Application from its objects: the garbage collector would remove them, and Davit what has no Application.
    pub(super) async fn orphan(&self, app: &AppId) -> Result<(), RuntimeError> {
        self.release_all::<Service>(app).await?;
        self.release_all::<Secret>(app).await?;
        self.release_all::<Job>(app).await?;
        self.release_all::<apps::Deployment>(app).await?;
        Ok(())
    }

    async fn release_all<K: Kind>(&self, app: &AppId) -> Result<(), RuntimeError> {
        let free = json!({"metadata": {"ownerReferences": null, "labels": {names::MANAGED_BY: null}}});
        for object in self.list::<K>(app).await? {
            let params = PatchParams {
                field_manager: Some(names::MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let name = object.name_any();
            let patched = self
                .api::<K>(app)
                .patch_metadata(&name, &params, &Patch::Merge(&free))
                .await;
            errors::unless_gone("release an object", patched)?;
        }
        Ok(())
    }
}

/// What the newest of these Events says.
fn newest_message(events: Vec<Event>) -> Option<String> {
    let at = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
    events.into_iter().max_by_key(at)?.message
}

/// Refuses an object of the same name that another program made.
fn own<K: Kind>(found: &impl Resource, app: &AppId, name: &str) -> Result<(), RuntimeError> {
    if names::is_ours(found.meta(), app) {
        return Ok(());
    }
    let kind = match K::kind(&()).as_ref() {
        "Deployment" => "Deployment",
        "Job" => "Job",
        "Service" => "Service",
        "Secret" => "Secret",
        "PersistentVolumeClaim" => "PersistentVolumeClaim",
        _ => "object",
    };
    Err(RuntimeError::NameTaken {
        kind,
        name: format!("{}/{name}", app.namespace),
    })
}
