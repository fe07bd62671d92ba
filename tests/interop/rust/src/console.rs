//! Standard input and output, as every command has them.

use std::{io::Write, process::exit};

use serde_json::Value;
use tokio::io::AsyncReadExt;

pub fn print(line: Value) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        exit(1); // nobody listens any more
    }
}

pub async fn input_end() {
    let (mut stdin, mut ignored) = (tokio::io::stdin(), [0; 256]);
    while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
}
