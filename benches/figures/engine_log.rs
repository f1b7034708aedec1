//! A Docker Engine in front of the real one that answers one kind of request itself, from memory and as fast as the client reads: the
//! log of a container. What is measured then is Davit, and not how fast an engine reads its files.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A line of the log, with its line feed.
const LINE: usize = 1000;
/// How much is sent at once: whole entries.
const ENTRIES: usize = 64;

pub struct EngineLog {
    pub url: String,
}

impl EngineLog {
    /// Every log has `bytes` of text.
    pub fn start(bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let part: Arc<[u8]> = entries().into();
        let parts = bytes / (LINE * ENTRIES);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let part = Arc::clone(&part);
                std::thread::spawn(move || serve(client, &part, parts));
            }
        });
        Self { url }
    }
}

/// Entries as the engine sends them: a header of 8 bytes, a time and the line.
fn entries() -> Vec<u8> {
    let time = "2026-11-29T15:00:00.000000001Z ";
    let line = format!("{time}{}\n", "0123456789".repeat(LINE / 10).split_at(LINE - 1).0);
    let mut entry = vec![1, 0, 0, 0];
    entry.extend_from_slice(&u32::try_from(line.len()).unwrap().to_be_bytes());
    entry.extend_from_slice(line.as_bytes());
    entry.repeat(ENTRIES)
}

/// Answers requests of one connection until it goes to the engine, which has the rest of it.
fn serve(mut client: TcpStream, part: &[u8], parts: usize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_log =
        text.starts_with("GET ") && text.split(' ').nth(1).is_some_and(|path| path.contains("/logs?"));
    if is_log {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: close\r\n\r\n";
        let _ = client.write_all(answer.as_bytes());
        for _ in 0..parts {
            if client.write_all(part).is_err() {
                return;
            }
        }
        return;
    }
    // The engine closes the connection after its answer, so that the next request is seen here.
    let head = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut engine = UnixStream::connect("/var/run/docker.sock").unwrap();
    engine.write_all(head.as_bytes()).unwrap();
    let (mut from_client, mut to_engine) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_engine);
        let _ = to_engine.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut engine, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}
