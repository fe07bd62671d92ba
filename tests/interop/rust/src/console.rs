//! Standard input and output, as every command has them.

use std::{io::Write, process::exit};

use serde_json::{json, Value};
use tokio::io::AsyncReadExt;

pub fn print(line: Value) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        exit(1); // nobody listens any more
    }
}

/// Ends the process with what a command came to.
pub fn end(result: anyhow::Result<()>) -> ! {
    let Err(error) = result else { exit(0) };
    print(json!({"event": "error", "message": format!("{error:#}")}));
    // Not a return: tokio would wait for the thread that reads standard input.
    exit(1);
}

pub async fn input_end() {
    let (mut stdin, mut ignored) = (tokio::io::stdin(), [0; 256]);
    while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
}
