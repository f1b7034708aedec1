//! Values as `%s` of `format` writes them: those in lists and maps as an expression would say them.

use std::sync::Arc;

use kube_cel::cel::{Value as Cel, objects::Key};

use super::{conversions, types_lib::Named};
use crate::field::quote;

/// The arguments of a format, with those that are written as texts turned into them.
pub(crate) fn arguments(format: &str, arguments: Cel) -> Cel {
    let Cel::List(list) = &arguments else {
        return arguments;
    };
    let mut verbs = verbs(format);
    let shown = list.iter().map(|value| match verbs.next() {
        Some('s') => written(value).map_or_else(|| value.clone(), |text| Cel::String(Arc::new(text))),
        _ => value.clone(),
    });
    Cel::List(Arc::new(shown.collect()))
}

/// What is asked for by each clause that takes an argument.
fn verbs(format: &str) -> impl Iterator<Item = char> {
    let mut signs = format.chars().peekable();
    std::iter::from_fn(move || {
        loop {
            if signs.next()? != '%' {
                continue;
            }
            match signs.next()? {
                '%' => {}
                '.' => {
                    while signs.next_if(char::is_ascii_digit).is_some() {}
                    return signs.next();
                }
                verb => return Some(verb),
            }
        }
    })
}

/// A value as a text, if it can be one.
fn written(value: &Cel) -> Option<String> {
    match value {
        Cel::List(list) => {
            let items: Option<Vec<_>> = list.iter().map(literal).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Cel::Map(map) => {
            let entry = |(at, value): (&Key, &Cel)| Some((key(at), literal(value)?));
            let entries: Option<Vec<_>> = map.map.iter().map(entry).collect();
            let mut entries = entries?;
            entries.sort();
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            Some(format!("{{{}}}", entries.join(", ")))
        }
        Cel::Null => Some("null".to_owned()),
        Cel::Opaque(opaque) => opaque.downcast_ref::<Named>().map(|named| named.0.clone()),
        other => match conversions::string(other.clone()) {
            Ok(Cel::String(text)) => Some(text.to_string()),
            _ => None,
        },
    }
}

/// A value as it stands within another one.
fn literal(value: &Cel) -> Option<String> {
    let plain = || written(value);
    Some(match value {
        Cel::String(text) => quote(text),
        Cel::Bytes(_) => format!("b{}", quote(&plain()?)),
        Cel::Float(number) if number.is_finite() => format!("{number:.6}"),
        Cel::Float(_) => quote(&plain()?),
        Cel::Timestamp(_) => format!("timestamp({})", quote(&plain()?)),
        Cel::Duration(_) => format!("duration({})", quote(&plain()?)),
        _ => plain()?,
    })
}

fn key(key: &Key) -> String {
    match key {
        Key::Int(number) => number.to_string(),
        Key::Uint(number) => number.to_string(),
        Key::Bool(flag) => flag.to_string(),
        Key::String(text) => quote(text),
    }
}
