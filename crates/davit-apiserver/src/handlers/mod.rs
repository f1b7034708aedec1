//! The verbs: each file is one of them. `call` is the request; `change` is what update, patch and scale share.

mod apply;
mod call;
mod change;
mod create;
mod delete;
pub mod discovery;
mod get;
mod issuer_discovery;
mod list;
mod node_ports;
mod patch;
mod reviews;
mod scale;
mod token_request;
mod type_meta;
mod update;
mod watch;

use axum::body::Body;
use http::Response;

use crate::http::{duplicate_fields::DuplicateFields, request::FieldValidation, response};

pub use call::{Call, Verb};

impl Call {
    pub async fn run(mut self, verb: Verb) -> Response<Body> {
        if let Some(warning) = &self.version.deprecation {
            self.warnings.push(warning.clone());
        }
        if self.query.field_validation != FieldValidation::Ignore {
            self.duplicates = DuplicateFields::of(&self.content_type, &self.body);
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
        done.unwrap_or_else(|error| response::error_response(&error, self.refusals, &self.warnings))
    }
}
