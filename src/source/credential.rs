//! Secrets as credentials: what lets Git in, out of the well-known Secret types and Flux's names. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;

use crate::api::Reason;
use crate::error::{Class, Explain};
use crate::model::GitCredential;
use crate::redact::{SafeUrl, Secret};

/// The data of a Secret, decoded.
pub type SecretData = BTreeMap<String, Secret>;

/// Why a Secret is of no use. The messages name the Secret and the key, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A key that is needed is not there.
    #[error("Secret {secret} has no key {key}")]
    Missing {
        /// The Secret's name.
        secret: String,
        /// The key, or the keys that would do.
        key: String,
    },
    /// A key does not hold what it should.
    #[error("key {key} of Secret {secret} is invalid: {why}")]
    Invalid {
        /// The Secret's name.
        secret: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
        /// The way out.
        hint: Option<&'static str>,
    },
}

impl SecretError {
    pub(super) fn missing(secret: &str, key: impl Into<String>) -> Self {
        Self::Missing {
            secret: secret.to_owned(),
            key: key.into(),
        }
    }

    pub(super) fn invalid(secret: &str, key: &str, why: impl Display) -> Self {
        Self::Invalid {
            secret: secret.to_owned(),
            key: key.to_owned(),
            why: why.to_string(),
            hint: None,
        }
    }
}

impl Explain for SecretError {
    fn class(&self) -> Class {
        Class::Terminal
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::SecretKeyMissing,
            Self::Invalid { .. } => Reason::SecretInvalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { key, .. } => Some(format!("add {key} to the Secret")),
            Self::Invalid { hint, .. } => hint.map(str::to_owned),
        }
    }
}

/// What a Secret says about a Git server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitAccess {
    /// The credential.
    pub credential: GitCredential,
    /// Certificates in PEM form to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
}

/// The keys that let Git in over http, as a message names them.
const HTTP_KEYS: &str = "username and password (or bearerToken)";

/// Reads what lets Git in at `url` out of the Secret `name`: `ssh-privatekey` or Flux's `identity`, with
/// `known_hosts`, for ssh; `bearerToken`, `username` with `password`, or `token` (a password whose user does not
/// matter) for https; `ca.crt` or Flux's `caFile` besides, or alone for a server that lets everybody in.
///
/// # Errors
/// The keys that the URL's scheme needs are not there, or do not hold what they should.
pub fn git_access(
    name: &str,
    data: &SecretData,
    url: &SafeUrl,
    ignore_host_key: bool,
) -> Result<GitAccess, SecretError> {
    let ca = first(data, &["ca.crt", "caFile"])
        .map(|(key, value)| certificates(name, key, value))
        .transpose()?;
    let credential = if url.expose().scheme() == "ssh" {
        ssh_credential(name, data, ignore_host_key)?
    } else if let Some((key, token)) = first(data, &["bearerToken"]) {
        GitCredential::Bearer(header_value(name, key, token)?)
    } else if data.contains_key("username") && data.contains_key("password") {
        basic(name, data)?
    } else if let Some((key, token)) = first(data, &["token"]) {
        let username = match first(data, &["username"]) {
            Some((key, user)) => user_name(name, key, user)?,
            None => "git".to_owned(),
        };
        GitCredential::Basic {
            username,
            password: header_value(name, key, token)?,
        }
    } else if data.contains_key("username") || data.contains_key("password") {
        basic(name, data)?
    } else if ca.is_some() {
        GitCredential::Anonymous
    } else {
        return Err(SecretError::missing(name, HTTP_KEYS));
    };
    Ok(GitAccess { credential, ca })
}

fn ssh_credential(
    name: &str,
    data: &SecretData,
    ignore_host_key: bool,
) -> Result<GitCredential, SecretError> {
    let (key_name, key) = first(data, &["ssh-privatekey", "identity"])
        .ok_or_else(|| SecretError::missing(name, "ssh-privatekey (or identity)"))?;
    let known_hosts = match first(data, &["known_hosts"]) {
        Some((key, lines)) => Some(text(name, key, lines)?.to_owned()),
        None => None,
    };
    Ok(GitCredential::Ssh {
        key: private_key(name, key_name, key)?,
        known_hosts: known_hosts.filter(|lines| !lines.trim().is_empty()),
        ignore_host_key,
    })
}

/// The private key with line feeds as OpenSSH wants them, after a look whether it can be one.
fn private_key(secret: &str, key: &str, value: &Secret) -> Result<Secret, SecretError> {
    let lines = text(secret, key, value)?.replace("\r\n", "\n");
    let lines = lines.trim();
    let invalid = |why: &str, hint| SecretError::Invalid {
        secret: secret.to_owned(),
        key: key.to_owned(),
        why: why.to_owned(),
        hint: Some(hint),
    };
    if !lines.starts_with("-----BEGIN ") || !lines.contains("PRIVATE KEY-----") {
        let public = lines.starts_with("ssh-") || lines.starts_with("ecdsa-");
        let why = if public {
            "it holds a public key"
        } else {
            "it holds no private key"
        };
        return Err(invalid(
            why,
            "put the whole private key file there, with its BEGIN and END lines",
        ));
    }
    if is_encrypted(lines) {
        return Err(invalid(
            "the private key wants a passphrase",
            "make a deploy key without one: ssh-keygen -t ed25519 -N ''",
        ));
    }
    Ok(Secret::from(format!("{lines}\n")))
}

/// Whether a key wants a passphrase: PEM says so in words, OpenSSH's format names the cipher after its magic.
fn is_encrypted(pem: &str) -> bool {
    if pem.contains("ENCRYPTED") {
        return true;
    }
    if !pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return false;
    }
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(body.trim()) else {
        return false;
    };
    bytes
        .strip_prefix(b"openssh-key-v1\0".as_slice())
        .is_some_and(|rest| !rest.starts_with(b"\0\0\0\x04none"))
}

fn basic(secret: &str, data: &SecretData) -> Result<GitCredential, SecretError> {
    let (username, password) = basic_auth(secret, data)?;
    Ok(GitCredential::Basic { username, password })
}

/// The `username` and `password` of a `kubernetes.io/basic-auth` Secret.
pub(super) fn basic_auth(secret: &str, data: &SecretData) -> Result<(String, Secret), SecretError> {
    let (key, user) = first(data, &["username"]).ok_or_else(|| SecretError::missing(secret, "username"))?;
    let username = user_name(secret, key, user)?;
    let (key, password) =
        first(data, &["password"]).ok_or_else(|| SecretError::missing(secret, "password"))?;
    Ok((username, header_value(secret, key, password)?))
}

/// A user name: what stands before the colon of a basic authentication.
fn user_name(secret: &str, key: &str, value: &Secret) -> Result<String, SecretError> {
    let value = header_value(secret, key, value)?;
    let user = text(secret, key, &value)?;
    if user.contains(':') {
        return Err(SecretError::invalid(secret, key, "it contains a colon"));
    }
    Ok(user.to_owned())
}

/// A value that goes into an HTTP header: without the line feed that files end in, and without any inside it.
fn header_value(secret: &str, key: &str, value: &Secret) -> Result<Secret, SecretError> {
    let value = value.trimmed();
    let line = text(secret, key, &value)?;
    if line.is_empty() {
        return Err(SecretError::invalid(secret, key, "it is empty"));
    }
    if line.chars().any(char::is_control) {
        return Err(SecretError::invalid(secret, key, "it is more than one line"));
    }
    Ok(value)
}

fn certificates(secret: &str, key: &str, value: &Secret) -> Result<Vec<u8>, SecretError> {
    let pem = text(secret, key, value)?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(SecretError::invalid(
            secret,
            key,
            "it holds no certificate in PEM form",
        ));
    }
    Ok(pem.as_bytes().to_vec())
}

fn text<'s>(secret: &str, key: &str, value: &'s Secret) -> Result<&'s str, SecretError> {
    value
        .expose_str()
        .ok_or_else(|| SecretError::invalid(secret, key, "it is not UTF-8"))
}

pub(super) fn first<'d>(data: &'d SecretData, keys: &[&'static str]) -> Option<(&'static str, &'d Secret)> {
    keys.iter()
        .find_map(|key| data.get(*key).map(|value| (*key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nYWJj\n-----END OPENSSH PRIVATE KEY-----";

    type Entries<'a> = &'a [(&'a str, &'a str)];

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::from(*value)))
            .collect()
    }

    fn git(entries: &[(&str, &str)], url: &str) -> Result<GitAccess, SecretError> {
        git_access("s", &data(entries), &SafeUrl::parse(url).unwrap(), false)
    }

    fn basic(username: &str, password: &str) -> GitCredential {
        GitCredential::Basic {
            username: username.to_owned(),
            password: Secret::from(password),
        }
    }

    fn ssh(known_hosts: Option<&str>) -> GitCredential {
        GitCredential::Ssh {
            key: Secret::from(format!("{KEY}\n")),
            known_hosts: known_hosts.map(str::to_owned),
            ignore_host_key: false,
        }
    }

    #[test]
    fn git_credentials_come_in_these_forms() {
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let crlf = KEY.replace('\n', "\r\n");
        let rows: &[(&str, Entries<'_>, GitCredential, bool)] = &[
            (
                "https://h/a",
                &[("username", "u"), ("password", "p\n")],
                basic("u", "p"),
                false,
            ),
            ("https://h/a", &[("token", "t\n")], basic("git", "t"), false),
            (
                "https://h/a",
                &[("username", "u"), ("token", "t")],
                basic("u", "t"),
                false,
            ),
            (
                "https://h/a",
                &[("bearerToken", "t"), ("ca.crt", pem)],
                GitCredential::Bearer(Secret::from("t")),
                true,
            ),
            ("https://h/a", &[("caFile", pem)], GitCredential::Anonymous, true),
            (
                "ssh://h/a",
                &[("ssh-privatekey", KEY), ("known_hosts", "h k")],
                ssh(Some("h k")),
                false,
            ),
            (
                "ssh://h/a",
                &[("identity", &crlf), ("known_hosts", " \n")],
                ssh(None),
                false,
            ),
            (
                "ssh://h/a",
                &[("identity", KEY), ("username", "u"), ("password", "p")],
                ssh(None),
                false,
            ),
            (
                "https://h/a",
                &[("identity", KEY), ("username", "u"), ("password", "p")],
                basic("u", "p"),
                false,
            ),
        ];
        for (url, entries, credential, ca) in rows {
            let access = git(entries, url).unwrap();
            assert_eq!(
                (&access.credential, access.ca.is_some()),
                (credential, *ca),
                "{url}"
            );
        }
    }

    #[test]
    fn what_a_git_secret_lacks_is_named() {
        let encrypted = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0\n-----END OPENSSH PRIVATE KEY-----";
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA PRIVATE KEY-----";
        let rows: &[(&str, Entries<'_>, Reason, &str)] = &[
            (
                "https://h/a",
                &[],
                Reason::SecretKeyMissing,
                "username and password (or bearerToken)",
            ),
            (
                "https://h/a",
                &[("username", "u")],
                Reason::SecretKeyMissing,
                "password",
            ),
            (
                "https://h/a",
                &[("password", "u")],
                Reason::SecretKeyMissing,
                "username",
            ),
            (
                "https://h/a",
                &[("identity", KEY)],
                Reason::SecretKeyMissing,
                "username and password",
            ),
            (
                "ssh://h/a",
                &[("username", "u"), ("password", "p")],
                Reason::SecretKeyMissing,
                "ssh-privatekey (or identity)",
            ),
            (
                "ssh://h/a",
                &[("identity", encrypted)],
                Reason::SecretInvalid,
                "passphrase",
            ),
            (
                "ssh://h/a",
                &[("identity", pem)],
                Reason::SecretInvalid,
                "passphrase",
            ),
            (
                "ssh://h/a",
                &[("ssh-privatekey", "ssh-ed25519 AAAA x")],
                Reason::SecretInvalid,
                "public key",
            ),
            (
                "ssh://h/a",
                &[("ssh-privatekey", "hunter2")],
                Reason::SecretInvalid,
                "no private key",
            ),
            (
                "https://h/a",
                &[("bearerToken", "hunter2\nx")],
                Reason::SecretInvalid,
                "more than one line",
            ),
            (
                "https://h/a",
                &[("bearerToken", "\n")],
                Reason::SecretInvalid,
                "empty",
            ),
            (
                "https://h/a",
                &[("username", "hun:ter2"), ("password", "p")],
                Reason::SecretInvalid,
                "colon",
            ),
            (
                "https://h/a",
                &[("ca.crt", "hunter2")],
                Reason::SecretInvalid,
                "certificate",
            ),
        ];
        for (url, entries, reason, part) in rows {
            let error = git(entries, url).unwrap_err();
            let problem = crate::error::Problem::of(&error);
            assert_eq!(problem.reason, *reason, "{problem:?}");
            assert!(problem.message.contains(part), "{problem:?}");
            assert!(problem.message.contains("Secret s"), "{problem:?}");
            assert!(!problem.message.contains("hunter2"), "{problem:?}");
        }
    }
}
