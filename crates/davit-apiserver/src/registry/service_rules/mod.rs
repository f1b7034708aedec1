//! Services: defaults, addresses, and validation as upstream does it.
//!
//! No network uses the addresses: they are drawn from upstream's ranges, not allocated from a pool.

mod addresses;
mod balancer;
mod conditions;
mod defaults;
mod spec;
#[cfg(test)]
mod tests;
mod updates;
mod validation;

pub(super) use self::{
    conditions::{set_times, untimed_conditions},
    defaults::{allocate, default},
    updates::keep_allocated,
    validation::validate,
};
