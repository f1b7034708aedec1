//! A client that costs as little as a client can, so that what is measured is the server.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server, and how to be let in.
#[derive(Clone)]
pub struct Target {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    authorization: String,
}

impl Target {
    /// That of a kubeconfig with a client certificate or a token.
    pub fn read(kubeconfig: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let at = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
        let data = |pointer: &str| STANDARD.decode(at(pointer).unwrap()).unwrap();
        let authority = match at("/clusters/0/cluster/certificate-authority") {
            Some(path) => std::fs::read(path).unwrap(),
            None => data("/clusters/0/cluster/certificate-authority-data"),
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let token = at("/users/0/user/token");
        let tls = if token.is_some() {
            builder.with_no_client_auth()
        } else {
            let certificate =
                CertificateDer::from_pem_slice(&data("/users/0/user/client-certificate-data")).unwrap();
            let key = PrivateKeyDer::from_pem_slice(&data("/users/0/user/client-key-data")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        };
        Self {
            address: at("/clusters/0/cluster/server")
                .unwrap()
                .trim_start_matches("https://")
                .to_owned(),
            tls: Arc::new(tls),
            authorization: token
                .map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n")),
        }
    }

    /// A whole request.
    pub fn request(&self, method: &str, path: &str, content_type: &str, body: &str) -> Vec<u8> {
        let Self {
            address,
            authorization,
            ..
        } = self;
        let kind = if content_type.is_empty() {
            String::new()
        } else {
            format!(
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
                body.len()
            )
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}{kind}\r\n{body}").into_bytes()
    }
}

/// One connection.
pub struct Wire {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects with HTTP/1.1.
    pub async fn connect(target: &Target) -> Self {
        let stream = TcpStream::connect(&target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(target.tls.clone());
        Self {
            stream: connector.connect(name, stream).await.unwrap(),
            buffer: Vec::with_capacity(64 << 10),
        }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn more(&mut self) {
        assert!(
            self.stream.read_buf(&mut self.buffer).await.unwrap() > 0,
            "the server ended the connection"
        );
    }

    /// Reads until `text` has come, and forgets what came.
    pub async fn until(&mut self, text: &str) {
        while !self
            .buffer
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            self.more().await;
        }
        self.buffer.clear();
    }

    /// Reads one answer: its code and the length of its body.
    pub async fn answer(&mut self) -> (u16, usize) {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await;
        };
        let text = std::str::from_utf8(&self.buffer[..head])
            .unwrap()
            .to_ascii_lowercase();
        let code: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let end = match length {
            Some(length) => {
                while self.buffer.len() < head + length {
                    self.more().await;
                }
                head + length
            }
            None => loop {
                if self.buffer[head - 2..].ends_with(b"\r\n0\r\n\r\n") {
                    break self.buffer.len();
                }
                self.more().await;
            },
        };
        if code >= 300 {
            println!("{}", String::from_utf8_lossy(&self.buffer[..end]));
        }
        self.buffer.drain(..end);
        (code, end - head)
    }

    /// Sends a request and returns the code of its answer.
    pub async fn code(&mut self, request: &[u8]) -> u16 {
        self.send(request).await;
        self.answer().await.0
    }

    /// Sends a request that succeeds and returns the length of its answer.
    pub async fn ask(&mut self, request: &[u8]) -> usize {
        self.send(request).await;
        let (code, length) = self.answer().await;
        assert!((200..300).contains(&code), "{code}");
        length
    }
}
