//! The `fieldPath` of a rule: `.spec.name`, `['a.b']`, in the form in which errors print it.

use serde_json::{Map, Value};

/// The path in the errors' form, or none if the schema has no such field.
pub(super) fn normalize(path: &str, schema: &Map<String, Value>) -> Option<String> {
    let mut rest = path.trim();
    let mut schema = schema;
    let mut normal = String::new();
    while !rest.is_empty() {
        let (name, after) = step(rest)?;
        rest = after;
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            schema = properties.get(&name)?.as_object()?;
            if !normal.is_empty() {
                normal.push('.');
            }
            normal.push_str(&name);
        } else {
            schema = schema.get("additionalProperties")?.as_object()?;
            normal.push('[');
            normal.push_str(&name);
            normal.push(']');
        }
    }
    Some(normal)
}

/// The first name of the path and what follows it.
fn step(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_owned(), after));
    }
    let rest = path.strip_prefix("['")?;
    let mut name = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((name, rest.get(at + 1..)?.strip_prefix(']')?)),
            '\\' => name.push(match chars.next()?.1 {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                same @ ('\'' | '\\') => same,
                _ => return None,
            }),
            other => name.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_follow_the_schema() {
        let schema = json!({"properties": {"a.b": {"additionalProperties": {"type": "string"}}, "c": {"properties": {"d": {}}}}});
        let schema = schema.as_object().unwrap();
        let rows = [
            (".c.d", Some("c.d")),
            ("['a.b']['x y']", Some("a.b[x y]")),
            (".c['d']", Some("c.d")),
            (".c.e", None),
            ("c", None),
            (".", None),
            ("['c'", None),
        ];
        for (path, normal) in rows {
            assert_eq!(normalize(path, schema).as_deref(), normal, "{path}");
        }
    }
}
