//! Secrets as logins for image registries, in the forms that Docker and the kubelet read. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::Deserialize;

use super::credential::{SecretData, SecretError, basic_auth, first};
use crate::model::RegistryLogin;
use crate::redact::Secret;

/// Logins for registries, by host or by host and path, as a Secret gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryLogins {
    by_place: BTreeMap<String, RegistryLogin>,
    everywhere: Option<RegistryLogin>,
}

impl RegistryLogins {
    /// The login for a repository of a registry, such as `docker.io` and `library/nginx`: that with the longest path
    /// that fits, as the kubelet chooses.
    pub fn find(&self, registry: &str, repository: &str) -> Option<&RegistryLogin> {
        let place = format!("{}/{repository}", registry_name(registry));
        self.by_place
            .iter()
            .filter(|(key, _)| {
                place
                    .strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|(key, _)| key.len())
            .map(|(_, login)| login)
            .or(self.everywhere.as_ref())
    }

    /// The logins by registry host, for an engine that takes one for each.
    pub fn by_host(&self) -> BTreeMap<String, RegistryLogin> {
        let mut hosts = BTreeMap::new();
        for (place, login) in &self.by_place {
            let host = place.split('/').next().unwrap_or(place).to_owned();
            // A key that is only the host comes first in the order and stays.
            hosts.entry(host).or_insert_with(|| login.clone());
        }
        hosts
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

/// Reads logins out of the Secret `name`: `.dockerconfigjson`, the older `.dockercfg`, or `username` and `password`,
/// which then fit any registry.
///
/// # Errors
/// None of these keys is there, or it does not hold what it should.
pub fn registry_logins(name: &str, data: &SecretData) -> Result<RegistryLogins, SecretError> {
    let (key, auths) = if let Some((key, json)) = first(data, &[".dockerconfigjson"]) {
        (key, parse::<DockerConfig>(name, key, json)?.auths)
    } else if let Some((key, json)) = first(data, &[".dockercfg"]) {
        (key, parse(name, key, json)?)
    } else if data.contains_key("username") || data.contains_key("password") {
        return Ok(RegistryLogins {
            by_place: BTreeMap::new(),
            everywhere: Some(basic_auth(name, data)?),
        });
    } else {
        return Err(SecretError::missing(
            name,
            ".dockerconfigjson (or username and password)",
        ));
    };
    let mut by_place = BTreeMap::new();
    for (place, auth) in auths {
        let login = docker_login(&auth)
            .map_err(|why| SecretError::invalid(name, key, format_args!("the entry of {place} {why}")))?;
        by_place.insert(registry_place(&place), login);
    }
    Ok(RegistryLogins {
        by_place,
        everywhere: None,
    })
}

fn parse<T: for<'de> Deserialize<'de>>(secret: &str, key: &str, json: &Secret) -> Result<T, SecretError> {
    // serde_json's own message may repeat a value of the document.
    serde_json::from_slice(json.expose()).map_err(|error| {
        let why = if error.is_data() {
            "it does not have the shape of a Docker configuration".to_owned()
        } else {
            format!("it is not JSON at line {}", error.line())
        };
        SecretError::invalid(secret, key, why)
    })
}

fn docker_login(auth: &DockerAuth) -> Result<RegistryLogin, &'static str> {
    if let (Some(username), Some(password)) = (&auth.username, &auth.password)
        && !username.is_empty()
    {
        return Ok(RegistryLogin {
            username: username.clone(),
            password: Secret::from(password.as_str()),
        });
    }
    let encoded = auth
        .auth
        .as_deref()
        .ok_or("has neither username and password nor auth")?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .map(Secret::new)
        .map_err(|_| "has an auth that is not base64")?;
    let pair = decoded.expose_str().ok_or("has an auth that is not UTF-8")?;
    // Docker pads the pair with zero bytes in files that old versions wrote.
    let (username, password) = pair
        .split_once(':')
        .ok_or("has an auth that is not user:password")?;
    Ok(RegistryLogin {
        username: username.to_owned(),
        password: Secret::from(password.trim_end_matches('\0')),
    })
}

/// `https://index.docker.io/v1/` and the like as the host, or host and path, that images are named by.
fn registry_place(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_matches('/');
    // `/v1/` and `/v2/` are the API's, not part of an image's name.
    let path = path
        .strip_prefix("v1/")
        .or_else(|| path.strip_prefix("v2/"))
        .unwrap_or(path);
    let host = registry_name(host);
    if matches!(path, "" | "v1" | "v2") {
        host
    } else {
        format!("{host}/{path}")
    }
}

/// The name by which images of a registry are known: Docker Hub has several.
pub fn registry_name(host: &str) -> String {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        _ => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::from(*value)))
            .collect()
    }

    fn config(auths: &str) -> SecretData {
        data(&[(".dockerconfigjson", &format!(r#"{{"auths": {auths}}}"#))])
    }

    #[test]
    fn a_registry_login_is_found_by_the_longest_place() {
        // dTpw is u:p
        let secret = config(
            r#"{"https://index.docker.io/v1/": {"auth": "dTpw"}, "r.example:5000": {"username": "u1", "password": "p1"},
                "r.example:5000/team": {"username": "u2", "password": "p2"}, "https://gcr.io/v2/": {"auth": "X2pzb25fa2V5OmE6Yg=="}}"#,
        );
        let logins = registry_logins("s", &secret).unwrap();
        for (registry, repository, user, password) in [
            ("docker.io", "library/nginx", "u", "p"),
            ("index.docker.io", "acme/shop", "u", "p"),
            ("r.example:5000", "other/shop", "u1", "p1"),
            ("r.example:5000", "team/shop", "u2", "p2"),
            ("r.example:5000", "teams/shop", "u1", "p1"),
            ("gcr.io", "a/b", "_json_key", "a:b"),
        ] {
            let login = logins.find(registry, repository).unwrap();
            assert_eq!(
                (login.username.as_str(), login.password.expose_str()),
                (user, Some(password)),
                "{registry}/{repository}"
            );
        }
        let exact = config(r#"{"r.example/team/shop": {"auth": "dTpw"}}"#);
        assert!(
            registry_logins("s", &exact)
                .unwrap()
                .find("r.example", "team/shop")
                .is_some()
        );
        assert_eq!(logins.find("r.example", "team/shop"), None);
        assert_eq!(logins.find("evil-docker.io", "library/nginx"), None);
        let hosts = logins.by_host();
        assert_eq!(
            hosts.keys().collect::<Vec<_>>(),
            ["docker.io", "gcr.io", "r.example:5000"]
        );
        assert_eq!(hosts.get("r.example:5000").unwrap().username, "u1");

        let old = data(&[(".dockercfg", r#"{"r.example": {"auth": "dTpw"}}"#)]);
        assert!(
            registry_logins("s", &old)
                .unwrap()
                .find("r.example", "a")
                .is_some()
        );
        let plain = data(&[("username", "u"), ("password", "p")]);
        assert!(
            registry_logins("s", &plain)
                .unwrap()
                .find("any.example", "a")
                .is_some()
        );
    }

    #[test]
    fn what_a_registry_secret_lacks_is_named() {
        for (secret, reason, part) in [
            (
                data(&[]),
                Reason::SecretKeyMissing,
                ".dockerconfigjson (or username and password)",
            ),
            (data(&[("username", "u")]), Reason::SecretKeyMissing, "password"),
            (
                data(&[(".dockerconfigjson", "{hunter2")]),
                Reason::SecretInvalid,
                "not JSON",
            ),
            (config("\"hunter2\""), Reason::SecretInvalid, "shape"),
            (
                config(r#"{"r.example": {}}"#),
                Reason::SecretInvalid,
                "r.example has neither",
            ),
            (
                config(r#"{"r.example": {"auth": "hunter2!"}}"#),
                Reason::SecretInvalid,
                "not base64",
            ),
            (
                config(r#"{"r.example": {"auth": "dXA="}}"#),
                Reason::SecretInvalid,
                "user:password",
            ),
        ] {
            let problem = crate::error::Problem::of(&registry_logins("s", &secret).unwrap_err());
            assert_eq!(problem.reason, reason, "{problem:?}");
            assert!(problem.message.contains(part), "{problem:?}");
            assert!(!problem.message.contains("hunter2"), "{problem:?}");
        }
    }
}
