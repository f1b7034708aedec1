//! What `fuzz/` and the tests both throw at the server: each target makes something of arbitrary bytes.

pub mod patches;
pub mod paths;
pub mod requests;
pub mod rules;
pub mod schemas;
mod source;

use std::time::Duration;

/// What takes longer hangs. A busy machine takes its time for what is right: how long one input may take is for
/// libFuzzer to say, which has the machine for itself.
const SLOW: Duration = Duration::from_mins(1);
