//! Seats for requests, shared by priority levels, and within a level by flows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::numbers::Numbers;
use crate::flow_schemas::Flows;

/// So many seats, shared by the flows of all levels.
pub(super) struct Gate {
    seats: usize,
    /// How many of the seats belong to levels.
    divided: usize,
    /// How many requests of one flow may wait, whatever the level says.
    queue: usize,
    wait: Duration,
    state: Mutex<State>,
}

struct State {
    free: usize,
    levels: HashMap<Arc<str>, Level>,
}

/// One level.
#[derive(Default)]
struct Level {
    numbers: Numbers,
    /// Whether its object is gone, or is not yet known.
    gone: bool,
    held: usize,
    waiting: usize,
    flows: HashMap<Arc<str>, Flow>,
}

/// One flow of a level.
#[derive(Default)]
struct Flow {
    held: usize,
    /// How many seats it may hold.
    most: usize,
    queue: VecDeque<oneshot::Sender<Seat>>,
}

/// The level and the flow of a request that needs a seat.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// The name of the level.
    pub(super) level: Arc<str>,
    pub(super) flow: Arc<str>,
    /// Whether the flow is all of its flow schema, and may have all seats of the level.
    pub(super) only: bool,
}

/// The right to be worked on; dropping it lets the next one in.
pub(super) struct Seat {
    gate: Arc<Gate>,
    ticket: Ticket,
}

impl State {
    /// How many of the free seats levels have for themselves.
    fn reserved(&self) -> usize {
        let levels = self.levels.values();
        levels
            .map(|level| level.numbers.guaranteed.saturating_sub(level.held))
            .sum()
    }

    /// Whether a seat may go to the level.
    fn admits(&self, level: &Level) -> bool {
        // A level that is gone has no seats of its own, and must not wait for those that others keep.
        if level.gone || level.held < level.numbers.guaranteed {
            self.free > 0
        } else {
            level.held < level.numbers.most && self.free > self.reserved()
        }
    }
}

impl Level {
    /// One that the gate was not told of.
    fn common(seats: usize) -> Self {
        Self {
            numbers: Numbers::common(seats),
            gone: true,
            ..Self::default()
        }
    }

    /// The waiting flow that gets the next seat: the one with the fewest.
    fn next(&self) -> Option<&Arc<str>> {
        let waiting = self.flows.iter();
        waiting
            .filter(|(_, flow)| !flow.queue.is_empty() && flow.held < flow.most)
            .min_by_key(|(_, flow)| flow.held)
            .map(|(name, _)| name)
    }

    /// How much of its own seats the level has, in thousandths: the lower, the earlier it gets the next one.
    fn use_of_own(&self) -> usize {
        self.held * 1000 / self.numbers.nominal.max(1)
    }
}

impl Gate {
    pub(super) fn new(seats: usize, divided: usize, queue: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            seats,
            divided,
            queue,
            wait,
            state: Mutex::new(State {
                free: seats,
                levels: HashMap::new(),
            }),
        })
    }

    /// Takes the levels. Requests of a level that is gone go on.
    pub(super) fn set_levels(self: &Arc<Self>, flows: &Flows) {
        {
            let mut state = self.state.lock();
            for level in state.levels.values_mut() {
                level.numbers = Numbers::common(self.seats);
                level.gone = true;
            }
            for (name, numbers) in Numbers::of(flows, self.seats, self.divided, self.queue) {
                let level = state.levels.entry(name).or_default();
                level.numbers = numbers;
                level.gone = false;
            }
            let named = |name: &Arc<str>| flows.levels.iter().any(|level| level.name == *name);
            state
                .levels
                .retain(|name, level| level.held > 0 || level.waiting > 0 || named(name));
        }
        while self.call() {}
    }

    /// A seat, at once or after a while; none when too many wait already or it took too long.
    pub(super) async fn enter(self: &Arc<Self>, ticket: &Ticket) -> Option<Seat> {
        let waiting = {
            let mut state = self.state.lock();
            let level = state.levels.entry(ticket.level.clone());
            let level = level.or_insert_with(|| Level::common(self.seats));
            let numbers = level.numbers;
            let flow = level.flows.entry(ticket.flow.clone()).or_default();
            flow.most = if ticket.only { numbers.most } else { numbers.share };
            let has_share = flow.held >= flow.most;
            // If a seat is free for the level, all of its waiting flows have their share.
            if !has_share
                && state
                    .levels
                    .get(&ticket.level)
                    .is_some_and(|level| state.admits(level))
            {
                return Some(self.seat(&mut state, ticket));
            }
            let level = state.levels.get_mut(&ticket.level)?;
            let flow = level.flows.get_mut(&ticket.flow)?;
            // Those that gave up meanwhile take no room.
            let before = flow.queue.len();
            flow.queue.retain(|sender| !sender.is_closed());
            level.waiting -= before - flow.queue.len();
            if flow.queue.len() >= numbers.queue || level.waiting >= numbers.queued {
                if flow.held == 0 && flow.queue.is_empty() {
                    level.flows.remove(&ticket.flow);
                }
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            flow.queue.push_back(sender);
            level.waiting += 1;
            receiver
        };
        tokio::time::timeout(self.wait, waiting).await.ok()?.ok()
    }

    fn seat(self: &Arc<Self>, state: &mut State, ticket: &Ticket) -> Seat {
        state.free = state.free.saturating_sub(1);
        let level = state.levels.entry(ticket.level.clone()).or_default();
        level.held += 1;
        level.flows.entry(ticket.flow.clone()).or_default().held += 1;
        Seat {
            gate: self.clone(),
            ticket: ticket.clone(),
        }
    }

    /// Gives a seat to the next waiting request, if both exist.
    fn call(self: &Arc<Self>) -> bool {
        let (sender, seat) = {
            let mut state = self.state.lock();
            let next = state
                .levels
                .iter()
                .filter(|(_, level)| level.waiting > 0 && state.admits(level))
                .filter_map(|(name, level)| Some((level.use_of_own(), name, level.next()?)))
                .min_by_key(|(used, ..)| *used)
                .map(|(_, level, flow)| (level.clone(), flow.clone()));
            let Some((level_name, flow_name)) = next else {
                return false;
            };
            let Some(level) = state.levels.get_mut(&level_name) else {
                return false;
            };
            let Some(flow) = level.flows.get_mut(&flow_name) else {
                return false;
            };
            let mut found = None;
            while let Some(sender) = flow.queue.pop_front() {
                level.waiting -= 1;
                // One that gave up needs none.
                if !sender.is_closed() {
                    found = Some(sender);
                    break;
                }
            }
            let Some(sender) = found else {
                if flow.held == 0 {
                    level.flows.remove(&flow_name);
                }
                // Others may wait.
                return true;
            };
            let ticket = Ticket {
                level: level_name,
                flow: flow_name,
                only: false,
            };
            (sender, self.seat(&mut state, &ticket))
        };
        // One that has given up just now drops the seat, and so lets the next one in.
        let _ = sender.send(seat);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut state = self.gate.state.lock();
            state.free += 1;
            if let Some(level) = state.levels.get_mut(&self.ticket.level) {
                level.held -= 1;
                if let Some(flow) = level.flows.get_mut(&self.ticket.flow) {
                    flow.held -= 1;
                    if flow.held == 0 && flow.queue.is_empty() {
                        level.flows.remove(&self.ticket.flow);
                    }
                }
            }
        }
        while self.gate.call() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_schemas::suggested;

    fn gate(seats: usize, queue: usize, wait: u64) -> Arc<Gate> {
        let gate = Gate::new(seats, seats, queue, Duration::from_secs(wait));
        gate.set_levels(&Flows::of_specs(suggested::levels(), suggested::schemas()));
        gate
    }

    fn ticket(level: &str, flow: &str) -> Ticket {
        Ticket {
            level: level.into(),
            flow: flow.into(),
            only: false,
        }
    }

    fn workload(flow: &str) -> Ticket {
        ticket("workload-low", flow)
    }

    /// What asks for a seat, and waits for it.
    fn asks(gate: &Arc<Gate>, ticket: &Ticket) -> tokio::task::JoinHandle<Option<Seat>> {
        let (gate, ticket) = (gate.clone(), ticket.clone());
        tokio::spawn(async move { gate.enter(&ticket).await })
    }

    /// What is free, and how many flows hold or want seats.
    fn left(gate: &Gate) -> (usize, usize) {
        let state = gate.state.lock();
        let flows = state.levels.values().map(|level| level.flows.len()).sum();
        assert_eq!(state.levels.values().map(|level| level.waiting).sum::<usize>(), 0);
        (state.free, flows)
    }

    #[tokio::test]
    async fn who_floods_waits_for_himself() {
        let gate = gate(4, 10, 5);
        let (hog, other) = (workload("hog"), workload("other"));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(gate.enter(&hog).await.unwrap());
        }
        let queued: Vec<_> = (0..10).map(|_| asks(&gate, &hog)).collect();
        tokio::task::yield_now().await;
        assert!(gate.enter(&hog).await.is_none(), "his queue is full");
        let one = gate.enter(&other).await.expect("a seat is kept for others");
        let waits = asks(&gate, &other);
        tokio::task::yield_now().await;
        held.pop();
        let two = waits.await.unwrap();
        assert!(two.is_some(), "the first seat goes to the user who has fewer");
        drop((one, two, held));
        for waiting in queued {
            assert!(waiting.await.unwrap().is_some(), "who waits gets in");
        }
        assert_eq!(left(&gate), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away_and_leaves_nothing() {
        let gate = gate(1, 1, 15);
        let seat = gate.enter(&workload("one")).await.unwrap();
        assert!(gate.enter(&workload("two")).await.is_none());
        drop(seat);
        assert_eq!(left(&gate), (1, 0));
        drop(gate.enter(&workload("two")).await.expect("the seat is free"));
        assert_eq!(left(&gate), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn levels_keep_what_they_do_not_lend() {
        let gate = gate(49, 50, 1);
        let mut held = Vec::new();
        for flow in ["one", "two"] {
            while let Some(seat) = gate.enter(&workload(flow)).await {
                held.push(seat);
            }
        }
        assert_eq!(held.len(), 30, "all but what the other levels keep");
        let mut system = Vec::new();
        for node in 0..4 {
            let node = ticket("system", &format!("node-{node}"));
            system.push(gate.enter(&node).await.expect("a seat of its level"));
        }
        // What is free goes to the level that has less of its own first.
        let (again, node) = (
            asks(&gate, &workload("three")),
            asks(&gate, &ticket("system", "node")),
        );
        tokio::task::yield_now().await;
        held.pop();
        let node = node.await.unwrap();
        assert!(node.is_some());
        assert!(again.await.unwrap().is_none());
        drop((held, system, node));
        assert_eq!(left(&gate), (49, 0));
    }

    #[tokio::test]
    async fn a_level_that_rejects_has_no_queue_and_one_that_is_gone_gives_its_seats_back() {
        let gate = gate(2, 50, 5);
        let seats = [workload("a"), workload("b")].map(|ticket| {
            let gate = gate.clone();
            async move { gate.enter(&ticket).await }
        });
        let [one, two] = seats;
        let (one, two) = (one.await, two.await);
        assert!(one.is_some() && two.is_some());
        assert!(gate.enter(&ticket("catch-all", "c")).await.is_none());
        let waits = asks(&gate, &ticket("system", "c"));
        tokio::task::yield_now().await;
        gate.set_levels(&Flows::default());
        drop((one, two));
        assert!(
            waits.await.unwrap().is_some(),
            "a request that waits already gets in"
        );
        gate.set_levels(&Flows::default());
        assert_eq!(left(&gate), (2, 0));
        assert_eq!(gate.state.lock().levels.len(), 2, "the mandatory levels");
    }
}
