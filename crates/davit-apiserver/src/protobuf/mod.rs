//! Protobuf, as Go's typed clients send and ask for the built-in types: bodies are decoded to the JSON that they stand
//! for, and answers written from it.

mod decode;
mod encode;
mod messages;
mod wire;

pub use decode::decode;
pub use encode::{END, encode, envelope_head, event, item_name, list_head, list_item};

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
