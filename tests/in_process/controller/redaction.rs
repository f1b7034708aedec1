//! What containers say of themselves is shown without what they were given in confidence, and without what a terminal obeys.

use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::Behaviour;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, condition, id, repo, source, url_of_db};
use crate::common::git_repo::GitRepo;

const TOKEN: &str = "S3cretValue-9f8e7d6c5b4a";

/// All that anybody can read of it: the Application, its Releases, and the events.
async fn shown(davit: &Harness) -> String {
    let events = davit.api::<Event>().list(&ListParams::default()).await.unwrap();
    let app = davit.application("shop").await;
    let releases = davit.releases("shop").await;
    format!(
        "{app:#}{releases:#?}{:#}",
        serde_json::to_value(events.items).unwrap()
    )
}

/// An Application that is done, and has this value in its environment and in a file.
async fn with_secret(value: &str, at: &Value) -> (Harness, GitRepo) {
    let davit = Harness::start().await;
    davit.set_database_secret(value).await;
    let repo = repo(GOOD);
    let mut spec = json!({"source": source(&repo)});
    for (field, value) in at.as_object().unwrap() {
        spec[field] = value.clone();
    }
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    (davit, repo)
}

/// Ready says so.
fn says(text: &str) -> impl Fn(&Value) -> bool + '_ {
    move |app| {
        let said = condition(app, "Ready");
        said["message"].as_str().is_some_and(|said| said.contains(text))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_at_the_truncation_is_redacted() {
    let file = json!({"volumes": [{"name": "db", "mountPath": "/db", "secret": {"name": "db"}}]});
    for at in [json!({"env": url_of_db()}), file] {
        let (davit, _repo) = with_secret(TOKEN, &at).await;
        let image = FakeBuilder::id(GOOD);
        // Ours is behind 256 bytes, the engine's anywhere.
        for (mark, said) in [
            ("xx***", format!("{}{TOKEN} and more", "x".repeat(235))),
            ("yy***…", format!("yy{}…", &TOKEN[..12])),
            ("…***zz", format!("…{}zz", &TOKEN[12..])),
        ] {
            davit.runtime.script(&image, &Behaviour::Unhealthy(said));
            davit.wait_until("shop", mark, says(mark)).await;
        }
        let words = format!("{}{TOKEN} {}", "-".repeat(500), "x".repeat(1010));
        let behaviour = Behaviour::Exits {
            code: 1,
            message: words,
        };
        davit.runtime.script(&image, &behaviour);
        davit.wait_until("shop", "ended", says("xxx")).await;
        let shown = shown(&davit).await;
        for at in 0..TOKEN.len() - 6 {
            assert!(!shown.contains(&TOKEN[at..at + 6]), "{shown}");
        }
        assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_of_several_lines_is_redacted() {
    for value in [
        "correct horse battery staple zebra ".repeat(6),
        "correct horse\nbattery\nstaple zebra\n".repeat(10),
    ] {
        let (davit, _repo) = with_secret(&value, &json!({"env": url_of_db()})).await;
        let message = format!("{value}{}", "x".repeat(900));
        let behaviour = Behaviour::Exits { code: 1, message };
        davit.runtime.script(&FakeBuilder::id(GOOD), &behaviour);
        davit.wait_until("shop", "ended", says("xxx")).await;
        let shown = shown(&davit).await;
        for word in ["correct", "horse", "battery", "staple", "zebra"] {
            assert!(!shown.contains(word), "{word}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_in_output_are_replaced() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = FakeBuilder::id(GOOD);
    let said = "\u{1b}[31mno\r\n\tdatabase\u{7}\0".to_owned();
    davit.runtime.script(&image, &Behaviour::Unhealthy(said.clone()));
    davit.wait_until("shop", "sick", says("no database")).await;
    let behaviour = Behaviour::Exits {
        code: 1,
        message: said,
    };
    davit.runtime.script(&image, &behaviour);
    davit.wait_until("shop", "ended", says("ended with code 1")).await;
    let events = davit.api::<Event>().list(&ListParams::default()).await.unwrap();
    let mut messages: Vec<String> = events
        .items
        .into_iter()
        .filter_map(|event| event.message)
        .collect();
    for object in davit
        .releases("shop")
        .await
        .into_iter()
        .chain([davit.application("shop").await])
    {
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        messages.extend(
            conditions
                .iter()
                .filter_map(|one| one["message"].as_str().map(str::to_owned)),
        );
    }
    assert!(
        messages.iter().any(|message| message.contains("database")),
        "{messages:?}"
    );
    for message in messages {
        assert!(
            !message.chars().any(|char| char.is_control() && char != '\n'),
            "{message:?}"
        );
    }
}
