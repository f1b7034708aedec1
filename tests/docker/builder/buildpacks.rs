//! Cloud Native Buildpacks: the real lifecycle with two small buildpacks, in a builder image that the test makes.

use std::os::unix::fs::PermissionsExt as _;

use davit::api::PaketoBuildpacks;
use davit::builder::{Buildpacks, Export};
use davit::image::RegistryAccess;

use super::*;
use crate::common::peers;

/// Makes a layer that the next build finds in the cache.
const WORDS: &str = r#"#!/bin/sh
set -e
layer=$1/words
if [ -f "$layer/made" ]; then echo "words: from the cache"; else
  mkdir -p "$layer"; head -c 100000 /dev/urandom > "$layer/made"; echo "words: made"
fi
printf '[types]\nbuild = true\ncache = true\nlaunch = true\n' > "$1/words.toml"
"#;

/// Records the variables of the build by their digests, and defines the process.
const APP: &str = r#"#!/bin/sh
set -e
if [ -f fail ]; then echo "app: failed on purpose"; exit 1; fi
layer=$1/app
mkdir -p "$layer"
(cd "$2/env" && for name in *; do sha256sum < "$name" > "$layer/$name"; done)
echo "app: printed $(cat "$2/env/TOKEN")"
for file in /root/.docker/config.json /var/run/docker.sock /cache/layers /run/secrets; do
  if [ -e "$file" ]; then echo "app: can see $file"; fi
done
printf '[types]\nlaunch = true\n' > "$1/app.toml"
cat > "$1/launch.toml" <<'END'
[[processes]]
type = "web"
command = ["/bin/sh", "-c"]
args = ["cat /workspace/words.txt; cat /layers/test_app/app/*; id -u"]
default = true
END
"#;

/// The images of the builder and of the runs, removed when dropped.
struct Images {
    builder: String,
    run: String,
}

impl Images {
    fn make(scope: &DockerScope) -> Self {
        let context = tempfile::tempdir().unwrap();
        let cnb = context.path().join("cnb");
        let write = |path: &str, text: &str, mode: u32| {
            let path = cnb.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (id, detect, build) in [
            ("words", "#!/bin/sh\n[ -f words.txt ] || exit 100\n", WORDS),
            ("app", "#!/bin/sh\nexit 0\n", APP),
        ] {
            let about = format!(
                "api = \"0.10\"\n[buildpack]\nid = \"test/{id}\"\nversion = \"1\"\nname = \"{id}\"\n[[stacks]]\nid = \"*\"\n"
            );
            write(&format!("buildpacks/test_{id}/1/buildpack.toml"), &about, 0o644);
            write(&format!("buildpacks/test_{id}/1/bin/detect"), detect, 0o755);
            write(&format!("buildpacks/test_{id}/1/bin/build"), build, 0o755);
        }
        let group = |id: &str| format!("[[order.group]]\nid = \"test/{id}\"\nversion = \"1\"\n");
        write(
            "order.toml",
            &format!("[[order]]\n{}{}", group("words"), group("app")),
            0o644,
        );
        for program in ["lifecycle", "launcher"] {
            let from = peers::file(&format!("lifecycle-0.20.5/{program}"));
            std::fs::create_dir_all(cnb.join("lifecycle")).unwrap();
            std::fs::copy(from, cnb.join("lifecycle").join(program)).unwrap();
        }
        let images = Self {
            builder: format!("{}-builder:1", scope.namespace),
            run: format!("{}-run:1", scope.namespace),
        };
        let metadata = serde_json::json!({
            "images": [{"image": images.run}],
            "lifecycle": {"version": "0.20.5", "apis": {"platform": {"supported": ["0.7", "0.12", "0.13", "0.14"]}}}
        });
        let users = "RUN echo 'cnb:x:1000:1000::/home/cnb:/bin/sh' >> /etc/passwd && echo 'cnb:x:1000:' > /etc/group\n";
        let builder = format!(
            "FROM busybox:davit-test\n{users}COPY cnb /cnb\n\
             RUN cd /cnb/lifecycle && for p in analyzer detector restorer builder exporter; do ln -s lifecycle $p; done && \
             printf 'ID=test\\nVERSION_ID=1\\n' > /etc/os-release\n\
             ENV CNB_USER_ID=1000 CNB_GROUP_ID=1000 CNB_STACK_ID=test.stack\nUSER 1000:1000\n\
             LABEL io.buildpacks.builder.metadata='{metadata}'\n"
        );
        let run = format!("FROM busybox:davit-test\n{users}USER 1000:1000\n");
        for (name, text) in [(&images.builder, builder), (&images.run, run)] {
            std::fs::write(context.path().join("Dockerfile"), text).unwrap();
            run_docker_build(scope, name, context.path());
        }
        images
    }

    fn settings(&self) -> BuildType {
        BuildType::Buildpacks(Buildpacks {
            name: "paketoBuildpacks",
            field: "spec.build.paketoBuildpacks",
            builder: self.builder.clone(),
        })
    }
}

fn run_docker_build(scope: &DockerScope, name: &str, context: &Path) {
    run(docker()
        .args(["build", "--quiet", "--label", &scope.label(), "--tag", name])
        .arg(context));
}

fn sum(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let line = run(Command::new("sha256sum").arg(file.path()));
    line.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn buildpacks_make_an_image_with_a_cache_and_no_secret_in_it() {
    let harness = Harness::new("buildpacks");
    let images = Images::make(&harness.scope);
    harness.write("words.txt", "some words");
    let odd = format!("a \"b\" 'c' $HOME \\ #d \u{fc}\n\n{}", "x".repeat(100 * 1024));
    let mut request = harness.request();
    request.build_type = Some(images.settings());
    request.args = secrets(&[("ODD", &odd), ("EMPTY", "")]);
    request.secrets = secrets(&[("TOKEN", HIDDEN)]);
    let image = harness.built(&request).await;
    let said = run(docker().args(["run", "--rm", "--network", "none", &image.id]));
    assert!(said.starts_with("some words"), "{said}");
    for value in [odd.as_str(), "", HIDDEN] {
        assert!(said.contains(&sum(value)), "a value was changed: {said}");
    }
    assert!(said.ends_with("1000"), "the user of the run image: {said}");
    assert_eq!(image.details.version.as_deref(), Some("lifecycle 0.20.5"));
    assert_eq!(
        image.details.digests,
        [images.builder.clone(), images.run.clone()]
    );
    let labels = run(docker().args([
        "image",
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &image.id,
    ]));
    for label in [
        "io.buildpacks.lifecycle.metadata",
        "io.buildpacks.project.metadata",
        "test/words",
        INSTANCE,
    ] {
        assert!(labels.contains(label), "{label} in {labels}");
    }
    let log = harness.text();
    for line in [
        "[buildpacks] detect",
        "words: made",
        "app: printed ***",
        "[buildpacks] export",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    assert!(!log.contains("can see") && !log.contains("type=cache"), "{log}");
    let saved = harness.source.path().join("saved.tar");
    run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
    let history = run(docker().args(["history", "--no-trunc", &image.id]));
    let inspected = run(docker().args(["image", "inspect", &image.id]));
    for place in [&log, &history, &inspected] {
        assert!(!place.contains(HIDDEN) && !place.contains("TOKEN="), "{place}");
    }
    assert!(!holds(&saved, HIDDEN) && !holds(&saved, &odd[..18]));

    // Again, with other content: the cached layer returns, and the image has the new content.
    harness.write("words.txt", "other words");
    let second = harness.built(&request).await;
    let said = run(docker().args(["run", "--rm", "--network", "none", &second.id]));
    assert!(said.starts_with("other words"), "{said}");
    assert_eq!(
        harness.text().matches("words: from the cache").count(),
        1,
        "{}",
        harness.text()
    );
    assert!(
        harness.text().contains("Reusing layer 'test/words:words'"),
        "{}",
        harness.text()
    );
    // The cache belongs to the Application.
    let mut other = request.clone();
    other.app.name = "other".to_owned();
    other.tag = format!("davit-test/{}:other", harness.scope.namespace);
    harness.built(&other).await;
    assert_eq!(harness.text().matches("words: made").count(), 2);
    request.no_cache = true;
    harness.built(&request).await;
    assert_eq!(harness.text().matches("words: made").count(), 3);

    // A site on top of it.
    let of = Box::new(request.build_type.clone().unwrap());
    let site = StaticSite {
        publish_directory: ".".to_owned(),
        ..StaticSite::default()
    };
    let field = "spec.build.static.publishDirectory";
    request.build_type = Some(BuildType::Published(
        of,
        davit::builder::Published { field, site },
    ));
    let site = harness.built(&request).await;
    assert_eq!(
        http::get(&Served::new(&site.id).url("/words.txt")).body,
        "other words"
    );
    request.build_type = Some(images.settings());

    // To a registry with TLS and a password, which no step has seen.
    let registry = Registry::start_tls();
    let (user, password) = registry.login.clone().unwrap();
    let access = RegistryAccess {
        logins: RegistryLogins::new(
            [(
                registry.address.clone(),
                RegistryLogin::basic(user, password.as_str()),
            )]
            .into(),
        ),
        ca: None,
    };
    request.tag = registry.image(&format!("{}:1", unique("packs")));
    request.no_cache = false;
    let built = harness.built(&request).await;
    let name = davit::image::ImageName::parse(&request.tag).unwrap();
    let (login, none) = (access.login(&name), CancellationToken::new());
    let both = Export::EngineAndRegistry;
    let pushed = harness
        .builder
        .push(&built, both, login, &harness.log, &none)
        .await
        .unwrap();
    assert!(pushed.id.contains("@sha256:"), "{pushed:?}");
    let said = run(docker().args(["run", "--rm", "--network", "none", &pushed.id]));
    assert!(said.starts_with("other words"), "{said}");
    assert!(!harness.text().contains(&password));
}

#[tokio::test]
async fn buildpacks_that_do_not_fit_or_fail_have_their_reasons() {
    let harness = Harness::new("packsfail");
    let images = Images::make(&harness.scope);
    harness.write("other.txt", "");
    let mut request = harness.request();
    request.build_type = Some(images.settings());
    request.secrets = secrets(&[("TOKEN", HIDDEN)]);
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Reason::BuildTypeNotDetected,
        "{error}\n{}",
        harness.text()
    );
    assert!(
        error.hint().unwrap().contains("spec.build.paketoBuildpacks"),
        "{error:?}"
    );
    harness.write("words.txt", "some words");
    harness.write("fail", "");
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildFailed, "{error}\n{}", harness.text());
    assert!(
        error
            .to_string()
            .contains("build: a buildpack failed (exit code 51)"),
        "{error}"
    );
    assert!(harness.text().contains("app: failed on purpose"));

    let with = |builder: &str| {
        BuildType::Buildpacks(Buildpacks {
            name: "herokuBuildpacks",
            field: "spec.build.herokuBuildpacks",
            builder: builder.to_owned(),
        })
    };
    request.build_type = Some(with(&images.run));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotSupported, "{error}");
    assert!(
        error
            .to_string()
            .contains("is not a builder of Cloud Native Buildpacks"),
        "{error}"
    );
    let registry = Registry::start();
    request.build_type = Some(with(&registry.image("builder:1")));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    assert_eq!(
        PaketoBuildpacks::default().builder,
        "paketobuildpacks/builder-jammy-base"
    );
}
