//! The requester's side: nothing that a provider says is believed before it has been checked.

use std::{fmt, time::Duration};

use anyhow::{bail, ensure, Context, Result};
use futures::{future::try_join, AsyncReadExt, AsyncWriteExt};
use rand::{rngs::StdRng, RngCore, SeedableRng};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    envelope::{self, Keypair, PeerId},
    json::{self, Members, Object},
    streams::Stream,
    wire::{self, Kind},
};

const TIMEOUT_MS: u64 = 30_000;
const LAST_CLOSE: Duration = Duration::from_secs(10);

/// A result that verified, whatever it says.
#[derive(Debug)]
pub struct Answer {
    pub task_id: String,
    pub status: String,
    pub text: Option<String>,
    pub executor: String,
    /// Code and message.
    pub error: Option<(String, String)>,
    pub updates: u64,
    pub envelope: Vec<u8>,
}

impl Answer {
    /// Verified, yet perhaps not what was asked for.
    pub fn completed(self) -> Result<Self> {
        if let Some((code, message)) = &self.error {
            bail!("the task was {} ({code}): {message}", self.status);
        }
        Ok(self)
    }

    /// Its code, which has to be this one.
    pub fn refused(&self, status: &str, code: &str) -> Result<&str> {
        let got = self.error.as_ref().map_or("nothing", |(code, _)| code);
        ensure!(
            (self.status.as_str(), got) == (status, code),
            "{} with {got} instead of {status} with {code}",
            self.status
        );
        Ok(got)
    }
}

/// Sends a task and returns its verified result.
pub async fn ask(stream: &mut Stream, question: &Question, provider: PeerId) -> Result<Answer> {
    let answer = answer(stream, question, provider).await?;
    end(stream).await?;
    Ok(answer)
}

/// The same, before the end of the stream has been seen.
pub async fn answer(stream: &mut Stream, question: &Question, provider: PeerId) -> Result<Answer> {
    wire::write_frame(stream, &question.envelope).await?;
    let mut updates = Updates::default();
    loop {
        if let Some(answer) = next(stream, question, provider, &mut updates).await? {
            return Ok(answer);
        }
    }
}

/// What has to follow the answer. Not before it: a requester that has closed its side could no longer cancel.
pub async fn end(stream: &mut Stream) -> Result<()> {
    stream.close().await?;
    end_of(stream, "the result").await
}

/// Sends a task and returns after the first text, with the number of updates.
pub async fn begin(stream: &mut Stream, question: &Question, provider: PeerId) -> Result<u64> {
    wire::write_frame(stream, &question.envelope).await?;
    let mut updates = Updates::default();
    while updates.text.is_empty() {
        if let Some(answer) = next(stream, question, provider, &mut updates).await? {
            bail!("the task was {} before its first text", answer.status);
        }
    }
    Ok(updates.next_seq)
}

/// Reads one message more, which may be the last.
async fn next(
    stream: &mut Stream,
    question: &Question,
    provider: PeerId,
    updates: &mut Updates,
) -> Result<Option<Answer>> {
    let expected: &[Kind] = if question.streamed { &[Kind::Update, Kind::Result] } else { &[Kind::Result] };
    let envelope = wire::read_frame(stream, wire::MAX_FRAME).await?.context("the stream ended without a result")?;
    match envelope::open(&envelope, provider, expected)? {
        (Kind::Update, payload) => {
            updates.add(question, &payload).context("an update does not verify")?;
            Ok(None)
        }
        (_, payload) => {
            let answer = question.check(&payload, updates).context("the result does not verify")?;
            Ok(Some(Answer { envelope, ..answer }))
        }
    }
}

/// Sends a task with one bit of its payload flipped; Ok if the stream ends without an answer.
pub async fn ask_tampered(stream: &mut Stream, key: &Keypair, provider: PeerId, prompt: &str) -> Result<()> {
    let question = Question::new(key, provider, prompt, json!({}))?;
    wire::write_frame(stream, &tamper(&question)?).await?;
    let count = stream.read(&mut [0; 1024]).await;
    ensure!(!matches!(count, Ok(1..)), "the tampered task was answered");
    Ok(())
}

/// What is flipped keeps the payload a valid task, so that only the signature can give it away.
fn tamper(question: &Question) -> Result<Vec<u8>> {
    let mut envelope = question.envelope.clone();
    let payload = envelope.windows(question.payload.len()).position(|window| window == question.payload);
    let second = question.payload.windows(3).position(|window| window == b"Z\",").context("no timestamp")?;
    envelope[payload.context("no payload")? + second - 1] ^= 1;
    Ok(envelope)
}

/// Asks for the provider's info and returns it verified.
pub async fn ask_info(stream: &mut Stream, me: PeerId, provider: PeerId) -> Result<Object> {
    stream.close().await?;
    let frame = wire::read_frame(stream, wire::MAX_INFO_FRAME).await?.context("the stream ended without an info")?;
    let (_, payload) = envelope::open(&frame, provider, &[Kind::Info])?;
    let info = check_info(&payload, me).context("the info does not verify")?;
    end_of(stream, "the info").await?;
    Ok(info)
}

async fn end_of(stream: &mut Stream, what: &str) -> Result<()> {
    // A reset right behind the last message is an end like any other.
    let count = timeout(LAST_CLOSE, stream.read(&mut [0])).await;
    match count {
        Err(_) => bail!("the stream stays open after {what}"),
        Ok(Ok(1..)) => bail!("something follows {what}"),
        Ok(_) => Ok(()),
    }
}

fn check_info(payload: &[u8], me: PeerId) -> Result<Object> {
    let info = json::parse(payload)?;
    let (name, version) = info.text("agent")?.split_once('/').context("agent is not name/version")?;
    ensure!(!name.is_empty() && !version.is_empty(), "agent is not name/version");
    check_timestamp_and_recipient(&info, me)?;
    for executor in info.array("executors")? {
        let executor = executor.as_object().context("an executor is not an object")?;
        executor.text("task_type")?;
        executor.text("executor")?;
        let models = executor.array_if_any("models")?;
        ensure!(models.is_none_or(|models| models.iter().all(Value::is_string)), "a model is not a string");
    }
    let queue = info.object("queue")?;
    for name in ["running", "waiting", "slots", "capacity"] {
        queue.integer(name)?;
    }
    if let Some(name) = info.text_if_any("name")? {
        ensure!(
            (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control),
            "name is not 1 to 64 printable characters"
        );
    }
    info.flag("may_ask")?;
    Ok(info)
}

fn check_timestamp_and_recipient(message: &Object, me: PeerId) -> Result<()> {
    ensure!(wire::is_timestamp(message.text("timestamp")?), "timestamp is not RFC 3339 in UTC");
    let recipient = message.text("recipient")?;
    ensure!(recipient == me.to_base58(), "it is meant for {recipient}, this is {me}");
    Ok(())
}

/// A task as it is sent.
pub struct Question {
    pub id: String,
    payload: Vec<u8>,
    envelope: Vec<u8>,
    prompt: String,
    streamed: bool,
    me: PeerId,
}

impl Question {
    /// With the members of `extra` in place of, or besides, the usual ones.
    pub fn new(key: &Keypair, provider: PeerId, prompt: &str, extra: Value) -> Result<Self> {
        let mut task = json!({
            "task_id": wire::new_task_id(),
            "task_type": "inference",
            "input": {"prompt": prompt},
            "timestamp": wire::now(),
            "recipient": provider.to_base58(),
            "timeout_ms": TIMEOUT_MS,
        });
        for (name, value) in extra.as_object().context("extra members are an object")? {
            task[name] = value.clone();
        }
        let id = task["task_id"].as_str().unwrap_or_default().to_owned();
        let streamed = task["stream"] == json!(true);
        Self::sealed(key, id, task.to_string().into(), prompt, streamed)
    }

    fn sealed(key: &Keypair, id: String, payload: Vec<u8>, prompt: &str, streamed: bool) -> Result<Self> {
        let envelope = envelope::seal(key, Kind::Task, &payload)?;
        let me = key.public().to_peer_id();
        Ok(Self { id, payload, envelope, prompt: prompt.to_owned(), streamed, me })
    }

    fn check(&self, payload: &[u8], updates: &Updates) -> Result<Answer> {
        let result = json::parse(payload)?;
        ensure!(result.text("task_sha256")? == wire::sha256(&self.payload), "task_sha256 is of another task");
        check_timestamp_and_recipient(&result, self.me)?;
        let status = result.text("status")?;
        ensure!(["completed", "failed", "rejected", "cancelled"].contains(&status), "unknown status {status:?}");
        let id = result.text("task_id")?;
        ensure!(
            id == self.id || status == "rejected" && id == wire::NIL_UUID,
            "task_id is {id} instead of {}",
            self.id
        );
        for name in ["model", "finish_reason"] {
            result.text_if_any(name)?;
        }
        for name in ["queued_ms", "run_ms"] {
            result.integer_if_any(name, 0..=u64::MAX)?;
        }
        if let Some(usage) = result.object_if_any("usage")? {
            for name in ["prompt_tokens", "completion_tokens"] {
                usage.integer_if_any(name, 0..=u64::MAX)?;
            }
        }
        let text = match result.object_if_any("output")? {
            Some(output) => Some(output.text("text")?),
            None => None,
        };
        ensure!(text.is_none() || status != "rejected", "a rejection has an output");
        if let (Some(text), true) = (text, self.streamed) {
            ensure!(text == updates.text, "the updates do not concatenate to the output");
        }
        let executor = result.text_if_any("executor")?;
        ensure!(executor.is_some() || status == "rejected", "executor is missing");
        let error = match result.object_if_any("error")? {
            Some(error) => {
                error.integer_if_any("retry_after_ms", 0..=u64::MAX)?;
                Some((error.text("code")?.to_owned(), error.text("message")?.to_owned()))
            }
            None => None,
        };
        let completed = status == "completed";
        ensure!(error.is_none() == completed, "{status} does not go with the error being there or missing");
        ensure!(text.is_some() || !completed, "output is missing");
        let executor = executor.unwrap_or_default();
        if completed && executor == "mock" {
            let expected = format!("Processed: {}", self.prompt);
            ensure!(text == Some(expected.as_str()), "the mock executor gave {text:?}");
        }
        Ok(Answer {
            task_id: id.into(),
            status: status.into(),
            text: text.map(str::to_owned),
            executor: executor.into(),
            error,
            updates: updates.next_seq,
            envelope: Vec::new(),
        })
    }
}

/// Tasks that have to be rejected, with the code that each deserves and whether its id can be read (or that is a matter
/// of taste).
pub fn faults(key: &Keypair, provider: PeerId) -> Result<Vec<(&'static str, Option<bool>, Question)>> {
    let mut faults = Vec::new();
    let somebody = PeerId::random().to_base58();
    let changes = [
        ("invalid_task", Some(false), json!({"task_id": "x"})),
        ("invalid_task", Some(true), json!({"stream": "true"})),
        ("invalid_task", Some(true), json!({"timeout_ms": 0})),
        ("invalid_task", Some(true), json!({"linger_ms": 60_001})),
        ("invalid_task", Some(true), json!({"input": {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}})),
        ("wrong_recipient", Some(true), json!({"recipient": somebody})),
        ("unsupported_task_type", Some(true), json!({"task_type": "translation", "input": {}})),
        ("unsupported_model", Some(true), json!({"input": {"prompt": "a", "model": "no-such-model"}})),
    ];
    for (code, named, change) in changes {
        faults.push((code, named, Question::new(key, provider, "", change)?));
    }
    let good = Question::new(key, provider, "", json!({}))?;
    let text = String::from_utf8(good.payload)?;
    let twice = format!("{},\"task_type\":\"inference\"}}", text.trim_end_matches('}'));
    for (named, payload) in [(Some(false), "null".to_owned()), (None, twice)] {
        faults.push(("invalid_task", named, Question::sealed(key, good.id.clone(), payload.into(), "", false)?));
    }
    Ok(faults)
}

/// The payload, to say which task it was.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.payload))
    }
}

#[derive(Default)]
struct Updates {
    next_seq: u64,
    text: String,
}

impl Updates {
    fn add(&mut self, question: &Question, payload: &[u8]) -> Result<()> {
        let update = json::parse(payload)?;
        ensure!(update.text("task_id")? == question.id, "task_id is of another task");
        let seq = update.integer("seq")?;
        ensure!(seq == self.next_seq, "seq is {seq} instead of {}", self.next_seq);
        self.next_seq += 1;
        match (update.text_if_any("state")?, update.text_if_any("text")?, update.member("data")) {
            (Some("queued"), None, None) => update.integer("position").map(drop),
            (Some(_), None, None) => Ok(()),
            (None, Some(text), None) => {
                ensure!(text.len() <= wire::MAX_UPDATE_TEXT, "{} bytes of text are above the limit", text.len());
                self.text += text;
                Ok(())
            }
            _ => bail!("inference has either state or text in an update"),
        }
    }
}

/// Sends `total` bytes while reading them back, compares both directions, and returns their SHA-256.
pub async fn echo(stream: Stream, total: u64) -> Result<String> {
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let mut source = StdRng::seed_from_u64(0);
        let mut hash = Sha256::new();
        let mut block = vec![0; 64 << 10];
        let mut left = total;
        while left > 0 {
            let size = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            source.fill_bytes(&mut block[..size]);
            hash.update(&block[..size]);
            writer.write_all(&block[..size]).await.with_context(|| format!("cannot send the last {left} bytes"))?;
            left -= size as u64;
        }
        writer.close().await.context("cannot close the write side")?;
        anyhow::Ok(hash.finalize())
    };
    let receive = async {
        let mut hash = Sha256::new();
        let mut block = vec![0; 64 << 10];
        let mut received = 0;
        loop {
            let size = reader.read(&mut block).await.with_context(|| format!("cannot read after {received} bytes"))?;
            if size == 0 {
                break;
            }
            received += size as u64;
            ensure!(received <= total, "more comes back than was sent");
            hash.update(&block[..size]);
        }
        ensure!(received == total, "the stream ended after {received} of {total} bytes");
        Ok(hash.finalize())
    };
    let (sent, received) = try_join(send, receive).await?;
    ensure!(sent == received, "{} was sent and {} came back", wire::hex(&sent), wire::hex(&received));
    Ok(wire::hex(&sent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        envelope::tests::{provider, requester},
        wire::tests::{RESULT_PAYLOAD, TASK_PAYLOAD},
    };

    fn question() -> Question {
        Question {
            id: "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b".into(),
            payload: TASK_PAYLOAD.into(),
            envelope: Vec::new(),
            prompt: "Hello, P2P AI!".into(),
            streamed: false,
            me: requester().public().to_peer_id(),
        }
    }

    fn verdict(change: impl FnOnce(&mut Value)) -> Result<Answer> {
        let mut result: Value = serde_json::from_str(RESULT_PAYLOAD)?;
        change(&mut result);
        question().check(result.to_string().as_bytes(), &Updates::default())
    }

    #[test]
    fn the_result_of_the_test_vector_verifies() {
        assert_eq!(verdict(|_| {}).unwrap().text.unwrap(), "Processed: Hello, P2P AI!");
    }

    #[test]
    fn a_result_that_does_not_match_is_an_error() {
        let changes: [(&str, Value); 12] = [
            ("task_id", json!("00000000-0000-4000-8000-000000000000")),
            ("task_id", json!(wire::NIL_UUID)),
            ("task_sha256", json!(wire::sha256(b""))),
            ("recipient", json!(provider().public().to_peer_id().to_base58())),
            ("status", json!("done")),
            ("status", json!("failed")),
            ("status", json!("rejected")),
            ("output", Value::Null),
            ("output", json!({"text": "Processed: something else"})),
            ("executor", Value::Null),
            ("timestamp", json!("now")),
            ("run_ms", json!(1.5)),
        ];
        for (name, value) in changes {
            let error = verdict(|result| result[name] = value.clone()).err();
            assert!(error.is_some(), "{name} {value}");
        }
    }

    #[test]
    fn a_rejection_may_carry_the_nil_uuid() {
        let error = verdict(|result| {
            result["task_id"] = json!(wire::NIL_UUID);
            result["status"] = json!("rejected");
            result["output"] = Value::Null;
            result["executor"] = Value::Null;
            result["error"] = json!({"code": "busy", "message": "later", "retry_after_ms": 5});
        });
        assert!(error.as_ref().unwrap().refused("rejected", "busy").is_ok());
        assert!(error.as_ref().unwrap().refused("rejected", "not_allowed").is_err());
        assert_eq!(error.unwrap().completed().unwrap_err().to_string(), "the task was rejected (busy): later");
    }

    #[test]
    fn updates_are_in_order_and_of_one_kind() {
        let question = question();
        let add = |updates: &mut Updates, content: Value| {
            let mut update = json!({"task_id": question.id, "seq": 0});
            update.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            updates.add(&question, update.to_string().as_bytes())
        };
        let mut updates = Updates::default();
        add(&mut updates, json!({"state": "queued", "position": 2})).unwrap();
        add(&mut updates, json!({"seq": 1, "state": "dreaming"})).unwrap();
        add(&mut updates, json!({"seq": 2, "text": "Processed: "})).unwrap();
        let streamed = Question { streamed: true, ..self::question() };
        assert!(streamed.check(RESULT_PAYLOAD.as_bytes(), &updates).is_err());
        assert!(streamed.check(RESULT_PAYLOAD.as_bytes(), &Updates::default()).is_err());
        for wrong in [
            json!({"seq": 1, "text": "a"}),
            json!({"text": "a", "state": "running"}),
            json!({"data": {}}),
            json!({}),
            json!({"state": "queued"}),
            json!({"task_id": wire::NIL_UUID, "text": "a"}),
            json!({"text": "a".repeat(wire::MAX_UPDATE_TEXT + 1)}),
        ] {
            assert!(add(&mut Updates::default(), wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tampering_leaves_a_readable_task() {
        let key = requester();
        let question = Question::new(&key, provider().public().to_peer_id(), "Z\",", json!({})).unwrap();
        let envelope = tamper(&question).unwrap();
        let me = key.public().to_peer_id();
        assert!(envelope::open(&envelope, me, &[Kind::Task]).unwrap_err().to_string().contains("signature"));
        let flipped: u32 = question.envelope.iter().zip(&envelope).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(flipped, 1);
    }
}
