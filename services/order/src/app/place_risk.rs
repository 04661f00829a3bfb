//! The risk of a placed order: judged before the bank is asked and once more when the bank doubts address or security
//! code; a person may have to look (FRD-01 to FRD-04, `domain.md` 4.5 steps 2 and 2b).

use std::time::Duration;

use contract::identity::v1::{RiskFailMode, RiskPolicy};
use contract::inventory::v1::ExtendReservationRequest;
use contract::inventory::v1::reservation_desk_service_client::ReservationDeskServiceClient;
use contract::payment::v1::fraud_service_client::FraudServiceClient;
use contract::payment::v1::{
    CloseReviewRequest, EvaluateRiskRequest, Payment, ReviewState, RiskAssessment, RiskDecision, RiskStage,
};
use fault::{Fault, Kind};
use saga::{Outcome, Run};
use serde_json::Value;

use crate::app::place_payment::judge;
use crate::app::place_saga::{Steps, Try, advance, append, now, order_id, reject, undone};
use crate::app::rounds::round;
use crate::domain::order::Order;
use crate::infra::seal::column;

/// How long a person has to look (`domain.md` 4.5 step 2b).
const REVIEW_TIME: Duration = Duration::from_secs(24 * 3600);
/// Stock is held a little longer than a person may take.
const HOLD_TIME_S: i32 = 25 * 3600;
/// How soon an order is judged again that nobody could judge.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Tries before the tenant's policy says what becomes of an order that nobody can judge.
const TRIES: i32 = 2;

/// What is known of an order's risk.
enum Risk {
    /// It goes on; the bank may have to ask the customer who he is.
    Fine { challenge: bool },
    /// It ends.
    Refused(&'static str),
    /// A person looks at it.
    Open,
    /// Nobody can judge it just now; it is judged again.
    Later,
}

impl Steps {
    /// Judges the order before the bank is asked.
    pub(super) async fn evaluate_risk(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let risk = self.risk(&run, &order, RiskStage::Placed).await?;
        match risk {
            Risk::Fine { challenge } => {
                let mut state = run.state.clone();
                if challenge {
                    state["challenge"] = true.into();
                }
                forget_review(&mut state);
                Ok(advance(&run.ctx, &order, order.resume_payment(), state))
            }
            other => self.not_fine(&run, &order, other).await,
        }
    }

    /// Judges an order again whose money is held although the bank doubts address or security code.
    pub(super) async fn doubted(&self, run: &Run, order: &Order, payment: &Payment) -> Try {
        let risk = self.risk(run, order, RiskStage::Authorized).await?;
        match risk {
            Risk::Fine { .. } => Ok(judge(run, order, payment)),
            other => self.not_fine(run, order, other).await,
        }
    }

    /// Nobody has to look any more.
    pub(super) async fn withdraw_review(self, run: Run) -> Try {
        if run.state.get("review_until").is_none() {
            return Ok(Outcome::done(run.state));
        }
        match self.close_review(&run, ReviewState::Withdrawn).await {
            Err(fault) if fault.kind() == Kind::NotFound => Ok(Outcome::done(run.state)),
            answer => Ok(undone(answer.map_err(tonic::Status::from), run)),
        }
    }

    async fn risk(&self, run: &Run, order: &Order, stage: RiskStage) -> Result<Risk, Outcome> {
        let policy = self.catalog.policy(&run.ctx).await;
        let policy = policy.map(|policy| policy.risk);
        let fail_mode = policy.as_ref().ok().and_then(|risk| risk.as_ref().map(RiskPolicy::fail_mode));
        let left = left(run);
        let answer = match policy {
            Ok(_) if left == Some(0) => self.close_review(run, ReviewState::Expired).await,
            Ok(policy) => self.evaluate(run, order, stage, policy).await?,
            Err(fault) => Err(fault),
        };
        match answer {
            Ok(assessment) => Ok(read(&assessment)),
            // Nobody judged it in a whole day.
            Err(_) if left == Some(0) => Ok(Risk::Refused("REVIEW_TIMEOUT")),
            Err(fault) if !fault.retryable() && fault.kind() != Kind::Internal => {
                Err(Outcome::Attention { reason: fault.to_string() })
            }
            Err(fault) if run.attempt < TRIES => Err(Outcome::Retry { reason: fault.to_string() }),
            Err(_) => Ok(match fail_mode.unwrap_or_default() {
                RiskFailMode::Open => Risk::Fine { challenge: false },
                RiskFailMode::Closed => Risk::Refused("RISK_UNAVAILABLE"),
                RiskFailMode::Review | RiskFailMode::Unspecified => Risk::Later,
            }),
        }
    }

    async fn evaluate(
        &self,
        run: &Run,
        order: &Order,
        stage: RiskStage,
        policy: Option<RiskPolicy>,
    ) -> Result<Result<RiskAssessment, Fault>, Outcome> {
        let request = EvaluateRiskRequest {
            order_id: order.doc.id.clone(),
            stage: stage.into(),
            customer_id: order.doc.customer_id.clone(),
            amount: order.doc.totals.as_ref().and_then(|totals| totals.total.clone()),
            payment_method: self.secret(run, column::SAGA_TOKEN).await?,
            client_ip: self.secret(run, column::SAGA_IP).await?,
            shipping_address: self.address(run, order).await?,
            policy,
            round: round(run),
        };
        let mut client = FraudServiceClient::new(self.peers.to("payment"));
        let answer = client.evaluate_risk(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        Ok(answer.map(tonic::Response::into_inner).map_err(Fault::from))
    }

    async fn close_review(&self, run: &Run, state: ReviewState) -> Result<RiskAssessment, Fault> {
        let request = CloseReviewRequest { order_id: order_id(run).to_string(), state: state.into() };
        let mut client = FraudServiceClient::new(self.peers.to("payment"));
        Ok(client.close_review(self.peers.request_keyed(&run.ctx, &run.key, request)).await?.into_inner())
    }

    async fn not_fine(&self, run: &Run, order: &Order, risk: Risk) -> Try {
        let look = match risk {
            Risk::Refused(why) => {
                return Ok(reject(run, order, order.fail_payment(why, now(run)), why, run.state.clone()));
            }
            Risk::Later => LOOK_AGAIN,
            Risk::Fine { .. } | Risk::Open => REVIEW_TIME,
        };
        let mut state = run.state.clone();
        let left = match left(run) {
            Some(left) => left,
            None => {
                self.hold_stock(run, HOLD_TIME_S).await?;
                let time = i64::try_from(REVIEW_TIME.as_secs()).unwrap_or(i64::MAX);
                state["review_until"] = run.ctx.now.as_second().saturating_add(time).into();
                time
            }
        };
        let at_most = look.min(Duration::from_secs(left.unsigned_abs().max(1)));
        let append = order.review_payment().ok().map(|events| append(&run.ctx, order, &events));
        Ok(Outcome::Wait { state, at_most, append })
    }

    /// Stock stays set aside for so many seconds from now.
    pub(super) async fn hold_stock(&self, run: &Run, hold_s: i32) -> Result<(), Outcome> {
        let request = ExtendReservationRequest { order_id: order_id(run).to_string(), hold_s };
        let mut client = ReservationDeskServiceClient::new(self.peers.to("inventory"));
        let held = client.extend_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        held.map(drop).map_err(|status| Outcome::of_fault(&Fault::from(status), run.state.clone()))
    }
}

/// Whether the bank doubts address or security code.
pub(super) fn is_doubted(payment: &Payment) -> bool {
    payment.avs_result == "FAIL" || payment.cvv_result == "FAIL"
}

fn read(assessment: &RiskAssessment) -> Risk {
    match (assessment.decision(), assessment.review()) {
        (RiskDecision::Approve | RiskDecision::Unspecified, _) | (RiskDecision::Review, ReviewState::Approved) => {
            Risk::Fine { challenge: false }
        }
        (RiskDecision::Challenge3ds, _) => Risk::Fine { challenge: true },
        (RiskDecision::Decline, _) => Risk::Refused("RISK_DECLINED"),
        (RiskDecision::Review, ReviewState::Rejected) => Risk::Refused("RISK_REJECTED"),
        (RiskDecision::Review, ReviewState::Expired) => Risk::Refused("REVIEW_TIMEOUT"),
        (RiskDecision::Review, ReviewState::Withdrawn) => Risk::Refused("REVIEW_WITHDRAWN"),
        (RiskDecision::Review, ReviewState::Open | ReviewState::Unspecified) => Risk::Open,
    }
}

/// Seconds that are left of a review; none when there is none.
fn left(run: &Run) -> Option<i64> {
    let until = run.state["review_until"].as_i64()?;
    Some(until.saturating_sub(run.ctx.now.as_second()).max(0))
}

fn forget_review(state: &mut Value) {
    if let Some(state) = state.as_object_mut() {
        state.remove("review_until");
    }
}
