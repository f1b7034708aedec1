//! Puts files as they are behind a web server: Davit's own, or one that the user names. With its own, nothing is pulled
//! from anywhere: the image is `FROM scratch`.

use std::collections::BTreeMap;

use super::buildkit::{Generated, Output, SolveRequest, Tree, Trees};
use super::contract::BuildRequest;
use super::error::BuildError;
use super::paths::Root;
use crate::api::{Reason, StaticSite};
use crate::image::ImageName;

const PUBLISH: &str = "spec.build.static.publishDirectory";
const IMAGE: &str = "spec.build.static.image";
const IMAGE_PATH: &str = "spec.build.static.imagePath";
const SPA: &str = "spec.build.static.spa";

/// The name of the server in the image and in the build context.
const PROGRAM: &str = "davit-static-server";
/// The directory of the build context that holds the published files.
const SITE: &str = "site";

/// Where web servers' images usually have their files.
const USUAL_PATH: &str = "/usr/share/nginx/html";

/// Davit's own web server: a static executable of `crates/davit-static-server`, embedded by build.rs.
static SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/davit-static-server"));

/// The build of a site: the files, and the web server that they are served by.
///
/// # Errors
/// The directory is not there or lies outside of the checkout, or the fields do not fit together.
pub fn plan(root: &Root, site: &StaticSite, request: &BuildRequest) -> Result<SolveRequest, BuildError> {
    // Of a type that was given, admission says the same.
    let given = [
        ("spec.build.args", request.args.is_empty()),
        ("spec.build.secrets", request.secrets.is_empty()),
        ("spec.build.envFile", request.env_file.is_none()),
    ];
    if let Some((field, _)) = given.into_iter().find(|(_, empty)| !empty) {
        let why = "there is no Dockerfile, so this is a static site, which runs no build steps".to_owned();
        return Err(BuildError::NotSupported { field, why });
    }
    let published = root.directory(PUBLISH, &site.publish_directory, Reason::PublishDirectoryNotFound)?;
    let (text, context) = match &site.image {
        None => {
            let context = Tree::site(published, SITE).with(PROGRAM, Generated::Program(SERVER));
            (own(site)?, context)
        }
        Some(image) => (other(image, site)?, Tree::site(published, "")),
    };
    let dockerfile = Tree::default().with("Dockerfile", Generated::Text(text.into_bytes()));
    Ok(SolveRequest {
        trees: Trees::from([
            ("dockerfile".to_owned(), dockerfile),
            ("context".to_owned(), context),
        ]),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        images: site
            .image
            .iter()
            .filter_map(|image| ImageName::parse(image).ok())
            .collect(),
        output: Output::Image,
        names: Vec::new(),
    })
}

/// An image of the server and the files. The server is a layer of its own, which all sites share.
fn own(site: &StaticSite) -> Result<String, BuildError> {
    if site.image_path.is_some() {
        return Err(BuildError::NotSupported {
            field: IMAGE_PATH,
            why: "it has a meaning only together with image".to_owned(),
        });
    }
    let spa = if site.spa { r#", "--spa""# } else { "" };
    Ok(format!(
        "FROM scratch\nCOPY {PROGRAM} /{PROGRAM}\nUSER 65532:65532\nCOPY {SITE} /srv\nEXPOSE 8080\n\
         CMD [\"/{PROGRAM}\", \"--root\", \"/srv\", \"--listen\", \"0.0.0.0:8080\"{spa}]\n"
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
            None => own(site),
            Some(image) => other(image, site),
        };
        let spa = text(&site(None, None, true)).unwrap();
        assert!(
            spa.starts_with("FROM scratch\n")
                && spa.contains("COPY site /srv\n")
                && spa.contains(r#""--spa"]"#),
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
