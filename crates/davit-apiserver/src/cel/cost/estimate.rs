//! What a rule costs at most, by what the schema says of sizes: upstream's estimate, step by step.
//!
//! A step costs 1, a character a tenth of it; a list costs 10 to make and a map 30. What is of unknown size is as large
//! as a request allows.

use std::{collections::HashMap, rc::Rc};

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    calls,
    sizes::{Range, Sizes},
};
use crate::cel::parts::{UNUSED, qualified};
use crate::cel::{
    checker::Checked,
    types::{Declared, Type},
};

/// The most that a checked expression costs whose variables are values of `root`.
pub(crate) fn estimate(expression: &IdedExpr, checked: &Checked, root: &Rc<Declared>) -> u64 {
    let mut estimate = Estimate {
        checked,
        root,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimate.cost(expression).max
}

/// The steps from a variable to a place of the schema. As upstream has it, the first step is not looked at: what is of
/// no place is taken to be as large as the whole.
type Path = Vec<String>;

/// The sizes of what is in a list or a map, where they are known.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    /// Those of something that is the one or the other; none if one of them is not known.
    fn union(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (one, other) = (one?, other?);
        Some(Self {
            list: one.list,
            key: one.key.union(other.key),
            value: one.value.union(other.value),
        })
    }
}

/// A variable that the rule itself names.
struct Local<'a> {
    name: &'a str,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

pub(crate) struct Estimate<'a> {
    pub(crate) checked: &'a Checked,
    root: &'a Rc<Declared>,
    paths: HashMap<u64, Path>,
    sizes: HashMap<u64, Range>,
    entries: HashMap<u64, Entries>,
    locals: Vec<Local<'a>>,
}

impl<'a> Estimate<'a> {
    fn cost(&mut self, expression: &'a IdedExpr) -> Range {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Range::of(0),
            Expr::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.clone()],
                };
                self.paths.insert(expression.id, path);
                Range::of(1)
            }
            // The name of a type is a name like others.
            Expr::Select(_)
                if qualified(expression).is_some_and(|name| name.starts_with("google.protobuf.")) =>
            {
                self.paths.insert(expression.id, vec!["type".to_owned()]);
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
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => {
                let mut cost = Range::of(10);
                let mut value = Self::no_entries(list.elements.is_empty());
                for item in &list.elements {
                    cost = cost.plus(self.cost(item));
                    value = value.union(self.size(item));
                }
                let key = Range::of(1);
                self.entries.insert(
                    expression.id,
                    Entries {
                        list: true,
                        key,
                        value,
                    },
                );
                cost
            }
            Expr::Map(map) => {
                let mut cost = Range::of(30);
                let mut key = Self::no_entries(map.entries.is_empty());
                let mut value = key;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                        key = key.union(self.size(&entry.key));
                        value = value.union(self.size(&entry.value));
                    }
                }
                let list = false;
                self.entries.insert(expression.id, Entries { list, key, value });
                cost
            }
            Expr::Struct(made) => made.entries.iter().fold(Range::of(40), |cost, entry| {
                cost.plus(match &entry.expr {
                    EntryExpr::MapEntry(entry) => self.cost(&entry.value),
                    EntryExpr::StructField(field) => self.cost(&field.value),
                })
            }),
            Expr::Comprehension(whole) if whole.iter_var == UNUSED => self.named(expression.id, whole),
            Expr::Comprehension(whole) => self.comprehension(expression.id, whole),
        }
    }

    /// What is smaller than everything and larger than everything, or nothing at all.
    const fn no_entries(empty: bool) -> Range {
        Range {
            min: if empty { 0 } else { u64::MAX },
            max: 0,
        }
    }

    fn local(&self, name: &str) -> Option<&Local<'a>> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    /// The path of one expression is that of another and a step more.
    fn step(&mut self, id: u64, from: u64, step: &str) {
        let path = self.below(from, step);
        self.paths.insert(id, path);
    }

    fn below(&self, from: u64, step: &str) -> Path {
        let mut path = self.paths.get(&from).cloned().unwrap_or_default();
        path.push(step.to_owned());
        path
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

    /// What is known of the sizes of what is in a value.
    fn entries(&self, expression: &IdedExpr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expression.id) {
            return Some(*entries);
        }
        match &expression.expr {
            Expr::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    /// One expression is as large as another.
    fn same_size(&mut self, id: u64, other: &IdedExpr) {
        if let Some(size) = self.known(other) {
            self.sizes.insert(id, size);
        }
        if let Some(entries) = self.entries(other) {
            self.entries.insert(id, entries);
        }
    }

    fn call(&mut self, whole: &'a IdedExpr, call: &'a CallExpr) -> Range {
        let id = whole.id;
        if let ("dyn", [argument]) = (call.func_name.as_str(), call.args.as_slice()) {
            let cost = self.cost(argument).plus(Range::of(1));
            self.same_size(id, argument);
            return cost;
        }
        let costs: Vec<Range> = call.args.iter().map(|argument| self.cost(argument)).collect();
        let cost = |at: usize| costs.get(at).copied().unwrap_or(Range::of(0));
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => {
                self.sizes.insert(id, Range::of(1));
                return Range {
                    min: cost(0).min,
                    max: cost(0).plus(cost(1)).max,
                };
            }
            (operators::CONDITIONAL, [_, then, other]) => {
                let size = self.size(then).union(self.size(other));
                if let Some(entries) = Entries::union(self.entries(then), self.entries(other)) {
                    self.entries.insert(id, entries);
                }
                self.sizes.insert(id, size);
                return cost(0).plus(cost(1).union(cost(2)));
            }
            _ => {}
        }
        let all = costs.iter().fold(Range::of(0), |all, one| all.plus(*one));
        let target = call.target.as_deref().filter(|target| {
            let full = qualified(target).map(|target| format!("{target}.{}", call.func_name));
            full.is_none_or(|full| crate::cel::functions::named(&full).is_none())
        });
        let target_cost = target.map_or(Range::of(0), |target| self.cost(target));
        let mut own: Option<Range> = None;
        let mut made: Option<Range> = None;
        let fitting = self
            .checked
            .overloads
            .get(&id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for overload in fitting {
            let (price, size) = calls::price(self, call, target, overload);
            own = Some(own.map_or(price, |own| own.union(price)));
            made = match (made, size) {
                (Some(made), Some(size)) => Some(made.union(size)),
                (made, size) => made.or(size),
            };
            if let (operators::INDEX, [from, _]) = (call.func_name.as_str(), call.args.as_slice()) {
                let step = match overload.first() {
                    "list<A>" => Some("@items"),
                    "map<A,B>" => Some("@values"),
                    _ => None,
                };
                if let Some(step) = step {
                    made = self.entries(from).map(|entries| entries.value);
                    self.step(id, from.id, step);
                }
            }
            if let (operators::ADD, [a, b]) = (call.func_name.as_str(), call.args.as_slice())
                && let Some(entries) = Entries::union(self.entries(a), self.entries(b))
            {
                self.entries.insert(id, entries);
            }
            made = made.or_else(|| self.known(whole));
        }
        if let Some(size) = made {
            self.sizes.insert(id, size);
        }
        // A field that may be is of no form.
        let own = own.unwrap_or(Range::of(u64::from(call.func_name == operators::OPT_INDEX)));
        target_cost.plus(all).plus(own)
    }

    /// What only gives something a name.
    fn named(&mut self, id: u64, whole: &'a ComprehensionExpr) -> Range {
        let cost = self.cost(&whole.iter_range).plus(self.cost(&whole.accu_init));
        let local = self.bound(&whole.accu_var, &whole.accu_init);
        self.locals.push(local);
        let cost = cost.plus(self.cost(&whole.result));
        self.same_size(id, &whole.result);
        self.locals.pop();
        cost
    }

    fn bound(&self, name: &'a str, to: &IdedExpr) -> Local<'a> {
        Local {
            name,
            path: self.paths.get(&to.id).cloned().unwrap_or_default(),
            size: self.known(to),
            entries: self.entries(to),
        }
    }

    fn comprehension(&mut self, id: u64, whole: &'a ComprehensionExpr) -> Range {
        let range = &whole.iter_range;
        let once = self.cost(range).plus(self.cost(&whole.accu_init));
        let depth = self.locals.len();
        let accumulated = self.bound(&whole.accu_var, &whole.accu_init);
        self.locals.push(accumulated);
        let entries = self.entries(range);
        let list = entries.map_or_else(
            || matches!(self.typed(range), Some(Type::List(_))),
            |entries| entries.list,
        );
        let (key, value) = (
            entries.map(|entries| entries.key),
            entries.map(|entries| entries.value),
        );
        let mut push = |name: &'a str, step: &str, size: Option<Range>| {
            let path = self.below(range.id, step);
            self.locals.push(Local {
                name,
                path,
                size,
                entries: None,
            });
        };
        match (&whole.iter_var2, list) {
            (None, true) => push(&whole.iter_var, "@items", value),
            (None, false) => push(&whole.iter_var, "@keys", key),
            (Some(second), list) => {
                push(&whole.iter_var, if list { "@indices" } else { "@keys" }, key);
                push(second, if list { "@items" } else { "@values" }, value);
            }
        }
        let each = self.cost(&whole.loop_cond).plus(self.cost(&whole.loop_step));
        let made = self.entries(&whole.loop_step);
        self.locals.truncate(depth + 1);
        let once = once.plus(self.cost(&whole.result));
        let times = self.size(range);
        match &whole.accu_init.expr {
            Expr::Literal(_) => {
                self.sizes.insert(id, Range::of(1));
            }
            Expr::List(_) | Expr::Map(_) => {
                self.sizes.insert(id, times);
                if let Some(made) = made {
                    self.entries.insert(id, made);
                }
            }
            _ => {}
        }
        self.locals.truncate(depth);
        once.plus(times.times(each))
    }
}

impl Sizes for Estimate<'_> {
    fn typed(&self, expression: &IdedExpr) -> Option<&Type> {
        self.checked.types.get(&expression.id)
    }

    fn known(&self, expression: &IdedExpr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expression.id) {
            return Some(*size);
        }
        match &expression.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                return Some(Range::of(text.inner().chars().count() as u64));
            }
            Expr::Literal(LiteralValue::Bytes(bytes)) => return Some(Range::of(bytes.inner().len() as u64)),
            Expr::Literal(_) => return Some(Range::of(1)),
            Expr::List(list) => return Some(Range::of(list.elements.len() as u64)),
            Expr::Map(map) => return Some(Range::of(map.entries.len() as u64)),
            _ => {}
        }
        let path = self.paths.get(&expression.id);
        if let Some(size) = path.and_then(|path| self.declared(path)) {
            return Some(size);
        }
        if self.typed(expression).is_some_and(Type::is_scalar) {
            return Some(Range::of(1));
        }
        match &expression.expr {
            Expr::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn size(&self, expression: &IdedExpr) -> Range {
        self.known(expression).unwrap_or(Range::UNKNOWN)
    }

    fn item_size(&self, list: &IdedExpr) -> Range {
        let path = self.paths.get(&list.id).filter(|path| !path.is_empty());
        let size = path.and_then(|_| self.declared(&self.below(list.id, "@items")));
        size.unwrap_or(Range::UNKNOWN)
    }
}
