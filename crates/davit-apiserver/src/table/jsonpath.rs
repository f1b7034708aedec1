//! The JSONPath of `client-go/util/jsonpath`, as far as printer columns and selectable fields use it.
//!
//! It is not RFC 9535 (a filter compares loosely, a missing key is no error), so a crate for that does not fit.

use serde_json::Value;

/// A parsed path such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: Option<i64>,
        single: bool,
    },
    Union(Vec<JsonPath>),
    Filter {
        left: Operand,
        comparison: Option<(Comparison, Operand)>,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl JsonPath {
    /// Parses a path; the surrounding braces of a template are optional.
    pub fn parse(path: &str) -> Result<Self, String> {
        let path = path.trim();
        let path = path
            .strip_prefix('{')
            .and_then(|inner| inner.strip_suffix('}'))
            .unwrap_or(path);
        Self::parse_within(path, 0)
    }

    fn parse_within(path: &str, depth: u8) -> Result<Self, String> {
        if depth > 8 {
            return Err("filters are nested too deeply".into());
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut rest = path.trim();
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '$' | '@' | ' ' => rest.get(1..).unwrap_or_default(),
                '.' => {
                    let mut after = rest.get(1..).unwrap_or_default();
                    if let Some(tail) = after.strip_prefix('.') {
                        if steps.last() == Some(&Step::Recursive) {
                            return Err("invalid multiple recursive descent".into());
                        }
                        steps.push(Step::Recursive);
                        after = tail;
                        if !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '*') {
                            rest = after;
                            continue;
                        }
                    }
                    let (name, tail) = field_name(after);
                    steps.push(if name == "*" {
                        Step::Wildcard
                    } else {
                        Step::Field(name)
                    });
                    tail
                }
                '[' if rest.starts_with("[?(") => {
                    let (inner, tail) = filter_text(rest.get(3..).unwrap_or_default())?;
                    steps.push(filter(inner, depth)?);
                    tail
                }
                '[' => {
                    let (inner, tail) = rest
                        .get(1..)
                        .and_then(|inner| inner.split_once(']'))
                        .ok_or("unterminated array")?;
                    steps.push(subscript(inner, depth)?);
                    tail
                }
                other => return Err(format!("unrecognized character in action: {other:?}")),
            };
        }
        Ok(Self(steps))
    }

    /// Every value the path leads to; what is missing leads nowhere. None where the path does not fit the value,
    /// such as an index into a map.
    pub fn find<'a>(&self, root: &'a Value) -> Option<Vec<&'a Value>> {
        let mut values = vec![root];
        for step in &self.0 {
            values = apply(step, &values)?;
        }
        Some(values)
    }
}

/// A name up to the next terminator; a backslash takes the next character as it is.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                if let Some((_, escaped)) = chars.next() {
                    name.push(escaped);
                }
            }
            '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}' | ' ' | '\t' | '\r' | '\n' => {
                return (name, text.get(at..).unwrap_or_default());
            }
            other => name.push(other),
        }
    }
    (name, "")
}

/// The text up to `)]`, minding quotes, and what follows.
fn filter_text(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open && previous != '\\' => quote = None,
            (None, ')') => {
                let inner = text.get(..at).unwrap_or_default();
                let tail = text.get(at + 1..).and_then(|tail| tail.strip_prefix(']'));
                return tail
                    .map(|tail| (inner, tail))
                    .ok_or_else(|| "unclosed array expect ]".into());
            }
            _ => {}
        }
        previous = c;
    }
    Err("unterminated filter".into())
}

fn filter(text: &str, depth: u8) -> Result<Step, String> {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let Some(start) = text.find(is_operator).filter(|start| *start > 0) else {
        return Ok(Step::Filter {
            left: operand(text, depth)?,
            comparison: None,
        });
    };
    let (left, rest) = text.split_at_checked(start).ok_or("unterminated filter")?;
    let end = rest.find(|c: char| !is_operator(c)).unwrap_or(rest.len());
    let (operator, right) = rest.split_at_checked(end).ok_or("unterminated filter")?;
    let comparison = match operator {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterEqual,
        other => return Err(format!("unrecognized filter operator {other}")),
    };
    Ok(Step::Filter {
        left: operand(left, depth)?,
        comparison: Some((comparison, operand(right, depth)?)),
    })
}

fn operand(text: &str, depth: u8) -> Result<Operand, String> {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            let inner = inner.strip_suffix(quote).ok_or("unterminated quoted string")?;
            return Ok(Operand::Literal(Value::from(inner.replace('\\', ""))));
        }
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
        || text == "true"
        || text == "false"
    {
        let number = text.strip_prefix('+').unwrap_or(text);
        return serde_json::from_str(number)
            .map(Operand::Literal)
            .map_err(|_| format!("cannot parse number {text}"));
    }
    JsonPath::parse_within(text, depth + 1).map(Operand::Path)
}

fn subscript(text: &str, depth: u8) -> Result<Step, String> {
    let text = text.trim();
    if text.contains(',') {
        let parts: Result<Vec<JsonPath>, String> = text
            .split(',')
            .map(|part| JsonPath::parse_within(&format!("[{}]", part.trim()), depth + 1))
            .collect();
        return parts.map(Step::Union);
    }
    if text == "*" {
        return Ok(Step::Slice {
            start: None,
            end: None,
            step: None,
            single: false,
        });
    }
    if let Some(name) = text.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
        return Ok(Step::Field(name.replace('\\', "")));
    }
    let number = |text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse::<i64>()
            .map(Some)
            .map_err(|_| format!("invalid array index {text}"))
    };
    let mut parts = text.split(':');
    let start = number(parts.next().unwrap_or_default())?;
    let end = parts.next();
    let step = parts.next();
    if parts.next().is_some() || (start.is_none() && end.is_none()) {
        return Err(format!("invalid array index {text}"));
    }
    Ok(Step::Slice {
        start,
        end: number(end.unwrap_or_default())?,
        step: number(step.unwrap_or_default())?,
        single: end.is_none(),
    })
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(list) => list.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn apply<'a>(step: &Step, values: &[&'a Value]) -> Option<Vec<&'a Value>> {
    let mut found = Vec::new();
    for value in values {
        match step {
            Step::Field(name) => found.extend(value.get(name)),
            Step::Wildcard => found.extend(children(value)),
            Step::Recursive => descend(value, &mut found),
            Step::Union(paths) => {
                for path in paths {
                    found.extend(path.find(value)?);
                }
            }
            Step::Slice {
                start,
                end,
                step,
                single,
            } => match value {
                Value::Array(list) => found.extend(slice(list, *start, *end, *step, *single)?),
                Value::Null => {}
                _ => return None,
            },
            Step::Filter { left, comparison } => {
                for item in value.as_array()? {
                    if passes(item, left, comparison.as_ref())? {
                        found.push(item);
                    }
                }
            }
        }
    }
    Some(found)
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    let below = children(value);
    if !below.is_empty() {
        found.push(value);
        for child in below {
            descend(child, found);
        }
    }
}

fn slice(
    list: &[Value],
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    single: bool,
) -> Option<Vec<&Value>> {
    let length = i64::try_from(list.len()).ok()?;
    let absolute = |at: i64| if at < 0 { at + length } else { at };
    let first = absolute(start.unwrap_or(0));
    let last = if single {
        first + 1
    } else {
        end.map_or(length, absolute)
    };
    if first == last {
        return Some(Vec::new());
    }
    if first < 0 || first >= length || last < first || last > length {
        return None;
    }
    let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
    let step = usize::try_from(step.unwrap_or(1)).ok().filter(|step| *step > 0)?;
    Some(list.get(first..last)?.iter().step_by(step).collect())
}

fn passes(item: &Value, left: &Operand, comparison: Option<&(Comparison, Operand)>) -> Option<bool> {
    let left = resolve(left, item);
    let Some((comparison, right)) = comparison else {
        return Some(left.is_some_and(|found| !found.is_empty()));
    };
    let (left, right) = (left?, resolve(right, item)?);
    let (Some(a), Some(b)) = (left.first(), right.first()) else {
        return Some(false);
    };
    if left.len() > 1 || right.len() > 1 {
        return None;
    }
    compare(*comparison, a, b)
}

fn resolve<'a>(operand: &'a Operand, item: &'a Value) -> Option<Vec<&'a Value>> {
    match operand {
        Operand::Path(path) => path.find(item),
        Operand::Literal(value) => Some(vec![value]),
    }
}

fn compare(comparison: Comparison, a: &Value, b: &Value) -> Option<bool> {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?)?,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => return None,
    };
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterEqual => order.is_ge(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_upstreams_lead() {
        let root = json!({
            "spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}, {"n": "z"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other (x)]", "status": "False"}], "empty": null}
        });
        let rows = [
            (".spec.list[0].n", json!(["x"])),
            ("$.spec.list[0].n", json!(["x"])),
            ("{.spec.list[0].n}", json!(["x"])),
            (".spec.list[-1].n", json!(["z"])),
            (".spec.list[*].n", json!(["x", "y", "z"])),
            (".spec.list[0:2].n", json!(["x", "y"])),
            (".spec.list[::2].n", json!(["x", "z"])),
            (".spec.list[0,2].n", json!(["x", "z"])),
            (".spec['a.b']", json!([1])),
            (r".spec.a\.b", json!([1])),
            (".spec.missing.deeper", json!([])),
            (".status.empty", json!([null])),
            (".status.empty.x", json!([])),
            (
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!(["True"]),
            ),
            (
                r".status.conditions[?(@.type == 'Ready')].status",
                json!(["True"]),
            ),
            (
                r#".status.conditions[?(@.type=="Other (x)]")].status"#,
                json!(["False"]),
            ),
            (
                r#".status.conditions[?(@.type!="Ready")].status"#,
                json!(["False"]),
            ),
            (".spec.list[?(@.v>1)].n", json!(["y"])),
            (".spec.list[?(@.v)].n", json!(["x", "y"])),
            (
                "..status",
                json!([{"conditions": root["status"]["conditions"], "empty": null}, "True", "False"]),
            ),
            (".spec.*", json!([1, root["spec"]["list"]])),
        ];
        for (path, expected) in rows {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&root).unwrap()), expected, "{path}");
        }
        for path in [
            ".spec.list[9].n",
            ".spec[0]",
            ".spec[?(@.v)]",
            ".spec.list[?(@.n>1)]",
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().find(&root), None, "{path}");
        }
        for path in [".a[", ".a[x]", "a", ".a[?(@.b==)]x", ".a[?(@.b=~'c')]", "....a"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
