//! `applications/NAME/source`: parts, their order, who may send them, and what a full disk means.

use axum::body::Body;
use davit_apiserver::Identity;
use davit_test_support::engine::Disk;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use davit::model::Digest;
use davit::source::archive::{ArchiveError, Limits};
use davit::source::uploads::{Refused, Upload, Uploads};

use crate::controller::harness::Harness;

fn archive(text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "Dockerfile", text.as_bytes())
        .unwrap();
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest::parse(&format!("sha256:{}", davit::model::hex(digest.as_ref()))).unwrap()
}

struct Client<'a> {
    davit: &'a Harness,
    user: Identity,
}

impl Client<'_> {
    async fn post(&self, app: &str, query: &str, body: &[u8]) -> (StatusCode, Value) {
        let root = "/apis/subresources.davit.dev/v1alpha1/namespaces/default/applications";
        let request = Request::post(format!("{root}/{app}/source?{query}"))
            .body(Body::from(body.to_vec()))
            .unwrap();
        let router = self.davit.router_as(self.user.clone());
        let response = router.oneshot(request).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_in_parts_becomes_the_source_of_one_release() {
    let davit = Harness::start().await;
    davit.apply("shop", json!({})).await;
    let client = Client {
        davit: &davit,
        user: Identity::trusted("admin"),
    };
    let bytes = archive("FROM scratch\n");
    let (half, size) = (bytes.len() / 2, bytes.len());
    let query = format!("archive={}&size={size}", digest(&bytes));
    let (_, state) = client.post("shop", &query, b"").await;
    assert_eq!(
        (&state["received"], &state["kind"]),
        (&json!(0), &json!("SourceUpload"))
    );
    let (_, state) = client
        .post("shop", &format!("{query}&offset=0"), &bytes[..half])
        .await;
    assert_eq!(
        (&state["received"], &state["content"]),
        (&json!(half), &Value::Null)
    );
    // The same part again, or one that leaves a gap.
    for offset in [0, half + 1] {
        let (code, status) = client
            .post("shop", &format!("{query}&offset={offset}"), &bytes[..half])
            .await;
        assert_eq!((code.as_u16(), &status["reason"]), (409, &json!("Conflict")));
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .contains(&format!("offset={half}")),
            "{status}"
        );
    }
    let (_, state) = client
        .post("shop", &format!("{query}&offset={half}"), &bytes[half..])
        .await;
    let content = state["content"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(state["content"]["files"], 1);
    let (_, again) = client.post("shop", &query, b"").await;
    assert_eq!(again, state, "what was uploaded is not sent again");

    let source = json!({"spec": {"source": {"drop": {"digest": content}}}});
    davit.patch("shop", source).await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(app["status"]["source"]["revision"], content.as_str());
    assert_eq!(app["status"]["release"]["active"], "shop-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_that_is_not_permitted_or_not_valid_is_refused() {
    let davit = Harness::start().await;
    davit.apply("shop", json!({})).await;
    let admin = Client {
        davit: &davit,
        user: Identity::trusted("admin"),
    };
    let jane = Client {
        davit: &davit,
        user: Identity::new("jane", &[]),
    };
    let bytes = archive("FROM scratch\n");
    let query = format!("archive={}&size={}", digest(&bytes), bytes.len());
    let other = archive("FROM scratch\nENV A=1\n");
    let text = b"this is no archive".as_slice();
    let long = format!("archive={}&size={}", digest(&bytes), 3_u64 << 30);
    for (client, app, query, body, code, word) in [
        (
            &jane,
            "shop",
            format!("{query}&offset=0"),
            &bytes[..],
            403,
            "cannot create",
        ),
        (&admin, "shpo", query.clone(), b"", 404, "did you mean"),
        (
            &admin,
            "shop",
            "archive=x&size=1".to_owned(),
            b"",
            400,
            "parameter archive",
        ),
        (
            &admin,
            "shop",
            format!("archive={}", digest(b"")),
            b"",
            400,
            "parameter size",
        ),
        (
            &admin,
            "shop",
            format!("archive={}&size=0", digest(b"")),
            b"",
            400,
            "an empty file is no archive",
        ),
        (&admin, "shop", long.clone(), b"", 422, "larger than 1 GiB"),
        (
            &admin,
            "shop",
            format!("{query}&offset=x"),
            b"",
            400,
            "parameter offset",
        ),
        (
            &admin,
            "shop",
            format!("{long}&offset=0"),
            b"",
            422,
            "larger than 1 GiB",
        ),
        (
            &admin,
            "shop",
            format!("archive={}&size={}&offset=0", digest(text), text.len()),
            text,
            422,
            "no archive that is accepted",
        ),
        (
            &admin,
            "shop",
            format!("archive={}&size={}&offset=0", digest(&bytes), other.len()),
            &other,
            422,
            "not what was sent",
        ),
        (
            &admin,
            "shop",
            format!("archive={}&size=4&offset=0", digest(b"four")),
            b"fives",
            422,
            "more was sent than the parameter size says, which is 4",
        ),
    ] {
        let (given, status) = client.post(app, &query, body).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert!(
            given.as_u16() == code && message.contains(word),
            "{query}: {given} {status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_that_was_received_damaged_can_be_uploaded_again() {
    let davit = Harness::start().await;
    davit.apply("shop", json!({})).await;
    let client = Client {
        davit: &davit,
        user: Identity::trusted("admin"),
    };
    let bytes = archive("FROM scratch\n");
    let query = format!("archive={}&size={}", digest(&bytes), bytes.len());
    let sent = format!("{query}&offset=0");
    let damaged = vec![7; bytes.len()];
    for asks in [false, true] {
        let (code, status) = client.post("shop", &sent, &damaged).await;
        let message = status["message"].as_str().unwrap();
        assert_eq!(
            (code.as_u16(), message),
            (422, "what was received is not what was sent: upload it again")
        );
        if asks {
            let (_, state) = client.post("shop", &query, b"").await;
            assert_eq!(state["received"], 0, "{state}");
        }
    }
    let (code, state) = client.post("shop", &sent, &bytes).await;
    assert!(code.is_success() && state["content"]["files"] == 1, "{state}");

    // What is refused for its content is refused without being sent again.
    let text = b"this is no archive".as_slice();
    let query = format!("archive={}&size={}&offset=0", digest(text), text.len());
    for body in [text, &b""[..]] {
        let (code, status) = client.post("shop", &query, body).await;
        assert_eq!(code.as_u16(), 422, "{status}");
    }
}

#[tokio::test]
async fn digest_of_an_upload_that_began_anew_is_that_of_its_own_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(dir.path().join("uploads"), Limits::default());
    let bytes = archive("FROM scratch\n");
    let upload = Upload {
        namespace: "one".to_owned(),
        archive: digest(&bytes),
        size: bytes.len() as u64,
    };
    // The first part is right, and gone; then it is sent wrong.
    for first in [&bytes[..1024], &[7; 1024][..]] {
        uploads.discard(&upload);
        let mut part = uploads.append(&upload, 0).ok().unwrap();
        part.write(first).await.unwrap();
        assert_eq!(part.end().await.unwrap(), 1024);
    }
    let mut part = uploads.append(&upload, 1024).ok().unwrap();
    part.write(&bytes[1024..]).await.unwrap();
    part.end().await.unwrap();
    uploads.finish(&upload).ok().unwrap();
    let outcome = loop {
        match uploads.outcome(&upload) {
            Some(outcome) => break outcome,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(outcome.unwrap_err().message.contains("not what was sent"));
}

#[tokio::test]
async fn uploads_of_all_namespaces_together_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        stored_bytes: 5000,
        ..Limits::default()
    };
    let uploads = Uploads::new(dir.path().join("uploads"), limits);
    let upload = |namespace: &str, text: &str| {
        let bytes = archive(text);
        assert_eq!(bytes.len(), 2048);
        let upload = Upload {
            namespace: namespace.to_owned(),
            archive: digest(&bytes),
            size: 2048,
        };
        (upload, bytes)
    };
    let (first, bytes) = upload("one", "FROM scratch\n");
    let mut part = uploads.append(&first, 0).ok().unwrap();
    part.write(&bytes).await.unwrap();
    part.end().await.unwrap();
    uploads.finish(&first).ok().unwrap();
    let content = loop {
        match uploads.outcome(&first) {
            Some(outcome) => break outcome.unwrap(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(uploads.used(), 2048);
    // One namespace may hold half of what the others leave.
    let (more, _) = upload("one", "FROM alpine\n");
    let refused = uploads.append(&more, 0).err().unwrap();
    let Refused::Archive(error @ ArchiveError::ShareFull { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        error.to_string(),
        "uploads of namespace one hold 2048 bytes of 2500 bytes, so 2048 bytes more cannot be stored"
    );
    let (second, _) = upload("two", "FROM busybox\n");
    let second = Upload { size: 3072, ..second };
    let refused = uploads.append(&second, 0).err().unwrap();
    let Refused::Archive(error @ ArchiveError::StoreFull { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        error.to_string(),
        "uploads hold 2048 bytes of 5000 bytes, so 3072 bytes more cannot be stored"
    );
    // What an Application has used, and uses no more, makes room.
    uploads.find("one", &content.digest).unwrap();
    uploads.collect("one", &uploads.list("one"), &std::collections::BTreeSet::new());
    let second = Upload { size: 2048, ..second };
    assert!(uploads.append(&second, 0).is_ok());
}

#[tokio::test]
async fn part_that_is_lost_keeps_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(dir.path().join("uploads"), Limits::default());
    // Larger than several of the blocks that are written at once.
    let text = "# A line of a large Dockerfile.\n".repeat(160_000);
    let bytes = archive(&text);
    let upload = Upload {
        namespace: "one".to_owned(),
        archive: digest(&bytes),
        size: bytes.len() as u64,
    };
    let mut sent = 0;
    for (step, is_lost) in [
        (1_000, false),
        (70_001, true),
        (1_000_000, false),
        (333, true),
        (300_000, false),
    ] {
        let mut part = uploads
            .append(&upload, sent)
            .unwrap_or_else(|refused| panic!("{refused:?}"));
        let rest = &bytes[usize::try_from(sent).unwrap()..];
        let share = if step == 300_000 {
            rest.len()
        } else {
            rest.len() / 3
        };
        for chunk in rest[..share].chunks(step) {
            part.write(chunk).await.unwrap();
        }
        let accepted = sent + share as u64;
        if is_lost {
            drop(part);
            // The last block may still be being written.
            while matches!(uploads.append(&upload, u64::MAX), Err(Refused::Busy)) {
                tokio::task::yield_now().await;
            }
            let received = uploads.received(&upload).unwrap();
            assert!(
                received > sent && received <= accepted,
                "{sent} {received} {accepted}"
            );
            sent = received;
        } else {
            sent = part.end().await.unwrap();
            assert_eq!((sent, uploads.received(&upload).unwrap()), (accepted, accepted));
        }
    }
    uploads
        .finish(&upload)
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    let content = loop {
        match uploads.outcome(&upload) {
            Some(outcome) => break outcome.unwrap(),
            None => tokio::task::yield_now().await,
        }
    };
    let stored = std::fs::read(uploads.find("one", &content.digest).unwrap()).unwrap();
    assert!(stored == bytes);
}

#[tokio::test]
async fn uploads_leave_room_on_the_disk() {
    let disk = Disk::new(8);
    let uploads = Uploads::new(disk.path().join("uploads"), Limits::default());
    let upload = |size: u64| Upload {
        namespace: "default".to_owned(),
        archive: digest(b""),
        size: size << 20,
    };
    let refused = uploads.append(&upload(100), 0).err().unwrap();
    let Refused::Archive(ArchiveError::NoRoom { reserve, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(reserve > 256 << 10, "{reserve}");

    // Something else fills the disk meanwhile.
    let six = upload(6);
    let mut part = uploads.append(&six, 0).ok().unwrap();
    let block = vec![7; 1 << 20];
    part.write(&block).await.unwrap();
    assert_eq!(part.end().await.unwrap(), 1 << 20);
    let other = disk.path().join("other");
    std::fs::write(&other, vec![7; 4 << 20]).unwrap();
    let refused = uploads.append(&six, 1 << 20).err().unwrap();
    assert!(
        matches!(refused, Refused::Archive(ArchiveError::NoRoom { .. })),
        "{refused:?}"
    );
    uploads.discard(&six);
    assert_eq!(uploads.received(&six).unwrap(), 0);

    std::fs::remove_file(&other).unwrap();
    let mut part = uploads.append(&six, 0).ok().unwrap();
    std::fs::write(&other, vec![7; 4 << 20]).unwrap();
    let mut error = None;
    for _ in 0..6 {
        if let Err(full) = part.write(&block).await {
            error = Some(full);
            break;
        }
    }
    let error = match error {
        Some(error) => error,
        None => part.end().await.unwrap_err(),
    };
    assert!(matches!(error, ArchiveError::DiskFull), "{error:?}");
    // What was received does not keep the disk full.
    assert_eq!(uploads.received(&six).unwrap(), 0);
}
