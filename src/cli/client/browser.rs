//! Receives the code with which a forge leads the browser back: at a page on this machine, or on standard input.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::output::note;
use super::times::short;
use crate::cli::failure::{Code, Failure};
use crate::forge::onboarding::Callback;
use crate::http::{Limits, Served};

/// The path at which the code arrives.
pub const PATH: &str = "/callback";

/// How long a user may take.
const PATIENCE: Duration = Duration::from_hours(1);

const DONE: &str = "<!DOCTYPE html><meta charset=\"utf-8\"><title>Davit</title><p>Davit has the code. Return to the terminal.";

/// Waits for the code. `more` are other pages of the same server.
///
/// # Errors
/// No code arrived in this time, at most an hour.
pub async fn code(
    listener: TcpListener,
    callback: &Callback,
    more: Router,
    limit: Option<Duration>,
) -> Result<String, Failure> {
    let limit = limit.unwrap_or(PATIENCE).min(PATIENCE);
    let (sender, mut codes) = mpsc::channel(1);
    let router = Router::new()
        .route(PATH, get(receive))
        .with_state((Arc::new(callback.clone()), sender))
        .merge(more);
    let served = Served::start(listener, router, Limits::default());
    let mut pasted = pasted();
    let waited = async {
        loop {
            tokio::select! {
                Some(code) = codes.recv() => return code,
                Some(line) = pasted.recv() => match callback.pasted(&line) {
                    Ok(code) => return code,
                    Err(message) => note(&message),
                },
            }
        }
    };
    let code = tokio::time::timeout(limit, waited).await;
    served.close().await;
    code.map_err(|_| {
        let message = format!(
            "no code arrived within {}: open the address in a browser, and begin again",
            short(limit)
        );
        Failure::with_code(Code::TimedOut, message)
    })
}

/// A value that cannot be guessed.
pub fn random() -> String {
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
        // The channel stays open for the page.
        note(
            "Standard input has ended, so the code can only arrive through the browser; Ctrl-C ends the command.",
        );
        std::thread::park();
        drop(sender);
    });
    receiver
}

async fn receive(
    State((callback, sender)): State<(Arc<Callback>, mpsc::Sender<String>)>,
    RawQuery(query): RawQuery,
) -> Response {
    match callback.code(query.as_deref().unwrap_or_default()) {
        Ok(code) => {
            // A second code is not waited for.
            let _ = sender.try_send(code);
            Html(DONE).into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    #[tokio::test]
    async fn waiting_for_the_browser_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let callback = Callback::new(address, Secret::from("state"));
        let limit = Some(Duration::from_millis(10));
        let failure = code(listener, &callback, Router::new(), limit).await.unwrap_err();
        assert_eq!(failure.code, Code::TimedOut);
    }
}
