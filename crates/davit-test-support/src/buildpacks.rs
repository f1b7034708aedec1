//! A builder of Cloud Native Buildpacks for tests: the real lifecycle with two small buildpacks in shell.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::docker::{DockerScope, base_image, docker};
use super::{peers, run};

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

/// The images of a builder and of its runs on the machine's engine.
pub struct BuildpackImages {
    /// The builder.
    pub builder: String,
    /// The run image.
    pub run: String,
}

impl BuildpackImages {
    /// Makes both, in a scope that removes them.
    pub fn make(scope: &DockerScope) -> Self {
        let run = format!("{}-run:1", scope.namespace);
        Self::for_run_image(scope, &run)
    }

    /// The same where the builder names its run image `named`, as a registry has it.
    pub fn for_run_image(scope: &DockerScope, named: &str) -> Self {
        base_image();
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
            "images": [{"image": named}],
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
            docker_build(scope, name, context.path());
        }
        images
    }
}

/// Builds an image with `docker build`, in a scope that removes it.
pub fn docker_build(scope: &DockerScope, name: &str, context: &Path) {
    run(docker()
        .args(["build", "--quiet", "--label", &scope.label(), "--tag", name])
        .arg(context));
}
