//! The Nix expression that installs the packages of a plan. Pure.

use super::plan::{Phase, Plan};

/// The revision of nixpkgs for packages without one, that of nixpacks 1.41.
const NIXPKGS: &str = "5148520bfab61f99fd25fb9ff7bfbb50dad3c9db";

/// The name of the file of a revision.
pub fn file_name(archive: Option<&str>) -> String {
    archive.map_or_else(
        || "nixpkgs.nix".to_owned(),
        |archive| format!("nixpkgs-{archive}.nix"),
    )
}

/// The expression for all packages of a revision: one environment, with the libraries in `LD_LIBRARY_PATH`.
///
/// # Errors
/// A name that would be more than a name.
pub fn expression(plan: &Plan, archive: Option<&str>) -> Result<String, String> {
    let phases: Vec<&Phase> = plan
        .phases
        .values()
        .filter(|phase| phase.uses_nix() && phase.nixpkgs_archive.as_deref() == archive)
        .collect();
    let all = |of: fn(&Phase) -> &Vec<String>| -> Vec<String> {
        let mut all: Vec<String> = phases.iter().flat_map(|phase| of(phase).clone()).collect();
        all.sort();
        all
    };
    let (packages, libraries) = (all(|phase| &phase.nix_pkgs), all(|phase| &phase.nix_libs));
    let overlays = phases.iter().flat_map(|phase| &phase.nix_overlays);
    let overlays: Vec<String> = overlays.map(|url| fetched(url)).collect::<Result<_, _>>()?;
    let revision = archive.unwrap_or(NIXPKGS);
    if !revision
        .chars()
        .all(|char| char.is_ascii_alphanumeric() || ".-_".contains(char))
    {
        return Err(format!("{revision:?} is not a revision of nixpkgs"));
    }
    let nixpkgs = fetched(&format!(
        "https://github.com/NixOS/nixpkgs/archive/{revision}.tar.gz"
    ))?;
    let openssl = libraries.iter().find(|library| library.contains("openssl"));
    let openssl = openssl.map_or_else(String::new, |library| {
        format!(
            "      export OPENSSL_DIR=\"${{{library}.dev}}\"\n      export OPENSSL_LIB_DIR=\"${{{library}.out}}/lib\"\n"
        )
    });
    let (overlays, packages, libraries) = (overlays.join(" "), packages.join(" "), libraries.join(" "));
    Ok(format!(
        "{{ }}:\nlet\n  pkgs = {nixpkgs} {{ overlays = [ {overlays} ]; }};\nin with pkgs;\nlet\n  \
         libraries = lib.makeLibraryPath [ {libraries} ];\n  \
         profile = writeText \"libraries\" ''\n      export LD_LIBRARY_PATH=\"${{libraries}}:$LD_LIBRARY_PATH\"\n{openssl}    '';\nin buildEnv {{\n  \
         name = \"{revision}-env\";\n  paths = [\n    (runCommand \"{revision}-env\" {{ }} ''\n      mkdir -p $out/etc/profile.d\n      \
         cp ${{profile}} $out/etc/profile.d/{revision}-env.sh\n    '')\n    {packages}\n  ];\n}}\n"
    ))
}

/// An archive of the web as an expression.
fn fetched(url: &str) -> Result<String, String> {
    if url.contains(['"', '\\', '$']) || url.chars().any(char::is_whitespace) {
        return Err(format!("{url:?} is not the URL of an archive"));
    }
    Ok(if url.contains("/nixpkgs/archive/") {
        format!("import (fetchTarball \"{url}\")")
    } else {
        format!("(import (builtins.fetchTarball \"{url}\"))")
    })
}
