//! Authentication (certificates, tokens, impersonation) and authorization (RBAC).

mod certificates;
pub mod claims;
pub mod identity;
pub mod impersonation;
pub mod parsed_roles;
pub mod pki;
pub mod rbac;
pub mod rbac_escalation;
pub mod token_signer;
pub mod tokens;
pub mod verified_tokens;
