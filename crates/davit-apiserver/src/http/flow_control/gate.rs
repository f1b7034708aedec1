//! Seats for requests, shared by users.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::level::Level;

/// So many seats, shared by users.
pub(super) struct Gate {
    /// How many seats stay free for the level `system`.
    reserved: usize,
    /// How many seats one user may hold: the others find some free.
    share: usize,
    queue: usize,
    wait: Duration,
    state: Mutex<State>,
}

struct State {
    free: usize,
    held: HashMap<Arc<str>, usize>,
    waiting: HashMap<Arc<str>, Waiting>,
}

/// The requests of one user that wait for a seat.
struct Waiting {
    level: Level,
    queue: VecDeque<oneshot::Sender<Seat>>,
}

/// The right to be worked on; dropping it lets the next one in.
pub(super) struct Seat {
    gate: Arc<Gate>,
    user: Arc<str>,
}

impl Gate {
    pub(super) fn new(seats: usize, reserved: usize, queue: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            reserved,
            share: (seats * 3 / 4).max(1),
            queue,
            wait,
            state: Mutex::new(State {
                free: seats,
                held: HashMap::new(),
                waiting: HashMap::new(),
            }),
        })
    }

    /// A seat, at once or after a while; none when too many wait already or it took too long.
    pub(super) async fn enter(self: &Arc<Self>, user: &Arc<str>, level: Level) -> Option<Seat> {
        let waiting = {
            let mut state = self.state.lock();
            let held = state.held.get(user).copied().unwrap_or_default();
            // If a seat is free, all waiting users have their share.
            if state.free > self.kept(level) && held < self.share {
                return Some(self.seat(&mut state, user));
            }
            let waiting = state.waiting.entry(user.clone()).or_insert_with(|| Waiting {
                level,
                queue: VecDeque::new(),
            });
            let queue = &mut waiting.queue;
            // Those that gave up meanwhile take no room.
            queue.retain(|sender| !sender.is_closed());
            if queue.len() >= self.queue {
                if queue.is_empty() {
                    state.waiting.remove(user);
                }
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            queue.push_back(sender);
            receiver
        };
        tokio::time::timeout(self.wait, waiting).await.ok()?.ok()
    }

    /// How many free seats a request of that level does not take.
    fn kept(&self, level: Level) -> usize {
        if level == Level::Workload {
            self.reserved
        } else {
            0
        }
    }

    fn seat(self: &Arc<Self>, state: &mut State, user: &Arc<str>) -> Seat {
        state.free -= 1;
        *state.held.entry(user.clone()).or_default() += 1;
        Seat {
            gate: self.clone(),
            user: user.clone(),
        }
    }

    /// Takes a seat for the next waiting request, if both exist.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Seat>, Seat)> {
        let mut state = self.state.lock();
        if state.free == 0 {
            return None;
        }
        let held = |user: &Arc<str>| state.held.get(user).copied().unwrap_or_default();
        let user = state
            .waiting
            .iter()
            .filter(|(user, waiting)| held(user) < self.share && state.free > self.kept(waiting.level))
            .min_by_key(|(user, waiting)| (waiting.level == Level::Workload, held(user)))?
            .0
            .clone();
        let queue = &mut state.waiting.get_mut(&user)?.queue;
        let sender = queue.pop_front();
        if queue.is_empty() {
            state.waiting.remove(&user);
        }
        Some((sender?, self.seat(&mut state, &user)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut state = self.gate.state.lock();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&self.user) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.user);
                }
            }
        }
        if let Some((sender, seat)) = self.gate.next() {
            // One that has given up drops the seat, and so lets the next one in.
            let _ = sender.send(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test]
    async fn who_floods_waits_for_himself() {
        let gate = Gate::new(4, 0, 10, Duration::from_secs(5));
        let (hog, other) = (user("hog"), user("other"));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(gate.enter(&hog, Level::Workload).await.unwrap());
        }
        let queued: Vec<_> = (0..10)
            .map(|_| {
                let (gate, hog) = (gate.clone(), hog.clone());
                tokio::spawn(async move { gate.enter(&hog, Level::Workload).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(
            gate.enter(&hog, Level::Workload).await.is_none(),
            "his queue is full"
        );
        let one = gate
            .enter(&other, Level::Workload)
            .await
            .expect("a seat is kept for others");
        let waits = tokio::spawn({
            let (gate, other) = (gate.clone(), other.clone());
            async move { gate.enter(&other, Level::Workload).await }
        });
        tokio::task::yield_now().await;
        held.pop();
        let two = waits
            .await
            .unwrap()
            .expect("the first seat goes to who has fewer");
        assert_eq!(gate.state.lock().held.get(&hog), Some(&2));
        drop((one, two, held));
        for waiting in queued {
            assert!(waiting.await.unwrap().is_some(), "who waits gets in");
        }
        let state = gate.state.lock();
        assert_eq!((state.free, state.held.len(), state.waiting.len()), (4, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away_and_leaves_nothing() {
        let gate = Gate::new(1, 0, 1, Duration::from_secs(15));
        let (one, two) = (user("one"), user("two"));
        let seat = gate.enter(&one, Level::Workload).await.unwrap();
        assert!(gate.enter(&two, Level::Workload).await.is_none());
        drop(seat);
        assert_eq!(gate.state.lock().free, 1);
        drop(gate.enter(&two, Level::Workload).await.expect("the seat is free"));
        assert_eq!(gate.state.lock().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn workload_leaves_reserved_seats_to_system() {
        let gate = Gate::new(5, 1, 1, Duration::from_secs(1));
        let users: Vec<_> = (0..5).map(|at| user(&format!("u{at}"))).collect();
        let mut held = Vec::new();
        for user in &users[..4] {
            held.push(gate.enter(user, Level::Workload).await.unwrap());
        }
        assert!(gate.enter(&users[4], Level::Workload).await.is_none());
        let system = gate.enter(&user("system:node"), Level::System).await;
        assert!(system.is_some(), "a reserved seat is free");
        // A free seat goes to the level `system` first.
        let waits = |name: &str, level| {
            let (gate, user) = (gate.clone(), user(name));
            tokio::spawn(async move { gate.enter(&user, level).await })
        };
        let (workload, node) = (waits("w", Level::Workload), waits("n", Level::System));
        tokio::task::yield_now().await;
        held.pop();
        let node = node.await.unwrap();
        assert!(node.is_some());
        assert!(workload.await.unwrap().is_none(), "the reserve is kept");
    }
}
