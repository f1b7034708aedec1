//! `GET /backup`: everything that is stored, as it is at one moment, while the server runs.
//!
//! A path and no resource, as `/metrics` and `/logs` are at upstream: RBAC knows such paths (`nonResourceURLs`), so that
//! a role can allow backups, and `kubectl get --raw /backup` is enough to take one from anywhere.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use axum::body::Body;
use futures::stream;
use http::{HeaderValue, Response, header};

use crate::{
    data_dir::{KEY_FILE, STORE_FILE, make_directory, sealed},
    state::Server,
    status::{ApiError, ApiResult},
    store::{self, StoreError},
};

/// The path.
pub const PATH: &str = "/backup";

/// The whole store as a stream.
pub fn answer(server: &Server) -> ApiResult<Response<Body>> {
    let backup = server.store.backup().ok_or_else(|| {
        ApiError::plain_internal(
            "this server keeps everything in memory and has no key to seal a backup with",
        )
    })?;
    let mut response = Response::new(Body::from_stream(stream::iter(backup)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    Ok(response)
}

/// Reads a whole backup and says its revision and how many objects it holds; `path` is what errors call it.
pub fn verify_backup(input: impl Read, path: &Path) -> Result<(u64, usize), StoreError> {
    store::verify(input, path)
}

/// Makes a store in `data_dir` of a backup, with the key in `key_file` (with none, the one that is in `data_dir`
/// already), and says how many objects it holds. A store that is there already is never touched.
pub fn restore_backup(backup: &Path, data_dir: &Path, key_file: Option<&Path>) -> Result<usize, StoreError> {
    let file = |path: &Path| {
        let path: PathBuf = path.to_owned();
        move |source| StoreError::File { path, source }
    };
    let input = fs::File::open(backup).map_err(file(backup))?;
    make_directory(data_dir).map_err(file(data_dir))?;
    let kept = data_dir.join(KEY_FILE);
    let restored = store::restore(
        input,
        backup,
        &data_dir.join(STORE_FILE),
        key_file.unwrap_or(&kept),
        sealed,
    )?;
    if let Some(given) = key_file
        && given != kept
    {
        // The permissions come along: 0600, or it would not have been taken.
        fs::copy(given, &kept).map_err(file(&kept))?;
    }
    Ok(restored)
}
