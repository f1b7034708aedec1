//! What holds for every forge.

use davit::api::Reason;
use davit::error::{Class, Explain as _};
use davit::forge::{Account, Forge};
use davit::model::{CheckState, CommitId, CommitState, CommitStatus, GitCredential};
use davit::redact::SafeUrl;
use serde_json::json;

use crate::forge::loopback_options;
use crate::forges::servers::{COMMIT, MANY, bitbucket, branches, gitea, github, gitlab, repositories};
use crate::forges::{connected, path, try_connect};

/// The commit has checks that passed, are pending and failed; a status that is reported is one of them.
async fn reads_checks_and_reports(forge: &dyn Forge) {
    let (shop, commit) = (path("acme/shop"), CommitId::parse(COMMIT).unwrap());
    let state = async |name: &str| {
        let checks = forge.checks(&shop, &commit).await.unwrap();
        let found: Vec<_> = checks.iter().filter(|check| check.name == name).collect();
        assert!(found.len() <= 1, "{checks:?}");
        found.first().map(|check| check.state)
    };
    for (name, expected) in [
        ("build", CheckState::Passed),
        ("test", CheckState::Pending),
        ("lint", CheckState::Failed),
    ] {
        assert_eq!(state(name).await, Some(expected), "{name}");
    }
    let context = "davit/a-namespace-with-a-long-name/an-application-with-a-long-name";
    for (reported, expected) in [
        (CommitState::Pending, CheckState::Pending),
        (CommitState::Pending, CheckState::Pending),
        (CommitState::Failure, CheckState::Failed),
        (CommitState::Success, CheckState::Passed),
    ] {
        let status = CommitStatus {
            context: context.to_owned(),
            state: reported,
            description: "Release shop-1".to_owned(),
            url: None,
        };
        forge.report_status(&shop, &commit, &status).await.unwrap();
        assert_eq!(state(context).await, Some(expected), "{reported:?}");
    }
    let unknown = CommitId::parse(&"f".repeat(40)).unwrap();
    let error = forge.checks(&shop, &unknown).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");
}

/// A forge whose credential reaches [`repositories`], of which `acme/shop` is private and has [`branches`].
async fn obeys(forge: &dyn Forge, web: &str, account: &str) {
    let found = forge.check().await.unwrap();
    let expected = Account {
        name: account.to_owned(),
        repositories: MANY as u64,
        more: false,
        expires_at: found.expires_at,
    };
    assert_eq!(found, expected);

    let first = forge.repositories(None).await.unwrap();
    assert!(
        first.items.len() < MANY && first.next.is_some(),
        "a page is no whole list"
    );
    let all = forge.all_repositories().await.unwrap();
    let paths: Vec<_> = all.iter().map(|repository| repository.path.to_string()).collect();
    assert_eq!(paths, repositories(), "each repository once, in order");
    let shop = all.iter().find(|found| found.path == path("acme/shop")).unwrap();
    assert_eq!(
        (shop.private, shop.default_branch.as_deref()),
        (true, Some("main"))
    );
    assert_eq!(shop.clone_url, forge.clone_url(&shop.path).await.unwrap());
    // From the URL of the spec, whatever the server thinks its address is.
    assert_eq!(shop.clone_url.to_string(), format!("{web}/acme/shop.git"));

    assert_eq!(forge.repository_at(&shop.clone_url), Some(path("acme/shop")));
    for other in [
        "https://evil.example/acme/shop.git",
        "ssh://git@127.0.0.1/acme/shop.git",
    ] {
        assert_eq!(
            forge.repository_at(&SafeUrl::parse(other).unwrap()),
            None,
            "{other}"
        );
    }

    let found = forge.all_branches(&path("acme/shop")).await.unwrap();
    assert_eq!(found, branches(), "each branch once, with its name unchanged");

    let error = forge.branches(&path("acme/not-there"), None).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::GitRepositoryNotFound, Class::Terminal),
        "{error}"
    );
    assert!(error.to_string().contains("acme/not-there"), "{error}");

    reads_checks_and_reports(forge).await;

    let credential = forge.clone_credential(&path("acme/shop")).await.unwrap();
    let GitCredential::Basic { username, password } = &credential.value else {
        panic!("a token is a password");
    };
    assert!(!username.is_empty() && !password.is_empty());
    assert!(
        !format!("{credential:?}").contains("4d0f"),
        "the password is hidden"
    );
}

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
    assert!(error.to_string().contains("the group nope"), "{error}");
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
