//! Webhook deliveries: the sender from the headers, the signature over the raw body, and what was pushed. Pure.

mod event;
mod parse;
mod registry;
mod verify;

pub use self::event::{Event, MAX_BODY, Push, PushedRef, Refusal, Sender};
pub use self::parse::parse;
pub use self::verify::{is_signed, verify, verify_token};
