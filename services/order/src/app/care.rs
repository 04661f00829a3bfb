//! Notes, holds and ratings of orders.

use std::sync::Arc;

use contract::common::v1::Actor;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use pg::{Conn, Once};

use crate::app::cancel_order::refused;
use crate::app::change_order::{Subject, read};
use crate::app::place_saga::CONFIRM;
use crate::app::rounds::{run_in, same_run};
use crate::app::{App, TURNS, overtaken};
use crate::domain::order::{Order, Refusal};
use crate::infra::seal::{Spot, column};
use crate::infra::store::{Store, wire_time};

impl App {
    /// Notes something on an order in the caller's name (ORD-47), once per idempotency key.
    ///
    /// # Errors
    /// Invalid with the wrong field; Precondition `ORDER_FULL`.
    pub async fn add_note(&self, ctx: &Ctx, subject: &Subject, text: String) -> Result<Once<wire::Order>, Fault> {
        let mut wrong = Violations::default();
        check_text("text", &text, 1, 1000, &mut wrong);
        wrong.finish()?;
        let (kind, id) = ctx.principal.actor();
        let author = Actor { kind: kind.to_owned(), id };
        let text = self.sealed_text(ctx, column::NOTE, &subject.id.to_string(), &text).await?;
        let at = wire_time(ctx.now);
        let decide = move |order: &Order| order.add_note(&text, author.clone(), at);
        self.change("order.add_note", ctx, subject, Arc::new(decide)).await
    }

    /// Says how it was; only who bought it may.
    ///
    /// # Errors
    /// Invalid with every wrong field; Denied `NOT_YOUR_ORDER`; Precondition `ORDER_STATE_FORBIDS`.
    pub async fn rate(&self, ctx: &Ctx, subject: &Subject, stars: i32, comment: String) -> Result<wire::Order, Fault> {
        let mut wrong = Violations::default();
        if !(1..=5).contains(&stars) {
            wrong.add("stars", "STARS_INVALID", "1 to 5");
        }
        check_text("comment", &comment, 0, 1000, &mut wrong);
        wrong.finish()?;
        let order = self.get(ctx, subject.id).await?;
        if ctx.principal.user_id().is_none_or(|user| user.to_string() != order.doc.customer_id) {
            return Err(Fault::denied("NOT_YOUR_ORDER", "only who bought it can say how it was"));
        }
        let at = wire_time(ctx.now);
        // The same word again stays sealed as it is, so that it is found to be the same.
        let said = order.doc.rating.as_ref().map_or("", |rating| rating.comment.as_str());
        let spot = Spot { tenant: ctx.tenant, column: column::RATING, row: &order.doc.id };
        let comment = self.safe.seal_text_like(spot, said, &comment).await?;
        let decide = move |order: &Order| order.rate(stars, &comment, at);
        Ok(self.change("order.rate", ctx, subject, Arc::new(decide)).await?.response)
    }

    /// Keeps the warehouse from hearing of an order until the hold is released.
    ///
    /// # Errors
    /// Invalid with the wrong field; Precondition `ORDER_STATE_FORBIDS`, also while the warehouse is being asked.
    pub async fn hold(&self, ctx: &Ctx, subject: &Subject, reason: String) -> Result<wire::Order, Fault> {
        let mut wrong = Violations::default();
        check_text("reason", &reason, 1, 200, &mut wrong);
        wrong.finish()?;
        self.halt(ctx, subject, Some(reason)).await
    }

    /// Lets an order go on.
    ///
    /// # Errors
    /// Aborted `ETAG_MISMATCH`.
    pub async fn release(&self, ctx: &Ctx, subject: &Subject) -> Result<wire::Order, Fault> {
        self.halt(ctx, subject, None).await
    }

    async fn halt(&self, ctx: &Ctx, subject: &Subject, hold: Option<String>) -> Result<wire::Order, Fault> {
        for turn in 1.. {
            let halted = self.halt_once(ctx, subject, hold.clone()).await;
            if turn >= TURNS || !overtaken(&halted) {
                return halted;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    async fn halt_once(&self, ctx: &Ctx, subject: &Subject, hold: Option<String>) -> Result<wire::Order, Fault> {
        let (context, subject) = (ctx.clone(), subject.clone());
        let halted = self.store.pg.tx("order.hold", ctx.tenant, move |conn: &mut Conn| {
            let (ctx, subject, hold) = (context.clone(), subject.clone(), hold.clone());
            async move {
                // The saga's row first: its engine locks in that order too. Behind the last step before the request it
                // may be asking already; a hold that it would not see is refused.
                let last = if hold.is_some() { CONFIRM } else { CONFIRM + 1 };
                let run = run_in(conn, ctx.tenant, subject.id).await?;
                let waiting = saga::wake(conn, ctx.tenant, run, last).await?;
                let order = read(conn, &ctx, &subject).await?;
                same_run(&order, run)?;
                let decided = match &hold {
                    Some(reason) => order.hold(reason),
                    None => order.release(),
                };
                match decided {
                    Ok(_) if hold.is_some() && !waiting => Err(refused(&Refusal::State(order.state())).into()),
                    Ok(events) => Ok(Store::append(conn, &ctx, &order, &events).await?.doc),
                    Err(Refusal::Already) => Ok(order.doc),
                    Err(why) => Err(refused(&why).into()),
                }
            }
            .boxed()
        });
        Ok(halted.await?)
    }
}

/// Checks a text that people write.
pub(super) fn check_text(field: &'static str, text: &str, min: usize, max: usize, wrong: &mut Violations) {
    let length = text.trim().chars().count();
    if length < min {
        wrong.add(field, "REQUIRED", format!("{min} to {max} characters"));
    } else if length > max {
        wrong.add(field, "TOO_LONG", format!("{min} to {max} characters"));
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n') {
        wrong.add(field, "CONTROL_CHARACTER", "no control characters but line breaks");
    }
}
