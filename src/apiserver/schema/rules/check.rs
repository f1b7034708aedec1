//! Whether a rule makes sense, before it ever runs: every name is known, and every function takes what it is given.
//!
//! The faults are worded and placed as upstream words and places them. What is found out on the way, the type of each
//! part and the form of each function, is what the estimate of the cost goes by.

use std::{collections::HashMap, rc::Rc};

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    declared::{Declared, Kind},
    functions::{self, Overload},
    tokens::{Tokens, shown},
    types::{Bindings, Type},
};
use crate::apiserver::schema::{formats::parse_duration, node, optionals};

/// What is known of an expression that has been checked.
pub(super) struct Checked {
    /// The type of the whole.
    pub(super) gives: Type,
    pub(super) types: HashMap<u64, Type>,
    pub(super) overloads: HashMap<u64, Vec<&'static Overload>>,
}

/// Checks an expression whose variables have these types; the error is the text that upstream gives.
pub(super) fn check(
    source: &str,
    expression: &IdedExpr,
    variables: &[(&str, Type)],
) -> Result<Checked, String> {
    let mut check = Check {
        tokens: Tokens::new(source),
        scope: variables
            .iter()
            .map(|(name, typed)| ((*name).to_owned(), typed.clone()))
            .collect(),
        bindings: Bindings::default(),
        types: HashMap::new(),
        overloads: HashMap::new(),
        faults: Vec::new(),
        mixed: false,
    };
    let gives = check.visit(expression);
    let Check {
        bindings,
        types,
        overloads,
        mut faults,
        ..
    } = check;
    if faults.is_empty() {
        let settle = |(id, typed): (u64, Type)| (id, bindings.settled(&typed));
        return Ok(Checked {
            gives: bindings.settled(&gives),
            types: types.into_iter().map(settle).collect(),
            overloads,
        });
    }
    faults.sort_by_key(|(place, _)| *place);
    let texts: Vec<String> = faults
        .iter()
        .map(|(place, fault)| shown(source, *place, fault))
        .collect();
    Err(texts.join("\n"))
}

struct Check<'a> {
    tokens: Tokens<'a>,
    scope: Vec<(String, Type)>,
    bindings: Bindings,
    types: HashMap<u64, Type>,
    overloads: HashMap<u64, Vec<&'static Overload>>,
    faults: Vec<(usize, String)>,
    /// Whether the list that comes may hold items of several types.
    mixed: bool,
}

impl Check<'_> {
    fn fault(&mut self, place: usize, what: String) -> Type {
        self.faults.push((place, what));
        Type::Error
    }

    fn visit(&mut self, expression: &IdedExpr) -> Type {
        let typed = self.visit_here(expression).0;
        self.types.insert(expression.id, typed.clone());
        typed
    }

    /// The type, and the place at which a fault of this part is shown.
    fn visit_placed(&mut self, expression: &IdedExpr) -> (Type, usize) {
        let (typed, place) = self.visit_here(expression);
        self.types.insert(expression.id, typed.clone());
        (typed, place)
    }

    fn visit_here(&mut self, expression: &IdedExpr) -> (Type, usize) {
        match &expression.expr {
            Expr::Unspecified => (Type::Error, 0),
            Expr::Literal(literal) => {
                let place = self.tokens.pass_literal();
                (literal_type(literal), place)
            }
            Expr::Ident(name) => {
                let place = self.tokens.pass(name);
                (self.ident(name, place), place)
            }
            Expr::Select(select) => {
                let before = select.test.then(|| {
                    self.tokens.pass("has");
                    self.tokens.pass("(")
                });
                if let Some(named) = qualified(expression).filter(|name| name.starts_with("google.protobuf."))
                {
                    let known = match named.as_str() {
                        "google.protobuf.Timestamp" => Some("timestamp"),
                        "google.protobuf.Duration" => Some("duration"),
                        _ => None,
                    };
                    if let Some(known) = known {
                        return (Type::Meta(Box::new(Type::Plain(known))), self.tokens.here());
                    }
                }
                let operand = self.visit(&select.operand);
                let dot = self.tokens.pass_field(&select.field);
                let place = before.unwrap_or(dot);
                let typed = self.field(&operand, &select.field, place);
                (
                    if select.test && !matches!(typed, Type::Error) {
                        Type::BOOL
                    } else {
                        typed
                    },
                    place,
                )
            }
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => {
                let place = self.tokens.pass("[");
                // What is put into a text may be of any type.
                let item = if std::mem::take(&mut self.mixed) {
                    Type::Dyn
                } else {
                    self.bindings.fresh()
                };
                for (at, element) in list.elements.iter().enumerate() {
                    let (given, place) = self.visit_placed(element);
                    let given = match (
                        list.optional_indices.contains(&at),
                        self.bindings.resolved(&given),
                    ) {
                        (true, Type::Optional(inner)) => *inner,
                        (_, given) => given,
                    };
                    self.expect(&given, &item, place);
                }
                (Type::List(Box::new(item)), place)
            }
            Expr::Map(map) => {
                let place = self.tokens.pass("{");
                let (key, value) = (self.bindings.fresh(), self.bindings.fresh());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let (given, place) = self.visit_placed(&entry.key);
                        self.expect(&given, &key, place);
                        let (given, place) = self.visit_placed(&entry.value);
                        let given = match (entry.optional, self.bindings.resolved(&given)) {
                            (true, Type::Optional(inner)) => *inner,
                            (_, given) => given,
                        };
                        self.expect(&given, &value, place);
                    }
                }
                (Type::Map(Box::new(key), Box::new(value)), place)
            }
            Expr::Struct(made) => {
                let place = self.tokens.here();
                let what = format!("undeclared reference to '{}' (in container '')", made.type_name);
                (self.fault(place, what), place)
            }
            Expr::Comprehension(whole) => self.comprehension(whole),
        }
    }

    fn ident(&mut self, name: &str, place: usize) -> Type {
        if let Some((_, typed)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return typed.clone();
        }
        match functions::TYPES.iter().find(|known| **known == name) {
            Some(name) => Type::Meta(Box::new(Type::Plain(name))),
            None => self.fault(
                place,
                format!("undeclared reference to '{name}' (in container '')"),
            ),
        }
    }

    fn field(&mut self, operand: &Type, field: &str, place: usize) -> Type {
        match self.bindings.resolved(operand) {
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Error => Type::Error,
            Type::Map(_, value) => *value,
            Type::Optional(inner) => match self.field(&inner, field, place) {
                Type::Error => Type::Error,
                found => Type::Optional(Box::new(found)),
            },
            Type::Object(declared) => match &declared.kind {
                Kind::Object(fields) => match fields.get(field) {
                    Some(found) => found.typed(),
                    None => self.fault(place, format!("undefined field '{field}'")),
                },
                _ => Type::Dyn,
            },
            other => {
                let typed = self.bindings.settled(&other);
                self.fault(place, format!("type '{typed}' does not support field selection"))
            }
        }
    }

    fn expect(&mut self, given: &Type, wanted: &Type, place: usize) {
        let before = self.bindings.clone();
        if !self.bindings.assign(given, wanted) {
            self.bindings = before;
            let (given, wanted) = (self.bindings.settled(given), self.bindings.settled(wanted));
            self.fault(place, format!("expected type '{wanted}' but found '{given}'"));
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> (Type, usize) {
        let name = call.func_name.as_str();
        if call.args.iter().any(is_result) {
            return self.step(id, call);
        }
        if matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR) {
            let mut place = 0;
            for (at, argument) in call.args.iter().enumerate() {
                if at == 1 {
                    place = self.sign(name);
                }
                let (given, at) = self.visit_placed(argument);
                self.expect(&given, &Type::BOOL, at);
            }
            return (Type::BOOL, place);
        }
        if name == operators::OPT_INDEX
            && let [operand, field] = call.args.as_slice()
            && let Expr::Literal(LiteralValue::String(field)) = &field.expr
        {
            let typed = self.visit(operand);
            if self.is_object(&typed) {
                let field = field.inner();
                let place = self.tokens.pass_field(field);
                let found = match self.field(&typed, field, place) {
                    Type::Error => Type::Error,
                    found @ Type::Optional(_) => found,
                    found => Type::Optional(Box::new(found)),
                };
                return (found, place);
            }
            let place = self.tokens.pass("?");
            self.tokens.pass_literal();
            return (
                self.resolve(id, name, false, &[typed, Type::STRING], place),
                place,
            );
        }
        if let Some(target) = &call.target {
            let full = qualified(target).map(|target| format!("{target}.{name}"));
            if let Some(full) = full.filter(|full| functions::named(full).is_some()) {
                self.tokens.pass(name);
                let place = self.tokens.pass("(");
                let arguments = self.arguments(name, &call.args);
                return (self.resolve(id, &full, false, &arguments, place), place);
            }
            let mut arguments = vec![self.visit(target)];
            self.tokens.pass_field(name);
            let place = self.tokens.pass("(");
            arguments.extend(self.arguments(name, &call.args));
            return (self.resolve(id, name, true, &arguments, place), place);
        }
        let operator = name.contains('_') && !name.contains(char::is_alphanumeric) || name == operators::IN;
        let prefix = matches!(name, operators::LOGICAL_NOT | operators::NEGATE);
        let mut place = 0;
        if prefix {
            place = self.sign(name);
        } else if !operator && !name.starts_with('@') {
            self.tokens.pass(name);
            place = self.tokens.pass("(");
        }
        if !operator || prefix {
            let arguments = self.arguments(name, &call.args);
            return (self.resolve(id, name, false, &arguments, place), place);
        }
        let mut arguments = Vec::new();
        for (at, argument) in call.args.iter().enumerate() {
            if at == 1 {
                place = self.sign(name);
            }
            arguments.push(self.visit(argument));
        }
        (self.resolve(id, name, false, &arguments, place), place)
    }

    /// The arguments of a function; a literal that the function cannot read is a fault.
    fn arguments(&mut self, function: &str, arguments: &[IdedExpr]) -> Vec<Type> {
        let mut types = Vec::new();
        for (at, argument) in arguments.iter().enumerate() {
            self.mixed = function == "format" && matches!(argument.expr, Expr::List(_));
            let (typed, place) = self.visit_placed(argument);
            types.push(typed);
            let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
                continue;
            };
            let last = at + 1 == arguments.len();
            let fine = match function {
                "matches" if last => node::build(text.inner()).is_ok(),
                "timestamp" => text.inner().parse::<jiff::Timestamp>().is_ok(),
                "duration" => parse_duration(text.inner()).is_some(),
                _ => true,
            };
            if !fine {
                self.fault(place, format!("invalid {function} argument"));
            }
        }
        types
    }

    /// One step of a loop, which a macro made around what stands in the text.
    fn step(&mut self, id: u64, call: &CallExpr) -> (Type, usize) {
        let mut place = self.tokens.here();
        let mut arguments = Vec::new();
        for argument in &call.args {
            let (typed, at) = match &argument.expr {
                Expr::List(list) => match list.elements.as_slice() {
                    [one] if !matches!(one.expr, Expr::Ident(_)) => {
                        let (item, at) = self.visit_placed(one);
                        let typed = Type::List(Box::new(item));
                        self.types.insert(argument.id, typed.clone());
                        (typed, at)
                    }
                    _ => (self.hidden(|check| check.visit(argument)), place),
                },
                Expr::Literal(_) | Expr::Ident(_) => {
                    let hide = is_result(argument) || call.func_name == operators::ADD;
                    if hide {
                        (self.hidden(|check| check.visit(argument)), place)
                    } else {
                        self.visit_placed(argument)
                    }
                }
                _ => self.visit_placed(argument),
            };
            if !is_result(argument) {
                place = at;
            }
            if matches!(
                call.func_name.as_str(),
                operators::LOGICAL_AND | operators::LOGICAL_OR
            ) {
                self.expect(&typed, &Type::BOOL, place);
            }
            arguments.push(typed);
        }
        match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR => (Type::BOOL, place),
            name => (self.resolve(id, name, false, &arguments, place), place),
        }
    }

    /// Passes the sign of an operator.
    fn sign(&mut self, name: &str) -> usize {
        let sign = match name {
            operators::INDEX | operators::OPT_INDEX => "[",
            operators::CONDITIONAL => "?",
            operators::IN => "in",
            other => other.trim_matches('_'),
        };
        self.tokens.pass(sign)
    }

    fn is_object(&self, typed: &Type) -> bool {
        match self.bindings.resolved(typed) {
            Type::Object(_) => true,
            Type::Optional(inner) => self.is_object(&inner),
            _ => false,
        }
    }

    /// What the call gives: that of the first form that takes the arguments, or anything if several do.
    fn resolve(&mut self, id: u64, name: &str, member: bool, arguments: &[Type], place: usize) -> Type {
        let Some(overloads) = functions::named(name) else {
            return self.fault(
                place,
                format!("undeclared reference to '{name}' (in container '')"),
            );
        };
        if arguments.iter().any(|argument| matches!(argument, Type::Error)) {
            return Type::Error;
        }
        let mut given: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in overloads {
            let mut bindings = self.bindings.clone();
            let Some(result) = overload.call(member, arguments, &mut bindings) else {
                continue;
            };
            fitting.push(overload);
            given = Some(match given {
                None => {
                    self.bindings = bindings;
                    result
                }
                Some(before) => {
                    let same = bindings.settled(&before).to_string() == bindings.settled(&result).to_string();
                    if same { before } else { Type::Dyn }
                }
            });
        }
        self.overloads.insert(id, fitting);
        given.unwrap_or_else(|| {
            let mut texts = arguments
                .iter()
                .map(|argument| self.bindings.settled(argument).to_string());
            let target = if member { texts.next() } else { None };
            let rest = texts.collect::<Vec<_>>().join(", ");
            let applied = target.map_or_else(|| format!("({rest})"), |target| format!("{target}.({rest})"));
            self.fault(
                place,
                format!("found no matching overload for '{name}' applied to '{applied}'"),
            )
        })
    }

    fn comprehension(&mut self, whole: &ComprehensionExpr) -> (Type, usize) {
        if whole.iter_var == optionals::UNUSED {
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
        let item = match self.bindings.resolved(&range) {
            Type::List(item) => *item,
            Type::Map(key, _) => *key,
            Type::Dyn | Type::Error | Type::Param(_) => Type::Dyn,
            other => {
                let typed = self.bindings.settled(&other);
                self.fault(
                    place,
                    format!("expression of type '{typed}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                )
            }
        };
        // Past the name of the variable, which is no reference to it.
        self.tokens.pass("(");
        self.tokens.pass(&whole.iter_var);
        self.tokens.pass(",");
        let accumulated = self.hidden(|check| check.visit(&whole.accu_init));
        let depth = self.scope.len();
        self.scope.push((whole.accu_var.clone(), accumulated.clone()));
        self.scope.push((whole.iter_var.clone(), item));
        let condition = self.hidden(|check| check.visit(&whole.loop_cond));
        self.expect(&condition, &Type::BOOL, place);
        let (step, at) = self.visit_placed(&whole.loop_step);
        self.expect(&step, &accumulated, at);
        self.scope.truncate(depth + 1);
        let result = self.hidden(|check| check.visit(&whole.result));
        self.scope.truncate(depth);
        (result, place)
    }

    /// Visits what a macro made, of which nothing stands in the text.
    fn hidden<T>(&mut self, visit: impl FnOnce(&mut Self) -> T) -> T {
        let kept = std::mem::replace(&mut self.tokens, Tokens::new(""));
        let result = visit(self);
        self.tokens = kept;
        result
    }
}

/// What a loop has come to: a name that no text has.
fn is_result(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "@result")
}

fn literal_type(literal: &LiteralValue) -> Type {
    Type::Plain(match literal {
        LiteralValue::Boolean(_) => "bool",
        LiteralValue::Bytes(_) => "bytes",
        LiteralValue::Double(_) => "double",
        LiteralValue::Int(_) => "int",
        LiteralValue::Null => "null",
        LiteralValue::String(_) => "string",
        LiteralValue::UInt(_) => "uint",
    })
}

/// The name that a chain of fields spells: `format.named`.
pub(super) fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified(&select.operand)?, select.field))
        }
        _ => None,
    }
}

/// The variables of a rule on that place.
pub(super) fn variables(declared: &Rc<Declared>, optional_old_self: bool) -> [(&'static str, Type); 2] {
    let own = declared.typed();
    let old = if optional_old_self {
        Type::Optional(Box::new(own.clone()))
    } else {
        own.clone()
    };
    [("self", own), ("oldSelf", old)]
}
