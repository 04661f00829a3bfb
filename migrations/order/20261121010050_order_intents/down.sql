DROP FUNCTION order_limits, order_intent;
DROP TABLE limited_units, order_intents;
