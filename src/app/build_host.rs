//! Where images are built.

use crate::builder::{Daemon, Place, TlsFiles};
use crate::cli::buildkit_host::needs_tls;
use crate::config::Config;
use crate::runtime::docker::docker_host::Host;

/// The BuildKit that builds: by default that of the engine.
///
/// # Errors
/// The flags do not fit together.
pub fn daemon(config: &Config, host: &Host) -> anyhow::Result<Daemon> {
    let Some(address) = &config.buildkit_host else {
        return Ok(Daemon::Engine(place(host)));
    };
    if needs_tls(address) && config.buildkit_tls.is_none() {
        anyhow::bail!(
            "--buildkit-host {address} is reached over a network, where everybody could build: set --buildkit-ca, \
             --buildkit-cert and --buildkit-key"
        );
    }
    let place = match address.split_once("://") {
        Some(("unix", path)) => Place::Socket(path.into()),
        Some((_, address)) => Place::Address(address.to_owned()),
        None => Place::Address(address.clone()),
    };
    let tls = config.buildkit_tls.clone();
    let tls = tls.map(|[ca, certificate, key]| TlsFiles { ca, certificate, key });
    Ok(Daemon::Buildkitd { place, tls })
}

/// Builds go where containers run.
pub fn place(host: &Host) -> Place {
    match host {
        Host::Socket(path) => Place::Socket(path.clone()),
        Host::Address(address) => Place::Address(address.clone()),
    }
}
