//! Events, tries and letters against a real database and the mail sink over real SMTP.

mod bus;
mod mesh;
mod once;
mod rows;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::Event;
use contract::common::v1::Money;
use contract::identity::v1::User;
use contract::order::v1::{
    LineQuantity, Order, OrderCancelled, OrderConfirmed, OrderDelivered, OrderLine, OrderRefunded, OrderShipped,
    OrderTotals, ShipmentSummary,
};
use ctx::{Cause, Ctx};
use ids::{OrderId, ShipmentId, TenantId, UserId};
use jiff::Timestamp;
use outbox::Delivery;
use pg::Pg;
use serde_json::{Value, json};
use serve::Settings;
use serve::page::Pages;
use simulators::{Config, Ports, Simulators};
use testkit::{Db, eventually};
use uuid::Uuid;

use self::mesh::Others;
use crate::channels::email::Email;
use crate::engine;
use crate::letter::Letters;
use crate::model::{Message, State};
use crate::mount::App;
use crate::retry::Retry;
use crate::store::{Filter, Store};
use crate::{MIGRATIONS, handlers};

const LIMIT: Duration = Duration::from_secs(60);
/// Pauses that a test can wait for.
const RETRY: Retry = Retry { first: Duration::from_millis(20), longest: Duration::from_millis(200), tries: 100 };

/// A service without a bus: tests deliver the events.
struct World {
    db: Db,
    pg: Pg,
    app: App,
    others: Others,
}

/// A shop's order and its buyer.
#[derive(Clone)]
struct Case {
    tenant: TenantId,
    order: OrderId,
    customer: UserId,
    email: String,
}

impl World {
    /// A fresh database, and a mail server at a port that may be closed.
    async fn at(smtp: u16, retry: Retry) -> anyhow::Result<Self> {
        let db = Db::fresh("notification", MIGRATIONS).await?;
        let (others, settings) = (Others::default(), Settings::isolated());
        let pg = db.pg("notification");
        let app = App {
            store: Store::new(pg.clone()),
            email: Email::new(&format!("smtp://127.0.0.1:{smtp}").into(), "A Shop <orders@shop.example>")?,
            letters: Letters::new()?,
            peers: others.mesh()?,
            pages: Pages::new(&settings.page_token_key),
            retry,
        };
        Ok(Self { db, pg, app, others })
    }

    /// An order of two products at a shop of its own.
    fn case(&self) -> Case {
        let case = Case {
            tenant: TenantId::new(),
            order: OrderId::new(),
            customer: UserId::new(),
            email: format!("{}@buyer.example", Uuid::now_v7().simple()),
        };
        let user = User { email: case.email.clone(), display_name: "Ada <b>Lovelace</b>".into(), ..User::default() };
        let mut notes = self.others.notes();
        notes.users.insert(case.customer.to_string(), user);
        notes.orders.insert(case.order.to_string(), order());
        case
    }

    /// Delivers an event in a transaction, as the consumer does; each delivery is another event of the bus.
    async fn deliver<E: Event>(&self, case: &Case, event: &E) -> anyhow::Result<()> {
        self.deliver_all(case, std::slice::from_ref(event)).await
    }

    /// The same with events that came together.
    async fn deliver_all<E: Event>(&self, case: &Case, events: &[E]) -> anyhow::Result<()> {
        let about = match E::TYPE.rsplit('.').next().unwrap_or_default() {
            "OrderConfirmed" => handlers::confirmed,
            "OrderShipped" => handlers::shipped,
            "OrderDelivered" => handlers::delivered,
            "OrderCancelled" => handlers::cancelled,
            "OrderRefunded" => handlers::refunded,
            other => panic!("nobody listens to {other}"),
        };
        let delivery = |event: &E| {
            let event_id = Uuid::now_v7();
            let cause = Cause { correlation_id: "story".into(), causation_id: event_id.to_string(), traceparent: None };
            Arc::new(Delivery {
                ctx: Ctx::service("notification", case.tenant, cause, Timestamp::now()),
                event_id,
                type_name: E::TYPE.to_owned(),
                stream: case.order.uuid(),
                version: 1,
                payload: event.encode_to_vec(),
            })
        };
        let deliveries: Vec<_> = events.iter().map(delivery).collect();
        let handled =
            self.pg.tx("test.deliver", case.tenant, move |conn| handlers::tell(conn, deliveries.clone(), about));
        Ok(handled.await?)
    }

    async fn confirm(&self, case: &Case) -> anyhow::Result<()> {
        self.deliver(case, &case.confirmed()).await
    }

    /// The messages of a shop, newest first.
    async fn messages(&self, case: &Case) -> anyhow::Result<Vec<Message>> {
        Ok(self.app.store.list(case.tenant, Filter::default(), None, 100).await?)
    }

    /// The shop's only message with its tries.
    async fn only(&self, case: &Case) -> anyhow::Result<Message> {
        let all = self.messages(case).await?;
        anyhow::ensure!(all.len() == 1, "{} messages", all.len());
        Ok(self.app.store.get(case.tenant, all[0].id()).await?)
    }

    /// Looks for what is due until the shop's only message is in a state.
    async fn until(&self, case: &Case, state: State) -> anyhow::Result<Message> {
        eventually(LIMIT, async || {
            engine::round(&self.app, 40).await?;
            let message = self.only(case).await?;
            anyhow::ensure!(message.state == state, "{:?} after {:?}", message.state, message.log);
            Ok(Some(message))
        })
        .await
    }
}

impl Case {
    fn confirmed(&self) -> OrderConfirmed {
        OrderConfirmed { order_id: self.order.to_string(), customer_id: self.customer.to_string() }
    }

    fn shipped(&self, shipment: ShipmentId) -> OrderShipped {
        let shipment = ShipmentSummary {
            shipment_id: shipment.to_string(),
            carrier: "fedex".into(),
            tracking_number: "794-1".into(),
            ..ShipmentSummary::default()
        };
        OrderShipped {
            order_id: self.order.to_string(),
            shipment: Some(shipment),
            lines: vec![LineQuantity { line: 2, quantity: 1 }],
            customer_id: self.customer.to_string(),
        }
    }

    fn delivered(&self, shipment: ShipmentId) -> OrderDelivered {
        OrderDelivered {
            order_id: self.order.to_string(),
            shipment_id: shipment.to_string(),
            lines: vec![LineQuantity { line: 2, quantity: 1 }],
            customer_id: self.customer.to_string(),
        }
    }

    fn cancelled(&self) -> OrderCancelled {
        let (order_id, customer_id) = (self.order.to_string(), self.customer.to_string());
        OrderCancelled { order_id, customer_id, ..OrderCancelled::default() }
    }

    fn refunded(&self, minor: i64) -> OrderRefunded {
        let (order_id, customer_id) = (self.order.to_string(), self.customer.to_string());
        OrderRefunded { order_id, refunded: usd(minor), customer_id }
    }
}

fn usd(minor: i64) -> Option<Money> {
    Some(Money { currency_code: "USD".into(), amount_minor: minor })
}

fn order() -> Order {
    let line = |line: i32, name: &str, quantity: i32, unit: i64| OrderLine {
        line,
        sku: format!("SKU-{line}"),
        display_name: name.into(),
        quantity,
        unit_price: usd(unit),
        net: usd(unit * i64::from(quantity)),
        ..OrderLine::default()
    };
    let totals =
        OrderTotals { items_net: usd(4498), shipping: usd(500), tax: usd(371), total: usd(5369), discount: usd(250) };
    Order {
        order_number: 17,
        currency_code: "USD".into(),
        lines: vec![line(1, "Tea <script>alert(1)</script>", 2, 1999), line(2, "Cup & saucer", 1, 500)],
        totals: Some(totals),
        ..Order::default()
    }
}

/// A mail sink, and how it is asked.
struct Mail {
    sims: Simulators,
    http: resilience::Http,
}

impl Mail {
    /// At a port; 0 is any.
    async fn start(smtp: u16) -> anyhow::Result<Self> {
        let ports = Ports { smtp, ..Ports::default() };
        let sims = Simulators::start(Config { speed: 0.0, ports, ..Config::default() }).await?;
        let url = format!("http://{}", sims.smtp_http);
        Ok(Self { http: resilience::Http::new("sim", &url, Duration::from_secs(5))?, sims })
    }

    fn port(&self) -> u16 {
        self.sims.smtp.port()
    }

    /// The mails to a buyer, oldest first.
    async fn to(&self, case: &Case) -> anyhow::Result<Vec<Value>> {
        let path = format!("/_sim/messages?to={}", case.email);
        Ok(self.http.send("messages", self.http.get(&path)).await?.json()?)
    }

    async fn only(&self, case: &Case) -> anyhow::Result<Value> {
        let mut mails = self.to(case).await?;
        anyhow::ensure!(mails.len() == 1, "{} mails", mails.len());
        mails.pop().context("one")
    }

    /// The next message of any buyer, so many times, ends so.
    async fn fault(&self, kind: &str, times: u32) -> anyhow::Result<()> {
        let rules = json!([{"op": "message", "kind": kind, "times": times, "delay_ms": 1}]);
        let answer = self.http.send("faults", self.http.post("/_sim/faults").json(&rules)).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
        Ok(())
    }
}
