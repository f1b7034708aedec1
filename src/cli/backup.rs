//! `davit backup` and `davit restore`: everything that `davit up` stores, in a file and back.
//!
//! The data directory belongs to the running process, so the backup is requested from that process, over its API.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::args::{Backup, Restore};
use crate::config;
use davit_apiserver::{restore_backup, verify_backup};

/// The API server's part of a data directory.
const STORE_DIR: &str = "apiserver";

/// `davit backup`.
///
/// # Errors
/// The server does not answer or refuses, or the file cannot be written.
pub async fn backup(args: Backup) -> anyhow::Result<()> {
    let kubeconfig = match args.kubeconfig {
        Some(path) => path,
        None => args
            .data_dir
            .or_else(config::default_data_dir)
            .ok_or(config::ConfigError::NoHome)?
            .join("kubeconfig"),
    };
    let client = client(&kubeconfig).await?;
    let target = std::path::absolute(&args.file)?;
    let wrong = |error: io::Error| anyhow::anyhow!("cannot write {}: {error}", target.display());
    let dir = target.parent().unwrap_or(Path::new("/"));
    // A temporary file has mode 0600, and is removed if the backup is not complete.
    let mut file = tempfile::Builder::new()
        .prefix(".davit-backup")
        .tempfile_in(dir)
        .map_err(wrong)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        anyhow::anyhow!("cannot take a backup: {}", crate::error::chain(error))
    };
    let request = http::Request::get("/backup").body(kube::client::Body::empty())?;
    let response = client.send(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    if !status.is_success() {
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(&error))?;
        let answer: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let message = answer["message"].as_str().unwrap_or("no message");
        anyhow::bail!("cannot take a backup: the server answered {status}: {message}");
    }
    let mut chunks = response.into_body().into_data_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(|error| failed(&error))? {
        file.write_all(&chunk).map_err(wrong)?;
    }
    file.as_file().sync_all().map_err(wrong)?;
    let (revision, objects) = verify_backup(fs::File::open(file.path()).map_err(wrong)?, &target)
        .map_err(|error| failed(&error))?;
    file.persist(&target).map_err(|error| wrong(error.error))?;
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(wrong)?;
    let said = format!("{}: {objects} objects at revision {revision}", target.display());
    writeln!(io::stdout(), "{said}")?;
    if let Some(uploads) = uploads(&kubeconfig) {
        let note = format!(
            "{} is no part of the backup: copy it, or upload again after a restore",
            uploads.display()
        );
        let _ = writeln!(io::stderr(), "{note}");
    }
    Ok(())
}

/// Returns the directory with the uploads of the server, if this machine has it and it is not empty.
fn uploads(kubeconfig: &Path) -> Option<PathBuf> {
    let dir = kubeconfig.parent()?.join("uploads");
    let mut entries = fs::read_dir(&dir).ok()?;
    entries.next().is_some().then_some(dir)
}

async fn client(kubeconfig: &PathBuf) -> anyhow::Result<Client> {
    let unusable = |why: &(dyn std::error::Error + 'static)| {
        anyhow::anyhow!(
            "cannot connect with {}: {}: start davit up with this data directory, or set --data-dir or --kubeconfig",
            kubeconfig.display(),
            crate::error::chain(why)
        )
    };
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(&error))?;
    let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(&error))?;
    Client::try_from(config).map_err(|error| unusable(&error))
}

/// `davit restore`.
///
/// # Errors
/// The backup is incomplete, the key is another one, or the directory contains a store already.
pub fn restore(args: &Restore) -> anyhow::Result<()> {
    let dir = std::path::absolute(&args.data_dir)?;
    let objects = restore_backup(&args.file, &dir.join(STORE_DIR), args.key.as_deref()).map_err(|error| {
        anyhow::anyhow!(
            "cannot restore {}: {}",
            args.file.display(),
            crate::error::chain(&error)
        )
    })?;
    writeln!(
        io::stdout(),
        "{}: {objects} objects; start it with davit up --data-dir {}",
        dir.display(),
        dir.display()
    )?;
    Ok(())
}
