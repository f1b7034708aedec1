//! The APIService, by which the API server forwards the group to the controller's Service.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::ByteString;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Client};

use crate::subresources::group::{GROUP, VERSION};

const MANAGER: &str = "davit";
/// Above the groups of CustomResourceDefinitions; only decides between equal names, and there are none.
const GROUP_PRIORITY: i32 = 1000;
const VERSION_PRIORITY: i32 = 15;
const HTTPS: i32 = 443;
/// The CustomResourceDefinition that owns the APIService.
const OWNER: &str = "applications.davit.dev";

/// The Service in front of the listener: `NAMESPACE/NAME`, with `:PORT` unless that is 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    namespace: String,
    name: String,
    port: i32,
}

impl ServiceName {
    /// The name for which the API server expects a certificate.
    pub fn dns_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = || format!("{text:?} is not a Service: write NAMESPACE/NAME or NAMESPACE/NAME:PORT");
        let (namespace, rest) = text.split_once('/').ok_or_else(advice)?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().map_err(|_| advice())?.into()),
            None => (rest, HTTPS),
        };
        let is_label = |text: &str| {
            !text.is_empty()
                && text.len() <= 63
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_label(namespace) || !is_label(name) || port == 0 {
            return Err(advice());
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
        })
    }
}

/// The APIService of this process.
pub struct Registration {
    api: Api<APIService>,
    definitions: Api<CustomResourceDefinition>,
    wanted: APIService,
}

impl Registration {
    /// A registration with this Service and this authority, in PEM form.
    pub fn new(client: Client, service: ServiceName, authority: String) -> Self {
        let wanted = APIService {
            metadata: ObjectMeta {
                name: Some(format!("{VERSION}.{GROUP}")),
                labels: Some([("app.kubernetes.io/name".to_owned(), "davit".to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(APIServiceSpec {
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                group_priority_minimum: GROUP_PRIORITY,
                version_priority: VERSION_PRIORITY,
                ca_bundle: Some(ByteString(authority.into_bytes())),
                insecure_skip_tls_verify: None,
                service: Some(ServiceReference {
                    namespace: Some(service.namespace),
                    name: Some(service.name),
                    port: Some(service.port),
                }),
            }),
            status: None,
        };
        Self {
            api: Api::all(client.clone()),
            definitions: Api::all(client),
            wanted,
        }
    }

    fn name(&self) -> &str {
        self.wanted.metadata.name.as_deref().unwrap_or_default()
    }

    fn is_own(&self, found: &APIService) -> bool {
        let bundle = |service: &APIService| service.spec.as_ref().and_then(|spec| spec.ca_bundle.clone());
        bundle(found) == bundle(&self.wanted)
    }

    /// Creates the APIService, or corrects it.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn ensure(&self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(self.name()).await?;
        let same = |found: &APIService| {
            let services =
                [found, &self.wanted].map(|one| one.spec.as_ref().and_then(|spec| spec.service.clone()));
            let has_owner = found.metadata.owner_references.iter().flatten().next().is_some();
            self.is_own(found) && services[0] == services[1] && has_owner
        };
        if found.as_ref().is_some_and(same) {
            return Ok(());
        }
        let params = PatchParams::apply(MANAGER).force();
        let mut wanted = self.wanted.clone();
        wanted.metadata.owner_references = self.owner().await?.map(|owner| vec![owner]);
        self.api
            .patch(self.name(), &params, &Patch::Apply(&wanted))
            .await?;
        Ok(())
    }

    /// The owner of the APIService: if Davit is uninstalled while no controller runs, the garbage collector removes it.
    async fn owner(&self) -> Result<Option<OwnerReference>, kube::Error> {
        let found = self.definitions.get_metadata_opt(OWNER).await?;
        Ok(found.and_then(|found| {
            Some(OwnerReference {
                api_version: "apiextensions.k8s.io/v1".to_owned(),
                kind: "CustomResourceDefinition".to_owned(),
                name: OWNER.to_owned(),
                uid: found.metadata.uid?,
                ..OwnerReference::default()
            })
        }))
    }

    /// Removes the APIService unless another process has registered since.
    pub async fn remove(&self) {
        let removed = async {
            let Some(found) = self
                .api
                .get_opt(self.name())
                .await?
                .filter(|found| self.is_own(found))
            else {
                return Ok(());
            };
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    resource_version: found.metadata.resource_version.clone(),
                    uid: found.metadata.uid.clone(),
                }),
                ..DeleteParams::default()
            };
            self.api.delete(self.name(), &params).await.map(|_| ())
        };
        if let Err(error) = removed.await {
            tracing::warn!(
                error = %crate::error::chain(&error),
                "could not remove the APIService {0}, and until it has a server again no namespace can be deleted: kubectl delete \
                 apiservice {0}",
                self.name()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_is_a_namespace_a_name_and_a_port() {
        let service: ServiceName = "davit-system/davit".parse().unwrap();
        assert_eq!(service.to_string(), "davit-system/davit:443");
        assert_eq!(service.dns_name(), "davit.davit-system.svc");
        let service: ServiceName = "a/b:8443".parse().unwrap();
        assert_eq!(service.to_string(), "a/b:8443");
        for wrong in ["davit", "a/b/c", "a/b:0", "a/b:x", "A/b", "/b", "a/", "a.b/c"] {
            assert!(
                wrong
                    .parse::<ServiceName>()
                    .unwrap_err()
                    .contains("NAMESPACE/NAME"),
                "{wrong}"
            );
        }
    }
}
