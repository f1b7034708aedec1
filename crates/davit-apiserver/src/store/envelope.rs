//! An object as it is written down: plain, or sealed where it is of a kind that is kept secret.

use bytes::Bytes;

use super::{GroupResource, Object, ObjectKey, StoreError, cipher::Cipher};

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// The key, and what it is used for.
pub struct Sealing {
    pub(super) cipher: Cipher,
    pub(super) sealed: fn(&GroupResource) -> bool,
}

impl Sealing {
    /// A flag byte and the object, in the form that its collection demands.
    pub(super) fn close(
        &self,
        collection: &GroupResource,
        name: &[u8],
        object: &Object,
    ) -> Result<Vec<u8>, StoreError> {
        if !(self.sealed)(collection) {
            return Ok(pack(vec![PLAIN], object));
        }
        let mut body = vec![SEALED];
        body.append(&mut self.cipher.seal(name, &pack(Vec::new(), object))?);
        Ok(body)
    }

    /// The packed object of what [`Sealing::close`] made under the same name.
    pub(super) fn open(&self, name: &[u8], value: &[u8]) -> Result<Bytes, StoreError> {
        match value.split_first() {
            Some((&PLAIN, body)) => Ok(Bytes::copy_from_slice(body)),
            Some((&SEALED, body)) => Ok(Bytes::from(self.cipher.open(name, body)?)),
            _ => Err(StoreError::Unsealable),
        }
    }
}

/// What a row is called: its parts can hold no NUL.
pub(super) fn row(collection: &GroupResource, key: &ObjectKey) -> Vec<u8> {
    [
        &*collection.group,
        &*collection.resource,
        &*key.namespace,
        &*key.name,
    ]
    .join("\0")
    .into_bytes()
}

fn pack(mut out: Vec<u8>, object: &Object) -> Vec<u8> {
    let (head, metadata_end) = object.offsets();
    out.reserve(object.json().len() + 8);
    out.extend_from_slice(&u32::try_from(head).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&u32::try_from(metadata_end).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(object.json());
    out
}
