//! Points of each rule, added.

use super::judge::{Facts, Score, Scorer};

/// From this amount on an order is large, minor units.
const LARGE: i64 = 500_000;

/// What another sign of coming too often adds.
const FURTHER: i32 = 25;

/// Adds the points of each rule that applies.
#[derive(Debug, Clone, Copy)]
pub struct Rules;

impl Scorer for Rules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn score(&self, facts: &Facts) -> Score {
        let mut reasons = facts.weighed(points, FURTHER);
        if facts.amount >= LARGE {
            reasons.push(("HIGH_AMOUNT", 150));
        }
        Score::new(reasons.iter().map(|(_, points)| points).sum(), reasons)
    }
}

fn points(code: &str) -> i32 {
    match code {
        "CVV_MISMATCH" => 450,
        "AVS_MISMATCH" => 350,
        "VELOCITY_CARD" => 300,
        "VELOCITY_IP" => 200,
        _ => 250,
    }
}
