//! The walks of server-side apply: the fields of an object, the difference of two, their merge, and removal.
//!
//! The rules are those of `sigs.k8s.io/structured-merge-diff`: a scalar, an atomic list or map, and an empty one are
//! leaves; a container belongs to the manager that adds it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    set::{Element, FieldSet, field},
    shape::{Form, Shape},
};

/// What differs between two objects.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

/// Checks an applied object against what the schema knows; each message begins with its path.
pub(super) fn check(value: &Value, shape: &Shape<'_>) -> Result<(), String> {
    let mut errors = Vec::new();
    check_at(value, shape, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn check_at(value: &Value, shape: &Shape<'_>, path: &str, errors: &mut Vec<String>) {
    let at = |message: String| {
        if path.is_empty() {
            message
        } else {
            format!("{path}: {message}")
        }
    };
    if matches!(shape, Shape::Unknown) {
        errors.push(at("field not declared in schema".into()));
        return;
    }
    if let Some(message) = shape.mismatch(value) {
        errors.push(at(message));
        return;
    }
    let form = shape.form(value);
    match &form {
        Form::Leaf => {}
        Form::Map(map) => {
            for (name, value) in *map {
                check_at(value, &shape.declared(name), &format!("{path}.{name}"), errors);
            }
        }
        Form::Set(_) | Form::Keyed(..) => {
            let children = match form.children() {
                Ok(children) => children,
                Err(message) => {
                    errors.push(at(message));
                    return;
                }
            };
            let items = shape.items();
            for (index, (element, value)) in children.iter().enumerate() {
                let mut one = FieldSet::default();
                one.insert(std::slice::from_ref(element));
                let element_path = one.paths().concat();
                if children.iter().take(index).any(|(earlier, _)| earlier == element) {
                    errors.push(at(format!("duplicate entries for key {element_path}")));
                    return;
                }
                check_at(value, &items, &format!("{path}{element_path}"), errors);
            }
        }
    }
}

/// Every field that an object has.
pub(super) fn fields(value: &Value, shape: &Shape<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    gather(value, shape, &mut Vec::new(), &mut set);
    set
}

fn gather(value: &Value, shape: &Shape<'_>, path: &mut Vec<Element>, set: &mut FieldSet) {
    match shape.form(value) {
        Form::Leaf => set.insert(path),
        Form::Map(map) => {
            for (name, value) in map {
                let (sub, named) = shape.field(name);
                path.push(field(name));
                gather(value, &sub, path, set);
                if !named || value.is_null() || value.as_object().is_some_and(Map::is_empty) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        list @ (Form::Set(_) | Form::Keyed(..)) => {
            let items = shape.items();
            for (element, value) in list.children().unwrap_or_default() {
                path.push(element);
                gather(value, &items, path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// What changed from `old` to `new`.
pub(super) fn compare(old: &Value, new: &Value, shape: &Shape<'_>) -> Difference {
    let mut difference = Difference::default();
    differ(Some(old), Some(new), shape, &mut Vec::new(), &mut difference);
    difference
}

fn differ(
    old: Option<&Value>,
    new: Option<&Value>,
    shape: &Shape<'_>,
    path: &mut Vec<Element>,
    difference: &mut Difference,
) {
    if old.is_some() && old == new {
        return;
    }
    let forms = (
        old.map(|value| shape.form(value)),
        new.map(|value| shape.form(value)),
    );
    let empty = |form: &Option<Form<'_>>| form.as_ref().is_none_or(Form::is_empty);
    let is_leaf = |form: &Option<Form<'_>>| form.as_ref().is_some_and(Form::is_leaf);
    if is_leaf(&forms.0) || is_leaf(&forms.1) || (empty(&forms.0) && empty(&forms.1)) {
        match (old, new) {
            (None, _) => difference.added.insert(path),
            (_, None) => difference.removed.insert(path),
            (Some(old), Some(new)) if old != new => difference.modified.insert(path),
            _ => {}
        }
        // Where one side is a leaf and the other is not, what was inside of the other went or came.
        for (form, side) in [(&forms.0, true), (&forms.1, false)] {
            if let Some(form) = form
                .as_ref()
                .filter(|form| !form.is_leaf() && old.is_some() && new.is_some())
            {
                for (element, value) in form.children().unwrap_or_default() {
                    let sub = shape.element(&element).1;
                    path.push(element);
                    let (old, new) = if side {
                        (Some(value), None)
                    } else {
                        (None, Some(value))
                    };
                    differ(old, new, &sub, path, difference);
                    path.pop();
                }
            }
        }
        return;
    }
    let (before, after) = (children(forms.0.as_ref()), children(forms.1.as_ref()));
    let (olds, news) = (by_element(&before), by_element(&after));
    let mut seen = BTreeSet::new();
    for (element, _) in before.iter().chain(&after) {
        if !seen.insert(element.as_str()) {
            continue;
        }
        let (old, new) = (olds.get(element.as_str()), news.get(element.as_str()));
        let sub = shape.element(element).1;
        path.push(element.clone());
        differ(old.copied(), new.copied(), &sub, path, difference);
        path.pop();
    }
    if !path.is_empty() {
        match (old, new) {
            (None, _) => difference.added.insert(path),
            (_, None) => difference.removed.insert(path),
            _ => {}
        }
    }
}

fn children<'v>(form: Option<&Form<'v>>) -> Vec<(Element, &'v Value)> {
    form.and_then(|form| form.children().ok()).unwrap_or_default()
}

/// The first child of each element.
fn by_element<'a>(children: &'a [(Element, &'a Value)]) -> BTreeMap<&'a str, &'a Value> {
    let each = children.iter().rev();
    each.map(|(element, value)| (element.as_str(), *value)).collect()
}

/// `config` laid over `live`.
pub(super) fn merge(live: &Value, config: &Value, shape: &Shape<'_>) -> Value {
    let (mine, theirs) = (shape.form(live), shape.form(config));
    match (&mine, &theirs) {
        (Form::Map(live_map), Form::Map(config_map)) => {
            let mut merged = (*live_map).clone();
            for (name, value) in *config_map {
                let (sub, _) = shape.field(name);
                let next = live_map
                    .get(name)
                    .map_or_else(|| value.clone(), |old| merge(old, value, &sub));
                merged.insert(name.clone(), next);
            }
            Value::Object(merged)
        }
        (Form::Set(_) | Form::Keyed(..), Form::Set(_) | Form::Keyed(..)) => {
            match (mine.children(), theirs.children()) {
                (Ok(mine), Ok(theirs)) => Value::Array(merge_lists(&mine, &theirs, &shape.items())),
                _ => config.clone(),
            }
        }
        // An explicit null does not empty what others filled.
        (Form::Map(_) | Form::Set(_) | Form::Keyed(..), Form::Leaf) if config.is_null() => live.clone(),
        _ => config.clone(),
    }
}

/// Items that both have stand in the order of what is applied, with what only the live list has between them.
fn merge_lists(live: &[(Element, &Value)], config: &[(Element, &Value)], items: &Shape<'_>) -> Vec<Value> {
    let has = |list: &[(Element, &Value)], wanted: &str| list.iter().any(|(element, _)| element == wanted);
    let take = |element: &str, value: &Value| {
        let old = live
            .iter()
            .find(|(known, _)| known == element)
            .map(|(_, old)| *old);
        old.map_or_else(|| value.clone(), |old| merge(old, value, items))
    };
    let mut shared = config
        .iter()
        .filter(|(element, _)| has(live, element))
        .map(|(element, _)| element.as_str());
    let mut next_shared = shared.next();
    let mut merged: Vec<&str> = Vec::new();
    let mut result = Vec::with_capacity(live.len().max(config.len()));
    let (mut left, mut right) = (0, 0);
    loop {
        match (live.get(left), config.get(right)) {
            (None, None) => return result,
            (Some((mine, _)), Some((theirs, value))) if mine == theirs => {
                result.push(take(theirs, value));
                merged.push(theirs);
                left += 1;
                right += 1;
                next_shared = shared.next();
                continue;
            }
            (Some((mine, _)), Some(_))
                if has(config, mine) && next_shared.is_some_and(|next| next != mine) =>
            {
                left += 1;
                continue;
            }
            _ => {}
        }
        if let Some((mine, value)) = live.get(left) {
            if !has(config, mine) {
                result.push((*value).clone());
                left += 1;
                continue;
            }
            if merged.contains(&mine.as_str()) {
                left += 1;
            }
        }
        if let Some((theirs, value)) = config.get(right) {
            result.push(take(theirs, value));
            merged.push(theirs);
            right += 1;
            if next_shared == Some(theirs.as_str()) {
                next_shared = shared.next();
            }
        }
    }
}

/// The object without the fields of `gone`; none if nothing is left. A container that loses all it had goes too,
/// unless `owned` has it, so that an applied empty map stays.
pub(super) fn remove(value: &Value, gone: &FieldSet, owned: &FieldSet, shape: &Shape<'_>) -> Option<Value> {
    let form = shape.form(value);
    if form.is_leaf() {
        let container = value.is_array() || value.is_object();
        return (!container).then(|| value.clone());
    }
    let nothing = FieldSet::default();
    let mut kept = Vec::new();
    for (element, value) in form.children().unwrap_or_default() {
        if gone.has(&element) {
            continue;
        }
        let left = match gone.below(&element) {
            Some(below) => {
                let within = owned.below(&element).unwrap_or(&nothing);
                let empty = || owned.has(&element).then(|| emptied(value));
                remove(value, below, within, &shape.element(&element).1).or_else(empty)
            }
            None => Some(value.clone()),
        };
        if let Some(left) = left {
            kept.push((element, left));
        }
    }
    if kept.is_empty() {
        return None;
    }
    Some(if form.is_map() {
        let fields = kept
            .into_iter()
            .filter_map(|(element, value)| Some((element.strip_prefix("f:")?.to_owned(), value)));
        Value::Object(fields.collect())
    } else {
        Value::Array(kept.into_iter().map(|(_, value)| value).collect())
    })
}

fn emptied(value: &Value) -> Value {
    if value.is_array() {
        Value::Array(Vec::new())
    } else {
        Value::Object(Map::new())
    }
}
