//! Amounts as the API server writes them, so that a comparison finds no difference. Pure.

use crate::api::Quantity;

/// The suffixes from a thousand millionth on, each a thousand times the one before.
const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// The index of the suffix of one.
const ONE: usize = 3;

/// An amount of CPU, from nano-cores.
pub fn cpu(nanos: u64) -> String {
    written(nanos, 0)
}

/// An amount of memory, from bytes.
pub fn memory(bytes: u64) -> String {
    written(bytes, ONE)
}

/// Returns an amount of CPU in nano-cores.
pub fn nano_cores(amount: &str) -> Option<u64> {
    u64::try_from(read(amount)?.nano()?).ok()
}

/// Returns an amount of memory in bytes; it may be 0.
pub fn used_bytes(amount: &str) -> Option<u64> {
    u64::try_from(read(amount)?.whole()?).ok()
}

fn read(amount: &str) -> Option<Quantity> {
    serde_json::from_value(amount.into()).ok()
}

/// Returns the bytes of an amount of storage.
pub fn bytes(amount: &str) -> Option<u64> {
    read(amount)?.bytes()
}

fn written(mut number: u64, mut suffix: usize) -> String {
    if number == 0 {
        return "0".to_owned();
    }
    while number.is_multiple_of(1000) && suffix + 1 < SUFFIXES.len() {
        number /= 1000;
        suffix += 1;
    }
    format!("{number}{}", SUFFIXES.get(suffix).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_the_api_server_writes_them() {
        for (nanos, text) in [
            (0, "0"),
            (1, "1n"),
            (250_000_000, "250m"),
            (1_500_000_000, "1500m"),
            (2_000_000_000, "2"),
            (1_000_000_000_000, "1k"),
        ] {
            assert_eq!(cpu(nanos), text);
        }
        for (text, amount) in [
            ("1Gi", Some(1 << 30)),
            ("1500", Some(1500)),
            ("1G", Some(1_000_000_000)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), amount, "{text}");
        }
        for (text, nanos) in [
            ("12345678n", Some(12_345_678)),
            ("0", Some(0)),
            ("500m", Some(500_000_000)),
            ("x", None),
        ] {
            assert_eq!(nano_cores(text), nanos, "{text}");
        }
        assert_eq!((used_bytes("3072Ki"), used_bytes("0")), (Some(3 << 20), Some(0)));
        for (bytes, text) in [
            (134_217_728, "134217728"),
            (1_000_000, "1M"),
            (2_048_000, "2048k"),
        ] {
            assert_eq!(memory(bytes), text);
        }
    }
}
