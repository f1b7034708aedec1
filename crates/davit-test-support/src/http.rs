//! HTTP requests by `curl`, a client independent of Davit, to test servers and applications.

use std::path::Path;
use std::process::Command;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status code; 0 if there was no answer at all (then `body` is what curl said).
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Reply {
    /// The body as JSON; panics if it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Panics unless the status is `status`.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// One request in the making; nothing of the user's curl or proxy configuration applies.
pub struct Request(Command);

/// A request of `method` to `url`, which ends after 20 s at the latest.
pub fn request(method: &str, url: &str) -> Request {
    let mut command = Command::new("curl");
    command.args([
        "-q",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
    ]);
    command.args(["--write-out", "\n%{http_code}", "--request", method]);
    if method == "HEAD" {
        command.arg("--head");
    }
    command
        .args(["--url", url])
        .env_remove("CURL_CA_BUNDLE")
        .env_remove("SSL_CERT_FILE");
    Request(command)
}

/// `GET url`.
pub fn get(url: &str) -> Reply {
    request("GET", url).send()
}

impl Request {
    /// With basic authentication.
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.0.arg("--user").arg(format!("{user}:{password}"));
        self
    }

    /// With a header line, as `Name: value`.
    pub fn header(mut self, line: &str) -> Self {
        self.0.args(["--header", line]);
        self
    }

    /// Accepts any certificate of the server.
    pub fn insecure(mut self) -> Self {
        self.0.arg("--insecure");
        self
    }

    /// Reaches the host at the loopback address.
    pub fn resolve(mut self, host: &str, port: u16) -> Self {
        self.0.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]);
        self
    }

    /// Reaches the host at an address.
    pub fn connect_to(mut self, host: &str, port: u16, address: &str) -> Self {
        self.0
            .args(["--connect-to", &format!("{host}:{port}:{address}:{port}")]);
        self
    }

    /// With the headers of the answer before its body.
    pub fn include(mut self) -> Self {
        self.0.arg("--include");
        self
    }

    /// Trusting only the authority in this PEM file.
    pub fn ca(mut self, file: &Path) -> Self {
        self.0.arg("--cacert").arg(file);
        self
    }

    /// A body of any kind.
    pub fn body(self, content_type: &str, text: &str) -> Self {
        let mut with = self.header(&format!("Content-Type: {content_type}"));
        with.0.arg("--data-raw").arg(text);
        with
    }

    /// With `body` as JSON.
    pub fn json(self, body: &serde_json::Value) -> Self {
        let mut with = self.header("Content-Type: application/json");
        with.0.arg("--data-raw").arg(body.to_string());
        with
    }

    /// Sends it and waits for the answer.
    pub fn send(mut self) -> Reply {
        let (ok, out, err) = super::try_run(&mut self.0);
        let (body, code) = out.rsplit_once('\n').unwrap_or(("", "0"));
        let status = code.parse().unwrap_or(0);
        let body = if ok { body.to_owned() } else { err };
        Reply { status, body }
    }
}
