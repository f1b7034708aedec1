//! Git with the credential of a forge, which is requested when Git starts: a GitHub in front of a real Gitea, whose
//! repositories it gives to installation tokens only.

use davit::api::Reason;
use davit::controller::resolve::remote::{ForgeRemote, Remote};
use davit::forge::Reach;
use davit::model::RefSpec;
use davit::source::{Fields, Git, GitOptions};
use serde_json::json;

use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::forges::app::key;
use crate::forges::servers::github::{self, Backend, GitHub};
use crate::forges::{connected, path};

fn git(dir: &std::path::Path) -> Git {
    let mut options = GitOptions::new(dir.join("cache"), env!("CARGO_BIN_EXE_davit"));
    options.allow_file = true;
    Git::new(options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn app_token_is_requested_when_git_starts_and_replaced_when_it_is_revoked() {
    let (gitea, repo) = tokio::task::spawn_blocking(|| {
        let gitea = Gitea::start();
        let repo = GitRepo::with(&[("index.html", "from a private repository")]);
        gitea.create_repository("shop", &repo);
        (gitea, repo)
    })
    .await
    .unwrap();
    let mut service = GitHub::with_app(key().1);
    service.backend = Some(Backend {
        url: format!("{}/{}", gitea.url, gitea.user),
        user: gitea.user.clone(),
        token: gitea.token.clone(),
    });
    let server = github::start(service).await;
    let spec = json!({"github": {"url": server.url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
    let remote = |repository: &str| {
        Remote::Forge(ForgeRemote {
            forge: connected(&spec, &key().0),
            repository: path(repository),
            reach: Reach::Repository,
            ca: None,
            server: server.url.clone(),
            fields: Fields {
                url: "spec.source.github.repository",
                ..Fields::GIT
            },
        })
    };
    let created = || {
        server
            .requests()
            .iter()
            .filter(|line| line.ends_with("/access_tokens"))
            .count()
    };
    let dir = tempfile::tempdir().unwrap();
    let git = git(dir.path());
    let main = RefSpec::Branch("main".to_owned());

    let shop = remote("acme/shop");
    assert_eq!(created(), 0, "nothing is requested before Git starts");
    let found = shop.resolve(&git, &main).await.unwrap();
    assert_eq!((found.as_str(), created()), (repo.head().as_str(), 1));
    shop.resolve(&git, &main).await.unwrap();
    assert_eq!(created(), 1, "the token is kept");

    server.service.revoke_tokens();
    let found = shop.resolve(&git, &main).await.unwrap();
    assert_eq!((found.as_str(), created()), (repo.head().as_str(), 2));

    let problem = remote("acme/hidden").resolve(&git, &main).await.unwrap_err();
    assert_eq!(problem.reason, Reason::GitRepositoryNotFound, "{problem:?}");
    assert!(
        problem
            .message
            .starts_with("spec.source.github.repository: find an installation"),
        "{problem:?}"
    );
    tokio::task::spawn_blocking(move || drop(gitea)).await.unwrap();
}
