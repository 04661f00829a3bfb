DROP FUNCTION order_listing(uuid, uuid), order_tally(uuid, jsonb, int), order_page(uuid, jsonb, uuid, int), order_conditions(jsonb);
DROP TYPE order_filter;
DROP TRIGGER relisted ON orders;
DROP TRIGGER listed ON orders;
DROP FUNCTION order_relisted(), order_listed();
DROP TABLE order_skus, order_numbers;
