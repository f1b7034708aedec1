//! Puts files as they are behind a web server: Davit's own, or one that the user names. With its own, nothing is pulled
//! from anywhere: the image is `FROM scratch`.

use std::collections::BTreeMap;

use super::buildkit::{Generated, Output, SolveRequest, Tree, Trees};
use super::contract::{BuildRequest, Published};
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

/// The name of the server in the build context of another build type, where hidden names are never served.
const BESIDE: &str = ".davit-static-server";
/// The stage of a site on top of another build.
const STAGE: &str = "davit-published";
/// What logs and messages show in place of the steps of that stage.
const STEP: &str = "[publish] ";

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
            (own(site, PROGRAM, &format!("COPY {SITE} /srv"))?, context)
        }
        Some(image) => (other(image, site, "COPY [\".\", ")?, Tree::site(published, "")),
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

/// Puts a site on top of a build: its image has a directory of `stage`, a relative one beneath `base`.
///
/// # Errors
/// The fields do not fit together.
pub fn publish(
    solve: &mut SolveRequest,
    stage: &str,
    base: &str,
    Published { field, site }: &Published,
) -> Result<(), BuildError> {
    let directory = &site.publish_directory;
    if directory.split('/').any(|part| part == "..") || directory.chars().any(char::is_control) {
        let why = format!("{directory:?} is no directory of the image");
        return Err(BuildError::NotSupported { field, why });
    }
    let trimmed = directory.trim_start_matches("./").trim_end_matches('/');
    let from = match trimmed {
        "" if directory.starts_with('/') => "/".to_owned(),
        "" | "." => format!("{base}/"),
        absolute if absolute.starts_with('/') => format!("{absolute}/"),
        relative => format!("{}/{relative}/", base.trim_end_matches('/')),
    };
    let word = |path: &str| serde_json::Value::from(path.replace('$', "\\$"));
    let copy = format!("COPY --from={stage} [{}, ", word(&from));
    let text = match &site.image {
        None => {
            let context = solve.trees.remove("context").unwrap_or_default();
            solve.trees.insert("context".to_owned(), beside(context, site));
            own(site, BESIDE, &format!("{copy}\"/srv/\"]"))?
        }
        Some(image) => {
            solve.images.extend(ImageName::parse(image));
            other(image, site, &copy)?
        }
    };
    let text = text.replacen('\n', &format!(" AS {STAGE}\n"), 1);
    if let Some(tree) = solve.trees.get_mut("dockerfile") {
        tree.append(&solve.dockerfile, &text);
    }
    solve.target = Some(STAGE.to_owned());
    solve.names.push((STAGE, format!("{STEP}{directory}")));
    Ok(())
}

/// The build context with the server that a site on top needs. Each of several builds that share their steps needs it.
pub fn beside(context: Tree, site: &StaticSite) -> Tree {
    match site.image {
        None => context.with(BESIDE, Generated::Program(SERVER)),
        Some(_) => context,
    }
}

/// The error of a build with a site on top: a directory that does not exist has a reason of its own.
pub fn explain(error: BuildError, published: Option<&Published>) -> BuildError {
    match (error, published) {
        (BuildError::Failed(said), Some(Published { field, site }))
            if said.starts_with(STEP) && (said.contains("not found") || said.contains("no such file")) =>
        {
            BuildError::NotPublished {
                field,
                path: site.publish_directory.clone(),
            }
        }
        (error, _) => error,
    }
}

/// An image of the server and the files. The server is a layer of its own, which all sites share.
fn own(site: &StaticSite, program: &str, copy: &str) -> Result<String, BuildError> {
    if site.image_path.is_some() {
        return Err(BuildError::NotSupported {
            field: IMAGE_PATH,
            why: "it has a meaning only together with image".to_owned(),
        });
    }
    let spa = if site.spa { r#", "--spa""# } else { "" };
    Ok(format!(
        "FROM scratch\nCOPY {program} /{PROGRAM}\nUSER 65532:65532\n{copy}\nEXPOSE 8080\n\
         CMD [\"/{PROGRAM}\", \"--root\", \"/srv\", \"--listen\", \"0.0.0.0:8080\"{spa}]\n"
    ))
}

fn other(image: &str, site: &StaticSite, copy: &str) -> Result<String, BuildError> {
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
    Ok(format!("FROM {image}\n{copy}{target}]\n"))
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
            None => own(site, PROGRAM, "COPY site /srv"),
            Some(image) => other(image, site, "COPY [\".\", "),
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
