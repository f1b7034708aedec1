//! Where a list goes on: opaque to clients, and signed, since it becomes part of a request with a credential.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::forge::Cursor;
use crate::redact::Secret;

/// The place of the next entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageToken {
    /// The forge's page; `None` for the first one.
    pub cursor: Option<Cursor>,
    /// How many entries of that page were listed before.
    pub skip: usize,
    /// How many entries were listed before.
    pub seen: u64,
}

impl PageToken {
    /// The beginning of a list.
    pub fn first() -> Self {
        Self {
            cursor: None,
            skip: 0,
            seen: 0,
        }
    }

    /// The value of `continue` for the list of `scope`.
    pub fn sign(&self, key: &Secret, scope: &str) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let encoded = URL_SAFE_NO_PAD.encode(json);
        let code = mac(key, scope, &encoded).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        format!("{encoded}.{}", code.unwrap_or_default())
    }

    /// Reads a value of `continue`; `None` if it was not made by [`Self::sign`] for the same list.
    pub fn verify(text: &str, key: &Secret, scope: &str) -> Option<Self> {
        let (encoded, code) = text.split_once('.')?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        mac(key, scope, encoded)?.verify_slice(&code).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
    }
}

fn mac(key: &Secret, scope: &str, encoded: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    for part in ["page", scope, encoded] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_accepted_for_the_list_that_it_was_made_for_only() {
        let key = Secret::from("the key");
        let token = PageToken {
            cursor: None,
            skip: 7,
            seen: 107,
        };
        let text = token.sign(&key, "uid repositories");
        assert_eq!(PageToken::verify(&text, &key, "uid repositories"), Some(token));
        assert_eq!(PageToken::verify(&text, &key, "uid branches"), None);
        assert_eq!(
            PageToken::verify(&text, &Secret::from("other"), "uid repositories"),
            None
        );
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'E' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            if changed != text {
                let read = PageToken::verify(&changed, &key, "uid repositories");
                // The last character of a base64 text has bits without meaning, which the decoder refuses.
                assert_eq!(read, None, "{index}");
            }
        }
        for text in ["", ".", "abc", "e30.e30"] {
            assert_eq!(PageToken::verify(text, &key, ""), None, "{text}");
        }
    }
}
