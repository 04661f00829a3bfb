//! The SQL functions of `migrations/payment`, one round trip each.

use diesel::define_sql_function;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text, Uuid};

define_sql_function! {
    /// Begins the payments of orders or finds them; of a JSON array, item by item.
    fn payments_begin(tenant: Uuid, items: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// A payment by its id, or its order and round.
    fn payment_get(tenant: Uuid, payment: Nullable<Uuid>, order: Nullable<Uuid>, round: Integer) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// What the provider was asked with, sealed.
    fn payment_instrument(tenant: Uuid, payment: Uuid) -> Nullable<Binary>;
}
define_sql_function! {
    /// What was refused of an order up to a round: sealed instruments with the codes.
    fn attempts_refused(tenant: Uuid, order: Uuid, round: Integer) -> Jsonb;
}
define_sql_function! {
    /// Whether the order's risk wants a challenge.
    fn risk_challenged(tenant: Uuid, order: Uuid, round: Integer) -> Bool;
}
define_sql_function! {
    /// Writes facts and events; of a JSON array, item by item, null when a row moved on.
    fn payments_settle(tenant: Uuid, items: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// Marks that the order wants no money held.
    fn payment_void(tenant: Uuid, payment: Uuid, order: Uuid, round: Integer, provider: Text, event_type: Text, topic: Text, payload: Binary,
        meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// Takes a shipment's place under the limit.
    fn capture_begin(tenant: Uuid, order: Uuid, shipment: Uuid, amount: BigInt, currency: Text, is_final: Bool,
        meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// Takes a refund's place under the limit.
    fn refund_begin(tenant: Uuid, payment: Uuid, refund: Uuid, amount: Nullable<BigInt>, currency: Nullable<Text>, reason: Text,
        fingerprint: Binary, meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// The payment with its captures and refunds that have not ended.
    fn payment_open_entries(tenant: Uuid, payment: Uuid) -> Jsonb;
}
define_sql_function! {
    /// Takes the next look at a payment that is due.
    fn payment_claim(tenant: Uuid, payment: Uuid) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// Stores a signed event once, with what it changes.
    fn webhook_store(tenant: Uuid, provider: Text, event: Text, kind: Text, status: Text, body: Binary, payment: Nullable<Uuid>,
        revision: Integer, doc: Nullable<Jsonb>, types: Array<Text>, topics: Array<Text>, payloads: Array<Binary>,
        meta: Jsonb) -> Text;
}
define_sql_function! {
    /// The body of a parked event.
    fn webhook_body(tenant: Uuid, provider: Text, event: Text) -> Nullable<Binary>;
}
define_sql_function! {
    /// Takes an increment's place.
    fn increment_begin(tenant: Uuid, order: Uuid, increment: Uuid, amount: BigInt, currency: Text, fingerprint: Binary,
        meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// Begins the next attempt; NULL when the row moved on.
    fn payment_reauthorize(tenant: Uuid, payment: Uuid, revision: Integer, provider: Text, instrument: Nullable<Binary>,
        event_type: Text, topic: Text, payload: Binary, meta: Jsonb) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// A payment by the provider's id of it.
    fn payment_of_reference(tenant: Uuid, reference: Text) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// A refund by its id.
    fn refund_get(tenant: Uuid, refund: Uuid) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// The refunds of a payment; NULL without one.
    fn refunds_of(tenant: Uuid, payment: Uuid) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// The audit of a payment behind a number; NULL without one.
    fn payment_history(tenant: Uuid, payment: Uuid, after: Integer, most: Integer) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// Moves a payment to another provider; NULL when the row moved on.
    fn payment_switch(tenant: Uuid, payment: Uuid, revision: Integer, provider: Text, stray: Bool, meta: Jsonb)
        -> Nullable<Jsonb>;
}
define_sql_function! {
    /// Our payments of a provider that began on a day.
    fn reconciliation_ours(tenant: Uuid, provider: Text, day: Text) -> Jsonb;
}
define_sql_function! {
    /// The figures of a day.
    fn reconciliation_get(tenant: Uuid, provider: Text, day: Text) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// Keeps what a run found.
    fn reconciliation_store(tenant: Uuid, provider: Text, day: Text, ours: Integer, theirs: Integer, found: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// What differs, behind an id.
    fn discrepancies_page(tenant: Uuid, id: Nullable<Text>, after: Text, resolved: Bool, most: Integer) -> Jsonb;
}
define_sql_function! {
    /// Ends a discrepancy.
    fn discrepancy_resolve(tenant: Uuid, id: Text, resolution: Text, reason: Text, by: Text) -> Nullable<Jsonb>;
}
