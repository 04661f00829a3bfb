//! The SQL functions of `migrations/payment`, one round trip each.

use diesel::define_sql_function;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text, Uuid};

define_sql_function! {
    /// Begins the payment of an order or finds it.
    fn payment_begin(tenant: Uuid, payment: Uuid, order: Uuid, amount: BigInt, currency: Text, provider: Text, method: Text,
        event_type: Text, topic: Text, payload: Binary, meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// A payment by its id or its order.
    fn payment_get(tenant: Uuid, payment: Nullable<Uuid>, order: Nullable<Uuid>) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// The method that the provider was asked with.
    fn payment_method(tenant: Uuid, payment: Uuid) -> Nullable<Text>;
}
define_sql_function! {
    /// Writes facts and events; NULL when the row moved on.
    fn payment_settle(tenant: Uuid, payment: Uuid, revision: Integer, doc: Jsonb, types: Array<Text>, topics: Array<Text>,
        payloads: Array<Binary>, meta: Jsonb) -> Nullable<Jsonb>;
}
define_sql_function! {
    /// Marks that the order wants no money held.
    fn payment_void(tenant: Uuid, payment: Uuid, order: Uuid, provider: Text, event_type: Text, topic: Text, payload: Binary,
        meta: Jsonb) -> Jsonb;
}
define_sql_function! {
    /// Takes a shipment's place under the limit.
    fn capture_begin(tenant: Uuid, order: Uuid, shipment: Uuid, amount: BigInt, currency: Text, is_final: Bool) -> Jsonb;
}
define_sql_function! {
    /// Takes a refund's place under the limit.
    fn refund_begin(tenant: Uuid, payment: Uuid, refund: Uuid, amount: Nullable<BigInt>, currency: Nullable<Text>, reason: Text,
        fingerprint: Binary) -> Jsonb;
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
