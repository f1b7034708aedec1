//! The API server, driven in process, by kube as a client, and by the real kubectl over TLS.

mod apply;
mod basics;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod custom;
mod gc;
mod kubectl;
mod kubectl_debian;
mod support;
mod watch;
