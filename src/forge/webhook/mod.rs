//! Webhook deliveries: the sender from the headers, the signature over the raw body, and what was pushed. Pure.

mod event;
mod parse;
mod pull_request;
mod registry;
mod verify;

pub use self::event::{Event, MAX_BODY, Push, PushedRef, Refusal, Sender};
pub use self::verify::{is_signed, is_usable, verify, verify_token};

use http::HeaderMap;

/// Reads what a verified delivery reports: nothing for an event that changes nothing here.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn parse(sender: Sender, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let mut events = pull_request::parse(sender, headers, body)?;
    events.extend(parse::parse(sender, headers, body)?);
    Ok(events)
}
