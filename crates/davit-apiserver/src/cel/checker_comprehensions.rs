//! Whether the loops of a rule make sense, and what other macros made.

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, operators};

use super::{checker::Check, types::Type};
use crate::cel::{
    macros,
    parts::{self, is_result},
    positions::Tokens,
};

impl Check<'_> {
    /// A call that is not as its macro wants it.
    pub(crate) fn misuse(&mut self, call: &CallExpr, (wrong, why): macros::Misused) -> (Type, usize) {
        let mut place = self.tokens.here();
        if let Some(target) = &call.target {
            let at = self.visit_placed(target).1;
            if wrong.is_none() {
                place = at;
            }
        }
        self.tokens.pass_field(&call.func_name);
        self.tokens.pass("(");
        for (at, argument) in call.args.iter().enumerate() {
            let (_, here) = self.visit_placed(argument);
            if wrong == Some(at) {
                place = here;
            }
        }
        self.misused.push((place, why));
        (Type::Error, place)
    }

    /// One step of a loop, which a macro made around what stands in the text.
    pub(crate) fn step(&mut self, id: u64, call: &CallExpr) -> (Type, usize) {
        let around = self.around;
        let name = call.func_name.as_str();
        let filter = self.filter.take();
        let mut arguments = Vec::new();
        for (at, argument) in call.args.iter().enumerate() {
            let made = is_result(argument)
                || matches!(argument.expr, Expr::Literal(_)) && name == operators::ADD
                || name == macros::INSERT && at == 1 && call.args.len() == 3;
            let (typed, place) = match &argument.expr {
                _ if made => (self.hidden(|check| check.visit(argument)), around),
                // A list of one item is the macro's; of a filter, so is the item.
                Expr::List(list) if name == operators::ADD => {
                    let item = match list.elements.as_slice() {
                        [one] if filter.is_some_and(|filter| one.id < filter) => {
                            self.hidden(|check| check.visit(one))
                        }
                        [one] => self.visit(one),
                        _ => Type::Error,
                    };
                    let typed = Type::List(Box::new(item));
                    self.types.insert(argument.id, typed.clone());
                    (typed, around)
                }
                _ => self.visit_placed(argument),
            };
            self.around = around;
            if name == operators::CONDITIONAL && at == 0 {
                self.filter = Some(argument.id);
            }
            if matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR) {
                self.expect(&typed, &Type::BOOL, place);
            }
            arguments.push(typed);
        }
        self.filter = None;
        match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => (Type::BOOL, around),
            name => (self.resolve(id, name, false, &arguments, around), around),
        }
    }

    pub(crate) fn comprehension(&mut self, whole: &ComprehensionExpr) -> (Type, usize) {
        if whole.accu_var == macros::SORTED {
            return self.sorted(whole);
        }
        if whole.iter_var == parts::UNUSED {
            // A variable in disguise.
            let place = self.tokens.here();
            self.hidden(|check| check.visit(&whole.iter_range));
            let bound = self.hidden(|check| check.visit(&whole.accu_init));
            self.tokens.pass(&whole.accu_var);
            self.scope.push((whole.accu_var.clone(), bound));
            self.hidden(|check| check.visit(&whole.loop_step));
            let result = self.visit(&whole.result);
            self.scope.pop();
            return (result, place);
        }
        let (range, place) = self.visit_placed(&whole.iter_range);
        // Of a list there are the places and the items, of a map the keys and the values.
        let (first, second) = match self.bindings.resolved(&range) {
            Type::List(item) => (Type::Plain("int"), *item),
            Type::Map(key, value) => (*key, *value),
            Type::Dyn | Type::Error | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let typed = self.bindings.settled(&other);
                let what = format!(
                    "expression of type '{typed}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(place, what);
                (Type::Error, Type::Error)
            }
        };
        // Past the names of the variables, which are no references to them.
        let around = self.tokens.pass("(");
        let named = self.tokens.pass(&whole.iter_var);
        self.tokens.pass(",");
        if whole.iter_var2.is_none() && macros::is_taken(&whole.iter_var) {
            let why = "iteration variable overwrites accumulator variable";
            self.misused.push((named, why.to_owned()));
        }
        if let Some(name) = &whole.iter_var2 {
            self.tokens.pass(name);
            self.tokens.pass(",");
        }
        let accumulated = self.hidden(|check| check.visit(&whole.accu_init));
        let depth = self.scope.len();
        self.scope.push((whole.accu_var.clone(), accumulated.clone()));
        if let Some(name) = &whole.iter_var2 {
            self.scope.push((whole.iter_var.clone(), first));
            self.scope.push((name.clone(), second));
        } else {
            let keys = matches!(self.bindings.resolved(&range), Type::Map(..));
            let single = if keys { first } else { second };
            self.scope.push((whole.iter_var.clone(), single));
        }
        let condition = self.hidden(|check| check.visit(&whole.loop_cond));
        self.expect(&condition, &Type::BOOL, around);
        self.around = around;
        let step = self.visit(&whole.loop_step);
        self.expect(&step, &accumulated, around);
        self.scope.truncate(depth + 1);
        let result = self.hidden(|check| check.visit(&whole.result));
        self.scope.truncate(depth);
        (result, around)
    }

    /// What `sortBy` made.
    fn sorted(&mut self, whole: &ComprehensionExpr) -> (Type, usize) {
        let list = self.visit(&whole.accu_init);
        self.tokens.pass_field("sortBy");
        let around = self.tokens.place_of("(");
        self.hidden(|check| check.visit(&whole.iter_range));
        self.scope.push((whole.accu_var.clone(), list.clone()));
        let typed = match &whole.result.expr {
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    self.hidden(|check| check.visit(target));
                }
                let mut arguments = vec![list];
                for keys in &call.args {
                    arguments.push(self.visit(keys));
                }
                self.resolve(whole.result.id, &call.func_name, true, &arguments, around)
            }
            _ => Type::Error,
        };
        self.types.insert(whole.result.id, typed.clone());
        self.scope.pop();
        (typed, around)
    }

    /// Visits what a macro made, of which nothing stands in the text.
    pub(crate) fn hidden<T>(&mut self, visit: impl FnOnce(&mut Self) -> T) -> T {
        let kept = std::mem::replace(&mut self.tokens, Tokens::new(""));
        let result = visit(self);
        self.tokens = kept;
        result
    }
}
