use anyhow::Result;
use contract::common::v1::Address;
use contract::identity::v1::{RiskPolicy, RiskScorer};
use contract::payment::v1::fraud_service_client::FraudServiceClient;
use contract::payment::v1::{
    ApproveReviewRequest, CloseReviewRequest, EvaluateRiskRequest, ListReviewQueueRequest, ListReviewQueueResponse,
    ListRiskAssessmentsRequest, RejectReviewRequest, ReviewState, RiskAssessment, RiskDecision, RiskStage,
};
use ctx::{Cause, Open, Principal, Role};
use fault::Fault;
use futures::future::join_all;
use ids::{OrderId, UserId};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tonic::Request;

use crate::world::{World, reason, usd};

/// An order with nothing in common with any other.
fn fresh() -> EvaluateRiskRequest {
    let one = UserId::new();
    let line1 = format!("{one} Street");
    let address =
        Address { line1, city: "San Francisco".to_owned(), country_code: "US".to_owned(), ..Address::default() };
    EvaluateRiskRequest {
        order_id: OrderId::new().to_string(),
        stage: RiskStage::Placed.into(),
        customer_id: one.to_string(),
        amount: Some(usd(2_000)),
        payment_method: format!("pm_{one}"),
        client_ip: String::new(),
        shipping_address: Some(address),
        policy: None,
        round: 1,
    }
}

async fn evaluate(world: &World, order: EvaluateRiskRequest) -> Result<RiskAssessment, Fault> {
    let peers = world.peers("order");
    let mut client = FraudServiceClient::new(peers.to("payment"));
    Ok(client.evaluate_risk(peers.request(&world.ctx(), order)).await?.into_inner())
}

async fn close(world: &World, order: &str, state: ReviewState) -> Result<RiskAssessment, Fault> {
    let peers = world.peers("order");
    let request = CloseReviewRequest { order_id: order.to_owned(), state: state.into() };
    let mut client = FraudServiceClient::new(peers.to("payment"));
    Ok(client.close_review(peers.request(&world.ctx(), request)).await?.into_inner())
}

/// A call of somebody of the shop's staff.
fn staff<M>(world: &World, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Open {
        tenant: Some(world.tenant),
        principal: Principal::User { id: UserId::new(), roles: vec![Role::Csr] },
        cause: Cause::default(),
        deadline: None,
        now: Timestamp::now(),
        idempotency: None,
    });
    request
}

async fn approve(world: &World, order: &str) -> Result<RiskAssessment, Fault> {
    let request = ApproveReviewRequest { order_id: order.to_owned(), reason: "called him".to_owned() };
    Ok(FraudServiceClient::new(world.routes()).approve_review(staff(world, request)).await?.into_inner())
}

async fn reject(world: &World, order: &str) -> Result<RiskAssessment, Fault> {
    let request = RejectReviewRequest { order_id: order.to_owned(), reason: "nobody there".to_owned() };
    Ok(FraudServiceClient::new(world.routes()).reject_review(staff(world, request)).await?.into_inner())
}

async fn queue(world: &World, page_size: i32, token: &str) -> Result<ListReviewQueueResponse, Fault> {
    let request = ListReviewQueueRequest { page_size, page_token: token.to_owned() };
    Ok(FraudServiceClient::new(world.routes()).list_review_queue(staff(world, request)).await?.into_inner())
}

async fn journal(world: &World, order: &str) -> Result<Vec<RiskAssessment>, Fault> {
    let request = ListRiskAssessmentsRequest { order_id: order.to_owned() };
    let mut client = FraudServiceClient::new(world.routes());
    Ok(client.list_risk_assessments(staff(world, request)).await?.into_inner().assessments)
}

#[tokio::test]
async fn frd_03_the_sixth_order_of_ten_minutes_of_a_customer_card_ip_or_address_is_reviewed() -> Result<()> {
    let world = World::start().await?;
    let (same, ip) = (fresh(), "203.0.113.7");
    type Share = fn(&EvaluateRiskRequest, &mut EvaluateRiskRequest);
    let shared: [(&str, Share); 4] = [
        ("VELOCITY_CUSTOMER", |same, order| order.customer_id.clone_from(&same.customer_id)),
        ("VELOCITY_CARD", |same, order| order.payment_method.clone_from(&same.payment_method)),
        ("VELOCITY_IP", |same, order| order.client_ip.clone_from(&same.client_ip)),
        ("VELOCITY_ADDRESS", |same, order| order.shipping_address.clone_from(&same.shipping_address)),
    ];
    let same = EvaluateRiskRequest { client_ip: ip.to_owned(), ..same };
    for (code, share) in shared {
        for number in 1..=6 {
            let mut order = fresh();
            share(&same, &mut order);
            let judged = evaluate(&world, order).await?;
            let expected = if number <= 5 { RiskDecision::Approve } else { RiskDecision::Review };
            assert_eq!(judged.decision(), expected, "{code} {number}");
            assert_eq!(judged.reasons.first().map(|reason| reason.code.as_str()), (number > 5).then_some(code));
        }
    }
    // Ten minutes later nobody remembers, and another shop never knew.
    world.tamper("UPDATE risk_journal SET occurred_at = occurred_at - interval '10 minutes'").await?;
    assert_eq!(
        evaluate(&world, EvaluateRiskRequest { order_id: OrderId::new().to_string(), ..same.clone() })
            .await?
            .decision(),
        RiskDecision::Approve
    );
    Ok(())
}

#[tokio::test]
async fn frd_03_orders_at_the_same_moment_see_each_other() -> Result<()> {
    let (world, same) = (World::start().await?, fresh());
    let orders = (0..20).map(|_| {
        let order = EvaluateRiskRequest { order_id: OrderId::new().to_string(), ..same.clone() };
        evaluate(&world, order)
    });
    let judged = join_all(orders).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let approved = judged.iter().filter(|order| order.decision() == RiskDecision::Approve).count();
    assert_eq!(approved, 5);
    let other = world.as_tenant(ids::TenantId::new());
    assert_eq!(evaluate(&other, same).await?.decision(), RiskDecision::Approve, "another shop counts for itself");
    Ok(())
}

#[tokio::test]
async fn frd_04_orders_that_are_judged_together_have_each_their_own_entry_and_review() -> Result<()> {
    let world = World::start().await?;
    let policy = Some(RiskPolicy { velocity_limit: 0, review_score: 100, ..RiskPolicy::default() });
    let order = |at: i64| {
        let amount = if at % 3 == 0 { 900_000 } else { 2_000 };
        EvaluateRiskRequest { policy, amount: Some(usd(amount)), ..fresh() }
    };
    let mut orders: Vec<_> = (0..30).map(order).collect();
    // Asked twice at the same moment.
    orders.extend(orders[..6].to_vec());
    let judged = join_all(orders.iter().map(|order| evaluate(&world, order.clone()))).await;
    let judged = judged.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (at, (order, entry)) in orders.iter().zip(&judged).enumerate() {
        let expected = if at % 30 % 3 == 0 { RiskDecision::Review } else { RiskDecision::Approve };
        assert_eq!((&entry.order_id, entry.decision()), (&order.order_id, expected));
        assert_eq!(journal(&world, &order.order_id).await?.len(), 1);
    }
    assert_eq!(queue(&world, 100, "").await?.reviews.len(), 10);
    let opened = "SELECT count(*) AS n FROM events WHERE type LIKE '%RiskReviewOpened'";
    assert_eq!(world.count(opened).await?, 10, "a review is opened once");
    Ok(())
}

#[tokio::test]
async fn frd_03_a_shop_that_counts_nothing_keeps_nothing_to_count() -> Result<()> {
    let (world, same) = (World::start().await?, fresh());
    let policy = Some(RiskPolicy { velocity_limit: 0, ..RiskPolicy::default() });
    for _ in 0..10 {
        let order = EvaluateRiskRequest { order_id: OrderId::new().to_string(), policy, ..same.clone() };
        assert_eq!(evaluate(&world, order).await?.decision(), RiskDecision::Approve);
    }
    let kept = "SELECT count(*) AS n FROM risk_journal WHERE customer IS NOT NULL OR card IS NOT NULL";
    assert_eq!(world.count(kept).await?, 0);
    Ok(())
}

#[tokio::test]
async fn frd_04_an_order_is_judged_once_and_the_journal_is_never_changed() -> Result<()> {
    let (world, order) = (World::start().await?, fresh());
    let large = EvaluateRiskRequest { amount: Some(usd(900_000)), ..order };
    let first = evaluate(&world, large.clone()).await?;
    assert_eq!((first.decision(), first.score, first.scorer.as_str()), (RiskDecision::Approve, 150, "rules"));
    assert_eq!((first.reasons[0].code.as_str(), first.reasons[0].points), ("HIGH_AMOUNT", 150));
    // The same order again, even with other figures, is what was decided.
    let policy = Some(RiskPolicy { challenge_score: 1, scorer: RiskScorer::Model.into(), ..RiskPolicy::default() });
    assert_eq!(evaluate(&world, EvaluateRiskRequest { policy, ..large.clone() }).await?, first);
    assert_eq!(journal(&world, &first.order_id).await?, [first]);
    let may = "SELECT (has_table_privilege('om_payment', 'om_payment.risk_journal', 'UPDATE') \
               OR has_table_privilege('om_payment', 'om_payment.risk_journal', 'DELETE'))::int::bigint AS n";
    assert_eq!(world.count(may).await?, 0);
    // Another order of the shop that wants a challenge gets one.
    let policy = Some(RiskPolicy { challenge_score: 100, ..RiskPolicy::default() });
    let other = EvaluateRiskRequest { order_id: OrderId::new().to_string(), policy, ..large.clone() };
    assert_eq!(evaluate(&world, other).await?.decision(), RiskDecision::Challenge3ds);
    let policy = Some(RiskPolicy { decline_score: 100, ..RiskPolicy::default() });
    let third = EvaluateRiskRequest { order_id: OrderId::new().to_string(), policy, ..large };
    assert_eq!(evaluate(&world, third).await?.decision(), RiskDecision::Decline);
    Ok(())
}

#[tokio::test]
async fn frd_05_a_shop_chooses_who_scores() -> Result<()> {
    let world = World::start().await?;
    for (scorer, name) in [(RiskScorer::Rules, "rules"), (RiskScorer::Model, "model")] {
        let policy = Some(RiskPolicy { scorer: scorer.into(), ..RiskPolicy::default() });
        assert_eq!(evaluate(&world, EvaluateRiskRequest { policy, ..fresh() }).await?.scorer, name);
    }
    Ok(())
}

#[tokio::test]
async fn frd_01_frd_02_what_the_bank_said_is_kept_and_raises_the_score_and_the_code_itself_is_nowhere() -> Result<()> {
    let world = World::start().await?;
    let cases = [
        ("pm_sim_visa", ["PASS", "PASS"], false, RiskDecision::Approve, 0),
        ("pm_sim_avs_fail", ["FAIL", "PASS"], false, RiskDecision::Approve, 350),
        ("pm_sim_cvc_fail", ["PASS", "FAIL"], false, RiskDecision::Review, 450),
        ("pm_sim_cvc_fail", ["PASS", "FAIL"], true, RiskDecision::Decline, 450),
    ];
    for (method, results, decline_cvv_mismatch, decision, score) in cases {
        let order = OrderId::new();
        let payment = world.authorize(order, method).await?;
        assert_eq!([payment.avs_result.as_str(), payment.cvv_result.as_str()], results, "{method}");
        assert_eq!(world.get(&payment.id).await?, payment, "kept");
        let policy = Some(RiskPolicy { decline_cvv_mismatch, ..RiskPolicy::default() });
        let stage = RiskStage::Authorized.into();
        let judged =
            evaluate(&world, EvaluateRiskRequest { order_id: order.to_string(), stage, policy, ..fresh() }).await?;
        assert_eq!((judged.decision(), judged.score), (decision, score), "{method}");
    }
    // No column could hold a security code: results are words, and everything else is named.
    let columns = "SELECT count(*) AS n FROM information_schema.columns WHERE table_schema = 'om_payment' \
                   AND column_name ~ '(cvv|cvc|security_code)' AND column_name <> 'cvv_result'";
    assert_eq!(world.count(columns).await?, 0);
    let words = "SELECT count(*) AS n FROM payments WHERE cvv_result NOT IN ('PASS', 'FAIL', 'UNAVAILABLE')";
    assert_eq!(world.count(words).await?, 0);
    Ok(())
}

#[tokio::test]
async fn frd_04_people_approve_and_reject_reviews_once_and_the_queue_is_oldest_first() -> Result<()> {
    let world = World::start().await?;
    let policy = Some(RiskPolicy { review_score: 100, ..RiskPolicy::default() });
    let mut orders = Vec::new();
    for _ in 0..4 {
        let judged = evaluate(&world, EvaluateRiskRequest { amount: Some(usd(900_000)), policy, ..fresh() }).await?;
        assert_eq!((judged.decision(), judged.review()), (RiskDecision::Review, ReviewState::Open));
        orders.push(judged.order_id);
    }
    let first = queue(&world, 3, "").await?;
    let second = queue(&world, 3, &first.next_page_token).await?;
    let listed: Vec<_> = [first, second].into_iter().flat_map(|page| page.reviews).map(|one| one.order_id).collect();
    assert_eq!(listed, orders);
    let yes = approve(&world, &orders[0]).await?;
    assert_eq!((yes.review(), yes.review_reason.as_str()), (ReviewState::Approved, "called him"));
    assert!(yes.reviewer.as_ref().is_some_and(|who| who.kind == "user" && who.id.starts_with("usr_")));
    assert_eq!(approve(&world, &orders[0]).await?.review(), ReviewState::Approved, "the same again");
    assert_eq!(reason(reject(&world, &orders[0]).await), "REVIEW_ENDED");
    assert_eq!(close(&world, &orders[0], ReviewState::Expired).await?.review(), ReviewState::Approved, "it stands");
    assert_eq!(reject(&world, &orders[1]).await?.review(), ReviewState::Rejected);
    assert_eq!(close(&world, &orders[2], ReviewState::Expired).await?.review(), ReviewState::Expired);
    assert_eq!(reason(approve(&world, &orders[2]).await), "REVIEW_ENDED");
    assert_eq!(reason(approve(&world, &OrderId::new().to_string()).await), "REVIEW_NOT_FOUND");
    assert_eq!(queue(&world, 50, "").await?.reviews.len(), 1);
    assert_eq!((world.events("RiskReviewOpened").await?, world.events("RiskReviewResolved").await?), (4, 3));
    let theirs = world.as_tenant(ids::TenantId::new());
    assert_eq!(reason(approve(&theirs, &orders[3]).await), "REVIEW_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn frd_04_what_cannot_be_judged_is_refused_with_every_wrong_field() -> Result<()> {
    let world = World::start().await?;
    let wrong = EvaluateRiskRequest {
        amount: Some(usd(0)),
        client_ip: "300.1.1.1".to_owned(),
        ..EvaluateRiskRequest::default()
    };
    let fault = evaluate(&world, wrong).await.expect_err("must be refused");
    let fields: Vec<_> = fault.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["order_id", "customer_id", "stage", "amount.amount_minor", "client_ip", "payment_method"]);
    let wrong = EvaluateRiskRequest {
        amount: Some(contract::common::v1::Money { currency_code: "usd".to_owned(), amount_minor: 1 }),
        shipping_address: Some(Address {
            line1: "x".repeat(201),
            city: "San\nFrancisco".to_owned(),
            country_code: "USA".to_owned(),
            ..Address::default()
        }),
        round: -5,
        ..fresh()
    };
    let fault = evaluate(&world, wrong).await.expect_err("must be refused");
    let fields: Vec<_> = fault.violations().iter().map(|violation| violation.field.as_str()).collect();
    let address = ["shipping_address.line1", "shipping_address.city", "shipping_address.country_code"];
    assert_eq!(fields, [&["amount.currency_code"][..], &address, &["round"]].concat());
    assert_eq!(world.count("SELECT count(*) AS n FROM risk_journal").await?, 0);
    // What was erased of an address is no error.
    let erased = EvaluateRiskRequest { shipping_address: Some(Address::default()), round: 0, ..fresh() };
    assert_eq!(evaluate(&world, erased).await?.round, 1);
    Ok(())
}

#[tokio::test]
async fn frd_03_nobody_who_reads_the_journal_can_try_addresses_against_it() -> Result<()> {
    let world = World::start().await?;
    let order = EvaluateRiskRequest { client_ip: "203.0.113.7".to_owned(), ..fresh() };
    evaluate(&world, order.clone()).await?;
    let kept =
        "SELECT count(*) AS n FROM risk_journal WHERE length(ip) = 32 AND length(card) = 32 AND length(address) = 32";
    assert_eq!(world.count(kept).await?, 1);
    // All of IPv4 is tried in minutes where the digest needs no secret.
    let tenant = world.tenant.to_string();
    for guess in [order.client_ip.clone(), format!("{tenant}\0ip\0{}\0", order.client_ip)] {
        let digest = hex::encode(Sha256::digest(guess.as_bytes()));
        let found = format!(
            "SELECT count(*) AS n FROM risk_journal WHERE substring(ip FOR 16) = substring('\\x{digest}'::bytea FOR 16)"
        );
        assert_eq!(world.count(&found).await?, 0);
    }
    // Another shop's digest of the same address is another.
    evaluate(
        &world.as_tenant(ids::TenantId::new()),
        EvaluateRiskRequest { order_id: OrderId::new().to_string(), ..order },
    )
    .await?;
    assert_eq!(world.count("SELECT count(DISTINCT ip) AS n FROM risk_journal").await?, 2);
    Ok(())
}

#[tokio::test]
async fn pay_18_an_order_that_is_paid_again_is_judged_again_and_reviewed_again() -> Result<()> {
    let world = World::start().await?;
    let policy = Some(RiskPolicy { velocity_limit: 1, velocity_window_s: 600, ..RiskPolicy::default() });
    let first = EvaluateRiskRequest { policy, ..fresh() };
    assert_eq!(evaluate(&world, first.clone()).await?.decision(), RiskDecision::Approve);
    let again = EvaluateRiskRequest { round: 2, ..first.clone() };
    let judged = evaluate(&world, again.clone()).await?;
    assert_eq!((judged.decision(), judged.round), (RiskDecision::Review, 2), "the card was tried a moment ago");
    let closed = close(&world, &first.order_id, ReviewState::Expired).await?;
    assert_eq!((closed.round, closed.review()), (2, ReviewState::Expired));
    assert_eq!(evaluate(&world, first.clone()).await?.decision(), RiskDecision::Approve, "the journal never changes");
    let third = evaluate(&world, EvaluateRiskRequest { round: 3, ..first }).await?;
    assert_eq!((third.review(), evaluate(&world, again).await?.review()), (ReviewState::Open, ReviewState::Expired));
    assert_eq!(world.events("RiskReviewOpened").await?, 2);
    Ok(())
}
