//! GitProviders whose credential a server has refused. They are checked at once, and not only at their interval.

use std::collections::HashMap;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::GitProvider;

/// The least time between two checks of one GitProvider for this reason: a repository that always fails must not use up the
/// requests that the forge allows.
const SPACING: Duration = Duration::from_mins(1);

/// Sends each GitProvider on, not too often.
#[derive(Debug)]
pub struct Suspects {
    sender: mpsc::UnboundedSender<ObjectRef<GitProvider>>,
    sent: Mutex<HashMap<ObjectRef<GitProvider>, Instant>>,
}

impl Suspects {
    /// None yet. Those that have to be checked are sent to `sender`.
    pub fn new(sender: mpsc::UnboundedSender<ObjectRef<GitProvider>>) -> Self {
        Self {
            sender,
            sent: Mutex::default(),
        }
    }

    /// Has a GitProvider checked, unless that was just done.
    pub fn report(&self, provider: ObjectRef<GitProvider>) {
        {
            let mut sent = self.sent.lock();
            sent.retain(|_, at| at.elapsed() < SPACING);
            if sent.contains_key(&provider) {
                return;
            }
            sent.insert(provider.clone(), Instant::now());
        }
        self.sender.send(provider).ok(); // The loop has ended otherwise.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn provider_is_checked_once_in_a_minute() {
        let (sender, mut sent) = mpsc::unbounded_channel();
        let suspects = Suspects::new(sender);
        let provider = |name: &str| ObjectRef::<GitProvider>::new(name).within("ns");
        suspects.report(provider("a"));
        suspects.report(provider("a"));
        suspects.report(provider("b"));
        assert_eq!(
            (sent.try_recv().unwrap(), sent.try_recv().unwrap()),
            (provider("a"), provider("b"))
        );
        assert!(sent.try_recv().is_err());
        tokio::time::advance(SPACING).await;
        suspects.report(provider("a"));
        assert_eq!(sent.try_recv().unwrap(), provider("a"));
    }
}
