//! Repositories that were renamed or moved at their forge, by the path that a spec names.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::repository::RepositoryPath;

/// The moves that were seen over one connection. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Moves(Arc<Mutex<HashMap<RepositoryPath, RepositoryPath>>>);

impl Moves {
    /// The path that a repository has now, as far as it is known.
    pub fn present(&self, named: &RepositoryPath) -> RepositoryPath {
        let moves = self.0.lock();
        moves.get(named).unwrap_or(named).clone()
    }

    /// Takes the present path of a repository over. Returns whether that is news.
    pub fn learn(&self, named: &RepositoryPath, present: &RepositoryPath) -> bool {
        let mut moves = self.0.lock();
        if named == present {
            return moves.remove(named).is_some();
        }
        moves.insert(named.clone(), present.clone()).as_ref() != Some(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_that_comes_back_has_its_own_path() {
        let (moves, path) = (Moves::default(), |text| RepositoryPath::parse(text).unwrap());
        let (old, new) = (path("acme/old"), path("acme/new"));
        assert_eq!(moves.present(&old), old);
        assert!(!moves.learn(&old, &old), "it is where it was");
        assert!(moves.learn(&old, &new));
        assert!(!moves.learn(&old, &new), "it is known");
        assert_eq!(moves.clone().present(&old), new);
        assert!(moves.learn(&old, &old));
        assert_eq!(moves.present(&old), old);
    }
}
