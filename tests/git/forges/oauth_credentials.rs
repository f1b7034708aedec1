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
