use anyhow::{Context as _, Result};
use contract::Event as _;
use contract::common::v1::{Address, Money};
use ctx::{Cause, Ctx};
use eventlog::NewEvent;
use futures::FutureExt;
use ids::UserId;
use jiff::Timestamp;
use pg::Pg;
use proptest::prelude::*;
use saga::Definition;
use serde_json::json;
use testkit::Db;

use super::*;
use crate::infra::placements::{Guard, Placement, Placements};
use crate::infra::store::Store;

/// One order in a database of its own.
struct Shop {
    _db: Db,
    pg: Pg,
    ctx: Ctx,
    id: OrderId,
}

/// What is known of the order in three ways.
struct Views {
    stored: Order,
    short: Replay<Order>,
    long: Replay<Order>,
}

impl Shop {
    async fn with_one_order() -> Result<Self> {
        let db = Db::fresh("order", crate::MIGRATIONS).await?;
        let (pg, id) = (db.pg("order"), OrderId::new());
        let ctx = Ctx::service("test", TenantId::new(), Cause::default(), Timestamp::now());
        let created = wire::OrderCreated {
            order_id: id.to_string(),
            customer_id: UserId::new().to_string(),
            currency_code: "USD".to_owned(),
            lines: vec![wire::OrderLine { line: 1, sku: "A".to_owned(), quantity: 3, ..Default::default() }],
            create_time: Some(wire_time(ctx.now)),
            kind: wire::OrderKind::Purchase.into(),
            ..Default::default()
        };
        let placements = Placements::new(pg.clone(), Definition::new("test", 1, Vec::new()));
        let placement = Placement::new(&ctx, id, UserId::new(), created, Some(json!({})), Guard::default());
        placements.place(ctx.tenant, placement).await?;
        Ok(Self { _db: db, pg, ctx, id })
    }

    /// Changes the remark so many times in one commit.
    async fn note(&self, times: i32) -> Result<Order> {
        let (ctx, id) = (self.ctx.clone(), self.id);
        let noted = self.pg.tx("test.note", self.ctx.tenant, move |conn: &mut Conn| {
            let ctx = ctx.clone();
            async move {
                let order = Store::get_in(conn, ctx.tenant, id).await?;
                let mut events = Vec::new();
                for at in 0..times {
                    let note = format!("remark {}", order.version + at);
                    events.extend(order.update(None, Some(note)).map_err(Fault::internal)?);
                }
                Store::append(conn, &ctx, &order, &events).await
            }
            .boxed()
        });
        Ok(noted.await?)
    }

    async fn views(&self) -> Result<Views> {
        let (tenant, id) = (self.ctx.tenant, self.id);
        let views = self.pg.read("test.views", tenant, move |conn: &mut Conn| {
            async move {
                Ok(Views {
                    stored: Store::get_in(conn, tenant, id).await?,
                    short: replay(conn, tenant, id).await?,
                    long: replay_from_first(conn, tenant, id).await?,
                })
            }
            .boxed()
        });
        Ok(views.await?)
    }
}

#[tokio::test]
async fn ord_38_an_order_of_a_thousand_events_loads_with_one_snapshot_and_at_most_fifty_events() -> Result<()> {
    let shop = Shop::with_one_order().await?;
    let mut order = shop.note(1).await?;
    while order.version < 1000 {
        // One to three events in a commit, as decisions have them, so that some pass a fiftieth and some hit it.
        order = shop.note((order.version % 3 + 1).min(1000 - order.version)).await?;
        if order.version % 10 == 0 || order.version > 940 {
            let Views { stored, short, long } = shop.views().await?;
            assert!(short.events < 50, "{} events behind a snapshot at {}", short.events, order.version);
            assert_eq!(short.snapshot.is_some(), order.version >= 50, "one snapshot from the fiftieth event on");
            assert_eq!(usize::try_from(short.version)?, usize::try_from(short.snapshot.unwrap_or(0))? + short.events);
            assert_eq!((long.snapshot, long.events), (None, usize::try_from(order.version)?));
            assert_eq!(timeless(&short.state), timeless(&long.state));
            assert_eq!(timeless(&short.state), timeless(&stored));
            assert_eq!((short.version, long.version), (order.version, order.version));
        }
    }
    let Views { short, .. } = shop.views().await?;
    assert_eq!(short.version, 1000);
    assert!(short.snapshot.context("a snapshot")? > 950);
    assert_eq!(short.state.doc.note, "remark 999");
    Ok(())
}

#[tokio::test]
async fn ord_37_an_order_of_the_first_days_is_read_as_what_it_is_called_today() -> Result<()> {
    let shop = Shop::with_one_order().await?;
    // What the first contract wrote: no kind, a token in it.
    let written = hex::decode(include_str!("order_created_without_kind.hex").replace('\n', ""))?;
    let read = wire::OrderCreated::decode(written.as_slice())?;
    assert_eq!((read.kind(), read.payment_method.as_str()), (wire::OrderKind::Unspecified, "pm_sim_visa"));
    let (ctx, id) = (shop.ctx.clone(), OrderId::new());
    let status = Order::place(read.clone()).pop().context("its state")?.encode();
    let events = [
        NewEvent::new(wire::OrderCreated::TYPE, wire::OrderCreated::TOPIC, written.clone()),
        NewEvent::new(status.0, status.1, status.2),
    ];
    let stored = shop.pg.tx("test.old", ctx.tenant, move |conn: &mut Conn| {
        let (ctx, events) = (ctx.clone(), events.clone());
        async move { eventlog::append(conn, &ctx, id.uuid(), 0, &events).await }.boxed()
    });
    stored.await?;
    let tenant = shop.ctx.tenant;
    let old = shop.pg.read("test.old", tenant, move |conn: &mut Conn| {
        async move { Ok((replay(conn, tenant, id).await?, eventlog::load(conn, tenant, id.uuid()).await?)) }.boxed()
    });
    let (old, rows) = old.await?;
    let doc = &old.state.doc;
    assert_eq!((doc.kind(), doc.state(), old.version), (wire::OrderKind::Purchase, wire::OrderState::Pending, 2));
    assert_eq!((doc.order_number, doc.note.as_str(), &doc.lines), (17, "by the back door", &read.lines));
    assert_eq!((doc.create_time, doc.place_time), (read.create_time, read.create_time));
    assert_eq!(rows[0].payload, written, "the log stays as it is");
    Ok(())
}

#[tokio::test]
async fn an_order_of_few_events_has_no_snapshot() -> Result<()> {
    let shop = Shop::with_one_order().await?;
    shop.note(47).await?;
    let Views { stored, short, long } = shop.views().await?;
    assert_eq!((short.snapshot, short.events), (None, 49));
    assert_eq!(short, long);
    assert_eq!(timeless(&short.state), timeless(&stored));
    Ok(())
}

#[tokio::test]
async fn a_lost_race_keeps_no_snapshot() -> Result<()> {
    let shop = Shop::with_one_order().await?;
    let stale = shop.note(46).await?;
    shop.note(1).await?;
    let ctx = shop.ctx.clone();
    let late = shop.pg.tx("test.late", shop.ctx.tenant, move |conn: &mut Conn| {
        let (ctx, stale) = (ctx.clone(), stale.clone());
        async move {
            let events = stale.update(None, Some("late".to_owned())).map_err(Fault::internal)?;
            Store::append(conn, &ctx, &stale, &[events.clone(), events].concat()).await
        }
        .boxed()
    });
    let refusal = late.await.map_err(Fault::from).err().context("somebody else was faster")?;
    assert_eq!(refusal.reason(), "VERSION_CONFLICT");
    let Views { short, long, .. } = shop.views().await?;
    assert_eq!((short.snapshot, short.version), (None, 49));
    assert_eq!(short, long);
    Ok(())
}

/// Events of every kind that changes the picture, in any order: what adds up must not ask whether it may.
fn event() -> impl Strategy<Value = OrderEvent> {
    let money = |amount_minor| Some(Money { currency_code: "USD".to_owned(), amount_minor });
    let lines = |quantity| vec![wire::LineQuantity { line: 1, quantity }];
    let parcel = |n: u8| wire::ShipmentSummary { shipment_id: format!("shp_{n}"), ..Default::default() };
    prop_oneof![
        (any::<Option<u16>>(), "[a-z]{0,5}").prop_map(|(house, note)| {
            let line1 = |house: u16| Address { line1: house.to_string(), ..Default::default() };
            OrderEvent::Updated(wire::OrderUpdated { shipping_address: house.map(line1), note, ..Default::default() })
        }),
        (0..16_i32, "[A-Z]{0,3}").prop_map(|(to, reason)| {
            OrderEvent::StatusChanged(wire::OrderStatusChanged { to, reason, ..Default::default() })
        }),
        any::<i64>().prop_map(move |cents| {
            let authorized = money(cents);
            OrderEvent::PaymentCompleted(wire::OrderPaymentCompleted { authorized, ..Default::default() })
        }),
        any::<i64>().prop_map(move |cents| {
            let captured = money(cents);
            OrderEvent::PaymentCaptured(wire::OrderPaymentCaptured { captured, ..Default::default() })
        }),
        "[a-z]{0,4}".prop_map(|action_url| {
            OrderEvent::PaymentActionRequired(wire::OrderPaymentActionRequired { action_url, ..Default::default() })
        }),
        "[A-Z]{1,4}".prop_map(|reason| {
            OrderEvent::PaymentFailed(wire::OrderPaymentFailed { reason, ..Default::default() })
        }),
        (0..4_u8, 0..3_i32).prop_map(move |(n, quantity)| {
            let (shipment, lines) = (Some(parcel(n)), lines(quantity));
            OrderEvent::Shipped(wire::OrderShipped { shipment, lines, ..Default::default() })
        }),
        (0..4_u8, 0..3_i32).prop_map(move |(n, quantity)| {
            let (shipment_id, lines) = (format!("shp_{n}"), lines(quantity));
            OrderEvent::Delivered(wire::OrderDelivered { shipment_id, lines, ..Default::default() })
        }),
    ]
}

proptest! {
    #[test]
    fn an_order_goes_on_from_its_stored_picture_as_if_it_had_never_been_stored(
        events in prop::collection::vec(event(), 1..80), cut in any::<prop::sample::Index>(),
    ) {
        let at = prost_types::Timestamp { seconds: 1_900_000_000, nanos: 5 };
        let lines = vec![wire::OrderLine { line: 1, quantity: 3, ..Default::default() }];
        let placed = Order::place(wire::OrderCreated { order_id: "ord_1".to_owned(), lines, ..Default::default() });
        let events = [placed, events].concat();
        let (before, behind) = events.split_at(cut.index(events.len()));
        let kept = Order::default().after(before, at).doc.encode_to_vec();
        let again = open(&kept).expect("a picture reads what it wrote");
        prop_assert_eq!(again.after(behind, at), Order::default().after(&events, at));
    }
}

#[test]
fn what_is_no_picture_is_not_opened() {
    assert!(open(b"\xff\xff").is_none());
}
