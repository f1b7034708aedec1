//! New parts of expressions, as rewriting makes them.

use kube_cel::cel::{IdedExpr, common::ast::Expr};

/// The name of the variable of a loop that runs never: the loop gives its result a name.
pub(crate) const UNUSED: &str = "#unused";

/// The number of the last part, and how many more there may be.
pub(crate) struct Next {
    pub(crate) id: u64,
    pub(crate) room: usize,
}

impl Next {
    /// A new part.
    pub(crate) fn made(&mut self, expr: Expr) -> IdedExpr {
        self.id += 1;
        IdedExpr { id: self.id, expr }
    }
}
