//! Finds objects by name; a name that does not exist leads to the closest one.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::connect::{Access, Cluster};
use crate::api::{Application, Release};
use crate::cli::failure::Failure;
use crate::subresources::nearest::advice;

impl Cluster {
    /// Returns an Application.
    ///
    /// # Errors
    /// It does not exist, or the API server does not answer or refuses.
    pub async fn application(&self, name: &str) -> Result<Application, Failure> {
        let found = self.applications().get_opt(name).await;
        match found.map_err(|error| self.refused(&error, Access::View))? {
            Some(application) => Ok(application),
            None => Err(self.no_application(name).await),
        }
    }

    /// Returns the Releases of an Application in order: by number, those without one at the end.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn releases_of(&self, application: &str) -> Result<Vec<Release>, Failure> {
        let params = ListParams::default().fields(&format!("spec.application={application}"));
        let list = self.releases().list(&params).await;
        let mut releases = list.map_err(|error| self.refused(&error, Access::View))?.items;
        releases.sort_by_key(|release| {
            let number = release.status.as_ref().and_then(|status| status.number);
            (number.unwrap_or(i64::MAX), release.creation_timestamp())
        });
        Ok(releases)
    }

    async fn no_application(&self, name: &str) -> Failure {
        let known = names(&self.applications()).await;
        let says = format!(
            "applications.davit.dev {name:?} not found in namespace {:?}",
            self.namespace
        );
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        if !known.is_empty() {
            return Failure::new(format!("{says}: {}", advice(name, &known, "choose one of")));
        }
        let everywhere: Api<Application> = Api::all(self.client.clone());
        let everywhere = everywhere.list_metadata(&ListParams::default()).await;
        let elsewhere = everywhere.into_iter().flat_map(|list| list.items);
        let place = elsewhere
            .filter(|object| object.name_any() == name)
            .find_map(|object| object.namespace());
        if let Some(place) = place {
            return Failure::new(format!("{says}: it is in namespace {place}: add -n {place}"));
        }
        let namespaces = names(&Api::<Namespace>::all(self.client.clone())).await;
        let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        if !namespaces.is_empty() && !namespaces.contains(&self.namespace.as_str()) {
            let advice = advice(&self.namespace, &namespaces, "set -n to one of");
            return Failure::new(format!("namespace {:?} not found: {advice}", self.namespace));
        }
        Failure::new(format!(
            "{says}, which has no Application: choose another one with -n, or apply it; davit init --name {name} writes it from a \
             directory"
        ))
    }
}

/// Returns the names of objects; empty if the user may not list them.
pub async fn names<K>(api: &Api<K>) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let list = api.list_metadata(&ListParams::default()).await;
    let items = list.into_iter().flat_map(|list| list.items);
    items.map(|object| object.name_any()).collect()
}
