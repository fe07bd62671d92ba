//! Frames of the task protocol, and the small formats that its messages use.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt};
use sha2::{Digest, Sha256};

use crate::streams::Stream;

pub const TASK: &str = "/p2p-ai-agents/task/1.0.0";
pub const INFO: &str = "/p2p-ai-agents/info/1.0.0";
pub const ECHO: &str = "/p2p-ai-agents/test-echo/1.0.0";
pub const PERF: &str = "/perf/1.0.0";
pub const PING: &str = "/ipfs/ping/1.0.0";

/// Bytes behind the length.
pub const MAX_FRAME: usize = 4 << 20;
pub const MAX_INFO_FRAME: usize = 64 << 10;
pub const MAX_UPDATE_TEXT: usize = 64 << 10;

pub const NIL_UUID: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Task,
    Update,
    Result,
    Info,
}

impl Kind {
    pub fn payload_type(self) -> &'static [u8] {
        match self {
            Kind::Task => b"/p2p-ai-agents/task",
            Kind::Update => b"/p2p-ai-agents/update",
            Kind::Result => b"/p2p-ai-agents/result",
            Kind::Info => b"/p2p-ai-agents/info",
        }
    }
}

pub async fn write_frame(stream: &mut Stream, envelope: &[u8]) -> Result<()> {
    let mut frame = length_prefix(envelope.len());
    frame.extend_from_slice(envelope);
    stream.write_all(&frame).await?;
    Ok(stream.flush().await?)
}

/// None at an end of the stream before the first byte.
pub async fn read_frame(stream: &mut Stream, limit: usize) -> Result<Option<Vec<u8>>> {
    let mut length = 0;
    let mut byte = [0];
    for shift in (0..).step_by(7) {
        ensure!(shift < 28, "the length of the frame takes more than four bytes");
        if stream.read(&mut byte).await? == 0 {
            ensure!(shift == 0, "the stream ended within the length of a frame");
            return Ok(None);
        }
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            ensure!(shift == 0 || byte[0] != 0, "the length of the frame is not minimally encoded");
            break;
        }
    }
    ensure!(length <= limit, "a frame of {length} bytes is above the limit of {limit}");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await.context("the stream ended within a frame")?;
    Ok(Some(frame))
}

pub fn length_prefix(mut length: usize) -> Vec<u8> {
    let mut prefix = Vec::new();
    while length > 0x7f {
        prefix.push(length as u8 | 0x80);
        length >>= 7;
    }
    prefix.push(length as u8);
    prefix
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn new_task_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

pub fn is_task_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The time as RFC 3339 writes it, in UTC and whole seconds.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let (mut days, second) = (seconds / 86400, seconds % 86400);
    let (mut year, mut month) = (1970, 1);
    while days >= days_in_month(year, month) {
        days -= days_in_month(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

pub fn is_timestamp(text: &str) -> bool {
    let digits_and_marks = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(a, b)| if b == b'0' { a.is_ascii_digit() } else { a == b })
    };
    let Some((date, rest)) = text.split_at_checked(19) else { return false };
    let fraction = rest.strip_suffix('Z').unwrap_or("?");
    if !digits_and_marks(date, "0000-00-00T00:00:00")
        || !(fraction.is_empty()
            || fraction.len() > 1 && digits_and_marks(fraction, &format!(".{:0<1$}", "", fraction.len() - 1)))
    {
        return false;
    }
    let number = |from: usize, to: usize| date[from..to].parse::<u64>().expect("only digits");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) <= 60 // a leap second
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::envelope::{
        open, seal,
        tests::{provider, requester},
        PeerId,
    };

    pub fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    pub const TASK_PAYLOAD: &str = concat!(
        r#"{"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","task_type":"inference","input":{"prompt":"Hello, P2P AI!"},"#,
        r#""timestamp":"2026-01-17T10:30:00Z","recipient":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}"#
    );
    pub const RESULT_PAYLOAD: &str = concat!(
        r#"{"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","status":"completed","output":{"text":"Processed: Hello, P2P AI!"},"#,
        r#""timestamp":"2026-01-17T10:30:01Z","recipient":"12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq","#,
        r#""task_sha256":"df9d614954e59ebb88865b23ec7bb4494efe16c42c4acdad03f525a380d1dd0c","executor":"mock"}"#
    );

    /// The key as it stands in an envelope, its payload type, its signature, and the length of the whole frame.
    const VECTORS: [(Kind, &str, &str, &str, &str, usize); 2] = [
        (
            Kind::Task,
            TASK_PAYLOAD,
            "d4020a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
            "12132f7032702d61692d6167656e74732f7461736b1ad401",
            concat!(
                "2a403fa2153c5c93ab50d6561c945606fb2267f86435958c9e976fdab89c1a32c338",
                "3559545b221e9ea444ef1627686a2b070c86a1473b215cd5a9c96a7c74943d09"
            ),
            342,
        ),
        (
            Kind::Result,
            RESULT_PAYLOAD,
            "c0030a24080112203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
            "12152f7032702d61692d6167656e74732f726573756c741abe02",
            concat!(
                "2a40502e526aa968744ee8460390b31be1a8932fbabefe06d834100b44ab1f86d9bc",
                "3b044c10a21c471acfc02add361ffb3edfb7e8ec0b439bd9af54640b997c2203"
            ),
            450,
        ),
    ];

    #[test]
    fn the_test_vector_is_sealed_and_opened() {
        for (kind, payload, key, payload_type, signature, length) in VECTORS {
            let signer = if kind == Kind::Task { requester() } else { provider() };
            let envelope = seal(&signer, kind, payload.as_bytes()).unwrap();
            let frame = [length_prefix(envelope.len()), envelope.clone()].concat();
            assert_eq!(hex(&frame), [key, payload_type, &hex(payload.as_bytes()), signature].concat());
            assert_eq!(frame.len(), length);

            let me = signer.public().to_peer_id();
            assert_eq!(open(&envelope, me, &[Kind::Update, kind]).unwrap(), (kind, payload.into()));
            assert!(open(&envelope, me, &[Kind::Update]).is_err());
            assert!(open(&envelope, PeerId::random(), &[kind]).is_err());
        }
        assert_eq!(sha256(TASK_PAYLOAD.as_bytes()), "df9d614954e59ebb88865b23ec7bb4494efe16c42c4acdad03f525a380d1dd0c");
    }

    #[test]
    fn no_byte_of_an_envelope_can_change() {
        let envelope = seal(&requester(), Kind::Task, TASK_PAYLOAD.as_bytes()).unwrap();
        let me = requester().public().to_peer_id();
        for at in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[at] ^= 1;
            assert!(open(&changed, me, &[Kind::Task]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn lengths_are_varints() {
        for (length, hexed) in [(0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (MAX_FRAME, "80808002")] {
            assert_eq!(hex(&length_prefix(length)), hexed);
        }
    }

    #[test]
    fn task_ids_are_uuids_of_version_4() {
        assert!(is_task_id(&new_task_id()));
        for wrong in [
            NIL_UUID,
            "7F9C24E5-2B4A-4D6F-9A37-0C1D2E3F4A5B",
            "7f9c24e5-2b4a-1d6f-9a37-0c1d2e3f4a5b",
            "7f9c24e5-2b4a-4d6f-ca37-0c1d2e3f4a5b",
            "7f9c24e52b4a4d6f9a370c1d2e3f4a5b",
            "",
        ] {
            assert!(!is_task_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        assert!(is_timestamp(&now()), "{}", now());
        for right in ["2026-01-17T10:30:00Z", "2026-01-17T10:30:00.5Z", "2024-02-29T23:59:60.000000000Z"] {
            assert!(is_timestamp(right), "{right}");
        }
        for wrong in [
            "",
            "2026-01-17T10:30:00",
            "2026-01-17T10:30:00.Z",
            "2026-01-17T10:30:00+00:00",
            "2026-01-17t10:30:00z",
            "2026-01-17 10:30:00Z",
            "2026-02-29T10:30:00Z",
            "2026-13-01T10:30:00Z",
            "2026-01-17T24:00:00Z",
            "2026-01-17T10:30:00.5x",
            "2026-01-17T10:30:00ZZ",
            "2026-01-17T10:30:0é",
        ] {
            assert!(!is_timestamp(wrong), "{wrong}");
        }
    }
}
