//! Forges: one file each behind the trait [`Forge`]. Nothing outside this folder names a forge but the API types.

mod api;
mod bitbucket;
mod call;
mod client;
mod conditional;
mod connect;
mod connections;
mod error;
pub mod fake;
mod gitea;
mod github;
mod github_json;
mod gitlab;
mod hook;
pub mod http;
mod oauth;
pub mod onboarding;
mod pagination;
mod places;
mod pull_request;
mod rate_limit;
mod refusal;
mod repository;
mod token_endpoint;
pub mod webhook;

pub use self::client::{Account, Forge, ForgeSecrets, Hook, WantedHook};
pub use self::connect::{CredentialRef, SecretRefs, connect, describe, secret_refs};
pub use self::connections::{ConnectionKey, Forges};
pub use self::error::ForgeError;
pub use self::hook::ensure_hook;
pub use self::http::{HttpOptions, HttpsProxy};
pub use self::oauth::{StoredTokens, TokenStore, TokenWriter};
pub use self::pagination::{Cursor, Page};
pub use self::pull_request::{Comment, PullRequests, ensure_comment};
pub use self::repository::{Repository, RepositoryPath};
pub use self::token_endpoint::Tokens;
