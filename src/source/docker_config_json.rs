//! Secrets as logins for image registries, in the forms that Docker and the kubelet read. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::Deserialize;

use super::credential::{SecretData, SecretError, basic_auth, first};
use crate::image::{RegistryLogins, login_place};
use crate::model::RegistryLogin;
use crate::redact::Secret;

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(rename = "registrytoken")]
    registry_token: Option<String>,
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
        let (username, password) = basic_auth(name, data)?;
        return Ok(RegistryLogins::everywhere(RegistryLogin::basic(
            username, password,
        )));
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
        by_place.insert(login_place(&place), login);
    }
    Ok(RegistryLogins::new(by_place))
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
    let given = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Secret::from);
    // As Docker: a token replaces the password, which is then left over from the login.
    if let Some(token) = given(&auth.identity_token) {
        return Ok(RegistryLogin::Identity(token));
    }
    if let Some(token) = given(&auth.registry_token) {
        return Ok(RegistryLogin::Bearer(token));
    }
    if let (Some(username), Some(password)) = (&auth.username, &auth.password)
        && !username.is_empty()
    {
        return Ok(RegistryLogin::basic(username, password.as_str()));
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
    Ok(RegistryLogin::basic(username, password.trim_end_matches('\0')))
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
                login,
                &RegistryLogin::basic(user, password),
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
        let tokens = config(
            r#"{"a.example": {"auth": "dTpw", "identitytoken": "i"}, "b.example": {"registrytoken": "r"}}"#,
        );
        let tokens = registry_logins("s", &tokens).unwrap();
        for (host, expected) in [
            ("a.example", RegistryLogin::Identity("i".into())),
            ("b.example", RegistryLogin::Bearer("r".into())),
        ] {
            assert_eq!(tokens.find(host, "x"), Some(&expected));
        }

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
