//! Standard input and output, as every command has them.

use std::{future::Future, io::Write, process::exit};

use serde_json::{json, Value};
use tokio::{io::AsyncReadExt, runtime::Builder};

pub fn print(line: Value) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        exit(1); // nobody listens any more
    }
}

/// Runs a command and ends the process with what it came to: on tokio's default runtime, or with PEER_THREADS=1 on one thread, which costs
/// less processor time and spares a task that is alone the threads' waking each other.
pub fn run(command: impl Future<Output = anyhow::Result<()>>) -> ! {
    let one = std::env::var("PEER_THREADS").is_ok_and(|threads| threads == "1");
    let mut builder = if one { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = builder.enable_all().build().expect("tokio's runtime starts");
    let Err(error) = runtime.block_on(command) else { exit(0) };
    print(json!({"event": "error", "message": format!("{error:#}")}));
    // Not a return: tokio would wait for the thread that reads standard input.
    exit(1);
}

pub async fn input_end() {
    let (mut stdin, mut ignored) = (tokio::io::stdin(), [0; 256]);
    while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
}
