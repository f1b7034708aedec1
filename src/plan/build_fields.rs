//! Fields of `spec.build` that the schema of the CRD accepts and no build can use.

use crate::api::{Build, Reason};
use crate::error::{Class, Problem};
use crate::image::ImageName;

/// Checks the fields of a build before anything is fetched for it.
///
/// # Errors
/// A field that cannot work, by its name.
pub(super) fn check(build: &Build) -> Result<(), Problem> {
    let heroku = build.heroku_buildpacks.as_ref();
    let site = build.static_site.as_ref();
    let images = [
        (
            "spec.build.herokuBuildpacks.builder",
            heroku.and_then(|heroku| heroku.builder.as_deref()),
        ),
        (
            "spec.build.paketoBuildpacks.builder",
            build.paketo_buildpacks.as_ref().map(|paketo| &*paketo.builder),
        ),
        (
            "spec.build.static.image",
            site.and_then(|site| site.image.as_deref()),
        ),
    ];
    for (field, image) in images {
        if let Some(Err(error)) = image.map(ImageName::parse) {
            let image = image.unwrap_or_default();
            return Err(Problem::invalid(format!(
                "{field} {image:?} is not the name of an image: {error}: write it as registry.example.com/team/builder:1"
            )));
        }
    }
    let variable = site.and_then(|site| site.image_path.as_deref());
    if let Some(path) = variable.filter(|path| path.contains('$')) {
        return Err(Problem::invalid(format!(
            "spec.build.static.imagePath {path:?} has a variable, which nothing expands: write the path in full, such as /usr/share/nginx/html"
        )));
    }
    // A site alone is in the source, where `..` may lead to another directory of it.
    let types: Vec<_> = build
        .types()
        .into_iter()
        .filter(|(_, settings)| !settings.is_null())
        .collect();
    let builds = types.iter().any(|(name, _)| *name != "static");
    for (name, settings) in &types {
        let directory = settings
            .get("publishDirectory")
            .and_then(|directory| directory.as_str());
        let escapes = |directory: &&str| builds && directory.split('/').any(|part| part == "..");
        if let Some(directory) = directory.filter(escapes) {
            let message = format!(
                "spec.build.{name}.publishDirectory {directory:?} leads out of the result of the build by ..: set it to a directory of the result, such as dist or /app/dist"
            );
            return Err(Problem::new(Class::Terminal, Reason::PathEscapes, message));
        }
    }
    // An Application that was stored before the rule of the CRD.
    if let Some(secret) = build.secrets.iter().find(|secret| secret.value_from.is_none()) {
        return Err(Problem::invalid(format!(
            "spec.build.secrets has {} without valueFrom: put the value into a Secret, or into spec.build.args if it is not secret",
            secret.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_build_can_use_is_refused_by_its_field() {
        for (build, refused) in [
            (json!({}), None),
            (json!({"paketoBuildpacks": {}}), None),
            (
                json!({"paketoBuildpacks": {"builder": "x@sha256:zz"}}),
                Some((Reason::InvalidSpec, "spec.build.paketoBuildpacks.builder")),
            ),
            (
                json!({"herokuBuildpacks": {"builder": "http://x/y"}}),
                Some((Reason::InvalidSpec, "spec.build.herokuBuildpacks.builder")),
            ),
            (
                json!({"static": {"image": "$FOO"}}),
                Some((Reason::InvalidSpec, "spec.build.static.image")),
            ),
            (
                json!({"static": {"image": "nginx:1", "imagePath": "/a$PATH"}}),
                Some((Reason::InvalidSpec, "spec.build.static.imagePath")),
            ),
            (json!({"static": {"publishDirectory": "../site"}}), None),
            (
                json!({"dockerfile": {}, "static": {"publishDirectory": "../etc"}}),
                Some((Reason::PathEscapes, "spec.build.static.publishDirectory")),
            ),
            (
                json!({"dockerfile": {}, "static": {"publishDirectory": "a/../../etc"}}),
                Some((Reason::PathEscapes, "spec.build.static.publishDirectory")),
            ),
            (
                json!({"secrets": [{"name": "A", "value": "1"}]}),
                Some((Reason::InvalidSpec, "spec.build.secrets has A")),
            ),
            (
                json!({"secrets": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
                None,
            ),
        ] {
            let spec: Build = serde_json::from_value(build.clone()).unwrap();
            let problem = check(&spec).err();
            let reason = problem.as_ref().map(|problem| problem.reason);
            assert_eq!(reason, refused.map(|(reason, _)| reason), "{build}");
            let message = problem.map(|problem| problem.message).unwrap_or_default();
            let words = refused.map(|(_, words)| words).unwrap_or_default();
            assert!(message.starts_with(words), "{message}");
        }
    }

    #[test]
    fn directory_of_every_type_that_builds_stays_in_its_result() {
        let mut types = 0;
        for (name, _) in Build::default().types() {
            let build = json!({name: {"publishDirectory": "a/../../etc"}});
            let spec: Result<Build, _> = serde_json::from_value(build);
            let Some(spec) = spec.ok().filter(|_| name != "static") else {
                continue;
            };
            let has_field = |(of, settings): &(&str, serde_json::Value)| {
                *of == name && settings.get("publishDirectory").is_some()
            };
            if !spec.types().iter().any(has_field) {
                continue;
            }
            types += 1;
            let problem = check(&spec).unwrap_err();
            assert_eq!(problem.reason, Reason::PathEscapes, "{name}");
            let field = format!("spec.build.{name}.publishDirectory");
            assert!(problem.message.starts_with(&field), "{}", problem.message);
        }
        assert!(types > 0);
    }
}
