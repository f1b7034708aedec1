//! Scalars of the contract: durations, quantities, and references to other objects.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::formats::{DURATION, QUANTITY};

/// A length of time as Kubernetes writes it: `90s`, `5m`, `1h30m`, `250ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Duration(String);

impl Duration {
    /// A duration of whole seconds.
    pub fn seconds(seconds: u32) -> Self {
        Self(format!("{seconds}s"))
    }

    /// The length of time. A text that the schema would refuse counts as nothing; [`Duration::parse`] tells it apart.
    pub fn get(&self) -> StdDuration {
        parse_duration(&self.0).unwrap_or_default()
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// Text that is not a duration.
    pub fn parse(text: &str) -> Result<Self, String> {
        match parse_duration(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(format!(
                "{text:?} is not a duration; write it as 90s, 5m or 1h30m"
            )),
        }
    }
}

fn parse_duration(text: &str) -> Option<StdDuration> {
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.is_empty()).then_some(())?;
    StdDuration::try_from_secs_f64(total).ok()
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": DURATION, "maxLength": 32})
    }
}

/// An amount of cpu or memory as Kubernetes writes it: `250m`, `1`, `512Mi`, `1e3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    /// Returns the amount in thousandths (of a core or a byte), rounded up, or `None` if the text is not a quantity, is
    /// negative or is too large.
    pub fn milli(&self) -> Option<u128> {
        self.scaled(3)
    }

    /// Returns the whole amount, rounded up as Kubernetes does.
    pub fn whole(&self) -> Option<u128> {
        self.scaled(0)
    }

    /// Returns the amount in thousand-millionths, rounded up: what was measured, which may be 0.
    pub fn nano(&self) -> Option<u128> {
        self.scaled(9)
    }

    /// Returns an amount of cpu in thousand-millionths of a core, or `None` if it is not from 1m to 1000 cores.
    pub fn nano_cores(&self) -> Option<u64> {
        let milli = self.milli().filter(|milli| (1..=1_000_000).contains(milli))?;
        u64::try_from(milli * 1_000_000).ok()
    }

    /// Returns an amount of memory in bytes, or `None` if it is 0, or 1Pi and more.
    pub fn bytes(&self) -> Option<u64> {
        let bytes = u64::try_from(self.whole()?).ok()?;
        (1..1 << 50).contains(&bytes).then_some(bytes)
    }

    /// Returns the amount times 10 to the power of `scale`, rounded up. Exact: a decimal has no exact binary form.
    fn scaled(&self, scale: i32) -> Option<u128> {
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
        let (factor, exponent) = match suffix {
            "n" => (1, -9),
            "u" => (1, -6),
            "m" => (1, -3),
            "" => (1, 0),
            "k" => (1, 3),
            "M" => (1, 6),
            "G" => (1, 9),
            "T" => (1, 12),
            "P" => (1, 15),
            "E" => (1, 18),
            "Ki" => (1 << 10, 0),
            "Mi" => (1 << 20, 0),
            "Gi" => (1 << 30, 0),
            "Ti" => (1 << 40, 0),
            "Pi" => (1 << 50, 0),
            "Ei" => (1 << 60, 0),
            exponent => (1, exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?),
        };
        let amount = digits.checked_mul(factor)?;
        if amount == 0 {
            return Some(0);
        }
        let exponent = exponent
            .checked_add(scale)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        match 10_u128.checked_pow(exponent.unsigned_abs()) {
            Some(power) if exponent >= 0 => amount.checked_mul(power),
            Some(power) => Some(amount.div_ceil(power)),
            // Below any unit, rounded up.
            None => (exponent < 0).then_some(1),
        }
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(serde::de::Error::custom(format!("{other} is not a quantity"))),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "maxLength": 32,
            "x-kubernetes-int-or-string": true,
        })
    }
}

/// A port by number or by the name it has in `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// A number, 1 to 65535.
    Number(i32),
    /// A name of `spec.ports`.
    Name(String),
}

impl JsonSchema for PortRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "PortRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 15,
            "x-kubernetes-int-or-string": true,
        })
    }
}

/// Stands for an object of the contract that this version does not act on: it is refused with a message of its own by a
/// rule beside it, instead of being dropped as unknown.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Later(pub serde_json::Value);

impl JsonSchema for Later {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Without a type it could not be named in a rule.
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// The name of a Secret or ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret or ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// When true, a missing object or key leaves the variable out instead of being an error. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
            ("1.5s", 1500),
        ] {
            assert_eq!(Duration::parse(text).unwrap().get().as_millis(), millis, "{text}");
        }
        for text in ["", "5", "s", "5 m", "5d", "-1s", "1s5"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, milli) in [
            ("250m", 250),
            ("1", 1000),
            ("0.5", 500),
            ("512Mi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1k", 1_000_000),
            ("0.05Gi", 53_687_091_200),
            ("0.1Ki", 102_400),
            ("0.0001", 1),
            ("1n", 1),
            (".5", 500),
            ("1.", 1000),
            ("9007199254740993", 9_007_199_254_740_993_000),
            ("0e400", 0),
        ] {
            assert_eq!(Quantity::from(text).milli(), Some(milli), "{text}");
        }
        for text in ["", ".", "-1", "1Q", "128MB", "abc", "1e999", "1e2147483648"] {
            assert_eq!(Quantity::from(text).milli(), None, "{text}");
        }
        for (text, whole) in [
            ("0.05Gi", 53_687_092),
            ("0.5", 1),
            ("128Mi", 134_217_728),
            ("1.0001", 2),
        ] {
            assert_eq!(Quantity::from(text).whole(), Some(whole), "{text}");
        }
        let number: Quantity = serde_json::from_str("2").unwrap();
        assert_eq!(number.milli(), Some(2000));
    }
}
