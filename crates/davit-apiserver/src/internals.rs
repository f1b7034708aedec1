//! Internals that conformance tests and fuzz targets drive directly. Not part of the API.

pub use crate::schema::Schema;

/// Server-side apply.
pub mod fieldmanager {
    pub use crate::fieldmanager::{ApplyError, Conflict, Target, apply, keep_times, update};
}

/// Patches.
pub mod patch {
    pub use crate::patch::{PatchError, json_patch, merge_patch, strategic_merge_patch};
}

/// Tables of kubectl.
pub mod table {
    pub use crate::table::{Column, IncludeObject, table};
}
