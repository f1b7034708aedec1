//! WebSocket, and HTTP/2 without TLS to the container.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{Proxy, image};
use crate::common::docker::{BASE_IMAGE, docker};
use crate::common::{run, wait_for};

/// Answers the handshake, and then sends back what it gets.
const ECHO: &str = r#"
cat > /echo <<'END'
#!/bin/sh
while read -r line; do
  line=$(echo "$line" | tr -d '\r')
  case "$line" in "Sec-WebSocket-Key: "*|"Sec-Websocket-Key: "*) key=${line#*: };; "") break;; esac
done
if [ -z "$key" ]; then printf 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'; exit; fi
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
exec cat
END
chmod +x /echo
exec nc -ll -p 8080 -e /echo"#;

#[test]
fn websocket_passes_both_ways() {
    let proxy = Proxy::up("sockets", &[]);
    proxy.davit.apply(
        "web",
        json!({
            "source": {"docker": {"image": BASE_IMAGE}},
            "command": ["sh", "-c", ECHO],
            "ports": [{"containerPort": 8080}],
            "stopGracePeriod": "1s",
            "routes": [{"host": "web.example.com"}],
        }),
    );
    proxy.wait_ready("web");
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.http.number())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: web.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    for message in ["one", "two"] {
        stream.write_all(message.as_bytes()).unwrap();
        let mut back = [0; 3];
        reader.read_exact(&mut back).unwrap();
        assert_eq!(back, message.as_bytes());
    }
}

#[test]
fn container_gets_http2_without_tls() {
    let proxy = Proxy::up("grpc", &[]);
    // Another Traefik is the server: it takes HTTP/2 at its entry point, and logs the protocol of each request.
    proxy.davit.apply(
        "web",
        json!({
            "source": {"docker": {"image": image()}},
            "args": ["--entrypoints.web.address=:8080", "--ping=true", "--ping.entrypoint=web", "--accesslog=true", "--accesslog.addinternals=true"],
            "ports": [{"containerPort": 8080}],
            "stopGracePeriod": "1s",
            "routes": [{"host": "web.example.com", "protocol": "H2C"}],
        }),
    );
    proxy.wait_ready("web");
    assert_eq!(proxy.get("web.example.com", "/ping?here").body.trim(), "OK");
    let container = proxy.davit.containers("web").remove(0);
    wait_for("the log of the request", super::PATIENCE, || {
        let log = run(docker().args(["logs", &container]));
        log.lines()
            .any(|line| line.contains("/ping?here HTTP/2.0"))
            .then_some(())
    });
}

#[test]
fn container_that_does_not_speak_the_protocol_is_no_answer() {
    let proxy = Proxy::up("mute", &[]);
    let routes = json!([{"host": "web.example.com", "protocol": "H2C"}]);
    proxy.davit.apply("web", super::web("hello", routes));
    let app = proxy.wait_reason("web", "RouteHasNoReplica");
    let message = crate::common::davit::condition(&app, "RoutesReady")["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.contains("may not speak the protocol"), "{message}");
    assert_eq!(app["status"]["urls"], serde_json::Value::Null);
}
