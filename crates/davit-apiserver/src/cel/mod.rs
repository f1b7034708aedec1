//! `x-kubernetes-validations`: validation rules in CEL.
//!
//! [`rules`] checks rules when their CRD is written (types, names, estimated cost); [`evaluation`] runs them on every
//! write. The `lib_*` modules are the extension libraries of cel-go and Kubernetes that the `cel` crate lacks.

mod checker;
mod checker_comprehensions;
mod comprehensions;
mod conversions;
mod cost;
mod decl_types;
pub mod evaluation;
pub mod expression;
mod functions;
mod lib_format;
mod lib_lists;
mod lib_strings;
mod lib_time;
mod list_semantics;
mod literals;
mod macros;
mod optionals;
mod parts;
mod positions;
pub mod rules;
mod types;
mod types_lib;
mod value;
