//! A logistic model: signs that come together weigh more than each by itself.
//!
//! The score is the estimated chance of fraud in thousandths; coefficients are log odds.

use super::judge::{Facts, Score, Scorer};

/// Log odds of an order about which nothing is known: about 5 in 1000.
const BASE: f64 = -5.3;
/// Log odds that each tenfold of the amount above 100.00 adds.
const PER_TENFOLD: f64 = 0.9;

/// Log odds that another sign of coming too often adds.
const FURTHER: f64 = 0.2;

/// Weighs all signs together.
#[derive(Debug, Clone, Copy)]
pub struct Model;

impl Scorer for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn score(&self, facts: &Facts) -> Score {
        let present = facts.weighed(weight, FURTHER);
        let amount = amount(facts.amount);
        let total = BASE + amount + present.iter().map(|(_, weight)| weight).sum::<f64>();
        // What a sign adds is what the score would lack without it; a sign always says so.
        let without = |weight: f64| (thousandths(total) - thousandths(total - weight)).max(1);
        let mut reasons: Vec<_> = present.into_iter().map(|(code, weight)| (code, without(weight))).collect();
        if amount > 0.0 {
            reasons.push(("HIGH_AMOUNT", without(amount)));
        }
        Score::new(thousandths(total), reasons)
    }
}

fn weight(code: &str) -> f64 {
    match code {
        "CVV_MISMATCH" => 3.6,
        "AVS_MISMATCH" => 2.6,
        "VELOCITY_CARD" => 2.4,
        "VELOCITY_IP" => 1.6,
        _ => 2.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the size counts, not the cent")]
fn amount(minor: i64) -> f64 {
    ((minor as f64 / 10_000.0).max(1.0).log10() * PER_TENFOLD).min(3.0)
}

#[expect(clippy::cast_possible_truncation, reason = "a chance in thousandths is at most 1000")]
fn thousandths(log_odds: f64) -> i32 {
    (1000.0 / (1.0 + (-log_odds).exp())).round() as i32
}
