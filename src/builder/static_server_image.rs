//! The image with Davit's own web server: nothing but the program that runs, so that no image has to come from anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::build_options::{Order, hex};
use super::buildkit::{BuilderOptions, DockerBuilder, blocking};
use super::{BuildError, Builder as _, images, static_site};
use crate::job_log::JobLog;

/// The repository of these images; the tag is the hash of the program.
const SERVER: &str = "davit-static";

/// What is known of the image.
#[derive(Debug, Default)]
pub struct OwnServer {
    tag: OnceCell<String>,
    making: Mutex<()>,
}

impl DockerBuilder {
    /// The image with Davit's own web server, made at its first use and again where it is gone.
    pub(super) async fn own_server(
        &self,
        order: &Order<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<String, BuildError> {
        let tag = self.server.tag.get_or_try_init(|| self.server_tag()).await?;
        // One at a time: several sites may want it first.
        let _one = tokio::select! {
            one = self.server.making.lock() => one,
            () = cancel.cancelled() => return Err(BuildError::Cancelled),
            () = sleep_until(order.deadline) => return Err(BuildError::Timeout(order.limit)),
        };
        if images::inspect(&self.docker, tag).await?.is_some() {
            return Ok(tag.clone());
        }
        log.write("make the image with Davit's web server");
        let executable = self.options.executable.clone();
        let program = blocking(move || File::open(executable).map_err(BuildError::Io)).await?;
        let order = Order {
            tag,
            labels: self.labels(&[(images::BUILDER, SERVER)]),
            registries: &BTreeMap::new(),
            no_cache: false,
            shared_key: tag.clone(),
            ..*order
        };
        self.run(static_site::server(program), &order, log, cancel)
            .await?;
        self.remove_old_servers(tag).await;
        Ok(tag.clone())
    }

    /// Removes the servers of earlier versions of this Davit. The sites on them keep their layers.
    async fn remove_old_servers(&self, current: &str) {
        let labels = [
            (images::INSTANCE, self.options.instance.as_str()),
            (images::BUILDER, SERVER),
        ];
        match images::labelled(&self.docker, &labels).await {
            Ok(servers) => {
                // The label is inherited by the sites built on them, hence the name as well.
                let old = |tag: &str| tag != current && tag.starts_with(&format!("{SERVER}:"));
                for image in servers.iter().filter(|image| old(&image.tag)) {
                    if let Err(error) = self.remove(&image.tag).await {
                        tracing::warn!(tag = image.tag, %error, "cannot remove an old image");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot list old images"),
        }
    }

    async fn server_tag(&self) -> Result<String, BuildError> {
        let BuilderOptions {
            executable,
            instance,
            installation,
            ..
        } = self.options.clone();
        blocking(move || {
            let mut file = File::open(executable).map_err(BuildError::Io)?;
            if !is_static(&file).map_err(BuildError::Io)? {
                let why =
                    "this davit is not one statically linked program for Linux, so no image can hold just it";
                return Err(BuildError::NotSupported {
                    field: "spec.build.static without image",
                    why: why.to_owned(),
                });
            }
            let hash = hash(&mut file, &[&instance, &installation]).map_err(BuildError::Io)?;
            Ok(format!("{SERVER}:{hash}"))
        })
        .await
    }
}

/// One for each program and each Davit, so that none removes what another one builds on.
fn hash(file: &mut File, davit: &[&str]) -> io::Result<String> {
    file.rewind()?;
    let mut hash = Sha256::new();
    for text in davit {
        hash.update(text);
        hash.update([0]);
    }
    let mut piece = vec![0; 1024 * 1024];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(piece.get(..count).unwrap_or_default());
    }
    Ok(hex(&hash.finalize()).chars().take(16).collect())
}

/// Whether it is an ELF program (64 bits, little-endian) that asks for no other program to load it: no program header
/// of the type `PT_INTERP`.
fn is_static(file: &File) -> io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let mut header = [0; 64];
    if file.read_at(&mut header, 0)? < header.len() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    let number = |from: usize, length: usize| {
        let bytes = header.get(from..from + length).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    for index in 0..count {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table.saturating_add(index * size))?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_not_static() {
        let is = |path: &str| is_static(&File::open(path).unwrap()).unwrap();
        assert!(is("/proc/self/exe"), "tests are linked as Davit is");
        assert!(!is("/usr/bin/env") && !is("/etc/passwd") && !is("/dev/null"));
    }

    #[test]
    fn davits_of_one_name_have_servers_of_their_own() {
        let of = |davit: &[&str]| hash(&mut File::open("/etc/passwd").unwrap(), davit).unwrap();
        assert_ne!(of(&["i", "one"]), of(&["i", "two"]));
        assert_eq!(of(&["i", "one"]), of(&["i", "one"]));
    }
}
