//! What the schema of the CRD cannot express, checked on the types by `garde`: each rule stands here once.
//!
//! A message continues the path of its field: `spec.ports[1].hostIp "localhost" is not an IP address: …`.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes a reference to its context"
)]

use std::collections::BTreeSet;
use std::fmt;

use super::values::Quantity;

/// The longest name of a file or directory on Linux, in bytes.
const LONGEST_FILE_NAME: usize = 255;

/// A field whose value cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The path of the field, such as `spec.ports[1].hostIp`.
    pub path: String,
    /// What is wrong, and the solution.
    pub message: String,
}

impl InvalidField {
    /// Reports whether the field is an amount of cpu or memory.
    pub fn is_quantity(&self) -> bool {
        let name = self.path.rsplit('.').next();
        matches!(name, Some("cpu" | "memory" | "requests"))
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

/// Returns a path of Rust fields as the user writes it.
pub(super) fn field_path(path: &str) -> String {
    let mut written = "spec".to_owned();
    for part in path.split('.') {
        written.push('.');
        match part {
            "git_ref" => written.push_str("ref"),
            "static_site" => written.push_str("static"),
            _ => {
                let mut upper = false;
                for letter in part.chars() {
                    match letter {
                        '_' => upper = true,
                        _ if upper => {
                            written.push(letter.to_ascii_uppercase());
                            upper = false;
                        }
                        _ => written.push(letter),
                    }
                }
            }
        }
    }
    written
}

/// Returns an error of `garde`.
pub(super) fn invalid(message: impl fmt::Display) -> garde::Result {
    Err(garde::Error::new(message))
}

/// Checks an amount of cpu.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn cpu_amount(amount: &Option<Quantity>, (): &()) -> garde::Result {
    match amount {
        Some(amount) if amount.nano_cores().is_none() => invalid(format!(
            "{amount} is not an amount of cpu: write cores from 1m to 1000, as 250m, 1 or 1.5"
        )),
        _ => Ok(()),
    }
}

/// Checks an amount of memory.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn memory_amount(amount: &Option<Quantity>, (): &()) -> garde::Result {
    match amount {
        Some(amount) if amount.bytes().is_none() => invalid(format!(
            "{amount} is not an amount of memory: write bytes, as 128Mi or 1G"
        )),
        _ => Ok(()),
    }
}

/// Checks an address of the machine.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn ip_address(address: &Option<String>, (): &()) -> garde::Result {
    match address {
        Some(address) if address.parse::<std::net::IpAddr>().is_err() => invalid(format!(
            "{address:?} is not an IP address: write it as 127.0.0.1 or ::1"
        )),
        _ => Ok(()),
    }
}

/// Checks a directory that a volume is mounted at.
pub(super) fn mount_directory(path: &str, (): &()) -> garde::Result {
    if path.trim_end_matches('/').is_empty() || path.split('/').any(|name| name == "..") {
        return invalid(format!(
            "{path:?} cannot be mounted: use an absolute path other than /, without .."
        ));
    }
    file_path(path, &())
}

/// Checks a path of a file or directory.
pub(super) fn file_path(path: &str, (): &()) -> garde::Result {
    if path.contains('\0') {
        return invalid("contains a NUL character, which no path can: remove it");
    }
    match path.split('/').find(|name| name.len() > LONGEST_FILE_NAME) {
        Some(name) => invalid(format!(
            "contains a name of {} bytes, and Linux allows {LONGEST_FILE_NAME}: shorten it",
            name.len()
        )),
        None => Ok(()),
    }
}

/// Checks an optional path of a file or directory.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn optional_file_path(path: &Option<String>, (): &()) -> garde::Result {
    path.as_deref().map_or(Ok(()), |path| file_path(path, &()))
}

/// Returns the first value that an earlier one equals.
pub(super) fn first_duplicate<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    values.find(|value| !seen.insert(*value))
}
