//! Orders that somebody has to look at, or that are refused before they cost anything.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, number, order_by, text};

async fn decide(world: &World, id: &str, verb: &str) -> Result<Value> {
    let path = format!("/api/v1/fraud/reviews/{id}:{verb}");
    world.csr.post(&path, &json!({"reason": "talked to the customer"}), None).await
}

async fn waiting(world: &World) -> Result<Vec<String>> {
    let page = world.csr.get("/api/v1/fraud/reviews").await?;
    Ok(list(&page, "reviews").iter().map(|review| text(review, "orderId").to_owned()).collect())
}

async fn decisions(world: &World, id: &str) -> Result<Vec<Value>> {
    let answer = world.csr.get(&format!("/api/v1/fraud/decisions/{id}")).await?;
    Ok(list(&answer, "assessments"))
}

fn codes(decision: &Value) -> Vec<String> {
    list(decision, "reasons").iter().map(|reason| text(reason, "code").to_owned()).collect()
}

#[tokio::test]
async fn frd_03_frd_04_the_sixth_order_of_ten_minutes_waits_for_a_person_whose_word_counts() -> Result<()> {
    let world = World::open("velocity").await?;
    // As every shop has it that decided nothing.
    world.policy(|policy| policy["risk"]["velocityLimit"] = json!(5)).await?;
    for _ in 0..5 {
        world.place_until(&order(&[("PEN-GEL", 2)]), "DELIVERED").await?;
    }
    let mut reviewed = Vec::new();
    for _ in 0..3 {
        let order = world.place_until(&order(&[("PEN-GEL", 2)]), "PAYMENT_REVIEW").await?;
        reviewed.push(text(&order, "id").to_owned());
    }
    let [yes, no, given_up] = [&reviewed[0], &reviewed[1], &reviewed[2]];
    assert_eq!(waiting(&world).await?, reviewed, "oldest first");
    assert_eq!(world.stock("PEN-GEL", "OAK").await?.1, 6, "their goods are set aside");
    let why = decisions(&world, yes).await?;
    assert_eq!((why.len(), text(&why[0], "decision")), (1, "RISK_DECISION_REVIEW"));
    let expected = ["VELOCITY_CARD", "VELOCITY_ADDRESS", "VELOCITY_CUSTOMER"];
    assert!(expected.iter().all(|code| codes(&why[0]).iter().any(|said| said == code)), "{why:?}");

    decide(&world, yes, "approve").await?;
    world.until(yes, "DELIVERED").await?;
    decide(&world, no, "reject").await?;
    let refused = world.until(no, "PAYMENT_FAILED").await?;
    assert_eq!(text(&refused, "stateReason"), "RISK_REJECTED");
    let path = format!("/api/v1/orders/{given_up}?reason=changed+my+mind");
    world.customer.request(Method::DELETE, &path).send().await?;
    world.until(given_up, "CANCELLED").await?;
    let withdrawn = decisions(&world, given_up).await?;
    assert_eq!(text(&withdrawn[0], "review"), "REVIEW_STATE_WITHDRAWN");
    assert!(waiting(&world).await?.is_empty());
    for id in [no, given_up] {
        assert!(world.money_moves(id).await?.is_empty(), "the bank was never asked");
    }
    let rejected = decisions(&world, no).await?;
    assert_eq!(text(&rejected[0], "reviewReason"), "talked to the customer");
    assert!(text(&rejected[0]["reviewer"], "id").starts_with("usr_"));
    world.books_agree().await
}

#[tokio::test]
async fn frd_01_frd_02_what_the_bank_doubts_is_scored_and_reviewed_or_declined_as_the_policy_says() -> Result<()> {
    let world = World::open("doubts").await?;
    let moved = world.place_until(&order_by("pm_sim_avs_fail", &[("PEN-GEL", 2)]), "DELIVERED").await?;
    let found = decisions(&world, text(&moved, "id")).await?;
    let after = found.last().context("it was judged")?;
    assert_eq!((codes(after), number(&after["score"])), (vec!["AVS_MISMATCH".to_owned()], 350));

    let doubted = world.place_until(&order_by("pm_sim_cvc_fail", &[("PEN-GEL", 2)]), "PAYMENT_REVIEW").await?;
    let id = text(&doubted, "id");
    decide(&world, id, "approve").await?;
    world.until(id, "DELIVERED").await?;
    let payments = world.csr.get(&format!("/api/v1/payments?orderId={id}")).await?;
    let payment = list(&payments, "payments").into_iter().next().context("it has a payment")?;
    assert_eq!((text(&payment, "avsResult"), text(&payment, "cvvResult")), ("PASS", "FAIL"));
    world.books_agree().await?;

    let strict = World::open("doubts-strict").await?;
    strict.policy(|policy| policy["risk"]["declineCvvMismatch"] = json!(true)).await?;
    let declined = strict.place_until(&order_by("pm_sim_cvc_fail", &[("PEN-GEL", 2)]), "PAYMENT_FAILED").await?;
    assert_eq!(text(&declined, "stateReason"), "RISK_DECLINED");
    let let_go = eventually(PATIENCE, || async {
        let moves = strict.money_moves(text(&declined, "id")).await?;
        let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
        Ok((ops == ["authorize", "void"]).then_some(()))
    });
    let_go.await.context("the hold is let go")?;
    strict.books_agree().await
}

#[tokio::test]
async fn frd_04_frd_05_the_scorer_and_the_limits_are_the_shops_own() -> Result<()> {
    let world = World::open("own-limits").await?;
    world
        .policy(|policy| {
            policy["risk"]["scorer"] = json!("RISK_SCORER_MODEL");
            policy["risk"]["challengeScore"] = json!(1);
        })
        .await?;
    let asked = world.place_until(&order(&[("PEN-GEL", 2)]), "PAYMENT_ACTION_REQUIRED").await?;
    let judged = decisions(&world, text(&asked, "id")).await?;
    assert_eq!((text(&judged[0], "decision"), text(&judged[0], "scorer")), ("RISK_DECISION_CHALLENGE_3DS", "model"));
    Ok(())
}
