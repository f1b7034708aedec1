//! Encryption at rest: AES-256-GCM with a fresh nonce for each value, bound to the key under which it is stored.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

use super::StoreError;

/// What is sealed under the name `check`, so that another key is noticed at once.
const CHECK: &[u8] = b"this store opens with this key";

/// Seals and opens values with one key.
pub(super) struct Cipher {
    key: LessSafeKey,
    random: SystemRandom,
    path: PathBuf,
}

impl Cipher {
    /// The key kept in `path`; made there (mode 0600) when it is not there and `create` is set.
    pub(super) fn from_file(path: &Path, create: bool) -> Result<Self, StoreError> {
        let random = SystemRandom::new();
        let named = |source| StoreError::KeyFile {
            path: path.to_owned(),
            source,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => {
                let mode = fs::metadata(path).map_err(named)?.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(StoreError::KeyMode {
                        path: path.to_owned(),
                        mode,
                    });
                }
                text
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
                let mut key = [0u8; 32];
                random.fill(&mut key).map_err(|_| StoreError::Random)?;
                let text = STANDARD.encode(key);
                write_key(path, &text).map_err(named)?;
                text
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::KeyMissing {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(named(error)),
        };
        let shape = || StoreError::KeyShape {
            path: path.to_owned(),
        };
        let raw = STANDARD.decode(text.trim()).map_err(|_| shape())?;
        let key = UnboundKey::new(&AES_256_GCM, &raw).map_err(|_| shape())?;
        Ok(Self {
            key: LessSafeKey::new(key),
            random,
            path: path.to_owned(),
        })
    }

    /// Nonce and ciphertext of `plain`, which only opens again under the same `name`.
    pub(super) fn seal(&self, name: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0u8; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| StoreError::Random)?;
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut body)
            .map_err(|_| StoreError::Seal)?;
        let mut out = nonce.to_vec();
        out.append(&mut body);
        Ok(out)
    }

    /// The plain text of what [`Cipher::seal`] made under `name`.
    pub(super) fn open(&self, name: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let failed = || StoreError::Unsealable;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(name), &mut body)
            .map_err(|_| failed())?;
        Ok(plain.to_vec())
    }

    /// A sealed text by which [`Cipher::check`] knows this key again.
    pub(super) fn mark(&self) -> Result<Vec<u8>, StoreError> {
        self.seal(b"check", CHECK)
    }

    /// Refuses a `mark` that another key made; `of` is where it was found.
    pub(super) fn check(&self, mark: &[u8], of: &Path) -> Result<(), StoreError> {
        match self.open(b"check", mark) {
            Ok(plain) if plain == CHECK => Ok(()),
            _ => Err(StoreError::WrongKey {
                key: self.path.clone(),
                path: of.to_owned(),
            }),
        }
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StoreError::Random)?;
    Ok(bytes)
}

/// Writes a key whole or not at all: a start that is interrupted leaves no half of one.
fn write_key(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

/// Makes a file's directory entry durable: without it a new file may be gone after a power loss.
pub(super) fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
