//! The Secrets that routes refer to.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::api::{ALLOWED_HOSTS, Route};
use crate::controller::dereference::Reader;
use crate::controller::problem::cluster_problem;
use crate::error::{Class, Problem};
use crate::plan::routes::RouteValues;
use crate::proxy::Certificate;
use crate::redact::Secret;

/// The cost of a hash: the proxy checks a password at each request.
const COST: u32 = 6;
/// How many hashes are kept.
const MOST: usize = 1024;

/// Hashes of passwords, so that each is made once.
#[derive(Default)]
pub struct Hashes(Mutex<HashMap<[u8; 16], String>>);

impl Hashes {
    /// Returns a line of htpasswd. The salt follows from the installation's key, so that a restart makes the same line.
    pub fn line(&self, key: &Secret, user: &str, password: &Secret) -> Option<String> {
        let mut digest = Sha256::new();
        for part in [key.expose(), user.as_bytes(), password.expose()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let salt: [u8; 16] = digest.get(..16)?.try_into().ok()?;
        if let Some(known) = self.0.lock().get(&salt) {
            return Some(format!("{user}:{known}"));
        }
        let hash = bcrypt::hash_with_salt(password.expose(), COST, salt).ok()?;
        let hash = hash.format_for_version(bcrypt::Version::TwoY);
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(salt, hash.clone());
        Some(format!("{user}:{hash}"))
    }
}

/// Reads what each route refers to.
///
/// # Errors
/// The API server does not answer.
pub async fn read(
    routes: &[Route],
    reader: &Reader,
    hashes: &Hashes,
    key: &Secret,
) -> Result<Vec<RouteValues>, Problem> {
    let mut all = Vec::new();
    for route in routes {
        let mut values = RouteValues::default();
        if let Some(reference) = &route.basic_auth_secret_ref {
            let found = reader.secret(&reference.name, "basicAuthSecretRef").await;
            let users = found.and_then(|data| {
                users(&data.entries, hashes, key)
                    .map_err(|why| invalid("basicAuthSecretRef", &reference.name, &why))
            });
            keep(users, &mut values.users, &mut values.problem)?;
        }
        let tls = route.tls.as_ref().and_then(|tls| tls.secret_ref.as_ref());
        if let (Some(reference), Some(host)) = (tls, route.ascii_host()) {
            let found = reader.secret(&reference.name, "tls.secretRef").await;
            let certificate = found.and_then(|data| {
                let empty = Secret::from("");
                let entry = |name: &str| data.entries.get(name).unwrap_or(&empty);
                let read = Certificate::read(entry("tls.crt").expose(), entry("tls.key"), &host);
                read.map_err(|why| invalid("tls.secretRef", &reference.name, &why.to_string()))
            });
            keep(certificate, &mut values.certificate, &mut values.problem)?;
        }
        all.push(values);
    }
    Ok(all)
}

fn invalid(field: &str, name: &str, why: &str) -> Problem {
    Problem::new(
        Class::Terminal,
        crate::api::Reason::SecretInvalid,
        format!("{field}: the Secret {name:?} {why}"),
    )
}

fn keep<T>(
    found: Result<T, Problem>,
    value: &mut Option<T>,
    problem: &mut Option<String>,
) -> Result<(), Problem> {
    match found {
        Ok(found) => *value = Some(found),
        Err(wrong) if wrong.class == Class::Transient => return Err(wrong),
        Err(wrong) => *problem = Some(wrong.message),
    }
    Ok(())
}

/// Returns lines of htpasswd: those of `auth`, or one of `username` and `password`.
fn users(
    entries: &std::collections::BTreeMap<String, Secret>,
    hashes: &Hashes,
    key: &Secret,
) -> Result<Vec<String>, String> {
    const SOLUTION: &str = "put username and password into it, or lines of htpasswd into auth";
    if let Some(lines) = entries.get("auth") {
        let text = lines.expose_str().unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        if lines.is_empty() || !lines.iter().all(|line| is_line(line)) {
            return Err(format!(
                "has an auth that is not htpasswd with bcrypt, MD5 or SHA-1: {SOLUTION}"
            ));
        }
        return Ok(lines);
    }
    let user = entries
        .get("username")
        .and_then(Secret::expose_str)
        .unwrap_or_default();
    let good = !user.is_empty()
        && user
            .bytes()
            .all(|byte| (0x21..0x7f).contains(&byte) && byte != b':');
    let password = entries.get("password").filter(|password| !password.is_empty());
    let (true, Some(password)) = (good, password) else {
        return Err(format!(
            "has no username and password that can be used: {SOLUTION}"
        ));
    };
    let line = hashes.line(key, user, password);
    line.map(|line| vec![line])
        .ok_or_else(|| "has a password that cannot be hashed: use at most 72 bytes without NUL".to_owned())
}

fn is_line(line: &str) -> bool {
    let printable = line.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let known = ["$2a$", "$2b$", "$2y$", "$apr1$", "{SHA}"];
    line.split_once(':').is_some_and(|(user, hash)| {
        !user.is_empty() && printable && known.iter().any(|start| hash.starts_with(start))
    })
}

/// Returns the hosts that a namespace is limited to.
///
/// # Errors
/// The API server does not answer.
pub async fn allowed_hosts(client: &Client, namespace: &str) -> Result<Option<String>, Problem> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_metadata_opt(namespace).await;
    let found = found.map_err(|error| cluster_problem("read the annotations of the namespace", &error))?;
    Ok(found.and_then(|found| found.metadata.annotations?.remove(ALLOWED_HOSTS)))
}

/// Returns user and password as the header of a request has them.
pub fn credential(user: &str, password: &Secret) -> Secret {
    Secret::from(BASE64_STANDARD.encode(Secret::pair(user, password).expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_from_htpasswd_or_from_one_user() {
        let key = Secret::from("k");
        let hashes = Hashes::default();
        let of = |entries: &[(&str, &str)]| {
            let entries = entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Secret::from(*value)));
            users(&entries.collect(), &hashes, &key)
        };
        let line = of(&[("username", "jane"), ("password", "secret")]).unwrap();
        assert!(line[0].starts_with("jane:$2y$06$"), "{line:?}");
        assert_eq!(of(&[("username", "jane"), ("password", "secret")]).unwrap(), line);
        assert_ne!(of(&[("username", "jane"), ("password", "other")]).unwrap(), line);
        let hash = line[0].strip_prefix("jane:").unwrap();
        assert!(bcrypt::verify("secret", hash).unwrap());
        let auth = of(&[("auth", "a:{SHA}x\n\nb:$apr1$y$z\n")]).unwrap();
        assert_eq!(auth, ["a:{SHA}x", "b:$apr1$y$z"]);
        for bad in [
            &[][..],
            &[("username", "jane")],
            &[("username", "ja:ne"), ("password", "secret")],
            &[("username", "jane"), ("password", "")],
            &[("auth", "")],
            &[("auth", "a:plain")],
            &[("auth", "no line")],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
