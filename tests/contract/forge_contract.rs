//! What holds for every forge, the one in memory included.

use davit::api::Reason;
use davit::error::{Class, Explain as _};
use davit::forge::{Account, Forge, RepositoryPath, WantedHook, ensure_hook};
use davit::model::{CheckState, CommitId, CommitState, CommitStatus, GitCredential};
use davit::redact::{SafeUrl, Secret};

/// More than a page, and more than a forge gives at once.
pub const MANY: usize = 230;

/// The commit of `acme/shop` that has checks.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Where hooks deliver to.
pub const URL: &str = "https://davit.example.com/webhooks/gitproviders/platform/acme";

/// The paths of the repositories: `acme/shop` and many more.
pub fn repositories() -> Vec<String> {
    let more = (1..MANY).map(|number| format!("acme/repo-{number:03}"));
    std::iter::once("acme/shop".to_owned()).chain(more).collect()
}

/// The branches of `acme/shop`, with names that are hard to write.
pub fn branches() -> Vec<String> {
    let hard = ["main", "feature/a/b", "grün", "fix#7", "-dash"].map(str::to_owned);
    let more = (hard.len()..MANY).map(|number| format!("branch-{number:03}"));
    hard.iter().cloned().chain(more).collect()
}

fn path(text: &str) -> RepositoryPath {
    RepositoryPath::parse(text).unwrap()
}

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

/// The path that `acme/shop` had before.
pub const RENAMED: &str = "acme/old-shop";

/// A forge whose credential reaches [`repositories`], of which `acme/shop` is private and has [`branches`].
pub async fn obeys(forge: &dyn Forge, web: &str, account: &str) {
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

    for named in ["acme/shop", RENAMED] {
        let present = forge.present_path(&path(named)).await.unwrap();
        assert_eq!(present, path("acme/shop"), "{named}");
    }
    let error = forge.present_path(&path("acme/not-there")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");

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

/// The hooks of `acme/shop` as the forge itself has them.
pub trait HookTable {
    /// The secrets of those that deliver to [`URL`].
    fn ours(&self) -> Vec<String>;
    /// How many deliver elsewhere.
    fn others(&self) -> usize;
    /// Another program registers one.
    fn add_other(&self);
    /// A second one appears that delivers to [`URL`].
    fn double(&self);
    /// A user of the forge makes the second hook useless.
    fn spoil(&self);
    /// A user of the forge changes the URL of the second hook.
    fn lead_astray(&self);
    /// How many requests have changed a hook.
    fn writes(&self) -> usize;
}

pub fn wanted(secret: &str) -> WantedHook {
    WantedHook {
        url: URL.to_owned(),
        secret: Secret::from(secret),
        pull_requests: false,
    }
}

/// A forge that manages the hooks of `acme/shop`, which has none yet.
pub async fn keeps_one_hook(forge: &dyn Forge, hooks: &dyn HookTable) {
    let shop = path("acme/shop");
    let ensure = async |secret: &str, known: Option<&str>, rewrite| {
        ensure_hook(forge, &shop, &wanted(secret), known, rewrite)
            .await
            .unwrap()
    };
    // The hook of another program stays as it is.
    hooks.add_other();

    let id = ensure("one", None, true).await;
    assert_eq!((hooks.ours(), hooks.writes()), (vec!["one".to_owned()], 1));
    let found = forge.hooks(&shop).await.unwrap();
    let hook = found.iter().find(|hook| hook.url == URL).unwrap();
    assert!(hook.is_intact && hook.id == id, "{hook:?}");
    assert_eq!(ensure("one", Some(&id), false).await, id);
    assert_eq!(hooks.writes(), 1, "an intact hook is left alone");

    // Its ID was lost in a crash: it is found by its URL, and its secret is written again.
    let id = ensure("one", None, true).await;
    assert_eq!(hooks.ours(), ["one"]);
    // Another secret.
    let id = ensure("two", Some(&id), true).await;
    assert_eq!(hooks.ours(), ["two"]);
    // A user of the forge disabled it.
    hooks.spoil();
    let id = ensure("two", Some(&id), false).await;
    let found = forge.hooks(&shop).await.unwrap();
    assert!(
        found.iter().any(|hook| hook.url == URL && hook.is_intact),
        "{found:?}"
    );
    assert_eq!(hooks.ours(), ["two"]);
    // A user of the forge changed its URL.
    hooks.lead_astray();
    assert_eq!(hooks.ours().len(), 0);
    let id = ensure("two", Some(&id), false).await;
    assert_eq!(hooks.ours(), ["two"]);
    // A second one appeared.
    hooks.double();
    assert_eq!(hooks.ours().len(), 2);
    ensure("two", Some(&id), false).await;
    assert_eq!(hooks.ours().len(), 1, "it is removed");
    // An Application has previews, and then none has any more.
    for pull_requests in [true, false] {
        let wanted = WantedHook {
            pull_requests,
            ..wanted("two")
        };
        let ensured = ensure_hook(forge, &shop, &wanted, None, false).await;
        let id = ensured.unwrap();
        let found = forge.hooks(&shop).await.unwrap();
        let hook = found.iter().find(|hook| hook.url == URL).unwrap();
        assert!(hook.is_intact && hook.id == id, "{hook:?}");
        assert_eq!(hook.pull_requests, pull_requests);
        assert_eq!(hooks.ours(), ["two"]);
    }
    let id = ensure("two", None, false).await;

    forge.delete_hook(&shop, &id).await.unwrap();
    forge.delete_hook(&shop, &id).await.unwrap();
    assert_eq!(hooks.ours().len(), 0);
    assert_eq!(hooks.others(), 1, "the hook of the other program");
    let error = ensure_hook(forge, &path("acme/not-there"), &wanted("one"), None, true).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");
}
