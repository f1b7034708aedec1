//! The two Dockerfiles of a buildpacks build. Pure.
//!
//! The lifecycle runs in layout mode against an empty stand-in for the run image, so that no step reads or writes a registry. The
//! previous image is the layout in the cache mount. See docs/design/buildpacks.md.

use std::fmt::Write as _;

use super::exported::Exported;
use super::phases::mark;
use crate::builder::planned::IMAGE;
use crate::builder::words::{is_name, quoted};

/// The stage with the metadata.
pub const META: &str = "meta";

/// The layout of the stand-in for the run image, and of the exported image.
const LAYOUT: &str = "/cache/layout/index.docker.io/library";

/// The values of the first Dockerfile.
pub struct Work<'a> {
    /// The builder image.
    pub builder: &'a str,
    /// The user of detect and build.
    pub user: u32,
    /// The group of detect and build.
    pub group: u32,
    /// The platform API.
    pub platform_api: &'a str,
    /// The architecture of the image.
    pub architecture: &'a str,
    /// The id of the cache mount. A build with this id can use the cache, so it must not be guessable.
    pub cache_id: &'a str,
    /// Another one for each build.
    pub build_id: &'a str,
    /// The names of the variables of the build, which are ids of secrets.
    pub variables: &'a [&'a str],
    /// The names of the variables without a value. BuildKit makes no file of an empty secret.
    pub empty: &'a [&'a str],
    /// The commit.
    pub revision: &'a str,
    /// The repository.
    pub repository: &'a str,
}

/// The first Dockerfile.
pub fn work(work: &Work<'_>) -> String {
    let owner = format!("{}:{}", work.user, work.group);
    // The id is written out: engine 20.10 expands no variable in it.
    let cache = format!(
        "--mount=type=cache,id={},target=/cache,sharing=locked ",
        work.cache_id
    );
    let secrets = work.variables.iter().fold(String::new(), |mut text, name| {
        let _ = write!(
            text,
            "--mount=type=secret,id={name},target=/platform/env/{name},mode=0444,required=true "
        );
        text
    });
    let step = |mounts: &str, phase: &str, script: &str| {
        let script = format!("{} : {}; {script}", mark(phase), work.build_id);
        format!("RUN {mounts}{}\n", serde_json::json!(["/bin/sh", "-c", script]))
    };
    let mut text = format!(
        "FROM {} AS work\nUSER 0:0\nENV CNB_PLATFORM_API={} CNB_NO_COLOR=1 CNB_EXPERIMENTAL_MODE=warn CNB_USE_LAYOUT=true CNB_LAYOUT_DIR=/cache/layout\n",
        work.builder, work.platform_api
    );
    let project = project_metadata(work.revision, work.repository);
    let empty = work.empty.iter().fold(String::new(), |mut text, name| {
        let _ = write!(text, " : > /platform/env/{name};");
        text
    });
    let script = format!(
        "set -e; mkdir -p /layers /platform/env /out;{empty} printf '%s' {} > /layers/project-metadata.toml; chown -R {owner} /layers",
        shell_quoted(&project)
    );
    let _ = writeln!(text, "RUN {}", serde_json::json!(["/bin/sh", "-c", script]));
    let _ = writeln!(text, "COPY --chown={owner} . /workspace");
    text.push_str(&step(
        &cache,
        "analyze",
        &format!(
            "{}/cnb/lifecycle/analyzer -run-image run app",
            stand_in(work, &owner)
        ),
    ));
    let _ = writeln!(text, "USER {owner}");
    text.push_str(&step(
        &secrets,
        "detect",
        "exec /cnb/lifecycle/detector -app /workspace",
    ));
    text.push_str("USER 0:0\n");
    text.push_str(&step(
        &cache,
        "restore",
        "exec /cnb/lifecycle/restorer -cache-dir /cache/layers",
    ));
    let _ = writeln!(text, "USER {owner}");
    text.push_str(&step(
        &secrets,
        "build",
        "exec /cnb/lifecycle/builder -app /workspace",
    ));
    text.push_str("USER 0:0\n");
    text.push_str(&step(&cache, "export", &export()));
    let _ = write!(text, "FROM scratch AS {META}\nCOPY --from=work /out/meta /\n");
    text
}

/// Writes the layout of an empty image with the properties of the builder that buildpacks ask for.
fn stand_in(work: &Work<'_>, owner: &str) -> String {
    let image = r#"{"architecture":"ARCH","os":"linux","config":{"Env":["PATH=%s"],"Labels":{"io.buildpacks.stack.id":"%s","io.buildpacks.base.distro.name":"%s","io.buildpacks.base.distro.version":"%s"}},"rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#;
    let image = image.replace("ARCH", work.architecture);
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}"#;
    let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}"#;
    format!(
        "set -e; d={LAYOUT}/run/latest; rm -rf $d; mkdir -p $d/blobs/sha256 /cache/layers; ID= VERSION_ID=; \
         if [ -r /etc/os-release ]; then . /etc/os-release; fi; cd $d; \
         put() {{ n=$(sha256sum < $1 | cut -c1-64); s=$(wc -c < $1); mv $1 blobs/sha256/$n; }}; \
         head -c 1024 /dev/zero | gzip -n > l; put l; ln=$n; ls=$s; \
         printf '{image}' \"$PATH\" \"$CNB_STACK_ID\" \"$ID\" \"$VERSION_ID\" > c; put c; \
         printf '{manifest}' $n $s $ln $ls > m; put m; printf '{index}' $n $s > index.json; \
         printf '{{\"imageLayoutVersion\":\"1.0.0\"}}' > oci-layout; chown -R {owner} /cache; "
    )
}

/// Exports, unpacks each layer into a directory of its own, and removes old layers from the layout.
fn export() -> String {
    format!(
        "set -e; /cnb/lifecycle/exporter -cache-dir /cache/layers -app /workspace app; cd {LAYOUT}/app/latest; \
         sum() {{ tr ',' '\\n' | sed -n 's/.*\"digest\": *\"sha256:\\([0-9a-f]*\\)\".*/\\1/p'; }}; \
         m=blobs/sha256/$(sum < index.json | head -n1); mkdir -p /out/meta; cp $m /out/meta/manifest.json; \
         i=-1; for d in $(sum < $m); do i=$((i+1)); case $i in 0) cp blobs/sha256/$d /out/meta/config.json;; 1) ;; \
         *) mkdir -p /out/$i; tar -xzf blobs/sha256/$d -C /out/$i;; esac; done; chmod 644 /out/meta/*; \
         for f in blobs/sha256/*; do n=$(basename $f); case \"$(cat index.json $m)\" in *$n*) ;; *) rm -f $f;; esac; done"
    )
}

/// The second Dockerfile: the first, whose steps are all in the cache, and the image on the run image.
///
/// # Errors
/// A value that a Dockerfile cannot express.
pub fn image(work: &str, run_image: &str, exported: &Exported) -> Result<String, String> {
    let mut text = format!("{work}FROM {run_image} AS {IMAGE}\n");
    for layer in &exported.layers {
        let _ = writeln!(text, "COPY --from=work /out/{layer}/ /");
    }
    if !exported.path.is_empty() {
        let path = quoted(&exported.path.join(":"))?;
        let path = path.trim_end_matches('"');
        let _ = writeln!(text, "ENV PATH={path}:$PATH\"");
    }
    for (name, value) in &exported.variables {
        if !is_name(name) {
            return Err(format!("the variable {name:?} has no valid name"));
        }
        let _ = writeln!(text, "ENV {name}={}", quoted(value)?);
    }
    let directory = &exported.directory;
    if directory.contains(char::is_control) {
        return Err(format!("its working directory is {directory:?}"));
    }
    let _ = writeln!(
        text,
        "WORKDIR {}",
        directory.replace('\\', "\\\\").replace('$', "\\$")
    );
    let _ = writeln!(text, "ENTRYPOINT {}", serde_json::json!(exported.entrypoint));
    let _ = writeln!(text, "CMD {}", serde_json::json!(exported.command));
    Ok(text)
}

/// `project-metadata.toml`, which becomes a label of the image.
fn project_metadata(revision: &str, repository: &str) -> String {
    let text = |value: &str| serde_json::json!(value).to_string();
    format!(
        "[source]\ntype = \"git\"\n[source.version]\ncommit = {}\n[source.metadata]\nrepository = {}\n",
        text(revision),
        text(repository)
    )
}

/// A word of a shell of which nothing is expanded.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> String {
        work(&Work {
            builder: "heroku/builder@sha256:1",
            user: 1000,
            group: 1001,
            platform_api: "0.13",
            architecture: "arm64",
            cache_id: "CACHE",
            build_id: "BUILD",
            variables: &["NPM_TOKEN"],
            empty: &["NOTHING"],
            revision: "c0ffee",
            repository: "https://git.example.com/it's",
        })
    }

    #[test]
    fn only_detect_and_build_get_variables_and_neither_gets_the_cache() {
        let text = example();
        let runs: Vec<&str> = text.lines().filter(|line| line.contains(": phase")).collect();
        assert_eq!(runs.len(), 5);
        for (run, phase, secret) in [
            (runs[0], "analyze", false),
            (runs[1], "detect", true),
            (runs[2], "restore", false),
            (runs[3], "build", true),
            (runs[4], "export", false),
        ] {
            assert!(run.contains(mark(phase)) && run.contains("BUILD"), "{run}");
            assert_eq!(
                run.contains("type=secret,id=NPM_TOKEN,target=/platform/env/NPM_TOKEN"),
                secret,
                "{run}"
            );
            assert_eq!(run.contains("type=cache,id=CACHE"), !secret, "{run}");
        }
        let users: Vec<&str> = text.lines().filter(|line| line.starts_with("USER")).collect();
        assert_eq!(
            users,
            [
                "USER 0:0",
                "USER 1000:1001",
                "USER 0:0",
                "USER 1000:1001",
                "USER 0:0"
            ]
        );
        assert!(text.contains("it'\\\\''s") && text.contains("arm64"), "{text}");
    }

    #[test]
    fn second_file_begins_with_the_first_and_refuses_what_would_be_an_instruction() {
        let mut exported = Exported {
            layers: vec![2, 3],
            variables: vec![("A".to_owned(), "a \"b\" $HOME".to_owned())],
            path: vec!["/cnb/process".to_owned()],
            entrypoint: vec!["/cnb/process/web".to_owned()],
            directory: "/workspace".to_owned(),
            ..Exported::default()
        };
        let text = image(&example(), "run@sha256:2", &exported).unwrap();
        let end = text.strip_prefix(&example()).unwrap();
        assert_eq!(
            end,
            "FROM run@sha256:2 AS image\nCOPY --from=work /out/2/ /\nCOPY --from=work /out/3/ /\n\
             ENV PATH=\"/cnb/process:$PATH\"\nENV A=\"a \\\"b\\\" \\$HOME\"\nWORKDIR /workspace\n\
             ENTRYPOINT [\"/cnb/process/web\"]\nCMD []\n"
        );
        exported.variables = vec![("A".to_owned(), "x\nRUN id".to_owned())];
        assert!(image("", "run", &exported).is_err());
        exported.variables = vec![("A B".to_owned(), String::new())];
        assert!(image("", "run", &exported).is_err());
        exported.variables.clear();
        exported.directory = "/x\nRUN id".to_owned();
        assert!(image("", "run", &exported).is_err());
    }
}
