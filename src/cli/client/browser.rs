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
/// No code arrived within an hour.
pub async fn code(listener: TcpListener, callback: &Callback, more: Router) -> Result<String, Failure> {
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
    let code = tokio::time::timeout(PATIENCE, waited).await;
    served.close().await;
    code.map_err(|_| Failure::with_code(Code::TimedOut, "no code arrived within an hour: begin again"))
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
        // Without standard input the page alone can receive the code; the channel stays open for it.
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
