//! Hides values from the process's own log. Code that reads a Secret adds its values here, because a dependency may log a
//! request with them at any later time.

use std::borrow::{Borrow, Cow};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::{Masker, Secret, known};

/// The masker of all values, and their version.
static MASKER: LazyLock<Mutex<(u64, Arc<Masker>)>> = LazyLock::new(Mutex::default);

/// Adds values that the log must not show from now on.
pub fn hide<'a>(values: impl IntoIterator<Item = &'a Secret>) {
    known::add(values);
}

/// Returns the text of a log entry with every added value masked.
pub fn mask(text: &str) -> Cow<'_, str> {
    let masker = {
        let mut current = MASKER.lock();
        if let Some((version, values)) = known::changed_since(current.0) {
            *current = (version, Arc::new(Masker::of(values.iter().map(Borrow::borrow))));
        }
        current.1.clone()
    };
    masker.mask(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_masked_from_the_moment_it_is_added() {
        assert_eq!(mask("a xyzzy-plugh b"), "a xyzzy-plugh b");
        hide(&[Secret::from("xyzzy-plugh")]);
        assert_eq!(mask("a xyzzy-plugh b"), "a *** b");
    }
}
