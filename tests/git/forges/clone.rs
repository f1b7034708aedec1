//! Git with the credential of a forge, which is requested when Git starts: a GitHub in front of a real Gitea, whose
//! repositories it gives to installation tokens only.

use davit::api::Reason;
use davit::controller::resolve::remote::{ForgeRemote, Remote};
use davit::job_log::JobLog;
use davit::model::{CommitId, RefSpec};
use davit::redact::Masker;
use davit::source::{CheckoutRequest, Fields, Git, GitOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::forges::app::key;
use crate::forges::servers::Server;
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
            named: path(repository),
            moves: davit::forge::Moves::default(),
            only_own: false,
            identity: "acme".to_owned(),
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
    assert_eq!((found.commit.as_str(), created()), (repo.head().as_str(), 1));
    shop.resolve(&git, &main).await.unwrap();
    assert_eq!(created(), 1, "the token is kept");

    server.service.revoke_tokens();
    let found = shop.resolve(&git, &main).await.unwrap();
    assert_eq!((found.commit.as_str(), created()), (repo.head().as_str(), 2));

    let problem = remote("acme/hidden").resolve(&git, &main).await.unwrap_err();
    assert_eq!(problem.reason, Reason::GitRepositoryNotFound, "{problem:?}");
    assert!(
        problem
            .message
            .starts_with("spec.source.github.repository: an installation"),
        "{problem:?}"
    );
    tokio::task::spawn_blocking(move || drop(gitea)).await.unwrap();
}

/// `shop` with `repo-001` as a submodule, at a real Gitea, behind a GitHub with an App.
async fn with_submodule() -> (Gitea, Server<GitHub>, GitRepo) {
    let (gitea, shop) = tokio::task::spawn_blocking(|| {
        let gitea = Gitea::start();
        let lib = GitRepo::with(&[("lib", "the submodule")]);
        gitea.create_repository("repo-001", &lib);
        let shop = GitRepo::with(&[(
            ".gitmodules",
            "[submodule \"lib\"]\n\tpath = lib\n\turl = ../repo-001.git\n",
        )]);
        let entry = format!("160000,{},lib", lib.head());
        shop.git(["update-index", "--add", "--cacheinfo", &entry]);
        shop.git(["commit", "--quiet", "--message", "add a submodule"]);
        gitea.create_repository("shop", &shop);
        (gitea, shop)
    })
    .await
    .unwrap();
    let mut service = GitHub::with_app(key().1);
    service.backend = Some(Backend {
        url: format!("{}/{}", gitea.url, gitea.user),
        user: gitea.user.clone(),
        token: gitea.token.clone(),
    });
    (gitea, github::start(service).await, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn submodule_gets_a_token_of_its_own_and_the_cache_outlives_the_tokens() {
    let (gitea, server, shop) = with_submodule().await;
    let spec = json!({"github": {"url": server.url, "appId": 1234, "privateKeySecretRef": {"name": "gh"}}});
    let remote = Remote::Forge(ForgeRemote {
        forge: connected(&spec, &key().0),
        named: path("acme/shop"),
        moves: davit::forge::Moves::default(),
        only_own: false,
        identity: "acme".to_owned(),
        ca: None,
        server: server.url.clone(),
        fields: Fields::GIT,
    });
    let dir = tempfile::tempdir().unwrap();
    let git = git(dir.path());
    let log = JobLog::open(&dir.path().join("log"), Masker::default()).unwrap();
    let commit = CommitId::parse(&shop.head()).unwrap();
    let fetched = || {
        let is_fetch = |line: &&String| line.starts_with("POST") && line.ends_with("git-upload-pack");
        server.requests().iter().filter(is_fetch).count()
    };
    let check_out = async || {
        let remote = remote.open().await.unwrap();
        let request = CheckoutRequest {
            remote: &remote,
            commit: &commit,
            spec: &RefSpec::Default,
            submodules: true,
        };
        let cancel = CancellationToken::new();
        let checkout = git.checkout(request, dir.path(), &log, &cancel);
        let checkout = checkout.await.unwrap();
        std::fs::read_to_string(checkout.root().join("lib/lib")).unwrap()
    };
    assert_eq!(check_out().await, "the submodule");
    let first = fetched();
    assert!(first > 0);
    // An hour later the tokens are others.
    server.service.revoke_tokens();
    let Remote::Forge(at) = &remote else {
        unreachable!()
    };
    assert!(at.forge.forget_credential(&path("acme/shop")));
    assert!(at.forge.forget_credential(&path("acme/repo-001")));
    assert_eq!(check_out().await, "the submodule");
    assert_eq!(fetched(), first, "both repositories are in the cache");

    // The code of a fork names a repository that its author may not read: neither the credential nor the cache gives it.
    let mut of_fork = at.clone();
    of_fork.restrict();
    let of_fork = Remote::Forge(of_fork).open().await.unwrap();
    let request = CheckoutRequest {
        remote: &of_fork,
        commit: &commit,
        spec: &RefSpec::Default,
        submodules: true,
    };
    let cancel = CancellationToken::new();
    let refused = git
        .checkout(request, dir.path(), &log, &cancel)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("submodule lib"), "{refused}");
    tokio::task::spawn_blocking(move || drop(gitea)).await.unwrap();
}
