//! Every step and every undo of the sagas, called as a service does, twice and in the wrong order.

use std::fmt::Debug;

use anyhow::{Result, ensure};
use contract::common::v1::{Address, Money};
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::fulfillment::v1::{
    CancelFulfillmentRequest, CreateFulfillmentRequest, FulfillmentLine, ShipFulfillmentRequest,
};
use contract::inventory::v1::reservation_service_client::ReservationServiceClient;
use contract::inventory::v1::{
    ConfirmReservationRequest, ConsumeReservationRequest, DemandLine, ReleaseReservationRequest, ReserveStockRequest,
};
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, InquirePaymentRequest, VoidPaymentRequest,
};
use ctx::{Cause, Ctx};
use fault::{Fault, Kind};
use ids::{OrderId, TenantId};
use jiff::Timestamp;
use serde_json::Value;
use serve::{Mesh, PeerClient, Peers};
use testkit::order;
use tonic::{Request, Response, Status};

use crate::journey::world::{Faulty, list, minor, number, speed, text};

/// A service that calls others about one order.
#[derive(Clone)]
struct Caller {
    peers: Peers,
    ctx: Ctx,
    order: String,
}

impl Caller {
    fn new(mesh: &Mesh, service: &str, tenant: TenantId, order: &str) -> Self {
        let cause = Cause { correlation_id: "repeat".to_owned(), ..Cause::default() };
        let ctx = Ctx::service(service, tenant, cause, Timestamp::now());
        Self { peers: mesh.peers(service), ctx, order: order.to_owned() }
    }

    /// The request of a saga's step: every try has the same key.
    fn step<M>(&self, step: &str, message: M) -> Request<M> {
        self.peers.request_keyed(&self.ctx, &format!("{}:{step}", self.order), message)
    }

    fn stock(&self) -> ReservationServiceClient<PeerClient> {
        ReservationServiceClient::new(self.peers.to("inventory"))
    }

    fn money(&self) -> PaymentServiceClient<PeerClient> {
        PaymentServiceClient::new(self.peers.to("payment"))
    }

    fn work(&self) -> FulfillmentServiceClient<PeerClient> {
        FulfillmentServiceClient::new(self.peers.to("fulfillment"))
    }

    fn reserve(&self) -> Request<ReserveStockRequest> {
        let lines = vec![DemandLine { sku: "TEE-S".to_owned(), quantity: 4, slot_id: String::new() }];
        let order_id = self.order.clone();
        self.step("reserve:do", ReserveStockRequest { order_id, lines, hold_s: 900, split: true, round: 1 })
    }

    fn authorize(&self) -> Request<AuthorizePaymentRequest> {
        let payment_method = "pm_sim_visa".to_owned();
        let order_id = self.order.clone();
        self.step(
            "authorize:do",
            AuthorizePaymentRequest { order_id, amount: usd(9_980), payment_method, ..Default::default() },
        )
    }

    fn confirm(&self) -> Request<ConfirmReservationRequest> {
        self.step("confirm:do", ConfirmReservationRequest { order_id: self.order.clone() })
    }

    fn create(&self) -> Request<CreateFulfillmentRequest> {
        let to = Address {
            recipient: "Ada".to_owned(),
            line1: "500 Market Street".to_owned(),
            city: "San Francisco".to_owned(),
            region: "CA".to_owned(),
            postal_code: "94105".to_owned(),
            country_code: "US".to_owned(),
            ..Address::default()
        };
        let message = CreateFulfillmentRequest {
            order_id: self.order.clone(),
            warehouse: "OAK".to_owned(),
            lines: vec![FulfillmentLine { line: 1, sku: "TEE-S".to_owned(), quantity: 4 }],
            ship_to: Some(to),
            shipping_service: "STANDARD".to_owned(),
            capture_amount: usd(9_980),
            final_capture: true,
            weight_grams: 720,
            revision: 0,
        };
        self.step("fulfil:do", message)
    }

    fn cancel(&self) -> Request<CancelFulfillmentRequest> {
        self.step("fulfil:undo", CancelFulfillmentRequest { order_id: self.order.clone(), revision: 0 })
    }

    fn void(&self) -> Request<VoidPaymentRequest> {
        self.step("authorize:undo", VoidPaymentRequest { order_id: self.order.clone(), round: 1 })
    }

    fn release(&self) -> Request<ReleaseReservationRequest> {
        self.step("reserve:undo", ReleaseReservationRequest { order_id: self.order.clone(), round: 1 })
    }

    async fn do_everything_twice(&self) -> Result<()> {
        twice("reserve", async || self.stock().reserve_stock(self.reserve()).await).await?;
        twice("authorize", async || self.money().authorize_payment(self.authorize()).await).await?;
        let inquiry = || self.step("authorize:do", InquirePaymentRequest { order_id: self.order.clone(), round: 1 });
        twice("inquire", async || self.money().inquire_payment(inquiry()).await).await?;
        twice("confirm", async || self.stock().confirm_reservation(self.confirm()).await).await?;
        twice("fulfil", async || self.work().create_fulfillment(self.create()).await).await
    }

    async fn undo_everything_twice(&self) -> Result<()> {
        twice("take back", async || self.work().cancel_fulfillment(self.cancel()).await).await?;
        twice("void", async || self.money().void_payment(self.void()).await).await?;
        twice("release", async || self.stock().release_reservation(self.release()).await).await
    }

    /// What was undone stays undone, however late its do arrives.
    async fn every_late_do_is_refused(&self) -> Result<()> {
        refused("RESERVATION_RELEASED", self.stock().reserve_stock(self.reserve()).await)?;
        refused("PAYMENT_VOIDED", self.money().authorize_payment(self.authorize()).await)?;
        refused("RESERVATION_ENDED", self.stock().confirm_reservation(self.confirm()).await)?;
        refused("FULFILLMENT_CANCELLED", self.work().create_fulfillment(self.create()).await)
    }
}

fn usd(minor: i64) -> Option<Money> {
    Some(Money { currency_code: "USD".to_owned(), amount_minor: minor })
}

async fn twice<R: PartialEq + Debug>(what: &str, call: impl AsyncFn() -> Result<Response<R>, Status>) -> Result<()> {
    let first = call().await?.into_inner();
    let again = call().await?.into_inner();
    ensure!(first == again, "{what} gave {first:?}, and repeated {again:?}");
    Ok(())
}

fn refused<R: Debug>(reason: &str, answer: Result<Response<R>, Status>) -> Result<()> {
    let fault = Fault::from(match answer {
        Err(status) => status,
        Ok(answer) => anyhow::bail!("not refused with {reason}: {answer:?}"),
    });
    ensure!(fault.kind() == Kind::Precondition && fault.reason() == reason, "{fault} instead of {reason}");
    Ok(())
}

#[tokio::test]
async fn sag_05_every_step_and_every_undo_of_an_order_repeated_has_one_effect() -> Result<()> {
    let faulty = Faulty::open("repeat").await?;
    let world = &faulty.world;
    // The warehouse takes its time, so that it has not begun to pick when the work is taken back.
    speed(&world.system.wms(), 0.01).await?;
    let mesh = world.system.platform.mesh.clone();
    let (done, undone) = (OrderId::new().to_string(), OrderId::new().to_string());
    let one = Caller::new(&mesh, "order", world.tenant(), &done);
    let early = Caller::new(&mesh, "order", world.tenant(), &undone);
    let moved = faulty.inside(async move || {
        one.do_everything_twice().await?;
        one.undo_everything_twice().await?;
        one.every_late_do_is_refused().await?;
        // The undo of an order that nobody has seen yet leaves its mark.
        early.undo_everything_twice().await?;
        early.every_late_do_is_refused().await
    });
    let moved = moved.await;
    speed(&world.system.wms(), 10.0).await?;
    moved?;
    world.books_agree().await?;
    assert_eq!(world.stock("TEE-S", "OAK").await?, (120, 0));
    let moves = world.money_moves(&done).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "void"]);
    assert!(world.money_moves(&undone).await?.is_empty());
    let lines = "SELECT to_jsonb(reason) AS row FROM om_inventory.stock_ledger \
        WHERE tenant_id = $1 AND sku = 'TEE-S' AND reason <> 'RECEIVE' ORDER BY seq";
    assert_eq!(world.rows(lines).await?, ["RESERVE", "RELEASE"]);
    Ok(())
}

#[tokio::test]
async fn sag_05_every_step_of_a_parcel_repeated_has_one_effect() -> Result<()> {
    let faulty = Faulty::open("repeat-parcel").await?;
    let world = &faulty.world;
    world.product("ODD-777", 777, &[("OAK", 1), ("NJ", 3)]).await?;
    let arrived = world.place_until(&order(&[("ODD-777", 4)]), "DELIVERED").await?;
    let id = text(&arrived, "id").to_owned();
    let shipments = list(&world.csr.get(&format!("/api/v1/shipments?orderId={id}")).await?, "shipments");
    let works = list(&world.csr.get(&format!("/api/v1/fulfillments?orderId={id}")).await?, "fulfillments");
    assert_eq!((shipments.len(), works.len()), (2, 2));
    let before = world.money_moves(&id).await?;
    let caller = Caller::new(&world.system.platform.mesh, "shipping", world.tenant(), &id);
    let pairs: Vec<(Value, Value)> = shipments
        .into_iter()
        .map(|shipment| {
            let work = works.iter().find(|work| work["warehouse"] == shipment["warehouse"]).cloned();
            (shipment, work.unwrap_or_default())
        })
        .collect();
    faulty.inside(async move || repeat_parcels(&caller, &pairs).await).await?;
    assert_eq!(world.money_moves(&id).await?, before);
    assert_eq!(world.stock("ODD-777", "NJ").await?, (0, 0));
    world.books_agree().await
}

async fn repeat_parcels(caller: &Caller, pairs: &[(Value, Value)]) -> Result<()> {
    for (shipment, work) in pairs {
        let amount = minor(&work["captureAmount"]);
        let capture = |minor: i64| {
            let message = CapturePaymentRequest {
                order_id: caller.order.clone(),
                shipment_id: text(shipment, "id").to_owned(),
                amount: usd(minor),
                r#final: work["finalCapture"].as_bool().unwrap_or(false),
            };
            caller.peers.request(&caller.ctx, message)
        };
        twice("capture", async || caller.money().capture_payment(capture(amount)).await).await?;
        refused("CAPTURE_DIFFERS", caller.money().capture_payment(capture(amount + 1)).await)?;
        let units = list(work, "lines");
        let lines = units.iter().map(|line| DemandLine {
            sku: text(line, "sku").to_owned(),
            quantity: i32::try_from(number(&line["quantity"])).unwrap_or(0),
            slot_id: String::new(),
        });
        let consume = ConsumeReservationRequest {
            order_id: caller.order.clone(),
            shipment_id: text(shipment, "id").to_owned(),
            warehouse: text(shipment, "warehouse").to_owned(),
            lines: lines.collect(),
        };
        let request = || caller.peers.request(&caller.ctx, consume.clone());
        twice("consume", async || caller.stock().consume_reservation(request()).await).await?;
        let ship = ShipFulfillmentRequest {
            fulfillment_id: text(work, "id").to_owned(),
            carrier: "fedex".to_owned(),
            tracking_number: text(shipment, "trackingNumber").to_owned(),
        };
        let request = || caller.peers.request(&caller.ctx, ship.clone());
        twice("ship", async || caller.work().ship_fulfillment(request()).await).await?;
    }
    Ok(())
}
