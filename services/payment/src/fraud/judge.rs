//! From facts to a decision; pure.

use super::model::Model;
use super::rules::Rules;

/// What is known of an order when it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    /// What it costs, minor units.
    pub amount: i64,
    /// This customer orders too often.
    pub customer_often: bool,
    /// This card is used too often.
    pub card_often: bool,
    /// Too many orders come from this IP.
    pub ip_often: bool,
    /// Too many orders go to this address.
    pub address_often: bool,
    /// The bank does not know the address (FRD-01).
    pub avs_failed: bool,
    /// The security code was wrong (FRD-02).
    pub cvv_failed: bool,
}

impl Facts {
    /// The store's bits: 1 customer, 2 card, 4 IP, 8 address; 16 address check, 32 security code.
    pub fn of_bits(amount: i64, bits: i32) -> Self {
        let has = |bit: i32| bits & bit != 0;
        Self {
            amount,
            customer_often: has(1),
            card_often: has(2),
            ip_often: has(4),
            address_often: has(8),
            avs_failed: has(16),
            cvv_failed: has(32),
        }
    }

    /// Each fact that speaks against the order, with its name.
    pub fn signs(&self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("VELOCITY_CUSTOMER", self.customer_often),
            ("VELOCITY_CARD", self.card_often),
            ("VELOCITY_IP", self.ip_often),
            ("VELOCITY_ADDRESS", self.address_often),
            ("AVS_MISMATCH", self.avs_failed),
            ("CVV_MISMATCH", self.cvv_failed),
        ]
        .into_iter()
    }

    /// What each sign that is there weighs. Coming too often is one fact that up to four signs show, so the strongest
    /// weighs in full and each of the others `further`: by itself it is for a person, never a decline (FRD-03).
    pub fn weighed<W: Copy + PartialOrd>(&self, weight: fn(&str) -> W, further: W) -> Vec<(&'static str, W)> {
        let often = |code: &str| code.starts_with("VELOCITY_");
        let there = self.signs().filter(|(_, there)| *there);
        let mut weighed: Vec<_> = there.map(|(code, _)| (code, weight(code))).collect();
        let strongest = weighed.iter().filter(|(code, _)| often(code)).fold(None, |best: Option<(&str, W)>, one| {
            if best.is_some_and(|best| best.1 >= one.1) { best } else { Some(*one) }
        });
        for (code, weight) in &mut weighed {
            if often(code) && strongest.is_some_and(|(strongest, _)| strongest != *code) {
                *weight = further;
            }
        }
        weighed
    }

    fn too_often(&self) -> bool {
        self.customer_often || self.card_often || self.ip_often || self.address_often
    }
}

/// What raised a score, and by how much.
pub type Reason = (&'static str, i32);

/// A score of 0 to 1000 with what raised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// 0 (none) to 1000.
    pub points: i32,
    /// Why, the heaviest first.
    pub reasons: Vec<Reason>,
}

impl Score {
    /// A score out of its reasons; what weighs nothing is left out.
    pub fn new(points: i32, mut reasons: Vec<Reason>) -> Self {
        reasons.retain(|(_, points)| *points > 0);
        reasons.sort_by_key(|(code, points)| (-points, *code));
        Self { points: points.clamp(0, 1000), reasons }
    }
}

/// Weighs facts; a new way of weighing is a new implementation (FRD-05).
pub trait Scorer {
    /// Its name in the journal.
    fn name(&self) -> &'static str;
    /// How risky an order of these facts is.
    fn score(&self, facts: &Facts) -> Score;
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Go on.
    Approve,
    /// Go on, and let the bank ask the customer who he is.
    Challenge,
    /// A person looks first.
    Review,
    /// Take no money.
    Decline,
}

impl Decision {
    /// Name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "APPROVE",
            Self::Challenge => "CHALLENGE_3DS",
            Self::Review => "REVIEW",
            Self::Decline => "DECLINE",
        }
    }
}

/// Which scorer a tenant has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// Points of each rule.
    Rules,
    /// The logistic model.
    Model,
}

impl Chosen {
    /// The scorer.
    pub fn scorer(self) -> &'static dyn Scorer {
        match self {
            Self::Rules => &Rules,
            Self::Model => &Model,
        }
    }
}

/// What a tenant decided about risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Orders within the window that are not too many; 0 = not counted.
    pub velocity_limit: i32,
    /// The window, seconds.
    pub velocity_window_s: i32,
    /// From this score on the bank challenges.
    pub challenge: i32,
    /// From this score on a person looks.
    pub review: i32,
    /// From this score on it is declined.
    pub decline: i32,
    /// A wrong security code is declined, else reviewed.
    pub decline_cvv: bool,
    /// Who scores.
    pub scorer: Chosen,
}

impl Default for Policy {
    /// The seeds' figures (FRD-03).
    fn default() -> Self {
        Self {
            velocity_limit: 5,
            velocity_window_s: 600,
            challenge: 300,
            review: 500,
            decline: 800,
            decline_cvv: false,
            scorer: Chosen::Rules,
        }
    }
}

/// When an order is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the bank is asked.
    Placed,
    /// When the bank has said what it thinks.
    Authorized,
}

/// Decides on a score. What comes too often is seen by a person whatever the score (FRD-03), and so is a wrong security
/// code unless it is declined (FRD-02). After the authorization there is nothing left to challenge.
pub fn decide(policy: &Policy, stage: Stage, facts: &Facts, score: &Score) -> Decision {
    let by_score = match score.points {
        points if points >= policy.decline => Decision::Decline,
        points if points >= policy.review => Decision::Review,
        points if points >= policy.challenge && stage == Stage::Placed => Decision::Challenge,
        _ => Decision::Approve,
    };
    let by_cvv = match facts.cvv_failed {
        true if policy.decline_cvv => Decision::Decline,
        true => Decision::Review,
        false => Decision::Approve,
    };
    let by_velocity = if facts.too_often() { Decision::Review } else { Decision::Approve };
    by_score.max(by_cvv).max(by_velocity)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(policy: &Policy, stage: Stage, facts: Facts) -> (Decision, Score) {
        let score = policy.scorer.scorer().score(&facts);
        (decide(policy, stage, &facts, &score), score)
    }

    #[test]
    fn frd_01_an_address_that_the_bank_does_not_know_raises_the_score() {
        for scorer in [Chosen::Rules, Chosen::Model] {
            let policy = Policy { scorer, ..Policy::default() };
            let clean = judged(&policy, Stage::Authorized, Facts::default()).1;
            let wrong = judged(&policy, Stage::Authorized, Facts { avs_failed: true, ..Facts::default() }).1;
            assert!(wrong.points > clean.points, "{scorer:?}");
            assert!(wrong.reasons.iter().any(|(code, points)| *code == "AVS_MISMATCH" && *points > 0));
        }
    }

    #[test]
    fn frd_02_a_wrong_security_code_is_declined_or_reviewed_as_the_policy_says() {
        let wrong = Facts { cvv_failed: true, ..Facts::default() };
        for (decline_cvv, decision) in [(true, Decision::Decline), (false, Decision::Review)] {
            let policy = Policy { decline_cvv, ..Policy::default() };
            assert_eq!(judged(&policy, Stage::Authorized, wrong).0, decision);
        }
    }

    #[test]
    fn frd_03_whatever_comes_too_often_is_reviewed() {
        for (scorer, bits) in
            [Chosen::Rules, Chosen::Model].into_iter().flat_map(|one| (1..16).map(move |bits| (one, bits)))
        {
            let policy = Policy { scorer, ..Policy::default() };
            for amount in [1, 1_000_000] {
                let (decision, score) = judged(&policy, Stage::Placed, Facts::of_bits(amount, bits));
                assert_eq!(decision, Decision::Review, "{scorer:?} {bits} {amount}: {score:?}");
            }
        }
    }

    #[test]
    fn frd_04_the_score_decides_between_approve_challenge_review_and_decline() {
        let decided = |points, stage| decide(&Policy::default(), stage, &Facts::default(), &Score::new(points, vec![]));
        let expected = [
            (0, Decision::Approve),
            (299, Decision::Approve),
            (300, Decision::Challenge),
            (499, Decision::Challenge),
            (500, Decision::Review),
            (799, Decision::Review),
            (800, Decision::Decline),
            (1000, Decision::Decline),
        ];
        for (points, decision) in expected {
            assert_eq!(decided(points, Stage::Placed), decision, "{points}");
        }
        assert_eq!(decided(300, Stage::Authorized), Decision::Approve, "the bank has been asked already");
    }

    /// Whoever has a better idea brings it along.
    struct Paranoid;

    impl Scorer for Paranoid {
        fn name(&self) -> &'static str {
            "paranoid"
        }

        fn score(&self, _: &Facts) -> Score {
            Score::new(5_000, vec![("EVERYTHING", 1000)])
        }
    }

    #[test]
    fn frd_05_a_scorer_of_any_kind_can_be_plugged_in() {
        let scorers: [&dyn Scorer; 3] = [&Rules, &Model, &Paranoid];
        let facts = Facts { amount: 1_000, ..Facts::default() };
        let decided = scorers.map(|scorer| {
            let score = scorer.score(&facts);
            (scorer.name(), decide(&Policy::default(), Stage::Placed, &facts, &score))
        });
        let expected = [("rules", Decision::Approve), ("model", Decision::Approve), ("paranoid", Decision::Decline)];
        assert_eq!(decided, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn frd_04_a_score_stays_within_its_bounds_and_never_falls_with_another_sign(
            amount in 0..i64::MAX, bits in 0..64_i32, more in 0..6_u32, model: bool,
        ) {
            let scorer = if model { Chosen::Model } else { Chosen::Rules }.scorer();
            let few = scorer.score(&Facts::of_bits(amount, bits));
            let many = scorer.score(&Facts::of_bits(amount, bits | 1 << more));
            prop_assert!((0..=1000).contains(&few.points));
            prop_assert!(many.points >= few.points);
            let signs = Facts::of_bits(amount, bits).signs().filter(|(_, there)| *there).count();
            let named = few.reasons.iter().filter(|(code, _)| *code != "HIGH_AMOUNT").count();
            prop_assert_eq!(signs, named, "every sign is a reason");
        }
    }
}
