//! The provider's side: a mock executor behind the task protocol, the node's info, and the echo for tests.
//!
//! A handler that returns an error drops its stream, which resets it. Nothing is remembered, so the same task sent
//! twice runs twice.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use libp2p::{
    futures::{AsyncReadExt, AsyncWriteExt},
    identity::Keypair,
    PeerId, Stream,
};
use serde_json::{json, Value};
use tokio::time::timeout;

use crate::{
    json::{self, Members, Object},
    wire::{self, Kind},
};

const EXECUTOR: &str = "mock";
const FIRST_FRAME: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
const LAST_CLOSE: Duration = Duration::from_secs(30);

/// What became of a task, for the log.
pub struct Outcome {
    pub task_id: String,
    pub status: &'static str,
}

/// None when the requester closed the stream without a task.
pub async fn serve_task(stream: &mut Stream, key: &Keypair, requester: PeerId) -> Result<Option<Outcome>> {
    let first = timeout(FIRST_FRAME, wire::read_frame(stream, wire::MAX_FRAME)).await.context("no task came")??;
    let Some(frame) = first else {
        stream.close().await?;
        return Ok(None);
    };
    let (_, payload) = wire::open(&frame, requester, &[Kind::Task])?;
    let (outcome, envelopes) = answer(key, requester, &payload)?;
    let sent = async {
        for envelope in envelopes {
            wire::write_frame(stream, &envelope).await?;
        }
        stream.close().await?;
        anyhow::Ok(())
    };
    timeout(ANSWER, sent).await.context("the requester takes no answer")??;
    Ok(Some(outcome))
}

/// Reads to the requester's own close, so that a reset isn't needed to free the stream there.
pub async fn await_close(stream: &mut Stream) -> Result<()> {
    let end = timeout(LAST_CLOSE, stream.read(&mut [0])).await.context("the stream was never closed")??;
    ensure!(end == 0, "something came that may not come any more");
    Ok(())
}

pub async fn serve_info(stream: &mut Stream, key: &Keypair, opener: PeerId) -> Result<()> {
    let info = json!({
        "agent": concat!("rust-interop-peer/", env!("CARGO_PKG_VERSION")),
        "timestamp": wire::now(),
        "recipient": opener.to_base58(),
        "executors": [{"task_type": "inference", "executor": EXECUTOR}],
        "queue": {"running": 0, "waiting": 0, "slots": 1, "capacity": 0},
        "may_ask": true,
    });
    let envelope = wire::seal(key, Kind::Info, info.to_string().as_bytes())?;
    timeout(ANSWER, async {
        wire::write_frame(stream, &envelope).await?;
        anyhow::Ok(stream.close().await?)
    })
    .await
    .context("the opener takes no info")?
}

pub async fn serve_echo(stream: &mut Stream) -> Result<()> {
    let mut block = vec![0; 64 << 10];
    loop {
        match stream.read(&mut block).await? {
            0 => return Ok(stream.close().await?),
            count => stream.write_all(&block[..count]).await?,
        }
        stream.flush().await?;
    }
}

/// Everything to send for a task, sealed, the result last.
fn answer(key: &Keypair, requester: PeerId, payload: &[u8]) -> Result<(Outcome, Vec<Vec<u8>>)> {
    let me = key.public().to_peer_id();
    let task = check(payload, me);
    let result = |task_id: &str, status: &str, details: Value| {
        let mut result = json!({
            "task_id": task_id,
            "status": status,
            "timestamp": wire::now(),
            "recipient": requester.to_base58(),
            "task_sha256": wire::sha256(payload),
        });
        if let (Some(result), Value::Object(details)) = (result.as_object_mut(), details) {
            result.extend(details);
        }
        wire::seal(key, Kind::Result, result.to_string().as_bytes())
    };
    let Task { id, stream, prompt } = match task {
        Ok(task) => task,
        Err(Rejection { task_id, code, message }) => {
            let details = json!({"error": {"code": code, "message": message}});
            let envelope = result(&task_id, "rejected", details)?;
            return Ok((Outcome { task_id, status: "rejected" }, vec![envelope]));
        }
    };

    let text = format!("Processed: {prompt}");
    let last = result(&id, "completed", json!({"output": {"text": text}, "executor": EXECUTOR}))?;
    if last.len() > wire::MAX_FRAME {
        let message = "the result does not fit a frame: ask for less";
        let details = json!({"error": {"code": "output_too_large", "message": message}, "executor": EXECUTOR});
        let envelope = result(&id, "failed", details)?;
        return Ok((Outcome { task_id: id, status: "failed" }, vec![envelope]));
    }
    let mut envelopes = Vec::new();
    if stream {
        let mut updates = vec![json!({"state": "running"})];
        updates.extend(pieces(&text).into_iter().map(|piece| json!({"text": piece})));
        for (seq, content) in updates.iter().enumerate() {
            let mut update = json!({"task_id": id, "seq": seq});
            if let (Some(update), Some(content)) = (update.as_object_mut(), content.as_object()) {
                update.extend(content.clone());
            }
            envelopes.push(wire::seal(key, Kind::Update, update.to_string().as_bytes())?);
        }
    }
    envelopes.push(last);
    Ok((Outcome { task_id: id, status: "completed" }, envelopes))
}

/// Three pieces, more only where one would be above the limit of an update.
fn pieces(text: &str) -> Vec<&str> {
    // Moving a cut to the start of its code point makes the next piece at most 3 bytes longer.
    let count = text.len().div_ceil(wire::MAX_UPDATE_TEXT - 4).max(3);
    let mut rest = text;
    let mut pieces = Vec::new();
    for nth in 1..=count {
        let mut cut = text.len() * nth / count;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let (piece, after) = rest.split_at(cut - (text.len() - rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[derive(Debug)]
struct Task {
    id: String,
    stream: bool,
    prompt: String,
}

#[derive(Debug)]
struct Rejection {
    task_id: String,
    code: &'static str,
    message: String,
}

fn check(payload: &[u8], me: PeerId) -> Result<Task, Rejection> {
    let mut task_id = wire::NIL_UUID.to_owned();
    let checked = json::parse(payload).map_err(|error| ("invalid_task", error)).and_then(|task| {
        if let Some(id) = task.get("task_id").and_then(Value::as_str).filter(|id| wire::is_task_id(id)) {
            task_id = id.to_owned();
        }
        let stream = check_members(&task).map_err(|error| ("invalid_task", error))?;
        check_addressee(&task, me)?;
        let prompt = mock_prompt(&task).map_err(|error| ("invalid_task", error))?;
        Ok((stream, prompt))
    });
    match checked {
        Ok((stream, prompt)) => Ok(Task { id: task_id, stream, prompt }),
        Err((code, error)) => Err(Rejection { task_id, code, message: format!("{error:#}") }),
    }
}

fn check_members(task: &Object) -> Result<bool> {
    ensure!(wire::is_task_id(task.text("task_id")?), "task_id is not a lower-case UUID of version 4");
    let task_type = task.text("task_type")?;
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    ensure!((1..=64).contains(&task_type.len()) && task_type.bytes().all(allowed), "task_type is not a valid name");
    let input = task.object("input")?;
    ensure!(wire::is_timestamp(task.text("timestamp")?), "timestamp is not RFC 3339 in UTC");
    task.text_if_any("recipient")?;
    task.integer_if_any("timeout_ms", 1..=86_400_000)?;
    task.integer_if_any("linger_ms", 0..=60_000)?;
    let stream = task.flag("stream")?;
    if task_type == "inference" {
        check_inference(input).context("input")?;
    }
    Ok(stream)
}

fn check_inference(input: &Object) -> Result<()> {
    match (input.text_if_any("prompt")?, input.array_if_any("messages")?) {
        (Some(_), None) => {}
        (None, Some(messages)) => {
            ensure!(!messages.is_empty(), "messages is empty");
            for message in messages {
                message.as_object().context("a message is not an object")?.text("role")?;
            }
        }
        (Some(_), Some(_)) => bail!("prompt and messages exclude each other"),
        (None, None) => bail!("either prompt or messages is required"),
    }
    input.text_if_any("model")?;
    for name in ["max_tokens", "seed"] {
        let integer = |value: &Value| value.is_u64() || value.is_i64();
        ensure!(input.member(name).is_none_or(integer), "{name} is not an integer");
    }
    for name in ["temperature", "top_p"] {
        ensure!(input.member(name).is_none_or(Value::is_number), "{name} is not a number");
    }
    match input.member("stop") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(stops)) if stops.iter().all(Value::is_string) => Ok(()),
        Some(_) => bail!("stop is neither a string nor an array of strings"),
    }
}

fn check_addressee(task: &Object, me: PeerId) -> Result<(), (&'static str, anyhow::Error)> {
    let text = |object: &Object, name| object.member(name).and_then(Value::as_str).map(str::to_owned);
    match text(task, "recipient") {
        Some(recipient) if recipient != me.to_base58() => {
            return Err(("wrong_recipient", anyhow::anyhow!("the task is for {recipient}, this is {me}")));
        }
        _ => {}
    }
    match text(task, "task_type") {
        Some(task_type) if task_type != "inference" => {
            return Err(("unsupported_task_type", anyhow::anyhow!("only inference runs here, not {task_type}")));
        }
        _ => {}
    }
    match task.member("input").and_then(Value::as_object).and_then(|input| text(input, "model")) {
        Some(model) if model != EXECUTOR => {
            Err(("unsupported_model", anyhow::anyhow!("{model} is not here: leave the model out")))
        }
        _ => Ok(()),
    }
}

/// The prompt, or the text of the last message.
fn mock_prompt(task: &Object) -> Result<String> {
    let input = task.object("input")?;
    if let Some(prompt) = input.text_if_any("prompt")? {
        return Ok(prompt.to_owned());
    }
    let last = input.array("messages")?.last().and_then(Value::as_object).context("messages is empty")?;
    match last.member("content") {
        None => Ok(String::new()),
        Some(Value::String(content)) => Ok(content.clone()),
        Some(Value::Array(parts)) => {
            Ok(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect())
        }
        Some(_) => bail!("the content of the last message is neither a string nor an array of parts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{provider, requester, TASK_PAYLOAD};

    fn verdict(change: impl FnOnce(&mut Value)) -> Result<Task, Rejection> {
        let mut task: Value = serde_json::from_str(TASK_PAYLOAD).unwrap();
        change(&mut task);
        check(task.to_string().as_bytes(), provider().public().to_peer_id())
    }

    #[test]
    fn the_task_of_the_test_vector_is_answered() {
        let task = verdict(|_| {}).unwrap();
        assert_eq!(task.id, "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b");
        assert_eq!(task.prompt, "Hello, P2P AI!");
        assert!(!task.stream);
    }

    #[test]
    fn null_counts_as_absent_and_unknown_members_are_ignored() {
        let task = verdict(|task| {
            for name in ["recipient", "timeout_ms", "linger_ms", "stream"] {
                task[name] = Value::Null;
            }
            task["input"]["messages"] = Value::Null;
            task["input"]["model"] = Value::Null;
            task["later"] = json!([1, {"x": 2}]);
        });
        assert_eq!(task.unwrap().prompt, "Hello, P2P AI!");
    }

    #[test]
    fn messages_are_answered_by_the_text_of_the_last() {
        let task = verdict(|task| {
            task["input"] = json!({"messages": [
                {"role": "system", "content": "x"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ]})
        });
        assert_eq!(task.unwrap().prompt, "ab");
    }

    #[test]
    fn each_fault_has_its_code() {
        let invalid = [
            ("/task_id", json!(7)),
            ("/task_id", json!("7F9C24E5-2B4A-4D6F-9A37-0C1D2E3F4A5B")),
            ("/task_type", json!("Inference")),
            ("/task_type", json!("")),
            ("/task_type", json!("a".repeat(65))),
            ("/timestamp", json!("yesterday")),
            ("/timestamp", Value::Null),
            ("/recipient", json!(1)),
            ("/timeout_ms", json!(0)),
            ("/timeout_ms", json!(86_400_001)),
            ("/timeout_ms", json!(30000.0)),
            ("/timeout_ms", json!("1")),
            ("/linger_ms", json!(60_001)),
            ("/stream", json!("true")),
            ("/input", json!([])),
            ("/input", json!({})),
            ("/input", json!({"prompt": 1})),
            ("/input", json!({"prompt": "a", "messages": [{"role": "user"}]})),
            ("/input", json!({"messages": []})),
            ("/input", json!({"messages": [{"content": "a"}]})),
            ("/input", json!({"prompt": "a", "max_tokens": 1.0})),
            ("/input", json!({"prompt": "a", "temperature": "1"})),
            ("/input", json!({"prompt": "a", "stop": [1]})),
        ];
        for (at, value) in invalid {
            let rejection = verdict(|task| task[&at[1..]] = value.clone()).unwrap_err();
            assert_eq!(rejection.code, "invalid_task", "{at} {value}");
        }
        let code = |change: fn(&mut Value)| verdict(change).unwrap_err().code;
        assert_eq!(
            code(|task| task["recipient"] = json!(requester().public().to_peer_id().to_base58())),
            "wrong_recipient"
        );
        assert_eq!(code(|task| task["task_type"] = json!("translation")), "unsupported_task_type");
        assert_eq!(code(|task| task["input"]["model"] = json!("gpt")), "unsupported_model");
        assert!(verdict(|task| task["input"]["model"] = json!("mock")).is_ok());
    }

    #[test]
    fn a_rejection_echoes_the_task_id_if_there_is_a_valid_one() {
        let rejection = verdict(|task| task["stream"] = json!(1)).unwrap_err();
        assert_eq!(rejection.task_id, "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b");
        assert_eq!(check(b"{", PeerId::random()).unwrap_err().task_id, wire::NIL_UUID);
        assert_eq!(verdict(|task| task["task_id"] = json!("x")).unwrap_err().task_id, wire::NIL_UUID);
    }

    #[test]
    fn what_would_not_fit_a_frame_has_failed() {
        for (length, expected) in [(3 << 20, "completed"), ((4 << 20) - 400, "failed")] {
            let task = TASK_PAYLOAD.replace("Hello, P2P AI!", &"x".repeat(length));
            let requester = requester().public().to_peer_id();
            let (outcome, envelopes) = answer(&provider(), requester, task.as_bytes()).unwrap();
            assert_eq!(outcome.status, expected);
            assert!(envelopes.iter().all(|envelope| envelope.len() <= wire::MAX_FRAME));
        }
    }

    #[test]
    fn pieces_are_three_and_within_the_limit() {
        for text in
            ["Processed: ", "Processed: Hello", "Processed: 😀😀é", &format!("Processed: {}", "é".repeat(200_000))]
        {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= wire::MAX_UPDATE_TEXT));
            assert!(pieces.len() == 3 || text.len() > 3 * 65532, "{}", pieces.len());
        }
    }
}
