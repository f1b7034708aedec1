//! The arguments of a Traefik that Davit runs.

use std::collections::BTreeSet;

use super::traffic::BUCKETS;

/// How Traefik is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The directory of the dynamic configuration, in the container.
    pub directory: String,
    /// The directory that outlives the container, for certificates by ACME.
    pub data: String,
    /// The e-mail address of the ACME account; `None` if there is no resolver.
    pub acme_email: Option<String>,
    /// The directory URL of another CA than Let's Encrypt.
    pub acme_server: Option<String>,
    /// The port of HTTP in the container.
    pub http_port: u16,
    /// The port of HTTPS in the container.
    pub https_port: u16,
    /// The port of the API in the container.
    pub api_port: u16,
    /// The entry points: HTTP, HTTPS, API.
    pub entry_points: [String; 3],
    /// Whether Traefik writes an access log.
    pub access_log: bool,
    /// Further arguments of the user.
    pub arguments: Vec<String>,
}

/// The certificate resolver of a Traefik that Davit runs.
pub const RESOLVER: &str = "letsencrypt";

/// Returns the arguments.
pub fn launch(launch: &Launch) -> Vec<String> {
    let [http, https, api] = &launch.entry_points;
    let mut arguments = vec![
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
        format!("--providers.file.directory={}", launch.directory),
        "--providers.file.watch=true".to_owned(),
        // The default, 2 s, would be a part of each rollout.
        "--providers.providersthrottleduration=20ms".to_owned(),
        format!("--entrypoints.{http}.address=:{}", launch.http_port),
        format!("--entrypoints.{https}.address=:{}", launch.https_port),
        format!("--entrypoints.{api}.address=:{}", launch.api_port),
        // Uploads take longer than the default, a minute.
        format!("--entrypoints.{http}.transport.respondingtimeouts.readtimeout=15m"),
        format!("--entrypoints.{https}.transport.respondingtimeouts.readtimeout=15m"),
        "--api=true".to_owned(),
        "--api.dashboard=false".to_owned(),
        // Served to Davit alone, by a router of the dynamic configuration.
        "--metrics.prometheus=true".to_owned(),
        "--metrics.prometheus.manualrouting=true".to_owned(),
        "--metrics.prometheus.addentrypointslabels=false".to_owned(),
        // The metrics of routers have the requests too that Traefik answers itself, such as with 401 or 429.
        "--metrics.prometheus.addrouterslabels=true".to_owned(),
        "--metrics.prometheus.addserviceslabels=false".to_owned(),
        format!("--metrics.prometheus.buckets={BUCKETS}"),
    ];
    if launch.access_log {
        arguments.push("--accesslog=true".to_owned());
        arguments.push("--accesslog.format=json".to_owned());
    }
    if let Some(email) = &launch.acme_email {
        let acme = format!("--certificatesresolvers.{RESOLVER}.acme");
        arguments.push(format!("{acme}.email={email}"));
        arguments.push(format!("{acme}.storage={}/acme.json", launch.data));
        arguments.push(format!("{acme}.httpchallenge.entrypoint={http}"));
        if let Some(server) = &launch.acme_server {
            arguments.push(format!("{acme}.caserver={server}"));
        }
    }
    arguments.extend(launch.arguments.iter().cloned());
    arguments
}

/// Returns the names of the certificate resolvers that arguments make, in lower case as Traefik keeps them.
pub fn resolvers(arguments: &[String]) -> BTreeSet<String> {
    let lower = arguments.iter().map(|argument| argument.to_ascii_lowercase());
    let names = lower.filter_map(|argument| {
        let rest = argument
            .trim_start_matches('-')
            .strip_prefix("certificatesresolvers.")?;
        Some(rest.split(['.', '=']).next()?.to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_come_from_the_arguments() {
        let arguments = [
            "--certificatesresolvers.letsencrypt.acme.email=a@example.com",
            "--certificatesResolvers.DNS.acme.dnschallenge=true",
            "--log.level=DEBUG",
        ];
        let names = resolvers(&arguments.map(str::to_owned));
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["dns", "letsencrypt"]);
    }

    #[test]
    fn resolver_exists_only_with_an_address_for_its_account() {
        let base = Launch {
            directory: "/etc/traefik/dynamic".to_owned(),
            data: "/data".to_owned(),
            acme_email: None,
            acme_server: Some("https://ca.example.com/dir".to_owned()),
            http_port: 80,
            https_port: 443,
            api_port: 8099,
            entry_points: ["web", "websecure", "davit"].map(str::to_owned),
            access_log: false,
            arguments: vec!["--log.level=DEBUG".to_owned()],
        };
        let without = launch(&base).join(" ");
        assert!(
            !without.contains("acme") && without.ends_with("--log.level=DEBUG"),
            "{without}"
        );
        assert!(!without.contains("accesslog"));
        assert!(without.contains("--metrics.prometheus.addrouterslabels=true"));
        let with = launch(&Launch {
            access_log: true,
            acme_email: Some("a@example.com".to_owned()),
            ..base
        })
        .join(" ");
        for part in [
            "--certificatesresolvers.letsencrypt.acme.email=a@example.com",
            "--certificatesresolvers.letsencrypt.acme.storage=/data/acme.json",
            "--certificatesresolvers.letsencrypt.acme.httpchallenge.entrypoint=web",
            "--certificatesresolvers.letsencrypt.acme.caserver=https://ca.example.com/dir",
            "--accesslog.format=json",
        ] {
            assert!(with.contains(part), "{part}: {with}");
        }
    }
}
