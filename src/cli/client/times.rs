//! Times as kubectl writes them.

use std::time::Duration;

use jiff::Timestamp;

/// Returns a length of time in at most two units: `45s`, `3m20s`, `5h`, `2d`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{}m{}s", seconds / 60, seconds % 60),
        120..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns how long ago a time of an object was; `None` if the text is not a time.
pub fn ago(time: &str, now: Timestamp) -> Option<String> {
    let time: Timestamp = time.parse().ok()?;
    let passed = Duration::try_from(now.duration_since(time)).unwrap_or_default();
    Some(format!("{} ago", short(passed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3600, "60m"),
            (10_800, "3h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
        let now: Timestamp = "2026-01-01T00:01:30Z".parse().unwrap();
        assert_eq!(ago("2026-01-01T00:00:00Z", now).as_deref(), Some("90s ago"));
        assert_eq!(ago("2026-01-01T00:02:00Z", now).as_deref(), Some("0s ago"));
        assert_eq!(ago("yesterday", now), None);
    }
}
