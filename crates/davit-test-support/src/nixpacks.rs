//! A stand-in for the base image of nixpacks: a login shell, and a Nix that notes what it is to install.

use super::docker::{DockerScope, base_image, docker};
use super::run;

/// The lines after `FROM`.
const BASE: &str = r#"
RUN printf '#!/bin/sh\n[ -f /root/.profile ] && . /root/.profile\nwhile [ "$1" != -c ]; do shift; done\nexec /bin/sh "$@"\n' > /bin/bash && \
    printf '#!/bin/sh\ncp "$2" /installed.nix\n' > /bin/nix-env && printf '#!/bin/sh\n' > /bin/nix-collect-garbage && \
    chmod 755 /bin/bash /bin/nix-env /bin/nix-collect-garbage && mkdir -p /root /etc/ssl/certs && \
    printf 'PATH=$NIXPACKS_PATH:$PATH' >> /root/.profile
"#;

/// Makes the image `name` on the machine's engine, in a scope that removes it; `more` are further lines of its Dockerfile.
pub fn base(scope: &DockerScope, name: &str, more: &str) {
    let context = tempfile::tempdir().unwrap();
    let text = format!("FROM {}{BASE}{more}\n", base_image());
    std::fs::write(context.path().join("Dockerfile"), text).unwrap();
    run(docker()
        .args(["build", "--quiet", "--label", &scope.label(), "--tag", name])
        .arg(context.path()));
}
