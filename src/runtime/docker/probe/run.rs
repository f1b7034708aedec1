//! One try of a check.

use std::net::{IpAddr, SocketAddr};

use bollard::Docker;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::check::{Question, Target};
use crate::error::{chain, cut};
use crate::runtime::MAX_OUTPUT;

/// How much of an answer's body is read, so that the server sees an orderly client.
const LONGEST_BODY: usize = 64 * 1024;

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no answer in time.
    Late(String),
    /// The answer was no.
    Refused(String),
}

/// Tries once.
pub async fn once(docker: &Docker, target: &Target) -> Result<(), Failure> {
    let limit = target.check.timeout();
    let question = &target.check.question;
    let answer = async {
        match question {
            Question::Http(path, port) => http(&target.ip, *port, path).await,
            Question::Tcp(port) => connect(&target.ip, *port).await.map(drop),
            Question::Command(command) => run(docker, &target.id, command).await,
        }
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => {
            let why = format!("{}: {why}", place(question));
            Err(Failure::Refused(cut(&why, MAX_OUTPUT)))
        }
        Err(_) => Err(Failure::Late(format!(
            "{}: no answer within {limit:?}",
            place(question)
        ))),
    }
}

fn place(question: &Question) -> String {
    match question {
        Question::Http(path, port) => format!("GET {path} at port {port}"),
        Question::Tcp(port) => format!("port {port}"),
        Question::Command(command) => command.join(" "),
    }
}

async fn connect(ip: &str, port: u16) -> Result<TcpStream, String> {
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| "the container has no address".to_owned())?;
    let stream = TcpStream::connect(SocketAddr::new(ip, port)).await;
    stream.map_err(|refusal| {
        // The operating system's words without its number.
        let text = refusal.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_lowercase()
    })
}

async fn http(ip: &str, port: u16, path: &str) -> Result<(), String> {
    let stream = connect(ip, port).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|refusal| chain(&refusal))?;
    // A redirect is an answer below 400, and not followed.
    let request = http::Request::get(path)
        // Frameworks that check the host name let this one through.
        .header(http::header::HOST, "localhost")
        .header(http::header::USER_AGENT, "davit-probe")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|refusal| refusal.to_string())?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // What the body says, and how it ends, does not matter.
        let _ = Limited::new(answer.into_body(), LONGEST_BODY).collect().await;
        Ok::<_, hyper::Error>(status)
    };
    // The connection ends when the exchange has, and why it ended the exchange says.
    let (status, _) = futures::join!(exchange, connection);
    let status = status.map_err(|refusal| chain(&refusal))?;
    if status.as_u16() < 400 {
        Ok(())
    } else {
        Err(format!("answer {status}"))
    }
}

async fn run(docker: &Docker, id: &str, command: &[String]) -> Result<(), String> {
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    };
    let said = |refusal: bollard::errors::Error| refusal.to_string();
    let exec = docker.create_exec(id, config).await.map_err(said)?.id;
    let mut printed = Vec::new();
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&exec, None).await.map_err(said)?
    {
        while let Some(Ok(part)) = output.next().await {
            if printed.len() < MAX_OUTPUT {
                printed.extend_from_slice(&part.into_bytes());
            }
        }
    }
    match docker.inspect_exec(&exec).await.map_err(said)?.exit_code {
        Some(0) => Ok(()),
        code => {
            let text = String::from_utf8_lossy(&printed);
            Err(format!("exit code {}: {}", code.unwrap_or(-1), text.trim()))
        }
    }
}
