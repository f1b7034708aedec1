//! The credentials of registries, and which of them an image is pulled with. Pure.

use std::collections::BTreeMap;

use super::name::ImageName;
use crate::model::RegistryLogin;
use crate::redact::Secret;

/// Credentials by place: a registry's host, or a host and the beginning of a path. `*` and `?` in a part of the host match
/// any characters of that part, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryLogins {
    by_place: BTreeMap<String, RegistryLogin>,
    everywhere: Option<RegistryLogin>,
}

impl RegistryLogins {
    /// Credentials by place, each place in the form of [`place`].
    pub fn new(by_place: BTreeMap<String, RegistryLogin>) -> Self {
        Self {
            by_place,
            everywhere: None,
        }
    }

    /// One credential for any registry.
    pub fn everywhere(login: RegistryLogin) -> Self {
        Self {
            by_place: BTreeMap::new(),
            everywhere: Some(login),
        }
    }

    /// True if no credential names its registry.
    pub fn names_none(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Every value that no log may show.
    pub fn secrets(&self) -> Vec<Secret> {
        let all = self.by_place.values().chain(&self.everywhere);
        all.flat_map(RegistryLogin::secrets).collect()
    }

    /// The credential for a repository of a registry, such as `docker.io` and `library/nginx`: the one with the longest
    /// path that fits, a host without pattern before one with.
    pub fn find(&self, registry: &str, repository: &str) -> Option<&RegistryLogin> {
        let host = registry_name(registry);
        let fitting = self.by_place.iter().filter_map(|(key, login)| {
            let (of, path) = key.split_once('/').unwrap_or((key, ""));
            let fits = host_matches(of, &host) && is_beneath(repository, path);
            fits.then_some(((path.len(), !is_pattern(of), of.len()), login))
        });
        fitting
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, login)| login)
            .or(self.everywhere.as_ref())
    }

    /// The credentials of one build. BuildKit takes one for each host and does not tell for which repository, so those of
    /// the images that the build names decide.
    ///
    /// # Errors
    /// Two of the images need different credentials of one host: the sentence that says so.
    pub fn for_build(&self, images: &[ImageName]) -> Result<HostLogins, String> {
        let mut chosen: BTreeMap<String, (&str, &RegistryLogin)> = BTreeMap::new();
        for image in images {
            let host = registry_name(image.registry());
            let Some(login) = self.find(&host, image.repository()) else {
                continue;
            };
            match chosen.get(&host) {
                Some((other, known)) if *known != login => {
                    return Err(format!(
                        "{other} and {} need different credentials of {host}, and BuildKit takes one for each registry: \
                         use an account that may pull both",
                        image.repository()
                    ));
                }
                Some(_) => {}
                None => {
                    chosen.insert(host, (image.repository(), login));
                }
            }
        }
        Ok(HostLogins {
            chosen: chosen
                .into_iter()
                .map(|(host, (_, login))| (host, login.clone()))
                .collect(),
            all: self.clone(),
        })
    }
}

/// One credential for each host.
#[derive(Clone, Debug, Default)]
pub struct HostLogins {
    chosen: BTreeMap<String, RegistryLogin>,
    all: RegistryLogins,
}

impl HostLogins {
    /// The same with the credential that `image` is pushed with.
    ///
    /// # Errors
    /// A base image needs another credential of the same host: the sentence that says so.
    pub fn pushing(mut self, image: &ImageName, login: &RegistryLogin) -> Result<Self, String> {
        let host = registry_name(image.registry());
        match self.chosen.get(&host) {
            Some(other) if other != login => Err(format!(
                "a base image and the image that is pushed need different credentials of {host}, and BuildKit takes one for each \
                 registry: use an account that may do both"
            )),
            _ => {
                self.chosen.insert(host, login.clone());
                Ok(self)
            }
        }
    }

    /// The credential for a host, if there is one.
    pub fn get(&self, host: &str) -> Option<&RegistryLogin> {
        let host = host.trim_start_matches("https://").trim_start_matches("http://");
        let host = registry_name(host.split('/').next().unwrap_or(host));
        if let Some(chosen) = self.chosen.get(&host) {
            return Some(chosen);
        }
        // An image that a variable names: the credential of the host, or the only one for a part of it.
        self.all.find(&host, "").or_else(|| {
            let of_host = self
                .all
                .by_place
                .iter()
                .filter(|(key, _)| key.split_once('/').is_some_and(|(of, _)| host_matches(of, &host)));
            let mut logins = of_host.map(|(_, login)| login);
            let first = logins.next()?;
            logins.all(|other| other == first).then_some(first)
        })
    }
}

/// A key of a Docker configuration, such as `https://index.docker.io/v1/`, as the host, or host and path, that images are
/// named by.
pub fn place(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_matches('/');
    // `/v1/` and `/v2/` are the API's, not part of an image's name.
    let path = path
        .strip_prefix("v1/")
        .or_else(|| path.strip_prefix("v2/"))
        .unwrap_or(path);
    let host = registry_name(host);
    if matches!(path, "" | "v1" | "v2") {
        host
    } else {
        format!("{host}/{path}")
    }
}

/// The name by which images of a registry are known: Docker Hub has several.
pub fn registry_name(host: &str) -> String {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        _ => host.to_ascii_lowercase(),
    }
}

fn is_pattern(host: &str) -> bool {
    host.contains(['*', '?'])
}

fn is_beneath(repository: &str, path: &str) -> bool {
    repository
        .strip_prefix(path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// As the kubelet compares hosts: the same port, and part by part between the dots.
fn host_matches(pattern: &str, host: &str) -> bool {
    if !is_pattern(pattern) {
        return pattern == host;
    }
    let port = |text: &str| text.split_once(':').map(|(_, port)| port.to_owned());
    let parts = |text: &str| -> Vec<String> {
        let name = text.split(':').next().unwrap_or_default();
        name.split('.').map(str::to_owned).collect()
    };
    let (wanted, given) = (parts(pattern), parts(host));
    port(pattern) == port(host)
        && wanted.len() == given.len()
        && wanted
            .iter()
            .zip(&given)
            .all(|(pattern, part)| part_matches(pattern.as_bytes(), part.as_bytes()))
}

fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|at| {
            let left = text.get(at..).unwrap_or_default();
            part_matches(rest, left)
        }),
        (Some((b'?', rest)), Some((_, left))) => part_matches(rest, left),
        (Some((wanted, rest)), Some((given, left))) if wanted == given => part_matches(rest, left),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(places: &[(&str, &str)]) -> RegistryLogins {
        let by_place = places
            .iter()
            .map(|(key, user)| (place(key), RegistryLogin::basic(*user, "p")));
        RegistryLogins::new(by_place.collect())
    }

    fn user(login: Option<&RegistryLogin>) -> Option<&str> {
        match login {
            Some(RegistryLogin::Basic { username, .. }) => Some(username),
            _ => None,
        }
    }

    #[test]
    fn credential_with_the_longest_place_is_found() {
        let all = logins(&[
            ("https://index.docker.io/v1/", "hub"),
            ("*.example.com", "any"),
            ("r.example.com", "host"),
            ("r.example.com/team", "team"),
            ("*.example.com/team/shop", "shop"),
            ("*.dkr.*.amazonaws.com:443", "ecr"),
            ("re?istry.example", "one"),
        ]);
        for (registry, repository, expected) in [
            ("docker.io", "library/nginx", Some("hub")),
            ("registry-1.docker.io", "a/b", Some("hub")),
            ("q.example.com", "team/a", Some("any")),
            ("r.example.com", "other", Some("host")),
            ("r.example.com", "team/a", Some("team")),
            ("r.example.com", "teams/a", Some("host")),
            ("r.example.com", "team/shop", Some("shop")),
            ("r.example.com:5000", "team/shop", None),
            ("a.b.example.com", "x", None),
            ("example.com", "x", None),
            ("1.dkr.eu.amazonaws.com:443", "x", Some("ecr")),
            ("1.dkr.eu.amazonaws.com", "x", None),
            ("registry.example", "x", Some("one")),
            ("evil-docker.io", "library/nginx", None),
        ] {
            assert_eq!(
                user(all.find(registry, repository)),
                expected,
                "{registry}/{repository}"
            );
        }
        let any = RegistryLogins::everywhere(RegistryLogin::basic("u", "p"));
        assert_eq!(user(any.find("r.example", "a")), Some("u"));
        assert!(any.names_none() && !all.names_none());
    }

    #[test]
    fn build_gets_the_credential_of_the_images_that_it_names() {
        let all = logins(&[
            ("r.example/one", "one"),
            ("r.example/two", "two"),
            ("q.example/a", "q"),
        ]);
        let images = |names: &[&str]| -> Vec<ImageName> {
            names.iter().map(|name| ImageName::parse(name).unwrap()).collect()
        };
        let chosen = all.for_build(&images(&["r.example/two/x:1", "nginx"])).unwrap();
        assert_eq!(user(chosen.get("r.example")), Some("two"));
        assert_eq!(
            user(chosen.get("https://q.example/v2/")),
            Some("q"),
            "the only one"
        );
        assert_eq!(user(chosen.get("docker.io")), None);
        // Several that differ, of which a variable hides the one that is meant.
        assert_eq!(user(all.for_build(&[]).unwrap().get("r.example")), None);
        let login = RegistryLogin::basic("pusher", "p");
        let pushed = ImageName::parse("r.example/out:1").unwrap();
        let both = chosen.clone().pushing(&pushed, &login);
        assert!(both.unwrap_err().contains("different credentials of r.example"));
        let free = all
            .for_build(&images(&["nginx"]))
            .unwrap()
            .pushing(&pushed, &login);
        assert_eq!(user(free.unwrap().get("r.example")), Some("pusher"));
        let why = all.for_build(&images(&["r.example/one/x", "r.example/two/x"]));
        assert!(
            why.unwrap_err()
                .contains("one/x and two/x need different credentials of r.example")
        );
    }
}
