//! The contract of all forges, on the one in memory.

use davit::forge::fake::{FakeForge, FakeHook, FakeRepository};
use davit::forge::{Hook, RepositoryPath};
use davit::model::{Check, CheckState, CommitId};
use davit::redact::Secret;

use crate::contract::forge_contract::{self, COMMIT, HookTable, RENAMED, URL, branches, obeys, repositories};

const BASE: &str = "https://forge.example.com/sub";

fn path(text: &str) -> RepositoryPath {
    RepositoryPath::parse(text).unwrap()
}

fn forge() -> FakeForge {
    let forge = FakeForge::at(BASE).unwrap();
    for name in repositories() {
        forge.add(&path(&name), FakeRepository::default());
    }
    let check = |name: &str, state| Check {
        name: name.to_owned(),
        state,
    };
    let checks = vec![
        check("build", CheckState::Passed),
        check("test", CheckState::Pending),
        check("lint", CheckState::Failed),
    ];
    forge.rename(&path(RENAMED), &path("acme/shop"));
    forge.change(&path("acme/shop"), |shop| {
        shop.private = true;
        shop.branches = branches();
        shop.checks.insert(CommitId::parse(COMMIT).unwrap(), checks);
    });
    forge
}

struct Table(FakeForge);

impl Table {
    fn hooks<T>(&self, change: impl FnOnce(&mut Vec<FakeHook>) -> T) -> T {
        self.0
            .change(&path("acme/shop"), |shop| change(&mut shop.hooks))
            .unwrap()
    }
}

impl HookTable for Table {
    fn ours(&self) -> Vec<String> {
        self.hooks(|all| {
            let ours = all.iter().filter(|hook| hook.shown.url == URL);
            ours.map(|hook| hook.secret.expose_str().unwrap().to_owned())
                .collect()
        })
    }

    fn others(&self) -> usize {
        self.hooks(|all| all.iter().filter(|hook| hook.shown.url != URL).count())
    }

    fn add_other(&self) {
        let shown = Hook {
            id: "other".to_owned(),
            url: "https://ci.example.com/hook".to_owned(),
            is_intact: true,
            pull_requests: false,
        };
        let secret = Secret::from("of another program");
        self.hooks(|all| all.push(FakeHook { shown, secret }));
    }

    fn double(&self) {
        self.hooks(|all| {
            let mut second = all.iter().find(|hook| hook.shown.url == URL).unwrap().clone();
            "second".clone_into(&mut second.shown.id);
            all.push(second);
        });
    }

    fn spoil(&self) {
        self.hooks(|all| all[1].shown.is_intact = false);
    }

    fn lead_astray(&self) {
        self.hooks(|all| "https://old.example.com/".clone_into(&mut all[1].shown.url));
    }

    fn writes(&self) -> usize {
        self.0.changes()
    }
}

#[tokio::test]
async fn forge_in_memory_obeys_the_contract() {
    obeys(&forge(), BASE, FakeForge::ACCOUNT).await;
}

#[tokio::test]
async fn forge_in_memory_keeps_one_hook() {
    let forge = forge();
    forge_contract::keeps_one_hook(&forge, &Table(forge.clone())).await;
}
