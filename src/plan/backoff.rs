//! How long to wait after failures in a row.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(5);

/// The pause after the given number of failures in a row: doubled each time up to 5 minutes, with a jitter of ±10 %
/// that depends on `salt`, so that many objects do not come back at once.
pub fn pause(attempts: u32, salt: u64) -> Duration {
    let doubled = FIRST
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(20)))
        .min(LONGEST);
    jitter(doubled, salt)
}

/// A period moved by up to ±10 %, differently for each salt.
pub fn jitter(period: Duration, salt: u64) -> Duration {
    // The golden ratio spreads salts that follow one another evenly.
    let permille = 900 + (salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 201;
    period.mul_f64(f64::from(u32::try_from(permille).unwrap_or(1000)) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_and_is_bounded() {
        for salt in 0..100 {
            let mut last = Duration::ZERO;
            for attempts in 1..40 {
                let now = pause(attempts, salt);
                assert!(now >= last.mul_f64(0.8), "attempt {attempts}");
                assert!(now >= Duration::from_millis(900) && now <= LONGEST.mul_f64(1.1));
                last = now;
            }
        }
    }

    #[test]
    fn jitter_spreads() {
        let all: std::collections::BTreeSet<_> = (0..100).map(|salt| jitter(LONGEST, salt)).collect();
        assert!(all.len() > 50);
    }
}
