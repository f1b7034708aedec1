//! Labels and names: how Davit finds its own things again, and only its own.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::model::AppId;
use crate::runtime::Deployment;

/// Which Davit made it.
pub const INSTANCE: &str = "dev.davit.instance";
/// Which installation made it: several that were given the same name must not touch what the others made.
pub const INSTALLATION: &str = "dev.davit.installation";
/// The names of the variables whose value is a secret.
pub const SECRET_ENV: &str = "dev.davit.secret-env";
/// There where some of its files are secrets.
pub const SECRET_FILES: &str = "dev.davit.secret-files";
/// The Application's namespace.
pub const NAMESPACE: &str = "dev.davit.namespace";
/// The Application's name.
pub const APPLICATION: &str = "dev.davit.application";
/// The Application's UID.
pub const UID: &str = "dev.davit.uid";
/// The Release that asked for it first.
pub const RELEASE: &str = "dev.davit.release";
/// [`Deployment::hash`].
pub const CONFIG: &str = "dev.davit.config";
/// The check that we make ourselves, as JSON: it must be found again without the deployment after a restart of Davit.
pub const HEALTH: &str = "dev.davit.health";
/// What it is for, where it is not a replica.
pub const ROLE: &str = "dev.davit.role";
/// [`ROLE`] of what carries the files of Secrets and ConfigMaps.
pub const ROLE_FILES: &str = "files";
/// [`ROLE`] of the reverse proxy, its network and its volume.
pub const ROLE_PROXY: &str = "proxy";
/// [`ROLE`] of a volume that outlives containers.
pub const ROLE_VOLUME: &str = "volume";
/// What a container's name ends in while it is stopped and kept.
pub const KEPT: &str = "-kept";

/// How much of the instance is in every name; a longer one is in them as a hash.
const SHORT_INSTANCE: usize = 12;
/// The longest name of a Swarm service, in bytes.
const LONGEST_SERVICE: usize = 63;
/// The longest name, in bytes; volumes are directories, containers are host names to some tools.
const LONGEST: usize = 128;

/// Names and labels of one installation.
#[derive(Clone, Debug)]
pub struct Names {
    instance: String,
    installation: String,
    prefix: String,
}

impl Names {
    /// Those of the Davit of this name; empty: the only one of the engine. `installation` sets those of one name apart;
    /// empty: there is only one.
    pub fn new(instance: &str, installation: &str) -> Self {
        let mut short: String = instance.chars().filter(char::is_ascii_alphanumeric).collect();
        if short.len() > SHORT_INSTANCE {
            short = short_hash(instance.as_bytes());
            short.truncate(SHORT_INSTANCE);
        }
        let prefix = if short.is_empty() {
            "davit-".to_owned()
        } else {
            format!("davit-{short}-")
        };
        Self {
            instance: instance.to_owned(),
            installation: installation.to_owned(),
            prefix,
        }
    }

    /// What is made with these labels bears them, and says whose it is.
    pub fn made(&self, mut labels: HashMap<String, String>) -> HashMap<String, String> {
        if !self.installation.is_empty() {
            labels.insert(INSTALLATION.to_owned(), self.installation.clone());
        }
        labels
    }

    /// The other installation of the same name that made what bears these labels.
    pub fn of_another<'a>(&self, labels: &'a HashMap<String, String>) -> Option<&'a str> {
        let made_by = labels.get(INSTALLATION)?;
        let same_name = labels.get(INSTANCE) == Some(&self.instance);
        (same_name && !self.installation.is_empty() && *made_by != self.installation).then_some(made_by)
    }

    /// What everything of this installation bears.
    pub fn instance_label(&self) -> String {
        format!("{INSTANCE}={}", self.instance)
    }

    /// True where the labels say that this installation made it. One that says no installation is of before there was that
    /// label.
    pub fn ours(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(INSTANCE) == Some(&self.instance) && self.of_another(labels).is_none()
    }

    /// The labels of a thing that belongs to no namespace.
    pub fn instance_labels(&self) -> HashMap<String, String> {
        HashMap::from([(INSTANCE.to_owned(), self.instance.clone())])
    }

    /// The labels that all things of a namespace bear; to look for them, and with [`Names::made`] to make them.
    pub fn namespace_labels(&self, namespace: &str) -> HashMap<String, String> {
        [(INSTANCE, self.instance.as_str()), (NAMESPACE, namespace)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The labels that all things of an Application bear.
    pub fn app_labels(&self, app: &AppId) -> HashMap<String, String> {
        let mut labels = self.namespace_labels(&app.namespace);
        labels.insert(APPLICATION.to_owned(), app.name.clone());
        labels
    }

    /// The labels that all things of one deployment bear.
    pub fn deployment_labels(&self, deployment: &Deployment) -> HashMap<String, String> {
        let mut labels = self.app_labels(&deployment.identity.app);
        for (key, value) in [
            (UID, &deployment.identity.uid),
            (RELEASE, &deployment.identity.release),
            (CONFIG, &deployment.identity.hash),
        ] {
            labels.insert(key.to_owned(), value.clone());
        }
        labels
    }

    /// A query for things with these labels.
    pub fn query(labels: &HashMap<String, String>) -> HashMap<String, Vec<String>> {
        let pairs = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        HashMap::from([("label".to_owned(), pairs)])
    }

    /// A container's name without its number. The hash is keyed over the whole deployment, so no two Applications share
    /// one, whatever the hyphens in their names.
    fn stem(&self, deployment: &Deployment) -> String {
        let hash: String = deployment
            .identity
            .hash
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(8)
            .collect();
        let AppId { namespace, name } = &deployment.identity.app;
        let mut stem = format!("{}{namespace}-{name}", self.prefix);
        stem.truncate(LONGEST - 24);
        format!("{stem}-{hash}-")
    }

    /// The name of the replica with this number.
    pub fn container(&self, deployment: &Deployment, index: u32) -> String {
        format!("{}{index}", self.stem(deployment))
    }

    /// The number in a replica's name, where it bears the deployment's hash.
    pub fn index(&self, deployment: &Deployment, name: &str) -> Option<u32> {
        name.strip_prefix(&self.stem(deployment))?
            .trim_end_matches(KEPT)
            .parse()
            .ok()
    }

    /// The Swarm service of an Application. `_` cannot be in a Kubernetes name, so no two Applications share a service.
    pub fn service(&self, app: &AppId) -> String {
        let name = format!("{}{}_{}", self.prefix, app.namespace, app.name);
        if name.len() <= LONGEST_SERVICE {
            return name;
        }
        let hash = short_hash(name.as_bytes());
        format!("{}{hash}", self.prefix)
    }

    /// A Swarm config or secret with this digest.
    pub fn file(&self, digest: &str) -> String {
        format!("{}{digest}", self.prefix)
    }

    /// The namespace's network.
    pub fn network(&self, namespace: &str) -> String {
        format!("{}{namespace}", self.prefix)
    }

    /// A name for the namespace's network while networks that cannot be removed have the names before it. `_` cannot be in
    /// the name of a namespace, so no other namespace has such a network.
    pub fn network_numbered(&self, namespace: &str, number: u32) -> String {
        match number {
            0 => self.network(namespace),
            _ => format!("{}_{number}", self.network(namespace)),
        }
    }

    /// The reverse proxy, and its network. `-` comes before everything that a namespace begins with, so of all networks of the
    /// proxy this one is the first by name.
    pub fn proxy(&self) -> String {
        format!("{}-proxy", self.prefix)
    }

    /// Whether this is one of the names of the namespace's network.
    pub fn is_network(&self, namespace: &str, name: &str) -> bool {
        let rest = name.strip_prefix(&self.network(namespace));
        rest.is_some_and(|rest| {
            let number = rest.strip_prefix('_').map(str::parse::<u32>);
            rest.is_empty() || matches!(number, Some(Ok(_)))
        })
    }

    /// The name of a network that is there only for a moment, so that the engine picks a subnet.
    pub fn subnet_probe(&self, number: u32) -> String {
        format!("{}_subnet{number}", self.prefix)
    }

    /// Whether a network of this name may be one of ours; its labels would say for certain.
    pub fn may_be_network(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    /// A volume that outlives containers. `_` cannot be in a Kubernetes name, so no two Applications share a volume,
    /// whatever the hyphens in their names.
    pub fn volume(&self, app: &AppId, mount: &str) -> String {
        bounded(format!("{}{}_{}_{mount}", self.prefix, app.namespace, app.name))
    }

    /// The volume that holds one mount's files for the containers of one hash.
    pub fn files(&self, deployment: &Deployment, mount: &str) -> String {
        bounded(format!("{}files_{mount}", self.stem(deployment)))
    }
}

/// The Application that a thing with these labels belongs to.
pub fn app_of(labels: &HashMap<String, String>) -> Option<AppId> {
    Some(AppId::new(labels.get(NAMESPACE)?, labels.get(APPLICATION)?))
}

/// Describes another installation of the same instance name, and the solution.
pub fn another(installation: &str) -> String {
    format!(
        "another Davit with the same --instance: start one of the two with another one, or remove the containers of one that \
         is no more (they have the label {INSTALLATION}={installation})"
    )
}

/// Sixteen digits that stand for the whole text.
fn short_hash(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:016x}")
}

/// The name, or where it is too long its beginning with a hash of the whole.
fn bounded(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let hash = short_hash(name.as_bytes());
    let mut cut = name;
    cut.truncate(LONGEST - 20);
    format!("{cut}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_things_differ_and_stay_short() {
        let names = Names::new("", "");
        assert_eq!(names.network("shop"), "davit-shop");
        assert_eq!(Names::new("0f3c-77", "").network("shop"), "davit-0f3c77-shop");
        for number in [0, 1, 12] {
            let name = names.network_numbered("shop", number);
            assert!(names.is_network("shop", &name), "{name}");
            assert!(
                !names.is_network("shop-1", &name) && !names.is_network("sho", &name),
                "{name}"
            );
        }
        assert!(
            !names.is_network("shop", "davit-shop-1") && !names.is_network("shop", &names.subnet_probe(0))
        );
        let one = names.volume(&AppId::new("a-b", "c"), "data");
        let two = names.volume(&AppId::new("a", "b-c"), "data");
        assert_ne!(one, two);
        assert_eq!(names.proxy(), "davit--proxy");
        assert!(names.proxy() < names.network("0") && !names.is_network("proxy", &names.proxy()));
        let long = "x".repeat(63);
        let one = names.volume(&AppId::new(long.clone(), long.clone()), &format!("{long}a"));
        let two = names.volume(&AppId::new(long.clone(), long.clone()), &format!("{long}b"));
        assert_ne!(one, two);
        assert!(one.len() <= LONGEST && two.len() <= LONGEST);
    }

    #[test]
    fn installations_of_one_name_know_their_own() {
        let of = |instance, installation| Names::new(instance, installation);
        let made = |names: &Names| names.made(names.namespace_labels("shop"));
        let one = of("x", "1");
        assert!(one.ours(&made(&one)));
        assert_eq!(one.of_another(&made(&of("x", "2"))), Some("2"));
        assert!(!one.ours(&made(&of("x", "2"))));
        // Another name is no conflict, and what is older than the label is taken over.
        assert_eq!(one.of_another(&made(&of("y", "2"))), None);
        assert!(!one.ours(&made(&of("y", "1"))));
        assert!(one.ours(&made(&of("x", ""))));
    }
}
