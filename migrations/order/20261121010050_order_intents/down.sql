DROP FUNCTION order_limits_again, order_limits;
DROP TABLE limited_units, order_intents;
