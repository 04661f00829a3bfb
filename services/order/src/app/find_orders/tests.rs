use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use contract::common::v1::Money;
use contract::order::v1::OrderState;
use ctx::{Cause, Principal, Role};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::FutureExt;
use ids::TenantId;
use jiff::{SignedDuration, Timestamp};
use pg::{Conn, Pg};
use saga::Definition;
use serve::Mesh;
use serve::auth::SigningKey;
use testkit::Db;

use super::*;
use crate::api::criteria;
use crate::domain::event::OrderEvent;
use crate::domain::words::Vocabulary;
use crate::infra::cache::Backend;
use crate::infra::placements::{Guard, Placement, Placements};
use crate::infra::store::{Store, wire_time};

/// A tenant's orders in a database of its own.
pub(crate) struct Shop {
    pub db: Db,
    pub pg: Pg,
    pub tenant: TenantId,
    pub reads: Reads,
    placements: Placements,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Shop {
    pub async fn open() -> Result<Self> {
        let db = Db::fresh("order", crate::MIGRATIONS).await?;
        let pg = db.pg("order");
        let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
        let reads = Reads {
            finder: Finder { pg: pg.clone() },
            store: Store::new(pg.clone()),
            cache: Cache::new(Backend::memory()),
            pages: Pages::new(&"k".repeat(32).into()),
            peers: mesh.peers("order"),
        };
        let placements = Placements::new(pg.clone(), Definition::new("test", 1, Vec::new()));
        Ok(Self { db, pg, tenant: TenantId::new(), reads, placements })
    }

    /// The shop of another tenant in the same database.
    fn rival(&self) -> Self {
        let (db, pg, reads, placements) =
            (self.db.clone(), self.pg.clone(), self.reads.clone(), self.placements.clone());
        Self { db, pg, tenant: TenantId::new(), reads, placements }
    }

    pub fn staff(&self) -> Ctx {
        Ctx::service("test", self.tenant, Cause::default(), Timestamp::now())
    }

    pub fn customer(&self, id: UserId) -> Ctx {
        Ctx { principal: Principal::User { id, roles: vec![Role::Customer] }, ..self.staff() }
    }

    /// Places an order of one unit of each product.
    pub async fn place(&self, customer: UserId, skus: &[&str], total: i64) -> Result<wire::Order> {
        let (ctx, id) = (self.staff(), OrderId::new());
        let money = |amount_minor| Some(Money { currency_code: "USD".into(), amount_minor });
        let line = |(sku, line): (&&str, i32)| wire::OrderLine {
            line,
            sku: (*sku).to_owned(),
            quantity: 1,
            unit_price: money(1),
            ..Default::default()
        };
        let created = wire::OrderCreated {
            order_id: id.to_string(),
            customer_id: customer.to_string(),
            currency_code: "USD".into(),
            lines: skus.iter().zip(1..).map(line).collect(),
            totals: Some(wire::OrderTotals { total: money(total), ..Default::default() }),
            create_time: Some(wire_time(ctx.now)),
            ..Default::default()
        };
        let placement = Placement::new(&ctx, id, customer, created, None, Guard::default());
        Ok(self.placements.place(self.tenant, placement).await?.response)
    }

    /// Leads an order through states, whatever they are.
    pub async fn lead(&self, id: &str, states: &[OrderState]) -> Result<wire::Order> {
        let (ctx, id, states) = (self.staff(), id.parse::<OrderId>()?, states.to_vec());
        let led = self.pg.tx("test.lead", self.tenant, move |conn: &mut Conn| {
            let (ctx, states) = (ctx.clone(), states.clone());
            async move {
                let mut order = Store::get_in(conn, ctx.tenant, id).await?;
                for to in states {
                    let changed = wire::OrderStatusChanged { to: to.into(), ..Default::default() };
                    order = Store::append(conn, &ctx, &order, &[OrderEvent::StatusChanged(changed)]).await?;
                }
                Ok(order)
            }
            .boxed()
        });
        Ok(led.await?.doc)
    }

    async fn numbers(&self, ctx: &Ctx, request: wire::ListOrdersRequest) -> Result<Vec<i64>> {
        let ((orders, _), _) = self.reads.find(ctx, criteria::list(request)?).await?;
        Ok(orders.iter().map(|order| order.order_number).collect())
    }

    async fn search(&self, criteria: wire::OrderCriteria) -> Result<Vec<i64>> {
        let request = wire::SearchOrdersRequest { criteria: Some(criteria.clone()), ..Default::default() };
        let ((orders, next), _) = self.reads.find(&self.staff(), criteria::search(request)?).await?;
        assert!(next.is_empty(), "one page is enough here");
        let counted = wire::CountOrdersRequest { criteria: Some(criteria) };
        let (counted, _) = self.reads.count(&self.staff(), criteria::count(counted)?).await?;
        assert_eq!(usize::try_from(counted.count)?, orders.len(), "a count counts what a search finds");
        Ok(orders.iter().map(|order| order.order_number).collect())
    }

    async fn lines(&self, sql: &str) -> Result<Vec<String>> {
        let lines: Vec<Line> = diesel::sql_query(sql).load(&mut self.db.admin().await?).await?;
        Ok(lines.into_iter().map(|line| line.line).collect())
    }
}

fn list() -> wire::ListOrdersRequest {
    wire::ListOrdersRequest::default()
}

#[tokio::test]
async fn ord_06_orders_are_found_by_every_state_in_the_words_of_all_three_vocabularies() -> Result<()> {
    let shop = Shop::open().await?;
    let ctx = shop.staff();
    let mut orders = Vec::new();
    for state in (1..=18).filter_map(|number| OrderState::try_from(number).ok()) {
        let placed = shop.place(UserId::new(), &["A"], 1000).await?;
        orders.push((state, shop.lead(&placed.id, &[OrderState::PaymentCompleted, state]).await?));
    }
    for (state, order) in &orders {
        let states = vec![i32::from(*state)];
        let found = shop.numbers(&ctx, wire::ListOrdersRequest { states, ..list() }).await?;
        assert_eq!(found, [order.order_number], "{state:?}");
    }
    let numbers = |is: &dyn Fn(OrderState, &wire::Order) -> bool| {
        let mut numbers: Vec<_> =
            orders.iter().filter(|(state, order)| is(*state, order)).map(|(_, order)| order.order_number).collect();
        numbers.reverse();
        numbers
    };
    for word in Vocabulary::Retail.words() {
        let found = shop.numbers(&ctx, wire::ListOrdersRequest { status_retail: vec![word.into()], ..list() }).await?;
        assert_eq!(found, numbers(&|_, order| order.status_retail == word), "{word}");
        assert!(!found.is_empty());
    }
    for word in Vocabulary::Lifecycle.words() {
        let status_lifecycle = vec![word.to_uppercase()];
        let found = shop.numbers(&ctx, wire::ListOrdersRequest { status_lifecycle, ..list() }).await?;
        assert_eq!(found, numbers(&|_, order| order.status_lifecycle == word), "{word}");
        assert!(!found.is_empty());
    }
    for word in Vocabulary::Detailed.words() {
        let found = shop.numbers(&ctx, wire::ListOrdersRequest { status: vec![word.into()], ..list() }).await?;
        // Locks were PAYMENT_COMPLETED before.
        let is = |state: OrderState, _: &wire::Order| {
            let before = if crate::domain::state::is_lock(state) { OrderState::PaymentCompleted } else { state };
            crate::domain::words::detailed(before) == word
        };
        assert_eq!(found, numbers(&is), "{word}");
    }
    let both = wire::ListOrdersRequest {
        status_retail: vec!["Processing".into()],
        status_lifecycle: vec!["Confirmed".into()],
        ..list()
    };
    assert_eq!(shop.numbers(&ctx, both).await?, numbers(&|state, _| state == OrderState::FulfillmentPending));
    Ok(())
}

#[tokio::test]
async fn ord_06_orders_are_filtered_by_dates_customer_sku_number_and_total() -> Result<()> {
    let shop = Shop::open().await?;
    let (ann, bob) = (UserId::new(), UserId::new());
    shop.place(ann, &["RED", "BLUE"], 1000).await?;
    let second = shop.place(bob, &["RED"], 2000).await?;
    let third = shop.place(ann, &["GREEN"], 3000).await?;
    shop.rival().place(ann, &["RED"], 1000).await?;
    let staff = shop.staff();
    let find = |request| shop.numbers(&staff, request);
    assert_eq!(find(list()).await?, [3, 2, 1]);
    assert_eq!(find(wire::ListOrdersRequest { customer_id: ann.to_string(), ..list() }).await?, [3, 1]);
    assert_eq!(find(wire::ListOrdersRequest { sku: "RED".into(), ..list() }).await?, [2, 1]);
    assert_eq!(find(wire::ListOrdersRequest { sku: "RE".into(), ..list() }).await?, [0; 0]);
    assert_eq!(find(wire::ListOrdersRequest { order_number: 2, ..list() }).await?, [2]);
    let total = |min, max| wire::ListOrdersRequest {
        currency_code: "USD".into(),
        total_min_minor: min,
        total_max_minor: max,
        ..list()
    };
    assert_eq!(find(total(Some(2000), None)).await?, [3, 2]);
    assert_eq!(find(total(Some(1001), Some(2999))).await?, [2]);
    assert_eq!(find(total(None, Some(1000))).await?, [1]);
    assert_eq!(find(wire::ListOrdersRequest { currency_code: "EUR".into(), ..list() }).await?, [0; 0]);
    let placed = |from, to| wire::ListOrdersRequest { create_time_from: from, create_time_to: to, ..list() };
    assert_eq!(find(placed(second.create_time, third.create_time)).await?, [2]);
    assert_eq!(find(placed(second.create_time, None)).await?, [3, 2]);
    assert_eq!(find(placed(None, second.create_time)).await?, [1]);
    let yesterday = wire_time(Timestamp::now() - SignedDuration::from_hours(24));
    assert_eq!(find(placed(None, Some(yesterday))).await?, [0; 0]);

    let customer = shop.customer(ann);
    assert_eq!(shop.numbers(&customer, list()).await?, [3, 1], "a customer has his own");
    let request = wire::ListOrdersRequest { customer_id: bob.to_string(), ..list() };
    assert_eq!(shop.numbers(&customer, request).await?, [0; 0]);
    assert_eq!(shop.numbers(&customer, wire::ListOrdersRequest { order_number: 2, ..list() }).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn ord_06_pages_stay_as_they_are_while_orders_come_in() -> Result<()> {
    let shop = Shop::open().await?;
    let (ctx, buyer) = (shop.staff(), UserId::new());
    for _ in 0..9 {
        shop.place(buyer, &["A"], 1000).await?;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListOrdersRequest { page_size: 2, page_token: token, sku: "A".into(), ..list() };
        let ((orders, next), _) = shop.reads.find(&ctx, criteria::list(request)?).await?;
        seen.extend(orders.iter().map(|order| order.order_number));
        shop.place(buyer, &["A"], 1000).await?;
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1], "each once, none left out, none new");

    let first = wire::ListOrdersRequest { page_size: 2, sku: "A".into(), ..list() };
    let ((_, token), _) = shop.reads.find(&ctx, criteria::list(first.clone())?).await?;
    let other = wire::ListOrdersRequest { page_token: token.clone(), page_size: 2, ..list() };
    let refused = shop.reads.find(&ctx, criteria::list(other)?).await.expect_err("a token of another filter");
    assert_eq!(refused.reason(), "PAGE_TOKEN_INVALID");
    let foreign = wire::ListOrdersRequest { page_token: token, ..first };
    let refused = shop.reads.find(&shop.rival().staff(), criteria::list(foreign)?).await.expect_err("another tenant's");
    assert_eq!(refused.reason(), "PAGE_TOKEN_INVALID");
    Ok(())
}

#[tokio::test]
async fn ord_10_criteria_of_a_search_hold_together() -> Result<()> {
    let shop = Shop::open().await?;
    let (ann, bob) = (UserId::new(), UserId::new());
    for (buyer, skus, total) in [
        (ann, &["TEE-RED-S", "MUG"][..], 1500),
        (ann, &["TEE-RED-M"], 2500),
        (bob, &["TEE-BLUE"], 3500),
        (bob, &["MUG", "TEE-RED-S"], 4500),
        (bob, &["tee-red"], 500),
    ] {
        shop.place(buyer, skus, total).await?;
    }
    let all = wire::OrderCriteria::default;
    assert_eq!(shop.search(all()).await?, [5, 4, 3, 2, 1]);
    let red = wire::OrderCriteria { sku_prefix: "TEE-RED".into(), ..all() };
    assert_eq!(shop.search(red.clone()).await?, [4, 2, 1]);
    let anns = wire::OrderCriteria { customer_ids: vec![ann.to_string()], ..red.clone() };
    assert_eq!(shop.search(anns.clone()).await?, [2, 1]);
    let dear = wire::OrderCriteria { currency_code: "USD".into(), total_min_minor: Some(2000), ..anns };
    assert_eq!(shop.search(dear).await?, [2]);
    let any = wire::OrderCriteria { skus: vec!["MUG".into(), "TEE-BLUE".into()], ..all() };
    assert_eq!(shop.search(any.clone()).await?, [4, 3, 1]);
    assert_eq!(shop.search(wire::OrderCriteria { order_numbers: vec![1, 4, 99], ..any }).await?, [4, 1]);
    let two = vec![ann.to_string(), bob.to_string()];
    assert_eq!(shop.search(wire::OrderCriteria { customer_ids: two, ..red }).await?, [4, 2, 1]);
    Ok(())
}

#[tokio::test]
async fn ord_10_every_wrong_criterion_is_named_at_once() -> Result<()> {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let criteria = wire::OrderCriteria {
        states: vec![2, 99],
        status: vec!["LOST".into()],
        status_retail: vec!["Paid".into(), "Sold".into()],
        status_lifecycle: vec!["Paid".into()],
        customer_ids: vec!["me".into()],
        order_numbers: vec![1, 0],
        skus: vec!["A".into(), "'; DROP".into()],
        sku_prefix: "%".into(),
        create_time_from: time(2000),
        create_time_to: time(1000),
        currency_code: "usd".into(),
        total_min_minor: Some(-1),
        total_max_minor: Some(-2),
    };
    let request = wire::SearchOrdersRequest { criteria: Some(criteria), page_size: -1, page_token: String::new() };
    let fault = criteria::search(request).expect_err("nothing is right");
    let named: BTreeSet<_> = fault.violations().iter().map(|one| one.field.as_str()).collect();
    let fields = [
        "criteria.create_time_to",
        "criteria.currency_code",
        "criteria.customer_ids[0]",
        "criteria.order_numbers[1]",
        "criteria.sku_prefix",
        "criteria.skus[1]",
        "criteria.states[1]",
        "criteria.status[0]",
        "criteria.status_lifecycle[0]",
        "criteria.status_retail[1]",
        "criteria.total_max_minor",
        "criteria.total_min_minor",
        "page_size",
    ];
    assert_eq!(named, BTreeSet::from(fields));
    let request =
        wire::ListOrdersRequest { total_min_minor: Some(1), customer_id: "x".into(), order_number: -1, ..list() };
    let fault = criteria::list(request).expect_err("three are wrong");
    let named: BTreeSet<_> = fault.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(named, BTreeSet::from(["currency_code", "customer_id", "order_number"]));
    Ok(())
}

#[tokio::test]
async fn a_draft_is_found_by_the_products_it_has_now() -> Result<()> {
    let shop = Shop::open().await?;
    let order = shop.place(UserId::new(), &["OLD", "KEPT"], 1000).await?;
    let (ctx, id) = (shop.staff(), order.id.parse::<OrderId>()?);
    let changed = shop.pg.tx("test.lines", shop.tenant, move |conn: &mut Conn| {
        let ctx = ctx.clone();
        async move {
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            let lines =
                ["KEPT", "NEW"].map(|sku| wire::OrderLine { sku: sku.to_owned(), ..Default::default() }).to_vec();
            let changed = wire::OrderItemChanged { lines, totals: order.doc.totals.clone(), ..Default::default() };
            Store::append(conn, &ctx, &order, &[OrderEvent::ItemChanged(changed)]).await
        }
        .boxed()
    });
    changed.await?;
    for (sku, found) in [("OLD", 0), ("KEPT", 1), ("NEW", 1)] {
        let request = wire::ListOrdersRequest { sku: sku.into(), ..list() };
        assert_eq!(shop.numbers(&shop.staff(), request).await?.len(), found, "{sku}");
    }
    Ok(())
}

#[tokio::test]
async fn ord_39_questions_are_answered_by_projections_alone() -> Result<()> {
    let shop = Shop::open().await?;
    let buyer = UserId::new();
    let order = shop.place(buyer, &["A"], 1000).await?;
    // Nothing but the projections can be read from here on, and nothing can be written.
    shop.db
        .admin()
        .await?
        .batch_execute(
            "REVOKE ALL ON ALL TABLES IN SCHEMA om_order FROM om_order;
             GRANT SELECT ON om_order.orders, om_order.order_numbers, om_order.order_skus TO om_order",
        )
        .await?;
    let store = Store::new(shop.pg.clone());
    assert_eq!(store.get(shop.tenant, order.id.parse()?).await?.doc.order_number, 1);
    let criteria = wire::OrderCriteria {
        customer_ids: vec![buyer.to_string()],
        skus: vec!["A".into()],
        sku_prefix: "A-".into(),
        order_numbers: vec![1],
        ..Default::default()
    };
    assert_eq!(shop.search(wire::OrderCriteria { sku_prefix: String::new(), ..criteria.clone() }).await?, [1]);
    assert_eq!(shop.search(criteria).await?, [0; 0]);
    assert_eq!(shop.reads.of_user(&shop.customer(buyer), buyer, 10, String::new()).await?.0.0.len(), 1);
    shop.place(buyer, &["A"], 1000).await.expect_err("commands need the other tables");
    Ok(())
}

#[tokio::test]
async fn ord_08_a_customer_has_no_list_of_another_user() -> Result<()> {
    let shop = Shop::open().await?;
    let (ann, bob) = (UserId::new(), UserId::new());
    shop.place(ann, &["A"], 1000).await?;
    shop.place(bob, &["A"], 1000).await?;
    let numbers = |page: (Page, _)| page.0.0.iter().map(|order| order.order_number).collect::<Vec<_>>();
    let own = shop.reads.of_user(&shop.customer(ann), ann, 10, String::new()).await?;
    assert_eq!(numbers(own), [1]);
    let refused = shop.reads.of_user(&shop.customer(ann), bob, 10, String::new()).await.expect_err("bob's");
    assert_eq!((refused.kind(), refused.reason()), (Kind::NotFound, "USER_NOT_FOUND"));
    assert_eq!(numbers(shop.reads.of_user(&shop.staff(), bob, 10, String::new()).await?), [2]);
    assert!(shop.reads.of_user(&shop.customer(UserId::new()), UserId::new(), 10, String::new()).await.is_err());
    Ok(())
}

/// The plan of a page, made with the values in it as the database makes it.
async fn plan(shop: &Shop, filter: &Filter) -> Result<String> {
    let json = serde_json::json!(filter);
    let conditions = shop.lines(&format!("SELECT om_order.order_conditions('{json}') AS line")).await?;
    let mut conditions = conditions.into_iter().next().context("conditions")?;
    for (parameter, name) in [("$12", "id_from"), ("$13", "id_to"), ("$14", "created_from"), ("$15", "created_to")] {
        conditions = conditions.replace(parameter, &format!("'{}'", json[name].as_str().unwrap_or_default()));
    }
    let conditions = conditions.replace("$1", &format!("'{}'", shop.tenant.uuid()));
    let sql = format!("EXPLAIN SELECT o.doc FROM orders o WHERE {conditions} ORDER BY o.order_id DESC LIMIT 50");
    let mut conn = shop.db.connect("om_order").await?;
    conn.batch_execute(&format!("SET app.tenant = '{}'", shop.tenant.uuid())).await?;
    let lines: Vec<Plan> = diesel::sql_query(sql).load(&mut conn).await?;
    Ok(lines.into_iter().map(|line| line.plan).collect::<Vec<_>>().join("\n"))
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    plan: String,
}

#[tokio::test]
async fn ord_40_a_span_of_dates_looks_only_at_its_months() -> Result<()> {
    let shop = Shop::open().await?;
    shop.place(UserId::new(), &["A"], 1000).await?;
    let parts = shop
        .lines("SELECT inhrelid::regclass::text AS line FROM pg_inherits WHERE inhparent = 'om_order.orders'::regclass ORDER BY 1")
        .await?;
    assert_eq!(parts.len(), 4, "this month and three ahead: {parts:?}");
    let day = SignedDuration::from_hours(24);
    let now = Timestamp::now();
    let all = plan(&shop, &Filter::default()).await?;
    assert!(parts.iter().all(|part| all.contains(part.trim_start_matches("om_order."))), "{all}");
    let soon = plan(&shop, &Filter::default().placed(Some(now + day * 45), Some(now + day * 46))).await?;
    assert_eq!(parts.iter().filter(|part| soon.contains(part.trim_start_matches("om_order."))).count(), 1, "{soon}");
    let past = plan(&shop, &Filter::default().placed(None, Some(now - day * 300))).await?;
    assert_eq!(parts.iter().filter(|part| past.contains(part.trim_start_matches("om_order."))).count(), 1, "{past}");
    Ok(())
}
