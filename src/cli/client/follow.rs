//! Waits until an object is as a command wants it, and shows meanwhile how it stands.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, interval};

use super::args::{Wait, WaitFirst};
use super::connect::Cluster;
use super::times::short;
use crate::cli::failure::{Code, Failure};

/// How often the line on a terminal is drawn again, for the elapsed time.
const REDRAW: Duration = Duration::from_secs(1);

/// How an object stands.
pub enum Stand {
    /// Not yet as it should be; in a few words, how it is.
    Waits(String),
    /// As it should be.
    Good,
    /// It will never be as it should be.
    Bad(Failure),
}

/// Until when a command waits, whatever it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    begun: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    fn begin(limit: Option<&crate::api::Duration>) -> Self {
        Self {
            begun: Instant::now(),
            limit: limit.map(crate::api::Duration::get),
        }
    }

    /// How much time is left, if there is a limit.
    pub fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.begun.elapsed()))
    }

    fn end(&self) -> Instant {
        self.begun + self.limit.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
    }
}

impl Wait {
    /// Begins to wait, if the user asks for that.
    pub fn begin(&self) -> Option<Deadline> {
        self.wait.then(|| Deadline::begin(self.timeout.as_ref()))
    }
}

impl WaitFirst {
    /// Begins to wait, if the user asks for that.
    pub fn begin(&self) -> Option<Deadline> {
        self.wait.then(|| Deadline::begin(self.timeout.as_ref()))
    }
}

/// Waits until an object does not exist any more.
///
/// # Errors
/// The time is over first.
pub async fn wait_until_gone<K>(
    cluster: &Cluster,
    api: Api<K>,
    name: &str,
    deadline: &Deadline,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    match follow(cluster, api, name, deadline, |_: &K| {
        Stand::Waits("is being removed".to_owned())
    })
    .await
    {
        Err(failure) if failure.code == Code::Cancelled => Ok(()),
        other => other.map(drop),
    }
}

/// Waits until an object is good.
///
/// # Errors
/// It is bad or was deleted, or the time is over; the exit code tells which.
pub async fn follow<K>(
    cluster: &Cluster,
    api: Api<K>,
    name: &str,
    deadline: &Deadline,
    judge: impl Fn(&K) -> Stand,
) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let result = watch(cluster, api, name, deadline, judge).await;
    cluster.terminal.clear();
    result
}

/// The text on one line: it may contain the output of a container.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

async fn watch<K>(
    cluster: &Cluster,
    api: Api<K>,
    name: &str,
    deadline: &Deadline,
    judge: impl Fn(&K) -> Stand,
) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let what = K::kind(&()).to_lowercase();
    let end = deadline.end();
    let mut changes = pin!(watcher::watch_object(api, name).default_backoff());
    let mut redraw = interval(REDRAW);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let (mut stands, mut said, mut lost) = (String::new(), String::new(), false);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(object))) => {
                    lost = false;
                    match judge(&object) {
                        Stand::Good => return Ok(object),
                        Stand::Bad(failure) => return Err(failure),
                        Stand::Waits(how) => stands = one_line(&how),
                    }
                }
                // The first answer of the watch comes after a list, so an object that is not in it does not exist.
                Some(Ok(None)) => {
                    return Err(Failure::with_code(Code::Cancelled, format!("{what} {name} was deleted meanwhile")));
                }
                None => {}
                // The watch is tried again until the time is over.
                Some(Err(_)) => lost = true,
            },
            () = tokio::time::sleep_until(end) => {
                return Err(Failure::with_code(
                    Code::TimedOut,
                    format!(
                        "timed out after {}: {what} {name}: {stands}; it goes on: wait longer with --timeout, or see davit status",
                        short(deadline.limit.unwrap_or_default())
                    ),
                ));
            }
            _ = &mut interrupt => {
                return Err(Failure::with_code(
                    Code::Interrupted,
                    format!("no longer waiting: {what} {name} goes on; see davit status"),
                ));
            }
            _ = redraw.tick() => {}
        }
        if stands.is_empty() && !lost {
            continue;
        }
        let lost = if lost {
            " (connection lost, trying again)"
        } else {
            ""
        };
        let line = format!("{name}: {stands}{lost}");
        if cluster.terminal.progress_width.is_some() {
            cluster
                .terminal
                .show(&format!("{line}  {}", short(deadline.begun.elapsed())));
        } else if line != said {
            cluster.terminal.show(&line);
            said = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_on_one_line() {
        assert_eq!(
            one_line("container web ended: \n  panic\n\n  at main\n"),
            "container web ended: panic at main"
        );
    }
}
