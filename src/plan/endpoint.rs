//! Where deliveries of webhooks arrive: their URLs, and what the status of an Application reports about its own.

use jiff::Timestamp;

use crate::api::{Application, ApplicationStatus, ConditionType, Reason, condition};
use crate::error::{Class, Problem};

/// Where this Davit receives deliveries of webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether a listener is open.
    pub is_served: bool,
    /// The URL under which forges reach it, without a slash at its end.
    pub public_url: Option<String>,
}

impl Endpoint {
    /// The URL for deliveries about a GitProvider.
    ///
    /// # Errors
    /// No delivery arrives, or the public URL is unknown.
    pub fn of_provider(&self, namespace: &str, name: &str) -> Result<String, Problem> {
        self.url(&format!("/webhooks/gitproviders/{namespace}/{name}"))
    }

    /// The URL for deliveries about an Application.
    ///
    /// # Errors
    /// No delivery arrives, or the public URL is unknown.
    pub fn of_application(&self, namespace: &str, name: &str) -> Result<String, Problem> {
        self.url(&format!("/webhooks/applications/{namespace}/{name}"))
    }

    fn url(&self, path: &str) -> Result<String, Problem> {
        let message = match (self.is_served, &self.public_url) {
            (true, Some(url)) => return Ok(format!("{url}{path}")),
            (true, None) => format!(
                "the public URL of this Davit is unknown: start davit with --public-url URL; deliveries to {path} are received"
            ),
            (false, _) => "this Davit receives no webhooks: start davit with --webhook-listen ADDRESS:PORT and --public-url URL; \
                           until then sources are polled"
                .to_owned(),
        };
        Err(Problem::new(Class::Terminal, Reason::WebhookNotServed, message))
    }
}

/// Reports the Application's own webhook, if `spec.trigger.webhook` is set. `secret` is whether its Secret can be used.
pub fn report(
    app: &Application,
    endpoint: &Endpoint,
    secret: Result<(), Problem>,
    status: &mut ApplicationStatus,
    now: Timestamp,
) {
    let trigger = app.spec.trigger.as_ref();
    if trigger.is_none_or(|trigger| trigger.webhook.is_none()) {
        condition::remove(&mut status.conditions, ConditionType::WebhookReady);
        return;
    }
    let meta = &app.metadata;
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    let url = endpoint.of_application(namespace.unwrap_or_default(), name.unwrap_or_default());
    status.webhook_url = url.as_ref().ok().cloned();
    let (is_ready, reason, message) = match url.map(|_| ()).and(secret) {
        Ok(()) => (
            true,
            Reason::WebhookReady,
            "deliveries to the URL in status.webhookUrl are received".to_owned(),
        ),
        Err(problem) => (false, problem.reason, problem.message),
    };
    let (all, kind) = (&mut status.conditions, ConditionType::WebhookReady);
    let generation = meta.generation.unwrap_or(1);
    condition::set(all, kind, Some(is_ready), reason, &message, generation, now);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn url_is_known_only_with_a_listener_and_a_public_url() {
        let of = |is_served, public_url: Option<&str>| {
            let endpoint = Endpoint {
                is_served,
                public_url: public_url.map(str::to_owned),
            };
            endpoint
                .of_provider("ns", "gh")
                .map_err(|problem| problem.message)
        };
        let url = of(true, Some("https://davit.example.com/base"));
        let expected = "https://davit.example.com/base/webhooks/gitproviders/ns/gh";
        assert_eq!(url.as_deref(), Ok(expected));
        assert!(of(true, None).unwrap_err().contains("--public-url"));
        assert!(of(false, None).unwrap_err().contains("--webhook-listen"));
    }

    #[test]
    fn status_reports_the_webhook_of_an_application_that_has_one() {
        let endpoint = Endpoint {
            is_served: true,
            public_url: Some("https://davit.example.com".to_owned()),
        };
        let app = |trigger| -> Application {
            serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
                "metadata": {"name": "shop", "namespace": "ns"}, "spec": {"trigger": trigger}}))
            .unwrap()
        };
        let with = app(json!({"webhook": {"secretRef": {"name": "hook"}}}));
        let mut status = ApplicationStatus::default();
        let ready = |status: &ApplicationStatus| {
            let found = condition::find(&status.conditions, ConditionType::WebhookReady);
            found.map(|found| (found.status.clone(), found.reason.clone()))
        };
        let pair = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        report(&with, &endpoint, Ok(()), &mut status, Timestamp::UNIX_EPOCH);
        let url = "https://davit.example.com/webhooks/applications/ns/shop";
        assert_eq!(status.webhook_url.as_deref(), Some(url));
        assert_eq!(ready(&status), pair("True", "WebhookReady"));
        let missing = Problem::new(Class::Terminal, Reason::SecretNotFound, "create it");
        report(&with, &endpoint, Err(missing), &mut status, Timestamp::UNIX_EPOCH);
        assert_eq!(ready(&status), pair("False", "SecretNotFound"));
        report(
            &with,
            &Endpoint::default(),
            Ok(()),
            &mut status,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            (status.webhook_url.clone(), ready(&status)),
            (None, pair("False", "WebhookNotServed"))
        );
        report(
            &app(json!({})),
            &endpoint,
            Ok(()),
            &mut status,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(ready(&status), None);
    }
}
