//! Whether a caller may do what its request asks for, and the refusal otherwise.

use super::{
    request::{Query, Target},
    selector,
};
use crate::{
    auth::{
        identity::Identity,
        rbac::{self, Attributes},
    },
    handlers::Verb,
    state::Server,
    status::{ApiError, ApiResult},
    store::GroupResource,
};

/// Checks a request for a resource that this server stores.
pub fn authorize(
    server: &Server,
    identity: &Identity,
    target: &Target,
    query: &Query,
    verb: Option<Verb>,
) -> ApiResult<()> {
    // A list that can only be of one object is a matter of that object.
    let name = match (&target.name, verb) {
        (Some(name), _) => name.as_str(),
        (None, Some(Verb::List | Verb::Watch)) => {
            selector::exact_name(&query.field_selector).unwrap_or_default()
        }
        (None, _) => "",
    };
    let verb = verb.map_or("", Verb::as_str);
    let attributes = attributes(target, verb, name);
    if rbac::decide(server, identity, &attributes).allowed {
        return Ok(());
    }
    Err(refusal(identity, target, verb, name, ""))
}

/// Checks a request for a resource of a mounted group. The refusal names a ClusterRole that would permit it.
pub fn authorize_mounted(server: &Server, identity: &Identity, target: &Target, verb: &str) -> ApiResult<()> {
    let name = target.name.as_deref().unwrap_or_default();
    let attributes = attributes(target, verb, name);
    if rbac::decide(server, identity, &attributes).allowed {
        return Ok(());
    }
    let hint = rbac::granting_role(server, &attributes)
        .map(|role| format!(": a RoleBinding to the ClusterRole \"{role}\" in this namespace permits it"));
    Err(refusal(identity, target, verb, name, &hint.unwrap_or_default()))
}

fn attributes(target: &Target, verb: &str, name: &str) -> Attributes {
    // A namespace itself is looked at from within: a role there may allow to read it.
    let namespace = match (&target.namespace, target.resource.as_str(), &target.name) {
        (None, "namespaces", Some(name)) if target.group.is_empty() => name.clone(),
        (namespace, _, _) => namespace.clone().unwrap_or_default(),
    };
    Attributes::Resource {
        verb: verb.to_owned(),
        group: target.group.clone(),
        resource: target.resource.clone(),
        subresource: target.subresource.clone().unwrap_or_default(),
        namespace,
        name: name.to_owned(),
    }
}

fn refusal(identity: &Identity, target: &Target, verb: &str, name: &str, hint: &str) -> ApiError {
    let full = match &target.subresource {
        Some(sub) => format!("{}/{sub}", target.resource),
        None => target.resource.clone(),
    };
    let within = (target.resource == "namespaces")
        .then_some(target.name.as_ref())
        .flatten();
    let place = match target.namespace.as_ref().or(within) {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User \"{}\" cannot {verb} resource \"{full}\" in API group \"{}\" {place}{hint}",
        identity.user, target.group
    );
    let gr = GroupResource::new(&target.group, &target.resource);
    ApiError::forbidden(&gr, name, &why)
}
