//! Parts of expressions.

use kube_cel::cel::{IdedExpr, common::ast::Expr};

/// What a loop has come to: a name that no text has.
pub(crate) const RESULT: &str = "@result";
/// The name of the variable of a loop that runs never: the loop gives its result a name.
pub(crate) const UNUSED: &str = "#unused";

/// The number of the last part, and how many more there may be.
pub(crate) struct Next {
    pub(crate) id: u64,
    pub(crate) room: usize,
}

impl Next {
    pub(crate) fn made(&mut self, expr: Expr) -> IdedExpr {
        self.id += 1;
        IdedExpr { id: self.id, expr }
    }
}

/// What a loop has come to: a name that no text has.
pub(crate) fn is_result(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == RESULT)
}

/// The name that a chain of fields spells: `format.named`.
pub(crate) fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified(&select.operand)?, select.field))
        }
        _ => None,
    }
}
