//! Ranges of counts and costs, and the sizes that the price of a call depends on.

use kube_cel::cel::IdedExpr;

use crate::cel::types::Type;

/// How many there are, or what something costs: at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Range {
    pub(crate) const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    pub(crate) const fn of(count: u64) -> Self {
        Self {
            min: count,
            max: count,
        }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub(crate) const fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// So many at that price each.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as upstream computes it; what is too large becomes the largest"
    )]
    pub(crate) fn at(self, price: f64) -> Self {
        let cost = |count: u64| (count as f64 * price).ceil() as u64;
        Self {
            min: cost(self.min),
            max: cost(self.max),
        }
    }
}

/// The types and sizes of the parts of an expression.
pub(crate) trait Sizes {
    /// The type of a part, if the check found one.
    fn typed(&self, expression: &IdedExpr) -> Option<&Type>;

    /// The size of a part, if it is known.
    fn known(&self, expression: &IdedExpr) -> Option<Range>;

    /// The size of a part; an unknown one is as large as a request allows.
    fn size(&self, expression: &IdedExpr) -> Range;

    /// The size of the items of a list.
    fn item_size(&self, list: &IdedExpr) -> Range;
}
