//! Logs of containers and tasks as lines.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum as Status;
use bollard::query_parameters::{InspectContainerOptions, LogsOptions, LogsOptionsBuilder};
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use jiff::Timestamp;

use super::errors;
use crate::redact::Masker;
use crate::runtime::RuntimeError;
use crate::runtime::log::{self, Lines, LogLine, LogOptions};

/// How many bytes of the engine's answer that have arrived are read at once.
const READY: usize = 16 * 1024;

/// The request for this part of a log. The engine counts in seconds; [`lines`] leaves out the rest.
pub fn request(options: &LogOptions) -> LogsOptions {
    let since = options.since.map_or(0, Timestamp::as_second);
    let tail = options
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(options.follow)
        .since(i32::try_from(since).unwrap_or_default())
        .tail(&tail)
        .build()
}

/// The container that a log is read of, by its ID. The log ends without an error if the container is removed meanwhile.
pub struct Removable(pub Docker, pub String);

impl Removable {
    /// Whether the engine removes the container, or has removed it. It then answers a reader with "not found", "marked for
    /// removal" or "no such file", whichever comes first.
    async fn is_leaving(&self) -> bool {
        let answer = self
            .0
            .inspect_container(&self.1, None::<InspectContainerOptions>)
            .await;
        match answer {
            Ok(found) => {
                let status = found.state.and_then(|state| state.status);
                matches!(status, Some(Status::REMOVING | Status::DEAD))
            }
            Err(refusal) => errors::status(&refusal) == Some(404),
        }
    }
}

/// The lines of the answer. The engine is read as fast as the stream is polled, and not much faster.
pub fn lines(
    entries: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
    container: Option<Removable>,
    masker: Option<Masker>,
    options: &LogOptions,
    until: Option<Timestamp>,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    let lines = Lines::of(masker, options, until);
    let state = Some((entries.boxed(), container, lines));
    stream::unfold(state, |state| async move {
        let (mut entries, container, mut lines) = state?;
        let (mut ready, mut size) = (Vec::new(), 0);
        let mut next = entries.next().await;
        loop {
            match next {
                Some(Ok(entry)) => {
                    let stream = match &entry {
                        LogOutput::StdErr { .. } => log::Stream::Error,
                        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                            log::Stream::Output
                        }
                    };
                    let entry = entry.into_bytes();
                    size += entry.len();
                    ready.extend(lines.push(stream, &entry).map(Ok));
                }
                Some(Err(error)) => {
                    if let Some(container) = &container
                        && container.is_leaving().await
                    {
                        ready.extend(lines.finish().map(Ok));
                    } else {
                        ready.push(Err(errors::error("read the log of a container", &error)));
                    }
                    return Some((ready, None));
                }
                None => {
                    ready.extend(lines.finish().map(Ok));
                    return Some((ready, None));
                }
            }
            next = if ready.is_empty() {
                entries.next().await
            } else if size < READY
                && let Some(next) = entries.next().now_or_never()
            {
                next
            } else {
                return Some((ready, Some((entries, container, lines))));
            };
        }
    })
    .flat_map(stream::iter)
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    /// An engine that answers every request with this.
    fn engine(status: &'static str, body: &'static str) -> Docker {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        Docker::connect_with_http(&url, 10, bollard::API_DEFAULT_VERSION).unwrap()
    }

    #[tokio::test]
    async fn log_of_a_container_that_is_removed_ends_without_an_error() {
        let removing = r#"{"Id": "1", "State": {"Status": "removing"}}"#;
        let dead = r#"{"Id": "1", "State": {"Status": "dead"}}"#;
        let running = r#"{"Id": "1", "State": {"Status": "running"}}"#;
        for (status, body, expected) in [
            ("404 Not Found", r#"{"message": "no such container"}"#, 1),
            ("200 OK", removing, 1),
            ("200 OK", dead, 1),
            ("200 OK", running, 2),
            ("500 Internal Server Error", r#"{"message": "no space left"}"#, 2),
        ] {
            let entries = stream::iter([
                Ok(LogOutput::StdOut {
                    message: "2026-11-29T15:00:01Z last\n".into(),
                }),
                Err(Error::DockerResponseServerError {
                    status_code: 409,
                    message: "can not get logs from container which is dead or marked for removal".to_owned(),
                }),
            ]);
            let container = Removable(engine(status, body), "1".to_owned());
            let masker = Some(Masker::new(&[]));
            let read = lines(entries, Some(container), masker, &LogOptions::default(), None);
            let read: Vec<_> = read.collect().await;
            assert_eq!(read.len(), expected, "{status} {body}: {read:?}");
            assert_eq!(read[0].as_ref().unwrap().text, "last");
            assert_eq!(read.iter().filter(|line| line.is_err()).count(), expected - 1);
        }
    }
}
