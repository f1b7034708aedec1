//! The key that signs the tokens of service accounts: JSON web tokens (ES256).

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    status::{ApiError, ApiResult},
    store::StoreError,
};

/// The key that signs tokens.
pub struct Keys {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Keys {
    /// Reads `sa.key` in the directory, or makes it (mode 0600); without a directory the key is forgotten.
    pub fn open(directory: Option<&Path>) -> Result<Self, StoreError> {
        let random = SystemRandom::new();
        let path = directory.map(|directory| directory.join("sa.key"));
        let stored = match &path {
            Some(path) => match fs::read(path) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(source) => {
                    return Err(StoreError::KeyFile {
                        path: path.clone(),
                        source,
                    });
                }
            },
            None => None,
        };
        let document = if let Some(stored) = stored {
            stored
        } else {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| StoreError::Random)?;
            if let Some(path) = &path {
                let failed = |source| StoreError::KeyFile {
                    path: path.clone(),
                    source,
                };
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                file.write_all(made.as_ref())
                    .and_then(|()| file.sync_all())
                    .map_err(failed)?;
            }
            made.as_ref().to_vec()
        };
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random).map_err(|_| {
                StoreError::KeyShape {
                    path: path.unwrap_or_default(),
                }
            })?;
        Ok(Self { pair, random })
    }

    /// The public key as a JSON web key.
    pub fn public(&self) -> Value {
        // The uncompressed point: 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at_checked(32)
            .unwrap_or_default();
        json!({"use": "sig", "kty": "EC", "kid": self.id(), "alg": "ES256", "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    /// The id of the key: the digest of its public part.
    fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.pair.public_key().as_ref()))
    }

    /// A token that says `claims`.
    pub fn sign(&self, claims: &Value) -> ApiResult<String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id()});
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&self.random, text.as_bytes())
            .map_err(|_| ApiError::internal("the token could not be signed"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token of ours says.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        public.verify(text.as_bytes(), &signature).ok()?;
        let (_, claims) = text.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}
