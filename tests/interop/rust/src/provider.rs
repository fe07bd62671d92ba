//! The provider's side: a mock executor behind the task protocol, the node's info, and the echo for tests.
//!
//! A handler that returns an error drops its stream, which resets it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt};
use serde_json::{json, Value};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    bench::serve_perf,
    console::print,
    envelope::{self, Keypair, PeerId},
    json::{self, Members, Object},
    memory::{Course, Memory, Stop},
    plan::{status_of, Plan},
    streams::{Inbound, Stream},
    wire::{self, Kind},
};

const EXECUTOR: &str = "mock";
const FIRST_FRAME: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
const LAST_CLOSE: Duration = Duration::from_secs(30);

/// How much later than its streams a connection may be seen to be lost.
const CLOSING: Duration = Duration::from_millis(500);

pub struct Provider {
    key: Keypair,
    memory: Mutex<Memory>,
    /// Whose connection the swarm shall drop.
    drops: mpsc::UnboundedSender<PeerId>,
    quiet: bool,
}

impl Provider {
    /// A quiet one prints no line for a task.
    pub fn new(key: Keypair, drops: mpsc::UnboundedSender<PeerId>, quiet: bool) -> Arc<Self> {
        Arc::new(Self { key, memory: Mutex::default(), drops, quiet })
    }

    /// Serves any of the protocols.
    pub async fn serve(self: &Arc<Self>, mut inbound: Inbound) -> Result<()> {
        match inbound.protocol {
            wire::ECHO => return serve_echo(&mut inbound.stream).await,
            wire::PERF => return serve_perf(&mut inbound.stream).await,
            wire::INFO => serve_info(&mut inbound.stream, &self.key, inbound.peer).await?,
            _ => self.serve_task(&mut inbound).await?,
        }
        await_close(&mut inbound.stream).await
    }

    /// Returns when the task has its result, or the requester has closed the stream without a task.
    async fn serve_task(self: &Arc<Self>, inbound: &mut Inbound) -> Result<()> {
        let Inbound { peer, stream, .. } = inbound;
        let first = timeout(FIRST_FRAME, wire::read_frame(stream, wire::MAX_FRAME)).await.context("no task came")??;
        let Some(frame) = first else { return Ok(stream.close().await?) };
        let (_, payload) = envelope::open(&frame, *peer, &[Kind::Task])?;
        match self.admit(*peer, &payload) {
            Err(Rejection { task_id, error }) => {
                let envelope = self.result(*peer, &task_id, &payload, "rejected", json!({"error": error}))?;
                send(stream, &envelope).await?;
                let code = &error["code"];
                self.tell(json!({"event": "task", "task_id": task_id, "status": "rejected", "code": code}), *peer);
            }
            Ok((course, begins)) => {
                let delivered = self.deliver(inbound, &course, begins).await;
                let mut connection = inbound.connection.clone();
                let lost = delivered.is_err() && timeout(CLOSING, connection.changed()).await.is_ok();
                course.leave(if lost { Stop::Lost } else { Stop::Reset });
                delivered?;
            }
        }
        Ok(inbound.stream.close().await?)
    }

    /// The course of a task, followed from now on, and whether it begins now.
    fn admit(self: &Arc<Self>, requester: PeerId, payload: &[u8]) -> Result<(Arc<Course>, bool), Rejection> {
        let task = check(payload, self.key.public().to_peer_id())?;
        let task_id = task.id.clone();
        let key = (requester, task_id.clone());
        let mut memory = self.memory.lock().unwrap();
        let known = memory.join(&key, payload).map_err(|_| {
            Rejection::new(&task_id, "task_id_conflict", "another task had this task_id: take a new one")
        })?;
        if let Some(course) = known {
            self.tell(json!({"event": "repeat", "task_id": task_id}), requester);
            return Ok((course, false));
        }
        let attempt = memory.attempt(&key);
        let mut plan = Plan::of(&task.prompt);
        if let Some(error) = plan.rejection(attempt) {
            return Err(Rejection { task_id, error });
        }
        if attempt > 1 {
            plan.break_after = None;
        }
        let course = Course::new(requester, task, payload.into(), plan);
        memory.begin(&course);
        if let Some(timeout_ms) = course.task.timeout_ms {
            let course = course.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(timeout_ms)).await;
                course.stop(Stop::Deadline);
            });
        }
        let (provider, running) = (self.clone(), course.clone());
        tokio::spawn(async move { provider.run(&running).await.expect("what was just made can be signed") });
        Ok((course, true))
    }

    /// Does what the prompt says, until somebody stops it.
    async fn run(&self, course: &Course) -> Result<()> {
        let Course { requester, task, plan, payload, .. } = course;
        let result = |status: &str, mut details: Value| {
            details["executor"] = EXECUTOR.into();
            self.result(*requester, &task.id, payload, status, details)
        };
        let text = format!("Processed: {}", task.prompt);
        // Before the updates, because a result that is too large for a frame has no output for them to add up to.
        let mut envelope = result("completed", json!({"output": {"text": text}}))?;
        let code;
        let mut stopped = None;
        if envelope.len() > wire::MAX_FRAME {
            code = Some("output_too_large");
            let message = "the result does not fit a frame: ask for less";
            envelope = result("failed", json!({"error": {"code": code, "message": message}}))?;
        } else {
            let mut stop = course.stopped.subscribe();
            for piece in pieces(&text, plan.pieces) {
                if !plan.pause.is_zero() {
                    let _ = timeout(plan.pause, stop.wait_for(Option::is_some)).await;
                }
                stopped = *stop.borrow();
                if stopped.is_some() {
                    break;
                }
                course.progress.send_modify(|progress| progress.pieces.push(piece.to_owned()));
                if plan.code.is_some() {
                    break;
                }
            }
            code = match stopped {
                None => plan.code.as_deref(),
                Some(Stop::Deadline) => Some("deadline_exceeded"),
                Some(_) => Some("cancelled"),
            };
            if let Some(code) = code {
                let output = course.progress.borrow().pieces.concat();
                let message = "the prompt asked for it, or it was stopped: send it again";
                let details = json!({"output": {"text": output}, "error": {"code": code, "message": message}});
                envelope = result(status_of(code), details)?;
            }
        }
        let status = code.map_or("completed", status_of);
        self.memory.lock().unwrap().end(course, envelope, status != "cancelled");
        let status = if stopped == Some(Stop::Lost) { "lost" } else { status };
        let mut line = json!({"event": "task", "task_id": task.id, "status": status});
        if let Some(code) = code {
            line["code"] = code.into();
        }
        self.tell(line, *requester);
        Ok(())
    }

    /// Writes the updates and the result as they come, and reads meanwhile, to see the stream's end.
    async fn deliver(&self, inbound: &mut Inbound, course: &Course, begins: bool) -> Result<()> {
        let Inbound { peer, stream, connection, .. } = inbound;
        let id = &course.task.id;
        let mut progress = course.progress.subscribe();
        let mut seq = 0;
        let mut update = |content: Value| {
            let mut update = json!({"task_id": id, "seq": seq});
            if let (Some(update), Value::Object(content)) = (update.as_object_mut(), content) {
                update.extend(content);
            }
            seq += 1;
            envelope::seal(&self.key, Kind::Update, update.to_string().as_bytes())
        };
        if course.task.stream {
            send(stream, &update(json!({"state": "running"}))?).await?;
        }
        let mut seen = 0;
        let mut closed = false;
        loop {
            let (pieces, result) = {
                let progress = progress.borrow_and_update();
                (progress.pieces[seen..].to_vec(), progress.result.clone())
            };
            for piece in pieces {
                if course.task.stream {
                    send(stream, &update(json!({"text": piece}))?).await?;
                }
                seen += 1;
                if begins && course.plan.break_after == Some(seen) {
                    self.drops.send(*peer)?;
                    let _ = connection.changed().await;
                    bail!("the prompt asked for a broken connection");
                }
            }
            if let Some(result) = result {
                return send(stream, &result).await;
            }
            let mut byte = [0];
            tokio::select! {
                _ = progress.changed() => {}
                _ = connection.changed() => bail!("the connection was lost"),
                count = stream.read(&mut byte), if !closed => {
                    ensure!(count? == 0, "more than one task came on a stream");
                    closed = true;
                    // The muxers show a reset as an end. Writing nothing is refused after the one and not after the other.
                    let open = timeout(ANSWER, stream.write(&[])).await.context("the requester takes nothing")?;
                    open.context("the requester reset the stream")?;
                }
            }
        }
    }

    fn tell(&self, mut line: Value, peer: PeerId) {
        if !self.quiet {
            line["peer"] = peer.to_base58().into();
            print(line);
        }
    }

    fn result(
        &self,
        requester: PeerId,
        task_id: &str,
        payload: &[u8],
        status: &str,
        details: Value,
    ) -> Result<Vec<u8>> {
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
        envelope::seal(&self.key, Kind::Result, result.to_string().as_bytes())
    }
}

async fn send(stream: &mut Stream, envelope: &[u8]) -> Result<()> {
    timeout(ANSWER, wire::write_frame(stream, envelope)).await.context("the requester takes no answer")?
}

/// Reads to the requester's own close, so that a reset isn't needed to free the stream there.
async fn await_close(stream: &mut Stream) -> Result<()> {
    let end = timeout(LAST_CLOSE, stream.read(&mut [0])).await.context("the stream was never closed")??;
    ensure!(end == 0, "something came that may not come any more");
    Ok(())
}

async fn serve_info(stream: &mut Stream, key: &Keypair, opener: PeerId) -> Result<()> {
    let info = json!({
        "agent": concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
        "timestamp": wire::now(),
        "recipient": opener.to_base58(),
        "executors": [{"task_type": "inference", "executor": EXECUTOR}],
        "queue": {"running": 0, "waiting": 0, "slots": 1, "capacity": 0},
        "may_ask": true,
    });
    let envelope = envelope::seal(key, Kind::Info, info.to_string().as_bytes())?;
    timeout(ANSWER, async {
        wire::write_frame(stream, &envelope).await?;
        anyhow::Ok(stream.close().await?)
    })
    .await
    .context("the opener takes no info")?
}

async fn serve_echo(stream: &mut Stream) -> Result<()> {
    let mut block = vec![0; 64 << 10];
    loop {
        match stream.read(&mut block).await? {
            0 => return Ok(stream.close().await?),
            count => stream.write_all(&block[..count]).await?,
        }
        stream.flush().await?;
    }
}

/// So many pieces, as far as there are characters, and more only where one would be above the limit of an update.
fn pieces(text: &str, count: usize) -> Vec<&str> {
    // Moving a cut to the start of its code point makes the next piece at most 3 bytes longer.
    let count = text.len().div_ceil(wire::MAX_UPDATE_TEXT - 4).max(count);
    let mut rest = text;
    let mut pieces = Vec::new();
    for nth in 1..=count {
        let mut cut = text.len() * nth / count;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let (piece, after) = rest.split_at(cut - (text.len() - rest.len()));
        if !piece.is_empty() {
            pieces.push(piece);
        }
        rest = after;
    }
    pieces
}

#[derive(Debug)]
pub struct Task {
    pub id: String,
    pub prompt: String,
    pub stream: bool,
    pub timeout_ms: Option<u64>,
    pub linger_ms: u64,
}

#[derive(Debug)]
struct Rejection {
    task_id: String,
    error: Value,
}

impl Rejection {
    fn new(task_id: &str, code: &str, message: &str) -> Self {
        Self { task_id: task_id.to_owned(), error: json!({"code": code, "message": message}) }
    }
}

fn check(payload: &[u8], me: PeerId) -> Result<Task, Rejection> {
    let mut task_id = wire::NIL_UUID.to_owned();
    let checked = json::parse(payload).map_err(|error| ("invalid_task", error)).and_then(|task| {
        if let Some(id) = task.get("task_id").and_then(Value::as_str).filter(|id| wire::is_task_id(id)) {
            task_id = id.to_owned();
        }
        let mut checked = check_members(&task).map_err(|error| ("invalid_task", error))?;
        check_addressee(&task, me)?;
        checked.prompt = mock_prompt(&task).map_err(|error| ("invalid_task", error))?;
        Ok(checked)
    });
    checked.map_err(|(code, error)| Rejection::new(&task_id, code, &format!("{error:#}")))
}

/// All but the prompt, which belongs to the task type.
fn check_members(task: &Object) -> Result<Task> {
    let id = task.text("task_id")?;
    ensure!(wire::is_task_id(id), "task_id is not a lower-case UUID of version 4");
    let task_type = task.text("task_type")?;
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    ensure!((1..=64).contains(&task_type.len()) && task_type.bytes().all(allowed), "task_type is not a valid name");
    let input = task.object("input")?;
    ensure!(wire::is_timestamp(task.text("timestamp")?), "timestamp is not RFC 3339 in UTC");
    task.text_if_any("recipient")?;
    let timeout_ms = task.integer_if_any("timeout_ms", 1..=86_400_000)?;
    let linger_ms = task.integer_if_any("linger_ms", 0..=60_000)?.unwrap_or(0);
    let stream = task.flag("stream")?;
    if task_type == "inference" {
        check_inference(input).context("input")?;
    }
    Ok(Task { id: id.to_owned(), prompt: String::new(), stream, timeout_ms, linger_ms })
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
    use crate::{
        envelope::tests::{provider, requester},
        wire::tests::TASK_PAYLOAD,
    };

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
            assert_eq!(rejection.error["code"], "invalid_task", "{at} {value}");
        }
        let code = |change: fn(&mut Value)| verdict(change).unwrap_err().error["code"].clone();
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

    #[tokio::test]
    async fn what_would_not_fit_a_frame_has_failed() {
        for (length, fits) in [(3 << 20, true), ((4 << 20) - 400, false)] {
            let payload = TASK_PAYLOAD.replace("Hello, P2P AI!", &"x".repeat(length));
            let provider = Provider::new(provider(), mpsc::unbounded_channel().0, true);
            let requester = requester().public().to_peer_id();
            let (course, begins) = provider.admit(requester, payload.as_bytes()).unwrap();
            assert!(begins);
            let mut progress = course.progress.subscribe();
            let progress = progress.wait_for(|progress| progress.result.is_some()).await.unwrap();
            assert!(progress.result.as_ref().unwrap().len() <= wire::MAX_FRAME);
            assert_eq!(progress.pieces.is_empty(), !fits);
            assert!(matches!(provider.admit(requester, payload.as_bytes()), Ok((_, false))));
            let other = provider.admit(requester, TASK_PAYLOAD.as_bytes()).err().unwrap();
            assert_eq!(other.error["code"], "task_id_conflict");
        }
    }

    #[test]
    fn pieces_are_three_and_within_the_limit() {
        for text in
            ["Processed: ", "Processed: Hello", "Processed: 😀😀é", &format!("Processed: {}", "é".repeat(200_000))]
        {
            let pieces = pieces(text, 3);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= wire::MAX_UPDATE_TEXT));
            assert!(pieces.len() == 3 || text.len() > 3 * 65532, "{}", pieces.len());
        }
    }
}
