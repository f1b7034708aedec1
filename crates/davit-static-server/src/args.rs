//! The command line.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// `--root`: the directory to serve.
    pub root: PathBuf,
    /// `--spa`: answer pages that do not exist with /index.html.
    pub spa: bool,
    /// `--listen`: the address to listen on; 0.0.0.0:8080 by default.
    pub listen: SocketAddr,
}

impl Args {
    /// Parses the arguments that follow the program's name.
    ///
    /// # Errors
    /// An unknown flag, a flag without its value, an invalid address, or no `--root`.
    pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut root, mut spa) = (None, false);
        let mut listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        while let Some(flag) = args.next() {
            let mut value = || {
                args.next()
                    .ok_or_else(|| format!("{} needs a value", flag.display()))
            };
            match flag.to_str() {
                Some("--root") => root = Some(PathBuf::from(value()?)),
                Some("--listen") => {
                    let text = value()?;
                    listen = text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                        format!("{} is not an address such as 0.0.0.0:8080", text.display())
                    })?;
                }
                Some("--spa") => spa = true,
                _ => return Err(format!("unknown argument {}", flag.display())),
            }
        }
        let root = root.ok_or("--root is required")?;
        Ok(Self { root, spa, listen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        Args::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_parsed_or_refused() {
        let args = parse(&["--root", "/srv"]).unwrap();
        assert_eq!(
            (args.spa, args.listen.to_string().as_str()),
            (false, "0.0.0.0:8080")
        );
        let args = parse(&["--spa", "--listen", "127.0.0.1:1", "--root", "/srv"]).unwrap();
        assert_eq!(
            (args.spa, args.listen.to_string().as_str()),
            (true, "127.0.0.1:1")
        );
        for (args, error) in [
            (&[][..], "--root is required"),
            (&["--root"], "--root needs a value"),
            (&["--root", "/", "--listen", "x"], "x is not an address"),
            (&["--help"], "unknown argument --help"),
        ] {
            let told = parse(args).unwrap_err();
            assert!(told.starts_with(error), "{args:?}: {told}");
        }
    }
}
