//! Checks of the source tree and of what is generated from it; none starts a server.

mod argocd;
mod crds;
mod docs;
mod layering;
mod manifests;
mod messages;
mod packaging;
mod wording;
