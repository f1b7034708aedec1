//! The client of Gitea on answers that a real one gives seldom: recorded ones, slow ones, short pages, redirects, and
//! servers that are no Gitea at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use davit::api::Reason;
use davit::error::{Class, Explain as _};
use davit::forge::{Account, Forge, ForgeSecrets, HttpOptions, RepositoryPath, connect};
use davit::redact::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::forge::{loopback_options, problem, spec};

const TOKEN: &str = "token-of-a-test-4d0f";

type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Serves `router` on loopback until the test's runtime ends; its base URL, and every request it got with its
/// `Authorization`.
async fn serve(router: Router) -> (String, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let router = router.layer(axum::middleware::from_fn(
        move |request: Request<Body>, next: axum::middleware::Next| {
            let authorization = request
                .headers()
                .get(header::AUTHORIZATION)
                .map(|value| value.to_str().unwrap().to_owned());
            log.lock()
                .unwrap()
                .push((request.uri().to_string(), authorization));
            next.run(request)
        },
    ));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn client(url: &str, options: &HttpOptions) -> Arc<dyn Forge> {
    let secrets = ForgeSecrets {
        credential: Some(Secret::from(TOKEN)),
        ca: None,
        tokens: None,
    };
    connect(&spec(url), &secrets, options).unwrap()
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// A router whose every path behind `/api/v1` answers with `answer` once the version was told.
fn gitea(answer: fn() -> Response) -> Router {
    Router::new()
        .route(
            "/api/v1/version",
            get(|| async { json_answer(&json!({"version": "1.26.0"})) }),
        )
        .fallback(move || async move { answer() })
}

#[tokio::test]
async fn response_is_mapped_to_its_reason() {
    for (name, reason, class, words, answer) in [
        (
            "401",
            Reason::ForgeAuthFailed,
            Class::Terminal,
            "refused the credential",
            (|| StatusCode::UNAUTHORIZED.into_response()) as fn() -> Response,
        ),
        (
            "403",
            Reason::ForgeScopeMissing,
            Class::Terminal,
            "account is disabled",
            || {
                (
                    StatusCode::FORBIDDEN,
                    json_answer(&json!({"message": "the account is disabled"})),
                )
                    .into_response()
            },
        ),
        (
            "403 with a scope",
            Reason::ForgeScopeMissing,
            Class::Terminal,
            "lacks the scope read:user",
            || {
                let said = "token does not have at least one of required scope(s), required=[read:user], token scope=all";
                (StatusCode::FORBIDDEN, json_answer(&json!({"message": said}))).into_response()
            },
        ),
        (
            "403 with nothing left",
            Reason::ForgeRateLimited,
            Class::Transient,
            "is used up until",
            || (StatusCode::FORBIDDEN, [("x-ratelimit-remaining", "0")]).into_response(),
        ),
        (
            "429",
            Reason::ForgeRateLimited,
            Class::Transient,
            "is used up until",
            || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "17")]).into_response(),
        ),
        (
            "502",
            Reason::ForgeFailed,
            Class::Transient,
            "502 Bad Gateway",
            || (StatusCode::BAD_GATEWAY, "<html>nginx</html>").into_response(),
        ),
        (
            "a page",
            Reason::ForgeNotRecognised,
            Class::Terminal,
            "a web page answers",
            || axum::response::Html("<html>Sign in</html>").into_response(),
        ),
        (
            "another shape",
            Reason::ForgeNotRecognised,
            Class::Terminal,
            "cannot be read",
            || json_answer(&json!({"name": "x"})),
        ),
        (
            "an echo",
            Reason::ForgeFailed,
            Class::Transient,
            "no such token ***",
            || {
                (
                    StatusCode::BAD_REQUEST,
                    json_answer(&json!({"message": format!("no such token {TOKEN}")})),
                )
                    .into_response()
            },
        ),
    ] {
        let (url, _) = serve(gitea(answer)).await;
        let found = problem(&url, TOKEN, None).await;
        assert_eq!((found.reason, found.class), (reason, class), "{name}: {found:?}");
        assert!(found.message.contains(words), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn server_that_is_no_gitea_never_receives_the_token() {
    for (name, reason, router) in [
        ("nothing", Reason::ForgeNotRecognised, Router::new()),
        (
            "a page for everything",
            Reason::ForgeNotRecognised,
            Router::new().fallback(|| async { axum::response::Html("<html>shop</html>") }),
        ),
        (
            "another API",
            Reason::ForgeNotRecognised,
            Router::new().fallback(|| async { json_answer(&json!({"status": "ok"})) }),
        ),
        (
            "a redirect to elsewhere",
            Reason::ForgeRedirected,
            Router::new().fallback(|| async { Redirect::temporary("http://127.0.0.1:1/") }),
        ),
    ] {
        let (url, seen) = serve(router).await;
        let found = problem(&url, TOKEN, None).await;
        assert_eq!(
            (found.reason, found.class),
            (reason, Class::Terminal),
            "{name}: {found:?}"
        );
        assert_eq!(
            *seen.lock().unwrap(),
            [("/api/v1/version".to_owned(), None)],
            "{name}"
        );
    }
}

#[tokio::test]
async fn gitea_that_requires_sign_in_is_recognised() {
    let signed = |headers: HeaderMap, answer: Value| async move {
        match headers
            .get(header::AUTHORIZATION)
            .map(|value| value == &format!("token {TOKEN}"))
        {
            Some(true) => json_answer(&answer),
            _ => (
                StatusCode::FORBIDDEN,
                json_answer(&json!({"message": "Only signed in user is allowed"})),
            )
                .into_response(),
        }
    };
    let router = Router::new()
        .route(
            "/api/v1/version",
            get(move |headers| signed(headers, json!({"version": "11.0.0+gitea-1.22.0"}))),
        )
        .route(
            "/api/v1/user",
            get(move |headers| signed(headers, json!({"login": "jane"}))),
        )
        .route(
            "/api/v1/user/repos",
            get(move |headers| signed(headers, Value::Null)),
        );
    let (url, _) = serve(router).await;
    let account = client(&url, &loopback_options()).check().await.unwrap();
    assert_eq!(
        account,
        Account {
            name: "jane".to_owned(),
            repositories: 0,
            more: false,
            expires_at: None,
        }
    );
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "first_page")]
    page: usize,
    limit: usize,
}

fn first_page() -> usize {
    1
}

fn shop() -> RepositoryPath {
    path("shop")
}

fn path(repository: &str) -> RepositoryPath {
    RepositoryPath::parse(&format!("acme/{repository}")).unwrap()
}

/// A list of 7 entries in pages of at most 3, however many are asked for, told of in the way that `kind` names.
fn capped(kind: &'static str, Page { page, limit }: &Page) -> Response {
    let cap = 3.min(*limit);
    let items: Vec<_> = (0..7)
        .skip((page - 1) * cap)
        .take(cap)
        .map(|n| json!({"name": format!("b{n}")}))
        .collect();
    let mut answer = json_answer(&Value::Array(items));
    let headers = answer.headers_mut();
    match kind {
        "Link" if page * cap < 7 => {
            // As behind a proxy: the server is wrong about its own address.
            let link = format!(
                r#"<http://wrong.invalid/x?page={}&limit={limit}>; rel="next""#,
                page + 1
            );
            headers.insert(header::LINK, link.parse().unwrap());
        }
        "Link" => {
            headers.insert(
                header::LINK,
                r#"<http://wrong.invalid/x?page=1>; rel="first""#.parse().unwrap(),
            );
        }
        "total" => {
            headers.insert("x-total-count", "7".parse().unwrap());
        }
        _ => {}
    }
    answer
}

#[tokio::test]
async fn list_with_short_pages_is_read_completely() {
    for (kind, requests) in [("Link", 3), ("total", 3), ("neither", 4)] {
        let path = "/git/api/v1/repos/acme/shop/branches";
        let router = Router::new().route(
            path,
            get(move |Query(page): Query<Page>| async move { capped(kind, &page) }),
        );
        let (url, seen) = serve(router).await;
        let forge = client(&format!("{url}/git/"), &loopback_options());
        let names = forge.all_branches(&shop()).await.unwrap();
        assert_eq!(names, ["b0", "b1", "b2", "b3", "b4", "b5", "b6"], "{kind}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), requests, "{kind}: {seen:?}");
        assert!(
            seen.iter()
                .all(|(_, signed)| signed.as_deref() == Some(&format!("token {TOKEN}"))),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn endless_response_is_aborted() {
    let endless = |Query(_): Query<Page>| async { json_answer(&json!([{"name": "again"}])) };
    let router = Router::new()
        .route("/api/v1/repos/acme/shop/branches", get(endless))
        .route(
            "/api/v1/repos/acme/large/branches",
            get(|| async { json_answer(&json!([{"name": "x".repeat(5000)}])) }),
        )
        .route(
            "/api/v1/repos/acme/slow/branches",
            get(|| async { std::future::pending::<()>().await }),
        );
    let (url, _) = serve(router).await;
    let mut options = loopback_options();
    options.timeout = Duration::from_millis(300);
    options.largest_answer = 4096;
    options.most_pages = 5;
    let forge = client(&url, &options);
    for (repository, reason, words) in [
        ("shop", Reason::ForgeFailed, "more than 5 pages"),
        ("large", Reason::ForgeFailed, "larger than 4096 bytes"),
        ("slow", Reason::ForgeTimeout, "no answer within"),
    ] {
        let error = forge.all_branches(&path(repository)).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (reason, Class::Transient),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn redirect_is_followed_only_within_the_origin() {
    let (elsewhere, stolen) = serve(gitea(|| json_answer(&json!([{"name": "stolen"}])))).await;
    let router = Router::new()
        .route(
            "/api/v1/repos/acme/old/branches",
            get(|| async { Redirect::permanent("/api/v1/repos/acme/new/branches") }),
        )
        .route(
            "/api/v1/repos/acme/new/branches",
            get(|| async { json_answer(&json!([])) }),
        )
        .route(
            "/api/v1/repos/acme/loop/branches",
            get(|| async { Redirect::permanent("/api/v1/repos/acme/loop/branches") }),
        )
        .route(
            "/api/v1/repos/acme/away/branches",
            get(move || async move { Redirect::permanent(&elsewhere) }),
        );
    let (url, _) = serve(router).await;
    let forge = client(&url, &loopback_options());
    assert_eq!(
        forge.all_branches(&path("old")).await.unwrap(),
        Vec::<String>::new()
    );
    let error = forge.all_branches(&path("away")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeRedirected, "{error}");
    assert!(
        error.to_string().contains("it redirects to http://127.0.0.1:"),
        "{error}"
    );
    assert!(
        stolen.lock().unwrap().is_empty(),
        "the other host was never asked"
    );
    let error = forge.all_branches(&path("loop")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeFailed, "{error}");
}

#[tokio::test]
async fn recorded_responses_of_a_gitea_are_parsed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/oracles/recorded/gitea");
    let Some(read) = ["user", "repos", "branches"]
        .map(|name| std::fs::read_to_string(folder.join(format!("{name}.json"))).ok())
        .into_iter()
        .collect::<Option<Vec<String>>>()
    else {
        eprintln!("SKIPPED: there are no recorded answers in {}", folder.display());
        return;
    };
    let [user, repos, branches] = <[Value; 3]>::try_from(
        read.iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let first_page = |list: Value| {
        get(move |Query(page): Query<Page>| async move {
            json_answer(if page.page == 1 { &list } else { &Value::Null })
        })
    };
    let count = repos.as_array().unwrap().len();
    let (login, expected) = (user["login"].as_str().unwrap().to_owned(), repos.clone());
    let router = Router::new()
        .route(
            "/api/v1/version",
            get(|| async { json_answer(&json!({"version": "1.26.0"})) }),
        )
        .route("/api/v1/user", get(move || async move { json_answer(&user) }))
        .route("/api/v1/repos/go-gitea/gitea/branches", first_page(branches))
        .route(
            "/api/v1/user/repos",
            get(move |Query(query): Query<Value>| async move {
                let first = query.get("page").is_none_or(|page| page == "1");
                json_answer(if first { &repos } else { &Value::Null })
            }),
        );
    let (url, _) = serve(router).await;
    let forge = client(&url, &loopback_options());
    assert_eq!(
        forge.check().await.unwrap(),
        Account {
            name: login,
            repositories: count as u64,
            more: false,
            expires_at: None,
        }
    );
    let found = forge.all_repositories().await.unwrap();
    assert_eq!(
        found[0].path.to_string(),
        expected[0]["full_name"].as_str().unwrap()
    );
    assert_eq!(found[0].private, expected[0]["private"].as_bool().unwrap());
    assert_eq!(
        found[0].clone_url.to_string(),
        format!("{url}/go-gitea/gitea.git")
    );
    assert_eq!(
        forge
            .all_branches(&RepositoryPath::parse("go-gitea/gitea").unwrap())
            .await
            .unwrap(),
        ["master"]
    );
}
