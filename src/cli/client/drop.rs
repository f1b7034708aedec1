//! `davit drop`: uploads a directory or an archive, and deploys it.

use std::path::Path;

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::changes::{Happened, report};
use super::commands::Drop;
use super::connect::{Access, Cluster, MANAGER};
use super::output::note;
use super::pack::{self, Archive, Packing};
use super::upload::{Content, upload};
use crate::api::{Application, REQUESTED_AT, Source, SourceKind};
use crate::cli::failure::Failure;

/// `davit drop`.
///
/// # Errors
/// The directory cannot be packed, the upload is refused or interrupted, the Application cannot be changed, or with `--wait` it
/// does not become healthy.
pub async fn drop(args: Drop) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    check_kind(&application, args.replace)?;
    let archive = archive(&cluster, &args, &application)?;
    note(&format!("packed {}", archive.summary));
    let content = upload(&cluster, &args.application, &archive).await?;
    let before = uploaded(&application);
    let path = directory(
        &args,
        before.as_ref().map(|(_, path)| path.as_str()),
        &archive,
        &content,
    );
    let is_same = before == Some((content.digest.clone(), path.clone()));
    let patch = patch(&content.digest, &path, is_same);
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = application.name_any();
    let changed = cluster
        .applications()
        .patch(&name, &params, &Patch::Merge(patch))
        .await;
    let changed = changed.map_err(|error| cluster.refused(&error, Access::Edit))?;
    let happened = if is_same {
        format!("unchanged: {} is its source already", content.digest)
    } else if changed.spec.stopped {
        format!("runs {} once it is started: davit start {name}", content.digest)
    } else {
        format!("runs {} from now on", content.digest)
    };
    if args.replace && before.is_none() && application.spec.source.is_some() {
        note(
            "spec.source is the upload now: leave source out of the file that you apply, or the API server refuses a second one",
        );
    }
    let later = format!("will run {}", content.digest);
    let happened = Happened {
        later: Some(&later),
        ..Happened::now(&happened)
    };
    report(&cluster, &args.change, &changed, happened).await
}

/// Refuses to replace a source of another kind unless the user asks for that.
fn check_kind(application: &Application, replace: bool) -> Result<(), Failure> {
    let kind = application.spec.source.as_ref().and_then(Source::kind);
    match kind {
        None | Some(SourceKind::Drop(_)) => Ok(()),
        Some(_) if replace => Ok(()),
        Some(other) => Err(Failure::new(format!(
            "application {} has the source {}: use --replace to run the upload in its place",
            application.name_any(),
            other.name()
        ))),
    }
}

fn archive(cluster: &Cluster, args: &Drop, application: &Application) -> Result<Archive, Failure> {
    if args.source == Path::new("-") {
        return pack::from_input();
    }
    let metadata = std::fs::metadata(&args.source)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", args.source.display())))?;
    if !metadata.is_dir() {
        return pack::given(&args.source);
    }
    let build = application.spec.build.as_ref();
    let dockerfile = build.and_then(|build| build.dockerfile.as_ref());
    let dockerfile = dockerfile.map_or("Dockerfile", |dockerfile| dockerfile.path.as_str());
    pack::pack(&Packing {
        directory: &args.source,
        honours_gitignore: !args.no_gitignore,
        dockerfile: dockerfile.trim_start_matches("./"),
        compress: !cluster.is_on_this_machine(),
    })
}

/// The digest and the directory of the present upload.
fn uploaded(application: &Application) -> Option<(String, String)> {
    match application.spec.source.as_ref()?.kind()? {
        SourceKind::Drop(upload) => Some((upload.digest.clone(), upload.path.clone())),
        _ => None,
    }
}

/// The directory of the upload that is built: the one that the user names, or the only one of an archive.
fn directory(args: &Drop, before: Option<&str>, archive: &Archive, content: &Content) -> String {
    let only = content.root.as_ref().filter(|_| archive.is_given);
    match (&args.path, only) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => format!("/{root}"),
        // The directory of an earlier archive is not in this one.
        (None, None) if archive.is_given => "/".to_owned(),
        (None, None) => before.unwrap_or("/").to_owned(),
    }
}

fn patch(digest: &str, path: &str, is_same: bool) -> Value {
    let mut source = json!({"github": null, "gitlab": null, "bitbucket": null, "gitea": null, "git": null, "docker": null,
        "drop": {"digest": digest}});
    source["drop"]["path"] = if path == "/" { Value::Null } else { json!(path) };
    let mut patch = json!({"spec": {"source": source}});
    if is_same {
        // What the spec names may have been missing until now.
        let now = jiff::Timestamp::now().to_string();
        patch["metadata"] = json!({"annotations": {REQUESTED_AT[0]: now}});
    }
    patch
}
