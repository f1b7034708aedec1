//! Conversions between types as upstream has them; the interpreter knows some of them only.

use std::sync::{Arc, LazyLock};

use kube_cel::{
    KubeCelExt as _,
    cel::{Context, ExecutionError, IdedExpr, ResolveResult, Value as Cel, extractors::This},
};

use super::{
    expression::{parse, refused},
    value,
};

/// The interpreter and the libraries without what is here.
pub(crate) static LIBRARY: LazyLock<Context<'static>> = LazyLock::new(|| Context::default().with_all());

/// The sign before a number, where the expression has been rewritten: the interpreter's own overflows.
pub(crate) const NEGATIVE: &str = "@negative";
/// The sign between two summands, in the same way: the interpreter knows not all that can be summed.
pub(crate) const SUM: &str = "@sum";

pub(crate) fn register(context: &mut Context<'_>) {
    context.add_function("bytes", bytes);
    context.add_function("double", double);
    context.add_function("duration", duration);
    context.add_function("int", int);
    context.add_function("string", string);
    context.add_function("timestamp", timestamp);
    context.add_function("uint", uint);
    context.add_function("size", size);
    context.add_function(NEGATIVE, negative);
    context.add_function(SUM, sum);
}

fn unconverted(from: &'static str, to: &'static str) -> ExecutionError {
    refused(to, format!("type conversion error from '{from}' to '{to}'"))
}

/// What the library's function of that name makes of a value.
fn library(call: &LazyLock<Option<IdedExpr>>, value: Cel) -> ResolveResult {
    let call = (**call).as_ref().ok_or(ExecutionError::NoSuchOverload)?;
    let mut scope = LIBRARY.new_inner_scope();
    scope.add_variable_from_value("value", value);
    Cel::resolve(call, &scope)
}

/// What two values are together.
pub(crate) fn sum(one: Cel, other: Cel) -> ResolveResult {
    if let (Cel::Bytes(one), Cel::Bytes(other)) = (&one, &other) {
        return Ok(Cel::Bytes(Arc::new([one.as_slice(), other.as_slice()].concat())));
    }
    match one + other {
        Ok(Cel::Duration(length)) if length.num_nanoseconds().is_none() => {
            Err(refused("+", "integer overflow"))
        }
        sum => sum,
    }
}

/// Of a text, its characters.
fn size(This(value): This<Cel>) -> ResolveResult {
    let size = match &value {
        Cel::String(text) => text.chars().count(),
        Cel::Bytes(bytes) => bytes.len(),
        Cel::List(list) => list.len(),
        Cel::Map(map) => map.map.len(),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Cel::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

#[expect(clippy::needless_pass_by_value, reason = "so the interpreter calls it")]
fn negative(value: Cel) -> ResolveResult {
    match value {
        Cel::Int(number) => number
            .checked_neg()
            .map(Cel::Int)
            .ok_or_else(|| refused("-", "integer overflow")),
        Cel::Float(number) => Ok(Cel::Float(-number)),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn bytes(value: Cel) -> ResolveResult {
    match value {
        Cel::Bytes(_) => Ok(value),
        Cel::String(text) => Ok(Cel::Bytes(Arc::new(text.as_bytes().to_vec()))),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

#[expect(clippy::cast_precision_loss, reason = "as upstream computes it")]
fn double(value: Cel) -> ResolveResult {
    match value {
        Cel::Float(_) => Ok(value),
        Cel::Int(number) => Ok(Cel::Float(number as f64)),
        Cel::UInt(number) => Ok(Cel::Float(number as f64)),
        Cel::String(text) => {
            let number = text.parse().map_err(|_| unconverted("string", "double"))?;
            Ok(Cel::Float(number))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn int(value: Cel) -> ResolveResult {
    let overflow = || refused("int", "integer overflow");
    let number = match value {
        Cel::Int(number) => number,
        Cel::UInt(number) => i64::try_from(number).map_err(|_| overflow())?,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what has no such number is refused"
        )]
        Cel::Float(number)
            if number > -9_223_372_036_854_775_808.0 && number < 9_223_372_036_854_775_808.0 =>
        {
            number as i64
        }
        Cel::Float(_) => return Err(overflow()),
        Cel::String(text) => text.parse().map_err(|_| unconverted("string", "int"))?,
        Cel::Duration(length) => length.num_nanoseconds().ok_or_else(overflow)?,
        Cel::Timestamp(time) => time.timestamp(),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Cel::Int(number))
}

fn uint(value: Cel) -> ResolveResult {
    let overflow = || refused("uint", "unsigned integer overflow");
    let number = match value {
        Cel::UInt(number) => number,
        Cel::Int(number) => u64::try_from(number).map_err(|_| overflow())?,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what has no such number is refused"
        )]
        Cel::Float(number) if (0.0..18_446_744_073_709_551_616.0).contains(&number) => number as u64,
        Cel::Float(_) => return Err(overflow()),
        Cel::String(text) => text.parse().map_err(|_| unconverted("string", "uint"))?,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Cel::UInt(number))
}

fn duration(value: Cel) -> ResolveResult {
    static PARSE: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("duration(value)").ok());
    match value {
        Cel::Duration(_) => Ok(value),
        Cel::Int(nanos) => value::duration(nanos).ok_or(ExecutionError::NoSuchOverload),
        Cel::String(_) => {
            library(&PARSE, value).map_err(|_| unconverted("string", "google.protobuf.Duration"))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// A time that upstream knows: its years are from 1 to 9999.
fn parse_time(text: &str) -> Option<Cel> {
    value::parse_time(text).filter(
        |time| matches!(time, Cel::Timestamp(time) if (-62_135_596_800..=253_402_300_799).contains(&time.timestamp())),
    )
}

/// Whether a text is a time.
pub(crate) fn is_time(text: &str) -> bool {
    parse_time(text).is_some()
}

fn timestamp(value: Cel) -> ResolveResult {
    let overflow = || refused("timestamp", "timestamp overflow");
    match value {
        Cel::Timestamp(_) => Ok(value),
        Cel::Int(seconds) => {
            let time = jiff::Timestamp::from_second(seconds).map_err(|_| overflow())?;
            parse_time(&time.to_string()).ok_or_else(overflow)
        }
        Cel::String(text) => {
            parse_time(&text).ok_or_else(|| unconverted("string", "google.protobuf.Timestamp"))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// A value as text.
pub(crate) fn string(value: Cel) -> ResolveResult {
    static ADDRESS: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("string(value)").ok());
    let text = match value {
        Cel::String(_) => return Ok(value),
        Cel::Bool(flag) => flag.to_string(),
        Cel::Int(number) => number.to_string(),
        Cel::UInt(number) => number.to_string(),
        Cel::Float(number) => go_shortest(number),
        Cel::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| refused("string", "invalid UTF-8 in bytes, cannot convert to string"))?,
        Cel::Duration(length) => {
            let nanos = length.num_nanoseconds().unwrap_or(i64::MAX);
            let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
            let part = format!("{:09}", nanos % 1_000_000_000);
            let part = part.trim_end_matches('0');
            let point = if part.is_empty() { "" } else { "." };
            format!("{sign}{}{point}{part}s", nanos / 1_000_000_000)
        }
        Cel::Timestamp(time) => time.to_rfc3339().replace("+00:00", "Z"),
        other @ Cel::Opaque(_) => return library(&ADDRESS, other),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Cel::String(Arc::new(text)))
}

/// A number as Go's `strconv` writes it with the fewest digits.
fn go_shortest(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let written = format!("{number:e}");
    let Some((digits, exponent)) = written.split_once('e') else {
        return written;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if number != 0.0 && !(-4..21).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::evaluation::tests::say;

    #[test]
    fn conversions() {
        let rows = [
            (
                "timestamp(1) == timestamp('1970-01-01T00:00:01Z') && timestamp(timestamp(1)) == timestamp(1)",
                "true",
            ),
            ("timestamp(-99999999999999)", "timestamp overflow"),
            (
                "duration(1500000000) == duration('1.5s') && duration(duration('1s')) == duration('1s')",
                "true",
            ),
            ("duration('x')", "type conversion error"),
            (
                "int(timestamp(7)) == 7 && int(duration('1s')) == 1000000000 && int(1.9) == 1 && int('-3') == -3",
                "true",
            ),
            ("int(1e300)", "integer overflow"),
            ("int('x')", "type conversion error from 'string' to 'int'"),
            ("uint(-1)", "unsigned integer overflow"),
            (
                "uint(1.5) == 1u && uint('2') == 2u && double('1.5') == 1.5 && double(1u) == 1.0",
                "true",
            ),
            (
                "string(true) == 'true' && string(1u) == '1' && string(1.0) == '1' && string(1e300) == '1e+300'",
                "true",
            ),
            (
                "string(0.1) == '0.1' && string(1e-7) == '1e-07' && string(-0.0) == '-0' && string(1e20) == '100000000000000000000'",
                "true",
            ),
            (
                "string(timestamp(1)) == '1970-01-01T00:00:01Z' && string(duration('-1500ms')) == '-1.5s'",
                "true",
            ),
            (
                "string(duration('90s')) == '90s' && string(b'abc') == 'abc' && string(ip('10.0.0.1')) == '10.0.0.1'",
                "true",
            ),
            ("string(b'\\xff')", "invalid UTF-8"),
            ("bytes(b'a') == b'a' && bytes('a') == b'a'", "true"),
            ("string([1])", "NoSuchOverload"),
            (
                "'é'.size() == 1 && size(b'é') == 2 && size([1]) == 1 && size({'a': 1}) == 1",
                "true",
            ),
        ];
        say(&rows);
        let second = || duration(Cel::Int(1_000_000_000));
        let sum_of = |a: Cel, b: ResolveResult| sum(a, b.unwrap());
        assert_eq!(
            sum_of(second().unwrap(), timestamp(Cel::Int(1))),
            timestamp(Cel::Int(2))
        );
        let longest = duration(Cel::Int(i64::MAX)).unwrap();
        assert!(sum_of(longest, second()).is_err());
        let word = |word: &str| bytes(Cel::String(Arc::new(word.to_owned())));
        assert_eq!(sum_of(word("a").unwrap(), word("b")), word("ab"));
        assert!(negative(Cel::Int(i64::MIN)).is_err());
        assert_eq!(negative(Cel::Int(1)), Ok(Cel::Int(-1)));
    }
}
