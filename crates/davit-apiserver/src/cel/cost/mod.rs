//! The cost of CEL expressions: estimated when a rule is written, counted when it runs.

mod calls;
pub mod estimate;
pub mod runtime;
mod sizes;
