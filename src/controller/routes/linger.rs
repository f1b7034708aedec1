//! Replicas that get no new requests, and may still have some under way. Without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::AppId;

/// The pauses between looks at the connections.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// The longest that requests are waited for: WebSockets, streams and long downloads end with the replica.
const LONGEST: Duration = Duration::from_secs(30);
/// In so many looks in a row a replica must have had no connection: the proxy has chosen a replica before it connects.
const UNSEEN: u8 = 2;

#[derive(Debug)]
struct Entry {
    /// Its Application; `None` if Davit has started since.
    app: Option<AppId>,
    until: Instant,
    unseen: u8,
}

/// The addresses of replicas that get no new requests, and may still have some under way.
#[derive(Debug, Default)]
pub struct Lingering {
    entries: BTreeMap<String, Entry>,
    next: Option<(Instant, Duration)>,
}

impl Lingering {
    /// From now on these addresses get no new requests.
    pub fn add(&mut self, app: Option<&AppId>, addresses: impl IntoIterator<Item = String>, now: Instant) {
        for address in addresses {
            let app = app.cloned();
            let until = now + LONGEST;
            self.entries.entry(address).or_insert(Entry {
                app,
                until,
                unseen: 0,
            });
            self.next = Some((now, LOOK.0));
        }
    }

    /// When the connections are to be looked at; `None` if nothing lingers.
    pub fn due(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Takes over where the proxy has connections; `None` if that cannot be known. Returns the Applications with replicas that
    /// linger no longer; `None` stands for all.
    pub fn look(&mut self, connected: Option<&BTreeSet<IpAddr>>, now: Instant) -> BTreeSet<Option<AppId>> {
        let mut free = BTreeSet::new();
        self.entries.retain(|address, entry| {
            let address: Option<IpAddr> = address.parse().ok();
            let seen = connected
                .zip(address)
                .map(|(connected, address)| connected.contains(&address));
            match seen {
                Some(true) => entry.unseen = 0,
                Some(false) => entry.unseen += 1,
                None => entry.unseen = UNSEEN,
            }
            let stays = entry.unseen < UNSEEN && now < entry.until;
            if !stays {
                free.insert(entry.app.clone());
            }
            stays
        });
        let pause = self.next.map_or(LOOK.0, |(_, pause)| pause);
        self.next = (!self.entries.is_empty()).then(|| (now + pause, (pause * 3 / 2).min(LOOK.1)));
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn replica_lingers_until_two_looks_show_no_connection() {
        let (app, start) = (AppId::new("ns", "web"), Instant::now());
        let mut lingering = Lingering::default();
        assert_eq!(lingering.due(), None);
        lingering.add(Some(&app), ["10.0.0.2".to_owned()], start);
        assert_eq!(lingering.due(), Some(start));
        let (with, without) = (addresses(&["10.0.0.2"]), addresses(&["10.0.0.3"]));
        let mut now = start;
        for (connected, ends) in [
            (&with, false),
            (&without, false),
            (&with, false),
            (&without, false),
            (&without, true),
        ] {
            let free = lingering.look(Some(connected), now);
            assert_eq!(!free.is_empty(), ends);
            assert_eq!(lingering.due().is_none(), ends);
            now = lingering.due().unwrap_or(now);
        }
        assert_eq!(lingering.addresses().count(), 0);
        assert!(
            now < start + Duration::from_secs(1),
            "the looks are close to each other at first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stream_without_an_end_is_not_waited_for_longer_than_half_a_minute() {
        let (app, mut now) = (AppId::new("ns", "web"), Instant::now());
        let start = now;
        let mut lingering = Lingering::default();
        lingering.add(Some(&app), ["10.0.0.2".to_owned()], now);
        let connected = addresses(&["10.0.0.2"]);
        let mut looks = 0;
        while let Some(at) = lingering.due() {
            now = at;
            lingering.look(Some(&connected), now);
            looks += 1;
        }
        let took = now - start;
        assert!(
            took >= LONGEST && took < LONGEST + LOOK.1 * 2 && looks < 45,
            "{took:?}, {looks} looks"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_lingers_if_connections_cannot_be_seen() {
        let mut lingering = Lingering::default();
        lingering.add(
            None,
            ["10.0.0.2".to_owned(), "no address".to_owned()],
            Instant::now(),
        );
        assert_eq!(lingering.look(None, Instant::now()), BTreeSet::from([None]));
        assert_eq!(lingering.due(), None);
    }
}
