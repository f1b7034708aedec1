//! `spec.build` of an Application: how the source becomes an image.

use garde::Validate;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{EnvVar, Resources};
use super::validation::{file_path, optional_file_path};
use super::values::{Duration, LocalRef, is_false};

/// How the source becomes an image: at most one type; none means to detect it (a Dockerfile, then static files, then railpack). `static`
/// beside another type serves what that type builds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.dockerfile), has(self.nixpacks), has(self.railpack), has(self.herokuBuildpacks), has(self.paketoBuildpacks)].filter(x, x).size() <= 1")
        .message("at most one of dockerfile, nixpacks, railpack, herokuBuildpacks, paketoBuildpacks may be set").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.static) || !has(self.nixpacks) || !has(self.nixpacks.publishDirectory)")
        .message("set nixpacks.publishDirectory or static.publishDirectory, not both").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.static) || !has(self.dockerfile) || self.static.publishDirectory != '.'")
        .message("with dockerfile, static.publishDirectory must name a directory of the image, such as /app/dist").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.static) || has(self.dockerfile) || has(self.nixpacks) || has(self.railpack) || has(self.herokuBuildpacks) || has(self.paketoBuildpacks) || ((!has(self.args) || self.args.size() == 0) && (!has(self.secrets) || self.secrets.size() == 0))")
        .message("args and secrets do nothing with static, which runs no build steps: leave them out, or add a build type").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.pullSecretRef) || !has(self.static) || has(self.static.image) || has(self.dockerfile) || has(self.nixpacks) || has(self.railpack) || has(self.herokuBuildpacks) || has(self.paketoBuildpacks)")
        .message("pullSecretRef does nothing with static without image, which pulls nothing: leave it out").reason(Reason::FieldValueForbidden).field_path(".pullSecretRef"),
    validation = Rule::new("!has(self.resources) || !has(self.resources.requests)")
        .message("resources.requests does nothing in a build: set resources.limits").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.envFile) || !self.envFile || !has(self.static) || has(self.dockerfile) || has(self.nixpacks) || has(self.railpack) || has(self.herokuBuildpacks) || has(self.paketoBuildpacks)")
        .message("envFile does nothing with static, which runs no build steps: leave it out").reason(Reason::FieldValueForbidden).field_path(".envFile"),
    validation = Rule::new("!has(self.timeout) || duration(self.timeout) > duration('0s')")
        .message("timeout must be longer than 0s: leave it out for 30m").reason(Reason::FieldValueInvalid).field_path(".timeout"),
    validation = Rule::new("!has(self.secrets) || self.secrets.all(secret, has(secret.valueFrom))")
        .message("each of secrets needs valueFrom: put the value into a Secret, or into args if it is not secret").reason(Reason::FieldValueInvalid).field_path(".secrets")
)]
#[garde(allow_unvalidated)]
pub struct Build {
    /// A Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub dockerfile: Option<Dockerfile>,
    /// Files that are served: those of the source, or beside another type those that it builds.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub static_site: Option<StaticSite>,
    /// Whatever nixpacks recognises. Needs the program `nixpacks`, which is in maintenance mode: prefer railpack, its successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub nixpacks: Option<Nixpacks>,
    /// Whatever railpack recognises: Node, Python, Go, PHP, Ruby, Java, Rust and more. Needs the program `railpack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub railpack: Option<Railpack>,
    /// A builder of Heroku's Cloud Native Buildpacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heroku_buildpacks: Option<HerokuBuildpacks>,
    /// A builder of Paketo's Cloud Native Buildpacks, or any other builder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paketo_buildpacks: Option<PaketoBuildpacks>,
    /// Build arguments: visible in the image's history, so no place for secrets. A Dockerfile takes them as `ARG`; railpack, nixpacks and buildpacks get them as variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub args: Vec<EnvVar>,
    /// Build secrets, each with `valueFrom`: reach the build only as `RUN --mount=type=secret,id=NAME` (with railpack, nixpacks and buildpacks as variables of its commands), never the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<EnvVar>,
    /// Write the environment of the containers as `.env` into the build context: a `COPY .` puts it into the image, Secrets
    /// included. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub env_file: bool,
    /// The Secret of type `kubernetes.io/dockerconfigjson` with credentials for base images in private registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
    /// Use the build cache. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// The longest a build may take, fetching included. Default 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What all steps of a build together may use, in `limits`. Needs a buildkitd on Davit's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub resources: Option<Resources>,
}

/// The build type that the user chose, with its settings. A match on it is exhaustive, so that a new type compiles only
/// where every place handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildKind<'a> {
    /// `spec.build.dockerfile`.
    Dockerfile(&'a Dockerfile),
    /// `spec.build.static`.
    Static(&'a StaticSite),
    /// `spec.build.nixpacks`.
    Nixpacks(&'a Nixpacks),
    /// `spec.build.railpack`.
    Railpack(&'a Railpack),
    /// `spec.build.herokuBuildpacks`.
    HerokuBuildpacks(&'a HerokuBuildpacks),
    /// `spec.build.paketoBuildpacks`.
    PaketoBuildpacks(&'a PaketoBuildpacks),
}

impl BuildKind<'_> {
    /// Returns the name of the field that the user writes, which `status.builder.type` repeats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dockerfile(_) => "dockerfile",
            Self::Static(_) => "static",
            Self::Nixpacks(_) => "nixpacks",
            Self::Railpack(_) => "railpack",
            Self::HerokuBuildpacks(_) => "herokuBuildpacks",
            Self::PaketoBuildpacks(_) => "paketoBuildpacks",
        }
    }
}

impl Build {
    /// Returns the chosen build type, or `None` if the type is to be detected.
    pub fn kind(&self) -> Option<BuildKind<'_>> {
        // Without `..`, so that a new field does not compile until it is placed here. The CRD's rules refuse more than one
        // type; `static` is one only if there is no other.
        let Self {
            dockerfile,
            static_site,
            nixpacks,
            railpack,
            heroku_buildpacks,
            paketo_buildpacks,
            args: _,
            secrets: _,
            env_file: _,
            pull_secret_ref: _,
            cache: _,
            timeout: _,
            resources: _,
        } = self;
        let dockerfile = dockerfile.as_ref().map(BuildKind::Dockerfile);
        dockerfile
            .or_else(|| nixpacks.as_ref().map(BuildKind::Nixpacks))
            .or_else(|| railpack.as_ref().map(BuildKind::Railpack))
            .or_else(|| heroku_buildpacks.as_ref().map(BuildKind::HerokuBuildpacks))
            .or_else(|| paketo_buildpacks.as_ref().map(BuildKind::PaketoBuildpacks))
            .or_else(|| static_site.as_ref().map(BuildKind::Static))
    }

    /// Returns `nixpacks.publishDirectory`.
    pub fn published_by_nixpacks(&self) -> Option<&str> {
        self.nixpacks.as_ref()?.publish_directory.as_deref()
    }

    /// Returns the settings of every build type by the name of its field.
    pub fn types(&self) -> [(&'static str, serde_json::Value); 6] {
        // Part of a spec that was read from JSON, so writing it as JSON cannot fail.
        fn json(settings: &impl Serialize) -> serde_json::Value {
            serde_json::to_value(settings).unwrap_or_default()
        }
        [
            ("dockerfile", json(&self.dockerfile)),
            ("static", json(&self.static_site)),
            ("nixpacks", json(&self.nixpacks)),
            ("railpack", json(&self.railpack)),
            ("herokuBuildpacks", json(&self.heroku_buildpacks)),
            ("paketoBuildpacks", json(&self.paketo_buildpacks)),
        ]
    }
}

/// Builds with a Dockerfile of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct Dockerfile {
    /// The Dockerfile, relative to `source.…path`. Default `Dockerfile`.
    #[serde(default = "dockerfile")]
    #[schemars(length(min = 1, max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
    /// The build context, relative to `source.…path`. Default `.`.
    #[serde(default = "here")]
    #[schemars(length(min = 1, max = 1024))]
    #[garde(custom(file_path))]
    pub context: String,
    /// The stage to build; the last one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"))]
    pub target: Option<String>,
}

impl Default for Dockerfile {
    fn default() -> Self {
        Self {
            path: dockerfile(),
            context: here(),
            target: None,
        }
    }
}

/// Builds with nixpacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct Nixpacks {
    /// A directory of the result, relative to `/app`, that is served as a static site in place of the application. The same
    /// as `static.publishDirectory` beside `nixpacks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[garde(custom(optional_file_path))]
    pub publish_directory: Option<String>,
}

/// Builds with railpack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Railpack {
    /// The version of railpack, which must be installed on Davit's machine. Default `0.9.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Za-z.+-]+$"))]
    pub version: Option<String>,
}

impl Railpack {
    /// The version without an explicit one: the one that Davit's conversion of plans is tested with.
    pub const VERSION: &str = "0.9.0";

    /// The version that builds.
    pub fn version(&self) -> &str {
        let version = self.version.as_deref();
        version.map_or(Self::VERSION, |version| version.trim_start_matches('v'))
    }
}

/// Builds with Heroku's Cloud Native Buildpacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.version) || !has(self.builder)")
        .message("set version, or builder with another image, not both").reason(Reason::FieldValueInvalid)
)]
pub struct HerokuBuildpacks {
    /// The version of the builder `heroku/builder`. Default `24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Za-z.+-]+$"))]
    pub version: Option<String>,
    /// Another builder image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^[A-Za-z0-9]+([._-]+[A-Za-z0-9]+|[:@/][A-Za-z0-9]+)*$")
    )]
    pub builder: Option<String>,
}

impl HerokuBuildpacks {
    /// Returns the builder image.
    pub fn image(&self) -> String {
        let version = self.version.as_deref().unwrap_or("24");
        let image = self.builder.clone();
        image.unwrap_or_else(|| format!("heroku/builder:{version}"))
    }
}

/// Builds with Paketo's Cloud Native Buildpacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaketoBuildpacks {
    /// The builder image. Default `paketobuildpacks/builder-jammy-base`.
    #[serde(default = "paketo")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^[A-Za-z0-9]+([._-]+[A-Za-z0-9]+|[:@/][A-Za-z0-9]+)*$")
    )]
    pub builder: String,
}

impl Default for PaketoBuildpacks {
    fn default() -> Self {
        Self { builder: paketo() }
    }
}

fn paketo() -> String {
    "paketobuildpacks/builder-jammy-base".to_owned()
}

/// Serves a directory of the source, or of the result of another build type, with a small web server that Davit brings along, on
/// port 8080.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.imagePath) || has(self.image)")
        .message("imagePath has no effect without image: remove it, or set image").reason(Reason::FieldValueForbidden).field_path(".imagePath"),
    validation = Rule::new("!has(self.image) || !has(self.spa) || !self.spa")
        .message("spa has no effect with image: remove it, and configure the server of the image").reason(Reason::FieldValueForbidden).field_path(".spa")
)]
#[garde(allow_unvalidated)]
pub struct StaticSite {
    /// The directory to serve, relative to `source.…path`. Default `.`. Beside another build type a directory of its image: relative to
    /// `/app` (nixpacks, railpack), `/workspace` (buildpacks) or `/` (dockerfile).
    #[serde(default = "here")]
    #[schemars(length(min = 1, max = 1024))]
    #[garde(custom(file_path))]
    pub publish_directory: String,
    /// Answer paths that are not there with `/index.html`, but for files such as `/gone.js`, for applications that route in the
    /// browser. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spa: bool,
    /// An image of one's own to put the files into, in place of Davit's server: they are copied to `imagePath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^[A-Za-z0-9]+([._-]+[A-Za-z0-9]+|[:@/][A-Za-z0-9]+)*$")
    )]
    pub image: Option<String>,
    /// Where the files go in `image`. Default `/usr/share/nginx/html`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s$]*$"))]
    #[garde(custom(optional_file_path))]
    pub image_path: Option<String>,
}

impl Default for StaticSite {
    fn default() -> Self {
        Self {
            publish_directory: here(),
            spa: false,
            image: None,
            image_path: None,
        }
    }
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

fn here() -> String {
    ".".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_kind_follows_the_field_that_is_set() {
        assert_eq!(Build::default().kind(), None);
        for (text, name) in [
            ("{dockerfile: {}}", "dockerfile"),
            ("{static: {}}", "static"),
            ("{static: {}, railpack: {}}", "railpack"),
        ] {
            let build: Build = serde_yaml::from_str(text).unwrap();
            assert_eq!(build.kind().unwrap().name(), name);
        }
    }
}
