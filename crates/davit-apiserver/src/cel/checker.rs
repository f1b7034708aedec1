//! Whether a rule makes sense, before it ever runs: every name is known, and every function takes what it is given.
//!
//! The faults are worded and placed as upstream words and places them. What is found out on the way, the type of each
//! part and the form of each function, is what the estimate of the cost goes by.

use std::{collections::HashMap, rc::Rc};

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    functions::{self, Overload},
    types::{Bindings, Declared, Kind, Type},
};
use crate::{
    cel::{
        conversions, macros,
        parts::{is_result, qualified},
        positions::{Tokens, shown},
    },
    schema::{duration::parse_duration, node},
};

/// What is known of an expression that has been checked.
pub(crate) struct Checked {
    /// The type of the whole.
    pub(crate) gives: Type,
    pub(crate) types: HashMap<u64, Type>,
    pub(crate) overloads: HashMap<u64, Vec<&'static Overload>>,
}

/// Checks an expression whose variables have these types; the error is the text that upstream gives.
pub(crate) fn check(
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
        misused: Vec::new(),
        faults: Vec::new(),
        literals: Vec::new(),
        aggregates: Vec::new(),
        formatted: 0,
        around: 0,
        filter: None,
    };
    let gives = check.visit(expression);
    // As upstream looks: first what the parser says, then the types, and only then what literals there are.
    let mut faults = std::mem::take(&mut check.misused);
    if faults.is_empty() {
        faults = std::mem::take(&mut check.faults);
    }
    if faults.is_empty() {
        faults = std::mem::take(&mut check.literals);
        faults.extend(check.mixtures());
    }
    let Check {
        bindings,
        types,
        overloads,
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

pub(crate) struct Check<'a> {
    pub(crate) tokens: Tokens<'a>,
    pub(crate) scope: Vec<(String, Type)>,
    pub(crate) bindings: Bindings,
    pub(crate) types: HashMap<u64, Type>,
    pub(crate) overloads: HashMap<u64, Vec<&'static Overload>>,
    /// What calls of macros are not as they have to be.
    pub(crate) misused: Vec<(usize, String)>,
    pub(crate) faults: Vec<(usize, String)>,
    /// What literals no function can read.
    pub(crate) literals: Vec<(usize, String)>,
    /// The types of what stands in each list, of the keys of each map, of its values; and their places.
    pub(crate) aggregates: Vec<Vec<(Type, usize)>>,
    /// Within how many arguments of `format`: what is put into a text may be of any type.
    pub(crate) formatted: usize,
    /// The place of the loop whose step comes.
    pub(crate) around: usize,
    /// The number of the filter of what the loop collects.
    pub(crate) filter: Option<u64>,
}

impl Check<'_> {
    pub(crate) fn fault(&mut self, place: usize, what: String) -> Type {
        self.faults.push((place, what));
        Type::Error
    }

    pub(crate) fn visit(&mut self, expression: &IdedExpr) -> Type {
        let typed = self.visit_here(expression).0;
        self.types.insert(expression.id, typed.clone());
        typed
    }

    /// The type, and the place at which a fault of this part is shown.
    pub(crate) fn visit_placed(&mut self, expression: &IdedExpr) -> (Type, usize) {
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
                let mut items = Vec::new();
                for (at, element) in list.elements.iter().enumerate() {
                    items.push(self.element(element, list.optional_indices.contains(&at)));
                }
                (Type::List(Box::new(self.joined(items))), place)
            }
            Expr::Map(map) => {
                let place = self.tokens.pass("{");
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        keys.push(self.element(&entry.key, false));
                        values.push(self.element(&entry.value, entry.optional));
                    }
                }
                let (key, value) = (self.joined(keys), self.joined(values));
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

    /// A part of a list or a map, and its place; of an optional one, what it is if it is.
    fn element(&mut self, element: &IdedExpr, optional: bool) -> (Type, usize) {
        let (given, place) = self.visit_placed(element);
        match (optional, self.bindings.resolved(&given)) {
            (true, Type::Optional(inner)) => (*inner, place),
            (true, given) if !matches!(given, Type::Dyn | Type::Error | Type::Param(_)) => {
                let shown = self.bindings.settled(&given);
                let what = format!("expected type 'optional_type({shown})' but found '{shown}'");
                (self.fault(place, what), place)
            }
            (_, given) => (given, place),
        }
    }

    /// The type of the items of a list of these: anything if they are of several.
    fn joined(&mut self, items: Vec<(Type, usize)>) -> Type {
        let mut all: Option<Type> = None;
        for (given, _) in &items {
            all = Some(match all {
                None => given.clone(),
                Some(all) => {
                    let before = self.bindings.clone();
                    if self.bindings.assign(&all, given) {
                        self.bindings.general(all, given.clone())
                    } else {
                        self.bindings = before;
                        Type::Dyn
                    }
                }
            });
        }
        if self.formatted == 0 {
            self.aggregates.push(items);
        }
        all.unwrap_or_else(|| self.bindings.fresh())
    }

    /// What stands in lists and maps beside what is of another type.
    fn mixtures(&self) -> Vec<(usize, String)> {
        let mut faults = Vec::new();
        for items in &self.aggregates {
            let mut shown = items
                .iter()
                .map(|(typed, place)| (self.bindings.settled(typed).to_string(), *place));
            let Some((wanted, _)) = shown.next() else { continue };
            if let Some((found, place)) = shown.find(|(found, _)| *found != wanted) {
                faults.push((place, format!("expected type '{wanted}' but found '{found}'")));
            }
        }
        faults
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
            Type::Dyn | Type::Param(_) | Type::Error => Type::Dyn,
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
                self.fault(place, format!("type '{typed}' does not support field selection"));
                Type::Dyn
            }
        }
    }

    pub(crate) fn expect(&mut self, given: &Type, wanted: &Type, place: usize) {
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
        if let Some(wrong) = macros::misused(call) {
            return self.misuse(call, wrong);
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
            self.formatted += usize::from(function == "format");
            let (typed, place) = self.visit_placed(argument);
            self.formatted -= usize::from(function == "format");
            types.push(typed);
            let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
                continue;
            };
            let last = at + 1 == arguments.len();
            let fine = match function {
                "matches" if last => node::build(text.inner()).is_ok(),
                "timestamp" => conversions::is_time(text.inner()),
                "duration" => parse_duration(text.inner()).is_some(),
                _ => true,
            };
            if !fine {
                self.literals
                    .push((place, format!("invalid {function} argument")));
            }
        }
        types
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
    pub(crate) fn resolve(
        &mut self,
        id: u64,
        name: &str,
        member: bool,
        arguments: &[Type],
        place: usize,
    ) -> Type {
        let Some(overloads) = functions::named(name) else {
            return self.fault(
                place,
                format!("undeclared reference to '{name}' (in container '')"),
            );
        };
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

/// The variables of a rule on that place.
pub(crate) fn variables(declared: &Rc<Declared>, optional_old_self: bool) -> [(&'static str, Type); 2] {
    let own = declared.typed();
    let old = if optional_old_self {
        Type::Optional(Box::new(own.clone()))
    } else {
        own.clone()
    };
    [("self", own), ("oldSelf", old)]
}
