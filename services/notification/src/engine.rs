//! The job that sends what is due (NOT-05, NOT-08): claim, look up, write, send, settle.
//!
//! A claim is a lease, so a process that dies leaves its messages to the others; who comes back late writes nothing over
//! a later try. While the mail server is away one message at a time finds out whether it is back.

use std::time::Duration;

use contract::identity::v1::customer_service_client::CustomerServiceClient;
use contract::identity::v1::{GetCustomerRequest, User};
use contract::order::v1::order_query_service_client::OrderQueryServiceClient;
use contract::order::v1::{GetOrderRequest, Order};
use ctx::Ctx;
use fault::{Fault, Kind};
use futures::StreamExt;
use ids::TenantId;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::channels::email::AWAY;
use crate::events;
use crate::model::{Message, Outcome};
use crate::mount::App;

/// Messages of one look; all are tried within their lease, even if each try takes as long as it may.
const BATCH: i32 = 28;
/// Messages on their way at the same time.
const AT_ONCE: usize = 4;
/// Longest try; less than the process has to end.
const TRY: Duration = Duration::from_secs(8);
/// How long a claim holds; much more than a try.
const LEASE: Duration = Duration::from_secs(60);
/// Longest pause between two looks.
const NAP: Duration = Duration::from_secs(1);
/// A burst of commits is one look; a longer one while people wait for answers of this process.
const GATHER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// Longest pause between two looks for a mail server that is away.
const REST: Duration = Duration::from_secs(15);

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Messages that were tried.
    pub tried: usize,
    /// The mail server did not answer.
    pub away: bool,
}

/// Sends until cancelled.
pub(crate) async fn run(app: App, cancel: CancellationToken) {
    let mut commits = app.store.commits();
    let mut away = 0_i32;
    while !cancel.is_cancelled() {
        commits.mark_unchanged();
        let limit = if away > 0 { 1 } else { BATCH };
        let more = match round(&app, limit).await {
            Ok(round) => {
                let again = round.tried > 0 && !round.away;
                away = if round.away {
                    away.saturating_add(1)
                } else if again {
                    0
                } else {
                    away
                };
                again
            }
            Err(fault) => {
                tracing::warn!(error = %fault, "cannot look for messages that are due");
                false
            }
        };
        let gather = if ctx::foreground::is_busy() { GATHER.1 } else { GATHER.0 };
        let pause = match away {
            0 if more => gather,
            0 => NAP.mul_f64(rand::random_range(0.9..1.1)),
            _ => GATHER.1.saturating_mul(1 << away.min(5)).min(REST),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => return,
            changed = commits.changed(), if away == 0 && !more => {
                if changed.is_err() { return }
                tokio::time::sleep(gather).await;
            }
        }
    }
}

/// Tries to send what is due.
///
/// # Errors
/// When that cannot be found out.
pub(crate) async fn round(app: &App, limit: i32) -> Result<Round, Fault> {
    let mut claimed = Vec::new();
    for (tenant, ids) in app.store.due(limit).await? {
        let messages = app.store.claim(tenant, ids, LEASE).await?;
        claimed.extend(messages.into_iter().enumerate().map(|(turn, message)| (turn, tenant, message)));
    }
    // The first of every tenant before anybody's second.
    claimed.sort_by_key(|(turn, ..)| *turn);
    let outcomes: Vec<Outcome> = futures::stream::iter(claimed)
        .map(|(_, tenant, message)| async move { attempt(app, tenant, &message).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    Ok(Round { tried: outcomes.len(), away: outcomes.iter().any(|outcome| outcome.name() == AWAY) })
}

/// One try and what became of it.
async fn attempt(app: &App, tenant: TenantId, message: &Message) -> Outcome {
    let mut ctx = Ctx::service("notification", tenant, message.trace.clone(), Timestamp::now()).within(TRY);
    // The event that caused it is long handled; its trace goes on here. Whom it goes to is nobody's to read in a trace.
    let span = tracing::info_span!("send message", message = %message.id(), kind = ?message.kind, tenant = %tenant,
        correlation_id = ctx.cause.correlation_id, trace_id = tracing::field::Empty);
    let cause = &mut ctx.cause;
    cause.traceparent = Some(telemetry::trace::adopt(&span, cause.traceparent.as_deref(), &cause.correlation_id));
    try_once(app, &ctx, message).instrument(span).await
}

async fn try_once(app: &App, ctx: &Ctx, message: &Message) -> Outcome {
    let delivered = tokio::time::timeout(TRY, deliver(app, ctx, message)).await;
    let outcome = delivered.unwrap_or_else(|_| Outcome::Later("TOOK_TOO_LONG".to_owned()));
    let again = match &outcome {
        Outcome::Later(_) => app.retry.pause(message.tries, rand::random()),
        Outcome::Sent | Outcome::Never(_) => None,
    };
    let event = events::ended(message, &outcome, again.is_some());
    if event.is_some() && outcome != Outcome::Sent {
        tracing::warn!(message = %message.id(), outcome = outcome.name(), "a message is not tried any more");
    }
    metrics::counter!("notification_attempts_total", "outcome" => outcome.name().to_owned()).increment(1);
    match app.store.settle(ctx, message, &outcome, again, event).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(message = %message.id(), "somebody else has tried it since"),
        // Its lease runs out and it is tried again, under the same Message-ID.
        Err(fault) => tracing::error!(message = %message.id(), error = %fault, "the outcome of a try is not kept"),
    }
    outcome
}

async fn deliver(app: &App, ctx: &Ctx, message: &Message) -> Outcome {
    let (order, user) = match tokio::try_join!(order(app, ctx, message), recipient(app, ctx, message)) {
        Ok(known) => known,
        Err(fault) if matches!(fault.kind(), Kind::NotFound) => return Outcome::Never(fault.reason().to_owned()),
        Err(fault) => return Outcome::Later(fault.reason().to_owned()),
    };
    match app.letters.write(message, &order, &user.display_name) {
        Ok(letter) => app.email.send(message.id(), &user.email, letter).await,
        Err(fault) => {
            tracing::error!(message = %message.id(), error = %fault, "a letter cannot be written");
            Outcome::Later("LETTER_UNWRITABLE".to_owned())
        }
    }
}

async fn order(app: &App, ctx: &Ctx, message: &Message) -> Result<Order, Fault> {
    let request = app.peers.request(ctx, GetOrderRequest { order_id: message.order().to_string() });
    let answer = OrderQueryServiceClient::new(app.peers.to("order")).get_order(request).await?;
    Ok(answer.into_inner())
}

/// Whom the message is for; whether the address was ever verified decides who may buy, not who is told of what he bought.
async fn recipient(app: &App, ctx: &Ctx, message: &Message) -> Result<User, Fault> {
    let request = app.peers.request(ctx, GetCustomerRequest { user_id: message.customer().to_string() });
    let answer = CustomerServiceClient::new(app.peers.to("identity")).get_customer(request).await?;
    Ok(answer.into_inner())
}
