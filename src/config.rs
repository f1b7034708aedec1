//! Flags and environment become [`Config`], validated; nothing else reads the environment.

mod client;

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::args;
use crate::cli::proxy_args::Proxy;
use crate::redact::Secret;

pub use client::{https_proxy, kubeconfig_files, wants_color};

/// The name of the installation in the default data directory, which is root's.
const DEFAULT_INSTANCE: &str = "davit";

/// The directories in the data directory that hold what is not everybody's: sources, what jobs fetch, build logs.
const DIRECTORIES: [&str; 4] = ["cache", "work", "logs", "uploads"];

/// What else there may be in a data directory that is Davit's alone; `lost+found` where it is a disk of its own.
const OWN: [&str; 9] = [
    "apiserver",
    "digest.key",
    "instance",
    "kubeconfig",
    "lock",
    "lost+found",
    "orphans",
    "proxy",
    "pulls",
];

/// How long a start waits for a data directory that another process holds.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two attempts to lock the data directory.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What Davit runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the API server listens; nothing for `davit controller`.
    pub listen: Option<SocketAddr>,
    /// The address of health checks and metrics, if they are served.
    pub health_listen: Option<SocketAddr>,
    /// The address where deliveries of webhooks are received, if they are.
    pub webhook_listen: Option<SocketAddr>,
    /// The URL under which forges reach that address, without a slash at its end.
    pub public_url: Option<String>,
    /// This installation's name on the engine.
    pub instance: String,
    /// The key of all digests.
    pub key: Secret,
    /// The Docker Engine, where not the default.
    pub docker_host: Option<String>,
    /// Where containers run.
    pub runtime: args::RuntimeKind,
    /// How many builds run at once.
    pub max_builds: usize,
    /// How many previews a namespace may have.
    pub max_previews: usize,
    /// The bound of the Git cache, in bytes.
    pub git_cache: u64,
    /// The bound of all uploads, in bytes.
    pub max_uploads: u64,
    /// The registry and the beginning of the path of repositories of built images.
    pub registry: Option<String>,
    /// A Docker configuration with the credentials of `registry`.
    pub registry_config: Option<PathBuf>,
    /// The registries where images are deleted over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// The bound of the build cache, in bytes.
    pub build_cache: Option<u64>,
    /// The buildkitd that builds; `None` for the BuildKit in the engine.
    pub buildkit_host: Option<String>,
    /// The files of its TLS: authority, certificate and key.
    pub buildkit_tls: Option<[PathBuf; 3]>,
    /// The reverse proxy.
    pub proxy: Proxy,
    /// The railpack program; `None` to look it up.
    pub railpack: Option<PathBuf>,
    /// The nixpacks program; `None` to look it up.
    pub nixpacks: Option<PathBuf>,
    /// `/metrics` has series of Applications.
    pub metrics_per_application: bool,
    /// file:// and loopback http:// sources are allowed.
    pub allow_local_sources: bool,
    /// `HTTPS_PROXY`, for forges and Git. It may hold a password.
    pub https_proxy: Option<Secret>,
    /// `NO_PROXY`: the hosts that are reached without the proxy.
    pub no_proxy: String,
}

/// Why Davit cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no home to keep anything in.
    #[error("there is no data directory, because HOME is not set: use --data-dir")]
    NoHome,
    /// A file or directory cannot be used.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk is full.
    #[error("{path} cannot be written: no space left on its disk: free space and start davit again")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// A name that cannot be used.
    #[error("{0:?} is not an instance name: use 1 to 20 lower-case letters, digits and - in --instance")]
    Instance(String),
    /// The data directory is that of another name.
    #[error(
        "the data directory belongs to the instance {kept:?}, not {given:?}: remove --instance, or delete all Applications \
         and then the file {file}"
    )]
    OtherInstance {
        /// The one that was given.
        given: String,
        /// The one that the data directory keeps.
        kept: String,
        /// Where it keeps it.
        file: PathBuf,
    },
    /// Another Davit uses the data directory.
    #[error("{0} is locked by another Davit: stop that, or use another --data-dir")]
    Locked(PathBuf),
}

impl ConfigError {
    fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::File { path, source },
        }
    }
}

impl Config {
    /// From what was typed. Makes the data directory, takes it for this process alone until the file is dropped, and only
    /// then reads or makes what must be the same after a restart: of several that start at once, one gets that far.
    ///
    /// # Errors
    /// A directory or file that cannot be used; another Davit has the directory.
    pub fn new(args: args::Controller, listen: Option<SocketAddr>) -> Result<(Self, fs::File), ConfigError> {
        let args::Controller {
            data_dir,
            instance,
            docker_host,
            runtime,
            health_listen,
            webhook_listen,
            public_url,
            max_builds,
            max_previews,
            git_cache,
            max_uploads,
            registry,
            registry_config,
            insecure_registry,
            build_cache,
            buildkit_host,
            buildkit_ca,
            buildkit_cert,
            buildkit_key,
            proxy,
            railpack,
            nixpacks,
            allow_local_sources,
            metrics_per_application,
        } = args;
        let default_dir = default_data_dir();
        let is_default = data_dir.is_none() || data_dir == default_dir;
        let data_dir = data_dir.or(default_dir).ok_or(ConfigError::NoHome)?;
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        make_dir(&data_dir)?;
        let held = lock(&data_dir)?;
        close(&data_dir, holds_nothing_else(&data_dir));
        for name in DIRECTORIES {
            let dir = data_dir.join(name);
            make_dir(&dir)?;
            close(&dir, true);
        }
        let file = data_dir.join("instance");
        let kept = kept(&file)?.map(|bytes| String::from_utf8_lossy(bytes.trim_ascii()).into_owned());
        let instance = match (instance, &kept) {
            (Some(given), Some(kept)) if given != *kept => {
                let kept = kept.clone();
                return Err(ConfigError::OtherInstance { given, kept, file });
            }
            (Some(name), _) => name,
            (None, Some(kept)) => kept.clone(),
            (None, None) if is_default => default_instance(rustix::process::geteuid()),
            (None, None) => format!("{:08x}", uuid::Uuid::new_v4().as_fields().0),
        };
        let good = (1..=20).contains(&instance.len())
            && instance
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !instance.starts_with('-')
            && !instance.ends_with('-');
        if !good {
            return Err(ConfigError::Instance(instance));
        }
        if kept.is_none() {
            let written = write_private(&file, instance.as_bytes());
            written.map_err(|source| ConfigError::file(&file, source))?;
        }
        let random = || [(); 2].map(|()| uuid::Uuid::new_v4().into_bytes()).concat();
        let key = Secret::new(read_or_create(&data_dir.join("digest.key"), random)?);
        let config = Self {
            data_dir,
            listen,
            health_listen,
            webhook_listen,
            public_url,
            instance,
            key,
            docker_host,
            runtime,
            max_builds: usize::from(max_builds),
            max_previews: usize::from(max_previews),
            git_cache: git_cache.saturating_mul(1024 * 1024),
            max_uploads: max_uploads.saturating_mul(1024 * 1024),
            registry,
            registry_config,
            insecure_registries: insecure_registry,
            build_cache: build_cache.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024)),
            buildkit_host,
            buildkit_tls: match (buildkit_ca, buildkit_cert, buildkit_key) {
                (Some(ca), Some(certificate), Some(key)) => Some([ca, certificate, key]),
                _ => None,
            },
            proxy,
            railpack,
            nixpacks,
            metrics_per_application,
            allow_local_sources,
            https_proxy: variable(["HTTPS_PROXY", "https_proxy"]).map(Secret::from),
            no_proxy: variable(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        };
        Ok((config, held))
    }
}

/// Takes the data directory for this process alone; held until the file is dropped. A process that was just killed holds
/// it until the kernel has taken that process apart, so a lock that another process holds is tried again for a moment.
fn lock(data_dir: &Path) -> Result<fs::File, ConfigError> {
    let path = data_dir.join("lock");
    let wrong = |source| ConfigError::File {
        path: path.clone(),
        source,
    };
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(wrong)?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(ConfigError::Locked(data_dir.to_path_buf())),
            Err(error) => return Err(wrong(error.into())),
        }
    }
}

/// The data directory of `davit up` where none is given.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the one that reads the environment"
)]
pub fn default_data_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/davit"));
    }
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named("XDG_DATA_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".local/share")))
        .map(|dir| dir.join("davit"))
}

/// The first of these environment variables that is set.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the one that reads the environment"
)]
fn variable(names: [&str; 2]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
}

/// The instance of the default data directory: each user has one, and they may share an engine, where the one sweeps away
/// what bears its name and belongs to nothing that it knows.
fn default_instance(user: rustix::process::Uid) -> String {
    if user.is_root() {
        DEFAULT_INSTANCE.to_owned()
    } else {
        format!("{DEFAULT_INSTANCE}-{}", user.as_raw())
    }
}

/// Lets only the owner into a directory that was there before and that others could read. One that is not ours, or that
/// holds files that are not Davit's (such as `/srv`), is left unchanged, with a warning.
fn close(dir: &Path, is_davits: bool) {
    let Ok(found) = fs::metadata(dir) else { return };
    let path = dir.display();
    let of_others = found.mode() & 0o077;
    if of_others == 0 {
        return;
    }
    let ours = found.uid() == rustix::process::geteuid().as_raw() && is_davits;
    if ours && fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).is_ok() {
        tracing::info!(%path, mode = format!("{:o}", found.mode() & 0o7777), "others could read this directory; now only its owner can");
    } else {
        tracing::warn!(%path, "others can read this directory, and it is not Davit's alone to change");
    }
}

/// True where there is nothing in a data directory that Davit did not make.
fn holds_nothing_else(dir: &Path) -> bool {
    let known = |name: &str| OWN.contains(&name) || DIRECTORIES.contains(&name) || name.starts_with(".davit");
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(known)))
    })
}

fn make_dir(path: &Path) -> Result<(), ConfigError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ConfigError::file(path, source))
}

/// The content of a file; `None` if it does not exist or is empty.
fn kept(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes).filter(|bytes| !bytes.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::file(path, source)),
    }
}

/// Returns the content of a file, which is created with `make` if it does not exist or is empty.
fn read_or_create(path: &Path, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, ConfigError> {
    if let Some(bytes) = kept(path)? {
        return Ok(bytes);
    }
    let bytes = make();
    match write_private(path, &bytes) {
        Ok(()) => Ok(bytes),
        Err(source) => Err(ConfigError::file(path, source)),
    }
}

/// Writes a file as [`write_private`] does, unless it holds these bytes already: a start with a full disk then succeeds.
///
/// # Errors
/// It cannot be written.
pub fn update_private(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    let of_others = fs::metadata(path).map_or(0, |found| found.mode() & 0o077);
    if of_others == 0 && fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    write_private(path, bytes).map_err(|source| ConfigError::file(path, source))
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".davit").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
