//! Programs that the engine's machine cannot execute.

use std::fs::File;

use davit::runtime::EnvVar;

use super::*;

/// An image with a program for another architecture at `/app`, and with a shell if that is set.
fn foreign_image(scope: &DockerScope, shell: bool) -> String {
    let mut program = std::fs::read("/bin/busybox").unwrap();
    // The field `e_machine` of the ELF header: AArch64, or x86-64 where this is an AArch64 machine.
    program[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    let mut tar = tar::Builder::new(File::create(&file).unwrap());
    let mut entry = |path: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, path, data).unwrap();
    };
    entry("opt/app", &program);
    if shell {
        entry("bin/sh", &std::fs::read("/bin/busybox").unwrap());
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "app", "opt/app").unwrap();
    tar.finish().unwrap();
    let name = format!("{}-foreign:{}", scope.namespace, i32::from(shell));
    let label = format!("LABEL {}", scope.label());
    run(docker()
        .args(["import", "--change", "ENTRYPOINT [\"/app\"]", "--change", &label])
        .arg(&file)
        .arg(&name));
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn program_for_another_architecture_is_reported_by_its_architecture() {
    let mut harness = Harness::docker("rt");
    for (shell, hash) in [(true, "h1"), (false, "h2")] {
        let mut wanted = harness.workload("web", hash, Does::Serve);
        wanted.spec.image = foreign_image(scope(&harness), shell);
        wanted.spec.command.clear();
        wanted.spec.health = None;
        let end = Instant::now() + PATIENCE;
        let refused = loop {
            match harness.runtime.deploy(&wanted).await {
                Err(refused) => break refused,
                Ok(progress) => assert!(Instant::now() < end, "{progress:?}"),
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), harness.events.next()).await;
        };
        let RuntimeError::WrongArchitecture {
            subject,
            program,
            machine,
        } = &refused
        else {
            panic!("with a shell: {shell}: {refused}")
        };
        assert_eq!(subject, "the program /app");
        assert_ne!(program, machine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_longer_than_the_kernel_allows_is_reported_by_its_fields() {
    let mut harness = Harness::docker("rt");
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    // Each is below the limit for one string, all together are above the limit for all.
    wanted.spec.env.extend((0..40).map(|number| {
        let value = "x".repeat(100_000);
        EnvVar::plain(format!("LARGE_{number}"), value)
    }));
    let end = Instant::now() + PATIENCE;
    let refused = loop {
        match harness.runtime.deploy(&wanted).await {
            Err(refused) => break refused,
            Ok(progress) => assert!(Instant::now() < end, "{progress:?}"),
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), harness.events.next()).await;
    };
    let message = davit::error::Problem::of(&refused).message;
    assert!(
        matches!(refused, RuntimeError::Rejected { .. }) && message.contains("spec.env"),
        "{message}"
    );
}
