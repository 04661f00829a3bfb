//! Judging orders, and ending the reviews of people.

use contract::Event;
use contract::common::v1::Address;
use contract::payment::v1::{RiskReviewOpened, RiskReviewResolved};
use ctx::Ctx;
use eventlog::NewEvent;
use fault::Fault;
use ids::{OrderId, TenantId, UserId};
use jiff::Timestamp;
use uuid::Uuid;

use super::Fraud;
use super::judge::{Facts, Policy, Stage, decide};
use super::store::{Ending, Entry, Recorded, Subjects, Verdict};

/// Facts that change this often in a row change for another reason than a race.
const TURNS: usize = 8;

/// An order that is to be judged.
#[derive(Debug, Clone)]
pub struct Judge {
    pub order: OrderId,
    /// Which round of paying it, from 1.
    pub round: i32,
    pub stage: Stage,
    pub customer: UserId,
    /// What it costs, minor units.
    pub amount: i64,
    /// Provider's token.
    pub method: String,
    /// Where it came from; empty when nobody knows.
    pub ip: String,
    pub address: Option<Address>,
    pub policy: Policy,
}

/// A page of the review queue.
#[derive(Debug)]
pub struct Queue {
    pub reviews: Vec<Entry>,
    pub next: String,
}

impl Fraud {
    /// Judges an order once per round of paying it and stage; one call of the database unless something speaks against the order.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn judge(&self, ctx: &Ctx, order: Judge) -> Result<Entry, Fault> {
        let subjects = self.subjects(ctx.tenant, &order).await?;
        let mut bits = 0;
        for _ in 0..TURNS {
            let facts = Facts::of_bits(order.amount, bits);
            let scorer = order.policy.scorer.scorer();
            let score = scorer.score(&facts);
            let decision = decide(&order.policy, order.stage, &facts, &score);
            let opened = event(&RiskReviewOpened {
                order_id: order.order.to_string(),
                score: score.points,
                reasons: score.reasons.iter().map(|(code, _)| (*code).to_owned()).collect(),
            });
            let verdict = Verdict { bits, decision, score: &score, scorer: scorer.name(), opened };
            let subjects = subjects.clone();
            match self
                .store
                .record(ctx, (order.order, order.round), order.stage, &order.policy, subjects, verdict)
                .await?
            {
                Recorded::Entry(entry) => {
                    metrics::counter!("risk_decisions_total", "decision" => decision.as_str()).increment(1);
                    return Ok(*entry);
                }
                Recorded::Facts(found) => bits = found,
            }
        }
        Err(Fault::aborted("CONTENTION", "what is known of the order changes too fast"))
    }

    /// Digests keyed by the tenant: nobody who reads the rows can try addresses against them, nor compare them across
    /// shops.
    async fn subjects(&self, tenant: TenantId, order: &Judge) -> Result<Subjects, Fault> {
        if order.policy.velocity_limit == 0 || order.stage != Stage::Placed {
            return Ok(Subjects::default());
        }
        let digest = async |column: &str, text: &str| {
            self.vault.digest(tenant, &format!("risk_journal.{column}"), text.as_bytes()).await
        };
        let place = order.address.as_ref().map(|address| {
            let fields = [&address.country_code, &address.postal_code, &address.city, &address.line1, &address.line2];
            fields.map(|field| field.trim().to_lowercase()).join("\n")
        });
        Ok(Subjects {
            customer: Some(order.customer.uuid()),
            card: Some(digest("card", &order.method).await?),
            ip: if order.ip.is_empty() { None } else { Some(digest("ip", &order.ip).await?) },
            address: match place {
                Some(place) => Some(digest("address", &place).await?),
                None => None,
            },
        })
    }

    /// Ends a review; the same end again changes nothing.
    ///
    /// # Errors
    /// NotFound `REVIEW_NOT_FOUND`; Precondition `REVIEW_ENDED` with `state` when it ended otherwise.
    pub async fn end_review(&self, ctx: &Ctx, order: OrderId, state: &'static str, why: &str) -> Result<Entry, Fault> {
        let reason = why.trim();
        let last = self.store.of_order(ctx.tenant, order).await?.pop();
        let resolved = RiskReviewResolved {
            order_id: order.to_string(),
            state: state.to_owned(),
            reason: reason.to_owned(),
            round: last.map_or(1, |entry| entry.round),
        };
        let ended = self.store.resolve(ctx, order, state, reason, event(&resolved)).await?;
        match (ended.verdict, ended.entry) {
            (Ending::Done | Ending::Same, Some(entry)) => Ok(entry),
            (Ending::Other, Some(entry)) => {
                let was = entry.review.unwrap_or_default();
                Err(Fault::precondition("REVIEW_ENDED", format!("the review was {was} before")).with("state", was))
            }
            _ => Err(Fault::not_found("REVIEW_NOT_FOUND", "there is no review of that order")),
        }
    }

    /// Ends a review that nobody decided; what was decided stands and is told.
    ///
    /// # Errors
    /// NotFound `REVIEW_NOT_FOUND`.
    pub async fn close_review(&self, ctx: &Ctx, order: OrderId, state: &'static str) -> Result<Entry, Fault> {
        match self.end_review(ctx, order, state, "").await {
            Err(fault) if fault.reason() == "REVIEW_ENDED" => {
                let newest = self.store.of_order(ctx.tenant, order).await?.pop();
                newest.ok_or_else(|| Fault::internal("a review without an entry"))
            }
            ended => ended,
        }
    }

    /// What was decided about an order, oldest first.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn of_order(&self, ctx: &Ctx, order: OrderId) -> Result<Vec<Entry>, Fault> {
        self.store.of_order(ctx.tenant, order).await
    }

    /// Pages through open reviews, oldest first.
    ///
    /// # Errors
    /// Invalid `PAGE_TOKEN_INVALID`.
    pub async fn queue(&self, ctx: &Ctx, size: i64, token: &str) -> Result<Queue, Fault> {
        const MARK: &[u8] = b"risk reviews";
        let behind = match self.pages.open(ctx.tenant, MARK, token)? {
            None => None,
            Some(bytes) => Some(cursor(&bytes)?),
        };
        let mut found = self.store.queue(ctx.tenant, behind, size + 1).await?;
        let size = usize::try_from(size).map_err(Fault::internal)?;
        let more = found.len() > size;
        found.truncate(size);
        let next = match found.last() {
            Some((at, last)) if more => {
                let bytes = [&at.as_microsecond().to_be_bytes()[..], last.order.as_bytes()].concat();
                self.pages.seal(ctx.tenant, MARK, &bytes)
            }
            _ => String::new(),
        };
        Ok(Queue { reviews: found.into_iter().map(|(_, entry)| entry).collect(), next })
    }
}

fn cursor(bytes: &[u8]) -> Result<(Timestamp, Uuid), Fault> {
    let (at, order) = bytes.split_at_checked(8).ok_or_else(super::unnamed)?;
    let at = i64::from_be_bytes(at.try_into().map_err(Fault::internal)?);
    Ok((Timestamp::from_microsecond(at).map_err(Fault::internal)?, Uuid::from_slice(order).map_err(Fault::internal)?))
}

fn event<E: Event>(event: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, event.encode_to_vec())
}
