//! Registers an App in a browser: a page on this machine sends the manifest, and receives the code.

use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::browser::{self, PATH, random};
use super::output::note;
use crate::api::Reason;
use crate::cli::failure::Failure;
use crate::error::{Explain, Problem, chain};
use crate::forge::HttpOptions;
use crate::forge::onboarding::{AppManifest, Callback, Converted, Wish};
use crate::http as server;
use crate::redact::Secret;

/// Waits until the user has registered the App, and exchanges the code.
///
/// # Errors
/// The user gave up or took longer than the limit, or the forge refuses the code.
pub async fn register(
    wish: &Wish,
    options: &HttpOptions,
    limit: Option<Duration>,
) -> Result<Converted, Failure> {
    let listener = server::bind("the page of the registration", ([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?;
    let callback = Callback::new(format!("http://{address}{PATH}"), Secret::from(random()));
    let manifest = AppManifest::new(wish, callback, options).map_err(Failure::new)?;
    // Other users of this machine do not know the path, and so not the state in the page.
    let path = format!("/{}", random());
    let page = manifest.page();
    note(&format!(
        "Open this address in a browser on this machine:\n  http://{address}{path}\n\
         or this one in a browser on another machine:\n  data:text/html;base64,{}\n\
         In the end the browser is led to an address that begins with http://{address}{PATH}. If it cannot open that address,\n\
         paste the address here:",
        STANDARD.encode(&page)
    ));
    let pages = Router::new().route(&path, get(move || std::future::ready(Html(page.clone()))));
    let code = browser::code(listener, manifest.callback(), pages, limit).await?;
    let converted = manifest.convert(&code, options).await;
    converted.map_err(|error| forge_failure(&error))
}

/// An error of the forge in the words of a failed command, which has no Secret yet and is not tried again.
pub fn forge_failure(error: &(impl Explain + 'static)) -> Failure {
    let hint = match error.reason() {
        Reason::ForgeAuthFailed => "check the token, or --client-id, --client-secret-file and the code",
        Reason::ForgeUnreachable
        | Reason::ForgeTimeout
        | Reason::ForgeResponseIncomplete
        | Reason::ForgeResponseInvalid => "check the address, the network and the proxies on the way",
        _ => return Failure::new(Problem::of(error).message),
    };
    Failure::new(format!("{}: {hint}", chain(error)))
}
