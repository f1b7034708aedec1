//! The contract of all forges, on each of them and with each kind of credential.

use davit::model::GitCredential;
use serde_json::json;

use crate::forge::loopback_options;
use crate::forge_contract::obeys;
use crate::forges::servers::{bitbucket, gitea, github, gitlab};
use crate::forges::{connected, path, try_connect};

#[tokio::test]
async fn github_obeys_the_contract_with_a_token() {
    let server = github::start(github::GitHub::default()).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, &format!("{}\n", github::TOKEN));
    obeys(forge.as_ref(), &server.url, "jane").await;
    let account = forge.check().await.unwrap();
    assert_eq!(account.expires_at.unwrap().to_string(), "2027-10-12T09:00:00Z");
    server.assert_legal();
    let pages = server
        .requests()
        .iter()
        .filter(|line| line.contains("per_page=100") && !line.contains("/commits/"))
        .count();
    assert_eq!(
        pages,
        1 + 3 + 3 + 1,
        "pages of 100, the one of the unknown repository included"
    );
}

#[tokio::test]
async fn github_obeys_the_contract_with_an_app() {
    for installation in [None, Some(1)] {
        let (key, public) = crate::forges::app::key();
        let server = github::start(github::GitHub::with_app(public)).await;
        let mut spec =
            json!({"github": {"url": server.url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
        if let Some(id) = installation {
            spec["github"]["installationId"] = json!(id);
        }
        let forge = connected(&spec, &key);
        obeys(forge.as_ref(), &server.url, "acme").await;
        server.assert_legal();
    }
}

#[tokio::test]
async fn gitlab_obeys_the_contract_below_a_path() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let url = format!("{}/sub", server.url);
    let spec = json!({"gitlab": {"url": format!("{url}/"), "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&spec, gitlab::TOKEN);
    obeys(forge.as_ref(), &url, "jane").await;
    let account = forge.check().await.unwrap();
    assert_eq!(account.expires_at.unwrap().to_string(), "2027-10-12T00:00:00Z");
    let by_id = forge.clone_url(&path("1")).await.unwrap();
    assert_eq!(by_id, forge.clone_url(&path("acme/shop")).await.unwrap());
    let deep = forge.clone_url(&path("acme/web/team/shop")).await.unwrap();
    assert_eq!(deep.to_string(), format!("{url}/acme/web/team/shop.git"));
    server.assert_legal();
}

#[tokio::test]
async fn bitbucket_obeys_the_contract_with_each_credential() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    for (spec, secret, account, user) in [
        (
            json!({"workspace": "acme", "email": bitbucket::EMAIL, "apiTokenSecretRef": {"name": "bb"}}),
            bitbucket::API_TOKEN,
            "jane",
            "x-bitbucket-api-token-auth",
        ),
        (
            json!({"workspace": "acme", "accessTokenSecretRef": {"name": "bb"}}),
            bitbucket::ACCESS_TOKEN,
            "acme",
            "x-token-auth",
        ),
        (
            json!({"workspace": "acme", "oauth": {"clientId": bitbucket::CLIENT.0, "clientSecretRef": {"name": "bb"}}}),
            bitbucket::CLIENT.1,
            "acme",
            "x-token-auth",
        ),
    ] {
        let forge = try_connect(&json!({"bitbucket": spec}), secret, &options).unwrap();
        obeys(forge.as_ref(), &server.url, account).await;
        let credential = forge.clone_credential(&path("acme/shop")).await.unwrap();
        let GitCredential::Basic { username, .. } = &credential.value else {
            panic!("a token is a password");
        };
        assert_eq!(username, user);
        assert_eq!(credential.expires_at.is_some(), secret == bitbucket::CLIENT.1);
    }
    let signed_in = server.service.signed_in.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(signed_in, 1, "the consumer's token is used until it expires");
    server.assert_legal();
}

#[tokio::test]
async fn gitea_obeys_the_contract() {
    let server = gitea::start().await;
    let spec = json!({"gitea": {"url": server.url, "tokenSecretRef": {"name": "gt"}}});
    let forge = connected(&spec, gitea::TOKEN);
    obeys(forge.as_ref(), &server.url, "jane").await;
    server.assert_legal();
}

#[tokio::test]
async fn gitlab_lists_the_projects_of_its_group_only() {
    let server = gitlab::start(gitlab::GitLab::default()).await;
    let group = |name: &str| json!({"gitlab": {"url": format!("{}/sub", server.url), "group": name, "tokenSecretRef": {"name": "gl"}}});
    let forge = connected(&group("acme/web"), gitlab::TOKEN);
    assert_eq!(forge.check().await.unwrap().repositories, 3);
    assert_eq!(forge.all_repositories().await.unwrap().len(), 3);
    let error = connected(&group("nope"), gitlab::TOKEN)
        .check()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("spec.gitlab.group \"nope\" is no group"), "{text}");
    server.assert_legal();
}

#[tokio::test]
async fn gitlab_without_a_count_reports_more_than_it_counted() {
    let server = gitlab::start(gitlab::GitLab {
        uncounted: true,
        ..gitlab::GitLab::default()
    })
    .await;
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "tokenSecretRef": {"name": "gl"}}});
    let account = connected(&spec, gitlab::TOKEN).check().await.unwrap();
    assert_eq!((account.repositories, account.more), (10_000, true));
}
