//! Serves the files of one directory over HTTP.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::ServiceExt as _;
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File, Metadata};

/// Serves `root` until SIGTERM or SIGINT; requests under way are finished.
///
/// # Errors
/// The directory cannot be opened.
pub async fn serve(root: &Path, spa: bool, listener: TcpListener) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    axum::serve(listener, router(root, spa)?)
        .with_graceful_shutdown(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        })
        .await
}

/// Answers for the files below `root`: `index.html` for directories, `404.html` or a short text for what is not there,
/// and with `spa` `/index.html` for pages that are not there (not for scripts and pictures). Hidden names but
/// `.well-known` are never served, and nothing outside `root`, symbolic links included.
///
/// # Errors
/// The directory cannot be opened.
pub fn router(root: &Path, spa: bool) -> io::Result<Router> {
    let dir = Dir::open_ambient_dir(root, ambient_authority())?;
    let files = ServeDir::with_backend("", Beneath(Arc::new(dir))).precompressed_gzip();
    Ok(Router::new().fallback(answer).with_state(Site { files, spa }))
}

#[derive(Clone)]
struct Site {
    files: ServeDir<tower_http::services::fs::DefaultServeDirFallback, Beneath>,
    spa: bool,
}

async fn answer(State(site): State<Site>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let conditional: Vec<_> = CONDITIONS
        .iter()
        .filter_map(|name| Some((name.clone(), request.headers().get(name)?.clone())))
        .collect();
    let wants_page = wants_page(&request);
    let request = site.with_useful_range(request).await;
    let mut response = site.file(request).await;
    if response.status() == StatusCode::NOT_FOUND && matches!(method, Method::GET | Method::HEAD) {
        let mut page = Request::builder().method(method);
        if site.spa && wants_page {
            if let Some(headers) = page.headers_mut() {
                headers.extend(conditional);
            }
            response = site.page(page, "/index.html").await.unwrap_or(response);
        } else if let Some(mut found) = site.page(page, "/404.html").await {
            *found.status_mut() = StatusCode::NOT_FOUND;
            response = found;
        }
        if response.status() == StatusCode::NOT_FOUND
            && response.headers().get(header::CONTENT_TYPE).is_none()
        {
            *response.body_mut() = Body::from("404 Not Found\n");
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
    }
    let caching = caching(response.status(), uri.path());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

const CONDITIONS: [HeaderName; 3] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::ACCEPT_ENCODING,
];

/// Reports whether a request may be answered with a page: it asks for HTML, or for anything at a path that looks like no file.
/// Then a script or picture that is missing stays missing, and a program that asks for a page need not know about `Accept`.
fn wants_page(request: &Request) -> bool {
    let mut accepted = request.headers().get_all(header::ACCEPT).iter().peekable();
    let takes_anything = accepted.peek().is_none();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let takes = |kind: &str| accepted.iter().any(|accepted| accepted.contains(kind));
    let path = request.uri().path().to_ascii_lowercase();
    // No application has routes to hidden names, such as those of `.well-known`, or to names that an attacker encodes.
    let is_odd = path.split('/').any(|name| name.starts_with('.'))
        || ["%2e", "%2f", "%5c", "%00"]
            .iter()
            .any(|code| path.contains(code));
    let is_file = is_odd || path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    takes("text/html") || takes("application/xhtml+xml") || !is_file && (takes_anything || takes("*/*"))
}

impl Site {
    /// Removes `Range` if it is to be ignored: for several ranges, and if the file is not the one that `If-Range` names (RFC 9110,
    /// section 13.1.5), since the parts of two versions make no file.
    async fn with_useful_range(&self, mut request: Request) -> Request {
        let Some(range) = request.headers().get(header::RANGE) else {
            return request;
        };
        let several = range.as_bytes().contains(&b',');
        let wanted = request.headers().get(header::IF_RANGE).cloned();
        let ignored = match wanted {
            _ if several => true,
            Some(wanted) => {
                let encodings = request.headers().get(header::ACCEPT_ENCODING).cloned();
                !self.is_version(request.uri().clone(), encodings, &wanted).await
            }
            None => false,
        };
        if ignored {
            request.headers_mut().remove(header::RANGE);
        }
        request
    }

    /// Reports whether the file at a path has this strong ETag, or exactly this time of its last change.
    async fn is_version(&self, uri: Uri, encodings: Option<HeaderValue>, wanted: &HeaderValue) -> bool {
        let mut head = Request::new(Body::empty());
        *head.method_mut() = Method::HEAD;
        *head.uri_mut() = uri;
        if let Some(encodings) = encodings {
            head.headers_mut().insert(header::ACCEPT_ENCODING, encodings);
        }
        let file = self.file(head).await;
        let etag = file.headers().get(header::ETAG);
        let is_etag = etag.is_some_and(|etag| etag == wanted && !etag.as_bytes().starts_with(b"W/"));
        is_etag || file.headers().get(header::LAST_MODIFIED) == Some(wanted)
    }

    async fn file(&self, request: Request) -> Response {
        match self.files.clone().oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// A page in place of another; `None` if it does not exist.
    async fn page(&self, request: http::request::Builder, path: &'static str) -> Option<Response> {
        let response = self
            .file(request.uri(Uri::from_static(path)).body(Body::empty()).ok()?)
            .await;
        (response.status() != StatusCode::NOT_FOUND).then_some(response)
    }
}

/// A file whose name bears the hash of its content never changes; of everything else a browser asks each time, with
/// the ETag that it has, so that a new release is seen at once.
fn caching(status: StatusCode, path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hashed = name.split(['.', '-', '_']).skip(1).any(|part| {
        part.len() >= 8
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && part.bytes().any(|byte| byte.is_ascii_digit())
            && part.bytes().any(|byte| byte.is_ascii_lowercase())
    });
    if hashed
        && matches!(
            status,
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        )
    {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

/// Files beneath one directory handle.
#[derive(Clone, Debug)]
struct Beneath(Arc<Dir>);

impl Beneath {
    /// Runs `work` with a path that may be served.
    async fn with<T: Send + 'static>(
        self,
        path: PathBuf,
        work: impl FnOnce(&Dir, &Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let hidden = path.iter().any(|part| {
            let part = part.as_encoded_bytes();
            part.starts_with(b".") && part != b"." && part != b".well-known"
        });
        if hidden {
            return Err(io::ErrorKind::NotFound.into());
        }
        tokio::task::spawn_blocking(move || work(&self.0, &path))
            .await
            .map_err(io::Error::other)?
    }
}

impl Backend for Beneath {
    type File = Opened;
    type Metadata = About;
    type OpenFuture = Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>;
    type MetadataFuture = Pin<Box<dyn Future<Output = io::Result<About>> + Send>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        Box::pin(self.clone().with(path, |dir, path| {
            let file = dir.open(path)?;
            let about = About::new(&file.metadata()?)?;
            Ok(Opened {
                file: tokio::fs::File::from_std(file.into_std()),
                about,
            })
        }))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        Box::pin(
            self.clone()
                .with(path, |dir, path| About::new(&dir.metadata(path)?)),
        )
    }
}

/// What is known of a file.
#[derive(Clone, Debug)]
struct About {
    directory: bool,
    modified: SystemTime,
    length: u64,
}

impl About {
    fn new(metadata: &cap_std::fs::Metadata) -> io::Result<Self> {
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            directory: metadata.is_dir(),
            modified: metadata.modified()?.into_std(),
            length: metadata.len(),
        })
    }
}

impl Metadata for About {
    fn is_dir(&self) -> bool {
        self.directory
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.modified)
    }

    fn len(&self) -> u64 {
        self.length
    }
}

/// An open file.
#[derive(Debug)]
struct Opened {
    file: tokio::fs::File,
    about: About,
}

impl File for Opened {
    type Metadata = About;
    type MetadataFuture<'a> = std::future::Ready<io::Result<About>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.about.clone()))
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buffer)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn site() -> tempfile::TempDir {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("site");
        for dir in ["docs", ".git", ".well-known", "empty"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (file, text) in [
            ("index.html", "<p>home"),
            ("docs/index.html", "<p>docs"),
            ("app.js", "let a = 1"),
            ("app.js.gz", "gzip"),
            ("main.3f2c1a9b.css", "p{}"),
            (".env", "secret"),
            (".git/config", "secret"),
            (".well-known/security.txt", "contact"),
            ("../secret", "secret"),
        ] {
            std::fs::write(root.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("index.html", root.join("home.html")).unwrap();
        outside
    }

    async fn ask(
        router: &Router,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, http::HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (parts.status.as_u16(), parts.headers, text)
    }

    const PAGE: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

    #[tokio::test]
    async fn files_are_served_and_nothing_else() {
        let dir = site();
        let router = router(&dir.path().join("site"), false).unwrap();
        for (method, path, status, text) in [
            ("GET", "/", 200, "<p>home"),
            ("GET", "/index.html", 200, "<p>home"),
            ("GET", "/home.html", 200, "<p>home"),
            ("GET", "/docs/", 200, "<p>docs"),
            ("GET", "/docs", 307, ""),
            ("HEAD", "/app.js", 200, ""),
            ("GET", "/.well-known/security.txt", 200, "contact"),
            ("GET", "/nothing", 404, "404 Not Found\n"),
            ("GET", "/empty/", 404, "404 Not Found\n"),
            ("POST", "/", 405, ""),
            ("GET", "/.env", 404, "404 Not Found\n"),
            ("GET", "/%2eenv", 404, "404 Not Found\n"),
            ("GET", "/.git/config", 404, "404 Not Found\n"),
            ("GET", "/out", 404, "404 Not Found\n"),
            ("GET", "/../secret", 404, "404 Not Found\n"),
            ("GET", "/%2e%2e/secret", 404, "404 Not Found\n"),
            ("GET", "/docs/..%2f..%2fsecret", 404, "404 Not Found\n"),
            ("GET", "/..%5csecret", 404, "404 Not Found\n"),
            ("GET", "//etc/passwd", 404, "404 Not Found\n"),
            ("GET", "/%00", 404, "404 Not Found\n"),
        ] {
            let (got, headers, body) = ask(&router, method, path, &[PAGE]).await;
            assert_eq!((got, body.as_str()), (status, text), "{method} {path}");
            assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        }
    }

    #[tokio::test]
    async fn browsers_ask_again_cheaply() {
        let dir = site();
        let router = router(&dir.path().join("site"), false).unwrap();
        let (_, headers, _) = ask(&router, "GET", "/", &[]).await;
        let etag = headers["etag"].to_str().unwrap();
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(ask(&router, "GET", "/", &[("if-none-match", etag)]).await.0, 304);
        assert_eq!(
            ask(&router, "GET", "/", &[("if-none-match", "\"x\"")]).await.0,
            200
        );
        let (status, headers, body) = ask(&router, "GET", "/app.js", &[("range", "bytes=4-4")]).await;
        assert_eq!(
            (status, body.as_str(), headers["content-range"].to_str().unwrap()),
            (206, "a", "bytes 4-4/9")
        );
        // Parts of another version, and several parts, are not sent: the whole file is.
        let (_, headers, _) = ask(&router, "GET", "/app.js", &[]).await;
        let (etag, time) = (&headers["etag"], &headers["last-modified"]);
        let (etag, time) = (etag.to_str().unwrap(), time.to_str().unwrap());
        for (range, version, status, text) in [
            ("bytes=4-4", etag, 206, "a"),
            ("bytes=4-4", time, 206, "a"),
            ("bytes=4-4", "\"other\"", 200, "let a = 1"),
            ("bytes=4-4", "Thu, 01 Jan 1970 00:00:00 GMT", 200, "let a = 1"),
            ("bytes=0-1,4-4", etag, 200, "let a = 1"),
        ] {
            let headers = [("range", range), ("if-range", version)];
            let (got, _, body) = ask(&router, "GET", "/app.js", &headers).await;
            assert_eq!((got, body.as_str()), (status, text), "{range} {version}");
        }
        let several = ask(&router, "GET", "/app.js", &[("range", "bytes=0-1,4-4")]).await;
        assert_eq!((several.0, several.2.as_str()), (200, "let a = 1"));
        let (_, headers, body) = ask(&router, "GET", "/app.js", &[("accept-encoding", "gzip")]).await;
        assert_eq!(
            (headers["content-encoding"].to_str().unwrap(), body.as_str()),
            ("gzip", "gzip")
        );
        let (_, headers, _) = ask(&router, "GET", "/main.3f2c1a9b.css", &[]).await;
        assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
        for name in ["/report-20240101.pdf", "/main-homepage.js", "/deadbeef.js"] {
            assert_eq!(caching(StatusCode::OK, name), "no-cache", "{name}");
        }
        assert_eq!(caching(StatusCode::NOT_FOUND, "/main.3f2c1a9b.css"), "no-cache");
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_is_the_fallback_and_a_script_is_not() {
        let dir = site();
        let root = dir.path().join("site");
        let spa = router(&root, true).unwrap();
        assert_eq!(ask(&spa, "GET", "/some/route", &[PAGE]).await.2, "<p>home");
        let (_, headers, _) = ask(&spa, "GET", "/some/route", &[PAGE]).await;
        let etag = headers["etag"].to_str().unwrap();
        assert_eq!(
            ask(&spa, "GET", "/other", &[PAGE, ("if-none-match", etag)])
                .await
                .0,
            304
        );
        assert_eq!(ask(&spa, "HEAD", "/some/route", &[PAGE]).await.0, 200);
        for (path, accept, status) in [
            ("/some/route", "*/*", 200),
            ("/gone.js", "*/*", 404),
            ("/v1.2/notes", "*/*", 200),
            ("/caf%C3%A9", "*/*", 200),
            ("/.well-known/openid-configuration", "*/*", 404),
            ("/.git/config", "*/*", 404),
            ("/%2e%2e/secret", "*/*", 404),
            ("/docs/..%2f..%2fsecret", "*/*", 404),
            ("/user/jane.doe", "text/html", 200),
            ("/some/route", "application/json", 404),
            ("/some/route", "image/avif,image/webp,*/*;q=0.8", 200),
            ("/gone.png", "image/avif,image/webp,*/*;q=0.8", 404),
        ] {
            let (got, _, _) = ask(&spa, "GET", path, &[("accept", accept)]).await;
            assert_eq!(got, status, "{path} {accept}");
        }
        assert_eq!(ask(&spa, "GET", "/some/route", &[]).await.2, "<p>home");
        assert_eq!(ask(&spa, "POST", "/some/route", &[PAGE]).await.0, 405);
        std::fs::write(root.join("404.html"), "<p>lost").unwrap();
        assert_eq!(
            ask(&spa, "GET", "/gone.js", &[("accept", "*/*")]).await.2,
            "<p>lost"
        );
        let plain = router(&root, false).unwrap();
        let (status, headers, body) = ask(&plain, "GET", "/x", &[PAGE, ("range", "bytes=0-1")]).await;
        assert_eq!((status, body.as_str()), (404, "<p>lost"));
        assert_eq!(headers["content-type"], "text/html");
    }
}
