//! Tokens whose signature was verified: verifying one takes as long as a quarter of a write.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

/// How many tokens are remembered; when there are more, all of them are verified anew.
const MOST: usize = 256;

/// The claims of verified tokens, by the digest of the token. Whether the claims still hold is decided for each request.
pub struct VerifiedTokens<Claims> {
    claims: Mutex<HashMap<Vec<u8>, Arc<Claims>>>,
}

impl<Claims> Default for VerifiedTokens<Claims> {
    fn default() -> Self {
        Self {
            claims: Mutex::default(),
        }
    }
}

impl<Claims> VerifiedTokens<Claims> {
    /// The claims of a token; `verify` returns `None` for an invalid one.
    pub fn get(&self, token: &str, verify: impl FnOnce() -> Option<Claims>) -> Option<Arc<Claims>> {
        let digest = digest(&SHA256, token.as_bytes());
        if let Some(known) = self.claims.lock().get(digest.as_ref()) {
            return Some(known.clone());
        }
        let claims = Arc::new(verify()?);
        let mut known = self.claims.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(digest.as_ref().to_vec(), claims.clone());
        Some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_token_is_verified_once_and_an_invalid_one_each_time() {
        let tokens = VerifiedTokens::default();
        assert_eq!(*tokens.get("a", || Some(1)).unwrap(), 1);
        assert_eq!(*tokens.get("a", || Some(2)).unwrap(), 1);
        assert!(tokens.get("b", || None).is_none());
        assert_eq!(*tokens.get("b", || Some(3)).unwrap(), 3);
    }

    #[test]
    fn number_of_tokens_is_bounded() {
        let tokens = VerifiedTokens::default();
        for number in 0..3 * MOST {
            tokens.get(&number.to_string(), || Some(()));
        }
        assert!(tokens.claims.lock().len() <= MOST);
    }
}
