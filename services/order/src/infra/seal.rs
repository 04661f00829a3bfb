//! What is sealed before it is stored or published (PAY-12): of an address what names or finds a person, texts that
//! people write about an order, payment tokens, mandates, and the address a buyer came from.
//!
//! Sealed values pass through domain, events, pictures, copies and stored answers as they are; only who shows or sends
//! them on opens them. Two seals of one value differ, so what is to be compared is opened first. What was stored before
//! it was sealed opens as it is.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use contract::common::v1::Address;
use contract::order::v1 as wire;
use fault::Fault;
use ids::TenantId;
use pg::Pg;
use prost::Message;
use serve::Boot;
use tokio_util::sync::CancellationToken;
use vault::{Master, Vault};

/// What a sealed text begins with; its bytes follow as base64.
const MARK: &str = "sealed:";

/// Tables and columns as values are bound to them: a name that changed would open nothing.
pub mod column {
    /// Where an order goes.
    pub const ADDRESS: &str = "orders.address";
    /// The customer's remark.
    pub const REMARK: &str = "orders.note";
    /// What somebody noted.
    pub const NOTE: &str = "orders.notes";
    /// What the customer thinks of it.
    pub const RATING: &str = "orders.rating";
    /// Why a change was asked for, or declined.
    pub const CHANGE: &str = "orders.changes";
    /// The token in a saga's state.
    pub const SAGA_TOKEN: &str = "sagas.payment_method";
    /// The mandate in a saga's state.
    pub const SAGA_MANDATE: &str = "sagas.mandate";
    /// Where the buyer came from.
    pub const SAGA_IP: &str = "sagas.client_ip";
    /// Address, token and mandate of a subscription; also in SQL.
    pub const SUBSCRIPTION: &str = "subscriptions.sealed";
}

/// The only place where a value opens.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'a> {
    /// Whose key.
    pub tenant: TenantId,
    /// One of [`column`].
    pub column: &'static str,
    /// Id of the order or subscription.
    pub row: &'a str,
}

impl Spot<'_> {
    fn place(&self) -> String {
        format!("{}:{}", self.column, self.row)
    }
}

/// Seals and opens for this service; clones share the keys.
#[derive(Clone, Debug)]
pub struct Safe(Vault);

impl Safe {
    /// A safe with the data keys of the service's schema.
    ///
    /// # Errors
    /// Internal for master keys that are none.
    pub fn new(boot: &Boot, pg: &Pg) -> Result<Self, Fault> {
        let master = Master::read(&boot.settings.master_keys).map_err(Fault::internal)?;
        Ok(Self(Vault::new(pg.clone(), master)))
    }

    /// Turns keys and seals anew what may change, until cancelled.
    pub async fn keep(self, cancel: CancellationToken) {
        self.0.turn_keys_for_ever(cancel).await;
    }

    /// Seals a text; none stays none.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub async fn seal_text(&self, spot: Spot<'_>, plain: &str) -> Result<String, Fault> {
        if plain.is_empty() {
            return Ok(String::new());
        }
        let sealed = self.0.seal(spot.tenant, &spot.place(), plain.as_bytes()).await?;
        Ok(format!("{MARK}{}", BASE64_STANDARD.encode(sealed)))
    }

    /// Opens a text.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open_text(&self, spot: Spot<'_>, stored: &str) -> Result<String, Fault> {
        let Some(sealed) = sealed_bytes(stored) else { return Ok(stored.to_owned()) };
        let plain = self.0.open(spot.tenant, &spot.place(), &sealed).await?;
        String::from_utf8(plain).map_err(Fault::internal)
    }

    /// Seals a text, or gives what is stored when that says the same: then nothing changes.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn seal_text_like(&self, spot: Spot<'_>, stored: &str, plain: &str) -> Result<String, Fault> {
        let same = self.open_text(spot, stored).await? == plain;
        if same { Ok(stored.to_owned()) } else { self.seal_text(spot, plain).await }
    }

    /// Seals recipient, lines and postal code; taxes and restrictions need the rest.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub async fn seal_address(&self, spot: Spot<'_>, plain: Address) -> Result<Address, Fault> {
        let Address { recipient, line1, line2, postal_code, .. } = plain.clone();
        let secret = Address { recipient, line1, line2, postal_code, ..Address::default() };
        let sealed = self.0.seal(spot.tenant, &spot.place(), &secret.encode_to_vec()).await?;
        let Address { city, region, country_code, .. } = plain;
        Ok(Address { city, region, country_code, sealed: Some(sealed.into()), ..Address::default() })
    }

    /// Opens an address.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open_address(&self, spot: Spot<'_>, stored: Address) -> Result<Address, Fault> {
        let Some(sealed) = &stored.sealed else { return Ok(stored) };
        let plain = self.0.open(spot.tenant, &spot.place(), sealed).await?;
        let secret = Address::decode(plain.as_slice()).map_err(Fault::internal)?;
        let Address { city, region, country_code, .. } = stored;
        Ok(Address { city, region, country_code, ..secret })
    }

    /// Opens what is sealed of an order.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open_order(&self, tenant: TenantId, mut order: wire::Order) -> Result<wire::Order, Fault> {
        let id = order.id.clone();
        let at = |column| Spot { tenant, column, row: &id };
        if let Some(address) = order.shipping_address.take() {
            order.shipping_address = Some(self.open_address(at(column::ADDRESS), address).await?);
        }
        order.note = self.open_text(at(column::REMARK), &order.note).await?;
        for note in &mut order.notes {
            note.text = self.open_text(at(column::NOTE), &note.text).await?;
        }
        if let Some(rating) = &mut order.rating {
            rating.comment = self.open_text(at(column::RATING), &rating.comment).await?;
        }
        for change in &mut order.changes {
            *change = self.open_change(tenant, std::mem::take(change)).await?;
        }
        Ok(order)
    }

    /// Opens what is sealed of a change.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open_change(
        &self,
        tenant: TenantId,
        mut change: wire::OrderChange,
    ) -> Result<wire::OrderChange, Fault> {
        let id = change.order_id.clone();
        let at = |column| Spot { tenant, column, row: &id };
        change.reason = self.open_text(at(column::CHANGE), &change.reason).await?;
        change.outcome_reason = self.open_text(at(column::CHANGE), &change.outcome_reason).await?;
        if let Some(address) = change.shipping_address.take() {
            change.shipping_address = Some(self.open_address(at(column::ADDRESS), address).await?);
        }
        Ok(change)
    }

    /// Opens a subscription, its payment token too: what is shown of that is not decided here.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub async fn open_subscription(
        &self,
        tenant: TenantId,
        mut doc: wire::Subscription,
    ) -> Result<wire::Subscription, Fault> {
        let Some(sealed) = doc.sealed.take() else { return Ok(doc) };
        let spot = Spot { tenant, column: column::SUBSCRIPTION, row: &doc.id };
        let plain = self.0.open(tenant, &spot.place(), &sealed).await?;
        let secret = wire::Subscription::decode(plain.as_slice()).map_err(Fault::internal)?;
        let wire::Subscription { shipping_address, payment_method, mandate_reference, .. } = secret;
        Ok(wire::Subscription { shipping_address, payment_method, mandate_reference, ..doc })
    }

    /// Seals address, payment method and mandate of a subscription as one value.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub async fn seal_subscription(
        &self,
        tenant: TenantId,
        mut doc: wire::Subscription,
    ) -> Result<wire::Subscription, Fault> {
        let secret = wire::Subscription {
            shipping_address: doc.shipping_address.take(),
            payment_method: std::mem::take(&mut doc.payment_method),
            mandate_reference: std::mem::take(&mut doc.mandate_reference),
            ..wire::Subscription::default()
        };
        let spot = Spot { tenant, column: column::SUBSCRIPTION, row: &doc.id };
        let sealed = self.0.seal(tenant, &spot.place(), &secret.encode_to_vec()).await?;
        Ok(wire::Subscription { sealed: Some(sealed.into()), ..doc })
    }
}

/// The bytes of a sealed text; None when it is not sealed.
fn sealed_bytes(stored: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(stored.strip_prefix(MARK)?).ok()
}
