//! The methods of subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::order::v1 as pb;
use contract::order::v1::subscription_service_server::SubscriptionService;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::SubscriptionId;
use jiff::Timestamp;
use serve::{page, respond};
use tonic::{Request, Response, Status};

use super::wire::service;
use crate::app::App;
use crate::app::subscribe::{About, Amend, Subscribe};
use crate::domain::basket::Basket;
use crate::domain::promotion::Wanted;
use crate::domain::subscription::Subscription;
use crate::infra::subscriptions::Filter;

/// Subscriptions.
#[derive(Debug)]
pub struct Subscriptions(pub App);

type Answer<T> = Result<Response<T>, Status>;

/// Subscriptions that one call renews unless it says otherwise.
const USUAL: i32 = 50;
/// And most.
const MOST: i32 = 200;

#[tonic::async_trait]
impl SubscriptionService for Subscriptions {
    async fn create_subscription(&self, request: Request<pb::CreateSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let command = subscribe(request.into_inner());
        Ok(respond(self.0.subscribe(&ctx, command).await?))
    }

    async fn get_subscription(&self, request: Request<pb::GetSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let id = subscription_id(&request.get_ref().subscription_id)?;
        Ok(Response::new(self.0.subscription(&ctx, id).await?))
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Answer<pb::ListSubscriptionsResponse> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (filter, size) = filter(&request)?;
        let found = self.0.list_subscriptions(&ctx, filter, size, &request.page_token).await?;
        let (subscriptions, next_page_token) = found;
        Ok(Response::new(pb::ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn update_subscription(&self, request: Request<pb::UpdateSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let (about, amended) = amend(request.into_inner())?;
        Ok(Response::new(self.0.amend(&ctx, &about, amended).await?))
    }

    async fn pause_subscription(&self, request: Request<pb::PauseSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let about = about(&request.subscription_id, request.etag)?;
        let (reason, now) = (reason(request.reason, 0)?, ctx.now);
        let decide = Arc::new(move |seen: &Subscription| seen.pause(&reason, now));
        Ok(Response::new(self.0.decide(&ctx, &about, decide).await?))
    }

    async fn resume_subscription(&self, request: Request<pb::ResumeSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (about, now) = (about(&request.subscription_id, request.etag)?, ctx.now);
        let decide = Arc::new(move |seen: &Subscription| seen.resume(now));
        Ok(Response::new(self.0.decide(&ctx, &about, decide).await?))
    }

    async fn skip_period(&self, request: Request<pb::SkipPeriodRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let about = about(&request.subscription_id, request.etag)?;
        if request.period < 1 {
            return Err(Fault::invalid("period", "PERIOD_INVALID", "periods are counted from 1").into());
        }
        let (period, now) = (request.period, ctx.now);
        let decide = Arc::new(move |seen: &Subscription| seen.skip(period, now));
        Ok(Response::new(self.0.decide(&ctx, &about, decide).await?))
    }

    async fn cancel_subscription(&self, request: Request<pb::CancelSubscriptionRequest>) -> Answer<pb::Subscription> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let about = about(&request.subscription_id, request.etag)?;
        let (reason, now) = (reason(request.reason, 1)?, ctx.now);
        let decide = Arc::new(move |seen: &Subscription| seen.cancel(&reason, now));
        Ok(Response::new(self.0.decide(&ctx, &about, decide).await?))
    }

    async fn renew_due(&self, request: Request<pb::RenewDueRequest>) -> Answer<pb::RenewDueResponse> {
        let ctx = Ctx::of(&request)?;
        let most = match request.get_ref().limit {
            0 => USUAL,
            limit if (1..=MOST).contains(&limit) => limit,
            _ => return Err(Fault::invalid("limit", "LIMIT_INVALID", format!("1 to {MOST}")).into()),
        };
        let renewed = self.0.renew_due(Some(ctx.tenant), most).await?;
        let (subscriptions, orders) = (renewed.subscriptions, renewed.orders);
        Ok(Response::new(pb::RenewDueResponse { subscriptions, orders }))
    }
}

fn subscription_id(text: &str) -> Result<SubscriptionId, Fault> {
    text.parse().map_err(|error: ids::IdError| Fault::invalid("subscription_id", "ID_INVALID", error.to_string()))
}

fn about(id: &str, etag: String) -> Result<About, Fault> {
    Ok(About { id: subscription_id(id)?, etag })
}

fn reason(text: String, least: usize) -> Result<String, Fault> {
    let length = text.trim().chars().count();
    if length < least || length > 200 || text.chars().any(char::is_control) {
        let said = format!("{least} to 200 characters, no control characters");
        return Err(Fault::invalid("reason", if length < least { "REQUIRED" } else { "REASON_INVALID" }, said));
    }
    Ok(text)
}

fn subscribe(request: pb::CreateSubscriptionRequest) -> Subscribe {
    Subscribe {
        customer_id: request.customer_id,
        basket: Basket {
            items: request.items,
            currency_code: request.currency_code,
            address: request.shipping_address,
            service: service(request.shipping_service),
            agreed: BTreeMap::new(),
            kind: Some(pb::OrderKind::Subscription),
            promotion: Wanted::Nothing,
        },
        payment_method: request.payment_method,
        mandate_reference: request.mandate_reference,
        interval: request.interval,
        start: request
            .start_time
            .map(|at| Timestamp::new(at.seconds, at.nanos).ok().filter(|_| (0..1_000_000_000).contains(&at.nanos))),
    }
}

fn filter(request: &pb::ListSubscriptionsRequest) -> Result<(Filter, i64), Fault> {
    let mut wrong = Violations::default();
    let mut filter = Filter::default();
    if !request.customer_id.is_empty() {
        match request.customer_id.parse() {
            Ok(customer) => filter.customer = Some(customer),
            Err(error) => wrong.add("customer_id", "ID_INVALID", format!("{error}")),
        }
    }
    let mut states = BTreeSet::new();
    for (at, number) in request.states.iter().enumerate() {
        match pb::SubscriptionState::try_from(*number) {
            Ok(state) if state != pb::SubscriptionState::Unspecified => {
                states.insert(i16::try_from(*number).unwrap_or_default());
            }
            _ => wrong.add(format!("states[{at}]"), "STATE_UNKNOWN", "not a state of a subscription"),
        }
    }
    filter.states = (!states.is_empty()).then(|| states.into_iter().collect());
    let size = page::size(request.page_size).map_err(|fault| {
        for one in fault.violations() {
            wrong.add(one.field.clone(), "PAGE_SIZE_INVALID", one.description.clone());
        }
    });
    wrong.finish()?;
    Ok((filter, size.unwrap_or_default()))
}

/// The fields of a change that may be named, in the order of the message.
const CHANGEABLE: [&str; 5] = ["items", "shipping_address", "shipping_service", "payment_method", "mandate_reference"];

fn amend(request: pb::UpdateSubscriptionRequest) -> Result<(About, Amend), Fault> {
    let about = about(&request.subscription_id, request.etag)?;
    let set = [
        !request.items.is_empty(),
        request.shipping_address.is_some(),
        !request.shipping_service.is_empty(),
        !request.payment_method.is_empty(),
        !request.mandate_reference.is_empty(),
    ];
    let mut wrong = Violations::default();
    let named: BTreeSet<&str> = match &request.update_mask {
        None => CHANGEABLE.into_iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name).collect(),
        Some(mask) => {
            let mut named = BTreeSet::new();
            for path in &mask.paths {
                // Part of an address or of an item is none: whatever is named inside it, all of it is replaced.
                match path.split('.').next().filter(|field| CHANGEABLE.contains(field)) {
                    Some(field) => {
                        named.insert(field);
                    }
                    None => wrong.add("update_mask", "FIELD_NOT_UPDATABLE", format!("{path:?} cannot be changed")),
                }
            }
            named
        }
    };
    if named.is_empty() && wrong.is_empty() {
        wrong.add("update_mask", "NOTHING_TO_CHANGE", CHANGEABLE.join(", "));
    }
    if named.contains("payment_method") != named.contains("mandate_reference") {
        wrong.add(
            "mandate_reference",
            "REQUIRED",
            "a payment method and what the customer agreed to for it go together",
        );
    }
    wrong.finish()?;
    let has = |field: &str| named.contains(field);
    let amended = Amend {
        items: has("items").then_some(request.items),
        address: has("shipping_address").then(|| request.shipping_address.unwrap_or_default()),
        service: has("shipping_service").then(|| service(request.shipping_service)),
        payment: has("payment_method").then_some((request.payment_method, request.mandate_reference)),
    };
    Ok((about, amended))
}
