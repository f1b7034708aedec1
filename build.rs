//! Builds the web server of static sites, which davit embeds (`src/builder/static_site.rs`).
//!
//! The server is a static executable with a profile of its own, so it cannot be a dependency. It is built from the same
//! lock file, without the network (its dependencies are among davit's), into one target directory that all profiles and
//! features of davit share: cargo builds it once, and afterwards only checks that it is current.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "cargo passes what it tells a build script in the environment, and reads its standard output"
)]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "davit-static-server";
const PROFILE: &str = "static-server";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let source = root.join("crates").join(NAME);
    for path in [
        source.join("src"),
        source.join("Cargo.toml"),
        root.join("Cargo.lock"),
    ] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        // Relocations that are read at each start, one twentieth in size: they are a MiB of the resident memory.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        if env::var("PROFILE").as_deref() == Ok("release") {
            order_code(&root);
        }
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let target_dir = target_dir(&out).join(PROFILE);
    let status = Command::new(env::var("CARGO")?)
        .current_dir(&root)
        .args(["build", "--locked", "--offline", "--quiet", "--package", NAME])
        .args(["--profile", PROFILE, "--target", &target, "--target-dir"])
        .arg(&target_dir)
        // Neither clippy nor the flags of the outer build (coverage, sanitizers) apply to what images contain.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .status()?;
    if !status.success() {
        return Err(format!("building {NAME} failed: {status}").into());
    }
    std::fs::copy(target_dir.join(&target).join(PROFILE).join(NAME), out.join(NAME))?;
    Ok(())
}

/// Lays the code that runs at a start side by side. The kernel maps 64 KiB around each page that runs, so that otherwise a
/// fifth of the code brings nearly all of it into memory. `scripts/order-code` writes the order.
fn order_code(root: &Path) {
    let order = root.join("packaging/code-order.ld");
    println!("cargo::rerun-if-changed={}", order.display());
    // Rust brings lld along for this architecture, and mold cannot order code.
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-fuse-ld=lld");
    }
    println!("cargo::rustc-link-arg-bins=-T");
    println!("cargo::rustc-link-arg-bins={}", order.display());
}

/// The outer target directory: `OUT_DIR` is `TARGET_DIR/[TRIPLE/]PROFILE/build/davit-HASH/out`. Two levels above the
/// profile, or one without a triple; either is a place that `cargo clean` empties.
fn target_dir(out: &Path) -> &Path {
    out.ancestors().nth(4).unwrap_or(out)
}
