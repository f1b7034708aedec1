//! Puts files as they are behind a web server: Davit's own ([`crate::static_server`]), or one that the user names.
//! For its own, nothing is pulled from anywhere: the image is the running program and the files.

use std::collections::BTreeMap;

use super::build_options::Plan;
use super::context::{Made, Tree};
use super::filesync::Trees;
use super::paths::Root;
use super::{BuildError, BuildRequest};
use crate::api::{Reason, StaticSite};

const PUBLISH: &str = "spec.build.static.publishDirectory";
const IMAGE: &str = "spec.build.static.image";
const IMAGE_PATH: &str = "spec.build.static.imagePath";
const SPA: &str = "spec.build.static.spa";

/// Where web servers' images usually have their files.
const USUAL_PATH: &str = "/usr/share/nginx/html";

/// The image to serve with, and the site on top.
///
/// # Errors
/// The directory is not there or lies outside of the checkout, or the fields do not fit together. `own_server` is the
/// image with Davit's own server; it is used where the site names none.
pub fn plan(
    root: &Root,
    site: &StaticSite,
    request: &BuildRequest,
    own_server: &str,
) -> Result<Plan, BuildError> {
    // Of a type that was given, admission says the same.
    let given = [
        ("spec.build.args", request.args.is_empty()),
        ("spec.build.secrets", request.secrets.is_empty()),
    ];
    if let Some((field, _)) = given.into_iter().find(|(_, empty)| !empty) {
        let why = "there is no Dockerfile, so this is a static site, which runs no build steps".to_owned();
        return Err(BuildError::NotSupported { field, why });
    }
    let published = root.directory(PUBLISH, &site.publish_directory, Reason::PublishDirectoryNotFound)?;
    let text = match &site.image {
        None => own(own_server, site)?,
        Some(image) => other(image, site)?,
    };
    let trees = Trees::from([
        ("dockerfile".to_owned(), dockerfile(text)),
        ("context".to_owned(), Tree::site(published)),
    ]);
    Ok(Plan {
        trees,
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
    })
}

/// An image with nothing but Davit's program, which serves without any privilege.
pub fn server(program: std::fs::File) -> Plan {
    let files = BTreeMap::from([("davit".to_owned(), Made::Program(std::sync::Arc::new(program)))]);
    let text = "FROM scratch\nCOPY davit /davit\nUSER 65532:65532\n".to_owned();
    Plan {
        trees: Trees::from([
            ("dockerfile".to_owned(), dockerfile(text)),
            ("context".to_owned(), Tree::Made(files)),
        ]),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

fn own(server: &str, site: &StaticSite) -> Result<String, BuildError> {
    if site.image_path.is_some() {
        return Err(BuildError::NotSupported {
            field: IMAGE_PATH,
            why: "it has a meaning only together with image".to_owned(),
        });
    }
    let spa = if site.spa { r#", "--spa""# } else { "" };
    Ok(format!(
        "FROM {server}\nCOPY . /srv\nEXPOSE 8080\nCMD [\"/davit\", \"static-server\", \"--root\", \"/srv\", \
         \"--listen\", \"0.0.0.0:8080\"{spa}]\n"
    ))
}

fn other(image: &str, site: &StaticSite) -> Result<String, BuildError> {
    if site.spa {
        let why = "only Davit's own server does it: configure your image's server instead".to_owned();
        return Err(BuildError::NotSupported { field: SPA, why });
    }
    let path = site.image_path.as_deref().unwrap_or(USUAL_PATH);
    for (field, value) in [(IMAGE, image), (IMAGE_PATH, path)] {
        if value.contains(|char: char| char.is_whitespace() || char.is_control()) || value.starts_with('-') {
            return Err(BuildError::NotSupported {
                field,
                why: format!("{value:?} is no name that can be used"),
            });
        }
    }
    // The exec form takes any path; `$` would begin a variable.
    let target = serde_json::Value::from(format!("{}/", path.trim_end_matches('/').replace('$', "\\$")));
    Ok(format!("FROM {image}\nCOPY [\".\", {target}]\n"))
}

fn dockerfile(text: String) -> Tree {
    Tree::Made(BTreeMap::from([(
        "Dockerfile".to_owned(),
        Made::Text(text.into_bytes()),
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_become_instructions_or_are_refused() {
        let site = |image: Option<&str>, path: Option<&str>, spa| StaticSite {
            image: image.map(str::to_owned),
            image_path: path.map(str::to_owned),
            spa,
            ..StaticSite::default()
        };
        let text = |site: &StaticSite| match &site.image {
            None => own("davit-static:1", site),
            Some(image) => other(image, site),
        };
        let spa = text(&site(None, None, true)).unwrap();
        assert!(
            spa.starts_with("FROM davit-static:1\nCOPY . /srv\n") && spa.contains(r#""--spa"]"#),
            "{spa}"
        );
        assert!(!text(&site(None, None, false)).unwrap().contains("spa"));
        let nginx = text(&site(Some("nginx:1"), None, false)).unwrap();
        assert_eq!(nginx, "FROM nginx:1\nCOPY [\".\", \"/usr/share/nginx/html/\"]\n");
        assert!(
            text(&site(Some("nginx:1"), Some("/a\"$b/"), false))
                .unwrap()
                .ends_with("\"/a\\\"\\\\$b/\"]\n")
        );
        for refused in [
            site(None, Some("/x"), false),
            site(Some("nginx"), None, true),
            site(Some("nginx\nRUN x"), None, false),
            site(Some("nginx"), Some("/x y"), false),
            site(Some("--platform=x"), None, false),
        ] {
            assert!(text(&refused).is_err(), "{refused:?}");
        }
    }
}
