//! The metadata that the lifecycle exported: an OCI manifest and configuration. Build code can have changed them. Pure.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde::Deserialize;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;
/// The most layers of an image.
const MOST_LAYERS: usize = 120;
/// The labels that are Davit's own.
const OWN_LABELS: &str = "dev.davit.";

/// An exported image.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The numbers of its layers, in order, without that of the run image.
    pub layers: Vec<usize>,
    /// Its variables but PATH.
    pub variables: Vec<(String, String)>,
    /// What stands before the PATH of the run image.
    pub path: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// Its working directory.
    pub directory: String,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Image {
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

impl Exported {
    /// Reads the archive of the stage with the metadata.
    ///
    /// # Errors
    /// A file is missing or invalid.
    pub fn read(archive: &[u8]) -> Result<Self, String> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut tar = tar::Archive::new(archive);
        for entry in tar.entries().map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let path = entry.path().map_err(|error| error.to_string())?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) else {
                continue;
            };
            let mut content = Vec::new();
            entry
                .take(LARGEST)
                .read_to_end(&mut content)
                .map_err(|error| error.to_string())?;
            files.insert(name, content);
        }
        let file = |name: &str| files.get(name).ok_or_else(|| format!("{name} is missing"));
        let manifest: Manifest = json(file("manifest.json")?, "manifest.json")?;
        let image: Image = json(file("config.json")?, "config.json")?;
        Self::new(manifest.layers.len(), image.config)
    }

    fn new(layers: usize, config: Config) -> Result<Self, String> {
        if layers > MOST_LAYERS {
            return Err(format!("it has {layers} layers"));
        }
        let mut variables = Vec::new();
        let mut path = Vec::new();
        for entry in config.env.unwrap_or_default() {
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            if name == "PATH" {
                // The lifecycle puts its own directories before the PATH of the run image.
                let own = value.split(':').filter(|part| part.starts_with("/cnb/"));
                path.extend(own.map(str::to_owned));
            } else {
                variables.push((name.to_owned(), value.to_owned()));
            }
        }
        let labels = config.labels.unwrap_or_default().into_iter();
        Ok(Self {
            // The first layer stands for the run image.
            layers: (2..=layers).collect(),
            variables,
            path,
            labels: labels.filter(|(name, _)| !name.starts_with(OWN_LABELS)).collect(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            directory: config
                .working_dir
                .filter(|dir| !dir.is_empty())
                .unwrap_or_else(|| "/".to_owned()),
        })
    }
}

fn json<T: for<'de> Deserialize<'de>>(content: &[u8], name: &str) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn image_is_read_and_labels_of_davit_are_left_out() {
        let config = r#"{"config": {"Env": ["PATH=/cnb/process:/cnb/lifecycle:/usr/bin", "CNB_LAYERS_DIR=/layers"],
            "Labels": {"io.buildpacks.lifecycle.metadata": "{}", "dev.davit.instance": "other"},
            "Entrypoint": ["/cnb/process/web"], "WorkingDir": "/workspace"}}"#;
        let read = |files: &[(&str, &str)]| Exported::read(&archive(files));
        let found = read(&[
            ("manifest.json", r#"{"layers": [{}, {}, {}]}"#),
            ("config.json", config),
        ])
        .unwrap();
        assert_eq!(found.layers, [2, 3]);
        assert_eq!(found.path, ["/cnb/process", "/cnb/lifecycle"]);
        assert_eq!(
            found.variables,
            [("CNB_LAYERS_DIR".to_owned(), "/layers".to_owned())]
        );
        assert_eq!(
            found.labels.keys().collect::<Vec<_>>(),
            ["io.buildpacks.lifecycle.metadata"]
        );
        assert_eq!(
            (found.entrypoint, found.directory),
            (vec!["/cnb/process/web".to_owned()], "/workspace".to_owned())
        );
        for files in [
            &[("config.json", config)][..],
            &[("manifest.json", "{"), ("config.json", config)],
            &[("manifest.json", r#"{"layers": []}"#)],
        ] {
            assert!(read(files).is_err());
        }
        assert!(Exported::read(b"no archive").is_err());
    }
}
