//! One request for a resource, and the steps that the verbs share.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::Response;

use super::type_meta::Given;
use crate::{
    auth::{identity::Identity, rbac_escalation},
    http::{
        duplicate_fields::DuplicateFields,
        negotiation::Accept,
        request::{FieldValidation, Query, Target},
        response::{self, Presenter, parse_body},
        selector::Selector,
    },
    object_meta::{self, Fields},
    protobuf,
    registry::{Registry, Resource, Version, admission::Scope, builtin::Builtin},
    state::Server,
    status::{ApiError, ApiResult},
    store::{Object, ObjectKey, Refused},
};

/// One request for a resource.
pub struct Call {
    pub server: Arc<Server>,
    pub identity: Identity,
    /// What is served at this moment.
    pub registry: Arc<Registry>,
    /// What is asked for.
    pub resource: Arc<Resource>,
    pub version: Arc<Version>,
    pub target: Target,
    pub query: Query,
    /// The form of the answer.
    pub accept: Accept,
    /// The form of a refusal: that of the client's first choice, also where no object has it.
    pub refusals: Accept,
    /// The body's media type, without parameters.
    pub content_type: String,
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
    pub duplicates: DuplicateFields,
}

/// What a [`Scope`] borrows, held where the request has gone elsewhere.
pub(super) struct SharedScope {
    resource: Arc<Resource>,
    version: Arc<Version>,
    registry: Arc<Registry>,
    subresource: String,
    field_validation: FieldValidation,
    applied: bool,
    known: bool,
    duplicates: DuplicateFields,
}

impl SharedScope {
    pub(super) fn as_scope(&self) -> Scope<'_> {
        Scope {
            resource: &self.resource,
            version: &self.version,
            registry: &self.registry,
            subresource: &self.subresource,
            field_validation: self.field_validation,
            applied: self.applied,
            known: self.known,
            duplicates: &self.duplicates,
        }
    }
}

/// What is done: upstream's verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    /// A stream of changes.
    Watch,
    Create,
    /// A whole new state.
    Update,
    Patch,
    Delete,
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
    pub(super) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn subresource(&self) -> &str {
        self.target.subresource.as_deref().unwrap_or_default()
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    pub(super) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.gr(), self.name())
    }

    pub(super) fn current(&self) -> ApiResult<Arc<Object>> {
        self.server
            .store
            .view()
            .get(&self.resource.collection, &self.key())
            .ok_or_else(|| self.not_found())
    }

    pub(super) fn presenter(&self) -> Presenter {
        Presenter::new(
            self.resource.clone(),
            self.version.clone(),
            self.accept,
            self.query.include_object,
        )
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            resource: &self.resource,
            version: &self.version,
            registry: &self.registry,
            subresource: self.target.subresource.as_deref().unwrap_or_default(),
            field_validation: self.query.field_validation,
            applied: self.content_type.contains("apply"),
            known: self.known,
            duplicates: &self.duplicates,
        }
    }

    pub(super) fn shared_scope(&self) -> SharedScope {
        SharedScope {
            resource: self.resource.clone(),
            version: self.version.clone(),
            registry: self.registry.clone(),
            subresource: self.subresource().to_owned(),
            field_validation: self.query.field_validation,
            applied: self.content_type.contains("apply"),
            known: self.known,
            duplicates: self.duplicates.clone(),
        }
    }

    pub(super) fn selector(&self) -> ApiResult<Selector> {
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
            selector.renamed(crate::registry::events::core_path)
        } else {
            selector
        })
    }

    /// The body as an object.
    pub(super) fn body_object(&self) -> ApiResult<Fields> {
        if self.resource.builtin == Builtin::Custom && self.content_type == protobuf::MEDIA_TYPE {
            return Err(ApiError::unsupported_media_type(crate::http::negotiation::SPOKEN));
        }
        let given = Given {
            kind: &self.resource.names.kind,
            builtin: self.resource.builtin,
            body: &self.body,
        };
        let parsed = parse_body(&self.content_type, &self.body).map_err(|error| match error.code {
            400 => given.unrecognised(&error.message),
            _ => error,
        })?;
        given.object(parsed)
    }

    /// An answer with one object.
    pub(super) fn answer(&self, code: u16, object: &Object) -> Response<Body> {
        response::document(self.accept, code, self.presenter().one(object), &self.warnings)
    }

    /// An answer with one object that is not stored.
    pub(super) fn answer_fields(
        &self,
        code: u16,
        mut fields: Fields,
        revision: u64,
    ) -> ApiResult<Response<Body>> {
        let object = Object::render(&mut fields, revision).map_err(ApiError::internal)?;
        Ok(self.answer(code, &object))
    }

    pub(super) fn refused(&self, refused: Refused, name: &str) -> ApiError {
        let gr = self.resource.gr();
        match refused {
            Refused::Exists => ApiError::already_exists(&gr, name),
            Refused::Changed => ApiError::changed(&gr, name),
            Refused::Gone => ApiError::not_found(&gr, name),
            Refused::Failed(why) => ApiError::internal(why),
        }
    }

    /// Refuses a role or a binding that would give more than its writer has.
    pub(super) fn may_grant(&self, new: &Fields, old: Option<&Fields>) -> ApiResult<()> {
        let write = rbac_escalation::Write {
            server: &self.server,
            identity: &self.identity,
            builtin: self.resource.builtin,
            collection: self.resource.gr(),
            namespace: self.namespace(),
            name: object_meta::text(new, "name"),
        };
        write.check(new, old)
    }

    /// Fills the namespace of the path in, and refuses another one.
    pub(super) fn check_namespace(&self, object: &mut Fields) -> ApiResult<()> {
        let given = object_meta::text(object, "namespace");
        if !self.resource.namespaced {
            object_meta::remove(object, "namespace");
            return Ok(());
        }
        if given.is_empty() {
            object_meta::set(object, "namespace", self.namespace());
        } else if given != self.namespace() {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }
}

/// Adds warnings to an answer.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        response
            .headers_mut()
            .append(http::header::WARNING, response::warning_header(warning));
    }
}
