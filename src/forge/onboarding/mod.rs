//! How a user connects a forge from a terminal: with a token, or in a browser by registering an App or by authorising an OAuth
//! application. The result is a GitProvider with its Secrets.

mod callback;
mod code_grant;
mod manifest;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::connect::{connect, secret_refs};
use super::{Account, ForgeError, ForgeSecrets, HttpOptions, StoredTokens, TokenStore, TokenWriter, Tokens};
use crate::api::GitProviderSpec;
use crate::error::Problem;
use crate::redact::Secret;

pub use self::callback::Callback;
pub use self::code_grant::{CodeGrant, OAuthClient, tokens_content, tokens_name};
pub use self::manifest::{AppManifest, Converted};

/// The forges that a user can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "a name of a forge says it")]
pub enum ForgeName {
    Github,
    Gitlab,
    Bitbucket,
    Gitea,
}

impl ForgeName {
    /// The name as in a spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::Gitea => "gitea",
        }
    }

    /// Whether an App is registered in a browser unless the user has a token.
    pub fn registers_an_app(self) -> bool {
        match self {
            Self::Github => true,
            Self::Gitlab | Self::Bitbucket | Self::Gitea => false,
        }
    }
}

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The name of the GitProvider and of its Secret.
    pub name: String,
    /// The forge's address, if it is not the hosted one.
    pub url: Option<String>,
    /// The organization that owns the App.
    pub organization: Option<String>,
    /// The group whose projects are listed.
    pub group: Option<String>,
    /// The workspace of the repositories.
    pub workspace: Option<String>,
    /// The e-mail address of the token's account.
    pub email: Option<String>,
}

/// What connects a forge: the content of Secrets, and the spec of a GitProvider that names them.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The content of the Secret with the credential; empty for a public OAuth application.
    pub secret: BTreeMap<&'static str, Secret>,
    /// The tokens of an OAuth application.
    pub tokens: Option<Tokens>,
    /// The spec.
    pub spec: GitProviderSpec,
}

impl Connection {
    /// Signs in at the forge.
    ///
    /// # Errors
    /// The forge does not answer, or refuses the credential.
    pub async fn check(&self, options: &HttpOptions) -> Result<Account, ForgeError> {
        let key = secret_refs(&self.spec).and_then(|refs| Some(refs.credential?.key));
        let secrets = ForgeSecrets {
            credential: key.and_then(|key| self.secret.get(key)).cloned(),
            tokens: self
                .tokens
                .clone()
                .map(|tokens| TokenWriter::new(Arc::new(Fresh(tokens)))),
            ca: None,
        };
        connect(&self.spec, &secrets, options)?.check().await
    }
}

/// Tokens that are not stored yet, and need not be replaced.
struct Fresh(Tokens);

#[async_trait]
impl TokenStore for Fresh {
    async fn load(&self) -> Result<StoredTokens, Problem> {
        Ok(StoredTokens {
            tokens: self.0.clone(),
            version: String::new(),
            replacing_since: None,
        })
    }

    async fn begin(&self, _: jiff::Timestamp, _: &str) -> Result<bool, Problem> {
        Ok(false)
    }

    async fn store(&self, _: &Tokens, _: &str) -> Result<bool, Problem> {
        Ok(false)
    }
}

/// Connects with a token.
///
/// # Errors
/// The message names what is missing or is not for this forge.
pub fn with_token(forge: ForgeName, wish: &Wish, token: Secret) -> Result<Connection, String> {
    check_wish(forge, wish)?;
    if token.is_empty() {
        return Err("the token is empty: write it to standard input".to_owned());
    }
    let reference = json!({"name": wish.name});
    let url = |default: &str| json!(wish.url.as_deref().unwrap_or(default));
    let fields = match forge {
        ForgeName::Github => json!({"url": url("https://github.com"), "tokenSecretRef": reference}),
        ForgeName::Gitlab => {
            json!({"url": url("https://gitlab.com"), "group": wish.group, "tokenSecretRef": reference})
        }
        ForgeName::Bitbucket => match &wish.email {
            Some(email) => {
                json!({"workspace": wish.workspace, "email": email,
                    "apiTokenSecretRef": {"name": wish.name, "key": "token"}})
            }
            None => {
                json!({"workspace": wish.workspace, "accessTokenSecretRef": {"name": wish.name, "key": "token"}})
            }
        },
        ForgeName::Gitea => json!({"url": wish.url, "tokenSecretRef": reference}),
    };
    Ok(Connection {
        secret: BTreeMap::from([("token", token)]),
        tokens: None,
        spec: spec(forge, fields)?,
    })
}

/// Checks that what the user asks for is complete, and of use for this forge.
///
/// # Errors
/// The message names the flag.
pub fn check_wish(forge: ForgeName, wish: &Wish) -> Result<(), String> {
    let name = forge.as_str();
    let is = |wanted: &[ForgeName]| wanted.contains(&forge);
    for (flag, value, allowed, required) in [
        (
            "--organization",
            &wish.organization,
            is(&[ForgeName::Github]),
            false,
        ),
        ("--group", &wish.group, is(&[ForgeName::Gitlab]), false),
        (
            "--workspace",
            &wish.workspace,
            is(&[ForgeName::Bitbucket]),
            is(&[ForgeName::Bitbucket]),
        ),
        ("--email", &wish.email, is(&[ForgeName::Bitbucket]), false),
        (
            "--url",
            &wish.url,
            !is(&[ForgeName::Bitbucket]),
            is(&[ForgeName::Gitea]),
        ),
    ] {
        if value.is_some() && !allowed {
            return Err(format!("{flag} is not for {name}: leave it out"));
        }
        if value.is_none() && required {
            return Err(format!("{name} needs {flag}: set it"));
        }
    }
    Ok(())
}

fn spec(forge: ForgeName, mut fields: Value) -> Result<GitProviderSpec, String> {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(json!({forge.as_str(): fields}))
        .map_err(|error| format!("make the GitProvider: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            name: "acme".to_owned(),
            ..Wish::default()
        }
    }

    #[test]
    fn token_becomes_a_secret_and_a_spec_that_names_it() {
        let text = |text: &str| Some(text.to_owned());
        let rows = [
            (
                ForgeName::Github,
                wish(),
                json!({"github": {"url": "https://github.com",
                "tokenSecretRef": {"name": "acme", "key": "token"}}}),
            ),
            (
                ForgeName::Gitlab,
                Wish {
                    group: text("a/b"),
                    ..wish()
                },
                json!({"gitlab": {"url": "https://gitlab.com",
                "group": "a/b", "tokenSecretRef": {"name": "acme", "key": "token"}}}),
            ),
            (
                ForgeName::Bitbucket,
                Wish {
                    workspace: text("w"),
                    email: text("a@b.c"),
                    ..wish()
                },
                json!({"bitbucket": {"workspace": "w", "email": "a@b.c",
                "apiTokenSecretRef": {"name": "acme", "key": "token"}}}),
            ),
            (
                ForgeName::Bitbucket,
                Wish {
                    workspace: text("w"),
                    ..wish()
                },
                json!({"bitbucket": {"workspace": "w",
                "accessTokenSecretRef": {"name": "acme", "key": "token"}}}),
            ),
            (
                ForgeName::Gitea,
                Wish {
                    url: text("https://g.example"),
                    ..wish()
                },
                json!({"gitea":
                {"url": "https://g.example", "tokenSecretRef": {"name": "acme", "key": "token"}}}),
            ),
        ];
        for (forge, wish, expected) in rows {
            let made = with_token(forge, &wish, Secret::from("t0ken")).unwrap();
            let spec = serde_json::to_value(&made.spec).unwrap();
            for (name, fields) in expected.as_object().unwrap() {
                assert_eq!(spec[name], *fields);
            }
            let refs = secret_refs(&made.spec).unwrap();
            assert_eq!(made.secret[refs.credential.unwrap().key].expose(), b"t0ken");
        }
    }

    #[test]
    fn flag_that_is_missing_or_of_no_use_is_named() {
        let text = Some("x".to_owned());
        for (forge, wish, expected) in [
            (ForgeName::Gitea, wish(), "gitea needs --url: set it"),
            (
                ForgeName::Bitbucket,
                wish(),
                "bitbucket needs --workspace: set it",
            ),
            (
                ForgeName::Gitlab,
                Wish {
                    organization: text.clone(),
                    ..wish()
                },
                "--organization is not for gitlab: leave it out",
            ),
            (
                ForgeName::Github,
                Wish {
                    email: text,
                    ..wish()
                },
                "--email is not for github: leave it out",
            ),
        ] {
            let refused = with_token(forge, &wish, Secret::from("t")).unwrap_err();
            assert_eq!(refused, expected);
        }
        assert!(with_token(ForgeName::Github, &wish(), Secret::from("")).is_err());
    }
}
