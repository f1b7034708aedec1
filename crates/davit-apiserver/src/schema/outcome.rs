//! The outcome of checks of one value.

use crate::field::FieldError;

/// What one place of the schema said of one value.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) errors: Vec<FieldError>,
    /// How many checks were made: of several failing alternatives, the one that matched most is reported.
    pub(super) matches: usize,
}

impl Outcome {
    pub(super) fn add(&mut self, error: FieldError) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        for error in other.errors {
            self.add(error);
        }
    }

    pub(super) const fn valid(&self) -> bool {
        self.errors.is_empty()
    }
}
