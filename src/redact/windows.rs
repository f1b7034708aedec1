//! Finds long values in text without holding an automaton of them: by the hashes of their consecutive windows.

use std::collections::HashSet;
use std::ops::Range;

/// The bytes of one window.
pub(super) const WIDTH: usize = 32;
/// The base of the rolling hash; odd, so that no byte is lost in 64 bits.
const BASE: u64 = 0x0100_0000_01b3;

/// The size of [`Windows::filter`] in words of 64 bits: 8 KiB of memory.
const FILTER_WORDS: usize = 1 << 10;

/// The hashes of the windows of all long values.
#[derive(Clone, Default)]
pub(super) struct Windows {
    hashes: HashSet<u64>,
    /// A bit for each hash, so that few windows of other text are looked for among the hashes. Empty without hashes.
    filter: Vec<u64>,
}

impl Windows {
    /// Adds the windows of a value: one after the other, and the last one up to its end.
    pub fn add(&mut self, value: &[u8]) {
        let last = value.len().checked_sub(WIDTH).and_then(|from| value.get(from..));
        let windows = value.chunks_exact(WIDTH).chain(last);
        for hash in windows.map(|window| window.iter().copied().fold(0, extend)) {
            if self.filter.is_empty() {
                self.filter = vec![0; FILTER_WORDS];
            }
            let (word, bit) = place(hash);
            if let Some(word) = self.filter.get_mut(word) {
                *word |= bit;
            }
            self.hashes.insert(hash);
        }
    }

    fn contains(&self, hash: u64) -> bool {
        let (word, bit) = place(hash);
        self.filter.get(word).is_some_and(|word| word & bit != 0) && self.hashes.contains(&hash)
    }

    /// Returns the parts of `text` that consist of windows of known values.
    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.hashes.is_empty() {
            return found;
        }
        let highest = (1..WIDTH).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        let mut hash = 0_u64;
        for (at, byte) in text.iter().enumerate() {
            let leaving = at.checked_sub(WIDTH).and_then(|index| text.get(index));
            if let Some(leaving) = leaving {
                hash = hash.wrapping_sub(weight(*leaving).wrapping_mul(highest));
            }
            hash = extend(hash, *byte);
            if at + 1 >= WIDTH && self.contains(hash) {
                match found.last_mut() {
                    Some(before) if before.end >= at + 1 - WIDTH => before.end = at + 1,
                    _ => found.push(at + 1 - WIDTH..at + 1),
                }
            }
        }
        found
    }
}

/// The word and the bit of the filter that a hash has.
fn place(hash: u64) -> (usize, u64) {
    let word = usize::try_from(hash >> (64 - FILTER_WORDS.trailing_zeros())).unwrap_or_default();
    (word, 1 << (hash & 63))
}

fn extend(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(weight(byte))
}

/// A zero byte counts too, and similar bytes differ in all bits.
fn weight(byte: u8) -> u64 {
    (u64::from(byte) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_value_is_found_whole_at_any_offset() {
        let value: Vec<u8> = (0..1000_u32).map(|at| (at * 7919 % 251) as u8).collect();
        let mut windows = Windows::default();
        windows.add(&value);
        for offset in [0, 1, 31, 32, 33, 500] {
            let text = [vec![b'-'; offset], value.clone(), vec![b'-'; 7]].concat();
            assert_eq!(
                windows.find(&text),
                std::slice::from_ref(&(offset..offset + value.len()))
            );
        }
        assert!(windows.find(&[b'-'; 500]).is_empty());
    }
}
