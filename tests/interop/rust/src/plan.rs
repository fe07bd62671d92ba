//! What prompts make the mock do; ../../README.md says how they are written.

use std::time::Duration;

use serde_json::{json, Value};

/// Leaves a task running when its connection is dropped.
const PAUSE_AFTER_BREAK: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Of the text, if that is long enough.
    pub pieces: usize,
    /// Before each of them.
    pub pause: Duration,
    pub break_after: Option<usize>,
    /// How often the task is rejected first, and the milliseconds that it is told then.
    pub busy: (u32, u32),
    /// To end with.
    pub code: Option<String>,
}

impl Plan {
    pub fn of(prompt: &str) -> Self {
        let mut plan = Plan { pieces: 3, pause: Duration::ZERO, break_after: None, busy: (0, 0), code: None };
        let (kind, rest) = prompt.split_once(':').unwrap_or((prompt, ""));
        let numbers: Vec<u32> =
            rest.split(':').map_while(|part| part.parse().ok().filter(|number| *number < 1_000_000)).collect();
        match (kind, numbers.as_slice(), rest.split(':').count()) {
            ("slow", [pieces @ 1..=u32::MAX, ms], 2) => {
                plan.pieces = *pieces as usize;
                plan.pause = Duration::from_millis((*ms).into());
            }
            ("busy", [times, ms], 2) => plan.busy = (*times, *ms),
            ("break", [after @ 1..=u32::MAX], 1) => {
                plan.pieces = plan.pieces.max(*after as usize + 1);
                plan.pause = PAUSE_AFTER_BREAK;
                plan.break_after = Some(*after as usize);
            }
            ("code", _, 1) if is_code(rest) => plan.code = Some(rest.to_owned()),
            _ => {}
        }
        plan
    }

    /// The error to reject the task with when it comes for the nth time.
    pub fn rejection(&self, attempt: u32) -> Option<Value> {
        let message = "the prompt asked for it";
        if attempt <= self.busy.0 {
            return Some(json!({"code": "busy", "message": message, "retry_after_ms": self.busy.1}));
        }
        let code = self.code.as_deref().filter(|code| status_of(code) == "rejected")?;
        let mut error = json!({"code": code, "message": message});
        if code == "busy" {
            error["retry_after_ms"] = 50.into();
        }
        Some(error)
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A code that the protocol doesn't have is a rejection's.
pub fn status_of(code: &str) -> &'static str {
    match code {
        "executor_failed" | "output_too_large" => "failed",
        "cancelled" | "deadline_exceeded" => "cancelled",
        _ => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_or_are_only_text() {
        let slow = Plan::of("slow:20:50");
        assert_eq!((slow.pieces, slow.pause), (20, Duration::from_millis(50)));
        assert_eq!(Plan::of("busy:2:7").busy, (2, 7));
        assert_eq!(Plan::of("break:4").break_after, Some(4));
        assert_eq!(Plan::of("code:too_large").code.as_deref(), Some("too_large"));
        for text in
            ["", "slow", "slow:0:1", "slow:1", "slow:1:2:3", "busy:x:1", "break:0", "break:1:1", "code:", "code:Ä"]
        {
            assert_eq!(Plan::of(text), Plan::of("Hello"), "{text}");
        }
    }

    #[test]
    fn busy_ends_after_so_many_times() {
        let plan = Plan::of("busy:2:7");
        assert_eq!(plan.rejection(2).unwrap()["retry_after_ms"], 7);
        assert!(plan.rejection(3).is_none());
        assert!(Plan::of("code:executor_failed").rejection(1).is_none());
        assert_eq!(Plan::of("code:some_new_code").rejection(9).unwrap()["code"], "some_new_code");
    }
}
