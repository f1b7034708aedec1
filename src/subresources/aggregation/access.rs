//! The user of a request, and whether the API server permits the request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, Request};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::front_proxy::{FrontProxy, User};
use super::listener::CommonName;
use crate::subresources::failure::Failure;
use crate::subresources::group::{GROUP, VERSION};

/// How long an answer of the API server is used again, as the Go library does it.
const VALID: Duration = Duration::from_secs(10);
/// The most answers that are kept.
const MOST: usize = 4096;

/// What a request asks for, as the API server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    user: User,
    verb: &'static str,
    namespace: String,
    resource: String,
    name: String,
    subresource: String,
}

impl Question {
    fn with_verb(self, verb: &'static str) -> Self {
        Self { verb, ..self }
    }
}

/// Asks the API server, and remembers its answers for a moment.
pub struct Access {
    client: Client,
    proxy: watch::Receiver<Option<Arc<FrontProxy>>>,
    answers: Mutex<HashMap<Question, (Instant, bool)>>,
}

impl Access {
    /// Trusts this front proxy.
    pub fn new(client: Client, proxy: watch::Receiver<Option<Arc<FrontProxy>>>) -> Self {
        Self {
            client,
            proxy,
            answers: Mutex::default(),
        }
    }

    /// What a request of the front proxy asks for; `None` for discovery, which is open to every user and answered without
    /// asking.
    fn question(&self, request: &Request<Body>) -> Result<Option<Question>, Failure> {
        let proxy = self.proxy.borrow().clone().ok_or_else(Failure::starting)?;
        let name = request.extensions().get::<CommonName>();
        if !name.is_some_and(|name| proxy.is_allowed(&name.0)) {
            return Err(Failure::unauthorized());
        }
        let user = proxy.user(request.headers()).ok_or_else(Failure::unauthorized)?;
        Ok(question(request.method(), request.uri().path(), user))
    }

    async fn decide(&self, question: &Question) -> Result<(), Failure> {
        if self.may(question).await? {
            return Ok(());
        }
        Err(Failure::forbidden(format!(
            "{}.{GROUP} {:?} is forbidden: User {:?} cannot {} resource \"{}/{}\" in API group {GROUP:?} in the namespace {:?}",
            question.resource,
            question.name,
            question.user.name,
            question.verb,
            question.resource,
            question.subresource,
            question.namespace
        )))
    }

    async fn may(&self, question: &Question) -> Result<bool, Failure> {
        let known = self.answers.lock().get(question).copied();
        if let Some((at, allowed)) = known
            && at.elapsed() < VALID
        {
            return Ok(allowed);
        }
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review(question)).await;
        let review = review.map_err(|error| {
            let why = crate::error::chain(&error);
            Failure::unavailable(format!(
                "the API server does not tell whether the user may do this: {why}"
            ))
        })?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        let mut answers = self.answers.lock();
        if answers.len() >= MOST {
            answers.retain(|_, (at, _)| at.elapsed() < VALID);
            if answers.len() >= MOST {
                answers.clear();
            }
        }
        answers.insert(question.clone(), (Instant::now(), allowed));
        Ok(allowed)
    }
}

/// Lets requests through that the API server permits.
pub async fn check(State(access): State<Arc<Access>>, request: Request<Body>, next: Next) -> Response {
    // The body cannot be shared between threads, so the request is not held while the API server is asked.
    let question = access.question(&request);
    let upgrades = request.headers().contains_key(http::header::UPGRADE);
    let permitted = match question {
        // A WebSocket begins as `get`, and does what `create` permits.
        Ok(Some(question)) if upgrades => match access.decide(&question).await {
            Ok(()) => access.decide(&question.with_verb("create")).await,
            refused => refused,
        },
        Ok(Some(question)) => access.decide(&question).await,
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    match permitted {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// What a request asks for; `None` if its path names no subresource of an object.
fn question(method: &Method, path: &str, user: User) -> Option<Question> {
    let path = path.strip_prefix(&format!("/apis/{GROUP}/{VERSION}/namespaces/"))?;
    let mut segments = path.split('/').map(str::to_owned);
    let mut next = || segments.next().unwrap_or_default();
    Some(Question {
        user,
        verb: match *method {
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        },
        namespace: next(),
        resource: next(),
        name: next(),
        subresource: next(),
    })
}

fn review(question: &Question) -> SubjectAccessReview {
    let user = question.user.clone();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name),
            uid: user.uid,
            groups: Some(user.groups),
            extra: Some(user.extra),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                verb: Some(question.verb.to_owned()),
                namespace: Some(question.namespace.clone()),
                resource: Some(question.resource.clone()),
                name: Some(question.name.clone()),
                subresource: Some(question.subresource.clone()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_names_resource_and_subresource_apart() {
        let ask = |method, path: &str| question(&method, path, User::default());
        let root = "/apis/subresources.davit.dev/v1alpha1";
        assert_eq!(ask(Method::GET, root), None);
        let asked = ask(
            Method::POST,
            &format!("{root}/namespaces/a/applications/shop/exec"),
        )
        .unwrap();
        let attributes = review(&asked).spec.resource_attributes.unwrap();
        assert_eq!(attributes.verb.as_deref(), Some("create"));
        assert_eq!(attributes.resource.as_deref(), Some("applications"));
        assert_eq!(attributes.subresource.as_deref(), Some("exec"));
        assert_eq!((asked.namespace.as_str(), asked.name.as_str()), ("a", "shop"));
        // A path without an object is asked about, too, so that nothing is reached without a question.
        assert!(ask(Method::GET, &format!("{root}/namespaces/a")).is_some());
    }
}
