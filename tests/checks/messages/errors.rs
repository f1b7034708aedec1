//! A sample of each variant of each error enum.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use davit::api::{Protocol, Reason};
use davit::builder::BuildError;
use davit::config::ConfigError;
use davit::error::{Class, Problem};
use davit::forge::ForgeError;
use davit::forge::webhook::Refusal;
use davit::image::{ImageError, PushError};
use davit::process::ProcessError;
use davit::redact::SafeUrl;
use davit::runtime::{Port, RuntimeError};
use davit::source::SourceError;
use davit::source::archive::ArchiveError;
use davit::source::credential::SecretError;

use super::{chained, explained, samples};

const URL: &str = "spec.source.git.url";
const BRANCH: &str = "spec.source.git.ref.branch";
const SECRET: &str = "spec.source.git.secretRef";

fn url() -> SafeUrl {
    SafeUrl::parse("https://git.example.com/acme/shop.git").unwrap()
}

fn forge() -> SafeUrl {
    SafeUrl::parse("https://forge.example.com").unwrap()
}

fn denied() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

/// Returns the description of each enum.
pub fn all() -> Vec<String> {
    vec![
        explained("SourceError", source()),
        explained("ArchiveError", archives()),
        explained("SecretError", secret()),
        explained("ImageError", image()),
        explained("PushError", push()),
        explained("BuildError", build()),
        explained("RuntimeError", runtime()),
        explained("ForgeError", forge_errors()),
        chained("ProcessError", process()),
        chained("ConfigError", config()),
        chained("Refusal", refusals()),
    ]
}

fn archives() -> Vec<(&'static str, ArchiveError)> {
    let digest = format!("sha256:{:0>64}", 7);
    samples! { ArchiveError:
        ArchiveError::Format { .. } => ArchiveError::Format { what: "compressed with xz, which is not accepted" },
        ArchiveError::Damaged { .. } => ArchiveError::Damaged { why: "its end is missing".to_owned() },
        ArchiveError::NotAsSent => ArchiveError::NotAsSent,
        ArchiveError::LongerThanStated { .. } => ArchiveError::LongerThanStated { size: 4 << 20 },
        ArchiveError::Compression { .. } => ArchiveError::Compression { name: "a".to_owned(), method: "bzip2".to_owned() },
        ArchiveError::Entry { .. } => ArchiveError::Entry { name: "../x".to_owned(), why: "leaves the directory by .." },
        ArchiveError::ArchiveTooLarge { .. } => ArchiveError::ArchiveTooLarge { limit: 1 << 30 },
        ArchiveError::TooLarge { .. } => ArchiveError::TooLarge { limit: 4 << 30 },
        ArchiveError::TooMany { .. } => ArchiveError::TooMany { limit: 100_000 },
        ArchiveError::Ratio { .. } => ArchiveError::Ratio { limit: 200 },
        ArchiveError::TooSlow { .. } => ArchiveError::TooSlow { limit: Duration::from_mins(5) },
        ArchiveError::Cancelled => ArchiveError::Cancelled,
        ArchiveError::Missing { .. } => ArchiveError::Missing { digest: digest.clone() },
        ArchiveError::Changed { .. } => ArchiveError::Changed { digest: digest.clone() },
        ArchiveError::StoreFull { .. } => ArchiveError::StoreFull { used: 10 << 30, limit: 10 << 30, more: 5 << 20 },
        ArchiveError::ShareFull { .. } => ArchiveError::ShareFull {
            namespace: "shops".to_owned(), used: 5 << 30, limit: 5 << 30, more: 5 << 20,
        },
        ArchiveError::NoRoom { .. } => ArchiveError::NoRoom { free: 300 << 20, reserve: 256 << 20, more: 80 << 20 },
        ArchiveError::DiskFull => ArchiveError::DiskFull,
        ArchiveError::Io { .. } => ArchiveError::Io { doing: "read the archive", source: denied() },
    }
}

fn source() -> Vec<(&'static str, SourceError)> {
    samples! { SourceError:
        SourceError::UrlInvalid { .. } => SourceError::UrlInvalid { field: URL, why: "it has no host" },
        SourceError::TransportForbidden { .. } => SourceError::TransportForbidden {
            field: URL,
            url: "http://git.example.com/shop.git".to_owned(),
            why: "the network can read and change a source that is sent over http",
            solution: "an https:// or ssh:// URL",
        },
        SourceError::RefInvalid { .. } => SourceError::RefInvalid { field: BRANCH.to_owned(), name: "a..b".to_owned() },
        SourceError::AuthFailed { .. } => SourceError::AuthFailed {
            field: SECRET, url: url(), said: "the server requires a credential".to_owned(),
        },
        SourceError::HostKeyMissing { .. } => SourceError::HostKeyMissing { field: SECRET, url: url() },
        SourceError::HostKeyUnknown { .. } => SourceError::HostKeyUnknown {
            field: SECRET, url: url(), said: "Host key verification failed".to_owned(),
        },
        SourceError::RepositoryNotFound { .. } => SourceError::RepositoryNotFound {
            field: URL, url: url(), said: "the server answers 404".to_owned(),
        },
        SourceError::Redirected { .. } => SourceError::Redirected { field: URL, url: url() },
        SourceError::RefNotFound { .. } => SourceError::RefNotFound {
            field: BRANCH.to_owned(),
            what: "branch \"nope\"".to_owned(),
            url: url(),
            default_branch: Some("main".to_owned()),
        },
        SourceError::IsATag { .. } => SourceError::IsATag {
            field: "spec.source.git.ref.commit".to_owned(), id: "a1".to_owned(), commit: "b2".to_owned(),
        },
        SourceError::NoCredential { .. } => SourceError::NoCredential {
            field: SECRET, url: url(), server: "https://other.example.com".to_owned(),
        },
        SourceError::Tls { .. } => SourceError::Tls {
            field: SECRET, url: url(), said: "self-signed certificate".to_owned(),
        },
        SourceError::Empty { .. } => SourceError::Empty {
            field: BRANCH.to_owned(), what: "branch \"main\"".to_owned(), url: url(),
        },
        SourceError::KeyInvalid { .. } => SourceError::KeyInvalid { field: SECRET, url: url() },
        SourceError::Unreachable { .. } => SourceError::Unreachable {
            field: URL, url: url(), said: "Could not resolve host".to_owned(),
        },
        SourceError::Refused { .. } => SourceError::Refused {
            url: url(), said: "object a1: zeroPaddedFilemode".to_owned(),
        },
        SourceError::Lfs { .. } => SourceError::Lfs { url: url(), why: "object a1 does not exist".to_owned() },
        SourceError::NoMatchingTag { .. } => SourceError::NoMatchingTag {
            pattern: "v*".to_owned(), url: url(), tags: 3,
        },
        SourceError::TagPatternInvalid { .. } => SourceError::TagPatternInvalid {
            pattern: "[".to_owned(), why: "a bracket is not closed".to_owned(),
        },
        SourceError::Credential { .. } => SourceError::Credential {
            url: url(),
            problem: Problem::new(Class::Transient, Reason::ForgeUnreachable, "connection refused"),
        },
        SourceError::Submodule { .. } => SourceError::Submodule {
            path: "lib".to_owned(),
            source: Box::new(SourceError::RefNotFound {
                field: BRANCH.to_owned(), what: "commit a1".to_owned(), url: url(), default_branch: None,
            }),
        },
        SourceError::SubmoduleInvalid { .. } => SourceError::SubmoduleInvalid {
            path: "lib".to_owned(), why: "it has no url".to_owned(),
        },
        SourceError::DiskFull { .. } => SourceError::DiskFull { doing: "write the cache".to_owned() },
        SourceError::Cancelled => SourceError::Cancelled,
        SourceError::Failed { .. } => SourceError::Failed {
            doing: "fetch the source".to_owned(), said: "fatal: unknown".to_owned(),
        },
        SourceError::Program(_) => SourceError::Program(ProcessError::Start {
            program: "git".to_owned(), source: io::Error::from(io::ErrorKind::NotFound),
        }),
        SourceError::Io { .. } => SourceError::Io { doing: "write the cache".to_owned(), source: denied() },
    }
}

fn secret() -> Vec<(&'static str, SecretError)> {
    samples! { SecretError:
        SecretError::Missing { .. } => SecretError::Missing { secret: "keys".to_owned(), key: "password".to_owned() },
        SecretError::Invalid { .. } => SecretError::Invalid {
            secret: "keys".to_owned(),
            key: "ssh-privatekey".to_owned(),
            why: "it is encrypted with a passphrase".to_owned(),
            hint: Some("remove the passphrase"),
        },
    }
}

fn image() -> Vec<(&'static str, ImageError)> {
    let shop = || "registry.example.com/shop:1".to_owned();
    samples! { ImageError:
        ImageError::Invalid { .. } => ImageError::Invalid { image: "Shop".to_owned(), why: "it has upper-case letters".to_owned() },
        ImageError::NotFound { .. } => ImageError::NotFound { image: shop(), said: "manifest unknown".to_owned() },
        ImageError::Denied { .. } => ImageError::Denied { image: shop(), said: "unauthorized".to_owned() },
        ImageError::Unreachable { .. } => ImageError::Unreachable { image: shop(), said: "connection refused".to_owned() },
        ImageError::Tls { .. } => ImageError::Tls { image: shop(), said: "unknown authority".to_owned() },
        ImageError::Failed { .. } => ImageError::Failed { image: shop(), said: "unexpected EOF".to_owned() },
        ImageError::DiskFull { .. } => ImageError::DiskFull { image: shop() },
        ImageError::EngineUnavailable(_) => ImageError::EngineUnavailable(denied().into()),
        ImageError::Cancelled => ImageError::Cancelled,
    }
}

fn push() -> Vec<(&'static str, PushError)> {
    let (image, said) = (
        || "registry.example.com/shop:1".to_owned(),
        |text: &str| text.to_owned(),
    );
    samples! { PushError:
        PushError::Denied { .. } => PushError::Denied { image: image(), said: said("unauthorized") },
        PushError::NoRepository { .. } => PushError::NoRepository { image: image(), said: said("name unknown") },
        PushError::Unreachable { .. } => PushError::Unreachable { image: image(), said: said("connection refused") },
        PushError::Tls { .. } => PushError::Tls { image: image(), said: said("unknown authority") },
        PushError::Failed { .. } => PushError::Failed { image: image(), said: said("unexpected EOF") },
        PushError::EngineUnavailable(_) => PushError::EngineUnavailable(denied().into()),
        PushError::Cancelled => PushError::Cancelled,
    }
}

fn build() -> Vec<(&'static str, BuildError)> {
    samples! { BuildError:
        BuildError::NotDetected(_) => BuildError::NotDetected("the repository".to_owned()),
        BuildError::PathNotFound { .. } => BuildError::PathNotFound {
            field: "spec.build.dockerfile.path", path: "Dockerfile".to_owned(), reason: Reason::DockerfileNotFound,
        },
        BuildError::PathEscapes { .. } => BuildError::PathEscapes {
            field: "spec.build.dockerfile.context", path: "../..".to_owned(),
        },
        BuildError::LinkEscapes(_) => BuildError::LinkEscapes("web/.ruby-version".to_owned()),
        BuildError::FileName(_) => BuildError::FileName("caf\u{fffd}".to_owned()),
        BuildError::ControlFile { .. } => BuildError::ControlFile {
            path: ".dockerignore".to_owned(), why: "line 3 is not UTF-8".to_owned(),
        },
        BuildError::Failed(_) => BuildError::Failed("exit code 1".to_owned()),
        BuildError::Exit { .. } => BuildError::Exit { step: "[2/4] RUN make".to_owned(), code: 2 },
        BuildError::NoBuildpack { .. } => BuildError::NoBuildpack {
            field: "spec.build.paketoBuildpacks", why: "no buildpack of the builder fits the source".to_owned(),
        },
        BuildError::ProgramMissing { .. } => BuildError::ProgramMissing { field: "spec.build.railpack", program: "railpack" },
        BuildError::VersionMissing { .. } => BuildError::VersionMissing {
            field: "spec.build.railpack.version", program: "railpack", wanted: "0.9.0".to_owned(), installed: "0.8.0".to_owned(),
        },
        BuildError::Misplaced { .. } => BuildError::Misplaced {
            name: "NIXPACKS_PKGS".to_owned(), why: "nixpacks repeats the variables that steer it in its plan, and so in the image's history",
            field: "spec.build.secrets", instead: "spec.build.args",
        },
        BuildError::NotPublished { .. } => BuildError::NotPublished {
            field: "spec.build.static.publishDirectory", path: "dist".to_owned(),
        },
        BuildError::OutOfMemory { .. } => BuildError::OutOfMemory { step: "[2/4] RUN make".to_owned(), limited: false },
        BuildError::LimitsNotSupported(_) => BuildError::LimitsNotSupported("buildkitd runs without root".to_owned()),
        BuildError::BuildkitUnavailable(_) => BuildError::BuildkitUnavailable("127.0.0.1:1234: Connection refused".to_owned()),
        BuildError::BuildkitUnsuitable(_) => BuildError::BuildkitUnsuitable("buildkitd at 127.0.0.1:1234 has no worker".to_owned()),
        BuildError::Temporary(_) => BuildError::Temporary("a package could not be downloaded".to_owned()),
        BuildError::NotSupported { .. } => BuildError::NotSupported {
            field: "spec.build.args", why: "the value of VERSION is not text".to_owned(),
        },
        BuildError::NoEngine => BuildError::NoEngine,
        BuildError::BaseImage(_) => BuildError::BaseImage("docker.io/library/nope:1: not found".to_owned()),
        BuildError::ImageOfOthers(_) => BuildError::ImageOfOthers("davit.local/default/team-b/web:1".to_owned()),
        BuildError::BaseImageDenied(_) => BuildError::BaseImageDenied("registry.example.com/base: unauthorized".to_owned()),
        BuildError::BaseImageTls { .. } => BuildError::BaseImageTls {
            image: "registry.example.com:5000/base:1".to_owned(), said: "x509: certificate signed by unknown authority".to_owned(),
        },
        BuildError::BaseImageAnswer(_) => BuildError::BaseImageAnswer("registry.example.com/base: encountered unknown type text/html".to_owned()),
        BuildError::UnusableImage { .. } => BuildError::UnusableImage {
            field: "spec.build.paketoBuildpacks", why: "busybox:1 has no label io.buildpacks.builder.metadata".to_owned(),
            instead: "a builder image, such as {builder: paketobuildpacks/builder-jammy-base}",
        },
        BuildError::UnknownInstruction(_) => BuildError::UnknownInstruction("dockerfile parse error line 3: unknown instruction: ECHO".to_owned()),
        BuildError::RegistryUnreachable(_) => BuildError::RegistryUnreachable("connection refused".to_owned()),
        BuildError::Push(_) => BuildError::Push(PushError::Denied {
            image: "registry.example.com/shop:1".to_owned(), said: "unauthorized".to_owned(),
        }),
        BuildError::Pull(_) => BuildError::Pull(ImageError::Cancelled),
        BuildError::Timeout(_) => BuildError::Timeout(Duration::from_mins(30)),
        BuildError::Cancelled => BuildError::Cancelled,
        BuildError::DiskFull => BuildError::DiskFull,
        BuildError::EngineUnavailable(_) => BuildError::EngineUnavailable("connection refused".to_owned()),
        BuildError::Engine(_) => BuildError::Engine("unexpected EOF".to_owned()),
        BuildError::Io(_) => BuildError::Io(denied()),
    }
}

fn runtime() -> Vec<(&'static str, RuntimeError)> {
    let port = || Port {
        name: None,
        container: 80,
        host: Some(8080),
        host_ip: Some("127.0.0.3".to_owned()),
        protocol: Protocol::Tcp,
    };
    samples! { RuntimeError:
        RuntimeError::PortTaken { .. } => RuntimeError::PortTaken { port: port(), by: "the Application shop/web".to_owned() },
        RuntimeError::AddressMissing(_) => RuntimeError::AddressMissing(port()),
        RuntimeError::ImageMissing(_) => RuntimeError::ImageMissing("davit.local/shop/web:1".to_owned()),
        RuntimeError::ImagePull { denied: true, .. } => RuntimeError::ImagePull {
            image: "registry.example.com/shop@sha256:00".to_owned(),
            message: "401 Unauthorized".to_owned(),
            denied: true,
        },
        RuntimeError::ImagePull { .. } => RuntimeError::ImagePull {
            image: "registry.example.com/shop@sha256:00".to_owned(),
            message: "connection refused".to_owned(),
            denied: false,
        },
        RuntimeError::Unschedulable(_) => RuntimeError::Unschedulable("0/3 nodes are available: 3 Insufficient cpu".to_owned()),
        RuntimeError::QuotaExceeded(_) => RuntimeError::QuotaExceeded("exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2".to_owned()),
        RuntimeError::Forbidden { .. } => RuntimeError::Forbidden {
            doing: "list Pods",
            message: "pods is forbidden".to_owned(),
        },
        RuntimeError::NameTaken { .. } => RuntimeError::NameTaken { kind: "Service", name: "production/shop".to_owned() },
        RuntimeError::Rejected { .. } => RuntimeError::Rejected {
            message: "exec: \"nope\": executable file not found in $PATH".to_owned(),
            fields: Some("spec.command and spec.args"),
        },
        RuntimeError::WrongArchitecture { .. } => RuntimeError::WrongArchitecture {
            subject: "the image".to_owned(), program: "arm64".to_owned(), machine: "amd64".to_owned(),
        },
        RuntimeError::DiskFull => RuntimeError::DiskFull,
        RuntimeError::NoMetrics => RuntimeError::NoMetrics,
        RuntimeError::Unsupported { .. } => RuntimeError::Unsupported { what: "a command in a container", runtime: "swarm" },
        RuntimeError::EngineUnavailable(_) => RuntimeError::EngineUnavailable("connection refused".to_owned()),
        RuntimeError::Engine { .. } => RuntimeError::Engine {
            doing: "stop a container", message: "unexpected EOF".to_owned(),
        },
    }
}

fn forge_errors() -> Vec<(&'static str, ForgeError)> {
    let doing = "list repositories";
    samples! { ForgeError:
        ForgeError::Spec { .. } => ForgeError::Spec { message: "url must begin with https://".to_owned() },
        ForgeError::Secret { .. } => ForgeError::Secret { message: "it has no key token".to_owned() },
        ForgeError::Unreachable { .. } => ForgeError::Unreachable { url: forge(), message: "connection refused".to_owned() },
        ForgeError::Timeout { .. } => ForgeError::Timeout { doing, url: forge(), seconds: 30 },
        ForgeError::Tls { .. } => ForgeError::Tls { url: forge(), message: "unknown issuer".to_owned() },
        ForgeError::NotRecognised { .. } => ForgeError::NotRecognised {
            kind: "Gitea", url: forge(), message: "it answers 404".to_owned(),
        },
        ForgeError::Redirected { .. } => ForgeError::Redirected {
            doing, url: forge(), target: "https://other.example.com".to_owned(),
        },
        ForgeError::Incomplete { .. } => ForgeError::Incomplete {
            doing, url: forge(), message: "connection reset by peer".to_owned(),
        },
        ForgeError::InvalidResponse { .. } => ForgeError::InvalidResponse {
            doing, url: forge(), message: "the response is not JSON".to_owned(),
        },
        ForgeError::Auth { .. } => ForgeError::Auth { url: forge(), message: Some("Bad credentials".to_owned()) },
        ForgeError::Client { .. } => ForgeError::Client {
            url: forge(), message: "invalid_client: invalid client secret".to_owned(),
        },
        ForgeError::Clock { .. } => ForgeError::Clock { url: forge(), seconds: 600 },
        ForgeError::Scope { .. } => ForgeError::Scope { doing, url: forge(), scope: "read:user".to_owned() },
        ForgeError::Forbidden { .. } => ForgeError::Forbidden { doing, url: forge(), message: "the account is disabled".to_owned() },
        ForgeError::NotInstalled { .. } => ForgeError::NotInstalled {
            app: "davit".to_owned(), url: forge(), install_url: "https://forge.example.com/apps/davit".to_owned(),
        },
        ForgeError::NotFound { .. } => ForgeError::NotFound { what: "repository \"acme/shop\"".to_owned(), url: forge() },
        ForgeError::RateLimited { .. } => ForgeError::RateLimited {
            url: forge(), until: "2026-01-01T00:00:00Z".parse().unwrap(),
        },
        ForgeError::Store(_) => ForgeError::Store(Problem::new(
            Class::Transient, Reason::ClusterUnavailable, "store the new OAuth tokens: the API server is away",
        )),
        ForgeError::Other { .. } => ForgeError::Other { doing, url: forge(), message: "502 Bad Gateway".to_owned() },
    }
}

fn process() -> Vec<(&'static str, ProcessError)> {
    let program = || "git".to_owned();
    samples! { ProcessError:
        ProcessError::Start { .. } => ProcessError::Start { program: program(), source: denied() },
        ProcessError::Timeout { .. } => ProcessError::Timeout { program: program(), limit: Duration::from_mins(1) },
        ProcessError::Cancelled { .. } => ProcessError::Cancelled { program: program() },
        ProcessError::Io { .. } => ProcessError::Io { program: program(), source: denied() },
    }
}

fn config() -> Vec<(&'static str, ConfigError)> {
    let path = || PathBuf::from("/var/lib/davit");
    samples! { ConfigError:
        ConfigError::NoHome => ConfigError::NoHome,
        ConfigError::File { .. } => ConfigError::File { path: path(), source: denied() },
        ConfigError::Full { .. } => ConfigError::Full { path: path() },
        ConfigError::Instance(_) => ConfigError::Instance("My Shop".to_owned()),
        ConfigError::OtherInstance { .. } => ConfigError::OtherInstance {
            given: "b".to_owned(), kept: "a".to_owned(), file: path().join("instance"),
        },
        ConfigError::Locked(_) => ConfigError::Locked(path()),
    }
}

fn refusals() -> Vec<(&'static str, Refusal)> {
    samples! { Refusal:
        Refusal::Unsigned => Refusal::Unsigned,
        Refusal::WrongSignature => Refusal::WrongSignature,
        Refusal::Expired => Refusal::Expired,
        Refusal::NoSecret => Refusal::NoSecret,
        Refusal::Malformed => Refusal::Malformed,
    }
}
