//! The tokens of OAuth applications at every forge that has them: valid, wrong, expired, and without the permissions that are
//! needed.

use davit::api::{GitProviderSpec, Reason};
use davit::error::{Class, Problem};
use davit::forge::{ForgeSecrets, HttpOptions, TokenWriter, connect};
use davit::redact::Secret;
use serde_json::{Value, json};

use crate::forge::loopback_options;
use crate::forges::oauth::{Memory, gitlab, tokens};
use crate::forges::servers::{bitbucket, gitea, gitlab as of_gitlab};

/// What is stored: the access token, the refresh token, and for how many seconds the former is valid. Then what comes of it:
/// the access token afterwards, or the reason and the words of the message.
type Row<'a> = (&'a str, &'a str, i64, Result<&'a str, (Reason, &'a str)>);

async fn check(spec: &Value, client_secret: &str, options: &HttpOptions, rows: &[Row<'_>]) {
    let spec: GitProviderSpec = serde_json::from_value(spec.clone()).unwrap();
    for (access, refresh, seconds, expected) in rows {
        let store = Memory::with(tokens(access, refresh, *seconds));
        let secrets = ForgeSecrets {
            credential: Some(Secret::from(client_secret)),
            ca: None,
            tokens: Some(TokenWriter::new(store.clone())),
        };
        let forge = connect(&spec, &secrets, options).unwrap();
        match (forge.check().await, expected) {
            (Ok(_), Ok(used)) => assert_eq!(store.access(), *used),
            (Err(error), Err((reason, words))) => {
                let shown = format!("{error} {error:?}");
                let found = Problem::of(&error);
                assert_eq!(
                    (found.reason, found.class),
                    (*reason, Class::Terminal),
                    "{found:?}"
                );
                assert!(found.message.contains(words), "{found:?}");
                assert!(!shown.contains(access) && !shown.contains(refresh), "{shown}");
            }
            (found, expected) => panic!("{access}, {refresh}: {found:?} in place of {expected:?}"),
        }
    }
}

const REFUSED: (Reason, &str) = (Reason::ForgeAuthFailed, "");
const SIGN_IN: (Reason, &str) = (Reason::ForgeAuthFailed, "authorise the OAuth application again");

#[tokio::test]
async fn tokens_of_a_gitlab_application_that_do_not_fit_are_explained() {
    let (server, spec) = gitlab().await;
    let rows = [
        ("access-0-4d0f", "refresh-0-4d0f", 7200, Ok("access-0-4d0f")),
        ("wrong-4d0f", "refresh-0-4d0f", 7200, Err(REFUSED)),
        ("access-0-4d0f", "refresh-9-4d0f", -1, Err(SIGN_IN)),
        ("access-0-4d0f", "refresh-0-4d0f", -1, Ok("access-1-4d0f")),
    ];
    check(&spec, of_gitlab::APP.1, &loopback_options(), &rows).await;
    server.service.pair.lock().unwrap().0 = of_gitlab::WEAK.to_owned();
    let scope = (Reason::ForgeScopeMissing, "read_api");
    let rows = [(of_gitlab::WEAK, "refresh-0-4d0f", 7200, Err(scope))];
    check(&spec, of_gitlab::APP.1, &loopback_options(), &rows).await;
    server.assert_legal();
}

#[tokio::test]
async fn tokens_of_a_bitbucket_consumer_that_do_not_fit_are_explained() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let oauth = json!({"clientId": bitbucket::CLIENT.0, "clientSecretRef": {"name": "bb"}, "tokensSecretRef": {"name": "tokens"}});
    let spec = json!({"bitbucket": {"workspace": "acme", "oauth": oauth}});
    let rows = [
        ("consumer-user-0", "refresh-0", 7200, Ok("consumer-user-0")),
        ("wrong-4d0f", "refresh-0", 7200, Err(REFUSED)),
        ("consumer-user-0", "refresh-9", -1, Err(SIGN_IN)),
        (
            "consumer-weak4d0f",
            "refresh-0",
            7200,
            Err((Reason::ForgeScopeMissing, "the scope repository")),
        ),
        ("consumer-user-0", "refresh-0", -1, Ok("consumer-user-1")),
    ];
    check(&spec, bitbucket::CLIENT.1, &options, &rows).await;
    server.assert_legal();
}

#[tokio::test]
async fn tokens_of_a_gitea_application_that_do_not_fit_are_explained() {
    let server = gitea::start().await;
    let oauth =
        json!({"clientId": "id", "clientSecretRef": {"name": "app"}, "tokensSecretRef": {"name": "tokens"}});
    let spec = json!({"gitea": {"url": server.url, "oauth": oauth}});
    let rows = [
        (gitea::TOKEN, gitea::REFRESH, 3600, Ok(gitea::TOKEN)),
        ("wrong-4d0f", gitea::REFRESH, 3600, Err(REFUSED)),
        ("expired-4d0f", "refresh-9-4d0f", -1, Err(SIGN_IN)),
        (
            gitea::WEAK,
            gitea::REFRESH,
            3600,
            Err((Reason::ForgeScopeMissing, "read:user")),
        ),
        ("expired-4d0f", gitea::REFRESH, -1, Ok(gitea::TOKEN)),
    ];
    check(&spec, "secret", &loopback_options(), &rows).await;
    server.assert_legal();
}

#[tokio::test]
async fn wrong_client_secret_is_no_refused_token_and_is_tried_again_when_it_is_corrected() {
    let (server, spec) = gitlab().await;
    let spec: GitProviderSpec = serde_json::from_value(spec).unwrap();
    let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
    let writer = TokenWriter::new(store.clone());
    let connected = |client_secret: &str| {
        let secrets = ForgeSecrets {
            credential: Some(Secret::from(client_secret)),
            ca: None,
            tokens: Some(writer.clone()),
        };
        connect(&spec, &secrets, &loopback_options()).unwrap()
    };
    for _ in 0..2 {
        let found = Problem::of(&connected("wrong").check().await.unwrap_err());
        assert_eq!(
            (found.reason, found.class),
            (Reason::ForgeAuthFailed, Class::Terminal)
        );
        let text = &found.message;
        assert!(
            text.contains("refuses the OAuth application: invalid_client"),
            "{text}"
        );
        assert!(text.contains("correct its ID and its secret"), "{text}");
        assert!(
            !text.contains("never arrived") && !text.contains("authorise"),
            "{text}"
        );
        assert_eq!(store.replacing_since(), None, "the replacement has ended");
    }
    let asked = server
        .requests()
        .iter()
        .filter(|line| line.ends_with("/oauth/token"))
        .count();
    assert_eq!(asked, 1, "a write of the Secret must not lead to another request");
    connected(of_gitlab::APP.1).check().await.unwrap();
    assert_eq!(store.access(), "access-1-4d0f");
    server.assert_legal();
}

#[tokio::test]
async fn page_of_a_proxy_in_place_of_tokens_is_no_refusal() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let is_refused = away.load(Ordering::SeqCst) && request.uri().path().ends_with("/access_token");
        async move {
            let body = match request.uri().path() {
                _ if is_refused => "<html>sign in</html>",
                "/login/oauth/access_token" => {
                    r#"{"access_token": "new-4d0f", "refresh_token": "next-4d0f", "expires_in": 3600}"#
                }
                "/api/v1/version" => r#"{"version": "1.27.0"}"#,
                "/api/v1/user" => r#"{"login": "jane"}"#,
                _ => "[]",
            };
            let (status, kind) = if is_refused {
                (401, "text/html")
            } else {
                (200, "application/json")
            };
            let response = http::Response::builder()
                .status(status)
                .header("content-type", kind);
            response.body(body.to_owned()).unwrap()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let oauth = json!({"clientId": "id", "tokensSecretRef": {"name": "tokens"}});
    let spec = json!({"gitea": {"url": url, "oauth": oauth}});
    let spec: GitProviderSpec = serde_json::from_value(spec).unwrap();
    let store = Memory::with(tokens("old-4d0f", "refresh-4d0f", -1));
    let secrets = ForgeSecrets {
        credential: None,
        ca: None,
        tokens: Some(TokenWriter::new(store.clone())),
    };
    let forge = connect(&spec, &secrets, &loopback_options()).unwrap();
    let found = Problem::of(&forge.check().await.unwrap_err());
    assert_eq!(found.class, Class::Transient, "{found:?}");
    is_away.store(false, Ordering::SeqCst);
    assert_eq!(forge.check().await.unwrap().name, "jane");
    assert_eq!(store.access(), "new-4d0f");
}
