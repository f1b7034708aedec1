//! CPU architectures: finds programs that the engine's machine cannot execute.
//!
//! The kernel refuses such a program with `exec format error`, but that text rarely reaches anyone: the engine's init, like a
//! shell, then runs the file as a script, which fails with a syntax error.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, InspectContainerOptions};
use futures::StreamExt as _;

use super::Inner;
use crate::runtime::RuntimeError;

/// Where the engine's machine lists the interpreters of foreign programs (qemu-user, for instance).
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// How much of a program is read: its header, and what an archive puts before it.
const HEAD: usize = 16 * 1024;
/// How many symbolic links are followed to a program.
const MAX_LINKS: usize = 8;
/// The search path of a container without the variable `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The architecture that an ELF header names, in the words of OCI; `None` for other files and unknown machines.
fn of_program(header: &[u8]) -> Option<&'static str> {
    let magic = header.get(..4)?;
    let class = *header.get(4)?;
    let little_endian = *header.get(5)? == 1;
    let machine = [*header.get(18)?, *header.get(19)?];
    if magic != b"\x7fELF" {
        return None;
    }
    let machine = if little_endian {
        u16::from_le_bytes(machine)
    } else {
        u16::from_be_bytes(machine)
    };
    match (machine, class, little_endian) {
        (3, ..) => Some("386"),
        (20, ..) => Some("ppc"),
        (21, _, true) => Some("ppc64le"),
        (21, _, false) => Some("ppc64"),
        (22, ..) => Some("s390x"),
        (40, ..) => Some("arm"),
        (62, ..) => Some("amd64"),
        (183, ..) => Some("arm64"),
        (243, 2, _) => Some("riscv64"),
        (258, ..) => Some("loong64"),
        _ => None,
    }
}

/// Whether a machine of this architecture may execute programs of the other one without emulation.
fn executes(machine: &str, program: &str) -> bool {
    machine == program || matches!((machine, program), ("amd64", "386") | ("arm64", "arm"))
}

/// Whether output suggests that a file was not a program for this machine, or was run as a shell script for that reason.
fn suggests_foreign_program(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    let signs = [
        "exec format error",
        "syntax error",
        "not found",
        "no such file",
        "exec ",
    ];
    signs.iter().any(|sign| output.contains(sign))
}

impl Inner {
    /// Refuses an image of another architecture before its first container is made, if the engine's machine surely has no
    /// emulation for it.
    pub(super) async fn image_fits(&self, image: &str, here: bool) -> Result<(), RuntimeError> {
        if !here || may_emulate() {
            return Ok(());
        }
        let (Ok(found), Some(machine)) = (self.docker.inspect_image(image).await, self.machine().await)
        else {
            return Ok(()); // The creation of the container reports what is wrong.
        };
        match found.architecture.filter(|program| !program.is_empty()) {
            Some(program) if !executes(&machine, &program) => Err(RuntimeError::WrongArchitecture {
                subject: format!("the image {image}"),
                program,
                machine,
            }),
            _ => Ok(()),
        }
    }

    /// Explains the end of a container whose program is for another machine. `None` for every other end.
    pub(super) async fn foreign_program(&self, id: &str, code: i64, output: &str) -> Option<RuntimeError> {
        if !matches!(code, 1 | 2 | 126 | 127) || !suggests_foreign_program(output) {
            return None;
        }
        let machine = self.machine().await?;
        let container = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        let (path, program) = self.program_of(&container.await.ok()?).await?;
        (!executes(&machine, program)).then(|| RuntimeError::WrongArchitecture {
            subject: format!("the program {}", path.display()),
            program: program.to_owned(),
            machine,
        })
    }

    /// The architecture of the engine's machine.
    async fn machine(&self) -> Option<String> {
        let version = self.docker.version().await.ok()?;
        version.arch.filter(|arch| !arch.is_empty())
    }

    /// The first program of a container, and its architecture.
    async fn program_of(&self, container: &ContainerInspectResponse) -> Option<(PathBuf, &'static str)> {
        let id = container.id.as_deref()?;
        let config = container.config.clone().unwrap_or_default();
        let command = PathBuf::from(container.path.as_deref()?);
        let candidates = if command.components().count() > 1 {
            let directory = config.working_dir.filter(|dir| !dir.is_empty());
            vec![Path::new(directory.as_deref().unwrap_or("/")).join(command)]
        } else {
            let env = config.env.unwrap_or_default();
            let path = env.iter().find_map(|pair| pair.strip_prefix("PATH="));
            let directories = path.unwrap_or(DEFAULT_PATH).split(':');
            directories
                .map(|directory| Path::new(directory).join(&command))
                .collect()
        };
        for path in candidates {
            if let Some(header) = self.head_of_file(id, &path).await {
                return Some((path, of_program(&header)?));
            }
        }
        None
    }

    /// The first bytes of a file in a container. Symbolic links are followed.
    async fn head_of_file(&self, id: &str, path: &Path) -> Option<Vec<u8>> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let options = DownloadFromContainerOptionsBuilder::new()
                .path(path.to_str()?)
                .build();
            let mut stream = std::pin::pin!(self.docker.download_from_container(id, Some(options)));
            let mut archive = Vec::new();
            while archive.len() < HEAD
                && let Some(Ok(chunk)) = stream.next().await
            {
                archive.extend_from_slice(&chunk);
            }
            match first_entry(&archive)? {
                Entry::File(header) => return Some(header),
                Entry::Link(target) => path = resolve(path.parent()?, &target),
            }
        }
        None
    }
}

enum Entry {
    File(Vec<u8>),
    Link(PathBuf),
}

/// The first entry of an archive, of which only the beginning is there.
fn first_entry(archive: &[u8]) -> Option<Entry> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    if entry.header().entry_type().is_symlink() {
        return Some(Entry::Link(entry.link_name().ok()??.into_owned()));
    }
    let mut header = [0; 64];
    let length = entry.read(&mut header).ok()?;
    Some(Entry::File(header.get(..length)?.to_vec()))
}

/// The target of a link in `directory`, without `.` and `..`: the engine resolves paths within the container.
fn resolve(directory: &Path, target: &Path) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    for component in directory.join(target).components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                resolved.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// Whether this machine may execute programs of other architectures by an interpreter. True if that is unknown.
fn may_emulate() -> bool {
    let Ok(entries) = std::fs::read_dir(BINFMT) else {
        return true;
    };
    let mut mounted = false;
    for entry in entries.flatten() {
        match entry.file_name().to_str() {
            Some("status") => mounted = true,
            Some("register") => {}
            _ => return true,
        }
    }
    !mounted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u8, class: u8) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        header[18] = machine;
        header
    }

    #[test]
    fn elf_header_names_the_architecture_and_other_files_do_not() {
        assert_eq!(of_program(&elf(62, 2)), Some("amd64"));
        assert_eq!(of_program(&elf(183, 2)), Some("arm64"));
        assert_eq!(of_program(&elf(243, 2)), Some("riscv64"));
        assert_eq!(of_program(b"#!/bin/sh\nexec something very long\n"), None);
        assert_eq!(of_program(b"\x7fELF"), None);
        let mut big_endian = elf(0, 2);
        (big_endian[5], big_endian[19]) = (2, 22);
        assert_eq!(of_program(&big_endian), Some("s390x"));
        for (machine, program, runs) in [
            ("amd64", "amd64", true),
            ("amd64", "386", true),
            ("arm64", "arm", true),
            ("amd64", "arm64", false),
            ("386", "amd64", false),
        ] {
            assert_eq!(executes(machine, program), runs, "{machine} {program}");
        }
    }

    #[test]
    fn link_target_is_resolved_within_the_container() {
        for (directory, target, expected) in [
            ("/bin", "busybox", "/bin/busybox"),
            ("/usr/bin", "../lib/app", "/usr/lib/app"),
            ("/usr/bin", "/opt/./app", "/opt/app"),
            ("/", "../../etc/x", "/etc/x"),
        ] {
            assert_eq!(
                resolve(Path::new(directory), Path::new(target)),
                Path::new(expected)
            );
        }
    }

    #[test]
    fn first_entry_of_a_truncated_archive_is_its_header() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1 << 20);
        let program = [elf(183, 2), vec![0; (1 << 20) - 64]].concat();
        archive.append_data(&mut header, "app", &program[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        let Some(Entry::File(head)) = first_entry(&bytes[..HEAD]) else {
            panic!("a file")
        };
        assert_eq!(of_program(&head), Some("arm64"));
        assert!(first_entry(b"").is_none());
    }
}
