//! What is requested of Applications, read from the proxy when a client asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Routes;
use super::client::{Client, Failure};
use super::observed::AllRequests;
use crate::proxy::requests;

/// How long one read serves several clients: `davit top` asks for each Application.
const FRESH: Duration = Duration::from_millis(200);

impl Routes {
    /// Returns what was requested of all Applications since the proxy started.
    ///
    /// # Errors
    /// Why that is not known, and the solution.
    pub async fn requests(&self) -> Result<AllRequests, String> {
        if self.cluster.is_some() {
            return Err(
                "the metrics of requests are those of the cluster's Ingress controller or Gateway".to_owned(),
            );
        }
        let mut cache = self.traffic.0.lock().await;
        if let Some((at, known)) = &*cache
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(known));
        }
        let Some(api) = self.observed().api else {
            return Err("Traefik's API is not known: start davit with --traefik-api".to_owned());
        };
        let text = match Client::new(&api).get("/metrics").await {
            Ok(Some(text)) => text,
            Ok(None) => {
                return Err(
                    "Traefik has no metrics at its API: start it with --metrics.prometheus=true".to_owned(),
                );
            }
            Err(Failure::Refused(status)) => {
                return Err(format!("Traefik's metrics: its API answers {status}"));
            }
            Err(Failure::Unreachable(why)) => return Err(format!("Traefik's metrics: {why}")),
        };
        let found = Arc::new(requests(
            &String::from_utf8_lossy(&text),
            &self.options.settings.instance,
        ));
        *cache = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }
}
