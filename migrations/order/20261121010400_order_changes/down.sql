DROP FUNCTION order_limits_settle;
