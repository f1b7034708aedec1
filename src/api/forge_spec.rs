//! `spec.github`, `spec.gitlab`, `spec.bitbucket` and `spec.gitea` of a GitProvider: addresses and credentials.

use std::borrow::Cow;
use std::fmt;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::values::{Later, LocalRef};

/// The forge that a GitProvider connects to. Matched without a wildcard, so that a new kind cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgeKind<'a> {
    /// GitHub or GitHub Enterprise Server.
    GitHub(&'a GitHubSpec),
    /// GitLab.com or a self-managed GitLab.
    GitLab(&'a GitLabSpec),
    /// Bitbucket Cloud.
    Bitbucket(&'a BitbucketSpec),
    /// Gitea or Forgejo.
    Gitea(&'a GiteaSpec),
}

impl ForgeKind<'_> {
    /// The name of the field in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub(_) => "github",
            Self::GitLab(_) => "gitlab",
            Self::Bitbucket(_) => "bitbucket",
            Self::Gitea(_) => "gitea",
        }
    }
}

/// GitHub or GitHub Enterprise Server, with an App or a personal access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.url.matches('^[a-z]+://[^/]*@')")
        .message("url must not contain a credential: put the token into a Secret and name that in tokenSecretRef").reason(Reason::FieldValueInvalid),
    validation = Rule::new("has(self.appId) != has(self.tokenSecretRef)")
        .message("set either appId with privateKeySecretRef, or tokenSecretRef").reason(Reason::FieldValueInvalid),
    validation = Rule::new("has(self.appId) == has(self.privateKeySecretRef)")
        .message("a GitHub App needs both appId and privateKeySecretRef: set both").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.installationId) || has(self.appId)")
        .message("installationId has no effect without appId: remove it").reason(Reason::FieldValueForbidden).field_path(".installationId"),
    validation = Rule::new("!has(self.caSecretRef) || self.url.startsWith('https://')")
        .message("caSecretRef has no effect unless url begins with https://: remove caSecretRef, or use https").reason(Reason::FieldValueForbidden).field_path(".caSecretRef")
)]
pub struct GitHubSpec {
    /// The base URL as in a browser. Default `https://github.com`; a GitHub Enterprise Server has its own.
    #[serde(default = "github_url")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// The App's ID, or its client ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<GitHubAppId>,
    /// The installation to use. Default: the installation of the account that owns the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub installation_id: Option<i64>,
    /// The Secret with the App's private key in PEM form (PKCS#1 or PKCS#8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_secret_ref: Option<PrivateKeyRef>,
    /// The Secret with a personal access token, classic (scope `repo`) or fine-grained (Contents: read, Metadata: read).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenRef>,
    /// A Secret with `ca.crt`, if the certificate of the server is signed by a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
}

/// GitLab.com or a self-managed GitLab, with a personal, project or group access token or an OAuth application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tokenSecretRef) != has(self.oauth)")
        .message("set exactly one of tokenSecretRef and oauth").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!self.url.matches('^[a-z]+://[^/]*@')")
        .message("url must not contain a credential: put the token into a Secret and name that in tokenSecretRef").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.caSecretRef) || self.url.startsWith('https://')")
        .message("caSecretRef has no effect unless url begins with https://: remove caSecretRef, or use https").reason(Reason::FieldValueForbidden).field_path(".caSecretRef")
)]
pub struct GitLabSpec {
    /// The base URL as in a browser, with its path if GitLab is installed below one. Default `https://gitlab.com`.
    #[serde(default = "gitlab_url")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// List and count only the projects of this group and its subgroups, such as `acme/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    )]
    pub group: Option<String>,
    /// The Secret with a personal, project or group access token; scopes `read_api` and `read_repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenRef>,
    /// An OAuth application with the scopes `read_api` and `read_repository` that a user has authorised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthApp>,
    /// A Secret with `ca.crt`, if the certificate of the server is signed by a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
}

/// Bitbucket Cloud, with an API token, an access token or an OAuth consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.apiTokenSecretRef), has(self.accessTokenSecretRef), has(self.oauth)].filter(x, x).size() == 1 || has(self.appPassword) || has(self.appPasswordSecretRef)")
        .message("set exactly one of apiTokenSecretRef (with email), accessTokenSecretRef and oauth").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.apiTokenSecretRef) || has(self.email)")
        .message("apiTokenSecretRef needs the e-mail address of the Atlassian account: set email").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.email) || has(self.apiTokenSecretRef)")
        .message("email has no effect without apiTokenSecretRef: remove it").reason(Reason::FieldValueForbidden).field_path(".email"),
    validation = Rule::new("!has(self.appPassword) && !has(self.appPasswordSecretRef)")
        .message("Bitbucket removed app passwords on 2026-07-28: create an API token with scopes at id.atlassian.com and name its Secret in apiTokenSecretRef, with email")
        .reason(Reason::FieldValueForbidden)
)]
pub struct BitbucketSpec {
    /// The workspace whose repositories are used, by its ID in the address.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub workspace: String,
    /// The e-mail address of the Atlassian account that owns the API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 320), regex(pattern = r"^[^\s:@]+@[^\s:@]+$"))]
    pub email: Option<String>,
    /// The Secret with an API token with the scopes `read:user:bitbucket`, `read:workspace:bitbucket` and
    /// `read:repository:bitbucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token_secret_ref: Option<TokenRef>,
    /// The Secret with a repository, project or workspace access token with the scope `repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_secret_ref: Option<TokenRef>,
    /// A private OAuth consumer of the workspace with the scope `repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthConsumer>,
    /// Refused: Bitbucket removed app passwords. Use `apiTokenSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub app_password: Option<String>,
    /// Refused: Bitbucket removed app passwords. Use `apiTokenSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_password_secret_ref: Option<Later>,
}

/// An OAuth consumer, which signs in as itself unless a user has authorised it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthConsumer {
    /// The consumer's key.
    #[schemars(length(min = 1, max = 255))]
    pub client_id: String,
    /// The Secret with the consumer's secret.
    pub client_secret_ref: ClientSecretRef,
    /// The Secret with `accessToken`, `refreshToken` and `expiresAt` (RFC 3339), if a user has authorised the consumer. The
    /// controller writes each new pair into it, before it is used. Default: the consumer signs in as itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_secret_ref: Option<LocalRef>,
}

/// A Gitea or Forgejo, with an access token or an OAuth application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tokenSecretRef) != has(self.oauth)")
        .message("set exactly one of tokenSecretRef and oauth").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!self.url.matches('^[a-z]+://[^/]*@')")
    .message("url must not contain a credential: put the token into a Secret and name that in tokenSecretRef").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.caSecretRef) || self.url.startsWith('https://')")
    .message("caSecretRef has no effect unless url begins with https://: remove caSecretRef, or use https").reason(Reason::FieldValueForbidden).field_path(".caSecretRef"))]
pub struct GiteaSpec {
    /// The base URL as in a browser.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// The Secret with the access token; scopes `read:repository` and `read:user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenRef>,
    /// An OAuth application that a user has authorised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthApp>,
    /// A Secret with `ca.crt`, if the certificate of the server is signed by a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
}

/// An OAuth application that a user has authorised. Its tokens are replaced before they expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthApp {
    /// The application's ID.
    #[schemars(length(min = 1, max = 255))]
    pub client_id: String,
    /// The Secret with the application's secret. A public application has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ClientSecretRef>,
    /// The Secret with `accessToken`, `refreshToken` and `expiresAt` (RFC 3339). The controller writes each new pair into it,
    /// before it is used.
    pub tokens_secret_ref: LocalRef,
}

/// A key of a Secret that holds a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRef {
    /// The Secret, in the GitProvider's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key. Default `token`.
    #[serde(default = "token")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A key of a Secret that holds a private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivateKeyRef {
    /// The Secret, in the GitProvider's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key. Default `privateKey`.
    #[serde(default = "private_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A key of a Secret that holds the secret of an OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSecretRef {
    /// The Secret, in the GitProvider's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key. Default `clientSecret`.
    #[serde(default = "client_secret")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The ID of a GitHub App: the number, or the client ID (`Iv23li…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GitHubAppId {
    /// The App ID.
    Number(i64),
    /// The client ID, or the App ID in quotes.
    Text(String),
}

impl fmt::Display for GitHubAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for GitHubAppId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "GitHubAppId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[A-Za-z0-9._-]+$",
            "maxLength": 64,
            "x-kubernetes-int-or-string": true,
        })
    }
}

fn github_url() -> String {
    "https://github.com".to_owned()
}

fn gitlab_url() -> String {
    "https://gitlab.com".to_owned()
}

fn token() -> String {
    "token".to_owned()
}

fn private_key() -> String {
    "privateKey".to_owned()
}

fn client_secret() -> String {
    "clientSecret".to_owned()
}
