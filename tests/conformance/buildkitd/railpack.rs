//! railpack: its own frontend on the real buildkitd as the oracle of the conversion of plans, and the real `prepare`.

use std::path::Path;

use davit::api::Railpack;

use super::*;
use crate::common::peers;

/// A plan without missing files, which railpack's frontend does not copy on this BuildKit.
fn plan() -> String {
    let text = include_str!("../../docker/builder/railpack_plan.json");
    let text = text.replace("{\"src\": \"missing.lock\", \"dest\": \"missing.lock\"},", "");
    text.replace(", \"/nowhere/missing\"", "")
}

/// The files of an image, with mode, link and digest of the content.
fn tree(tar: &Path) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(dir.path()));
    let find = "find . -not -path './proc*' -not -path './sys*' -not -path './dev*' -not -path './etc/resolv.conf' -not -path './etc/hosts' \
                -not -path './etc/hostname' -not -path './etc/mtab' -not -path './.dockerenv' | sort | while read -r f; do \
                if [ -L \"$f\" ]; then echo \"$f -> $(readlink \"$f\")\"; elif [ -f \"$f\" ]; then \
                echo \"$f $(stat -c %a \"$f\") $(sha256sum < \"$f\")\"; else echo \"$f $(stat -c %a \"$f\")\"; fi; done";
    let listed = run(Command::new("sh").args(["-c", find]).current_dir(dir.path()));
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn railpack_plan_has_the_files_of_railpacks_own_frontend() {
    let tools = tempfile::tempdir().unwrap();
    let harness = Harness::with("bkrailpack", |options| {
        let program = tools.path().join("railpack");
        let script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 0.9.0; exit 0; fi\nwhile [ $# -gt 0 ]; do\n\
                      case \"$1\" in --plan-out) cp \"$(dirname \"$0\")/plan.json\" \"$2\" ;; esac; shift\ndone\n";
        std::fs::write(&program, script).unwrap();
        run(Command::new("chmod").arg("755").arg(&program));
        options.railpack.program = program.into();
        options.railpack.home = tools.path().join("home");
    });
    std::fs::write(tools.path().join("plan.json"), plan()).unwrap();
    for (name, text) in [
        ("main.txt", "source"),
        ("deep/a.tmp", "x"),
        ("deep/b.txt", "y"),
        ("node_modules/old", "x"),
    ] {
        harness.write(name, text);
    }
    let mut request = harness.request();
    request.build_type = Some(BuildType::Railpack(Railpack::default()));
    let secrets = [("TOKEN", "a token"), ("PLAIN", "plain")];
    request.secrets = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::from(*value)))
        .collect();
    let image = harness.build(&request).await.unwrap();
    let container = run(docker().args(["create", "--network", "none", &image.tag]));
    let ours = harness.dir.path().join("ours.tar");
    run(docker().args(["export", "--output"]).arg(&ours).arg(&container));
    run(docker().args(["rm", &container]));

    // The frontend is an image with nothing but the program.
    let frontend = tempfile::tempdir().unwrap();
    std::fs::copy(
        peers::file("railpack-0.9.0/railpack"),
        frontend.path().join("railpack"),
    )
    .unwrap();
    std::fs::write(
        frontend.path().join("Dockerfile"),
        "FROM scratch\nCOPY railpack /railpack\nENTRYPOINT [\"/railpack\", \"frontend\"]\n",
    )
    .unwrap();
    let name = format!("{}-frontend:1", harness.scope.namespace);
    run(docker()
        .args([
            "build",
            "--quiet",
            "--label",
            &harness.scope.label(),
            "--tag",
            &name,
        ])
        .arg(frontend.path()));
    harness.buildkitd.push(&name, "railpack-frontend:test");
    let plans = tempfile::tempdir().unwrap();
    std::fs::write(plans.path().join("railpack-plan.json"), plan()).unwrap();
    let theirs = harness.dir.path().join("theirs.tar");
    let mut build = harness.buildkitd.buildctl();
    build.args([
        "build",
        "--frontend",
        "gateway.v0",
        "--opt",
        "source=railpack-frontend:test",
    ]);
    build.args([
        "--opt",
        "build-arg:cache-key=oracle",
        "--opt",
        "build-arg:secrets-hash=1",
    ]);
    build
        .arg("--local")
        .arg(format!("context={}", harness.dir.path().join("root").display()));
    build
        .arg("--local")
        .arg(format!("dockerfile={}", plans.path().display()));
    for (name, value) in secrets {
        let file = plans.path().join(name);
        std::fs::write(&file, value).unwrap();
        build
            .arg("--secret")
            .arg(format!("id={name},src={}", file.display()));
    }
    build
        .arg("--output")
        .arg(format!("type=tar,dest={}", theirs.display()));
    run(&mut build);
    let (ours, theirs) = (tree(&ours), tree(&theirs));
    let (mut more, mut less) = (ours.clone(), theirs.clone());
    more.retain(|line| !theirs.contains(line));
    less.retain(|line| !ours.contains(line));
    assert!(theirs.len() > 5, "{theirs:?}");
    assert!(
        more.is_empty() && less.is_empty(),
        "only ours: {more:#?}\nonly theirs: {less:#?}"
    );
}

/// The real `prepare` installs mise before it examines the source, so without a network it gets no further.
#[tokio::test(flavor = "multi_thread")]
async fn railpack_without_a_network_is_tried_again() {
    let tools = tempfile::tempdir().unwrap();
    let harness = Harness::with("bkprepare", |options| {
        let program = tools.path().join("railpack");
        let real = peers::file("railpack-0.9.0/railpack");
        let script = format!("#!/bin/sh\nexec unshare --net {} \"$@\"\n", real.display());
        std::fs::write(&program, script).unwrap();
        run(Command::new("chmod").arg("755").arg(&program));
        options.railpack.program = program.into();
        options.railpack.home = tools.path().join("home");
    });
    harness.write(
        "package.json",
        "{\"name\": \"shop\", \"scripts\": {\"start\": \"node index.js\"}}",
    );
    let mut request = harness.request();
    request.build_type = Some(BuildType::Railpack(Railpack::default()));
    let error = harness.build(&request).await.unwrap_err();
    assert!(
        matches!(error, BuildError::Temporary(_)) && error.to_string().contains("mise"),
        "{error}"
    );
}
