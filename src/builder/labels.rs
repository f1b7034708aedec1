//! The labels of the images that Davit builds.

/// The label with the Application's namespace.
pub const NAMESPACE: &str = "dev.davit.namespace";
/// The label with the Application's name.
pub const APPLICATION: &str = "dev.davit.application";
/// The label with the name of the Davit that made the image: several may share an engine.
pub const INSTANCE: &str = "dev.davit.instance";
/// The label with what sets that Davit apart from another one of the same name.
pub const INSTALLATION: &str = "dev.davit.installation";
/// The label with the way it was made.
pub const BUILDER: &str = "dev.davit.builder";
