//! The cache: used, bounded, and never a reason to fail; servers that give no commit by its hash; a full disk;
//! cancelling.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use davit::api::Reason::{Cancelled, DiskFull, GitRefNotFound, GitUnreachable};
use davit::error::Class::{Terminal, Transient};
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;

use super::{Harness, branch, commit, expect, file_remote, read, remote};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};

#[tokio::test]
async fn cached_commit_is_not_fetched_again() {
    let mut server = GitHttps::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    let first = commit(&repo.head());
    server.publish("shop.git", &repo);
    let harness = Harness::new();
    let shop = GitRemote {
        ca: Some(server.ca.ca_pem.clone().into_bytes()),
        ..remote(&server.url(Access::Anonymous, "shop.git"))
    };
    let posts = |server: &GitHttps| {
        let fetch = |line: &&String| line.contains("git-upload-pack") && line.starts_with("POST");
        server.requests().iter().filter(fetch).count()
    };
    harness.checkout(&shop, &first, &branch("main")).await.unwrap();
    let before = posts(&server);
    assert!(before > 0);
    harness.checkout(&shop, &first, &branch("main")).await.unwrap();
    assert_eq!(posts(&server), before);
    assert!(harness.log().contains("is in the cache"), "{}", harness.log());

    let second = commit(&repo.commit("second", &[("index.html", "two")]));
    server.publish("shop.git", &repo);
    let checkout = harness.checkout(&shop, &second, &branch("main")).await.unwrap();
    assert_eq!(read(&checkout, "index.html"), "two");
    assert_eq!(harness.repositories().len(), 1);
    server.stop();
    let checkout = harness.checkout(&shop, &first, &branch("main")).await.unwrap();
    assert_eq!(read(&checkout, "index.html"), "one");
}

#[tokio::test]
async fn concurrent_fetches_of_one_commit_are_shared() {
    let repo = GitRepo::with(&[("index.html", "one")]);
    let (local, tip) = (file_remote(repo.path()), commit(&repo.head()));
    let harness = Harness::development();
    let spec = branch("main");
    let four = futures::future::join_all((0..4).map(|_| harness.checkout(&local, &tip, &spec))).await;
    for checkout in four {
        assert_eq!(read(&checkout.unwrap(), "index.html"), "one");
    }
    assert_eq!(harness.log().matches("Fetching ").count(), 1, "{}", harness.log());
    assert_eq!(
        harness.log().matches("is in the cache").count(),
        3,
        "{}",
        harness.log()
    );
}

/// What is wrong, and how it comes to be.
type Damage = (&'static str, fn(&Path));

#[tokio::test]
async fn broken_cache_is_discarded() {
    let repo = GitRepo::with(&[("index.html", "one"), ("data", &"x".repeat(10_000))]);
    let first = commit(&repo.head());
    let local = file_remote(repo.path());
    let harness = Harness::development();
    harness.checkout(&local, &first, &branch("main")).await.unwrap();

    let repository = harness.repositories().remove(0);
    let broken: [Damage; 4] = [
        ("a pack cut short", |dir| {
            for file in std::fs::read_dir(dir.join("objects/pack")).unwrap() {
                let path = file.unwrap().path();
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "PACK").unwrap();
            }
        }),
        ("no objects", |dir| {
            std::fs::remove_dir_all(dir.join("objects")).unwrap();
        }),
        ("a broken configuration", |dir| {
            std::fs::write(dir.join("config"), "[core").unwrap();
        }),
        ("a lock of nobody", |dir| {
            std::fs::write(dir.join("shallow.lock"), "").unwrap();
            std::fs::remove_dir_all(dir.join("refs/davit")).unwrap();
        }),
    ];
    for (what, damage) in broken {
        damage(&repository);
        let checkout = harness.checkout(&local, &first, &branch("main")).await;
        assert_eq!(read(&checkout.expect(what), "index.html"), "one", "{what}");
        assert!(harness.log().contains("fetching it anew"), "{what}");
    }
}

#[tokio::test]
async fn cache_beyond_its_limit_is_pruned() {
    let harness = Harness::with(|options| {
        options.allow_file = true;
        options.max_cache_bytes = 400_000;
    });
    let noise = |seed: u32| -> String {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + u8::try_from((state >> 24) % 90).unwrap())
        };
        (0..150_000).map(next).collect()
    };
    let repos: Vec<_> = (0..5)
        .map(|seed| GitRepo::with(&[("noise", &noise(seed))]))
        .collect();
    for repo in &repos {
        let local = file_remote(repo.path());
        harness
            .checkout(&local, &commit(&repo.head()), &branch("main"))
            .await
            .unwrap();
    }
    let left = harness.repositories().len();
    assert!((1..5).contains(&left), "{left} of 5 repositories of about 120 kB");
    // The newest is still there, the oldest is fetched again.
    let log = harness.log().len();
    for (repo, sentence) in [(&repos[4], "is in the cache"), (&repos[0], "Fetching")] {
        let local = file_remote(repo.path());
        harness
            .checkout(&local, &commit(&repo.head()), &branch("main"))
            .await
            .unwrap();
        assert!(harness.log()[log..].contains(sentence), "{}", harness.log());
    }
}

/// A harness whose git speaks the old protocol, in which a server gives only what a ref names.
fn old_protocol() -> Harness {
    Harness::with(|options| {
        options.allow_file = true;
        options
            .environment
            .push(("GIT_CONFIG_PARAMETERS".into(), "'protocol.version=0'".into()));
    })
}

#[tokio::test]
async fn server_without_fetch_by_hash_is_asked_for_the_ref() {
    let repo = GitRepo::with(&[("index.html", "one")]);
    let local = file_remote(repo.path());
    let first = commit(&repo.head());
    repo.commit("second", &[("index.html", "two")]);
    let second = commit(&repo.head());
    for number in 0..80 {
        repo.git([
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            &format!("empty {number}"),
        ]);
    }
    let harness = old_protocol();
    // The tip itself, then commits that the branch has left behind near and far, then one that only a hash names.
    for (wanted, spec, content) in [
        (commit(&repo.head()), branch("main"), "two"),
        (commit(&repo.git(["rev-parse", "HEAD~20"])), branch("main"), "two"),
        (second, RefSpec::Default, "two"),
        (first.clone(), RefSpec::Commit(first.clone()), "one"),
    ] {
        let checkout = harness.checkout(&local, &wanted, &spec).await.unwrap();
        assert_eq!(read(&checkout, "index.html"), content);
        assert_eq!(checkout.commit, wanted);
    }
    assert!(
        harness.log().contains("gives no commit by its hash"),
        "{}",
        harness.log()
    );

    let fresh = old_protocol();
    fresh
        .checkout(&local, &first, &RefSpec::Commit(first.clone()))
        .await
        .unwrap();
    let missing = commit("0123456789012345678901234567890123456789");
    for spec in [RefSpec::Commit(missing.clone()), branch("main")] {
        let error = fresh.checkout(&local, &missing, &spec).await.unwrap_err();
        expect(&error, GitRefNotFound, Terminal, &[missing.as_str()]);
    }
    let error = fresh
        .checkout(&local, &missing, &branch("gone"))
        .await
        .unwrap_err();
    expect(&error, GitRefNotFound, Terminal, &["branch \"gone\" not found"]);
    fresh.is_clean();
}

/// Accepts connections and never answers.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The command lines of all processes, and the environments of those that mention `mark` in theirs.
fn processes(mark: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let read = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    };
    all.filter_map(read).filter(|line| line.contains(mark)).collect()
}

#[tokio::test]
async fn git_process_has_no_secret_argument_and_ends_when_cancelled() {
    let (_listener, port) = silent();
    let https = GitRemote {
        credential: GitCredential::Basic {
            username: "reader".to_owned(),
            password: Secret::from("hunter2-https"),
        },
        ..remote(&format!("https://127.0.0.1:{port}/shop.git"))
    };
    let ssh = GitRemote {
        credential: GitCredential::Ssh {
            key: Secret::from("hunter2-key\n"),
            known_hosts: Some("hunter2-host x y".to_owned()),
            ignore_host_key: false,
        },
        ..remote(&format!("ssh://git@127.0.0.1:{port}/shop.git"))
    };
    for (remote, program) in [(https, "git-remote-https"), (ssh, "ssh")] {
        let harness = std::sync::Arc::new(Harness::new());
        let task = tokio::spawn({
            let harness = harness.clone();
            async move { harness.resolve(&remote, &RefSpec::Default).await }
        });
        let mark = format!("127.0.0.1:{port}");
        let cache = harness.dir.path().join("cache").display().to_string();
        let ours = || {
            let mut lines = processes(&mark);
            lines.extend(processes(&cache));
            lines
        };
        let end = Instant::now() + Duration::from_secs(10);
        while !ours()
            .iter()
            .any(|line| line.split(' ').next().unwrap().ends_with(program))
        {
            assert!(Instant::now() < end, "no {program} among {:?}", ours());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let all = processes("");
        let shown: Vec<_> = all.iter().filter(|line| line.contains("hunter2")).collect();
        assert!(shown.is_empty(), "{shown:?}");
        assert!(
            !ours()
                .iter()
                .any(|line| line.starts_with("sh ") || line.starts_with("/bin/sh")),
            "a shell: {:?}",
            ours()
        );

        harness.cancel.cancel();
        let error = task.await.unwrap().unwrap_err();
        expect(&error, Cancelled, Terminal, &[]);
        assert_eq!(ours(), Vec::<String>::new(), "git has ended");
        harness.is_clean();
    }
}

#[tokio::test]
async fn server_that_never_answers_times_out() {
    let (_listener, port) = silent();
    let harness = Harness::with(|options| options.resolve_timeout = Duration::from_millis(200));
    let silent = remote(&format!("https://127.0.0.1:{port}/shop.git"));
    harness
        .refuses(
            &silent,
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &["did not end within"],
        )
        .await;
}

/// A file system of one megabyte; only root can make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::common::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"])
                .arg(dir.path()),
        );
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        crate::common::run(Command::new("umount").arg(self.0.path()));
    }
}

#[tokio::test]
async fn full_disk_has_its_own_reason_and_leaves_no_partial_files() {
    if !crate::common::is_root() {
        eprintln!("not run: only root can mount a small file system");
        return;
    }
    let noise: String = (0..400_000_u32)
        .map(|number| char::from(b' ' + u8::try_from(number.wrapping_mul(2_654_435_761) >> 25).unwrap() % 90))
        .collect();
    let big: Vec<_> = (0..8)
        .map(|number| (format!("big{number}"), format!("{number}{noise}")))
        .collect();
    let big: Vec<_> = big
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let repo = GitRepo::with(&big);
    let (local, tip) = (file_remote(repo.path()), commit(&repo.head()));

    // The place for the files is too small: the cache works.
    let disk = SmallDisk::new();
    let harness = Harness::development();
    let request = davit::source::CheckoutRequest {
        remote: &local,
        commit: &tip,
        spec: &RefSpec::Default,
        submodules: false,
    };
    let error = harness
        .git
        .checkout(request, disk.0.path(), &harness.log, &harness.cancel)
        .await
        .unwrap_err();
    expect(&error, DiskFull, Transient, &["no space left"]);
    assert_eq!(super::names(disk.0.path()), Vec::<String>::new());
    drop(disk);

    // The cache is too small.
    let disk = SmallDisk::new();
    let harness = Harness::with(|options| {
        options.allow_file = true;
        options.cache_dir = disk.0.path().join("cache");
    });
    let noisy: String = {
        let mut bytes = vec![0_u8; 3_000_000];
        rand::fill(&mut bytes[..]);
        bytes.iter().map(|byte| char::from(b' ' + byte % 90)).collect()
    };
    let repo = GitRepo::with(&[("noise", &noisy)]);
    let (local, tip) = (file_remote(repo.path()), commit(&repo.head()));
    let error = harness
        .checkout(&local, &tip, &RefSpec::Default)
        .await
        .unwrap_err();
    expect(&error, DiskFull, Transient, &["no space left"]);
    assert_eq!(
        super::names(&disk.0.path().join("cache/repositories")),
        Vec::<String>::new()
    );
    assert_eq!(super::names(&harness.work()), Vec::<String>::new());
}
