//! Servers that repeat the credential, or name themselves in any way they like: what a user reads has neither the credential
//! nor anything that a terminal obeys.

use davit::error::Problem;
use serde_json::{Value, json};

use crate::forges::bad_answers::{Scripted, TOKEN, options, specs};
use crate::forges::servers::{Answer, Asked, serve};
use crate::forges::try_connect;

/// The credential as it was sent, in any header.
fn sent(asked: &Asked) -> String {
    let header = asked.header("authorization").or(asked.header("private-token"));
    format!("{} \u{1b}[31m", header.unwrap_or_default())
}

#[tokio::test]
async fn credential_that_a_server_repeats_is_in_no_message() {
    /// What the server answers to everything that is signed in.
    type Echo = fn(&str) -> Answer;
    let echoes: [(&str, Echo); 6] = [
        ("its words", |sent| Answer::new(403, json!({"message": sent}))),
        ("another type", |sent| Answer::ok(json!(sent))),
        ("an object with another type", |sent| {
            Answer::ok(json!({"login": {"name": sent}, "username": [sent], "values": sent}))
        }),
        ("a scope", |sent| {
            Answer::new(403, json!({"error": "insufficient_scope", "scope": sent}))
        }),
        ("a scope in a header", |sent| {
            let value = sent.replace('\u{1b}', "");
            Answer::new(403, json!({"message": "Resource not accessible by integration"}))
                .with("x-accepted-github-permissions", value)
        }),
        ("a scope that is required", |sent| {
            let message = format!("token does not have at least one of required scope(s), required=[{sent}]");
            Answer::new(
                403,
                json!({"message": message, "error": {"detail": {"required": [sent]}}}),
            )
        }),
    ];
    for (name, echo) in echoes {
        let server = serve(Scripted(move |asked: &Asked| echo(&sent(asked))), None).await;
        for spec in specs(&server.url) {
            let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
            let Err(error) = forge.check().await else {
                continue;
            };
            let found = Problem::of(&error);
            let shown = format!("{} {error} {error:?}", found.message);
            assert!(!shown.contains(TOKEN), "{name}, {spec}: {shown}");
            assert!(!shown.contains('\u{1b}'), "{name}, {spec}: {shown}");
        }
    }
}

#[tokio::test]
async fn credential_that_a_server_repeats_as_a_name_is_masked() {
    let server = serve(
        Scripted(|asked: &Asked| {
            let name = sent(asked);
            match asked.segments().last() {
                Some(&"user") => Answer::ok(json!({"login": name, "username": name})),
                Some(&"self") => Answer::new(404, Value::Null),
                _ => Answer::ok(json!([])),
            }
        }),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        if spec.get("bitbucket").is_some() {
            // A token of a workspace has no account but that.
            continue;
        }
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        let account = forge.check().await.unwrap();
        assert!(!account.name.contains(TOKEN), "{spec}: {}", account.name);
        assert!(!account.name.is_empty(), "{spec}");
    }
}
