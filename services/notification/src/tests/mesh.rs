//! The services that are asked when a message is sent, behind the real tower stack.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use contract::identity::v1 as identity;
use contract::order::v1 as order;
use fault::Fault;
use futures::stream::BoxStream;
use serve::auth::SigningKey;
use serve::{Limits, Mesh, Peers};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the others know.
#[derive(Default)]
pub(super) struct Notes {
    pub orders: HashMap<String, order::Order>,
    pub users: HashMap<String, identity::User>,
    /// Nobody knows the recipient for now.
    pub identity_away: bool,
}

#[derive(Clone, Default)]
pub(super) struct Others(pub Arc<Mutex<Notes>>);

impl Others {
    pub(super) fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().expect("no test panics while it holds the notes")
    }

    pub(super) fn mesh(&self) -> anyhow::Result<Peers> {
        let mesh = Mesh::new(SigningKey::from_pkcs8("mesh", &SigningKey::generate())?);
        let orders = order::order_query_service_server::OrderQueryServiceServer::new(self.clone());
        mesh.attach("order", Routes::new(orders), Limits::default());
        let customers = identity::customer_service_server::CustomerServiceServer::new(self.clone());
        mesh.attach("identity", Routes::new(customers), Limits::default());
        Ok(mesh.peers("notification"))
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'f>>;

/// Methods that notification must not call.
macro_rules! not_called {
    ($($name:ident: $request:ty => $response:ty),* $(,)?) => {$(
        fn $name<'s, 'f>(&'s self, _: Request<$request>) -> Answer<'f, $response> where 's: 'f, Self: 'f {
            Box::pin(async { Err(Status::unimplemented("notification does not call this")) })
        }
    )*};
}

#[tonic::async_trait]
impl order::order_query_service_server::OrderQueryService for Others {
    type WatchOrderStream = BoxStream<'static, Result<order::Order, Status>>;

    async fn get_order(&self, request: Request<order::GetOrderRequest>) -> Result<Response<order::Order>, Status> {
        let known = self.notes().orders.get(&request.into_inner().order_id).cloned();
        Ok(Response::new(known.ok_or_else(|| Fault::not_found("ORDER_NOT_FOUND", "no such order"))?))
    }

    not_called! {
        list_orders: order::ListOrdersRequest => order::ListOrdersResponse,
        list_user_orders: order::ListUserOrdersRequest => order::ListUserOrdersResponse,
        search_orders: order::SearchOrdersRequest => order::SearchOrdersResponse,
        count_orders: order::CountOrdersRequest => order::CountOrdersResponse,
        get_order_view: order::GetOrderViewRequest => order::OrderView,
        list_order_events: order::ListOrderEventsRequest => order::ListOrderEventsResponse,
        watch_order: order::WatchOrderRequest => Self::WatchOrderStream,
    }
}

#[tonic::async_trait]
impl identity::customer_service_server::CustomerService for Others {
    async fn get_customer(
        &self,
        request: Request<identity::GetCustomerRequest>,
    ) -> Result<Response<identity::User>, Status> {
        let notes = self.notes();
        if notes.identity_away {
            return Err(Fault::unavailable("AWAY", "gone for now").into());
        }
        let known = notes.users.get(&request.into_inner().user_id).cloned();
        Ok(Response::new(known.ok_or_else(|| Fault::not_found("USER_NOT_FOUND", "no such user"))?))
    }

    not_called! {
        set_customer_standing: identity::SetCustomerStandingRequest => identity::User,
    }
}
