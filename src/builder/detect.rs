//! Finds out how to build a source that does not say: an ordered list, the first that fits. Pure.

use super::contract::BuildType;
use crate::api::{Dockerfile, StaticSite};

/// Where the first page of a static site is looked for, in this order.
const SITES: [&str; 4] = [".", "public", "dist", "site"];

/// The type for a source of which `has_file` knows whether a file is there, relative to the source's path.
///
/// # Errors
/// None fits: what was looked for.
pub fn detect(has_file: impl Fn(&str) -> bool) -> Result<BuildType, String> {
    if has_file("Dockerfile") {
        return Ok(BuildType::Dockerfile(Dockerfile::default()));
    }
    for directory in SITES {
        if has_file(&page(directory)) {
            return Ok(BuildType::Static(StaticSite {
                publish_directory: directory.to_owned(),
                ..StaticSite::default()
            }));
        }
    }
    let pages: Vec<String> = SITES.iter().map(|directory| page(directory)).collect();
    Err(format!(
        "the source: it has no Dockerfile and none of {}",
        pages.join(", ")
    ))
}

/// Why a type was chosen for a source without one.
pub fn why(kind: &BuildType) -> String {
    match kind {
        BuildType::Dockerfile(dockerfile) => format!("the source has {}", dockerfile.path),
        BuildType::Static(site) => format!("the source has {}", page(&site.publish_directory)),
        BuildType::Railpack(_)
        | BuildType::Nixpacks
        | BuildType::Buildpacks(_)
        | BuildType::Published(..) => "the source has no Dockerfile and no page of a static site".to_owned(),
    }
}

fn page(directory: &str) -> String {
    if directory == "." {
        "index.html".to_owned()
    } else {
        format!("{directory}/index.html")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_is_taken() {
        for (files, found) in [
            (&["Dockerfile", "index.html"][..], Some("Dockerfile")),
            (&["index.html", "public/index.html"], Some(".")),
            (&["dist/index.html", "public/index.html"], Some("public")),
            (&["site/index.html"], Some("site")),
            (&["docker/Dockerfile", "page.html"], None),
        ] {
            let name = detect(|path| files.contains(&path)).map(|kind| match kind {
                BuildType::Dockerfile(dockerfile) => dockerfile.path,
                BuildType::Static(site) => site.publish_directory,
                _ => unreachable!("detect() names no tool"),
            });
            assert_eq!(name.as_deref().ok(), found, "{files:?}");
        }
        let looked_for = detect(|_| false).unwrap_err();
        assert!(
            looked_for.contains("Dockerfile") && looked_for.contains("public/index.html"),
            "{looked_for}"
        );
    }
}
