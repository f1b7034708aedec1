//! The web server in the images of static sites: files as they are, nothing else.
//!
//! `davit-static-server --root DIR [--listen ADDRESS] [--spa]`

mod args;
mod server;

use std::io;
use std::process::ExitCode;

use tokio::net::TcpListener;

use args::Args;

fn main() -> ExitCode {
    let failed = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => run(&args).err().map(|error| (1, error.to_string())),
        Err(error) => Some((2, error)),
    };
    let Some((code, error)) = failed else {
        return ExitCode::SUCCESS;
    };
    // Standard error is all that the container's log has; a process without it still ends with the right code.
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("davit-static-server: {error}\n").as_bytes(),
    );
    ExitCode::from(code)
}

/// Serves until SIGTERM or SIGINT, on this thread.
fn run(args: &Args) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(args.listen).await?;
            server::serve(&args.root, args.spa, listener).await
        })
}
