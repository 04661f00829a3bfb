DROP FUNCTION reservation_consume, reservation_mark, reservation_end, reservation_confirm, reserve_apply,
  append_each, reserve_lock, reservation_lookup, reservations_json, adjust_stock, stock_place, get_stock, stock_json, get_products;
DROP TABLE consumptions, allocations, reservations, stock_ledger, stock, warehouses, products;
