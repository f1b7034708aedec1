//! How many seats of a gate a priority level has.

use std::sync::Arc;

use crate::flow_schemas::{Flows, Level};

/// The numbers of one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Its part of the seats, in proportion to its shares.
    pub(super) nominal: usize,
    /// How many of these no other level takes.
    pub(super) guaranteed: usize,
    /// How many it may hold, those of others included.
    pub(super) most: usize,
    /// How many one of its flows may hold: the others find some free.
    pub(super) share: usize,
    /// How many requests of one of its flows may wait.
    pub(super) queue: usize,
    /// How many of its requests may wait.
    pub(super) queued: usize,
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The part of `seats` that a level has.
pub(super) fn nominal(flows: &Flows, level: &Level, seats: usize) -> usize {
    count((wide(seats) * level.shares).div_ceil(flows.shares().max(1)))
}

impl Numbers {
    /// The numbers of a level that does not exist any longer: its requests take seats that are free.
    pub(super) fn common(seats: usize) -> Self {
        Self {
            nominal: 0,
            guaranteed: 0,
            most: seats,
            share: seats,
            queue: 0,
            queued: 0,
        }
    }

    /// The numbers of each level at a gate of so many seats, of which `divided` belong to levels. In a queue of one flow
    /// wait at most `queue` requests.
    pub(super) fn of(flows: &Flows, seats: usize, divided: usize, queue: usize) -> Vec<(Arc<str>, Self)> {
        // Rounded down, so that all of them together are never more than the seats.
        let guaranteed = |level: &Level| {
            let own = wide(divided) * level.shares * (100 - level.lendable);
            count(own / (100 * flows.shares()).max(1))
        };
        let all: usize = flows.levels.iter().map(guaranteed).sum();
        let numbers = |level: &Level| {
            let (nominal, guaranteed) = (nominal(flows, level, divided), guaranteed(level));
            let borrowed = |percent: u64| count((wide(nominal) * percent).div_ceil(100));
            let most = level
                .borrowing
                .map_or(seats, |percent| nominal + borrowed(percent));
            let most = most.min(seats - (all - guaranteed));
            let waits = level.queue.filter(|_| queue > 0);
            let numbers = Self {
                nominal,
                guaranteed,
                most,
                share: (most * 3 / 4).max(1).min(most),
                queue: waits.map_or(0, |waits| waits.length.min(queue)),
                queued: waits.map_or(0, |waits| waits.total),
            };
            (level.name.clone(), numbers)
        };
        flows.levels.iter().map(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow_schemas::suggested;

    #[test]
    fn seats_are_upstreams() {
        let flows = Flows::of_specs(suggested::levels(), suggested::schemas());
        let nominal = |name: &str| {
            let level = flows.levels.iter().find(|level| &*level.name == name).unwrap();
            nominal(&flows, level, 600)
        };
        // Upstream's series apiserver_flowcontrol_nominal_limit_seats.
        for (name, seats) in [
            ("exempt", 0),
            ("catch-all", 13),
            ("leader-election", 25),
            ("global-default", 49),
            ("system", 74),
            ("node-high", 98),
            ("workload-high", 98),
            ("workload-low", 245),
        ] {
            assert_eq!(nominal(name), seats, "{name}");
        }
    }

    #[test]
    fn levels_never_have_more_than_the_gate() {
        let flows = Flows::of_specs(suggested::levels(), suggested::schemas());
        for seats in 0..300 {
            let all = Numbers::of(&flows, seats, seats, 50);
            let guaranteed: usize = all.iter().map(|(_, numbers)| numbers.guaranteed).sum();
            assert!(guaranteed <= seats, "{seats}");
            for (name, numbers) in &all {
                assert!(
                    numbers.guaranteed <= numbers.most && numbers.most <= seats,
                    "{name} of {seats}"
                );
                assert!(numbers.share <= numbers.most, "{name} of {seats}");
                assert!(seats == 0 || numbers.share > 0, "{name} of {seats}");
            }
        }
    }

    #[test]
    fn a_level_borrows_as_much_as_it_may() {
        let limited = |shares: u32, more| {
            let mut limited =
                json!({"nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}});
            if let Some(percent) = more {
                limited["borrowingLimitPercent"] = json!(percent);
            }
            json!({"type": "Limited", "limited": limited})
        };
        let mut levels = suggested::levels();
        levels.extend([
            ("none", limited(0, Some(0))),
            ("half", limited(245, Some(50))),
            ("all", limited(0, None)),
        ]);
        let flows = Flows::of_specs(levels, suggested::schemas());
        let numbers = Numbers::of(&flows, 100, 100, 50);
        let most = |name: &str| numbers.iter().find(|(known, _)| &**known == name).unwrap().1.most;
        assert_eq!((most("none"), most("half")), (0, 75));
        assert!((1..100).contains(&most("all")), "{}", most("all"));
    }
}
