//! The rules for one string or one number.

use serde_json::{Number, Value};

use super::{
    formats::Format,
    json_types::Types,
    node::{Checks, Node},
    outcome::Outcome,
};
use crate::field::{FieldError, go_float};

/// Length and pattern; as upstream does, the first rule that fails ends it.
pub(super) fn string(checks: &Checks, text: &str, path: &str, outcome: &mut Outcome) {
    if checks.max_length.is_none() && checks.min_length.is_none() && checks.pattern.is_none() {
        return;
    }
    let length = text.chars().count() as u64;
    if let Some(max) = checks.max_length.filter(|max| length > *max) {
        outcome.add(FieldError::too_long(path, max));
    } else if let Some(min) = checks.min_length.filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        outcome.add(FieldError::invalid(path, &Value::from(text), &detail));
    } else if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
        let detail = format!("{path} in body should match '{}'", pattern.text);
        outcome.add(FieldError::invalid(path, &Value::from(text), &detail));
    }
}

/// The range of the format, then `multipleOf`, `minimum` and `maximum`.
pub(super) fn number(node: &Node, number: &Number, value: &Value, path: &str, outcome: &mut Outcome) {
    let float = number.as_f64().unwrap_or_default();
    if node.types == Types::INTEGER && !in_range(number, float, node.format) {
        let format = match node.format {
            Format::None => "(default format)".to_owned(),
            named => format!("with format {}", named.name()),
        };
        let detail = format!("Checked value must be of type integer {format} in {path}");
        outcome.add(FieldError::invalid("", &Value::from(""), &detail));
    }
    if node.types == Types::NUMBER && node.format == Format::Float && float.abs() > f64::from(f32::MAX) {
        let detail = format!("Checked value must be of type number with format float in {path}");
        outcome.add(FieldError::invalid("", &Value::from(""), &detail));
    }
    let Some(checks) = &node.checks else { return };
    let mut refuse = |rule: String| {
        let detail = format!("{path} in body should be {rule}");
        outcome.add(FieldError::invalid(path, value, &detail));
    };
    if let Some(factor) = checks.multiple_of {
        let quotient = if factor.abs() < 1.0 {
            1.0 / factor * float
        } else {
            float / factor
        };
        // Beyond 2^53 a float no longer tells whole numbers apart.
        let whole = (quotient - quotient.round()).abs() <= 1e-9 && quotient.abs() < 9_007_199_254_740_992.0;
        if factor > 0.0 && !whole {
            refuse(format!("a multiple of {}", go_float(factor)));
        }
    }
    if let Some(min) = checks.minimum {
        if checks.exclusive_minimum && float <= min {
            refuse(format!("greater than {}", go_float(min)));
        } else if float < min {
            refuse(format!("greater than or equal to {}", go_float(min)));
        }
    }
    if let Some(max) = checks.maximum {
        if checks.exclusive_maximum && float >= max {
            refuse(format!("less than {}", go_float(max)));
        } else if float > max {
            refuse(format!("less than or equal to {}", go_float(max)));
        }
    }
}

fn in_range(number: &Number, float: f64, format: Format) -> bool {
    match (number.as_i64(), format) {
        (Some(whole), Format::Int32) => i32::try_from(whole).is_ok(),
        (Some(_), _) => true,
        (None, Format::Int32) => float.fract() == 0.0 && float.abs() < 2_147_483_648.0,
        (None, _) => float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0,
    }
}
