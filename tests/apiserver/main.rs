//! The API server, driven in process, by kube as a client, and by the real kubectl over TLS.

mod apply;
mod basics;
mod crash;
mod custom;
mod gc;
mod kubectl;
mod support;
mod watch;
