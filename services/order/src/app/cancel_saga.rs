//! The saga of a cancellation after every warehouse has accepted: call the warehouses off, give the money back, release
//! the stock, close the order (`domain.md` 4.5 Cancel).
//!
//! The warehouse decides the race against a parcel that is being packed: where it has begun, the order goes on, and
//! nothing was given back yet. Once it is called off there is no way back.

use std::time::Duration;

use contract::fulfillment::v1::CancelFulfillmentRequest;
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::order::v1::OrderState;
use fault::Fault;
use saga::{Definition, Outcome, Run, Step};

use crate::app::place_saga::{Steps, Try, act, advance, append, begun_everywhere, order_id, undone};

/// Name of the table.
pub const KIND: &str = "cancel";
/// Tries of a step, about a day, before a person has to look.
const TRIES: i32 = 60;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1800));
/// Of which order a saga is that does not share its id.
pub const SUBJECT: &str = "subject";

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    let forward = |step: Step| step.tries(TRIES).backoff(BACKOFF.0, BACKOFF.1).forward_only();
    let table = vec![
        // Not forward only: what the warehouse refuses is no case for a person.
        Step::new("call_off_warehouses", act!(steps, call_off))
            .timeout(Duration::from_secs(30))
            .tries(TRIES + 1)
            .backoff(BACKOFF.0, BACKOFF.1)
            .undo(act!(steps, go_on)),
        forward(Step::new("give_back_money", act!(steps, void)).timeout(Duration::from_secs(17)))
            .undo(act!(steps, go_on)),
        forward(Step::new("release_stock", act!(steps, release)).timeout(Duration::from_secs(7)))
            .undo(act!(steps, go_on)),
        forward(Step::new("close_order", act!(steps, close_cancelled))).undo(act!(steps, go_on)),
    ];
    Definition::new(KIND, 1, table)
}

impl Steps {
    async fn call_off(self, run: Run) -> Try {
        let request = CancelFulfillmentRequest { order_id: order_id(&run).to_string(), revision: 0 };
        let mut client = FulfillmentServiceClient::new(self.peers.to("fulfillment"));
        let answer = client.cancel_fulfillment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        match answer.map_err(Fault::from) {
            Err(fault) if begun_everywhere(&fault) => self.unlock(run, &fault).await,
            // Nobody knows what the warehouse did: the lock stays until somebody does.
            Err(fault) if run.attempt >= TRIES => Ok(Outcome::Attention { reason: fault.to_string() }),
            answer => Ok(undone(answer.map_err(tonic::Status::from), run)),
        }
    }

    /// The warehouse has begun: the order is what it was before, and says why.
    async fn unlock(&self, run: Run, fault: &Fault) -> Try {
        let order = self.order(&run).await?;
        let events = order.reject_cancellation(fault.reason(), OrderState::FulfillmentPending);
        let append = events.ok().map(|events| append(&run.ctx, &order, &events));
        Ok(Outcome::Rejected { reason: fault.reason().to_owned(), state: run.state, append })
    }

    /// A cancellation that the warehouse refused has nothing to undo; any other goes on to its end.
    async fn go_on(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        if order.state() == OrderState::CancellationPending {
            let reason = "a cancellation is carried out to its end".to_owned();
            return Ok(Outcome::Resume { reason, state: run.state, append: None });
        }
        Ok(Outcome::done(run.state))
    }

    async fn close_cancelled(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        match advance(&run.ctx, &order, order.cancel(), run.state.clone()) {
            Outcome::Rejected { reason, .. } => Ok(Outcome::Attention { reason }),
            done => Ok(done),
        }
    }
}
