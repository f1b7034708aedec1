//! Long lists, and repositories that fail: what one costs leaves the requests of a connection to the others.

use std::time::Duration;

use davit::api::Reason;
use davit::error::Explain as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::forges::bad_answers::{Scripted, TOKEN, options, specs};
use crate::forges::servers::{Answer, Asked, serve};
use crate::forges::{path, try_connect};

/// How many repositories a long list has.
const ALL: usize = 10_000;

/// A page of the long list, as the forge of this address gives it. Only Gitea allows no more than 50 entries.
fn page_of_all(asked: &Asked) -> Answer {
    let all: Vec<usize> = (1..=ALL).collect();
    let repository =
        |number: &usize| json!({"full_name": format!("acme/r{number}"), "default_branch": "main"});
    match asked.segments().as_slice() {
        ["api", "v4", "projects"] => {
            let (after, size) = (asked.number("id_after", 0), asked.number("per_page", 20));
            let items: Vec<_> = (after + 1..=ALL).take(size).collect();
            let project = |id: &usize| json!({"id": id, "path_with_namespace": format!("acme/r{id}"), "default_branch": "main"});
            let answer = Answer::ok(items.iter().map(project).collect());
            match items.last().filter(|last| **last < ALL) {
                Some(last) => answer.with(
                    "link",
                    format!("<http://wrong.invalid/x?pagination=keyset&per_page={size}&order_by=id&sort=asc&id_after={last}>; rel=\"next\""),
                ),
                None => answer,
            }
        }
        ["2.0", "repositories", "acme"] => {
            let (items, next) = asked.page(&all, "pagelen", 100);
            let items: Vec<_> = items.iter().map(repository).collect();
            let next = next.map(|page| format!("https://wrong.invalid/2.0/x?pagelen=100&page={page}"));
            Answer::ok(json!({"values": items, "size": ALL, "next": next}))
        }
        ["api", "v1", ..] => {
            let (items, _) = asked.page(&all, "limit", 50);
            Answer::ok(items.iter().map(repository).collect()).with("x-total-count", ALL.to_string())
        }
        _ => {
            let (items, next) = asked.page(&all, "per_page", 100);
            let link = asked.link(next, ALL, asked.number("per_page", 30));
            Answer::ok(items.iter().map(repository).collect()).with("link", link)
        }
    }
}

#[tokio::test]
async fn list_of_ten_thousand_repositories_is_complete_at_every_forge() {
    let server = serve(Scripted(page_of_all), None).await;
    let mut before = 0;
    for (spec, requests) in specs(&server.url).iter().zip([100, 100, 100, 200]) {
        let mut options = options(&server.url);
        options.timeout = Duration::from_secs(10);
        let forge = try_connect(spec, TOKEN, &options).unwrap();
        let all = forge.all_repositories().await.unwrap();
        let names: std::collections::BTreeSet<_> = all.iter().map(|found| found.path.to_string()).collect();
        assert_eq!((all.len(), names.len()), (ALL, ALL), "{spec}");
        let now = server.requests().len();
        assert_eq!(now - before, requests, "{spec}");
        before = now;
    }
}

#[tokio::test]
async fn repository_that_fails_leaves_the_budget_of_its_connection_to_the_others() {
    let server = serve(
        Scripted(|asked: &Asked| {
            let segments = asked.segments();
            let names = |name: &str| segments.iter().any(|part| part.ends_with(name));
            let branches = json!([{"name": "main"}]);
            match segments.first() {
                _ if names("gone") => Answer::new(404, json!({"message": "Not Found"})),
                _ if names("hidden") => Answer::new(403, json!({"message": "Forbidden"})),
                _ if names("broken") => Answer::new(500, json!({"message": "Internal Server Error"})),
                Some(&"2.0") => Answer::ok(json!({"values": branches})),
                _ => Answer::ok(branches),
            }
        }),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        for name in ["acme/gone", "acme/hidden", "acme/broken"] {
            for _ in 0..20 {
                let error = forge.branches(&path(name), None).await.unwrap_err();
                assert_ne!(
                    error.reason(),
                    Reason::ForgeRateLimited,
                    "{spec}, {name}: {error}"
                );
            }
            let other = forge.branches(&path("acme/shop"), None).await.unwrap();
            assert_eq!(other.items, ["main"], "{spec}");
        }
    }
}

/// Answers about the repository `deaf` never, and about others with a branch. Returns its URL.
async fn half_deaf() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let path = request.uri().path();
        if path.contains("deaf") {
            std::future::pending::<()>().await;
        }
        let branches = json!([{"name": "main"}]);
        axum::Json(if path.starts_with("/2.0") {
            json!({"values": branches})
        } else {
            branches
        })
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn repository_that_does_not_answer_holds_up_no_other_of_its_connection() {
    let url = half_deaf().await;
    for spec in specs(&url) {
        let mut options = options(&url);
        options.timeout = Duration::from_mins(1);
        let forge = try_connect(&spec, TOKEN, &options).unwrap();
        let deaf = path("acme/deaf");
        let waiting: Vec<_> = (0..20).map(|_| forge.branches(&deaf, None)).collect();
        let mut waiting = std::pin::pin!(futures::future::join_all(waiting));
        assert!(futures::poll!(&mut waiting).is_pending());
        let other = path("acme/shop");
        let other = forge.branches(&other, None);
        tokio::select! {
            _ = &mut waiting => panic!("{spec}: the server does not answer"),
            found = other => assert_eq!(found.unwrap().items, ["main"], "{spec}"),
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{spec}: held up"),
        }
    }
}

#[tokio::test]
async fn list_without_an_end_is_cut_short() {
    let server = serve(
        Scripted(|asked: &Asked| {
            let next = asked.number("page", 1) + 1;
            Answer::ok(json!([{"name": "again"}])).with("link", asked.link(Some(next), 1_000_000, 1))
        }),
        None,
    )
    .await;
    let mut options = options(&server.url);
    options.most_pages = 5;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "s"}}});
    let forge = try_connect(&spec, TOKEN, &options).unwrap();
    let error = forge.all_branches(&path("acme/shop")).await.unwrap_err();
    assert!(error.to_string().contains("more than 5 pages"), "{error}");
}

#[tokio::test]
async fn page_that_names_itself_as_the_next_one_is_the_last() {
    let server = serve(
        Scripted(|asked: &Asked| {
            let segments = asked.segments();
            if segments.first() == Some(&"2.0") {
                let next = "https://wrong.invalid/2.0/x?pagelen=100&page=2";
                return Answer::ok(json!({"values": [{"name": "again"}], "next": next}));
            }
            let link = "<http://wrong.invalid/x?page=2&per_page=100>; rel=\"next\"";
            Answer::ok(json!([{"name": "again"}])).with("link", link)
        }),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        let before = server.requests().len();
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        let all = forge.all_branches(&path("acme/shop")).await.unwrap();
        assert_eq!(all, ["again", "again"], "{spec}");
        assert_eq!(server.requests().len() - before, 2, "{spec}");
    }
}

#[tokio::test]
async fn page_with_far_more_entries_than_were_asked_for_is_refused() {
    let server = serve(
        Scripted(|asked: &Asked| {
            let repository = |number: i32| {
                let path = format!("a/r{number}");
                json!({"full_name": path, "path_with_namespace": path, "id": number})
            };
            let all: Vec<_> = (0..2000).map(repository).collect();
            if asked.segments().first() == Some(&"2.0") {
                return Answer::ok(json!({"values": all}));
            }
            Answer::ok(json!(all))
        }),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        let error = forge.repositories(None).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("2000 entries, and 100 were asked for"),
            "{spec}: {text}"
        );
    }
}

#[tokio::test]
async fn list_without_a_total_is_counted_page_by_page() {
    let server = serve(
        Scripted(|asked: &Asked| match asked.segments().as_slice() {
            [.., "user"] => Answer::ok(json!({"login": "jane", "username": "jane"})),
            ["2.0", ..] => {
                let page = asked.number("page", 1);
                let next =
                    (page < 3).then(|| format!("https://wrong.invalid/x?pagelen=100&page={}", page + 1));
                Answer::ok(json!({"values": [{"full_name": format!("acme/r{page}")}], "next": next}))
            }
            _ => {
                let page = asked.number("page", 1);
                let found: Vec<_> = (page <= 3)
                    .then(|| json!({"full_name": format!("acme/r{page}")}))
                    .into_iter()
                    .collect();
                Answer::ok(json!(found))
            }
        }),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        if spec.get("bitbucket").is_none() && spec.get("gitea").is_none() {
            continue;
        }
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        let account = forge.check().await.unwrap();
        assert_eq!((account.repositories, account.more), (3, false), "{spec}");
    }
}
