//! What does not hold yet. Both lists may only shrink: a new entry fails, and so does one that is solved and still listed.

/// The imports that are part of a circle of files.
pub const CIRCLES: &[&str] = &[];

/// The files of more than 500 lines.
pub const LONGER: &[&str] = &[];
