//! Arbitrary bytes as a source of choices: what the generators of the targets are made of.

use arbitrary::Unstructured;
use serde_json::{Map, Value, json};

/// Words that mean something somewhere, and some that are not what they seem.
const WORDS: [&str; 28] = [
    "a",
    "b",
    "name",
    "",
    "kind",
    "metadata",
    "spec",
    "x-y",
    "é",
    "a.b/c",
    "10.0.0.1",
    "fe80::1/64",
    "1Gi",
    "2024-01-02T03:04:05Z",
    "1h30m",
    "https://a.b/c?d=e",
    "1.2.3-rc.1",
    "YWJj",
    "[a-z]+",
    "(",
    "%s %d",
    "%.2f",
    "__proto__",
    "namespace",
    "self",
    "~1a~0",
    "-",
    "\u{0}\u{10ffff}",
];

/// Choices, one after another, until the bytes are used up; from then on the first of what there is to choose.
pub struct Source<'a>(Unstructured<'a>);

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether nothing is left to choose by.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.int_in_range(0..=end - 1).unwrap_or(0)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True once in so many times.
    pub fn rarely(&mut self, times: usize) -> bool {
        !self.is_done() && self.below(times) == times - 1
    }

    pub fn word(&mut self) -> String {
        if self.rarely(12) {
            let long = self.pick(&[10, 100, 300, 5000]);
            return self.pick(&["a", "é", "-", "x.", "/"]).repeat(long);
        }
        self.pick(&WORDS).to_owned()
    }

    pub fn integer(&mut self) -> i64 {
        match self.below(6) {
            0..=3 => i64::try_from(self.below(12)).unwrap() - 2,
            4 => self.pick(&[i64::MAX, i64::MIN, i64::from(i32::MAX) + 1, 1_000_000, 99_999]),
            _ => self.0.arbitrary().unwrap_or(0),
        }
    }

    pub fn scalar(&mut self) -> Value {
        match self.below(6) {
            0 | 1 => json!(self.word()),
            2 => json!(self.integer()),
            3 => json!(self.rarely(2)),
            4 => json!(self.pick(&[0.5, -1.5, 1e300, 1e-300, 9_007_199_254_740_993.0])),
            _ => Value::Null,
        }
    }

    /// Anything, as deep as `depth`.
    pub fn value(&mut self, depth: usize) -> Value {
        if depth == 0 || self.is_done() {
            return self.scalar();
        }
        match self.below(5) {
            0 | 1 => self.scalar(),
            2 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let mut map = Map::new();
                for _ in 0..self.below(5) {
                    map.insert(self.word(), self.value(depth - 1));
                }
                Value::Object(map)
            }
        }
    }

    /// What is left, as text.
    pub fn rest(&mut self) -> String {
        let rest = self.0.peek_bytes(self.0.len()).unwrap_or_default();
        String::from_utf8_lossy(rest).into_owned()
    }
}
