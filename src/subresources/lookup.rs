//! The object that a path names, or the refusal with the name that was probably meant.

use kube::runtime::reflector::{Lookup, Store};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::nearest::nearest;
use super::target::{Target, may_exist};
use crate::controller::problem::cluster_problem;

/// Reads the object. `cache` knows the names of others.
pub(super) async fn object<K>(api: &Api<K>, target: &Target, cache: &Store<K>) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + 'static,
{
    if let Some(found) = read(api, target).await? {
        return Ok(found);
    }
    let known = cache.state();
    let own = known
        .iter()
        .filter(|known| known.meta().namespace.as_deref() == Some(&target.namespace));
    let names: Vec<String> = own.map(|known| known.name_any()).collect();
    Err(not_found::<K>(target, &names))
}

/// Reads the object; `None` if it does not exist.
pub(super) async fn read<K>(api: &Api<K>, target: &Target) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    if !may_exist(&target.name) {
        return Ok(None);
    }
    let doing = format!("read the {}", K::kind(&()));
    let found = api.get_opt(&target.name).await;
    found.map_err(|error| Failure::from(cluster_problem(&doing, &error)))
}

/// The refusal for an object that does not exist.
pub(super) fn not_found<K: Resource<DynamicType = ()>>(target: &Target, names: &[String]) -> Failure {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = nearest(&target.name, &known);
    let near = near
        .map(|near| format!(": did you mean {near:?}?"))
        .unwrap_or_default();
    let message = format!(
        "{} {:?} not found in namespace {}{near}",
        K::kind(&()),
        target.name,
        target.namespace
    );
    Failure::not_found(&message, target)
}
