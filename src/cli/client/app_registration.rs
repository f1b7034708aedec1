//! Registers an App in a browser: a page on this machine sends the manifest, and receives the code.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use tokio::sync::mpsc;

use super::output::note;
use crate::cli::failure::{Code, Failure};
use crate::forge::HttpOptions;
use crate::forge::onboarding::{AppManifest, Converted, Wish};
use crate::http::{self as server, Limits, Served};
use crate::redact::Secret;

/// How long a code of the forge is valid.
const PATIENCE: Duration = Duration::from_hours(1);

const DONE: &str = "<!DOCTYPE html><meta charset=\"utf-8\"><title>Davit</title><p>The App is registered. Return to the terminal.";

/// Waits until the user has registered the App, and exchanges the code.
///
/// # Errors
/// The user gave up, or the forge refuses the code.
pub async fn register(wish: &Wish, options: &HttpOptions) -> Result<Converted, Failure> {
    let listener = server::bind("the page of the registration", ([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?;
    let state = Secret::from(random());
    let manifest = AppManifest::new(wish, &format!("http://{address}/callback"), state, options);
    let manifest = Arc::new(manifest.map_err(Failure::new)?);
    // Other users of this machine do not know the path, and so not the state in the page.
    let path = format!("/{}", random());
    let (sender, mut codes) = mpsc::channel(1);
    let page = manifest.page();
    note(&format!(
        "Open this address in a browser on this machine:\n  http://{address}{path}\n\
         or this one in a browser on another machine:\n  data:text/html;base64,{}\n\
         In the end the browser is led to an address that begins with http://{address}/callback. If it cannot open that address,\n\
         paste the address here:",
        STANDARD.encode(&page)
    ));
    let router = Router::new()
        .route(&path, get(move || std::future::ready(Html(page.clone()))))
        .route("/callback", get(callback))
        .with_state((Arc::clone(&manifest), sender));
    let served = Served::start(listener, router, Limits::default());
    let mut pasted = pasted();
    let waited = async {
        loop {
            tokio::select! {
                Some(code) = codes.recv() => return code,
                Some(line) = pasted.recv() => match manifest.pasted(&line) {
                    Ok(code) => return code,
                    Err(message) => note(&message),
                },
            }
        }
    };
    let code = tokio::time::timeout(PATIENCE, waited).await.map_err(|_| {
        Failure::with_code(
            Code::TimedOut,
            "nothing was registered within an hour: begin anew",
        )
    })?;
    let converted = manifest.convert(&code, options).await;
    served.close().await;
    converted.map_err(|error| forge_failure(&error))
}

/// An error of the forge in the words of a failed command.
pub fn forge_failure(error: &(impl crate::error::Explain + 'static)) -> Failure {
    Failure::new(crate::error::Problem::of(error).message)
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The lines of standard input that are not empty.
fn pasted() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        for line in lines.filter(|line| !line.trim().is_empty()) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        // Without standard input the page alone can receive the code; the channel stays open for it.
        std::thread::park();
        drop(sender);
    });
    receiver
}

async fn callback(
    State((manifest, sender)): State<(Arc<AppManifest>, mpsc::Sender<String>)>,
    RawQuery(query): RawQuery,
) -> Response {
    match manifest.code(query.as_deref().unwrap_or_default()) {
        Ok(code) => {
            // A second code is not waited for.
            let _ = sender.try_send(code);
            Html(DONE).into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
    }
}
