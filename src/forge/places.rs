//! The places for requests of one connection: few at once, and fewer for one repository, so that a repository whose requests
//! stay without an answer does not hold up the others.

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::shares::Shares;

/// How many requests of one connection run at once. GitHub allows 100.
const AT_ONCE: usize = 8;
/// How many of them are for one repository.
const OF_ONE_REPOSITORY: usize = 4;

/// The places of one connection.
#[derive(Debug)]
pub(super) struct Places {
    all: Semaphore,
    repositories: Shares,
}

/// A place, free again when it is dropped.
pub(super) struct Place<'a> {
    _of_repository: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Semaphore::new(AT_ONCE),
            repositories: Shares::of(OF_ONE_REPOSITORY),
        }
    }
}

impl Places {
    /// Waits for a place for a request with this path.
    pub async fn take(&self, path: &[String]) -> Place<'_> {
        // Closed only when the connection is dropped, and then no request is waiting.
        let of_repository = match repository(path).map(|name| self.repositories.get(&name)) {
            Some(places) => places.acquire_owned().await.ok(),
            None => None,
        };
        Place {
            _of_repository: of_repository,
            _of_all: self.all.acquire().await.ok(),
        }
    }
}

/// The repository that a request is about, as the forges write it in their paths.
fn repository(path: &[String]) -> Option<String> {
    let rest = |at: usize| path.get(at + 1..);
    let at = |names: &[&str]| path.iter().position(|part| names.contains(&part.as_str()));
    if let Some([owner, name, ..]) = at(&["repos", "repositories"]).and_then(rest) {
        return Some(format!("{owner}/{name}").to_lowercase());
    }
    let [project, ..] = at(&["projects"]).and_then(rest)? else {
        return None;
    };
    Some(project.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(|part| part.replace("%2F", "/")).collect()
    }

    #[test]
    fn requests_of_one_repository_are_recognised_at_every_forge() {
        for (text, expected) in [
            ("repos/Acme/shop/hooks", Some("acme/shop")),
            ("api/v1/repos/acme/shop", Some("acme/shop")),
            ("repositories/acme/shop/refs/branches", Some("acme/shop")),
            ("projects/acme%2Fweb%2Fshop/hooks", Some("acme/web/shop")),
            ("projects/7", Some("7")),
            ("repositories/acme", None),
            ("projects", None),
            ("groups/acme/projects", None),
            ("user", None),
        ] {
            assert_eq!(repository(&path(text)).as_deref(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn repository_that_does_not_answer_leaves_places_to_the_others() {
        let places = Places::default();
        let shop = path("repos/acme/shop/hooks");
        let mut held = Vec::new();
        for _ in 0..OF_ONE_REPOSITORY {
            held.push(places.take(&shop).await);
        }
        let is_full = |text: &'static str| {
            let places = &places;
            async move { futures::poll!(std::pin::pin!(places.take(&path(text)))).is_pending() }
        };
        assert!(is_full("repos/ACME/shop/branches").await);
        assert!(!is_full("repos/acme/other/branches").await);
        assert!(!is_full("user/repos").await);
        drop(held);
        assert!(!is_full("repos/acme/shop/branches").await);
        places.take(&path("repos/acme/other")).await;
        assert_eq!(places.repositories.len(), 1, "unused places are forgotten");
    }
}
