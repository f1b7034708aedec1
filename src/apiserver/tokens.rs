//! Service account tokens.

use std::path::Path;

use super::{identity::Identity, server::Server, store::StoreError};

/// The key that signs tokens.
pub struct Keys;

impl Keys {
    /// Reads or makes the key.
    pub fn open(_directory: Option<&Path>) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

impl Server {
    /// Whose token that is.
    pub fn authenticate_token(&self, _token: &str) -> Option<Identity> {
        let _ = &self.keys;
        None
    }
}
