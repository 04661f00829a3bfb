DROP FUNCTION webhook_body, webhook_store, payment_claim, payment_open_entries, refund_begin, capture_begin, payment_void,
  payment_settle, payment_method, payment_get, payment_begin;
DROP TABLE webhook_events, refunds, captures, attempts, payments;
