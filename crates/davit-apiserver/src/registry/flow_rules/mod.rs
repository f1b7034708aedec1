//! The defaults and the rules of flow schemas and priority levels.

mod levels;
mod schemas;
#[cfg(test)]
mod tests;
mod values;

pub(super) use self::{
    levels::{default_level, level},
    schemas::{default_schema, schema},
};
