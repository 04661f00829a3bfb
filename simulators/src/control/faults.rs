//! Scripted faults: which call misbehaves, how, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a matched call misbehaves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// Answers a server error; nothing is done.
    Error500,
    /// Answers 504 after the delay; nothing is done.
    TimeoutBefore,
    /// Does the work at once and answers only after the delay.
    TimeoutAfter,
    /// Resets the connection; nothing is done.
    Reset,
    /// Does the work, then resets the connection instead of answering.
    ResetAfter,
    /// Waits, then does the work and answers.
    Delay,
}

/// One line of a fault script.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FaultRule {
    /// Operation name as in `/_sim/calls`; empty or `*` means any.
    #[serde(default)]
    op: String,
    /// Substring of the idempotency key, id or reference; empty means any.
    #[serde(default, rename = "match")]
    matching: String,
    pub(crate) kind: FaultKind,
    #[serde(default = "once")]
    times: u32,
    /// Real milliseconds, never scaled by the speed factor.
    delay_ms: Option<u64>,
}

impl FaultRule {
    /// How long this fault waits; 30 s for time-outs and 1 s for a delay unless said.
    pub(crate) fn delay(&self) -> Duration {
        let default_ms = if self.kind == FaultKind::Delay { 1_000 } else { 30_000 };
        Duration::from_millis(self.delay_ms.unwrap_or(default_ms))
    }

    fn matches(&self, op: &str, subject: &str) -> bool {
        (self.op.is_empty() || self.op == "*" || self.op == op) && subject.contains(&self.matching)
    }
}

fn once() -> u32 {
    1
}

/// Uses up one firing of the first rule that matches.
pub(crate) fn take(rules: &mut Vec<FaultRule>, op: &str, subject: &str) -> Option<FaultRule> {
    let at = rules.iter().position(|rule| rule.times > 0 && rule.matches(op, subject))?;
    let fired = rules[at].clone();
    rules[at].times -= 1;
    if rules[at].times == 0 {
        rules.remove(at);
    }
    Some(fired)
}
