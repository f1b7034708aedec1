//! A GitHub App: its JWT, its installations, and installation tokens that are restricted to one repository.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;

use super::purpose::Purpose;
use crate::forge::api::{Api, Authorization, Reply};
use crate::forge::call::Call;
use crate::forge::pagination::{Collected, Cursor, PAGE_SIZE};
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::Expiring;
use crate::redact::Secret;

/// An installation token is replaced when it expires within this time. It is valid for an hour.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// GitHub allows 10 minutes ahead; a minute is left for clocks that differ.
const JWT_SECONDS: i64 = 540;
/// The most pages of installations that are read.
const MOST_PAGES: u32 = 100;

/// An App with its private key.
pub(super) struct App {
    id: String,
    key: RsaKeyPair,
    installation: Option<u64>,
    /// The installation by the account that owns a repository, in lower case.
    by_owner: Mutex<HashMap<String, u64>>,
    tokens: Mutex<HashMap<TokenKey, Arc<TokenSlot>>>,
}

/// An installation, and what its token is for.
type TokenKey = (u64, Purpose);

/// Held while a token is requested, so that concurrent builds share one request.
type TokenSlot = tokio::sync::Mutex<Option<Expiring<Secret>>>;

/// An installation of the App on an account.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Installation {
    pub id: u64,
    account: Option<Owner>,
    #[serde(default)]
    permissions: HashMap<String, String>,
    suspended_at: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Owner {
    login: Option<String>,
}

#[derive(Deserialize)]
struct About {
    slug: Option<String>,
    name: String,
    html_url: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    expires_at: Timestamp,
}

impl Installation {
    /// The account that it is on.
    pub fn login(&self) -> String {
        let login = self.account.as_ref().and_then(|account| account.login.clone());
        login.unwrap_or_else(|| self.id.to_string())
    }

    /// Checks that the installation can be used to clone.
    fn usable(&self, api: &Api) -> Result<(), ForgeError> {
        let account = self.login();
        if self.suspended_at.is_some() {
            return Err(ForgeError::Forbidden {
                doing: "use the App",
                url: api.shown().clone(),
                message: format!(
                    "its installation on {account} is suspended: an owner of {account} ends that in Settings, Installed GitHub Apps"
                ),
            });
        }
        match self.permissions.get("contents").map(String::as_str) {
            Some("read" | "write" | "admin") => Ok(()),
            _ => Err(api.scope_missing(
                "use the App",
                format!(
                    "Contents: read in its installation on {account} (an owner must accept new permissions)"
                ),
            )),
        }
    }
}

impl App {
    /// An App from its ID and its private key in PEM form.
    pub fn new(id: String, key: &Secret, installation: Option<i64>) -> Result<Self, ForgeError> {
        Ok(Self {
            id,
            key: read_key(key)?,
            installation: installation.and_then(|id| u64::try_from(id).ok()),
            by_owner: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    /// Signs in as the App itself.
    fn jwt(&self, now: Timestamp) -> Result<Authorization, ForgeError> {
        let now = now.as_second();
        let claims = json!({"iat": now - 60, "exp": now + JWT_SECONDS, "iss": self.id});
        let header = json!({"alg": "RS256", "typ": "JWT"});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| ForgeError::Secret {
                message: "the private key cannot sign".to_owned(),
            })?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Authorization::scheme("Bearer", &Secret::from(token))
    }

    /// The installations to use: the one of the spec, or all of the App's.
    pub async fn installations(&self, api: &Api) -> Result<Vec<Installation>, ForgeError> {
        let jwt = self.jwt(Timestamp::now())?;
        if let Some(id) = self.installation {
            let call = Call::get("read the installation", installation_path(id))
                .what(format!("the installation {id} of the App {}", self.id));
            let found: Option<Installation> = api.find(&call, &jwt).await?;
            let found = found.ok_or_else(|| ForgeError::Spec {
                message: format!(
                    "spec.github.installationId {id} is no installation of the App {}: correct it, or leave it out",
                    self.id
                ),
            })?;
            return Ok(vec![found]);
        }
        let call = Call::get("list the installations", ["app", "installations"]);
        let first = Cursor::first(&[("per_page", PAGE_SIZE)]);
        let all: Collected<Installation> = api.pages(&call, &first, MOST_PAGES, &jwt).await?;
        Ok(all.so_far())
    }

    /// The same, where each can be used to clone and there is at least one.
    pub async fn usable_installations(&self, api: &Api) -> Result<Vec<Installation>, ForgeError> {
        let jwt = self.jwt(Timestamp::now())?;
        let about: Reply<About> = api
            .send(&Call::get("sign in as the App", ["app"]), Some(&jwt))
            .await?;
        let all = self.installations(api).await?;
        if all.is_empty() {
            let about = about.body;
            return Err(ForgeError::NotInstalled {
                app: about.slug.unwrap_or(about.name),
                url: api.shown().clone(),
                install_url: format!("{}/installations/new", about.html_url),
            });
        }
        for installation in &all {
            installation.usable(api)?;
        }
        Ok(all)
    }

    /// A token that reads what the installation reaches.
    pub async fn listing_token(&self, api: &Api, installation: u64) -> Result<Authorization, ForgeError> {
        let token = self.token(api, (installation, Purpose::List)).await?;
        Authorization::scheme("Bearer", &token.value)
    }

    /// A token that reads one repository and nothing else.
    pub async fn repository_token(
        &self,
        api: &Api,
        repository: &RepositoryPath,
    ) -> Result<Expiring<Secret>, ForgeError> {
        let purpose = Purpose::Clone(repository.clone());
        self.purposeful_token(api, repository, purpose).await
    }

    /// A token that reads the checks of one repository and nothing else.
    pub async fn checks_token(
        &self,
        api: &Api,
        repository: &RepositoryPath,
    ) -> Result<Authorization, ForgeError> {
        let purpose = Purpose::Checks(repository.clone());
        let token = self.purposeful_token(api, repository, purpose).await?;
        Authorization::scheme("Bearer", &token.value)
    }

    /// A token that reports the statuses of one repository's commits and nothing else.
    pub async fn status_token(
        &self,
        api: &Api,
        repository: &RepositoryPath,
    ) -> Result<Authorization, ForgeError> {
        let purpose = Purpose::Statuses(repository.clone());
        let token = self.purposeful_token(api, repository, purpose).await?;
        Authorization::scheme("Bearer", &token.value)
    }

    /// A token that manages the hooks of one repository and nothing else.
    pub async fn hook_token(
        &self,
        api: &Api,
        repository: &RepositoryPath,
    ) -> Result<Authorization, ForgeError> {
        let purpose = Purpose::Hooks(repository.clone());
        let token = self.purposeful_token(api, repository, purpose).await?;
        Authorization::scheme("Bearer", &token.value)
    }

    /// A token of the installation on a repository's account.
    pub(super) async fn purposeful_token(
        &self,
        api: &Api,
        repository: &RepositoryPath,
        purpose: Purpose,
    ) -> Result<Expiring<Secret>, ForgeError> {
        let (owner, _) = repository
            .owner_and_name()
            .ok_or_else(|| api.not_found(format!("the repository {repository}")))?;
        let (id, remembered) = self.installation_of(api, repository, owner).await?;
        let key = |id| (id, purpose.clone());
        match self.token(api, key(id)).await {
            // The App was removed from the account and installed again.
            Err(ForgeError::NotFound { .. }) if remembered => {
                self.by_owner.lock().remove(&owner.to_ascii_lowercase());
                let (id, _) = self.installation_of(api, repository, owner).await?;
                self.token(api, key(id)).await
            }
            result => result,
        }
    }

    /// Drops the tokens that are kept for cloning a repository, and the installation of its owner. Returns false if there
    /// were none.
    pub fn forget(&self, repository: &RepositoryPath) -> bool {
        let Some((owner, _)) = repository.owner_and_name() else {
            return false;
        };
        self.by_owner.lock().remove(&owner.to_ascii_lowercase());
        let mut tokens = self.tokens.lock();
        let before = tokens.len();
        tokens.retain(|(_, purpose), _| purpose.repository() != Some(repository));
        tokens.len() < before
    }

    /// The installation on a repository's account, and whether it was remembered.
    async fn installation_of(
        &self,
        api: &Api,
        repository: &RepositoryPath,
        owner: &str,
    ) -> Result<(u64, bool), ForgeError> {
        if let Some(id) = self.installation {
            return Ok((id, false));
        }
        let owner = owner.to_ascii_lowercase();
        if let Some(id) = self.by_owner.lock().get(&owner) {
            return Ok((*id, true));
        }
        let mut path = vec!["repos".to_owned()];
        path.extend(repository.segments().iter().cloned());
        path.push("installation".to_owned());
        let call = Call::get("find the installation", path)
            .what(format!("an installation of the App that includes {repository}"));
        let jwt = self.jwt(Timestamp::now())?;
        let found: Reply<Installation> = api.send(&call, Some(&jwt)).await?;
        found.body.usable(api)?;
        self.by_owner.lock().insert(owner, found.body.id);
        Ok((found.body.id, false))
    }

    /// The token for a key: the one from before, or a new one shortly before that expires.
    async fn token(&self, api: &Api, key: TokenKey) -> Result<Expiring<Secret>, ForgeError> {
        let slot = Arc::clone(self.tokens.lock().entry(key.clone()).or_default());
        let mut slot = slot.lock().await;
        let now = Timestamp::now();
        if let Some(token) = slot.as_ref().filter(|token| token.is_valid_for(MARGIN, now)) {
            return Ok(token.clone());
        }
        let (id, purpose) = key;
        let mut path = installation_path(id).to_vec();
        path.push("access_tokens".to_owned());
        let call = Call::post("create an installation token", path)
            .what(format!("the installation {id} of the App {}", self.id))
            .scope("Contents: read")
            .json(purpose.restriction());
        let reply: Result<Reply<Token>, ForgeError> = api.send(&call, Some(&self.jwt(now)?)).await;
        let token = match (reply, purpose) {
            (Ok(reply), _) => reply.body,
            (Err(ForgeError::Other { message, .. }), purpose) if message.starts_with("422") => {
                return Err(match (purpose.needed(), purpose.repository()) {
                    (Some((doing, scope)), _) if message.contains("permissions requested") => {
                        api.scope_missing(doing, scope)
                    }
                    (_, Some(repository)) => api.not_found(format!(
                        "the repository {repository} in the installation {id} of the App ({message})"
                    )),
                    (_, None) => api.other("create an installation token", &message),
                });
            }
            (Err(error), _) => return Err(error),
        };
        let token = Expiring {
            value: Secret::from(token.token),
            expires_at: Some(token.expires_at),
        };
        *slot = Some(token.clone());
        Ok(token)
    }
}

fn installation_path(id: u64) -> [String; 3] {
    ["app".to_owned(), "installations".to_owned(), id.to_string()]
}

/// Reads a private key in PKCS#1 or PKCS#8 form. Line feeds may be written as `\n`, as in environment files.
fn read_key(key: &Secret) -> Result<RsaKeyPair, ForgeError> {
    let invalid = |message: &str| ForgeError::Secret {
        message: format!("the private key {message}: store the .pem file that GitHub generated"),
    };
    let text = key.expose_str().ok_or_else(|| invalid("is not text"))?;
    let text = zeroize::Zeroizing::new(text.trim().trim_matches('"').replace("\\n", "\n"));
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| invalid("is not a private key in PEM form"))?;
    let pair = match &der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(invalid("is not an RSA key")),
    };
    pair.map_err(|error| invalid(&format!("is not an RSA key of 2048 bits or more ({error})")))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "openssl generates the keys of the test")]
mod tests {
    use super::*;
    use std::process::Command;

    fn openssl(args: &[&str], input: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in.pem");
        std::fs::write(&file, input).unwrap();
        let output = Command::new("openssl")
            .args(args)
            .args(if input.is_empty() { &[][..] } else { &["-in"] })
            .args((!input.is_empty()).then_some(&file))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn private_key_is_read_in_both_forms_with_real_or_escaped_newlines() {
        let pkcs8 = openssl(
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "",
        );
        let pkcs1 = openssl(&["rsa", "-traditional"], &pkcs8);
        assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"), "{pkcs1}");
        for pem in [&pkcs8, &pkcs1] {
            for text in [
                pem.clone(),
                pem.replace('\n', "\\n"),
                pem.replace('\n', "\r\n"),
                format!("\"{}\"", pem.replace('\n', "\\n")),
            ] {
                assert!(App::new("1".to_owned(), &Secret::from(text), None).is_ok());
            }
        }
        let ec = openssl(
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ],
            "",
        );
        let short = openssl(
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            "",
        );
        for (text, why) in [
            (String::new(), "not a private key in PEM form"),
            ("ghp_0123456789".to_owned(), "not a private key in PEM form"),
            (
                pkcs1.replace("RSA PRIVATE KEY", "CERTIFICATE"),
                "not a private key in PEM form",
            ),
            (ec, "not an RSA key"),
            (short, "not an RSA key of 2048 bits"),
        ] {
            let error = App::new("1".to_owned(), &Secret::from(text), None)
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
        }
    }
}
