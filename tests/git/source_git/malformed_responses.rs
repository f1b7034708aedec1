//! What a server may answer instead of a repository, from one that says just that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use davit::api::Reason::{GitAuthFailed, GitRepositoryNotFound, GitUnreachable};
use davit::error::Class::{Terminal, Transient};
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;

use super::{Harness, remote};

/// Gives every request the same answer; what was asked comes out of the channel.
fn server(answer: String) -> (u16, Receiver<String>) {
    server_by_path(move |_| answer.clone())
}

/// Answers by what is asked.
fn server_by_path(answer: impl Fn(&str) -> String + Send + 'static) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let request = request(&stream);
            stream.write_all(answer(&request).as_bytes()).ok();
            asked.send(request).ok();
        }
    });
    (port, requests)
}

fn request(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| line + "\n")
        .collect()
}

fn answer(status: &str, header: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

fn at(port: u16) -> GitRemote {
    GitRemote {
        credential: GitCredential::Basic {
            username: "reader".to_owned(),
            password: Secret::from("hunter2"),
        },
        ..remote(&format!("http://127.0.0.1:{port}/shop"))
    }
}

#[tokio::test]
async fn malformed_response_is_mapped_to_its_reason() {
    let harness = Harness::development();
    for (status, reason, class) in [
        ("401 Unauthorized", GitAuthFailed, Terminal),
        ("403 Forbidden", GitAuthFailed, Terminal),
        ("404 Not Found", GitRepositoryNotFound, Terminal),
        ("429 Too Many Requests", GitUnreachable, Transient),
        ("500 Internal Server Error", GitUnreachable, Transient),
        ("503 Service Unavailable", GitUnreachable, Transient),
    ] {
        let (port, requests) = server(answer(status, ""));
        let shop = at(port);
        harness
            .refuses(&shop, &RefSpec::Default, reason, class, &["127.0.0.1"])
            .await;
        let asked = requests.recv().unwrap();
        assert!(
            asked.contains("Authorization: Basic cmVhZGVyOmh1bnRlcjI="),
            "{asked}"
        );
    }
    // A page for people.
    let (port, _requests) =
        server("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>\nWelcome\n</html>\n".to_owned());
    harness
        .refuses(
            &at(port),
            &RefSpec::Default,
            GitRepositoryNotFound,
            Terminal,
            &["not as a Git repository", "correct spec.source.git.url"],
        )
        .await;
    // One that hangs up in the middle of its answer.
    let (port, _requests) = server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n001e# ser".to_owned());
    harness
        .refuses(
            &at(port),
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &["check spec.source.git.url", "Davit tries again"],
        )
        .await;
}

#[tokio::test]
async fn credential_in_a_server_message_is_redacted() {
    // Git prints what a server writes beside a refusal; this one writes what it was sent.
    let (port, _requests) = server_by_path(|request| {
        let sent = request
            .lines()
            .find(|line| line.starts_with("Authorization:"))
            .unwrap_or_default()
            .to_owned();
        let body = format!("you sent {sent}\n");
        format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    });
    let error = Harness::development()
        .resolve(&at(port), &RefSpec::Default)
        .await
        .unwrap_err();
    super::expect(
        &error,
        GitAuthFailed,
        Terminal,
        &["you sent Authorization: Basic ***"],
    );
    assert!(!format!("{error:?}").contains("cmVhZGVy"), "{error:?}");
}

#[tokio::test]
async fn redirect_receives_no_credential() {
    let (elsewhere, stolen) = server(answer("404 Not Found", ""));
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let to =
            format!("Location: http://127.0.0.1:{elsewhere}/shop.git/info/refs?service=git-upload-pack\r\n");
        let (port, _requests) = server(answer(status, &to));
        let harness = Harness::development();
        harness
            .refuses(
                &at(port),
                &RefSpec::Default,
                GitRepositoryNotFound,
                Terminal,
                &["present address", "git.url"],
            )
            .await;
    }
    assert!(stolen.try_recv().is_err(), "nobody was asked elsewhere");
}

#[tokio::test]
async fn url_without_git_suffix_is_completed() {
    let hash = "0123456789012345678901234567890123456789";
    // As GitLab does; behind the full name is the oldest protocol, which is only files.
    let (port, requests) = server_by_path(move |request| {
        if request.starts_with("GET /shop.git/info/refs") {
            let refs = format!("{hash}\trefs/heads/main\n");
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n{refs}")
        } else if request.starts_with("GET /shop.git/HEAD") {
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nref: refs/heads/main\n".to_owned()
        } else {
            answer(
                "301 Moved Permanently",
                "Location: /shop.git/info/refs?service=git-upload-pack\r\n",
            )
        }
    });
    let harness = Harness::development();
    let commit = harness.resolve(&at(port), &super::branch("main")).await.unwrap();
    assert_eq!(commit.as_str(), hash);
    let asked: Vec<_> = requests.try_iter().collect();
    assert!(
        asked
            .iter()
            .all(|request| request.contains("Authorization: Basic ")),
        "{asked:?}"
    );
}
