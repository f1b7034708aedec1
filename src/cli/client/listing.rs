//! `davit repos` and `davit branches`: what a GitProvider reaches. The controller asks the forge; the credential stays there.

use serde_json::{Value, json};

use super::args::Format;
use super::connect::Cluster;
use super::output::{columns, note, say, serialized, write};
use super::subresource;
use super::subresource_args::{Branches, Listing, Repos};
use super::until::provider_ready;
use crate::cli::failure::Failure;

/// How many entries one request asks for: the page of a forge.
const PAGE: usize = 100;

/// `davit repos`.
///
/// # Errors
/// The API server or the forge does not answer or refuses.
pub async fn repos(args: Repos) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.listing.connection).await?;
    if let Some(deadline) = args.listing.wait.begin() {
        provider_ready(&cluster, &args.provider, &deadline).await?;
    }
    let path = subresource::path(&cluster.namespace, "gitproviders", &args.provider, "repositories");
    let all = all(&cluster, &path, "repositories", &args.listing).await?;
    show(&cluster, &args.listing, "RepositoryList", &all, |format, item| {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let flags = [("private", "private"), ("archived", "archived")];
        let flags = flags
            .iter()
            .filter(|(key, _)| item[*key] == true)
            .map(|(_, word)| *word);
        let mut cells = vec![
            text("name"),
            text("defaultBranch"),
            flags.collect::<Vec<_>>().join(", "),
        ];
        if format == Some(Format::Wide) {
            cells.push(text("cloneUrl"));
        }
        cells
    })
}

/// `davit branches`.
///
/// # Errors
/// The API server or the forge does not answer or refuses.
pub async fn branches(args: Branches) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.listing.connection).await?;
    if let Some(deadline) = args.listing.wait.begin() {
        provider_ready(&cluster, &args.provider, &deadline).await?;
    }
    let path = subresource::path(&cluster.namespace, "gitproviders", &args.provider, "branches");
    let repository = url::form_urlencoded::byte_serialize(args.repository.as_bytes()).collect::<String>();
    let path = format!("{path}?repository={repository}");
    let all = all(&cluster, &path, "branches", &args.listing).await?;
    show(&cluster, &args.listing, "BranchList", &all, |_, item| {
        vec![item["name"].as_str().unwrap_or_default().to_owned()]
    })
}

/// All entries that the filter lets through, page by page. On a terminal the number of those that were read is shown.
async fn all(cluster: &Cluster, path: &str, what: &str, listing: &Listing) -> Result<Vec<Value>, Failure> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let first = format!("{path}{separator}limit={PAGE}");
    let mut next = first.clone();
    let filter = listing.filter.as_deref().unwrap_or_default().to_lowercase();
    let (mut all, mut read) = (Vec::new(), 0);
    loop {
        let page: Result<Value, Failure> = cluster.get(&next, "application/json").await;
        let mut page = match page {
            Ok(page) => page,
            Err(failure) => {
                cluster.terminal.clear();
                return Err(failure);
            }
        };
        let items = page["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        read += items.len();
        all.extend(items.into_iter().filter(|item| {
            let name = item["name"].as_str().unwrap_or_default();
            name.to_lowercase().contains(&filter)
        }));
        let Some(token) = page["metadata"]["continue"].as_str() else {
            cluster.terminal.clear();
            return Ok(all);
        };
        // In a pipe the list itself is the output, and a line for each page would be noise.
        if cluster.terminal.progress_width.is_some() {
            let rest = page["metadata"]["remainingItemCount"].as_u64();
            let of = rest
                .map(|rest| format!(" of {}", read as u64 + rest))
                .unwrap_or_default();
            cluster.terminal.show(&format!("{read}{of} {what}"));
        }
        next = format!("{first}&continue={token}");
    }
}

fn show(
    cluster: &Cluster,
    listing: &Listing,
    kind: &str,
    items: &[Value],
    cells: impl Fn(Option<Format>, &Value) -> Vec<String>,
) -> Result<(), Failure> {
    let format = listing.output.format;
    match format {
        Some(Format::Json | Format::Yaml) => {
            let api_version = format!("{}/{}", crate::subresources::GROUP, crate::subresources::VERSION);
            let list = json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items});
            serialized(format.unwrap_or(Format::Json), list)
        }
        Some(Format::Name) => items
            .iter()
            .try_for_each(|item| say(item["name"].as_str().unwrap_or_default())),
        None | Some(Format::Wide) if items.is_empty() => {
            let filtered = listing.filter.as_ref();
            let matching = filtered
                .map(|text| format!(" that contains {text:?}"))
                .unwrap_or_default();
            let word = if kind == "BranchList" {
                "branch"
            } else {
                "repository"
            };
            note(&format!("No {word}{matching} found."));
            Ok(())
        }
        None | Some(Format::Wide) => {
            let mut head = match kind {
                "BranchList" => vec!["NAME"],
                _ => vec!["NAME", "DEFAULT BRANCH", "ATTRIBUTES"],
            };
            if kind != "BranchList" && format == Some(Format::Wide) {
                head.push("CLONE URL");
            }
            let head: Vec<String> = head.into_iter().map(str::to_owned).collect();
            let rows: Vec<Vec<String>> = items.iter().map(|item| cells(format, item)).collect();
            write(&columns(&cluster.terminal, &head, &rows))
        }
    }
}
