//! Priority levels.

use serde_json::{Value, json};

use super::values::{conditions, default_status, fill, map, text};
use crate::{
    field::FieldError,
    flow_schemas::suggested::{self, EXEMPT},
    object_meta::{self, Fields},
};

const MOST_QUEUES: i64 = 10_000_000;
/// The bits of the hash from which upstream deals a flow its queues.
const HASH_BITS: u32 = 60;

/// The defaults of a priority level.
pub(in crate::registry) fn default_level(object: &mut Fields) {
    default_status(object);
    let Some(spec) = map(object, "spec") else { return };
    if let Some(exempt) = spec.get_mut("exempt").and_then(Value::as_object_mut) {
        fill(exempt, "nominalConcurrencyShares", 0, false);
        fill(exempt, "lendablePercent", 0, false);
    }
    let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) else {
        return;
    };
    fill(limited, "nominalConcurrencyShares", 30, false);
    fill(limited, "lendablePercent", 0, false);
    let response = limited.get_mut("limitResponse").and_then(Value::as_object_mut);
    let queuing = response.and_then(|response| response.get_mut("queuing")?.as_object_mut());
    if let Some(queuing) = queuing {
        fill(queuing, "handSize", 8, true);
        fill(queuing, "queues", 64, true);
        fill(queuing, "queueLengthLimit", 50, true);
    }
}

/// What is wrong with a priority level.
pub(in crate::registry) fn level(object: &Fields, errors: &mut Vec<FieldError>) {
    let name = object_meta::text(object, "name");
    let none = json!({});
    let spec = object.get("spec").unwrap_or(&none);
    let (kind, limited) = (text(spec, "type"), spec.get("limited"));
    if (name == EXEMPT) != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", &kind.into(), why));
    }
    match kind {
        "" => errors.push(FieldError::required("spec.type", "")),
        "Exempt" => {
            if limited.is_some() {
                let why = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden("spec.limited", why));
            }
            if let Some(exempt) = spec.get("exempt") {
                not_negative(
                    "spec.exempt.nominalConcurrencyShares",
                    exempt,
                    "must be a non-negative integer",
                    errors,
                );
                percentage("spec.exempt.lendablePercent", exempt, errors);
            }
        }
        "Limited" => {
            if spec.get("exempt").is_some() {
                let why = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden("spec.exempt", why));
            }
            match limited {
                Some(limited) => limits(limited, errors),
                None => errors.push(FieldError::required(
                    "spec.limited",
                    "must not be empty when type is Limited",
                )),
            }
        }
        other => errors.push(FieldError::not_supported(
            "spec.type",
            &other.into(),
            ["Exempt", "Limited"],
        )),
    }
    let fixed = suggested::levels().into_iter().find(|(known, _)| *known == name);
    if let Some((_, fixed)) = fixed
        && suggested::is_mandatory(name)
    {
        mandatory(name, spec, &fixed, errors);
    }
    conditions(object, errors);
}

fn mandatory(name: &str, spec: &Value, fixed: &Value, errors: &mut Vec<FieldError>) {
    // Administrators may give `exempt` a part of the seats.
    let (but, freed) = if name == EXEMPT {
        (" except the 'spec.exempt' field", Some("exempt"))
    } else {
        ("", None)
    };
    let compared = |spec: &Value| {
        let mut spec = spec.clone();
        if let (Some(freed), Some(fields)) = (freed, spec.as_object_mut()) {
            fields.remove(freed);
        }
        spec
    };
    if compared(spec) != compared(fixed) {
        let why = format!("spec of '{name}'{but} must equal the fixed value");
        errors.push(FieldError::invalid("spec", spec, &why));
    }
}

fn number(field: &str, value: &Value) -> Option<(i64, Value)> {
    let value = value.get(field.rsplit('.').next()?)?;
    Some((value.as_i64()?, value.clone()))
}

/// Refuses a number below zero; its key is the last part of `field`.
fn not_negative(field: &str, within: &Value, why: &str, errors: &mut Vec<FieldError>) {
    if let Some((number, shown)) = number(field, within)
        && number < 0
    {
        errors.push(FieldError::invalid(field, &shown, why));
    }
}

fn percentage(field: &str, within: &Value, errors: &mut Vec<FieldError>) {
    if let Some((number, shown)) = number(field, within)
        && !(0..=100).contains(&number)
    {
        let why = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(field, &shown, why));
    }
}

fn limits(limited: &Value, errors: &mut Vec<FieldError>) {
    const RESPONSE: &str = "spec.limited.limitResponse";
    let shares = "spec.limited.nominalConcurrencyShares";
    not_negative(shares, limited, "must be a non-negative integer", errors);
    let response = limited.get("limitResponse").cloned().unwrap_or_default();
    let (kind, field) = (format!("{RESPONSE}.type"), format!("{RESPONSE}.queuing"));
    match (text(&response, "type"), response.get("queuing")) {
        ("", _) => errors.push(FieldError::required(&kind, "")),
        ("Reject", Some(_)) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&field, why));
        }
        ("Queue", None) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&field, why));
        }
        ("Queue", Some(queuing)) => queues(&field, queuing, errors),
        ("Reject", None) => {}
        (other, _) => errors.push(FieldError::not_supported(
            &kind,
            &other.into(),
            ["Queue", "Reject"],
        )),
    }
    percentage("spec.limited.lendablePercent", limited, errors);
    let borrowing = "spec.limited.borrowingLimitPercent";
    not_negative(
        borrowing,
        limited,
        "if specified, must be a non-negative integer",
        errors,
    );
}

fn queues(path: &str, queuing: &Value, errors: &mut Vec<FieldError>) {
    let of = |key: &str| queuing.get(key).and_then(Value::as_i64).unwrap_or_default();
    let (length, queues, hand) = (of("queueLengthLimit"), of("queues"), of("handSize"));
    let mut refuse = |key: &str, value: i64, why: &str| {
        errors.push(FieldError::invalid(&format!("{path}.{key}"), &value.into(), why));
    };
    if length <= 0 {
        refuse("queueLengthLimit", length, "must be positive");
    }
    if queues <= 0 {
        refuse("queues", queues, "must be positive");
    } else if queues > MOST_QUEUES {
        refuse(
            "queues",
            queues,
            &format!("must not be greater than {MOST_QUEUES}"),
        );
    }
    if hand <= 0 {
        refuse("handSize", hand, "must be positive");
    } else if hand > queues {
        refuse(
            "handSize",
            hand,
            &format!("should not be greater than queues ({queues})"),
        );
    } else if is_large_hand(queues, hand) {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        refuse("handSize", hand, &why);
    }
}

/// Whether the hash has too few bits to deal `hand` of `queues`.
fn is_large_hand(queues: i64, hand: i64) -> bool {
    let queues = u128::try_from(queues).unwrap_or_default();
    queues.saturating_pow(u32::try_from(hand).unwrap_or(u32::MAX)) > 1_u128 << HASH_BITS
}
