//! The API described: `/openapi/v3` with a document per group and version, and `/openapi/v2` for older clients.
//!
//! Documents are made when they are asked for and not kept: the schemas of the built-in kinds alone are larger than
//! everything else that an idle server holds.

mod builtin;
mod custom;
mod described;
mod dialect;
pub mod handler;
mod operations;
mod proto;
#[cfg(test)]
mod tests;
mod v2;
mod v3;

pub use self::{
    described::Described,
    proto::encode as v2_protobuf,
    v2::document as v2_document,
    v3::{document as v3_document, index as v3_index},
};
