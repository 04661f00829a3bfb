//! What a message says: templates of this repository, filled with the order as it is when the message is sent.

use std::sync::Arc;

use contract::common::v1::Money as WireMoney;
use contract::order::v1::{Order, OrderLine};
use fault::Fault;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use money::Money;
use serde::Serialize;

use crate::model::{Kind, Message, Parcel};

/// A text for people, and the same for mail programs that show more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Subject is the first line of the text; a name that ends in .html is escaped, one that ends in .txt is not.
const TEMPLATES: [(&str, &str); 13] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("lines.html", include_str!("templates/lines.html")),
    ("lines.txt", include_str!("templates/lines.txt")),
    ("order_confirmation.html", include_str!("templates/order_confirmation.html")),
    ("order_confirmation.txt", include_str!("templates/order_confirmation.txt")),
    ("shipment_tracking.html", include_str!("templates/shipment_tracking.html")),
    ("shipment_tracking.txt", include_str!("templates/shipment_tracking.txt")),
    ("delivery.html", include_str!("templates/delivery.html")),
    ("delivery.txt", include_str!("templates/delivery.txt")),
    ("cancellation.html", include_str!("templates/cancellation.html")),
    ("cancellation.txt", include_str!("templates/cancellation.txt")),
    ("refund.html", include_str!("templates/refund.html")),
    ("refund.txt", include_str!("templates/refund.txt")),
];

/// The templates, compiled.
#[derive(Clone)]
pub(crate) struct Letters(Arc<Environment<'static>>);

/// What templates may name.
#[derive(Serialize)]
struct View<'a> {
    subject: &'a str,
    /// Empty when nobody knows it.
    name: &'a str,
    number: i64,
    lines: Vec<Line<'a>>,
    items: String,
    /// What was taken off the lines; empty for nothing.
    discount: String,
    shipping: String,
    tax: String,
    total: String,
    parcel: Option<&'a Parcel>,
    refunded: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    quantity: i32,
    unit_price: String,
    net: String,
}

impl Letters {
    /// Compiles the templates.
    ///
    /// # Errors
    /// Internal when one is not a template.
    pub(crate) fn new() -> Result<Self, Fault> {
        let mut all = Environment::new();
        all.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        // A line that holds only a tag leaves nothing.
        all.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(Fault::internal)?);
        for (name, source) in TEMPLATES {
            all.add_template(name, source).map_err(Fault::internal)?;
        }
        Ok(Self(Arc::new(all)))
    }

    /// Writes a message about an order to a person.
    ///
    /// # Errors
    /// Internal when the order has an amount that is none.
    pub(crate) fn write(&self, message: &Message, order: &Order, name: &str) -> Result<Letter, Fault> {
        let template = template(message.kind);
        let totals = order.totals.clone().unwrap_or_default();
        let refunded = message.facts.refunded.as_ref();
        let refunded = refunded.map(|amount| shown(&amount.currency, amount.minor)).transpose()?;
        let mut view = View {
            subject: "",
            name: name.trim(),
            number: order.order_number,
            lines: lines(order, message.facts.parcel.as_ref())?,
            items: amount(totals.items_net.as_ref())?,
            discount: amount(totals.discount.as_ref())?,
            shipping: amount(totals.shipping.as_ref())?,
            tax: amount(totals.tax.as_ref())?,
            total: amount(totals.total.as_ref())?,
            parcel: message.facts.parcel.as_ref(),
            refunded,
        };
        let text = self.render(&format!("{template}.txt"), &view)?;
        let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
        view.subject = subject.trim();
        let html = self.render(&format!("{template}.html"), &view)?;
        Ok(Letter { subject: view.subject.to_owned(), text: text.trim_start().to_owned(), html })
    }

    fn render(&self, name: &str, view: &View<'_>) -> Result<String, Fault> {
        self.0.get_template(name).and_then(|template| template.render(Serde(view))).map_err(Fault::internal)
    }
}

/// Which template a kind of message has.
fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::OrderConfirmation => "order_confirmation",
        Kind::ShipmentTracking => "shipment_tracking",
        Kind::Delivery => "delivery",
        Kind::Cancellation => "cancellation",
        Kind::Refund => "refund",
    }
}

/// The lines of the order, or of it what is in a parcel.
fn lines<'a>(order: &'a Order, parcel: Option<&Parcel>) -> Result<Vec<Line<'a>>, Fault> {
    let units = |line: &OrderLine| match parcel {
        None => line.quantity - line.cancelled,
        Some(parcel) => parcel.lines.iter().filter(|part| part.0 == line.line).map(|part| part.1).sum(),
    };
    let shown = |line: &'a OrderLine| {
        let name = if line.display_name.is_empty() { &line.sku } else { &line.display_name };
        Ok(Line {
            name,
            quantity: units(line),
            unit_price: amount(line.unit_price.as_ref())?,
            net: amount(line.net.as_ref())?,
        })
    };
    order.lines.iter().filter(|line| units(line) > 0).map(shown).collect()
}

fn amount(money: Option<&WireMoney>) -> Result<String, Fault> {
    money.map_or_else(|| Ok(String::new()), |money| shown(&money.currency_code, money.amount_minor))
}

/// With as many digits behind the point as the currency has.
fn shown(currency: &str, minor: i64) -> Result<String, Fault> {
    Ok(Money::new(currency.parse().map_err(Fault::internal)?, minor).to_string())
}
