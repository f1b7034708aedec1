//! Registries that are not trusted: how an engine, a BuildKit or a client says so, and the way out. Pure.

use super::name::ImageName;

/// What is said, in lower case, of a registry whose certificate is not trusted, or that speaks plain HTTP.
pub const UNTRUSTED: &[&str] = &[
    "x509",
    "certificate",
    "http response to https",
    "tls:",
    "tls handshake",
];

/// The way out for the registry of an image: on which machine its CA has to be, and which buildkitd needs it, if one does.
pub fn trust(image: &str, machine: &str, buildkitd: Option<&str>) -> String {
    let host = ImageName::parse(image).map(|name| name.registry().to_owned());
    let host = host.unwrap_or_else(|_| "HOST".to_owned());
    let buildkitd =
        buildkitd.map(|which| format!("{which} needs `ca` or `http` for {host} in its buildkitd.toml; "));
    let buildkitd = buildkitd.unwrap_or_default();
    format!(
        "put the registry's CA into /etc/docker/certs.d/{host}/ca.crt on {machine}, or name the registry in insecure-registries of the engine and in --insecure-registry if it must be plain HTTP; {buildkitd}Davit tries again"
    )
}
