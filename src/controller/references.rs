//! The Secrets and ConfigMaps to which an Application refers.

use crate::api::ApplicationSpec;

/// The names of the Secrets and ConfigMaps that a spec refers to in its own namespace.
pub fn references(spec: &ApplicationSpec) -> (Vec<&str>, Vec<&str>) {
    let (mut secrets, mut maps) = (Vec::new(), Vec::new());
    let build = spec.build.as_ref();
    let variables = spec.env.iter().chain(
        build
            .iter()
            .flat_map(|build| build.args.iter().chain(&build.secrets)),
    );
    for from in variables.filter_map(|variable| variable.value_from.as_ref()) {
        secrets.extend(
            from.secret_key_ref
                .iter()
                .map(|reference| reference.name.as_str()),
        );
        maps.extend(
            from.config_map_key_ref
                .iter()
                .map(|reference| reference.name.as_str()),
        );
    }
    for from in &spec.env_from {
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.as_str()));
        maps.extend(
            from.config_map_ref
                .iter()
                .map(|reference| reference.name.as_str()),
        );
    }
    for volume in &spec.volumes {
        secrets.extend(volume.secret.iter().map(|reference| reference.name.as_str()));
        maps.extend(volume.config_map.iter().map(|reference| reference.name.as_str()));
    }
    let pull = build.and_then(|build| build.pull_secret_ref.as_ref());
    let push = spec
        .image
        .as_ref()
        .and_then(|image| image.push_secret_ref.as_ref());
    secrets.extend(
        pull.into_iter()
            .chain(push)
            .map(|reference| reference.name.as_str()),
    );
    for route in &spec.routes {
        let tls = route.tls.as_ref().and_then(|tls| tls.secret_ref.as_ref());
        let auth = route.basic_auth_secret_ref.as_ref();
        secrets.extend(
            tls.into_iter()
                .chain(auth)
                .map(|reference| reference.name.as_str()),
        );
    }
    if let Some(source) = &spec.source {
        let git = source.git.as_ref().and_then(|git| git.secret_ref.as_ref());
        let docker = source
            .docker
            .as_ref()
            .and_then(|docker| docker.pull_secret_ref.as_ref());
        secrets.extend(
            git.into_iter()
                .chain(docker)
                .map(|reference| reference.name.as_str()),
        );
    }
    let webhook = spec.trigger.as_ref().and_then(|trigger| trigger.webhook.as_ref());
    secrets.extend(webhook.map(|webhook| webhook.secret_ref.name.as_str()));
    (secrets, maps)
}
