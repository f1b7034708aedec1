//! `davit logs`: the output of an Application's containers, or the log of a build.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use kube::ResourceExt as _;

use super::connect::{Access, Cluster};
use super::log_lines::{Form, Objects, Painter, Seen, Split};
use super::lost::why;
use super::output::note;
use super::pick::pick;
use super::subresource::{self, encoded};
use super::subresource_args::{LogFormat, Logs};
use super::until::{has_containers, has_release};
use crate::cli::failure::Failure;

/// The pause before a log that ended early is continued.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// How many times in a row continuing may fail.
const ATTEMPTS: u32 = 30;

/// `davit logs`.
///
/// # Errors
/// The Application or the log does not exist, or the API server does not answer or refuses.
pub async fn logs(args: Logs) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.connection).await?;
    let mut app = cluster.application(&args.application).await?;
    if args.build || args.hook {
        if let Some(deadline) = args.wait.begin() {
            app = has_release(&cluster, &args.application, &deadline).await?;
        }
        let status = app.status.as_ref();
        let newest = status.and_then(|status| status.release.as_ref()?.latest.clone());
        // Of this Application, by name or number, as in davit rollback.
        let named = match &args.release {
            Some(given) => {
                let releases = cluster.releases_of(&args.application).await?;
                Some(pick(given, &args.application, &releases)?.name_any())
            }
            None => None,
        };
        let Some(release) = named.or(newest) else {
            let message = format!(
                "Application {:?} has no Release yet: davit status {0} shows why",
                args.application
            );
            return Err(Failure::new(message));
        };
        return build_log(&cluster, &args, &release).await;
    }
    if let Some(deadline) = args.wait.begin() {
        has_containers(&cluster, &args.application, &deadline).await?;
    }
    let several = args.replica.is_none() && app.spec.replicas > 1;
    let prefix = args.prefix || (several && !args.access);
    container_log(&cluster, &args, prefix).await
}

async fn open(
    cluster: &Cluster,
    path: &str,
) -> Result<Result<impl AsyncBufRead + Unpin + use<>, Failure>, Failure> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| Failure::new(format!("cannot ask for {path}: {error}")))?;
    let opened = cluster.client.request_stream(request).await;
    Ok(opened
        .map(Box::pin)
        .map_err(|error| cluster.refused(&error, Access::View)))
}

/// Copies the log of a build or of a hook. A followed log that ends early is continued where it ended.
async fn build_log(cluster: &Cluster, args: &Logs, release: &str) -> Result<(), Failure> {
    let mut path = subresource::path(&cluster.namespace, "releases", release, "log");
    let _ = write!(path, "?follow={}&hook={}", args.follow, args.hook);
    if let Some(tail) = args.tail {
        let _ = write!(path, "&tailLines={tail}");
    }
    let mut output = io::stdout();
    let mut objects = (args.output == Some(LogFormat::Json)).then(|| Objects::of(release));
    // How much was printed, and how many times in a row nothing more was.
    let (mut printed, mut failures) = (0, 0);
    loop {
        let problem = match open(cluster, &path).await? {
            Ok(mut log) => {
                let mut skip = printed;
                loop {
                    let read = match log.fill_buf().await {
                        Ok([]) => {
                            if let Some(objects) = objects {
                                output.write_all(&objects.rest())?;
                            }
                            return Ok(());
                        }
                        Ok(read) => read,
                        Err(error) => break lost(&error),
                    };
                    let new = read.get(skip.min(read.len())..).unwrap_or_default();
                    match &mut objects {
                        Some(objects) => output.write_all(&objects.push(new))?,
                        None => output.write_all(new)?,
                    }
                    output.flush()?;
                    let length = read.len();
                    if !new.is_empty() {
                        failures = 0;
                    }
                    printed += new.len();
                    skip = skip.saturating_sub(length);
                    log.consume_unpin(length);
                }
            }
            Err(failure) if printed == 0 && failures == 0 => return Err(failure),
            Err(failure) => failure,
        };
        failures += 1;
        // Where the end of a log began is not known any more.
        if !args.follow || args.tail.is_some() || failures > ATTEMPTS {
            return Err(run_again(&problem));
        }
        note(&continuing(&problem));
        tokio::time::sleep(PAUSE).await;
    }
}

fn continuing(problem: &Failure) -> String {
    format!("{}; continuing", problem.message().trim_start_matches("error: "))
}

/// What the user can do after a log that was not continued.
fn run_again(problem: &Failure) -> Failure {
    let text = problem.message().trim_start_matches("error: ");
    Failure::new(format!(
        "{text}\nRun the command again once the API server answers."
    ))
}

/// Prints the lines of containers. A followed log that ends early is continued after the last line of each replica.
async fn container_log(cluster: &Cluster, args: &Logs, prefix: bool) -> Result<(), Failure> {
    let base = subresource::path(&cluster.namespace, "applications", &args.application, "log");
    // Replica and time tell where each log ended.
    let mut first = format!(
        "{base}?prefix=true&timestamps=true&follow={}&previous={}",
        args.follow, args.previous
    );
    if args.access {
        first.push_str("&access=true");
    }
    if let Some(replica) = &args.replica {
        let _ = write!(first, "&replica={}", encoded(replica));
    }
    let mut path = first.clone();
    if let Some(tail) = args.tail {
        let _ = write!(path, "&tailLines={tail}");
    }
    if let Some(since) = &args.since {
        let _ = write!(path, "&sinceSeconds={}", since.get().as_secs().max(1));
    }
    let mut seen = Seen::default();
    let form = match args.output {
        Some(LogFormat::Json) => Form::Json,
        Some(LogFormat::Wide) => Form::Text {
            prefix: true,
            timestamps: true,
        },
        None => Form::Text {
            prefix,
            timestamps: args.timestamps,
        },
    };
    let mut painter = Painter::new(cluster.terminal, form);
    let mut failures = 0;
    loop {
        let problem = match open(cluster, &path).await? {
            Ok(log) => match print(log, &mut seen, &mut painter, &mut failures).await? {
                None => return Ok(()),
                Some(problem) => problem,
            },
            Err(failure) if seen.is_empty() && failures == 0 => return Err(failure),
            Err(failure) => failure,
        };
        failures += 1;
        if !args.follow || failures > ATTEMPTS {
            return Err(run_again(&problem));
        }
        let after = seen.earliest();
        note(&continuing(&problem));
        tokio::time::sleep(PAUSE).await;
        path.clone_from(&first);
        match after {
            Some(time) => {
                let _ = write!(path, "&sinceTime={}", encoded(time));
            }
            None => path.push_str("&tailLines=0"),
        }
    }
}

/// Prints until the end; returns why the log ended early, if it did.
async fn print(
    mut log: impl AsyncBufRead + Unpin,
    seen: &mut Seen,
    painter: &mut Painter,
    failures: &mut u32,
) -> Result<Option<Failure>, Failure> {
    let mut split = Split::default();
    let mut output = io::stdout();
    let mut text = Vec::new();
    loop {
        let read = match log.fill_buf().await {
            Ok(read) => read,
            Err(error) => return Ok(Some(lost(&error))),
        };
        if read.is_empty() {
            return Ok(None);
        }
        *failures = 0;
        for line in split.push(read) {
            if seen.is_new(&line) {
                painter.paint(&line, &mut text);
            }
        }
        output.write_all(&text)?;
        output.flush()?;
        text.clear();
        let length = read.len();
        log.consume_unpin(length);
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(format!(
        "the connection to the API server was lost: {}",
        why(error)
    ))
}
