//! What a connection to a real Gitea reaches, through the API server of `davit up`: complete, paged, and without the token.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::davit::Davit;
use crate::common::{run, try_run};
use crate::forge::{MANY, gitea};
use crate::sources::{make_provider, provider_says};

const ROOT: &str = "/apis/subresources.davit.dev/v1alpha1/namespaces/listing/gitproviders";

fn raw(davit: &Davit, path: &str) -> Value {
    let text = run(davit.kubectl().args(["get", "--raw", &format!("{ROOT}/{path}")]));
    serde_json::from_str(&text).unwrap()
}

/// What kubectl prints if the API server refuses.
fn refused(davit: &Davit, user: &[&str], path: &str) -> String {
    let mut asked = davit.kubectl();
    asked.args(user).args(["get", "--raw", &format!("{ROOT}/{path}")]);
    let (success, _, message) = try_run(&mut asked);
    assert!(!success, "{path}");
    message
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What `davit` prints: whether it succeeded, standard output and standard error.
fn cli(davit: &Davit, args: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.env("KUBECONFIG", davit.kubeconfig()).args(args);
    try_run(command.args(["-n", &davit.namespace]))
}

#[test]
fn repositories_and_branches_are_listed_completely_and_the_token_stays_in_the_controller() {
    let gitea = gitea();
    let davit = Davit::up("listing");
    davit.create_secret("gitea", &[("token", &gitea.token)]);
    let spec = json!({"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gitea"}}});
    make_provider(&davit, "gt", &spec);
    provider_says(&davit, "gt", "RepositoriesFound");

    let whole = raw(&davit, "gt/repositories");
    let all = names(&whole);
    assert_eq!(whole["kind"], "RepositoryList");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), MANY, "{all:?}");
    let mut items = whole["items"].as_array().unwrap().iter();
    let shop = items.find(|item| item["name"] == "davit/shop").unwrap();
    let expected = json!({"name": "davit/shop", "defaultBranch": "main", "private": true, "archived": false,
        "cloneUrl": gitea.clone_url("shop")});
    assert_eq!(*shop, expected);
    assert!(!whole.to_string().contains(&gitea.token));

    // In pages of 20, which is neither the forge's page nor a divisor of it.
    let mut paged = Vec::new();
    let mut path = "gt/repositories?limit=20".to_owned();
    let mut remaining = Vec::new();
    loop {
        let page = raw(&davit, &path);
        paged.extend(names(&page));
        assert!(names(&page).len() <= 20);
        remaining.extend(page["metadata"]["remainingItemCount"].as_u64());
        let Some(next) = page["metadata"]["continue"].as_str() else {
            break;
        };
        path = format!("gt/repositories?limit=20&continue={next}");
    }
    assert_eq!(paged, all);
    assert_eq!(remaining.first(), Some(&(MANY as u64 - 20)), "{remaining:?}");
    let forged = path.replace("continue=", "continue=x");
    assert!(refused(&davit, &[], &forged).contains("the parameter continue is not one of this list"));
    let elsewhere = path.replace("repositories?", "branches?repository=davit/shop&");
    assert!(refused(&davit, &[], &elsewhere).contains("the parameter continue is not one of this list"));

    let branches = raw(&davit, "gt/branches?repository=davit/shop");
    assert_eq!(names(&branches).iter().collect::<BTreeSet<_>>().len(), MANY);
    let absent = refused(&davit, &[], "gt/branches?repository=davit/shpo");
    assert!(
        absent.contains("(NotFound)") && absent.contains("davit/shpo"),
        "{absent}"
    );

    // The commands.
    let (_, table, _) = cli(&davit, &["repos", "gt"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), MANY + 1, "{table}");
    let words = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(rows[0]), "NAME DEFAULT BRANCH ATTRIBUTES");
    assert!(
        rows.iter().any(|row| words(row) == "davit/shop main private"),
        "{table}"
    );
    let (_, wide, _) = cli(
        &davit,
        &["repos", "gitprovider/gt", "--filter", "SHOP", "-o", "wide"],
    );
    let clone_url = gitea.clone_url("shop");
    assert_eq!(
        words(wide.lines().nth(1).unwrap()),
        format!("davit/shop main private {clone_url}")
    );
    assert_eq!(
        cli(&davit, &["repos", "gt", "--filter", "shop", "-o", "name"]).1,
        "davit/shop\n"
    );
    let (_, list, _) = cli(&davit, &["repos", "gt", "-o", "json"]);
    assert_eq!(names(&serde_json::from_str(&list).unwrap()), all);
    let (_, list, _) = cli(&davit, &["branches", "gt", "davit/shop", "-o", "name"]);
    assert_eq!(list.lines().count(), MANY);
    let (success, list, note) = cli(&davit, &["branches", "gt", "davit/shop", "--filter", "nothing"]);
    assert!(
        success && list.is_empty() && note == "No branch that contains \"nothing\" found.\n",
        "{note}"
    );
    let (success, _, error) = cli(&davit, &["repos", "gtt"]);
    assert!(!success && error.contains("did you mean \"gt\"?"), "{error}");

    // A user without a role, and with the one that the refusal names.
    let jane = ["--as", "jane"];
    let denied = refused(&davit, &jane, "gt/repositories");
    assert!(
        denied.contains("the ClusterRole \"view\" in this namespace permits it"),
        "{denied}"
    );
    run(davit.kubectl().args([
        "create",
        "rolebinding",
        "jane",
        "--clusterrole=view",
        "--user=jane",
    ]));
    let list = format!("{ROOT}/gt/repositories?limit=1");
    let listed = run(davit.kubectl().args(jane).args(["get", "--raw", &list]));
    assert_eq!(names(&serde_json::from_str(&listed).unwrap()).len(), 1);
    // The role shows no Secret.
    let (read, _, _) = try_run(davit.kubectl().args(jane).args(["get", "secret", "gitea"]));
    assert!(!read);

    let spec = json!({"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "wrong"}}});
    davit.create_secret("wrong", &[("token", "0123456789abcdef0123456789abcdef01234567")]);
    make_provider(&davit, "wrong", &spec);
    let told = refused(&davit, &[], "wrong/repositories");
    assert!(
        told.contains("refused the credential") && !told.contains("0123456789abcdef"),
        "{told}"
    );
}
