//! `davit drop` on the real engine: what is packed, uploaded, built and kept.

#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::common::davit::{Davit, fetch_from_network};
use crate::common::wait_for;

fn site() -> serde_json::Value {
    json!({"build": {"static": {"publishDirectory": "."}}, "ports": [{"name": "http", "containerPort": 8080}],
        "stopGracePeriod": "0s"})
}

fn drop(davit: &Davit, args: &[&str], from: &Path, input: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.arg("drop").args(args).args(["-n", &davit.namespace]);
    command.env("KUBECONFIG", davit.kubeconfig()).current_dir(from);
    command.stdin(input.map_or_else(Stdio::null, |path| fs::File::open(path).unwrap().into()));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn succeeds(davit: &Davit, args: &[&str], from: &Path) -> String {
    let output = drop(davit, args, from, None);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn has_extension(name: &str, wanted: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

fn stored(davit: &Davit) -> Vec<String> {
    let dir = davit.data_dir().join("uploads").join(&davit.namespace);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        // A mark of an archive that is stored.
        .filter(|name| !has_extension(name, "new"))
        .collect();
    names.sort();
    names
}

fn page(davit: &Davit, path: &str) -> String {
    fetch_from_network(davit, &davit.namespace, &format!("shop:8080/{path}")).unwrap()
}

#[test]
fn directory_and_archive_are_deployed_once_for_each_content() {
    let davit = Davit::up("drop");
    davit.apply("shop", site());
    let dir = davit.dir().join("shop");
    for (path, text) in [
        (".git/config", "secret"),
        (".gitignore", "*.log\n"),
        (".dockerignore", "notes\n"),
        ("index.html", "one"),
        ("app/(group)/page.html", "group"),
        ("debug.log", "log"),
        ("notes/a.txt", "notes"),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wait = ["--wait", "--timeout", "3m"];
    let text = succeeds(&davit, &[&["shop", "shop"], &wait[..]].concat(), davit.dir());
    assert!(
        text.contains("packed 4 files") && text.contains("shop is done"),
        "{text}"
    );
    assert_eq!(page(&davit, ""), "one");
    assert_eq!(page(&davit, "app/(group)/page.html"), "group");
    assert!(fetch_from_network(&davit, &davit.namespace, "shop:8080/debug.log").is_err());

    // The same again, and the same as an archive from standard input: no other Release.
    let text = succeeds(&davit, &["shop"], &dir);
    assert!(text.contains("unchanged: sha256:"), "{text}");
    let tar = davit.dir().join("same.tar");
    let packed = Command::new("tar")
        .args(["--exclude=.git", "--exclude=debug.log", "--exclude=notes", "-cf"])
        .arg(&tar)
        .args(["-C"])
        .arg(&dir)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let output = drop(&davit, &["shop", "-"], &dir, Some(&tar));
    assert!(
        output.status.success() && said(&output).contains("unchanged"),
        "{}",
        said(&output)
    );
    assert_eq!(davit.releases_of("shop").len(), 1);
    assert_eq!(stored(&davit).len(), 1);

    // An archive with one directory, as forges make them.
    fs::write(dir.join("index.html"), "two").unwrap();
    let tar = davit.dir().join("shop-2.tar.gz");
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(&tar)
        .arg("-C")
        .arg(davit.dir())
        .arg("shop")
        .status();
    assert!(packed.unwrap().success());
    succeeds(
        &davit,
        &[&["shop", "shop-2.tar.gz"], &wait[..]].concat(),
        davit.dir(),
    );
    assert_eq!(page(&davit, ""), "two");
    let app = davit.application("shop");
    assert_eq!(app["spec"]["source"]["drop"]["path"], "/shop");
    assert_eq!(app["status"]["source"]["type"], "drop");
    assert_eq!(davit.releases_of("shop").len(), 2);
    assert_eq!(
        stored(&davit).len(),
        2,
        "a retained Release refers to the first upload"
    );

    // What is pruned, and what belongs to no Application any more, is not kept.
    davit.patch("shop", json!({"spec": {"history": {"succeeded": 1}}}));
    wait_for("the first upload to go", Duration::from_secs(30), || {
        (stored(&davit).len() == 1).then_some(())
    });
    davit.delete_and_wait("shop");
    wait_for("the second upload to go", Duration::from_secs(30), || {
        stored(&davit).is_empty().then_some(())
    });
}

#[test]
fn upload_that_cannot_be_used_is_refused_with_a_solution() {
    let davit = Davit::up("drop-bad");
    davit.apply("shop", site());
    let dir = davit.dir().to_owned();
    fs::create_dir(dir.join("site")).unwrap();
    fs::write(dir.join("site/index.html"), "x").unwrap();
    fs::write(dir.join("notes.txt"), "no archive").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("site/link")).unwrap();
    let fails = |args: &[&str], words: &[&str]| {
        let output = drop(&davit, args, &dir, None);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?} {text}");
        for word in words {
            assert!(text.contains(word), "{args:?} {word}: {text}");
        }
    };
    fails(
        &["shop", "site"],
        &["entry \"link\"", "absolute path", ".dockerignore"],
    );
    fails(&["shop", "notes.txt"], &["no archive that is accepted", "tar.gz"]);
    fails(&["shop", "missing"], &["cannot read missing"]);
    fails(&["shpo", "site"], &["shop"]);
    fails(&["shop", "site", "--as", "jane"], &["forbidden"]);
    davit.apply(
        "image",
        json!({"source": {"docker": {"image": "davit.invalid/x:1"}}}),
    );
    fails(&["image", "site"], &["has the source docker", "--replace"]);
    assert!(stored(&davit).is_empty());

    // A digest that was never uploaded, until it is.
    fs::remove_file(dir.join("site/link")).unwrap();
    let text = succeeds(&davit, &["shop", "site", "--wait", "--timeout", "3m"], &dir);
    assert!(text.contains("is done"), "{text}");
    let digest = davit.application("shop")["spec"]["source"]["drop"]["digest"].clone();
    let mut spec = site();
    spec["source"] = json!({"drop": {"digest": format!("sha256:{:0>64}", 7)}});
    davit.apply("early", spec.clone());
    let message = davit.wait_for_error("early", "ArchiveMissing");
    assert!(message.contains("davit drop"), "{message}");
    spec["source"]["drop"]["digest"] = digest;
    davit.apply("early", spec);
    davit.wait_until_done("early");
}

#[test]
fn interrupted_upload_continues_where_it_ended() {
    let mut davit = Davit::up("drop-resume");
    davit.apply("shop", site());
    let dir = davit.dir().join("large");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("index.html"), "large").unwrap();
    // Random, so that it does not compress, and more than one part.
    let mut random = vec![0; 40 << 20];
    getrandom(&mut random);
    fs::write(dir.join("random"), random).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args([
            "drop",
            "shop",
            "large",
            "-n",
            &davit.namespace,
            "--wait",
            "--timeout",
            "3m",
        ])
        .env("KUBECONFIG", davit.kubeconfig())
        .current_dir(davit.dir())
        .stdin(Stdio::null())
        .stderr(fs::File::create(davit.dir().join("said")).unwrap())
        .spawn()
        .unwrap();
    // Davit is killed while it receives; the command goes on when it is there again.
    wait_for("a part to arrive", Duration::from_mins(1), || {
        let arrived = stored(&davit).iter().any(|name| has_extension(name, "part"));
        (arrived || child.try_wait().unwrap().is_some()).then_some(())
    });
    davit.keep_address();
    davit.kill();
    davit.start();
    assert!(
        child.wait().unwrap().success(),
        "{}",
        fs::read_to_string(davit.dir().join("said")).unwrap()
    );
    assert_eq!(page(&davit, ""), "large");
    assert_eq!(stored(&davit).len(), 1);
}

fn getrandom(bytes: &mut [u8]) {
    use std::io::Read as _;
    fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
}
