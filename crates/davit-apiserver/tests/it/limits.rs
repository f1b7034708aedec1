//! What one client may not do to the others: over TLS, by hand, because well-behaved clients do none of this.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use davit_apiserver::{ApiServer, Limits};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{PATIENCE, api, get, send, server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server on a loopback port with limits of its own.
struct Served {
    server: ApiServer,
    address: SocketAddr,
    kubeconfig: Value,
    _task: JoinHandle<()>,
}

impl Served {
    async fn with(limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = server().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kubeconfig = serde_saphyr::from_str(&server.kubeconfig(address)).unwrap();
        let task = server.serve_with(listener, limits).unwrap();
        Self {
            server,
            address,
            kubeconfig,
            _task: task,
        }
    }

    fn pem(&self, pointer: &str) -> Vec<u8> {
        STANDARD
            .decode(self.kubeconfig.pointer(pointer).unwrap().as_str().unwrap())
            .unwrap()
    }

    /// A connection, as the administrator or as nobody; `window` is how much it takes without being read.
    async fn connect(&self, admin: bool, window: Option<u32>) -> Wire {
        let mut roots = rustls::RootCertStore::empty();
        let authority = self.pem("/clusters/0/cluster/certificate-authority-data");
        roots
            .add(CertificateDer::from_pem_slice(&authority).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = if admin {
            let user = "/users/0/user";
            let certificate = self.pem(&format!("{user}/client-certificate-data"));
            let key = self.pem(&format!("{user}/client-key-data"));
            config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(&certificate).unwrap()],
                    PrivateKeyDer::from_pem_slice(&key).unwrap(),
                )
                .unwrap()
        } else {
            config.with_no_client_auth()
        };
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).unwrap();
        }
        let stream = socket.connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Wire(
            TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
                .unwrap(),
        )
    }

    async fn ask(&self, request: &str) -> (u16, String) {
        let mut wire = self.connect(true, None).await;
        wire.say(request).await;
        wire.answer().await
    }
}

struct Wire(TlsStream<tokio::net::TcpStream>);

impl Wire {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The answer's code and all of it, head included.
    async fn answer(&mut self) -> (u16, String) {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        let complete = |text: &str| {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            (body.len() >= length.unwrap_or(0)).then_some(())
        };
        while complete(&text).is_none() {
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer))
                .await
                .expect("an answer in time");
            match read {
                Ok(0) | Err(_) => break,
                Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
        let code = text
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_default();
        (code, text)
    }

    /// Whether the server ends the connection in time, and how many bytes came before.
    async fn ends(&mut self) -> usize {
        let mut count = 0;
        let mut buffer = vec![0; 65536];
        loop {
            match tokio::time::timeout(PATIENCE, self.0.read(&mut buffer))
                .await
                .expect("an end in time")
            {
                Ok(0) | Err(_) => return count,
                Ok(read) => count += read,
            }
        }
    }
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: apiserver\r\nContent-Type: application/json\r\n{more}\r\n")
}

fn post(body: &str) -> String {
    head("POST", MAPS, &format!("Content-Length: {}\r\n", body.len())) + body
}

fn map(name: &str, text: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"t": text}})
        .to_string()
}

/// A token of somebody else, who may do everything too.
async fn other_user(served: &Served) -> String {
    let admin = api(&served.server);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "other"}, "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}});
    let made = send(
        &admin,
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        binding,
    )
    .await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = send(&admin, "POST", path, request).await;
    made.text("/status/token").to_owned()
}

/// A request that creates a ConfigMap with that token, of which only `sent` bytes of the body come.
fn half_sent(token: &str, length: usize, sent: usize) -> String {
    let more = format!("Authorization: Bearer {token}\r\nContent-Length: {length}\r\n");
    head("POST", MAPS, &more) + &" ".repeat(sent)
}

async fn write_as(served: &Served, token: &str, name: &str) -> u16 {
    let body = map(name, "");
    let more = format!(
        "Authorization: Bearer {token}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut wire = served.connect(false, None).await;
    wire.say(&(head("POST", MAPS, &more) + &body)).await;
    wire.answer().await.0
}

/// A row: what it is about, the request, the code and a part of the answer.
type Odd = (&'static str, Vec<u8>, u16, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_headers_and_unicode_are_read_as_upstream_reads_them() {
    let served = Served::with(Limits::default()).await;
    let posted = |name: &str, data: &[u8]| {
        let mut body = format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"a\":\"").into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"\"}}");
        let mut request = head("POST", MAPS, &format!("Content-Length: {}\r\n", body.len())).into_bytes();
        request.extend_from_slice(&body);
        request
    };
    let get = |path: &str, more: &str| head("GET", &format!("{MAPS}{path}"), more).into_bytes();
    let fields = (0..900)
        .map(|number| format!("X-{number}: a\r\n"))
        .collect::<Vec<_>>()
        .concat();
    let typed = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: ";
    let rows: Vec<Odd> = vec![
        (
            "bytes that are no UTF-8",
            posted("a", b"x\xffy"),
            201,
            "\"a\":\"x\u{fffd}y\"",
        ),
        (
            "a cut character",
            posted("b", b"\xe2\x82"),
            201,
            "\"a\":\"\u{fffd}\u{fffd}\"",
        ),
        ("half a pair", posted("c", b"\\ud800"), 201, "\"a\":\"\u{fffd}\""),
        (
            "an invalid escape in a path",
            get("/%zz", ""),
            400,
            "400 Bad Request",
        ),
        (
            "a slash in a name",
            get("/a%2fb", ""),
            404,
            "could not find the requested resource",
        ),
        (
            "an invalid escape in a query",
            get("?labelSelector=%zz", ""),
            200,
            "ConfigMapList",
        ),
        (
            "a semicolon in a query",
            get("?labelSelector=a;b", ""),
            200,
            "ConfigMapList",
        ),
        ("many fields", get("", &fields), 200, "ConfigMapList"),
        (
            "an odd media type",
            [typed.as_bytes(), b"\xff\r\n\r\n{}"].concat(),
            415,
            "UnsupportedMediaType",
        ),
    ];
    for (what, request, code, part) in rows {
        let mut wire = served.connect(true, None).await;
        wire.0.write_all(&request).await.unwrap();
        wire.0.flush().await.unwrap();
        let (found, text) = wire.answer().await;
        assert_eq!(found, code, "{what}: {text}");
        assert!(text.contains(part), "{what}: {text}");
    }
    served.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_hold_no_seats() {
    let served = Served::with(Limits {
        mutating: 4,
        large: 1,
        queue: 2,
        wait: Duration::from_secs(1),
        ..Limits::default()
    })
    .await;
    let token = other_user(&served).await;
    let mut hogs = Vec::new();
    for at in 0..30 {
        let mut wire = served.connect(false, None).await;
        let length = if at % 2 == 0 { 10 } else { 400 << 10 };
        wire.say(&half_sent(&token, length, 1)).await;
        hogs.push(wire);
    }
    let began = Instant::now();
    assert_eq!(served.ask(&post(&map("admins", ""))).await.0, 201);
    assert_eq!(
        served.ask(&post(&map("large", &"x".repeat(300 << 10)))).await.0,
        201
    );
    assert_eq!(
        write_as(&served, &token, "own").await,
        201,
        "nor does their user wait"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    let own = send(
        &api(&served.server),
        "POST",
        MAPS,
        serde_json::from_str(&map("process", "")).unwrap(),
    )
    .await;
    assert_eq!(own.code, 201, "requests of the process take no seat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_a_user_have_a_budget_of_memory() {
    let served = Served::with(Limits {
        body_bytes: 1 << 20,
        ..Limits::default()
    })
    .await;
    let token = other_user(&served).await;
    // Half of the budget is for one user: of two bodies of 300 KiB that do not end, one is refused.
    let mut hogs = Vec::new();
    for _ in 0..2 {
        let mut wire = served.connect(false, None).await;
        wire.say(&half_sent(&token, 400 << 10, 300 << 10)).await;
        hogs.push(wire);
    }
    let mut answers = hogs.iter_mut().map(|wire| Box::pin(wire.answer()));
    let (mut first, mut second) = (answers.next().unwrap(), answers.next().unwrap());
    let refused = tokio::select! { answer = &mut first => answer, answer = &mut second => answer };
    assert_eq!(refused.0, 429, "{}", refused.1);
    let text = refused.1.to_ascii_lowercase();
    assert!(
        text.contains("retry-after: 1") && refused.1.contains("\"TooManyRequests\""),
        "{text}"
    );
    assert_eq!(
        served.ask(&post(&map("large", &"x".repeat(900 << 10)))).await.0,
        201,
        "administrators are exempt"
    );
    assert_eq!(write_as(&served, &token, "small").await, 201);
    drop((first, second));
    drop(answers);
    drop(hogs);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = map("after", &"x".repeat(450 << 10));
        let more = format!(
            "Authorization: Bearer {token}\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut wire = served.connect(false, None).await;
        wire.say(&(head("POST", MAPS, &more) + &body)).await;
        let code = wire.answer().await.0;
        if code == 201 {
            break;
        }
        assert_eq!(code, 429);
        assert!(Instant::now() < deadline, "the memory comes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_ends() {
    let served = Served::with(Limits {
        request: Duration::from_millis(200),
        head: Duration::from_millis(400),
        handshake: Duration::from_millis(400),
        ..Limits::default()
    })
    .await;
    let (code, text) = served.ask(&head("POST", MAPS, "Content-Length: 10\r\n")).await;
    assert_eq!(code, 504, "{text}");
    assert!(text.contains("\"reason\":\"Timeout\""), "{text}");

    // One that sends its head drop by drop, one that sends none, and one that does not even speak TLS.
    let mut slow = served.connect(true, None).await;
    slow.say("GET /api HTTP/1.1\r\nHost: da").await;
    slow.ends().await;
    served.connect(false, None).await.ends().await;
    let mut mute = tokio::net::TcpStream::connect(served.address).await.unwrap();
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(PATIENCE, mute.read(&mut buffer))
        .await
        .expect("an end in time");
    assert!(matches!(read, Ok(0) | Err(_)));

    let began = Instant::now();
    let mut watch = served.connect(true, None).await;
    watch
        .say(&head(
            "GET",
            &format!("{MAPS}?watch=true&timeoutSeconds=1"),
            "Connection: close\r\n",
        ))
        .await;
    watch.ends().await;
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "a watch lasts as long as it asks"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused() {
    const LIMIT: usize = 3 << 20;
    let served = Served::with(Limits::default()).await;
    let (code, text) = served.ask(&post(&map("large", &"x".repeat(LIMIT)))).await;
    assert_eq!(code, 413, "{text}");
    assert!(text.contains("\"RequestEntityTooLarge\""), "{text}");
    assert_eq!(served.ask(&post(&map("fits", &"x".repeat(1 << 20)))).await.0, 201);

    let mut chunked = served.connect(true, None).await;
    chunked
        .say(&head("POST", MAPS, "Transfer-Encoding: chunked\r\n"))
        .await;
    let piece = format!("{:x}\r\n{}\r\n", 65536, "x".repeat(65536));
    for _ in 0..=(LIMIT / 65536) {
        // The server may have answered already and read no more.
        if chunked.0.write_all(piece.as_bytes()).await.is_err() {
            break;
        }
    }
    assert_eq!(chunked.answer().await.0, 413);

    let many = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    let mut wire = served.connect(true, None).await;
    let _ = wire.0.write_all(head("GET", "/api", &many).as_bytes()).await;
    assert_eq!(wire.answer().await.0, 431);
    let path = format!("/api?{}", "x".repeat(1 << 20));
    let mut wire = served.connect(true, None).await;
    let _ = wire.0.write_all(head("GET", &path, "").as_bytes()).await;
    assert!(matches!(wire.answer().await.0, 414 | 431));

    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(served.ask(&post(&deep)).await.0, 400);
    let (code, text) = served.ask(&head("GET", "/livez", "")).await;
    assert_eq!(code, 200, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_one_however_it_is_asked_for() {
    let served = Served::with(Limits {
        reading: 1,
        // One user may have three quarters of them.
        watches: 6,
        request: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let under_watch = MAPS.replace("/v1/", "/v1/watch/");
    let mut open = Vec::new();
    for path in [
        format!("{MAPS}?watch=True"),
        format!("{MAPS}?w%61tch=yes"),
        format!("{MAPS}?watch="),
        under_watch.clone(),
    ] {
        let mut watch = served.connect(true, None).await;
        watch.say(&head("GET", &path, "")).await;
        let mut code = [0; 12];
        watch.0.read_exact(&mut code).await.unwrap();
        assert!(
            code.ends_with(b"200"),
            "{path}: {}",
            String::from_utf8_lossy(&code)
        );
        open.push(watch);
    }
    assert_eq!(
        served.ask(&head("GET", &under_watch, "")).await.0,
        429,
        "the places of watches are taken, each by one of these"
    );
    assert_eq!(
        served.ask(&head("GET", MAPS, "")).await.0,
        200,
        "and none of reading"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_cut_off_and_hurts_nobody() {
    const WRITES: usize = 150;
    let served = Served::with(Limits {
        watches: 1,
        stall: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let router = api(&served.server);
    let start = get(&router, MAPS)
        .await
        .text("/metadata/resourceVersion")
        .to_owned();
    let watch = head("GET", &format!("{MAPS}?watch=1&resourceVersion={start}"), "");
    let mut stalled = served.connect(true, Some(4096)).await;
    stalled.say(&watch).await;
    // The head is there, so the watch is; from here on it reads nothing.
    let mut first = [0; 1];
    stalled.0.read_exact(&mut first).await.unwrap();
    assert_eq!(served.ask(&watch).await.0, 429, "there is one already");

    let reader = tokio::spawn({
        let path = format!("{MAPS}?watch=1&resourceVersion={start}&timeoutSeconds=300");
        let router = router.clone();
        async move {
            let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
            let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
            let mut body = response.into_body().into_data_stream();
            let (mut seen, mut rest) = (0, Vec::new());
            while seen < WRITES {
                let chunk = futures::StreamExt::next(&mut body).await.unwrap().unwrap();
                rest.extend_from_slice(&chunk);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).unwrap();
                    assert_eq!(
                        event.pointer("/object/metadata/name"),
                        Some(&json!(format!("m{seen}")))
                    );
                    seen += 1;
                }
            }
        }
    });
    let large = "x".repeat(100_000);
    let began = Instant::now();
    for index in 0..WRITES {
        let body = serde_json::from_str(&map(&format!("m{index}"), &large)).unwrap();
        assert_eq!(send(&router, "POST", MAPS, body).await.code, 201);
    }
    tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert!(began.elapsed() < PATIENCE);

    // Its place is free when it has been cut off, though it has never read a byte more.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut again = served.connect(true, None).await;
        again.say(&watch).await;
        let mut text = [0; 12];
        again.0.read_exact(&mut text).await.unwrap();
        if text.ends_with(b"200") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&text));
    }
    assert!(
        stalled.ends().await < WRITES * large.len(),
        "it did not get everything"
    );
}
