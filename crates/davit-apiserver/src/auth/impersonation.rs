//! Impersonation: a user with the permission acts as another user (`kubectl --as`).

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{
    identity::{Identity, account_groups},
    rbac::{self, Attributes},
};
use crate::{
    field::quote,
    percent,
    state::Server,
    status::{ApiError, ApiResult},
    store::GroupResource,
};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whether a request names another user than its caller.
pub fn asks_to_impersonate(headers: &HeaderMap) -> bool {
    headers.contains_key(USER)
}

/// The effective user of a request: `caller`, or the user that its headers name if `caller` may impersonate it.
pub fn impersonated(server: &Server, caller: Identity, headers: &HeaderMap) -> ApiResult<Identity> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
            .collect()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let mut wanted = Identity {
        user: one(USER),
        uid: one(UID),
        groups: all(GROUP),
        extra: BTreeMap::new(),
    };
    for name in headers.keys().map(http::HeaderName::as_str) {
        if let Some(key) = name.strip_prefix(EXTRA) {
            // A key has characters that a header cannot have.
            let key = percent::decode(key).unwrap_or_else(|| key.to_owned());
            wanted.extra.insert(key, all(name));
        }
    }
    if wanted.user.is_empty() {
        if wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty() {
            return Ok(caller);
        }
        let extra: Vec<String> = wanted
            .extra
            .iter()
            .map(|(key, values)| format!("{}:{}", quote(key), go_strings(values)))
            .collect();
        let extra = match extra.as_slice() {
            [] => "(nil)".to_owned(),
            some => format!("{{{}}}", some.join(", ")),
        };
        return Err(ApiError::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:map[string][]string{extra}}} without \
             impersonating a user name",
            quote(&wanted.uid),
            go_strings(&wanted.groups)
        )));
    }
    permitted(server, &caller, &wanted)?;
    complete(&mut wanted);
    Ok(wanted)
}

/// As Go prints a list of texts.
fn go_strings(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| quote(text)).collect();
    match quoted.as_slice() {
        [] => "[]string(nil)".into(),
        some => format!("[]string{{{}}}", some.join(", ")),
    }
}

/// Each thing that is taken on must be allowed for itself.
fn permitted(server: &Server, caller: &Identity, wanted: &Identity) -> ApiResult<()> {
    let account = wanted
        .user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let mut asked: Vec<(&str, &str, String, &str, &str)> = vec![match account {
        Some((namespace, name)) => ("", "serviceaccounts", String::new(), namespace, name),
        None => ("", "users", String::new(), "", &wanted.user),
    }];
    asked.extend(
        wanted
            .groups
            .iter()
            .map(|group| ("", "groups", String::new(), "", group.as_str())),
    );
    if !wanted.uid.is_empty() {
        asked.push((AUTHENTICATION, "uids", String::new(), "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        asked.extend(
            values
                .iter()
                .map(|value| (AUTHENTICATION, "userextras", key.clone(), "", value.as_str())),
        );
    }
    for (group, resource, subresource, namespace, name) in asked {
        let attributes = Attributes::Resource {
            verb: "impersonate".into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.clone(),
            namespace: namespace.into(),
            name: name.into(),
        };
        if rbac::decide(server, caller, &attributes).allowed {
            continue;
        }
        let full = if subresource.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}/{subresource}")
        };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let why = format!(
            "User \"{}\" cannot impersonate resource \"{full}\" in API group \"{group}\" {place}",
            caller.user
        );
        return Err(ApiError::forbidden(
            &GroupResource::new(group, resource),
            name,
            &why,
        ));
    }
    Ok(())
}

/// Adds the groups that an authenticator would have added.
fn complete(wanted: &mut Identity) {
    if let Some((namespace, _)) = wanted
        .user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        && wanted.groups.is_empty()
    {
        wanted.groups = account_groups(namespace).into();
    }
    let known = if wanted.user == "system:anonymous" {
        "system:unauthenticated"
    } else {
        "system:authenticated"
    };
    if !wanted.groups.iter().any(|group| group == known) {
        wanted.groups.push(known.into());
    }
}
