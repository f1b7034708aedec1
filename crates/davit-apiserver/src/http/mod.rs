//! The HTTP side of the API: connections, requests, content negotiation, responses.

mod authorization;
pub mod dispatch;
pub mod duplicate_fields;
pub mod flow_control;
pub mod health;
mod indent;
mod keeping;
mod lenient_json;
pub mod list_stream;
pub mod listener;
pub mod metrics;
mod mounted;
pub mod negotiation;
pub mod request;
pub mod request_body;
pub mod response;
pub mod selector;
pub mod watch_stream;
