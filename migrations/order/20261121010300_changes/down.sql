DROP FUNCTION order_lag(), order_newest(int), order_changes(text);
