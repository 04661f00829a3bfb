//! The services that shipping calls, behind the real tower stack: they note what is asked and fail when told to.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::payment::v1 as pay;
use fault::Fault;
use serve::auth::SigningKey;
use serve::{Limits, Mesh, Peers};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What was asked and what is answered.
#[derive(Default)]
pub(super) struct Notes {
    pub captures: Vec<pay::CapturePaymentRequest>,
    pub consumed: Vec<inv::ConsumeReservationRequest>,
    pub released: Vec<ful::ShipFulfillmentRequest>,
    /// Says no to captures with this reason, for good.
    pub refuse_capture: Option<&'static str>,
    /// Calls that fail before any is answered.
    pub unavailable: u32,
    /// The warehouse does not answer.
    pub warehouse_away: bool,
}

#[derive(Clone, Default)]
pub(super) struct Others(pub Arc<Mutex<Notes>>);

impl Others {
    pub(super) fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().expect("no test panics while it holds the notes")
    }

    pub(super) fn mesh(&self) -> anyhow::Result<Peers> {
        let mesh = Mesh::new(SigningKey::from_pkcs8("mesh", &SigningKey::generate())?);
        let payment = pay::payment_service_server::PaymentServiceServer::new(self.clone());
        mesh.attach("payment", Routes::new(payment), Limits::default());
        let reservations = inv::reservation_service_server::ReservationServiceServer::new(self.clone());
        let warehouses = inv::warehouse_service_server::WarehouseServiceServer::new(self.clone());
        mesh.attach("inventory", Routes::new(reservations).add_service(warehouses), Limits::default());
        let fulfillment = ful::fulfillment_service_server::FulfillmentServiceServer::new(self.clone());
        let queries = ful::fulfillment_query_service_server::FulfillmentQueryServiceServer::new(self.clone());
        mesh.attach("fulfillment", Routes::new(fulfillment).add_service(queries), Limits::default());
        Ok(mesh.peers("shipping"))
    }

    fn admit(&self) -> Result<std::sync::MutexGuard<'_, Notes>, Status> {
        let mut notes = self.notes();
        if notes.unavailable > 0 {
            notes.unavailable -= 1;
            return Err(Fault::unavailable("AWAY", "gone for now").into());
        }
        Ok(notes)
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'f>>;

/// Methods that shipping must not call.
macro_rules! not_called {
    ($($name:ident: $request:ty => $response:ty),* $(,)?) => {$(
        fn $name<'s, 'f>(&'s self, _: Request<$request>) -> Answer<'f, $response> where 's: 'f, Self: 'f {
            Box::pin(async { Err(Status::unimplemented("shipping does not call this")) })
        }
    )*};
}

#[tonic::async_trait]
impl pay::payment_service_server::PaymentService for Others {
    async fn capture_payment(
        &self,
        request: Request<pay::CapturePaymentRequest>,
    ) -> Result<Response<pay::Payment>, Status> {
        let mut notes = self.admit()?;
        if let Some(reason) = notes.refuse_capture {
            return Err(Fault::precondition(reason, "no").into());
        }
        notes.captures.push(request.into_inner());
        Ok(Response::new(pay::Payment::default()))
    }

    not_called! {
        authorize_payment: pay::AuthorizePaymentRequest => pay::Payment,
        inquire_payment: pay::InquirePaymentRequest => pay::Payment,
        void_payment: pay::VoidPaymentRequest => pay::Payment,
        refund_payment: pay::RefundPaymentRequest => pay::Refund,
        get_payment: pay::GetPaymentRequest => pay::Payment,
        list_payments: pay::ListPaymentsRequest => pay::ListPaymentsResponse,
        increment_authorization: pay::IncrementAuthorizationRequest => pay::Payment,
        reauthorize_payment: pay::ReauthorizePaymentRequest => pay::Payment,
        complete_payment_action: pay::CompletePaymentActionRequest => pay::Payment,
        mark_paid: pay::MarkPaidRequest => pay::Payment,
        list_payment_events: pay::ListPaymentEventsRequest => pay::ListPaymentEventsResponse,
        get_refund: pay::GetRefundRequest => pay::Refund,
        list_refunds: pay::ListRefundsRequest => pay::ListRefundsResponse,
    }
}

#[tonic::async_trait]
impl inv::reservation_service_server::ReservationService for Others {
    async fn consume_reservation(
        &self,
        request: Request<inv::ConsumeReservationRequest>,
    ) -> Result<Response<inv::Reservation>, Status> {
        self.admit()?.consumed.push(request.into_inner());
        Ok(Response::new(inv::Reservation::default()))
    }

    not_called! {
        reserve_stock: inv::ReserveStockRequest => inv::Reservation,
        confirm_reservation: inv::ConfirmReservationRequest => inv::Reservation,
        release_reservation: inv::ReleaseReservationRequest => inv::Reservation,
        get_reservation: inv::GetReservationRequest => inv::Reservation,
    }
}

#[tonic::async_trait]
impl inv::warehouse_service_server::WarehouseService for Others {
    async fn get_warehouse(
        &self,
        request: Request<inv::GetWarehouseRequest>,
    ) -> Result<Response<inv::Warehouse>, Status> {
        let address = Some(super::address());
        Ok(Response::new(inv::Warehouse { code: request.into_inner().code, address, ..inv::Warehouse::default() }))
    }

    not_called! {
        create_warehouse: inv::CreateWarehouseRequest => inv::Warehouse,
        list_warehouses: inv::ListWarehousesRequest => inv::ListWarehousesResponse,
    }
}

#[tonic::async_trait]
impl ful::fulfillment_service_server::FulfillmentService for Others {
    async fn ship_fulfillment(
        &self,
        request: Request<ful::ShipFulfillmentRequest>,
    ) -> Result<Response<ful::Fulfillment>, Status> {
        let mut notes = self.admit()?;
        if notes.warehouse_away {
            return Err(Fault::unavailable("WMS_UNAVAILABLE", "away").into());
        }
        notes.released.push(request.into_inner());
        Ok(Response::new(ful::Fulfillment::default()))
    }

    not_called! {
        create_fulfillment: ful::CreateFulfillmentRequest => ful::Fulfillment,
        cancel_fulfillment: ful::CancelFulfillmentRequest => ful::CancelFulfillmentResponse,
    }
}

#[tonic::async_trait]
impl ful::fulfillment_query_service_server::FulfillmentQueryService for Others {
    async fn get_fulfillment(
        &self,
        request: Request<ful::GetFulfillmentRequest>,
    ) -> Result<Response<ful::Fulfillment>, Status> {
        let ship_to = Some(super::address());
        Ok(Response::new(ful::Fulfillment { id: request.into_inner().fulfillment_id, ship_to, ..Default::default() }))
    }

    not_called! {
        list_fulfillments: ful::ListFulfillmentsRequest => ful::ListFulfillmentsResponse,
    }
}
