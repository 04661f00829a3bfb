use std::collections::BTreeSet;

use contract::order::v1::OrderCancelled;
use futures::future::try_join_all;
use ids::ShipmentId;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use super::{Case, LIMIT, Mail, RETRY, World};
use crate::engine;
use crate::model::{Kind, State};
use crate::mount::App;
use crate::store::Store;

#[tokio::test]
async fn ord_33_one_mail_per_order_however_often_it_is_confirmed_and_whoever_races() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let cancel = CancellationToken::new();
    // Two processes send; each has doors of its own.
    for _ in 0..2 {
        let app = App { store: Store::new(world.db.pg("notification")), ..world.app.clone() };
        tokio::spawn(engine::run(app, cancel.clone()));
    }
    let cases: Vec<_> = (0..20).map(|_| world.case()).collect();
    try_join_all((0..5).flat_map(|_| &cases).map(|case| world.confirm(case))).await?;
    for case in &cases {
        eventually(LIMIT, async || Ok((world.only(case).await?.state == State::Sent).then_some(()))).await?;
        // Again, long after it was sent.
        world.confirm(case).await?;
    }
    assert_eq!(engine::round(&world.app, 40).await?.tried, 0, "nothing is due any more");
    cancel.cancel();
    for case in &cases {
        mail.only(case).await?;
        assert_eq!(world.only(case).await?.attempts, 1);
    }
    assert_eq!(world.events().await?, vec!["NotificationSent"; 20]);
    Ok(())
}

#[tokio::test]
async fn a_shop_with_many_mails_delays_nobody_elses() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let crowd: Vec<_> = (0..60).map(|_| world.case()).collect();
    let tenant = crowd[0].tenant;
    let crowd: Vec<_> = crowd.into_iter().map(|case| Case { tenant, ..case }).collect();
    world.deliver_all(&crowd[0], &crowd.iter().map(Case::confirmed).collect::<Vec<_>>()).await?;
    // They come last, and there are more of them than a look takes.
    let others: Vec<_> = (0..5).map(|_| world.case()).collect();
    for case in others.iter().chain(&others[..2]) {
        world.confirm(case).await?;
        world.deliver(case, &case.shipped(ShipmentId::new())).await?;
    }
    let due = world.app.store.due(20).await?;
    assert_eq!(due.values().map(Vec::len).sum::<usize>(), 20, "nothing of the look is wasted");
    assert_eq!(due.len(), 6, "every shop has its turn");
    assert_eq!(others.iter().map(|case| due[&case.tenant].len()).collect::<Vec<_>>(), [3, 3, 2, 2, 2]);
    let alone = world.app.store.due(1).await?;
    assert_eq!(alone.into_keys().collect::<Vec<_>>(), [tenant], "who waits longest is first");
    assert_eq!(engine::round(&world.app, 20).await?.tried, 20);
    for case in &others {
        assert!(world.messages(case).await?.iter().all(|message| message.state == State::Sent));
    }
    Ok(())
}

#[tokio::test]
async fn not_01_of_events_that_come_together_each_customer_is_told_once() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let cases: Vec<_> = (0..6).map(|_| world.case()).collect();
    let tenant = cases[0].tenant;
    let cases: Vec<_> = cases.into_iter().map(|case| Case { tenant, ..case }).collect();
    world.confirm(&cases[2]).await?;
    let mut events: Vec<_> = cases.iter().map(Case::confirmed).collect();
    // Confirmed twice in one breath.
    events.push(cases[4].confirmed());
    world.deliver_all(&cases[0], &events).await?;
    let mut told: Vec<_> = world.messages(&cases[0]).await?.into_iter().map(|message| message.order()).collect();
    told.sort();
    let mut orders: Vec<_> = cases.iter().map(|case| case.order).collect();
    orders.sort();
    assert_eq!(told, orders);
    Ok(())
}

#[tokio::test]
async fn not_01_each_cause_has_one_mail_of_its_kind() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let case = world.case();
    let parcels = [ShipmentId::new(), ShipmentId::new()];
    for _ in 0..2 {
        world.confirm(&case).await?;
        for parcel in parcels {
            world.deliver(&case, &case.shipped(parcel)).await?;
            world.deliver(&case, &case.delivered(parcel)).await?;
        }
        world.deliver(&case, &case.cancelled()).await?;
    }
    // Two refunds are two causes.
    world.deliver(&case, &case.refunded(100)).await?;
    world.deliver(&case, &case.refunded(250)).await?;
    eventually(LIMIT, async || {
        engine::round(&world.app, 40).await?;
        let all = world.messages(&case).await?;
        Ok(all.iter().all(|message| message.state == State::Sent).then_some(()))
    })
    .await?;
    let kinds: Vec<Kind> = world.messages(&case).await?.iter().map(|message| message.kind).collect();
    let count = |kind| kinds.iter().filter(|known| **known == kind).count();
    assert_eq!(Kind::ALL.map(count), [1, 2, 2, 1, 2]);
    let mails = mail.to(&case).await?;
    assert_eq!(mails.len(), kinds.len());
    let subjects: BTreeSet<_> = mails.iter().filter_map(|mail| mail["subject"].as_str()).collect();
    let expected = [
        "A refund of your order 17",
        "Your order 17 has arrived",
        "Your order 17 is cancelled",
        "Your order 17 is confirmed",
        "Your order 17 is on its way",
    ];
    assert_eq!(subjects, BTreeSet::from(expected));
    let texts: String = mails.iter().filter_map(|mail| mail["text"].as_str()).collect();
    for said in ["Tracking number: 794-1", "Given back so far: 1.00 USD", "Given back so far: 2.50 USD"] {
        assert!(texts.contains(said), "{said} in {texts}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_was_given_is_neither_sent_nor_does_it_arrive() -> anyhow::Result<()> {
    let world = World::at(9, RETRY).await?;
    let case = world.case();
    let mut shipped = case.shipped(ShipmentId::new());
    shipped.shipment = None;
    let mut delivered = case.delivered(ShipmentId::new());
    delivered.shipment_id.clear();
    world.deliver(&case, &shipped).await?;
    world.deliver(&case, &delivered).await?;
    assert!(world.messages(&case).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn not_01_nobody_is_told_of_a_draft_that_was_never_placed() -> anyhow::Result<()> {
    let world = World::at(9, RETRY).await?;
    let (discarded, cancelled) = (world.case(), world.case());
    world.deliver(&discarded, &OrderCancelled { draft: true, ..discarded.cancelled() }).await?;
    world.deliver(&cancelled, &cancelled.cancelled()).await?;
    assert!(world.messages(&discarded).await?.is_empty());
    assert_eq!(world.only(&cancelled).await?.kind, Kind::Cancellation);
    Ok(())
}

#[tokio::test]
async fn a_letter_has_number_lines_and_totals_and_what_others_wrote_is_escaped() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let case = world.case();
    world.confirm(&case).await?;
    let message = world.until(&case, State::Sent).await?;
    let got = mail.only(&case).await?;
    let (html, text) = (got["html"].as_str().unwrap_or_default(), got["text"].as_str().unwrap_or_default());
    assert!(!html.contains("<script") && !html.contains("<b>Lovelace"), "{html}");
    assert!(html.contains("&lt;script&gt;") && html.contains("Cup &amp; saucer"), "{html}");
    for said in [
        "order 17",
        "2 x Tea <script>",
        "39.98 USD",
        "Discount: 2.50 USD",
        "Shipping: 5.00 USD",
        "Total:    53.69 USD",
        "Ada",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    let raw = got["raw"].as_str().unwrap_or_default();
    assert!(raw.contains(&format!("Message-ID: <{}@shop.example>", message.id())), "{raw}");
    assert_eq!(got["from"], "orders@shop.example");
    Ok(())
}

#[tokio::test]
async fn amounts_have_the_digits_of_their_currency() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    for (currency, total) in [("JPY", "Total:    5369 JPY"), ("KWD", "Total:    5.369 KWD")] {
        let case = world.case();
        if let Some(order) = world.others.notes().orders.get_mut(&case.order.to_string()) {
            let totals = order.totals.as_mut().and_then(|totals| totals.total.as_mut());
            totals.expect("a total").currency_code = currency.into();
        }
        world.confirm(&case).await?;
        world.until(&case, State::Sent).await?;
        let got = mail.only(&case).await?;
        assert!(got["text"].as_str().is_some_and(|text| text.contains(total)), "{got}");
    }
    Ok(())
}
