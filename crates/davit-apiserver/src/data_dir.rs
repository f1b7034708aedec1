//! What stands in the data directory.

use std::{io, path::Path};

use crate::store::GroupResource;

/// The store, in the data directory.
pub const STORE_FILE: &str = "store.redb";
/// The key that encrypts Secrets, in the data directory.
pub const KEY_FILE: &str = "encryption.key";

/// Secrets are encrypted at rest.
pub fn sealed(collection: &GroupResource) -> bool {
    collection.group.is_empty() && &*collection.resource == "secrets"
}

/// Makes the directory, for its owner alone, and those above it.
pub fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
