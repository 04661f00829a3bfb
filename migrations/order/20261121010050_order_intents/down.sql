DROP FUNCTION order_intent, order_intents_note, order_intent_age, order_limits_again, order_limits;
DROP TABLE limited_units, order_intents;
