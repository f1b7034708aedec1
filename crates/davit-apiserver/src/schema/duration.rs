//! Durations as Go parses them.

/// Nanoseconds of a duration, as Go writes them (`1h30m`) or in words (`2 days`).
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    go_duration(text).ok().or_else(|| worded_duration(text))
}

/// Nanoseconds of a duration as Go's `time.ParseDuration` reads it, or the error in its words.
pub(crate) fn go_duration(text: &str) -> Result<i64, String> {
    parsed(text).ok_or_else(|| {
        let number = text.trim_start_matches(['-', '+']);
        let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let unit: String = unit
            .chars()
            .take_while(|c| !c.is_ascii_digit() && *c != '.')
            .collect();
        let numeric = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        match (numeric, unit.as_str()) {
            (true, "") => format!("time: missing unit in duration \"{text}\""),
            (true, unit) if !UNITS.contains(&unit) => {
                format!("time: unknown unit \"{unit}\" in duration \"{text}\"")
            }
            _ => format!("time: invalid duration \"{text}\""),
        }
    })
}

const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];

fn parsed(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(number_end)?;
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(unit_end)?;
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 30 {
            return None;
        }
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i128>().ok()?.checked_mul(scale)?)?;
        }
        let mut unit_of_digit = scale;
        for digit in fraction.bytes() {
            unit_of_digit /= 10;
            total = total.checked_add(i128::from(digit - b'0') * unit_of_digit)?;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn worded_duration(text: &str) -> Option<i64> {
    const UNITS: [(&[&str], i64); 8] = [
        (&["ns", "nano"], 1),
        (&["us", "µs", "micro"], 1_000),
        (&["ms", "milli"], 1_000_000),
        (&["s", "sec"], 1_000_000_000),
        (&["m", "min"], 60_000_000_000),
        (&["h", "hr", "hour"], 3_600_000_000_000),
        (&["d", "day"], 86_400_000_000_000),
        (&["w", "wk", "week"], 604_800_000_000_000),
    ];
    let mut total: Option<i64> = None;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let after = rest.get(start..)?;
        let number_end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, tail) = after.split_at_checked(number_end)?;
        let tail = tail.trim_start();
        let unit_end = tail
            .find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ'))
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end)?;
        if !unit.is_empty() {
            let factor: i64 = number.parse().ok()?;
            let unit = unit.to_lowercase();
            for (names, scale) in UNITS {
                let worded = names.last().is_some_and(|last| unit.starts_with(last));
                if worded || names.contains(&unit.as_str()) {
                    total = Some(total.unwrap_or(0).checked_add(factor.checked_mul(scale)?)?);
                    break;
                }
            }
        }
        rest = next;
    }
    total
}
