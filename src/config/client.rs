//! The environment of commands that need only the API server.

#![expect(
    clippy::disallowed_methods,
    reason = "this module is the one that reads the environment"
)]

use std::path::PathBuf;

use crate::redact::Secret;

/// The kubeconfigs that are read if the user gives none: those in `KUBECONFIG`, else `~/.kube/config`, else that of
/// `davit up` on this machine. They need not exist.
pub fn kubeconfig_files() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    if let Some(listed) = listed {
        let files = std::env::split_paths(&listed);
        return files.filter(|file| !file.as_os_str().is_empty()).collect();
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let of_user = home.map(|home| PathBuf::from(home).join(".kube/config"));
    let of_machine = || super::default_data_dir().map(|dir| dir.join("kubeconfig"));
    let present = of_user.clone().filter(|file| file.exists());
    let machine = || of_machine().filter(|file| file.exists());
    present.or_else(machine).or(of_user).into_iter().collect()
}

/// The proxy for https, and the hosts that are reached without it.
pub fn https_proxy() -> Option<(Secret, String)> {
    let url = super::variable(["HTTPS_PROXY", "https_proxy"])?;
    let except = super::variable(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    Some((Secret::from(url), except))
}

/// Reports whether the user lets programs use colours on a terminal.
pub fn wants_color() -> bool {
    let none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !none && !dumb
}
