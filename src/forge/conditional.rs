//! Responses that are kept with their `ETag`, so that asking again costs no rate limit where nothing has changed.

use std::collections::VecDeque;

use http::header::{ETAG, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use url::Url;

/// The most responses that are kept for one connection.
const MAX_ENTRIES: usize = 32;
/// The largest body that is kept, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// A response that the forge may confirm with 304.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub etag: HeaderValue,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The kept responses of one connection, oldest first.
#[derive(Debug, Default)]
pub(super) struct Conditional {
    entries: Mutex<VecDeque<(Key, Kept)>>,
}

/// The address and the credential: an `ETag` is valid only for the credential that it was given to.
pub(super) type Key = [u8; 32];

/// The key of a request.
pub(super) fn key(url: &Url, credential: &[u8]) -> Key {
    let mut hash = Sha256::new();
    hash.update(url.as_str().as_bytes());
    hash.update([0]);
    hash.update(credential);
    hash.finalize().into()
}

impl Conditional {
    /// The response that was kept for a request.
    pub fn get(&self, key: &Key) -> Option<Kept> {
        let entries = self.entries.lock();
        let found = entries.iter().find(|(of, _)| of == key);
        found.map(|(_, kept)| kept.clone())
    }

    /// Keeps a response, if it has an `ETag` and is not too large.
    pub fn put(&self, key: Key, headers: &HeaderMap, body: &[u8]) {
        let mut entries = self.entries.lock();
        entries.retain(|(of, _)| *of != key);
        let Some(etag) = headers.get(ETAG).filter(|_| body.len() <= MAX_BODY) else {
            return;
        };
        if entries.len() >= MAX_ENTRIES {
            entries.pop_front();
        }
        let kept = Kept {
            etag: etag.clone(),
            headers: headers.clone(),
            body: body.to_vec(),
        };
        entries.push_back((key, kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_responses_are_bounded_and_belong_to_one_credential() {
        let kept = Conditional::default();
        let url = |n: usize| Url::parse(&format!("https://h/{n}")).unwrap();
        let headers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"1\""))]);
        for n in 0..=MAX_ENTRIES {
            kept.put(key(&url(n), b"token"), &headers, b"[]");
        }
        assert!(
            kept.get(&key(&url(0), b"token")).is_none(),
            "the oldest was dropped"
        );
        assert_eq!(kept.get(&key(&url(1), b"token")).unwrap().body, b"[]");
        assert!(kept.get(&key(&url(1), b"other")).is_none());
        kept.put(key(&url(1), b"token"), &headers, &vec![0; MAX_BODY + 1]);
        assert!(kept.get(&key(&url(1), b"token")).is_none());
        kept.put(key(&url(2), b"token"), &HeaderMap::new(), b"[]");
        assert!(kept.get(&key(&url(2), b"token")).is_none());
    }
}
