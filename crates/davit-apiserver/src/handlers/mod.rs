//! The verbs. Each file is one of them; here is what they share.

mod apply;
mod create;
mod delete;
mod get;
mod list;
mod patch;
mod reviews;
mod scale;
mod token_request;
mod update;
mod watch;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::{
    admission::Scope,
    builtin::Builtin,
    escalation,
    identity::Identity,
    meta::{self, Fields},
    negotiate::Accept,
    protobuf,
    registry::{Registry, Resource, Version},
    request::{FieldValidation, Query, Target},
    respond::{self, Presenter, parse_body},
    selector::Selector,
    server::Server,
    status::{ApiError, ApiResult},
    store::{Object, ObjectKey, Refused},
    strict::Again,
};

/// One request for a resource.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// Who asks.
    pub identity: Identity,
    /// What is served at this moment.
    pub registry: Arc<Registry>,
    /// What is asked for.
    pub resource: Arc<Resource>,
    /// In which version.
    pub version: Arc<Version>,
    /// The path.
    pub target: Target,
    /// The query.
    pub query: Query,
    /// The form of the answer.
    pub accept: Accept,
    /// The form of a refusal: that of the client's first choice, also where no object has it.
    pub refusals: Accept,
    /// The body's media type, without parameters.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// What the answer warns of.
    pub warnings: Vec<String>,
    /// The client's name for itself.
    pub user_agent: String,
    /// Whether the object bears its owners already, as after an apply.
    pub tracked: bool,
    /// Whether the body is a definition that was checked before.
    pub known: bool,
    /// What the body gives more than once.
    pub duplicates: Again,
}

/// What a [`Scope`] borrows, held where the request has gone elsewhere.
pub(super) struct SharedScope {
    resource: Arc<Resource>,
    version: Arc<Version>,
    registry: Arc<Registry>,
    subresource: String,
    field_validation: FieldValidation,
    known: bool,
    duplicates: Again,
}

impl SharedScope {
    fn as_scope(&self) -> Scope<'_> {
        Scope {
            resource: &self.resource,
            version: &self.version,
            registry: &self.registry,
            subresource: &self.subresource,
            field_validation: self.field_validation,
            known: self.known,
            duplicates: &self.duplicates,
        }
    }
}

/// What is done: upstream's verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A list.
    List,
    /// A stream of changes.
    Watch,
    /// A new object.
    Create,
    /// A whole new state.
    Update,
    /// A partial change.
    Patch,
    /// Removal of one.
    Delete,
    /// Removal of many.
    DeleteCollection,
}

impl Verb {
    /// As RBAC and discovery write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl Call {
    /// Does it.
    pub async fn run(mut self, verb: Verb) -> Response<Body> {
        if let Some(warning) = &self.version.deprecation {
            self.warnings.push(warning.clone());
        }
        if self.query.field_validation != FieldValidation::Ignore {
            self.duplicates = Again::of(&self.content_type, &self.body);
        }
        let done = match verb {
            Verb::Get => get::get(&mut self),
            Verb::List => list::list(&mut self),
            Verb::Watch => watch::watch(&mut self),
            Verb::Create => create::create(&mut self).await,
            Verb::Update => update::update(&mut self).await,
            Verb::Patch => patch::patch(&mut self).await,
            Verb::Delete => delete::delete(&mut self).await,
            Verb::DeleteCollection => delete::delete_collection(&mut self).await,
        };
        done.unwrap_or_else(|error| respond::error_response(&error, self.refusals, &self.warnings))
    }

    fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    fn subresource(&self) -> &str {
        self.target.subresource.as_deref().unwrap_or_default()
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.gr(), self.name())
    }

    fn current(&self) -> ApiResult<Arc<Object>> {
        self.server
            .store
            .view()
            .get(&self.resource.collection, &self.key())
            .ok_or_else(|| self.not_found())
    }

    fn presenter(&self) -> Presenter {
        Presenter::new(
            self.resource.clone(),
            self.version.clone(),
            self.accept,
            self.query.include_object,
        )
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            resource: &self.resource,
            version: &self.version,
            registry: &self.registry,
            subresource: self.target.subresource.as_deref().unwrap_or_default(),
            field_validation: self.query.field_validation,
            known: self.known,
            duplicates: &self.duplicates,
        }
    }

    fn shared_scope(&self) -> SharedScope {
        SharedScope {
            resource: self.resource.clone(),
            version: self.version.clone(),
            registry: self.registry.clone(),
            subresource: self.subresource().to_owned(),
            field_validation: self.query.field_validation,
            known: self.known,
            duplicates: self.duplicates.clone(),
        }
    }

    fn selector(&self) -> ApiResult<Selector> {
        let events = self.resource.builtin == Builtin::EventsEvent;
        let known = |path: &str| {
            path == "metadata.name"
                || (path == "metadata.namespace" && self.resource.namespaced)
                || self.version.selectable.iter().any(|field| field == path)
        };
        let plain = self.resource.builtin != Builtin::Custom && self.version.selectable.is_empty();
        let unknown = |path: &str| {
            if !plain {
                return format!("field label not supported: {path}");
            }
            let namespace = if self.resource.namespaced {
                ", \"metadata.namespace\""
            } else {
                ""
            };
            format!("\"{path}\" is not a known field selector: only \"metadata.name\"{namespace}")
        };
        let (labels, fields) = (&self.query.label_selector, &self.query.field_selector);
        let selector = Selector::parse(labels, fields, known, unknown)?;
        Ok(if events {
            selector.renamed(super::events::core_path)
        } else {
            selector
        })
    }

    /// The body as an object.
    fn body_object(&self) -> ApiResult<Fields> {
        if self.resource.builtin == Builtin::Custom && self.content_type == protobuf::MEDIA_TYPE {
            return Err(ApiError::unsupported_media_type(super::negotiate::SPOKEN));
        }
        let parsed = parse_body(&self.content_type, &self.body).map_err(|error| match error.code {
            415 if self.resource.builtin == Builtin::Custom => {
                ApiError::unsupported_media_type(super::negotiate::SPOKEN)
            }
            400 => ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): {}",
                self.resource.names.kind, error.message
            )),
            _ => error,
        })?;
        match parsed {
            Value::Object(object) => Ok(object),
            Value::Null if self.resource.builtin != Builtin::Custom => Ok(Fields::new()),
            _ => Err(ApiError::bad_request("the body is not an object")),
        }
    }

    /// An answer with one object.
    fn answer(&self, code: u16, object: &Object) -> Response<Body> {
        respond::document(self.accept, code, self.presenter().one(object), &self.warnings)
    }

    /// An answer with one object that is not stored.
    fn answer_fields(&self, code: u16, mut fields: Fields, revision: u64) -> ApiResult<Response<Body>> {
        let object = Object::render(&mut fields, revision).map_err(ApiError::internal)?;
        Ok(self.answer(code, &object))
    }

    fn refused(&self, refused: Refused, name: &str) -> ApiError {
        let gr = self.resource.gr();
        match refused {
            Refused::Exists => ApiError::already_exists(&gr, name),
            Refused::Changed => ApiError::changed(&gr, name),
            Refused::Gone => ApiError::not_found(&gr, name),
            Refused::Failed(why) => ApiError::internal(why),
        }
    }

    /// Refuses a role or a binding that would give more than its writer has.
    fn may_grant(&self, new: &Fields, old: Option<&Fields>) -> ApiResult<()> {
        let write = escalation::Write {
            server: &self.server,
            identity: &self.identity,
            builtin: self.resource.builtin,
            collection: self.resource.gr(),
            namespace: self.namespace(),
            name: meta::text(new, "name"),
        };
        write.check(new, old)
    }

    /// Fills the namespace of the path in, and refuses another one.
    fn check_namespace(&self, object: &mut Fields) -> ApiResult<()> {
        let given = meta::text(object, "namespace");
        if !self.resource.namespaced {
            meta::remove(object, "namespace");
            return Ok(());
        }
        if given.is_empty() {
            meta::set(object, "namespace", self.namespace());
        } else if given != self.namespace() {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }
}

/// Adds warnings to an answer.
fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        response
            .headers_mut()
            .append(http::header::WARNING, respond::warning_header(warning));
    }
}
