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
use crate::data::{Discrepancy, Listed, Provider, ReportRow, Trouble};

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
            Some(ours) if ours.old_references.contains(&theirs.reference) && theirs.phase != Phase::Held => None,
            Some(_) => moves_money.then_some(Difference::MissingOurs),
        };
        Ok(how.map(|how| {
            let ours = payment.as_ref().filter(|_| how != Difference::MissingOurs);
            entry(how, provider.name(), ours, &theirs.reference, Some(theirs))
        }))
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
        if !cmd.accept {
            self.drive_again(ctx, &found).await?;
        }
        let resolution = if cmd.accept { "ACCEPTED" } else { "REDRIVEN" };
        self.store().end_discrepancy(ctx, &cmd.id, resolution, &cmd.reason).await?.ok_or_else(unknown)
    }

    async fn drive_again(&self, ctx: &Ctx, found: &Discrepancy) -> Result<(), Fault> {
        let provider = self.gateway().of(&found.provider)?;
        let Some(id) = found.payment_id.map(PaymentId::from_uuid) else {
            return let_go(provider, found).await;
        };
        let payment = self.get(ctx, id).await?;
        let seen = match provider.find(&payment).await {
            Ok(seen) => seen,
            Err(Trouble::Refused { .. }) => None,
            Err(_) => return Err(silent()),
        };
        let Some(seen) = seen else { return Err(remains(found)) };
        let payment = self.learn(ctx, payment, |payment| payment.observe(&seen)).await?;
        if payment.differs(&seen).is_some() { Err(remains(found)) } else { Ok(()) }
    }

    fn named(&self, name: &str) -> Result<&Provider, Fault> {
        let unknown = |_| Fault::invalid("provider", "UNKNOWN_PROVIDER", "no such payment provider");
        self.gateway().of(name).map_err(unknown)
    }
}

/// Money that no payment of ours wants.
async fn let_go(provider: &Provider, found: &Discrepancy) -> Result<(), Fault> {
    let reference = found.reference.as_deref().ok_or_else(|| remains(found))?;
    let key = format!("{}:cancel", found.id);
    match provider.cancel(reference, &key).await {
        Ok(_) => Ok(()),
        Err(Trouble::Refused { intent: Some(seen), .. }) => match seen.phase {
            Phase::Canceled | Phase::Failed if seen.received == seen.refunded => Ok(()),
            _ => {
                let left = money::Money::new(seen.amount.currency, seen.received - seen.refunded);
                let key = format!("{}:refund", found.id);
                provider.refund(reference, left, &key).await.map(|_| ()).map_err(|_| remains(found))
            }
        },
        Err(Trouble::Refused { intent: None, .. }) => Err(remains(found)),
        Err(_) => Err(silent()),
    }
}

fn entry(how: Difference, provider: &str, ours: Option<&Payment>, reference: &str, theirs: Option<&Snapshot>) -> Value {
    let subject = ours.map_or_else(|| reference.to_owned(), |payment| payment.id.to_string());
    let digest = Sha256::digest(format!("{provider}:{subject}"));
    json!({
        "id": format!("dsc_{}", hex::encode(&digest[..16])),
        "class": how.as_str(),
        "payment_id": ours.map(|payment| payment.id.uuid()),
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
