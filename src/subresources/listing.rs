//! `gitproviders/NAME/repositories` and `…/branches`: what a connection reaches. The credential stays in the controller.
//!
//! Without `limit` the whole list is one streamed document; with it, and with `continue`, it comes in pages.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::TryStreamExt as _;
use http::header;
use kube::Api;
use serde_json::{Value, json};

use super::failure::Failure;
use super::group::{GROUP, VERSION};
use super::lookup;
use super::page_token::PageToken;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::GitProvider;
use crate::controller::context::Context;
use crate::controller::dereference::Reader;
use crate::controller::resolve::credentials::connection;
use crate::error::{Explain as _, Problem};
use crate::forge::{Cursor, Forge, ForgeError, Page, Repository, RepositoryPath};

/// `gitproviders/NAME/repositories`.
pub(super) async fn repositories(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
) -> Result<Response, Failure> {
    list(controller, target, parameters, What::Repositories).await
}

/// `gitproviders/NAME/branches?repository=PATH`.
pub(super) async fn branches(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
) -> Result<Response, Failure> {
    let Some(text) = parameters.text("repository") else {
        let message = "the parameter repository is missing: add ?repository=OWNER/NAME";
        return Err(Failure::bad_request(message));
    };
    let repository = RepositoryPath::parse(text).ok_or_else(|| {
        let message = format!("the parameter repository is {text:?}: write it as OWNER/NAME");
        Failure::bad_request(message)
    })?;
    list(controller, target, parameters, What::Branches(repository)).await
}

/// Which list.
enum What {
    Repositories,
    Branches(RepositoryPath),
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            Self::Repositories => "RepositoryList",
            Self::Branches(_) => "BranchList",
        }
    }

    /// What a `continue` is valid for.
    fn scope(&self, provider: &GitProvider) -> String {
        let uid = provider.metadata.uid.as_deref().unwrap_or_default();
        match self {
            Self::Repositories => format!("{uid} repositories"),
            Self::Branches(repository) => format!("{uid} branches {repository}"),
        }
    }
}

/// A list of one connection.
struct Listing {
    forge: Arc<dyn Forge>,
    what: What,
}

impl Listing {
    async fn page(&self, cursor: Option<&Cursor>) -> Result<Page<Value>, ForgeError> {
        let page = match &self.what {
            What::Repositories => {
                let page = self.forge.repositories(cursor).await?;
                Page {
                    items: page.items.iter().map(item).collect(),
                    next: page.next,
                    total: page.total,
                }
            }
            What::Branches(repository) => {
                let page = self.forge.branches(repository, cursor).await?;
                Page {
                    items: page.items.iter().map(|name| json!({"name": name})).collect(),
                    next: page.next,
                    total: page.total,
                }
            }
        };
        // A forge that names the same page again has no further one.
        let next = page.next.filter(|next| Some(next) != cursor);
        Ok(Page { next, ..page })
    }
}

fn item(repository: &Repository) -> Value {
    json!({
        "name": repository.path.to_string(),
        "defaultBranch": repository.default_branch,
        "cloneUrl": repository.clone_url.to_string(),
        "private": repository.private,
        "archived": repository.archived,
    })
}

async fn list(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
    what: What,
) -> Result<Response, Failure> {
    let limit: Option<usize> = parameters.value("limit", "a number of entries")?;
    let provider = provider(controller, target).await?;
    let (key, scope) = (&controller.install.key, what.scope(&provider));
    let start = match parameters.text("continue") {
        Some(text) => PageToken::verify(text, key, &scope).ok_or_else(|| {
            let message = "the parameter continue is not one of this list: leave it out to begin anew";
            Failure::bad_request(message)
        })?,
        None => PageToken::first(),
    };
    let reader = Reader::new(controller.client.clone(), &target.namespace);
    let (forge, _, _) = connection(&controller.forges, &provider, &reader).await?;
    let listing = Listing { forge, what };
    let first = listing
        .page(start.cursor.as_ref())
        .await
        .map_err(|error| Problem::of(&error))?;
    match limit.filter(|limit| *limit > 0) {
        Some(limit) => Ok(one_page(&listing, &start, first, limit, |token| {
            token.sign(key, &scope)
        })),
        None => Ok(whole(listing, &start, first)),
    }
}

/// The GitProvider that is named, if it may be asked.
async fn provider(controller: &Context, target: &Target) -> Result<GitProvider, Failure> {
    let api: Api<GitProvider> = Api::namespaced(controller.client.clone(), &target.namespace);
    let provider = lookup::object(&api, target, &controller.providers).await?;
    if provider.spec.suspend {
        let message = format!(
            "GitProvider {:?} is suspended: set spec.suspend to false to list through it",
            target.name
        );
        return Err(Failure::conflict(message));
    }
    Ok(provider)
}

fn head(kind: &str, metadata: &Value) -> Value {
    json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata})
}

/// At most `limit` entries from `start` on, all of one page of the forge.
fn one_page(
    listing: &Listing,
    start: &PageToken,
    page: Page<Value>,
    limit: usize,
    sign: impl Fn(&PageToken) -> String,
) -> Response {
    let end = start.skip.saturating_add(limit);
    let rest = page.items.len().saturating_sub(end);
    let items: Vec<Value> = page.items.into_iter().skip(start.skip).take(limit).collect();
    let seen = start.seen + items.len() as u64;
    let next = if rest > 0 {
        Some((start.cursor.clone(), end))
    } else {
        page.next.map(|next| (Some(next), 0))
    };
    let mut metadata = json!({});
    if let Some((cursor, skip)) = next {
        metadata["continue"] = sign(&PageToken { cursor, skip, seen }).into();
        if let Some(total) = page.total {
            metadata["remainingItemCount"] = total.saturating_sub(seen).into();
        }
    }
    let mut document = head(listing.what.kind(), &metadata);
    document["items"] = items.into();
    Json(document).into_response()
}

/// What follows a part of the streamed document.
enum Next {
    Page(Option<Cursor>),
    End,
}

/// Everything from `start` on, page by page as the client reads.
fn whole(listing: Listing, start: &PageToken, first: Page<Value>) -> Response {
    let head = head(listing.what.kind(), &json!({})).to_string();
    let mut opening = head.strip_suffix('}').unwrap_or_default().to_owned();
    opening.push_str(",\"items\":[");
    let items: Vec<Value> = first.items.into_iter().skip(start.skip).collect();
    let is_empty = items.is_empty();
    opening.push_str(&joined(&items, true));
    let opening = futures::stream::once(std::future::ready(Ok(Bytes::from(opening))));
    let most = listing.forge.most_pages();
    let state = (listing, Next::Page(first.next), is_empty, 1);
    let rest = futures::stream::try_unfold(state, move |(listing, next, is_empty, pages)| async move {
        let cursor = match next {
            Next::End => return Ok(None),
            Next::Page(None) => return Ok(Some((Bytes::from("]}"), (listing, Next::End, is_empty, pages)))),
            Next::Page(Some(cursor)) => cursor,
        };
        let page = if pages < most {
            listing.page(Some(&cursor)).await
        } else {
            Err(listing.forge.too_long("list everything"))
        };
        match page {
            Ok(page) => {
                let text = joined(&page.items, is_empty);
                let is_empty = is_empty && page.items.is_empty();
                let next = Next::Page(page.next);
                Ok(Some((Bytes::from(text), (listing, next, is_empty, pages + 1))))
            }
            Err(error) => {
                // The status has been sent. A document without its end cannot be taken for a whole one.
                let problem = Problem::of(&error);
                tracing::warn!(reason = %error.reason(), message = problem.message, "a list of a forge ended early");
                Err(std::io::Error::other(problem.message))
            }
        }
    });
    let body = Body::from_stream(futures::StreamExt::chain(opening, rest).into_stream());
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The entries as parts of a JSON array of which they are the beginning or not.
fn joined(items: &[Value], is_first: bool) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !is_first {
            text.push(',');
        }
        text.push_str(&item.to_string());
    }
    text
}
