//! The methods of risk: messages in, use case, messages out.

use contract::common::v1::{Actor, Address};
use contract::identity::v1::{RiskPolicy, RiskScorer};
use contract::payment::v1 as pb;
use contract::payment::v1::fraud_service_server::FraudService;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::{OrderId, UserId};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::judge::{Chosen, Policy, Stage};
use super::review::Judge;
use super::store::Entry;
use super::{Fraud, unnamed};
use crate::presentation::wire;

/// Longest part of an address, characters.
const LONGEST_PART: usize = 200;

/// The methods of the contract.
#[derive(Clone, Debug)]
pub struct FraudGrpc(pub Fraud);

#[tonic::async_trait]
impl FraudService for FraudGrpc {
    async fn evaluate_risk(
        &self,
        request: Request<pb::EvaluateRiskRequest>,
    ) -> Result<Response<pb::RiskAssessment>, Status> {
        let ctx = Ctx::of(&request)?;
        let order = judge(request.into_inner())?;
        Ok(Response::new(shown(&self.0.judge(&ctx, order).await?)))
    }

    async fn close_review(
        &self,
        request: Request<pb::CloseReviewRequest>,
    ) -> Result<Response<pb::RiskAssessment>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let mut wrong = Violations::default();
        let order = order_id(&mut wrong, &request.order_id);
        let state = match request.state() {
            pb::ReviewState::Expired => "EXPIRED",
            pb::ReviewState::Withdrawn => "WITHDRAWN",
            _ => {
                wrong.add("state", "STATE_INVALID", "EXPIRED or WITHDRAWN");
                ""
            }
        };
        wrong.finish()?;
        let order = order.ok_or_else(unnamed)?;
        Ok(Response::new(shown(&self.0.close_review(&ctx, order, state).await?)))
    }

    async fn list_risk_assessments(
        &self,
        request: Request<pb::ListRiskAssessmentsRequest>,
    ) -> Result<Response<pb::ListRiskAssessmentsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let mut wrong = Violations::default();
        let order = order_id(&mut wrong, &request.get_ref().order_id);
        wrong.finish()?;
        let entries = self.0.of_order(&ctx, order.ok_or_else(unnamed)?).await?;
        Ok(Response::new(pb::ListRiskAssessmentsResponse { assessments: entries.iter().map(shown).collect() }))
    }

    async fn list_review_queue(
        &self,
        request: Request<pb::ListReviewQueueRequest>,
    ) -> Result<Response<pb::ListReviewQueueResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let size = serve::page::size(request.page_size)?;
        let queue = self.0.queue(&ctx, size, &request.page_token).await?;
        let reviews = queue.reviews.iter().map(shown).collect();
        Ok(Response::new(pb::ListReviewQueueResponse { reviews, next_page_token: queue.next }))
    }

    async fn approve_review(
        &self,
        request: Request<pb::ApproveReviewRequest>,
    ) -> Result<Response<pb::RiskAssessment>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let order = decided(&request.order_id, &request.reason)?;
        Ok(Response::new(shown(&self.0.end_review(&ctx, order, "APPROVED", &request.reason).await?)))
    }

    async fn reject_review(
        &self,
        request: Request<pb::RejectReviewRequest>,
    ) -> Result<Response<pb::RiskAssessment>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let order = decided(&request.order_id, &request.reason)?;
        Ok(Response::new(shown(&self.0.end_review(&ctx, order, "REJECTED", &request.reason).await?)))
    }
}

fn order_id(wrong: &mut Violations, text: &str) -> Option<OrderId> {
    text.parse().map_err(|error: ids::IdError| wrong.add("order_id", "INVALID_ID", error.to_string())).ok()
}

fn decided(order: &str, reason: &str) -> Result<OrderId, Fault> {
    let mut wrong = Violations::default();
    let order = order_id(&mut wrong, order);
    if !(1..=200).contains(&reason.trim().chars().count()) || reason.chars().any(char::is_control) {
        wrong.add("reason", "REASON_INVALID", "1 to 200 characters, no control characters");
    }
    wrong.finish()?;
    order.ok_or_else(unnamed)
}

fn judge(request: pb::EvaluateRiskRequest) -> Result<Judge, Fault> {
    let mut wrong = Violations::default();
    let order = order_id(&mut wrong, &request.order_id);
    let customer = request.customer_id.parse::<UserId>();
    let customer = customer.map_err(|error| wrong.add("customer_id", "INVALID_ID", error.to_string())).ok();
    let stage = match request.stage() {
        pb::RiskStage::Placed => Some(Stage::Placed),
        pb::RiskStage::Authorized => Some(Stage::Authorized),
        pb::RiskStage::Unspecified => {
            wrong.add("stage", "STAGE_INVALID", "PLACED or AUTHORIZED");
            None
        }
    };
    let amount = wire::amount(&mut wrong, request.amount.as_ref());
    if !request.client_ip.is_empty() && request.client_ip.parse::<std::net::IpAddr>().is_err() {
        wrong.add("client_ip", "IP_INVALID", "must be an IPv4 or IPv6 address");
    }
    if !(1..=255).contains(&request.payment_method.len()) {
        wrong.add("payment_method", "INVALID_TOKEN", "must be 1 to 255 bytes");
    }
    if let Some(address) = &request.shipping_address {
        check_address(&mut wrong, address);
    }
    let round = wire::round(&mut wrong, request.round);
    let policy = request.policy.as_ref().map_or_else(Policy::default, policy);
    wrong.finish()?;
    let (Some(order), Some(customer), Some(stage), Some(amount)) = (order, customer, stage, amount) else {
        return Err(unnamed());
    };
    Ok(Judge {
        order,
        round,
        stage,
        customer,
        amount: amount.minor,
        method: request.payment_method,
        ip: request.client_ip,
        address: request.shipping_address,
        policy,
    })
}

/// Parts may be missing, for they may have been erased; what is there is an address.
fn check_address(wrong: &mut Violations, address: &Address) {
    let parts = [
        ("recipient", &address.recipient),
        ("line1", &address.line1),
        ("line2", &address.line2),
        ("city", &address.city),
        ("region", &address.region),
        ("postal_code", &address.postal_code),
    ];
    for (name, part) in parts {
        if part.chars().count() > LONGEST_PART || part.chars().any(char::is_control) {
            let field = format!("shipping_address.{name}");
            wrong.add(field, "ADDRESS_INVALID", "at most 200 characters, no control characters");
        }
    }
    let country = &address.country_code;
    let known = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    if !known && !country.is_empty() {
        wrong.add("shipping_address.country_code", "COUNTRY_INVALID", "must be two capital letters, such as US");
    }
}

/// A tenant's figures; what it left at zero is the seeds', but a limit of zero counts nothing.
fn policy(policy: &RiskPolicy) -> Policy {
    let seeds = Policy::default();
    let or = |said: i32, seed: i32| if said > 0 { said } else { seed };
    Policy {
        velocity_limit: policy.velocity_limit.clamp(0, 1_000),
        velocity_window_s: or(policy.velocity_window_s, seeds.velocity_window_s).min(86_400),
        challenge: or(policy.challenge_score, seeds.challenge),
        review: or(policy.review_score, seeds.review),
        decline: or(policy.decline_score, seeds.decline),
        decline_cvv: policy.decline_cvv_mismatch,
        scorer: if policy.scorer() == RiskScorer::Model { Chosen::Model } else { Chosen::Rules },
    }
}

fn shown(entry: &Entry) -> pb::RiskAssessment {
    let time = |at: Timestamp| prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() };
    let decision = pb::RiskDecision::from_str_name(&format!("RISK_DECISION_{}", entry.decision));
    let review = entry.review.as_ref().and_then(|state| {
        let name = format!("REVIEW_STATE_{state}");
        pb::ReviewState::from_str_name(&name)
    });
    let reviewer = entry.actor.as_deref().and_then(|actor| actor.split_once(' '));
    pb::RiskAssessment {
        order_id: OrderId::from_uuid(entry.order).to_string(),
        stage: entry.stage,
        decision: decision.unwrap_or_default().into(),
        score: entry.score,
        reasons: entry
            .reasons
            .iter()
            .map(|(code, points)| pb::RiskReason { code: code.clone(), points: *points })
            .collect(),
        scorer: entry.scorer.clone(),
        review: review.unwrap_or_default().into(),
        reviewer: reviewer.map(|(kind, id)| Actor { kind: kind.to_owned(), id: id.to_owned() }),
        review_reason: entry.review_reason.clone().unwrap_or_default(),
        create_time: Some(time(entry.at)),
        review_time: entry.review_at.map(time),
        round: entry.round,
    }
}
