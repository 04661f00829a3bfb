use std::collections::BTreeSet;

use ctx::Ctx;
use fault::Fault;
use ids::PaymentId;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::App;
use super::state::{Difference, Payment, Phase, Snapshot};
use crate::data::{Discrepancy, Listed, Provider, Refunding, ReportRow, Trouble};

/// A discrepancy is to be ended.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// Which.
    pub id: String,
    /// Why.
    pub reason: String,
    /// As it is, instead of driving it again.
    pub accept: bool,
}

/// A page of discrepancies.
#[derive(Debug)]
pub struct DiscrepancyPage {
    /// The discrepancies.
    pub found: Vec<Discrepancy>,
    /// Token of the next page; empty at the end.
    pub next: String,
}

impl App {
    /// Compares our payments of a day with the provider's books, and keeps what differs (PAY-11).
    ///
    /// # Errors
    /// Invalid `provider` or `day`; Unavailable `PROVIDER_SILENT`, and nothing is kept then.
    pub async fn reconcile(&self, ctx: &Ctx, name: &str, day: Date) -> Result<ReportRow, Fault> {
        let provider = self.named(name)?;
        let start = day.to_zoned(TimeZone::UTC).map_err(Fault::internal)?.timestamp().as_second();
        if start > ctx.now.as_second() {
            return Err(Fault::invalid("day", "IN_THE_FUTURE", "must not be after today"));
        }
        let theirs = provider.list(start, start + 86_400).await.map_err(|_| silent())?;
        let theirs: Vec<Listed> = theirs.into_iter().filter(|one| one.tenant == Some(ctx.tenant)).collect();
        let ours = self.store().ours_of_day(ctx.tenant, name, day).await?;
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for listed in &theirs {
            seen.insert(listed.snapshot.reference.as_str());
            found.extend(self.compare(ctx, provider, listed).await?);
        }
        // Midnight is not at the same moment everywhere: what is not in the list may still be in the books.
        for payment in &ours {
            let Some(reference) = payment.reference.as_deref().filter(|known| !seen.contains(known)) else { continue };
            let difference = match provider.find(payment).await {
                Ok(Some(snapshot)) => payment.differs(&snapshot).map(|how| (how, Some(snapshot))),
                Ok(None) => Some((Difference::MissingTheirs, None)),
                Err(Trouble::Refused { .. }) => Some((Difference::MissingTheirs, None)),
                Err(_) => return Err(silent()),
            };
            if let Some((how, snapshot)) = difference {
                found.push(entry(how, name, Some(payment), reference, snapshot.as_ref()));
            }
        }
        for how in Difference::ALL {
            let count = found.iter().filter(|one| one["class"] == how.as_str()).count();
            metrics::counter!("payment_discrepancies_total", "class" => how.as_str()).increment(count as u64);
        }
        self.store().keep_report(ctx, name, day, (ours.len(), theirs.len()), Value::Array(found)).await
    }

    async fn compare(&self, ctx: &Ctx, provider: &Provider, listed: &Listed) -> Result<Option<Value>, Fault> {
        let theirs = &listed.snapshot;
        let payment = match listed.payment {
            Some(payment) => self.store().get(ctx.tenant, payment).await?,
            None => None,
        };
        let moves_money = theirs.phase == Phase::Held || theirs.received > theirs.refunded;
        let how = match &payment {
            None => moves_money.then_some(Difference::MissingOurs),
            Some(ours) if ours.reference.as_ref() == Some(&theirs.reference) => ours.differs(theirs),
            Some(ours) if ours.awaits(provider.name(), &theirs.reference) => None,
            // Also what an earlier attempt came to: it is over, and no payment wants its money.
            Some(_) => moves_money.then_some(Difference::MissingOurs),
        };
        Ok(how.map(|how| entry(how, provider.name(), payment.as_ref(), &theirs.reference, Some(theirs))))
    }

    /// The figures of a day.
    ///
    /// # Errors
    /// NotFound `REPORT_NOT_FOUND`.
    pub async fn report(&self, ctx: &Ctx, provider: &str, day: Date) -> Result<ReportRow, Fault> {
        let found = self.store().report(ctx.tenant, provider, day).await?;
        found.ok_or_else(|| Fault::not_found("REPORT_NOT_FOUND", "the day was not reconciled"))
    }

    /// Pages through what differs.
    ///
    /// # Errors
    /// Invalid `page_token` `PAGE_TOKEN_INVALID`.
    pub async fn discrepancies(
        &self,
        ctx: &Ctx,
        size: i64,
        token: &str,
        resolved: bool,
    ) -> Result<DiscrepancyPage, Fault> {
        let filter = format!("discrepancies:{resolved}");
        let pages = &self.inner.pages;
        let after = match pages.open(ctx.tenant, filter.as_bytes(), token)? {
            None => String::new(),
            Some(bytes) => String::from_utf8(bytes).map_err(Fault::internal)?,
        };
        let most = i32::try_from(size + 1).map_err(Fault::internal)?;
        let mut found = self.store().discrepancies(ctx.tenant, &after, resolved, most).await?;
        let size = usize::try_from(size).map_err(Fault::internal)?;
        let more = found.len() > size;
        found.truncate(size);
        let next = match found.last() {
            Some(last) if more => pages.seal(ctx.tenant, filter.as_bytes(), last.id.as_bytes()),
            _ => String::new(),
        };
        Ok(DiscrepancyPage { found, next })
    }

    /// Ends a discrepancy: as it is, or by taking the provider's figures in and letting stray money go.
    ///
    /// # Errors
    /// Precondition `DISCREPANCY_REMAINS`; NotFound `DISCREPANCY_NOT_FOUND`; Unavailable `PROVIDER_SILENT`.
    pub async fn resolve_discrepancy(&self, ctx: &Ctx, cmd: Resolve) -> Result<Discrepancy, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.resolve_to_the_end(&ctx, &cmd).await }).await
    }

    async fn resolve_to_the_end(&self, ctx: &Ctx, cmd: &Resolve) -> Result<Discrepancy, Fault> {
        let found = self.store().discrepancy(ctx.tenant, &cmd.id).await?.ok_or_else(unknown)?;
        if found.state != "OPEN" {
            return Ok(found);
        }
        let resolution = if cmd.accept { "ACCEPTED" } else { self.drive_again(ctx, &found, &cmd.reason).await? };
        self.store().end_discrepancy(ctx, &cmd.id, resolution, &cmd.reason).await?.ok_or_else(unknown)
    }

    /// Drives a discrepancy again, and says how it ended.
    async fn drive_again(&self, ctx: &Ctx, found: &Discrepancy, why: &str) -> Result<&'static str, Fault> {
        let provider = self.gateway().of(&found.provider)?;
        let id = found.payment_id.map(PaymentId::from_uuid);
        if found.class == Difference::MissingOurs.as_str() {
            return self.drive_stray(ctx, provider, found, why).await;
        }
        let payment = self.get(ctx, id.ok_or_else(|| remains(found))?).await?;
        let seen = match provider.find(&payment).await {
            Ok(seen) => seen,
            Err(Trouble::Refused { .. }) => None,
            Err(_) => return Err(silent()),
        };
        let Some(seen) = seen else { return Err(remains(found)) };
        let payment = self.recount_refunds(ctx, payment).await?;
        let payment = self.learn(ctx, payment, |payment| payment.told_by(provider.name(), &seen)).await?;
        if payment.differs(&seen).is_some() { Err(remains(found)) } else { Ok("REDRIVEN") }
    }

    /// Lets money go that no payment wants; looks again first, for a payment may have come to hold it since.
    async fn drive_stray(
        &self,
        ctx: &Ctx,
        provider: &Provider,
        found: &Discrepancy,
        why: &str,
    ) -> Result<&'static str, Fault> {
        let reference = found.reference.as_deref().ok_or_else(|| remains(found))?;
        let named = match found.payment_id.map(PaymentId::from_uuid) {
            Some(id) => Some(self.get(ctx, id).await?),
            None => None,
        };
        if named.as_ref().is_some_and(|payment| payment.awaits(provider.name(), reference)) {
            return Err(remains(found));
        }
        let holder = self.store().of_reference(ctx.tenant, reference).await?;
        if holder.is_some_and(|payment| payment.provider == found.provider) {
            return Ok("GONE");
        }
        let (action, minor) = let_go(provider, found, reference).await?;
        tracing::warn!(discrepancy.id = found.id, reference, minor, action, "Money that no payment wants was let go");
        if let Some(payment) = named {
            self.note(ctx, payment, (action, minor, &format!("{reference}: {why}")), |now| Some(now.clone())).await?;
        }
        Ok("REDRIVEN")
    }

    fn named(&self, name: &str) -> Result<&Provider, Fault> {
        let unknown = |_| Fault::invalid("provider", "UNKNOWN_PROVIDER", "no such payment provider");
        self.gateway().of(name).map_err(unknown)
    }
}

/// Lets money go that no payment of ours wants; what that is called, and the minor units of it.
async fn let_go(provider: &Provider, found: &Discrepancy, reference: &str) -> Result<(&'static str, i64), Fault> {
    let key = format!("{}:cancel", found.id);
    match provider.cancel(reference, &key).await {
        Ok(seen) => Ok(("STRAY_VOIDED", seen.amount.minor - seen.received)),
        Err(Trouble::Refused { intent: Some(seen), .. }) => match seen.phase {
            Phase::Canceled | Phase::Failed if seen.received == seen.refunded => Ok(("STRAY_VOIDED", 0)),
            _ => {
                let left = money::Money::new(seen.amount.currency, seen.received - seen.refunded);
                let key = format!("{}:refund", found.id);
                let done = provider.refund(Refunding { reference, amount: left, key: &key, ours: None }).await;
                done.map(|_| ("STRAY_REFUNDED", left.minor)).map_err(|_| remains(found))
            }
        },
        Err(Trouble::Refused { intent: None, .. }) => Err(remains(found)),
        Err(_) => Err(silent()),
    }
}

fn entry(
    how: Difference,
    provider: &str,
    named: Option<&Payment>,
    reference: &str,
    theirs: Option<&Snapshot>,
) -> Value {
    // What we miss is a matter of its own, also where it names a payment of ours.
    let ours = named.filter(|_| how != Difference::MissingOurs);
    let subject = ours.map_or_else(|| reference.to_owned(), |payment| payment.id.to_string());
    let digest = Sha256::digest(format!("{provider}:{subject}"));
    json!({
        "id": format!("dsc_{}", hex::encode(&digest[..16])),
        "class": how.as_str(),
        "payment_id": named.map(|payment| payment.id.uuid()),
        "reference": reference,
        "ours": ours.map_or_else(String::new, |payment| {
            format!("{} captured {} refunded {}", payment.state().as_str(), payment.captured, payment.refunded)
        }),
        "theirs": theirs.map_or_else(String::new, |seen| {
            format!("{} captured {} refunded {}", seen.phase.as_str(), seen.received, seen.refunded)
        }),
    })
}

fn silent() -> Fault {
    Fault::unavailable("PROVIDER_SILENT", "the provider does not show its books now")
}

fn unknown() -> Fault {
    Fault::not_found("DISCREPANCY_NOT_FOUND", "there is no such discrepancy")
}

fn remains(found: &Discrepancy) -> Fault {
    Fault::precondition("DISCREPANCY_REMAINS", "it still differs; accept it, or settle it with the provider")
        .with("class", &found.class)
}
