//! Each kind of credential: valid in the contract, and here wrong, expired and without the permissions that are needed.

use davit::api::Reason;
use davit::error::{Class, Explain as _};
use davit::forge::HttpOptions;
use serde_json::{Value, json};

use crate::forge::loopback_options;
use crate::forges::servers::{bitbucket, gitea, github, gitlab};
use crate::forges::{problem, try_connect};

/// A spec, a credential, and the reason and the words of the message.
type Row<'a> = (Value, &'a str, Reason, &'a str);

async fn check(rows: Vec<Row<'_>>, options: &HttpOptions) {
    for (spec, secret, reason, words) in rows {
        let forge = try_connect(&spec, secret, options).unwrap();
        let found = problem(forge.as_ref(), secret).await;
        assert_eq!(
            (found.reason, found.class),
            (reason, Class::Terminal),
            "{secret}: {found:?}"
        );
        assert!(found.message.contains(words), "{secret}: {found:?}");
    }
}

#[tokio::test]
async fn github_token_that_does_not_fit_is_explained() {
    let server = github::start(github::GitHub::default()).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let rows = vec![
        (
            spec.clone(),
            "ghp_wrong4d0f",
            Reason::ForgeAuthFailed,
            "Bad credentials: put a valid credential",
        ),
        (
            spec.clone(),
            github::EXPIRED,
            Reason::ForgeAuthFailed,
            "refused the credential",
        ),
        (
            spec,
            github::WEAK,
            Reason::ForgeScopeMissing,
            "lacks the scope repo",
        ),
    ];
    check(rows, &loopback_options()).await;
    server.assert_legal();
}

#[tokio::test]
async fn gitlab_token_that_does_not_fit_is_explained() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "tokenSecretRef": {"name": "gl"}}});
    let rows = vec![
        (
            spec.clone(),
            "glpat-wrong4d0f",
            Reason::ForgeAuthFailed,
            "refused the credential",
        ),
        (
            spec.clone(),
            gitlab::EXPIRED,
            Reason::ForgeAuthFailed,
            "Token is expired",
        ),
        (
            spec.clone(),
            gitlab::WEAK,
            Reason::ForgeScopeMissing,
            "lacks the scope read_api",
        ),
    ];
    check(rows, &loopback_options()).await;
    let group = json!({"gitlab": {"url": format!("{}/sub", server.url), "group": "acme/none", "tokenSecretRef": {"name": "gl"}}});
    let rows = vec![(
        group,
        gitlab::TOKEN,
        Reason::InvalidSpec,
        "spec.gitlab.group \"acme/none\"",
    )];
    check(rows, &loopback_options()).await;
    // A fine-grained token that may not read itself is no error.
    let forge = try_connect(&spec, gitlab::GRANULAR, &loopback_options()).unwrap();
    assert_eq!(forge.check().await.unwrap().expires_at, None);
    server.assert_legal();
}

#[tokio::test]
async fn bitbucket_credential_that_does_not_fit_is_explained() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let api = |email: &str| json!({"bitbucket": {"workspace": "acme", "email": email, "apiTokenSecretRef": {"name": "bb"}}});
    let access = json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "bb"}}});
    let oauth = json!({"bitbucket": {"workspace": "acme", "oauth": {"clientId": "key4d0f", "clientSecretRef": {"name": "bb"}}}});
    let weak = json!({"bitbucket": {"workspace": "acme", "oauth": {"clientId": bitbucket::WEAK_CLIENT.0, "clientSecretRef": {"name": "bb"}}}});
    let elsewhere = json!({"bitbucket": {"workspace": "other", "accessTokenSecretRef": {"name": "bb"}}});
    let rows = vec![
        (
            api(bitbucket::EMAIL),
            "wrong4d0f",
            Reason::ForgeAuthFailed,
            "Token is invalid",
        ),
        (
            api(bitbucket::EMAIL),
            bitbucket::EXPIRED,
            Reason::ForgeAuthFailed,
            "expired",
        ),
        (
            api("other@example.com"),
            bitbucket::API_TOKEN,
            Reason::ForgeAuthFailed,
            "Token is invalid",
        ),
        (
            api(bitbucket::EMAIL),
            bitbucket::WEAK,
            Reason::ForgeScopeMissing,
            "read:repository:bitbucket",
        ),
        (
            access.clone(),
            "wrong4d0f",
            Reason::ForgeAuthFailed,
            "Token is invalid",
        ),
        (
            access.clone(),
            "ATCTT3xexpired4d0f",
            Reason::ForgeAuthFailed,
            "expired",
        ),
        (
            access,
            bitbucket::WEAK,
            Reason::ForgeScopeMissing,
            "the scope repository",
        ),
        (
            weak,
            bitbucket::WEAK_CLIENT.1,
            Reason::ForgeScopeMissing,
            "the scope repository",
        ),
        (
            oauth,
            "wrong4d0f",
            Reason::ForgeAuthFailed,
            "Invalid OAuth client credentials",
        ),
        (
            elsewhere,
            bitbucket::ACCESS_TOKEN,
            Reason::GitRepositoryNotFound,
            "the workspace other",
        ),
    ];
    check(rows, &options).await;
    server.assert_legal();
}

#[tokio::test]
async fn gitea_token_that_does_not_fit_is_explained() {
    let server = gitea::start().await;
    let spec = json!({"gitea": {"url": server.url, "tokenSecretRef": {"name": "gt"}}});
    let rows = vec![
        (
            spec.clone(),
            "wrong4d0f",
            Reason::ForgeAuthFailed,
            "refused the credential",
        ),
        (
            spec,
            gitea::WEAK,
            Reason::ForgeScopeMissing,
            "lacks the scope read:user",
        ),
    ];
    check(rows, &loopback_options()).await;
    server.assert_legal();
}

#[test]
fn empty_or_broken_token_is_refused_before_it_is_sent() {
    for spec in [
        json!({"github": {"tokenSecretRef": {"name": "s"}}}),
        json!({"gitlab": {"tokenSecretRef": {"name": "s"}}}),
        json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "s"}}}),
        json!({"gitea": {"url": "https://git.example.com", "tokenSecretRef": {"name": "s"}}}),
    ] {
        for token in ["", " \n", "a\nb"] {
            let found = try_connect(&spec, token, &loopback_options())
                .map(|_| ())
                .unwrap_err();
            assert_eq!(
                (found.reason(), found.class()),
                (Reason::SecretInvalid, Class::Terminal),
                "{spec} {token:?}: {found}"
            );
        }
        // Tokens are opaque: any length and any printable characters.
        let long = format!("ghs_1234_{}", "ey.J-_".repeat(1000));
        assert!(try_connect(&spec, &long, &loopback_options()).is_ok());
    }
}
