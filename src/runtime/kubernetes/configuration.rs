//! The environment and files of one configuration as one immutable Secret, and the references to it. Pure.
//!
//! The keys of confidential values begin with `secret-`: so the values to mask are found again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::names;
use crate::redact::Secret;
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::{Deployment, MountSource, RuntimeError};

/// The beginning of the keys of confidential values.
const CONFIDENTIAL: &str = "secret-";
/// The most that the API server takes of a Secret, in bytes.
const LARGEST: usize = 1 << 20;
/// The longest key.
const LONGEST_KEY: usize = 253;

/// What a Pod template says of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// The content of the Secret by key.
    data: BTreeMap<String, Vec<u8>>,
    /// `env` of the container.
    pub env: Vec<Value>,
    /// `command` of the container.
    pub command: Vec<String>,
    /// `args` of the container.
    pub args: Vec<String>,
    /// `volumeMounts` of the container for files.
    pub mounts: Vec<Value>,
    /// `volumes` of the Pod for files.
    pub volumes: Vec<Value>,
}

impl Configuration {
    /// The configuration of a deployment.
    ///
    /// # Errors
    /// A command that is not text, or more content than a Secret may have.
    pub fn new(deployment: &Deployment) -> Result<Self, RuntimeError> {
        let mut it = Self::default();
        let secret = names::config_secret(&deployment.identity.app, &deployment.identity.hash);
        let spec = &deployment.spec;
        for (index, variable) in spec.env.iter().enumerate() {
            let key = it.add(
                &format!("env.{}", variable.name),
                &format!("env-{index}"),
                variable.confidential,
                variable.value.expose(),
            );
            it.env.push(from_secret(&variable.name, &secret, &key));
        }
        let hidden: Vec<&[u8]> = spec
            .env
            .iter()
            .filter(|variable| variable.confidential)
            .map(|variable| variable.value.expose())
            .filter(|value| !value.is_empty())
            .collect();
        for (list, field) in [(&spec.command, "command"), (&spec.args, "args")] {
            let mut words = Vec::new();
            for (index, word) in list.iter().enumerate() {
                words.push(it.word(word, &hidden, &secret, field, index)?);
            }
            if field == "command" {
                it.command = words;
            } else {
                it.args = words;
            }
        }
        for (number, mount) in spec.mounts.iter().enumerate() {
            if let MountSource::Files {
                files,
                mode,
                confidential,
            } = &mount.source
            {
                it.files(deployment, number, files, *mode, *confidential);
            }
        }
        let size: usize = it.data.values().map(Vec::len).sum();
        if size > LARGEST {
            return Err(RuntimeError::Rejected {
                message: format!(
                    "the environment and the files have {size} bytes, and a Secret at most {LARGEST}"
                ),
                fields: Some("spec.env, spec.envFrom and spec.volumes"),
            });
        }
        Ok(it)
    }

    /// Takes a value, and returns its key.
    fn add(&mut self, name: &str, otherwise: &str, confidential: bool, value: &[u8]) -> String {
        let prefix = if confidential { CONFIDENTIAL } else { "" };
        let mut key = format!("{prefix}{name}");
        if key.len() > LONGEST_KEY {
            key = format!("{prefix}{otherwise}");
        }
        self.data.insert(key.clone(), value.to_vec());
        key
    }

    /// A word of the command line. One with the value of a Secret becomes a reference to a variable: more users may read Pods
    /// than Secrets.
    fn word(
        &mut self,
        word: &Secret,
        hidden: &[&[u8]],
        secret: &str,
        field: &str,
        index: usize,
    ) -> Result<String, RuntimeError> {
        let text = word.expose_str().ok_or_else(|| RuntimeError::Rejected {
            message: "the value of a variable in it is not UTF-8 text".to_owned(),
            fields: Some(if field == "command" {
                "spec.command"
            } else {
                "spec.args"
            }),
        })?;
        let bytes = text.as_bytes();
        let is_hidden = hidden
            .iter()
            .any(|value| value.len() <= bytes.len() && bytes.windows(value.len()).any(|part| part == *value));
        if !is_hidden {
            // The kubelet replaces $(NAME) and reads $$ as $.
            return Ok(text.replace('$', "$$"));
        }
        let variable = format!("DAVIT_{}_{index}", field.to_uppercase());
        let name = format!("{field}-{index}");
        let key = self.add(&name, &name, true, bytes);
        self.env.push(from_secret(&variable, secret, &key));
        Ok(format!("$({variable})"))
    }

    /// Each file is mounted by itself, as on other runtimes, so that the directory keeps the other files of the image.
    fn files(
        &mut self,
        deployment: &Deployment,
        number: usize,
        files: &BTreeMap<String, Secret>,
        mode: u32,
        confidential: bool,
    ) {
        let Some(mount) = deployment.spec.mounts.get(number).filter(|_| !files.is_empty()) else {
            return;
        };
        let volume = format!("files-{number}");
        let mut items = Vec::new();
        for (index, (file, content)) in files.iter().enumerate() {
            let name = format!("file-{number}-{index}");
            let key = self.add(&name, &name, confidential, content.expose());
            items.push(json!({"key": key, "path": file}));
            self.mounts.push(json!({
                "name": volume,
                "mountPath": format!("{}/{file}", mount.path),
                "subPath": file,
                "readOnly": true,
            }));
        }
        let identity = &deployment.identity;
        self.volumes.push(json!({
            "name": volume,
            "secret": {
                "secretName": names::config_secret(&identity.app, &identity.hash),
                "defaultMode": mode,
                "items": items,
            },
        }));
    }

    /// The Secret; `None` if the configuration has neither environment nor files.
    pub fn secret(&self, deployment: &Deployment) -> Option<Value> {
        if self.data.is_empty() {
            return None;
        }
        let identity = &deployment.identity;
        let name = names::config_secret(&identity.app, &identity.hash);
        let data: BTreeMap<&str, String> = self
            .data
            .iter()
            .map(|(key, value)| (key.as_str(), STANDARD.encode(value)))
            .collect();
        Some(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": names::owned(identity, &name, &names::config_labels(identity)),
            "type": "Opaque",
            "immutable": true,
            "data": data,
        }))
    }
}

fn from_secret(variable: &str, secret: &str, key: &str) -> Value {
    json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}

/// The confidential values in the Secret of a configuration.
pub fn given(data: &BTreeMap<String, ByteString>) -> GivenSecrets {
    let confidential = data.iter().filter(|(key, _)| key.starts_with(CONFIDENTIAL));
    GivenSecrets {
        env: confidential
            .filter(|(_, value)| !value.0.is_empty())
            .map(|(_, value)| Secret::new(value.0.clone()))
            .collect(),
        files: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::deployment;
    use crate::runtime::{EnvVar, Mount};

    fn files(name: &str, confidential: bool) -> Mount {
        Mount {
            name: name.to_owned(),
            path: format!("/etc/{name}"),
            source: MountSource::Files {
                files: [("key".to_owned(), "content".into())].into(),
                mode: 0o400,
                confidential,
            },
            read_only: true,
        }
    }

    #[test]
    fn environment_and_files_are_references_to_one_immutable_secret() {
        let mut wanted = deployment("ns", "shop", "0123456789abcdef");
        wanted.spec.env = vec![
            EnvVar::plain("PORT", "80"),
            EnvVar::confidential("TOKEN", "hunter2"),
        ];
        wanted.spec.mounts = vec![files("conf", false), files("key", true)];
        let it = Configuration::new(&wanted).unwrap();
        let secret = it.secret(&wanted).unwrap();
        assert_eq!(secret["immutable"], true);
        assert_eq!(secret["metadata"]["name"], "shop-0123456789ab");
        let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["env.PORT", "file-0-0", "secret-env.TOKEN", "secret-file-1-0"]
        );
        assert_eq!(
            it.env[1],
            json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop-0123456789ab", "key": "secret-env.TOKEN"}}})
        );
        assert_eq!(
            it.mounts[0],
            json!({"name": "files-0", "mountPath": "/etc/conf/key", "subPath": "key", "readOnly": true})
        );
        assert_eq!(it.volumes[1]["secret"]["defaultMode"], 0o400);
        let data: BTreeMap<String, ByteString> = serde_json::from_value(secret["data"].clone()).unwrap();
        assert_eq!(given(&data).env, ["hunter2".into(), "content".into()]);
    }

    #[test]
    fn secret_in_the_command_line_is_a_reference() {
        let mut wanted = deployment("ns", "shop", "h1");
        wanted.spec.env = vec![EnvVar::confidential("TOKEN", "hunter2")];
        wanted.spec.command = vec!["sh".into()];
        wanted.spec.args = vec!["--price=$5".into(), "--token=hunter2".into()];
        let it = Configuration::new(&wanted).unwrap();
        assert_eq!(it.command, ["sh"]);
        assert_eq!(it.args, ["--price=$$5", "$(DAVIT_ARGS_1)"]);
        assert_eq!(it.env[1]["name"], "DAVIT_ARGS_1");
        let data = it.secret(&wanted).unwrap()["data"].clone();
        assert_eq!(data["secret-args-1"], STANDARD.encode("--token=hunter2"));
    }

    #[test]
    fn more_than_a_secret_holds_is_refused_with_the_fields() {
        let mut wanted = deployment("ns", "shop", "h1");
        assert_eq!(Configuration::new(&wanted).unwrap().secret(&wanted), None);
        wanted.spec.env = vec![EnvVar::plain("BIG", "x".repeat(LARGEST + 1).as_str())];
        let refused = Configuration::new(&wanted).unwrap_err();
        assert!(
            matches!(&refused, RuntimeError::Rejected { fields: Some(fields), .. } if fields.contains("spec.env")),
            "{refused}"
        );
    }
}
