DROP FUNCTION webhook_body, webhook_store, payment_claim, payment_open_entries, payment_history, refunds_of, refund_get,
  payment_of_reference, payment_switch, payment_reauthorize, increment_begin, refund_begin, capture_begin, payment_void, payments_settle,
  payments_change, entry_settle, payment_markable,
  attempts_refused, payment_instrument, payment_get, payments_begin, payment_supersede, payment_begun, payment_of, sealed_below, sealed_again;
DROP TYPE settling, beginning;
DROP TABLE webhook_events, refunds, increments, captures, attempts;
DROP TRIGGER payments_begun ON payments;
DROP TRIGGER payments_changed ON payments;
DROP FUNCTION payment_audit, payment_change, payment_figures;
DROP TABLE payment_log, payments;
