//! What a rule costs at most, by what the schema says of sizes: upstream's estimate, step by step.
//!
//! A step costs 1, a character a tenth of it; a list costs 10 to make and a map 30. What is of unknown size is as large
//! as a request allows.

use std::{collections::HashMap, rc::Rc};

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    calls,
    check::{Checked, qualified},
    declared::Declared,
    types::Type,
};

/// How many there are, or what something costs: at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    pub(super) const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    pub(super) const fn of(count: u64) -> Self {
        Self {
            min: count,
            max: count,
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub(super) const fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    pub(super) fn union(self, other: Self) -> Self {
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
    pub(super) fn at(self, price: f64) -> Self {
        let cost = |count: u64| (count as f64 * price).ceil() as u64;
        Self {
            min: cost(self.min),
            max: cost(self.max),
        }
    }
}

/// The most that a checked expression costs whose variables are values of `root`.
pub(super) fn estimate(expression: &IdedExpr, checked: &Checked, root: &Rc<Declared>) -> u64 {
    let mut estimate = Estimate {
        checked,
        root,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        locals: Vec::new(),
    };
    estimate.cost(expression).max
}

/// The steps from a variable to a place of the schema. As upstream has it, the first step is not looked at: what is of
/// no place is taken to be as large as the whole.
type Path = Vec<String>;

pub(super) struct Estimate<'a> {
    pub(super) checked: &'a Checked,
    root: &'a Rc<Declared>,
    paths: HashMap<u64, Path>,
    sizes: HashMap<u64, Range>,
    locals: Vec<(&'a str, Path)>,
}

impl<'a> Estimate<'a> {
    fn cost(&mut self, expression: &'a IdedExpr) -> Range {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Range::of(0),
            Expr::Ident(name) => {
                let local = self.locals.iter().rev().find(|(known, _)| known == name);
                let path = local.map_or_else(|| vec![name.clone()], |(_, path)| path.clone());
                self.paths.insert(expression.id, path);
                Range::of(1)
            }
            Expr::Select(select) => {
                let cost = self.cost(&select.operand);
                if select.test {
                    return cost;
                }
                let counted = matches!(
                    self.typed(&select.operand),
                    Some(Type::Map(..) | Type::Object(_) | Type::Param(_))
                );
                self.step(expression.id, select.operand.id, &select.field);
                cost.plus(Range::of(u64::from(counted)))
            }
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => {
                let parts = list.elements.iter();
                parts.fold(Range::of(10), |cost, part| cost.plus(self.cost(part)))
            }
            Expr::Map(map) => map.entries.iter().fold(Range::of(30), |cost, entry| {
                cost.plus(match &entry.expr {
                    EntryExpr::MapEntry(entry) => self.cost(&entry.key).plus(self.cost(&entry.value)),
                    EntryExpr::StructField(field) => self.cost(&field.value),
                })
            }),
            Expr::Struct(made) => made.entries.iter().fold(Range::of(40), |cost, entry| {
                cost.plus(match &entry.expr {
                    EntryExpr::MapEntry(entry) => self.cost(&entry.value),
                    EntryExpr::StructField(field) => self.cost(&field.value),
                })
            }),
            Expr::Comprehension(whole) => self.comprehension(expression.id, whole),
        }
    }

    /// The path of one expression is that of another and a step more.
    fn step(&mut self, id: u64, from: u64, step: &str) {
        let mut path = self.paths.get(&from).cloned().unwrap_or_default();
        path.push(step.to_owned());
        self.paths.insert(id, path);
    }

    pub(super) fn typed(&self, expression: &IdedExpr) -> Option<&'a Type> {
        self.checked.types.get(&expression.id)
    }

    /// How large the schema says that the value at a path is; none where the path leads nowhere.
    fn declared(&self, path: &[String]) -> Option<Range> {
        let (_, steps) = path.split_first()?;
        let mut at = self.root.clone();
        for step in steps {
            at = at.below(step)?;
        }
        Some(Range { min: 0, max: at.most })
    }

    /// What is known of a value's size.
    pub(super) fn known(&self, expression: &IdedExpr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expression.id) {
            return Some(*size);
        }
        match &expression.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(Range::of(text.inner().chars().count() as u64)),
            Expr::Literal(LiteralValue::Bytes(bytes)) => Some(Range::of(bytes.inner().len() as u64)),
            Expr::Literal(_) => Some(Range::of(1)),
            Expr::List(list) => Some(Range::of(list.elements.len() as u64)),
            Expr::Map(map) => Some(Range::of(map.entries.len() as u64)),
            _ => self.declared(self.paths.get(&expression.id)?),
        }
    }

    /// A value's size.
    pub(super) fn size(&self, expression: &IdedExpr) -> Range {
        self.known(expression).unwrap_or_else(|| {
            if self.typed(expression).is_some_and(Type::is_scalar) {
                Range::of(1)
            } else {
                Range::UNKNOWN
            }
        })
    }

    /// The size of a list's items, where the schema says it.
    pub(super) fn item_size(&self, list: &IdedExpr) -> Range {
        let path = self.paths.get(&list.id).filter(|path| !path.is_empty());
        let size = path.and_then(|path| {
            let mut path = path.clone();
            path.push("@items".to_owned());
            self.declared(&path)
        });
        size.unwrap_or(Range::UNKNOWN)
    }

    fn call(&mut self, id: u64, call: &'a CallExpr) -> Range {
        let argument_costs: Vec<Range> = call.args.iter().map(|argument| self.cost(argument)).collect();
        let cost = |at: usize| argument_costs.get(at).copied().unwrap_or(Range::of(0));
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => {
                return Range {
                    min: cost(0).min,
                    max: cost(0).plus(cost(1)).max,
                };
            }
            (operators::CONDITIONAL, [_, then, other]) => {
                let size = self.size(then).union(self.size(other));
                self.sizes.insert(id, size);
                return cost(0).plus(cost(1).union(cost(2)));
            }
            (operators::INDEX, [from, _]) => {
                let step = match self.typed(from) {
                    Some(Type::List(_)) => "@items",
                    _ => "@values",
                };
                self.step(id, from.id, step);
            }
            _ => {}
        }
        let all = argument_costs
            .iter()
            .fold(Range::of(0), |all, one| all.plus(*one));
        let target = call.target.as_deref().filter(|target| {
            let full = qualified(target).map(|target| format!("{target}.{}", call.func_name));
            full.is_none_or(|full| super::functions::named(&full).is_none())
        });
        let target_cost = target.map_or(Range::of(0), |target| self.cost(target));
        let (own, size) = calls::price(self, id, call, target);
        if let Some(size) = size {
            self.sizes.insert(id, size);
        }
        target_cost.plus(all).plus(own)
    }

    fn comprehension(&mut self, id: u64, whole: &'a ComprehensionExpr) -> Range {
        let once = self.cost(&whole.iter_range).plus(self.cost(&whole.accu_init));
        let mut path = self.paths.get(&whole.iter_range.id).cloned().unwrap_or_default();
        let list = matches!(self.typed(&whole.iter_range), Some(Type::List(_)));
        path.push(if list { "@items" } else { "@keys" }.to_owned());
        let depth = self.locals.len();
        self.locals.push((&whole.accu_var, vec![whole.accu_var.clone()]));
        self.locals.push((&whole.iter_var, path));
        let each = self.cost(&whole.loop_cond).plus(self.cost(&whole.loop_step));
        self.locals.truncate(depth + 1);
        let once = once.plus(self.cost(&whole.result));
        self.locals.truncate(depth);
        let times = self.size(&whole.iter_range);
        if matches!(whole.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
            self.sizes.insert(id, times);
        }
        once.plus(times.times(each))
    }
}
