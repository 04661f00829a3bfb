//! Sagas as operators read them: one with its log, a page, or live (SAG-01, SAG-06).

use contract::common::v1::Actor;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, SagaId};
use pg::Conn;
use saga::{Definition, LogEntry, View};
use serve::{Look, Watched};
use uuid::Uuid;

use crate::app::place_saga::KIND;
use crate::app::{App, rounds};
use crate::infra::store::wire_time;

/// What a list of sagas asks for.
#[derive(Debug, Clone)]
pub struct ListSagas {
    /// Sagas of the page, 1 to 200.
    pub size: i64,
    /// Token of the page.
    pub token: String,
    /// Which sagas.
    pub filter: saga::Filter,
    /// What a page token is bound to: the filters as they were asked for.
    pub mark: String,
}

impl App {
    /// The tables of this service's sagas.
    pub fn saga_tables(&self) -> Vec<Definition> {
        [&self.place, &self.pay_again, &self.cancel, &self.change, &self.renew, &self.lapse, &self.shortfall]
            .map(Definition::clone)
            .to_vec()
    }

    /// Reads a saga with its log and what others carry out for the same order.
    ///
    /// # Errors
    /// NotFound `SAGA_NOT_FOUND`.
    pub async fn saga(&self, ctx: &Ctx, id: Uuid) -> Result<wire::Saga, Fault> {
        let tenant = ctx.tenant;
        let found = self.store.pg.read("order.saga", tenant, move |conn: &mut Conn| {
            async move { saga::view(conn, tenant, id).await }.boxed()
        });
        let view = found.await?.ok_or_else(saga::not_found)?;
        self.whole_saga(ctx, &view).await
    }

    /// A saga that was read, as operators see it.
    pub(super) async fn whole_saga(&self, ctx: &Ctx, view: &View) -> Result<wire::Saga, Fault> {
        let mut saga = self.drawn(view);
        if view.kind == KIND || view.kind == rounds::KIND {
            let id = about(view).parse().map_err(Fault::internal)?;
            let order = self.store.get(ctx.tenant, id).await?;
            saga.parts = parts(&order.doc);
        }
        Ok(saga)
    }

    /// Pages through sagas.
    ///
    /// # Errors
    /// Invalid `PAGE_TOKEN_INVALID`.
    pub async fn list_sagas(&self, ctx: &Ctx, query: ListSagas) -> Result<wire::ListSagasResponse, Fault> {
        let mark = query.mark.as_bytes();
        let before = match self.pages.open(ctx.tenant, mark, &query.token)? {
            None => None,
            Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
        };
        let (tenant, tables, filter, most) = (ctx.tenant, self.saga_tables(), query.filter, query.size + 1);
        let mut views = self
            .store
            .pg
            .read("order.sagas", tenant, move |conn: &mut Conn| {
                let (tables, filter) = (tables.clone(), filter.clone());
                async move { saga::list(conn, tenant, &tables, &filter, before, most).await }.boxed()
            })
            .await?;
        // One more than the page tells whether there is another.
        let size = usize::try_from(query.size).unwrap_or(usize::MAX);
        let more = views.len() > size;
        views.truncate(size);
        let next_page_token = match views.last() {
            Some(last) if more => self.pages.seal(tenant, mark, last.id.as_bytes()),
            _ => String::new(),
        };
        Ok(wire::ListSagasResponse { sagas: views.iter().map(|view| self.drawn(view)).collect(), next_page_token })
    }

    /// Opens a stream of a saga; `seen` is a version the caller has already.
    ///
    /// # Errors
    /// NotFound `SAGA_NOT_FOUND` before the first message.
    pub async fn watch_saga(&self, ctx: &Ctx, id: Uuid, seen: String) -> Result<Watched<wire::Saga>, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        let look = move |seen: String| {
            let (app, ctx) = (app.clone(), ctx.clone());
            async move {
                let saga = app.saga(&ctx, id).await?;
                let (etag, over) = (saga.etag.clone(), is_over(saga.state()));
                Ok(Look { news: (etag != seen).then_some(saga), etag, over })
            }
        };
        serve::watch(self.store.pg.commits(), seen, look).await
    }

    fn drawn(&self, view: &View) -> wire::Saga {
        let state = state(view);
        let awake =
            matches!(state, wire::SagaState::Running | wire::SagaState::Waiting | wire::SagaState::Compensating);
        wire::Saga {
            id: saga_name(&view.kind, view.id),
            kind: view.kind.clone(),
            state: state.into(),
            step: view.step_name(&self.saga_tables()).to_owned(),
            attempts: view.attempts,
            log: view.log.iter().map(entry).collect(),
            etag: view.seq.to_string(),
            create_time: Some(wire_time(view.created_at)),
            wake_time: awake.then(|| wire_time(view.wake_at)),
            undo_reason: view.undo_reason.clone().unwrap_or_default(),
            parts: Vec::new(),
            order_id: about(view),
        }
    }
}

/// The order that a saga is about.
fn about(view: &View) -> String {
    view.subject.clone().unwrap_or_else(|| OrderId::from_uuid(view.id).to_string())
}

/// What a saga is called: the saga of a placed order by the order, any other by itself, a later round of paying too.
pub fn saga_name(kind: &str, id: Uuid) -> String {
    if kind == KIND { OrderId::from_uuid(id).to_string() } else { SagaId::from_uuid(id).to_string() }
}

/// The word of the store for a state that operators ask for.
pub fn stored_state(state: wire::SagaState) -> &'static str {
    match state {
        wire::SagaState::Unspecified => "",
        wire::SagaState::Running => "running",
        wire::SagaState::Waiting => "waiting",
        wire::SagaState::Compensating => "compensating",
        wire::SagaState::Completed => "completed",
        wire::SagaState::Compensated => "compensated",
        wire::SagaState::NeedsAttention => "attention",
        wire::SagaState::Resolved => "resolved",
    }
}

fn state(view: &View) -> wire::SagaState {
    match (view.status.as_str(), view.phase.as_str()) {
        ("completed", _) => wire::SagaState::Completed,
        ("compensated", _) => wire::SagaState::Compensated,
        ("attention", _) => wire::SagaState::NeedsAttention,
        ("resolved", _) => wire::SagaState::Resolved,
        (_, "undo") => wire::SagaState::Compensating,
        ("waiting", _) => wire::SagaState::Waiting,
        _ => wire::SagaState::Running,
    }
}

fn is_over(state: wire::SagaState) -> bool {
    matches!(state, wire::SagaState::Completed | wire::SagaState::Compensated | wire::SagaState::Resolved)
}

fn entry(entry: &LogEntry) -> wire::SagaLogEntry {
    let actor = entry.actor.as_deref().and_then(|actor| actor.split_once(' '));
    wire::SagaLogEntry {
        sequence: entry.seq,
        step: entry.step.clone(),
        phase: entry.phase.clone(),
        outcome: entry.outcome.clone(),
        detail: entry.detail.clone(),
        occur_time: Some(wire_time(entry.occurred_at())),
        actor: actor.map(|(kind, id)| Actor { kind: kind.to_owned(), id: id.to_owned() }),
    }
}

/// The payment and the parcels of an order, each driven on its own under its own id (SAG-03).
fn parts(order: &wire::Order) -> Vec<wire::SagaPart> {
    let part = |kind: &str, id: &str| wire::SagaPart { kind: kind.to_owned(), id: id.to_owned() };
    let payment = order.payment.iter().filter(|payment| !payment.payment_id.is_empty());
    let payment = payment.map(|payment| part("payment", &payment.payment_id));
    payment.chain(order.shipments.iter().map(|parcel| part("ship", &parcel.shipment_id))).collect()
}
