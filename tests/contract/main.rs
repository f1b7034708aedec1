//! One suite for each trait, run on every implementation of it.

#[path = "../common/mod.rs"]
mod common;

mod forge;
mod forge_answers;
