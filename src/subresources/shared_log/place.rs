//! Up to where a reader has a log, so that it can go on in another read of the same log. Pure.
//!
//! An engine finds a place in a log by its time only. Times are not unique, because the pieces of a very long line share one, and do
//! not only increase, because a container's two streams are timed before they are written to one log. So another read begins a
//! little earlier than the place, and the lines up to the place are skipped.

use std::time::Duration;

use jiff::Timestamp;

/// How much earlier another read begins.
const EARLIER: Duration = Duration::from_millis(100);

/// The line with the latest time, as a place in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    at: Timestamp,
    /// How many lines with this time were read one after the other.
    same: u64,
    /// How many lines were read behind these.
    behind: u64,
}

impl Latest {
    /// After one line.
    pub fn new(at: Timestamp) -> Self {
        let (same, behind) = (1, 0);
        Self { at, same, behind }
    }

    /// After one more line.
    pub fn pass(&mut self, at: Timestamp) {
        if at > self.at {
            *self = Self::new(at);
        } else if at == self.at && self.behind == 0 {
            self.same += 1;
        } else {
            self.behind += 1;
        }
    }

    /// The latest time.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Up to where a reader has a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Lines up to this time are not wanted.
    since: Option<Timestamp>,
    latest: Option<Latest>,
}

impl Place {
    /// Before the first line after this time, or before the first one of all.
    pub fn since(since: Option<Timestamp>) -> Self {
        Self { since, latest: None }
    }

    /// Behind one more line.
    pub fn pass(&mut self, at: Timestamp) {
        match &mut self.latest {
            Some(latest) => latest.pass(at),
            None => self.latest = Some(Latest::new(at)),
        }
    }

    /// Behind more lines, of which `latest` is the last place.
    pub fn pass_all(&mut self, latest: Latest, lines: impl Iterator<Item = Timestamp>) {
        match self.latest {
            Some(own) if latest.at <= own.at => lines.for_each(|at| self.pass(at)),
            _ => self.latest = Some(latest),
        }
    }

    /// Behind every line with the same time or an earlier one. For a reader that has seen the end of a log only, and so does not
    /// know how many lines share its latest time.
    pub fn round_up(&mut self) {
        self.since = self.reach().max(self.since);
        self.latest = None;
    }

    /// The time of which every earlier line is known or not wanted, but for those that the order of the log has later.
    pub fn reach(&self) -> Option<Timestamp> {
        self.latest.map(|latest| latest.at).or(self.since)
    }

    /// The time after which another read has to begin, for [`Place::skip`] to find this place in it.
    pub fn begin(&self) -> Option<Timestamp> {
        let earlier = |latest: Latest| latest.at.checked_sub(EARLIER).unwrap_or(Timestamp::MIN);
        self.latest.map(earlier).max(self.since)
    }

    /// Whether a read from which every line up to `gone` may be missing has all lines behind this place.
    pub fn is_covered(&self, gone: Option<Timestamp>) -> bool {
        let Some(gone) = gone else { return true };
        self.latest.is_some_and(|latest| latest.at > gone) || self.since.is_some_and(|since| since >= gone)
    }

    /// What leaves out of another read the lines up to this place.
    pub fn skip(&self) -> Skip {
        Skip {
            since: self.since,
            left: self.latest,
        }
    }
}

/// Tells which lines of a read are behind a [`Place`]. The default skips none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skip {
    since: Option<Timestamp>,
    /// What is still to come of the place; `None` behind it.
    left: Option<Latest>,
}

impl Skip {
    /// Takes the next line of the read. Returns true if it is behind the place.
    pub fn is_new(&mut self, at: Timestamp) -> bool {
        if self.since.is_some_and(|since| at <= since) {
            return false;
        }
        let Some(left) = &mut self.left else { return true };
        if at > left.at {
            // Up to its place every line is older, so that place was passed, or the engine has it no more.
            self.left = None;
            return true;
        }
        if left.same > 0 {
            left.same -= u64::from(at == left.at);
        } else {
            left.behind = left.behind.saturating_sub(1);
        }
        if (left.same, left.behind) == (0, 0) {
            self.left = None;
        }
        false
    }

    /// Whether all lines with these times, the earliest of which is `earliest`, are behind the place.
    pub fn passes_all(&self, earliest: Timestamp) -> bool {
        self.left.is_none() && self.since.is_none_or(|since| earliest > since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn another_read_goes_on_behind_the_place_whatever_the_times() {
        for times in [
            &[1, 2, 3, 4, 5][..],
            &[1, 1, 1, 1, 1],
            &[1, 2, 2, 2, 3],
            &[1, 3, 2, 4, 5],
            &[3, 3, 2, 3, 1, 3, 4, 4, 2],
            &[9, 1, 2, 3],
        ] {
            let lines: Vec<Timestamp> = times.iter().map(|second| at(*second)).collect();
            for read in 0..=lines.len() {
                let (known, rest) = lines.split_at(read);
                let mut place = Place::default();
                for line in known {
                    place.pass(*line);
                }
                let mut skip = place.skip();
                let new: Vec<_> = lines.iter().copied().filter(|line| skip.is_new(*line)).collect();
                assert_eq!(new, rest, "{times:?} after {read}");
                // The same in one step.
                for cut in 0..=read {
                    let mut steps = Place::default();
                    for part in [&known[..cut], &known[cut..]] {
                        let mut latest: Option<Latest> = None;
                        for line in part {
                            match &mut latest {
                                Some(latest) => latest.pass(*line),
                                None => latest = Some(Latest::new(*line)),
                            }
                        }
                        if let Some(latest) = latest {
                            steps.pass_all(latest, part.iter().copied());
                        }
                    }
                    assert_eq!(steps, place, "{times:?} after {cut} and {read}");
                }
            }
        }
    }

    #[test]
    fn line_that_the_engine_has_no_more_is_not_waited_for() {
        let mut place = Place::since(Some(at(1)));
        assert_eq!((place.begin(), place.reach()), (Some(at(1)), Some(at(1))));
        place.pass(at(5));
        let mut skip = place.skip();
        let new: Vec<_> = [at(1), at(4), at(6), at(1), at(5)]
            .into_iter()
            .filter(|line| skip.is_new(*line))
            .collect();
        assert_eq!(new, [at(6), at(5)]);
        assert!(skip.passes_all(at(2)) && !skip.passes_all(at(1)));
        place.round_up();
        assert_eq!(place, Place::since(Some(at(5))));
    }

    #[test]
    fn read_covers_a_place_if_nothing_behind_it_is_missing() {
        let mut place = Place::default();
        assert!(place.is_covered(None) && !place.is_covered(Some(at(1))));
        place.pass(at(5));
        assert!(place.is_covered(place.begin()) && place.is_covered(Some(at(4))));
        assert!(!place.is_covered(Some(at(5))));
        let since = Place::since(Some(at(5)));
        assert!(since.is_covered(since.begin()) && !since.is_covered(Some(at(6))));
    }
}
