//! Hooks that Davit registers at a forge: one per repository, found again by its ID or its URL.

use super::client::{Forge, WantedHook};
use super::error::ForgeError;
use super::repository::RepositoryPath;

/// Makes a repository have exactly one hook that delivers to the wanted URL, and returns its ID. `known` is the ID of the
/// hook that was registered before; `rewrite` writes the secret again although the hook looks as it should.
///
/// # Errors
/// Those of the calls.
pub async fn ensure_hook(
    forge: &dyn Forge,
    repository: &RepositoryPath,
    wanted: &WantedHook,
    known: Option<&str>,
    rewrite: bool,
) -> Result<String, ForgeError> {
    let found = forge.hooks(repository).await?;
    let mut ours: Vec<_> = found
        .into_iter()
        .filter(|hook| hook.url == wanted.url || Some(hook.id.as_str()) == known)
        .collect();
    ours.sort_by_key(|hook| Some(hook.id.as_str()) != known);
    let mut ours = ours.into_iter();
    let id = match ours.next() {
        None => forge.create_hook(repository, wanted).await?,
        Some(hook)
            if hook.url == wanted.url
                && hook.is_intact
                && hook.pull_requests == wanted.pull_requests
                && !rewrite =>
        {
            hook.id
        }
        Some(hook) => forge.update_hook(repository, &hook.id, wanted).await?,
    };
    for extra in ours {
        forge.delete_hook(repository, &extra.id).await?;
    }
    Ok(id)
}
