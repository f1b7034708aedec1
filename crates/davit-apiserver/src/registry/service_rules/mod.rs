//! Services: defaults, addresses, and validation as upstream does it.
//!
//! No network uses the addresses: they are drawn from upstream's ranges, not allocated from a pool.

mod addresses;
mod balancer;
mod defaults;
mod spec;
#[cfg(test)]
mod tests;
mod updates;
mod validation;
mod warnings;

pub use self::warnings::warnings;
pub(super) use self::{
    defaults::{allocate, default},
    updates::keep_allocated,
    validation::validate,
};
