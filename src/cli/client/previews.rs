//! `davit previews`: the previews of an Application, also those that wait.

use kube::ResourceExt as _;

use super::args::Format;
use super::commands::Previews;
use super::connect::Cluster;
use super::output::{columns, list, note, write};
use super::until::previews_settled;
use crate::api::{GROUP, LABEL_PREVIEW_OF, PreviewStatus};
use crate::cli::failure::Failure;

/// How many digits of a commit a column has.
const SHORT: usize = 12;

/// `davit previews`.
///
/// # Errors
/// The Application does not exist, or the API server does not answer or refuses.
pub async fn previews(args: Previews) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.connection).await?;
    let mut application = cluster.application(&args.application).await?;
    if let Some(deadline) = args.wait.begin() {
        application = previews_settled(&cluster, &args.application, &deadline).await?;
    }
    if matches!(
        args.output.format,
        Some(Format::Json | Format::Yaml | Format::Name)
    ) {
        let path = format!(
            "/apis/{GROUP}/v1alpha1/namespaces/{}/applications?labelSelector={LABEL_PREVIEW_OF}%3D{}",
            cluster.namespace,
            application.name_any()
        );
        return list(&cluster, &path, args.output.format, false).await;
    }
    let status = application.status.unwrap_or_default();
    if status.previews.is_empty() {
        let why = match &application.spec.previews {
            None => "it has no spec.previews",
            Some(previews) if !previews.enabled => "spec.previews.enabled is false",
            Some(_) => {
                "no open pull request is one that spec.previews asks for, or they are older than its ttl"
            }
        };
        note(&format!(
            "application.davit.dev/{}: no previews: {why}",
            args.application
        ));
        return Ok(());
    }
    let is_wide = args.output.format == Some(Format::Wide);
    let mut head = vec!["PULL REQUEST", "STATE", "APPLICATION", "REVISION", "URL"];
    if is_wide {
        head.push("MESSAGE");
    }
    let head: Vec<String> = head.into_iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = status.previews.iter().map(|found| row(found, is_wide)).collect();
    write(&columns(&cluster.terminal, &head, &rows))
}

fn row(found: &PreviewStatus, is_wide: bool) -> Vec<String> {
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let revision = text(found.revision.as_ref());
    let mut row = vec![
        found.number.to_string(),
        found.state.as_str().to_owned(),
        text(found.application.as_ref()),
        revision.get(..SHORT).unwrap_or(&revision).to_owned(),
        text(found.url.as_ref()),
    ];
    if is_wide {
        row.push(text(found.message.as_ref()));
    }
    row
}
