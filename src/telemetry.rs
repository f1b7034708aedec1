//! The process's own log: standard error, as text or JSON, without secrets.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::redact;

/// Starts logging with a filter such as `info` or `davit=debug`.
///
/// # Errors
/// The filter is invalid.
pub fn init(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(filter)).map_err(|error| {
        format!("--log {filter:?} is invalid: {error}: write a level such as debug, or a filter such as davit=debug")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Masked(io::stderr()))
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    if json {
        log.json().init();
    } else {
        log.init();
    }
    Ok(())
}

/// Applies a level without a target to Davit alone. Dependencies log requests and responses with everything in them: they
/// log errors only, unless the filter names them.
fn directives(filter: &str) -> String {
    let (levels, named): (Vec<_>, Vec<_>) = filter
        .split(',')
        .partition(|piece| piece.trim().parse::<LevelFilter>().is_ok());
    let mut all = Vec::new();
    if let Some(level) = levels.last() {
        let of_others = match level.trim().parse() {
            Ok(LevelFilter::OFF) => LevelFilter::OFF,
            _ => LevelFilter::ERROR,
        };
        all.push(of_others.to_string());
        all.push(format!("davit={}", level.trim()));
    }
    all.extend(named.into_iter().map(str::to_owned));
    all.join(",")
}

/// Masks what is written. Each log entry is one write.
struct Masked<W>(W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(redact::log::mask(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    #[test]
    fn level_without_a_target_applies_to_davit_alone() {
        for (filter, directives) in [
            ("debug", "error,davit=debug"),
            (" TRACE ", "error,davit=TRACE"),
            ("off", "off,davit=off"),
            ("davit::plan=debug", "davit::plan=debug"),
            ("info,bollard=trace", "error,davit=info,bollard=trace"),
            ("hyper=debug,warn", "error,davit=warn,hyper=debug"),
            (
                "davit[pass{app}]=trace,error",
                "error,davit=error,davit[pass{app}]=trace",
            ),
        ] {
            assert_eq!(super::directives(filter), directives);
            EnvFilter::try_new(directives).unwrap();
        }
    }

    #[test]
    fn log_entry_is_masked_as_text_and_as_json() {
        redact::log::hide(&[Secret::from("quix\"otic\nsecret")]);
        let written = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        for json in [false, true] {
            let writer = written.clone();
            let log = tracing_subscriber::fmt().with_writer(move || Masked(Shared(writer.clone())));
            let say = || {
                tracing::info!(body = %r#"{"Env":["A=quix\"otic\nsecret"]}"#, "request: {:?}", b"quix\"otic\nsecret");
            };
            if json {
                tracing::subscriber::with_default(log.json().finish(), say);
            } else {
                tracing::subscriber::with_default(log.finish(), say);
            }
        }
        let written = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 2, "{written}");
        for part in ["quix", "otic", "secret", "113"] {
            assert!(!written.contains(part), "{part} in {written}");
        }
        assert!(written.contains("***") && written.contains("request"));
    }

    struct Shared(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
