//! The times before the lines of a log. Pure.

use jiff::Timestamp;

/// Writes times. Most lines of a fast log share their second with the line before, of which only the fraction is written anew.
#[derive(Debug, Default)]
pub(super) struct Times {
    second: Option<i64>,
    /// The second as text, up to the fraction.
    text: String,
}

impl Times {
    /// Writes a time with nine digits of its second, and a space.
    pub fn write(&mut self, at: Timestamp, into: &mut Vec<u8>) {
        let second = at.as_second();
        let (Ok(mut rest), Ok(whole)) = (
            u32::try_from(at.subsec_nanosecond()),
            Timestamp::from_second(second),
        ) else {
            // A fraction before 1970 counts backwards.
            into.extend_from_slice(format!("{at:.9} ").as_bytes());
            return;
        };
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = format!("{whole:.0}").replace('Z', ".");
        }
        let mut digits = [b'0'; 9];
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        into.extend_from_slice(self.text.as_bytes());
        into.extend_from_slice(&digits);
        into.extend_from_slice(b"Z ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_library() {
        let mut times = Times::default();
        for nanosecond in [
            1_796_050_800_000_000_001,
            1_796_050_800_123_456_789,
            1_796_050_800_999_999_999,
            1_796_050_801_000_000_000,
            1_796_050_799_500_000_000,
            0,
            -1,
            -1_500_000_000,
        ] {
            let at = Timestamp::from_nanosecond(nanosecond).unwrap();
            let mut written = Vec::new();
            times.write(at, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), format!("{at:.9} "));
        }
    }
}
