//! The folder of the programs that `scripts/build-peer` builds.

use std::path::PathBuf;

/// The directory of all peers: `DAVIT_PEERS`, else `/var/cache/davit/peers` for root (whose home is closed to the
/// unprivileged user that Gitea runs as), else `~/.cache/davit/peers`. The same rule as in `scripts/build-peer`.
pub fn dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("DAVIT_PEERS").filter(|dir| !dir.is_empty()) {
        return dir.into();
    }
    if super::is_root() {
        return "/var/cache/davit/peers".into();
    }
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    cache.join("davit/peers")
}

/// The path of one file of a peer, as `gitea-1.26.0/gitea`; panics with the way out if it was never built.
pub fn file(path: &str) -> PathBuf {
    let file = dir().join(path);
    let name = path
        .split('/')
        .next()
        .and_then(|folder| folder.rsplit_once('-'))
        .map_or(path, |(name, _)| name);
    assert!(
        file.exists(),
        "{} is not there: run `scripts/build-peer {name}` first",
        file.display()
    );
    file
}
