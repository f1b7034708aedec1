//! The parts of times and durations, in any time zone.

use jiff::{Zoned, tz::TimeZone};
use kube_cel::cel::{
    Context, ExecutionError, ResolveResult, Value as Cel,
    extractors::{Arguments, This},
};

pub(crate) fn register(context: &mut Context<'_>) {
    part(context, "getDate", |time| time.day().into(), None);
    part(context, "getDayOfMonth", |time| i64::from(time.day()) - 1, None);
    part(
        context,
        "getDayOfWeek",
        |time| time.weekday().to_sunday_zero_offset().into(),
        None,
    );
    part(
        context,
        "getDayOfYear",
        |time| i64::from(time.day_of_year()) - 1,
        None,
    );
    part(context, "getFullYear", |time| time.year().into(), None);
    part(
        context,
        "getHours",
        |time| time.hour().into(),
        Some(3_600_000_000_000),
    );
    part(
        context,
        "getMilliseconds",
        |time| time.millisecond().into(),
        Some(1_000_000),
    );
    part(
        context,
        "getMinutes",
        |time| time.minute().into(),
        Some(60_000_000_000),
    );
    part(context, "getMonth", |time| i64::from(time.month()) - 1, None);
    part(
        context,
        "getSeconds",
        |time| time.second().into(),
        Some(1_000_000_000),
    );
}

/// A function that gives a part of a time, and how often so many nanoseconds are in a duration.
fn part(context: &mut Context<'_>, name: &'static str, of: fn(&Zoned) -> i64, nanos: Option<i64>) {
    let function = move |This(value): This<Cel>, Arguments(zone): Arguments| -> ResolveResult {
        match (&value, zone.as_slice(), nanos) {
            (Cel::Timestamp(time), zone, _) => {
                let zone = match zone {
                    [] => TimeZone::UTC,
                    [Cel::String(name)] => named(name).ok_or_else(|| {
                        ExecutionError::function_error(name.as_str(), format!("unknown time zone {name}"))
                    })?,
                    _ => return Err(ExecutionError::NoSuchOverload),
                };
                let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
                let time = jiff::Timestamp::new(time.timestamp(), nanos)
                    .map_err(|_| ExecutionError::function_error(name, "timestamp overflow"))?;
                Ok(Cel::Int(of(&time.to_zoned(zone))))
            }
            (Cel::Duration(length), [], Some(nanos)) => {
                Ok(Cel::Int(length.num_nanoseconds().unwrap_or(i64::MAX) / nanos))
            }
            _ => Err(ExecutionError::NoSuchOverload),
        }
    };
    context.add_function(name, function);
}

/// A time zone by its name, or by its distance from UTC in hours and minutes.
fn named(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return match name {
            "" | "UTC" => Some(TimeZone::UTC),
            name => TimeZone::get(name).ok(),
        };
    };
    let west = hours.starts_with('-');
    let hours: i32 = hours.parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    let minutes = if west { -60 } else { 60 } * minutes.clamp(-999, 999);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes)?;
    Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use crate::cel::evaluation::tests::say;

    #[test]
    fn parts() {
        let time = "timestamp('2024-03-05T06:07:08.009Z')";
        let rows = [
            ("getDate()", "Int(5)"),
            ("getDayOfMonth()", "Int(4)"),
            ("getDayOfWeek()", "Int(2)"),
            ("getDayOfYear()", "Int(64)"),
            ("getFullYear()", "Int(2024)"),
            ("getHours()", "Int(6)"),
            ("getHours('+02:00')", "Int(8)"),
            ("getDate('-07:30')", "Int(4)"),
            ("getMinutes('05:30')", "Int(37)"),
            ("getMilliseconds('UTC')", "Int(9)"),
            ("getMonth()", "Int(2)"),
            ("getSeconds()", "Int(8)"),
            ("getHours('nowhere')", "unknown time zone nowhere"),
            ("getHours('99999999999:1')", "unknown time zone"),
            ("getHours('596523:999')", "unknown time zone"),
        ];
        for (call, wanted) in rows {
            say(&[(&format!("{time}.{call}"), wanted)]);
        }
        let length =
            "duration('3661.5s').getMinutes() * 10000 + duration('1500ms').getMilliseconds() == 611500";
        say(&[(length, "true")]);
    }
}
